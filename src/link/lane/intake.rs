//! Fetching from the source: one request a broker at a time, all partitions that want more in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc;
use twinlog_client::admin::IsolationLevel;
use twinlog_client::{Error, ErrorCode, Purpose, Retry};
use twinlog_core::batch::{Aborted, BatchKind, FetchedBatch};
use twinlog_core::ids::{Now, SourceOffset};
use twinlog_core::io::{Failure, FetchResult, Input, LanePartition};
use twinlog_core::lane::Lane;
use twinlog_core::partition::{Partition, Phase};
use twinlog_wire::batch::{Batches, ControlType, Entry, control_type};
use twinlog_wire::fetch_response::FetchPartition;

use super::budget::Slots;
use super::outgoing::Outgoing;
use super::{LaneSetup, Message, failure, refresh, refresh_now_and_then, tell};
use crate::fetch::{Limits, Want, fetch};

/// How long a broker may hold a request that leaves out partitions which will want more in a moment.
const SHORT_WAIT: Duration = Duration::from_millis(20);

/// Between two looks for the leader of a source partition that has none.
const LEADERLESS_PAUSE: Duration = Duration::from_secs(1);

/// One request may bring this part of the budget. With what one connection to the target may hold, a part is left for
/// others.
const REQUEST_PART: u64 = 4;

/// A fetch that came back.
#[derive(Debug)]
pub(super) struct FetchDone {
    node: i32,
    reserved: u64,
    wanted: Vec<(LanePartition, SourceOffset)>,
    result: Result<(Vec<(usize, FetchPartition)>, usize), Error>,
}

/// The requests under way.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// Brokers that have a request of ours.
    busy: BTreeSet<i32>,
    /// The order of partitions in requests turns, so that each comes first now and then: only the first is sure to get
    /// a batch above the limits.
    turn: usize,
    /// Somebody was not asked for want of budget the last time.
    short_of_budget: bool,
    /// The broker that was asked last: the next one comes first, so that a small budget goes round.
    last_node: i32,
}

impl Intake {
    /// Sends a request to each broker that has none and leads partitions that want more.
    pub(super) fn fetch_more(
        &mut self,
        setup: &LaneSetup,
        slots: &mut Slots,
        core: &Lane,
        outgoing: &Outgoing,
        now: Now,
        sender: &mpsc::UnboundedSender<Message>,
    ) {
        if !core.is_running() {
            return;
        }
        let Some(metadata) = setup.source.known() else { return refresh(&setup.source) };
        let mut wants: BTreeMap<i32, Vec<(LanePartition, Want)>> = BTreeMap::new();
        let mut wanted = BTreeSet::new();
        let mut leaders = BTreeSet::new();
        let mut leaderless = false;
        let full = outgoing.full(setup.share.bytes());
        let target = setup.target.known();
        for (id, position, last_epoch) in core.wants_fetch(now) {
            let Some(partition) = core.partition(id) else { continue };
            wanted.insert(id);
            let spec = partition.spec();
            // What is slow to one broker must not take the budget of what goes to others.
            let leads = |topic: &str| target.as_ref()?.leader(topic, spec.key.partition);
            if !full.is_empty()
                && leads(&spec.target_topic).is_some_and(|node| full.contains(&outgoing.route_of(id, node)))
            {
                continue;
            }
            let Some(node) = metadata.leader(&spec.key.topic, spec.key.partition) else {
                leaderless = true;
                continue;
            };
            leaders.insert(node);
            if self.busy.contains(&node) {
                continue;
            }
            let want = Want {
                topic: spec.key.topic.clone(),
                topic_id: spec.source_topic_id,
                partition: spec.key.partition,
                from: position.0,
                last_epoch,
            };
            wants.entry(node).or_default().push((id, want));
        }
        if leaderless {
            refresh_now_and_then(&setup.source, LEADERLESS_PAUSE);
        }
        // A partition that is left out now will want more as soon as the target answers.
        let copying = |p: &&Partition| matches!(p.phase(), Phase::Active) && p.fetch_at(now).is_none();
        let active = core.partitions().iter().filter(copying).count();
        let max_wait = if active > wanted.len() { SHORT_WAIT.min(setup.fetch.max_wait) } else { setup.fetch.max_wait };
        let share = setup.share.bytes() / u64::try_from(leaders.len().max(1)).unwrap_or(1);
        let max_bytes =
            u64::try_from(setup.fetch.max_bytes).unwrap_or(1).min(share).min(setup.share.bytes() / REQUEST_PART);
        let later = wants.split_off(&self.last_node.saturating_add(1));
        for (node, mut wants) in later.into_iter().chain(wants) {
            let Some(reserved) = slots.reserve(max_bytes) else {
                self.short_of_budget = true;
                break;
            };
            self.short_of_budget = false;
            self.last_node = node;
            self.turn = self.turn.wrapping_add(1);
            let turn = self.turn % wants.len().max(1);
            wants.rotate_left(turn);
            self.busy.insert(node);
            let limits = Limits {
                max_bytes: i32::try_from(reserved).unwrap_or(i32::MAX),
                partition_max_bytes: setup.fetch.partition_max_bytes,
                max_wait,
                isolation: IsolationLevel::ReadCommitted,
            };
            let (source, lane, sender) = (setup.source.clone(), setup.lane, sender.clone());
            tokio::spawn(async move {
                let (ids, wants): (Vec<_>, Vec<_>) =
                    wants.into_iter().map(|(id, want)| ((id, SourceOffset(want.from)), want)).unzip();
                let result = match source.connection(node, Purpose::Fetch, lane).await {
                    Ok(connection) => fetch(&connection, &wants, limits).await,
                    Err(error) => Err(error),
                };
                tell(&sender, Message::Fetched(FetchDone { node, reserved, wanted: ids, result }));
            });
        }
    }

    /// Whether somebody was not asked for want of budget the last time.
    pub(super) fn is_short_of_budget(&self) -> bool {
        self.short_of_budget
    }

    /// What the core is told of an answer, and whether a leader must be looked up.
    pub(super) fn done(&mut self, done: FetchDone, slots: &mut Slots, core: &Lane, now_ms: u64) -> (Vec<Input>, bool) {
        self.busy.remove(&done.node);
        slots.unreserve(done.reserved);
        let mut stale = false;
        let input = |(partition, position): (LanePartition, SourceOffset), result| Input::Fetched {
            partition,
            position,
            result,
        };
        let (answers, frame_bytes) = match done.result {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "Fetch failed.");
                let failed = FetchResult::Failed(failure(&error));
                return (done.wanted.into_iter().map(|want| input(want, failed.clone())).collect(), true);
            }
        };
        let frame = slots.frame(frame_bytes as u64);
        let mut missing: BTreeSet<usize> = (0..done.wanted.len()).collect();
        let mut inputs = Vec::with_capacity(done.wanted.len());
        for (place, partition) in answers {
            let Some(want) = done.wanted.get(place) else { continue };
            missing.remove(&place);
            let error = partition.error;
            stale |= error.retry() == Retry::AfterMetadata;
            let result = read(partition, frame, slots, now_ms);
            if let (FetchResult::Failed(_), Some(partition)) = (&result, core.partition(want.0)) {
                let key = &partition.spec().key;
                let (topic, partition) = (&key.topic, key.partition);
                tracing::debug!(topic, partition, %error, "A partition cannot be fetched.");
            }
            inputs.push(input(*want, result));
        }
        slots.frame_done(frame);
        for want in missing.into_iter().filter_map(|place| done.wanted.get(place)) {
            let failed = FetchResult::Failed(Failure::Code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
            inputs.push(input(*want, failed));
            stale = true;
        }
        (inputs, stale)
    }
}

fn read(partition: FetchPartition, frame: u64, slots: &mut Slots, now_ms: u64) -> FetchResult {
    match partition.error {
        ErrorCode::NONE => {}
        ErrorCode::OFFSET_OUT_OF_RANGE => return FetchResult::OutOfRange,
        code => return FetchResult::Failed(Failure::Code(code)),
    }
    if let Some(diverging) = partition.diverging_epoch {
        return FetchResult::Diverging { end: SourceOffset(diverging.end_offset) };
    }
    let mut batches = Vec::new();
    for entry in Batches::new(partition.records) {
        let batch = match entry {
            Ok(Entry::V2(meta, bytes)) => {
                let kind = match meta.is_control() {
                    false => BatchKind::Records(meta),
                    true => BatchKind::Control { meta, abort: control_type(&bytes) == Ok(ControlType::Abort) },
                };
                FetchedBatch { slot: slots.hold(frame, bytes, now_ms), kind }
            }
            Ok(Entry::Legacy { offset, bytes, .. }) => FetchedBatch {
                slot: slots.hold(frame, bytes, now_ms),
                kind: BatchKind::Legacy { offset: SourceOffset(offset) },
            },
            Err(error) => {
                tracing::warn!(%error, "The source sent a batch that cannot be read; it is fetched again.");
                if batches.is_empty() {
                    return FetchResult::Failed(Failure::Code(ErrorCode::CORRUPT_MESSAGE));
                }
                // What came before it is good; the next fetch begins at it.
                break;
            }
        };
        batches.push(batch);
    }
    let aborted = partition.aborted.iter().map(|transaction| Aborted {
        producer_id: transaction.producer_id,
        first_offset: SourceOffset(transaction.first_offset),
    });
    FetchResult::Batches {
        high_watermark: SourceOffset(partition.high_watermark),
        last_stable: SourceOffset(partition.last_stable_offset),
        log_start: SourceOffset(partition.log_start_offset),
        batches,
        aborted: aborted.collect(),
    }
}
