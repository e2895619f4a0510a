//! What a lane tells people: one line a change of state, and the snapshot that `status` and the display show.

use twinlog_client::ErrorCode;
use twinlog_core::io::{Event, Failure, LanePartition, Offline, Retrying, WaitsFor};
use twinlog_core::lane::Lane;
use twinlog_core::map_record::PartitionKey;
use twinlog_core::partition::{Partition, Phase};
use twinlog_core::status::{PartitionStatus, Standing, TARGET_OFFLINE, WAITING_FOR_TRANSACTIONS};

/// The names that each line begins with.
#[derive(Debug)]
pub(super) struct Events {
    link: String,
    lane: u32,
}

impl Events {
    pub(super) fn new(link: &str, lane: u32) -> Self {
        Self { link: link.to_owned(), lane }
    }

    pub(super) fn log(&self, event: &Event, core: &Lane, short_of_budget: bool) {
        let (link, lane) = (&self.link, self.lane);
        let name = |id: &LanePartition| {
            let spec = core.partition(*id).map(Partition::spec);
            spec.map(|spec| (spec.key.topic.clone(), spec.key.partition)).unwrap_or_default()
        };
        match event {
            Event::Taken { producer } => {
                tracing::info!(link, lane, producer_id = producer.id, epoch = producer.epoch, "Lane taken.");
            }
            Event::Copying(id, position) => {
                let (topic, partition) = name(id);
                tracing::info!(link, lane, topic, partition, %position, "Copying.");
            }
            Event::Resolving(id) => {
                let (topic, partition) = name(id);
                tracing::info!(link, lane, topic, partition, "Reading the mirror's tail to find out what is there.");
            }
            Event::Resolved(id, exit) => {
                let (topic, partition) = name(id);
                tracing::warn!(link, lane, topic, partition, by = exit.name(), "A partition that stopped goes on.");
            }
            Event::GaveWay(id, position) => {
                let (topic, partition) = name(id);
                tracing::warn!(
                    link, lane, topic, partition, %position,
                    "The target has taken nothing of a partition for long: what follows is fetched again later."
                );
            }
            Event::CutBack { partition: id, target, source } => {
                let (topic, partition) = name(id);
                tracing::error!(
                    link,
                    lane,
                    topic,
                    partition,
                    state = "target-truncated",
                    target_from = %target.0,
                    target_to = %target.1,
                    source_from = %source.0,
                    source_to = %source.1,
                    "The target lost acknowledged records: they are copied again."
                );
            }
            Event::TargetOffline(id, offline) => {
                let (topic, partition) = name(id);
                let reason = offline_words(*offline);
                tracing::warn!(link, lane, topic, partition, state = TARGET_OFFLINE, reason, "Waiting for the target.");
            }
            Event::Stalled(id, waits_for) => {
                let (topic, partition) = name(id);
                let waits_for = waiting_words(*waits_for, core, short_of_budget);
                tracing::warn!(
                    link,
                    lane,
                    topic,
                    partition,
                    state = STALLED,
                    waits_for,
                    "The source has more, and the copy has not moved for 30 s."
                );
            }
            Event::GoesOn(id, position) => {
                let (topic, partition) = name(id);
                tracing::info!(link, lane, topic, partition, %position, "The partition goes on.");
            }
            Event::Halted(id, halt) => {
                let (topic, partition) = name(id);
                let state = halt.name();
                tracing::error!(link, lane, topic, partition, state, reason = %halt, "Partition stopped.");
            }
            Event::Released(key, to) => {
                let PartitionKey { topic, partition } = key;
                tracing::info!(link, lane, topic, partition, to, "Let go of a partition for another lane.");
            }
            Event::Adopted(key) => {
                let PartitionKey { topic, partition } = key;
                tracing::info!(link, lane, topic, partition, "Took a partition over from another lane.");
            }
            Event::Forgotten(key) => {
                let PartitionKey { topic, partition } = key;
                tracing::debug!(link, lane, topic, partition, "Nothing of a partition is left in the lane's map.");
            }
            Event::Retrying(Some(id), failure, doing) => {
                let (topic, partition) = name(id);
                let reason = words(*failure);
                if belongs_to_a_start(*failure) {
                    tracing::info!(link, lane, topic, partition, doing, failure = reason, "Waiting.");
                } else {
                    tracing::warn!(link, lane, topic, partition, doing, failure = reason, "Trying again.");
                }
            }
            Event::Retrying(None, failure, doing) if belongs_to_a_start(*failure) => {
                tracing::info!(link, lane, doing, failure = words(*failure), "Waiting.");
            }
            Event::Retrying(None, failure, doing) => {
                tracing::warn!(link, lane, doing, failure = words(*failure), "Trying again.");
            }
        }
    }
}

/// A coordinator that is loading its state or finishing another transaction is every start's beginning.
fn belongs_to_a_start(failure: Failure) -> bool {
    matches!(
        failure,
        Failure::Code(
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
                | ErrorCode::COORDINATOR_NOT_AVAILABLE
                | ErrorCode::CONCURRENT_TRANSACTIONS
        )
    )
}

pub(crate) fn words(failure: Failure) -> String {
    match failure {
        Failure::Code(code) if is_of_rights(code) => format!("{code}: {GRANT_RIGHT}"),
        Failure::Code(code) => code.to_string(),
        Failure::Lost => "no answer".to_owned(),
        Failure::NotSent => "it could not be sent".to_owned(),
    }
}

/// What to do where a right is missing.
pub(crate) const GRANT_RIGHT: &str = "grant the right that `twinlog check` names";

fn is_of_rights(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED
            | ErrorCode::GROUP_AUTHORIZATION_FAILED
            | ErrorCode::CLUSTER_AUTHORIZATION_FAILED
            | ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    )
}

fn retrying_words(Retrying { doing, failure }: Retrying) -> String {
    format!("{doing} is tried again: {}", words(failure))
}

/// The state of a partition that does not move though the source has more.
const STALLED: &str = "stalled";

fn offline_words(offline: Offline) -> String {
    match offline {
        Offline::NoLeader => "the mirror's partition has no leader on the target: see to its brokers".to_owned(),
        Offline::Unreachable(node) => {
            format!("broker {node} of the target, which leads the mirror's partition, cannot be reached")
        }
    }
}

fn waiting_words(waits_for: WaitsFor, core: &Lane, short_of_budget: bool) -> String {
    match waits_for {
        WaitsFor::TargetOffline(offline) => offline_words(offline),
        WaitsFor::Retrying(retrying) => retrying_words(retrying),
        WaitsFor::Ends => "for the ends of both logs".to_owned(),
        WaitsFor::Map => "for a write to the map topic".to_owned(),
        WaitsFor::Fence => match core.transaction_failure() {
            Some(failure) => format!("for the lane's next fence, which the target refuses: {}", words(failure)),
            None => "for the lane's next fence".to_owned(),
        },
        WaitsFor::Marker => "for its marker in the mirror".to_owned(),
        WaitsFor::Answer => "for the target's answer".to_owned(),
        WaitsFor::Source if short_of_budget => "for room in the budget".to_owned(),
        WaitsFor::Source => "for the source".to_owned(),
    }
}

/// How a partition stands.
pub(super) fn status(
    partition: &Partition,
    core: &Lane,
    lane: u16,
    short_of_budget: bool,
    current_as_of_ms: Option<i64>,
) -> PartitionStatus {
    let (spec, progress) = (partition.spec(), partition.progress());
    let caught_up = progress.high_watermark.is_some_and(|end| progress.extent.synced >= end);
    let open_transactions = progress.last_stable.filter(|stable| progress.extent.synced >= *stable);
    let (standing, state, detail) = match partition.phase() {
        Phase::Halted(halt) if partition.is_halt_said() => (Standing::Halted, halt.name(), Some(halt.to_string())),
        Phase::Halted(halt) => (Standing::Waiting, "stopping", Some(halt.to_string())),
        _ if partition.is_truncated() => {
            let detail = "the target lost acknowledged records: what is left is looked for, the rest is copied again";
            (Standing::Waiting, "target-truncated", Some(detail.to_owned()))
        }
        _ if let Some(offline) = partition.offline() => {
            (Standing::Waiting, TARGET_OFFLINE, Some(offline_words(offline)))
        }
        _ if partition.is_stalled() => {
            (Standing::Waiting, STALLED, Some(waiting_words(partition.waits_for(), core, short_of_budget)))
        }
        Phase::Probing | Phase::Registering => (Standing::Waiting, "beginning", None),
        Phase::Unfenced | Phase::Fencing => (Standing::Waiting, "fencing", None),
        Phase::Scanning { .. } | Phase::CuttingBack { .. } | Phase::Parting { .. } => {
            (Standing::Waiting, "recovering", None)
        }
        Phase::Released => (Standing::Waiting, "moving", None),
        Phase::Active => match progress.retrying {
            Some(retrying) => (Standing::Waiting, "retrying", Some(retrying_words(retrying))),
            None if caught_up => (Standing::CaughtUp, "caught-up", None),
            None if let Some(stable) = open_transactions => {
                let detail = format!("what follows offset {stable} waits for transactions that are open on the source");
                (Standing::Copying, WAITING_FOR_TRANSACTIONS, Some(detail))
            }
            None => (Standing::Copying, "copying", None),
        },
    };
    let synced = progress.extent.synced;
    let lag = progress.high_watermark.filter(|_| progress.recovered).map(|end| end.since(synced));
    PartitionStatus {
        topic: spec.key.topic.clone(),
        target_topic: spec.target_topic.clone(),
        partition: spec.key.partition,
        lane,
        standing,
        state: state.to_owned(),
        detail,
        position: progress.recovered.then_some(progress.position.0),
        synced: progress.recovered.then_some(synced.0),
        high_watermark: progress.high_watermark.map(|offset| offset.0),
        last_stable_offset: progress.last_stable.map(|offset| offset.0),
        records: progress.records,
        bytes: progress.bytes,
        lost: partition.lost().offsets,
        lag_bytes: lag.and_then(|lag| estimated_bytes(lag, progress.records, progress.bytes)),
        current_as_of_ms: current_as_of_ms.filter(|_| progress.recovered),
        breached: None,
        decision: None,
    }
}

/// The bytes of so many offsets, by what was copied so far.
fn estimated_bytes(offsets: u64, records: u64, bytes: u64) -> Option<u64> {
    if offsets == 0 {
        return Some(0);
    }
    let estimated = u128::from(offsets) * u128::from(bytes) / u128::from(std::num::NonZero::new(records)?.get());
    u64::try_from(estimated).ok()
}
