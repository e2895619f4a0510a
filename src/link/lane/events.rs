//! What a lane tells people: one line a change of state, and the snapshot that `status` and the display show.

use twinlog_client::ErrorCode;
use twinlog_core::io::{Event, Failure, LanePartition};
use twinlog_core::lane::Lane;
use twinlog_core::partition::{Partition, Phase};
use twinlog_core::status::{PartitionStatus, Standing};

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

    pub(super) fn log(&self, event: &Event, core: &Lane) {
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
            Event::GaveWay(id, position) => {
                let (topic, partition) = name(id);
                tracing::warn!(
                    link, lane, topic, partition, %position,
                    "The target has taken nothing of a partition for long: what follows is fetched again later."
                );
            }
            Event::Halted(id, halt) => {
                let (topic, partition) = name(id);
                let state = halt.name();
                tracing::error!(link, lane, topic, partition, state, reason = %halt, "Partition stopped.");
            }
            Event::Retrying(Some(id), failure, what) => {
                let (topic, partition) = name(id);
                let failure_words = words(*failure);
                if belongs_to_a_start(*failure) {
                    tracing::info!(link, lane, topic, partition, doing = what, failure = failure_words, "Waiting.");
                } else {
                    tracing::warn!(
                        link,
                        lane,
                        topic,
                        partition,
                        doing = what,
                        failure = failure_words,
                        "Trying again."
                    );
                }
            }
            Event::Retrying(None, failure, what) if belongs_to_a_start(*failure) => {
                tracing::info!(link, lane, doing = what, failure = words(*failure), "Waiting.");
            }
            Event::Retrying(None, failure, what) => {
                tracing::warn!(link, lane, doing = what, failure = words(*failure), "Trying again.");
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
        Failure::Code(code) => code.to_string(),
        Failure::Lost => "no answer".to_owned(),
        Failure::NotSent => "no connection".to_owned(),
    }
}

/// How a partition stands.
pub(super) fn status(partition: &Partition, lane: u16) -> PartitionStatus {
    let (spec, progress) = (partition.spec(), partition.progress());
    let caught_up = progress.high_watermark.is_some_and(|end| progress.extent.synced >= end);
    let (standing, state, detail) = match partition.phase() {
        Phase::Halted(halt) => (Standing::Halted, halt.name(), Some(halt.to_string())),
        Phase::Probing | Phase::Registering => (Standing::Waiting, "beginning", None),
        Phase::Unfenced | Phase::Fencing => (Standing::Waiting, "fencing", None),
        Phase::Scanning { .. } => (Standing::Waiting, "recovering", None),
        Phase::Active => match progress.retrying {
            Some(failure) => (Standing::Waiting, "retrying", Some(words(failure))),
            None if caught_up => (Standing::CaughtUp, "caught-up", None),
            None => (Standing::Copying, "copying", None),
        },
    };
    PartitionStatus {
        topic: spec.key.topic.clone(),
        target_topic: spec.target_topic.clone(),
        partition: spec.key.partition,
        lane,
        standing,
        state: state.to_owned(),
        detail,
        position: progress.recovered.then_some(progress.position.0),
        synced: progress.recovered.then_some(progress.extent.synced.0),
        high_watermark: progress.high_watermark.map(|offset| offset.0),
        last_stable_offset: progress.last_stable.map(|offset| offset.0),
        records: progress.records,
        bytes: progress.bytes,
    }
}
