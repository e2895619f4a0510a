//! Fetching from the source: one request a broker at a time, all partitions that want more in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use twinlog_client::admin::IsolationLevel;
use twinlog_client::{Error, ErrorCode, Purpose, Retry};
use twinlog_core::answer_size::AnswerSize;
use twinlog_core::batch::{Aborted, BatchKind, FetchedBatch};
use twinlog_core::fetch_session::{FetchSession, Want};
use twinlog_core::ids::{Now, SourceOffset};
use twinlog_core::io::{Failure, FetchResult, Input, LanePartition};
use twinlog_core::lane::Lane;
use twinlog_core::partition::{Partition, Phase};
use twinlog_wire::batch::{Batches, ControlType, Entry, control_type};
use twinlog_wire::fetch_response::FetchPartition;

use super::budget::Slots;
use super::outgoing::Outgoing;
use super::source_leaders::SourceLeaders;
use super::{LaneSetup, Message, failure, refresh, refresh_now_and_then, tell};
use crate::environment::RequestPartitions;
use crate::fetch::{self, Fetched, Limits, Session, fetch_in};

/// How long a broker may hold a request that leaves out partitions which will want more in a moment.
const SHORT_WAIT: Duration = Duration::from_millis(20);

/// Between two looks for the leader of a source partition that has none.
const LEADERLESS_PAUSE: Duration = Duration::from_secs(1);

/// One request may bring this part of the budget. With what one connection to the target may hold, a part is left for
/// others.
const REQUEST_PART: u64 = 4;

/// The least that a partition may have of an answer, so that batches of usual sizes come several at a time.
const PARTITION_BYTES_MIN: u64 = 64 << 10;

/// A fetch that came back.
#[derive(Debug)]
pub(super) struct FetchDone {
    node: i32,
    reserved: u64,
    took: Duration,
    /// What is wanted of the broker, in order, whether or not the request named it.
    wanted: Vec<(LanePartition, SourceOffset)>,
    /// Which answer was asked for.
    scope: Scope,
    result: Result<Fetched, Error>,
}

/// What a request is to the fetch session with its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// It has none.
    Alone,
    /// It begins one: the answer has all partitions.
    First,
    /// The answer has what is new.
    News,
}

/// The requests under way.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// Brokers that have a request of ours.
    busy: BTreeSet<i32>,
    leaders: SourceLeaders,
    brokers: BTreeMap<i32, Broker>,
    /// Somebody was not asked for want of budget the last time.
    short_of_budget: bool,
    /// The broker that was asked last: the next one comes first, so that a small budget goes round.
    last_node: i32,
}

/// How a broker is asked.
#[derive(Debug, Default)]
struct Broker {
    /// How large its answers may be.
    size: AnswerSize,
    /// Which of its partitions comes first: only the first is sure to get a batch above the limits, and who is left
    /// out has the next turn.
    turn: usize,
    session: FetchSession,
}

/// What one broker is asked for.
#[derive(Debug, Default)]
struct Choice {
    wants: Vec<Want>,
    /// How many of them are known to have more.
    behind: usize,
    /// Others have their turn after them, so that not all are asked for.
    takes_turns: bool,
    /// Some of its partitions are left out that want more now, or will in a moment.
    leaves_out: bool,
    /// Whose turn it is after that.
    turn: usize,
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
        self.leaders.look_up(&metadata, core);
        if self.leaders.without().iter().any(|id| core.wants_fetch(now, *id).is_some()) {
            refresh_now_and_then(&setup.source, LEADERLESS_PAUSE);
        }
        if self.leaders.of_each().all(|(node, _)| self.busy.contains(&node)) {
            return;
        }
        let full = outgoing.full(setup.share.bytes());
        let target = setup.target.known();
        // What is slow to one broker must not take the budget of what goes to others.
        let is_held_up = |id: LanePartition| {
            let leads = |partition: &Partition| {
                target.as_ref()?.leader(&partition.spec().target_topic, partition.spec().key.partition)
            };
            let node = core.partition(id).filter(|_| !full.is_empty()).and_then(leads);
            node.is_some_and(|node| full.contains(&outgoing.route_of(id, node)))
        };
        let mut choices = BTreeMap::new();
        for (node, led) in self.leaders.of_each().filter(|(node, _)| !self.busy.contains(node)) {
            let broker = self.brokers.entry(node).or_default();
            let choice = broker.choose(led, setup.request_partitions, core, now, is_held_up);
            if !choice.wants.is_empty() {
                choices.insert(node, choice);
            }
        }
        let share = setup.share.bytes() / u64::try_from(self.busy.len() + choices.len()).unwrap_or(1).max(1);
        let bytes_max =
            u64::try_from(setup.fetch.max_bytes).unwrap_or(1).min(share).min(setup.share.bytes() / REQUEST_PART);
        let later = choices.split_off(&self.last_node.saturating_add(1));
        for (node, choice) in later.into_iter().chain(choices) {
            let broker = self.brokers.entry(node).or_default();
            let Some(reserved) = slots.reserve(broker.size.bytes(bytes_max)) else {
                self.short_of_budget = true;
                break;
            };
            self.short_of_budget = false;
            self.last_node = node;
            broker.turn = choice.turn;
            self.busy.insert(node);
            let max_wait = setup.fetch.max_wait;
            let limits = Limits {
                max_bytes: i32::try_from(reserved).unwrap_or(i32::MAX),
                partition_max_bytes: partition_bytes(reserved, choice.behind, slots.largest_batch(), setup),
                max_wait: if choice.leaves_out { SHORT_WAIT.min(max_wait) } else { max_wait },
                isolation: IsolationLevel::ReadCommitted,
            };
            let mut wanted: Vec<_> = choice.wants.iter().map(|(id, position, _)| (*id, *position)).collect();
            wanted.sort_unstable_by_key(|(id, _)| *id);
            let (scope, wants, session) = broker.ask(choice, setup.request_partitions, core);
            let (source, lane, sender) = (setup.source.clone(), setup.lane, sender.clone());
            tokio::spawn(async move {
                let begun = Instant::now();
                let result = match source.connection(node, Purpose::Fetch, lane).await {
                    Ok(connection) => fetch_in(&connection, &wants, &session, limits).await,
                    Err(error) => Err(error),
                };
                let took = begun.elapsed();
                tell(&sender, Message::Fetched(FetchDone { node, reserved, took, wanted, scope, result }));
            });
        }
    }

    /// Whether requests are under way.
    pub(super) fn is_waiting(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Whether somebody was not asked for want of budget the last time.
    pub(super) fn is_short_of_budget(&self) -> bool {
        self.short_of_budget
    }

    /// What the core is told of an answer, and whether a leader must be looked up.
    pub(super) fn done(&mut self, done: FetchDone, slots: &mut Slots, core: &Lane, now_ms: u64) -> (Vec<Input>, bool) {
        self.busy.remove(&done.node);
        slots.unreserve(done.reserved);
        let broker = self.brokers.entry(done.node).or_default();
        let answer = match done.result {
            Ok(answer) => answer,
            Err(error) => {
                broker.session.lost();
                if done.scope == Scope::News && error.code().is_some_and(is_about_sessions) {
                    tracing::debug!(%error, "A fetch session is over.");
                    return (Vec::new(), false);
                }
                tracing::debug!(%error, "Fetch failed.");
                let failed = FetchResult::Failed(failure(&error));
                return (done.wanted.into_iter().map(|want| input(want, failed.clone())).collect(), true);
            }
        };
        broker.size.answered(answer.frame_bytes as u64, done.reserved, done.took);
        if done.scope != Scope::Alone {
            broker.session.answered(answer.session_id);
        }
        let frame = slots.frame(answer.frame_bytes as u64);
        let mut stale = false;
        let mut answered = vec![done.scope == Scope::News; done.wanted.len()];
        let mut inputs = Vec::new();
        for of_topic in answer.topics {
            let ids = self.leaders.of_topic(&of_topic.topic);
            for partition in of_topic.partitions {
                let id = usize::try_from(partition.index).ok().and_then(|index| *ids.get(index)?);
                let place = id.and_then(|id| done.wanted.binary_search_by_key(&id, |(id, _)| *id).ok());
                let Some(place) = place else { continue };
                let want = done.wanted[place];
                answered[place] = true;
                let error = partition.error;
                stale |= error.retry() == Retry::AfterMetadata;
                let result = read(partition, frame, slots, now_ms);
                if let (FetchResult::Failed(_), Some(partition)) = (&result, core.partition(want.0)) {
                    let key = &partition.spec().key;
                    let (topic, partition) = (&key.topic, key.partition);
                    tracing::debug!(topic, partition, %error, "A partition cannot be fetched.");
                }
                inputs.push(input(want, result));
            }
        }
        slots.frame_done(frame);
        for (want, _) in done.wanted.into_iter().zip(answered).filter(|(_, answered)| !answered) {
            let failed = FetchResult::Failed(Failure::Code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
            inputs.push(input(want, failed));
            stale = true;
        }
        (inputs, stale)
    }
}

fn input((partition, position): (LanePartition, SourceOffset), result: FetchResult) -> Input {
    Input::Fetched { partition, position, result }
}

/// Whether the broker says no more than that the session cannot go on.
fn is_about_sessions(code: ErrorCode) -> bool {
    [
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
        ErrorCode::INVALID_FETCH_SESSION_EPOCH,
        ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
    ]
    .contains(&code)
}

impl Broker {
    /// Goes through the partitions that it leads, from whose turn it is. Where the last answer was full, some are left
    /// out if many have more: to name them all costs more than it brings.
    fn choose(
        &self,
        led: &[LanePartition],
        most: RequestPartitions,
        core: &Lane,
        now: Now,
        is_held_up: impl Fn(LanePartition) -> bool,
    ) -> Choice {
        let first = self.turn % led.len().max(1);
        let mut choice = Choice { turn: first + 1, ..Choice::default() };
        let (before, from) = led.split_at(first);
        for (place, id) in (first..).zip(from.iter().chain(before)) {
            let Some(partition) = core.partition(*id) else { continue };
            let Some((position, epoch)) = core.wants_fetch(now, *id) else {
                choice.leaves_out |= matches!(partition.phase(), Phase::Active) && partition.fetch_at(now).is_none();
                continue;
            };
            if choice.behind >= most.0 && self.size.was_full() {
                (choice.takes_turns, choice.leaves_out, choice.turn) = (true, true, place);
                break;
            }
            if !is_held_up(*id) {
                choice.wants.push((*id, position, epoch));
                choice.behind += usize::from(partition.is_behind());
            }
        }
        choice
    }

    /// What a request for these says. Where there are many that are not asked for in turns, it belongs to a session.
    fn ask(&mut self, choice: Choice, most: RequestPartitions, core: &Lane) -> (Scope, Vec<fetch::Want>, Session) {
        let alone = choice.takes_turns || choice.wants.len() <= most.0;
        let asked = if alone { self.session.leave(choice.wants) } else { self.session.next(choice.wants) };
        let scope = match alone {
            true => Scope::Alone,
            false if asked.is_full() => Scope::First,
            false => Scope::News,
        };
        let forgotten = asked.forgotten.into_iter().filter_map(|id| named((id, SourceOffset(0), -1), core)).collect();
        let session = Session { id: asked.session_id, epoch: asked.session_epoch, forgotten };
        (scope, asked.named.into_iter().filter_map(|want| named(want, core)).collect(), session)
    }
}

/// What is asked for of a partition, by its name.
fn named((id, from, last_epoch): Want, core: &Lane) -> Option<fetch::Want> {
    let spec = core.partition(id)?.spec();
    let (topic, topic_id, partition) = (spec.key.topic.clone(), spec.source_topic_id, spec.key.partition);
    Some(fetch::Want { topic, topic_id, partition, from: from.0, last_epoch })
}

/// What each partition may have of an answer, so that all that have more have something in it: a Produce request takes
/// one batch of each. A larger batch comes only where it is the first, so there is room for two of the largest.
fn partition_bytes(answer_bytes: u64, behind: usize, largest_batch: u64, setup: &LaneSetup) -> i32 {
    let fair = answer_bytes / u64::try_from(behind.max(1)).unwrap_or(u64::MAX);
    let least = PARTITION_BYTES_MIN.max(2 * largest_batch);
    i32::try_from(fair.max(least)).unwrap_or(i32::MAX).min(setup.fetch.partition_max_bytes)
}

fn read(partition: FetchPartition, frame: usize, slots: &mut Slots, now_ms: u64) -> FetchResult {
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

#[cfg(test)]
mod tests {
    use allocation_counter::measure;
    use bytes::Bytes;
    use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

    use super::*;
    use crate::lane::budget::Share;

    /// A partition's part of an answer with so many batches.
    fn answer(batches: usize) -> FetchPartition {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.push(&NewRecord { timestamp: 0, key: None, value: Some(b"value"), headers: &[] });
        let batch = builder.finish().unwrap();
        FetchPartition {
            index: 0,
            error: ErrorCode::NONE,
            high_watermark: 0,
            last_stable_offset: 0,
            log_start_offset: 0,
            diverging_epoch: None,
            current_leader: None,
            aborted: Vec::new(),
            preferred_read_replica: -1,
            records: std::iter::repeat_n(batch, batches).flatten().collect(),
        }
    }

    fn take(answer: &FetchPartition, slots: &mut Slots) -> Vec<FetchedBatch> {
        let frame = slots.frame(answer.records.len() as u64);
        let result = read(answer.clone(), frame, slots, 0);
        slots.frame_done(frame);
        let FetchResult::Batches { batches, .. } = result else { unreachable!("{result:?}") };
        batches
    }

    /// How often memory is allocated until each batch stands in the parts that are sent, once the lane has had as many.
    fn allocations(batches: usize) -> u64 {
        let (answer, mut slots) = (answer(batches), Slots::new(Share::of(1 << 20, 1)));
        for batch in take(&answer, &mut slots) {
            slots.release(batch.slot);
        }
        let counted = measure(|| {
            let taken = take(&answer, &mut slots);
            assert_eq!(taken.iter().filter(|batch| slots.parts(batch.slot).is_some()).count(), batches);
        });
        counted.count_total
    }

    #[test]
    fn allocations_do_not_grow_with_the_batches_of_an_answer() {
        let (few, many) = (allocations(16), allocations(4096));
        assert!(many <= few + 8, "{few} for 16 batches, {many} for 4096: only their list may double");
    }

    #[test]
    fn a_body_is_sent_from_the_memory_that_it_came_in() {
        let (answer, mut slots) = (answer(3), Slots::new(Share::of(1 << 20, 1)));
        let inside = |body: &Bytes| answer.records.as_ptr_range().contains(&body.as_ptr());
        let taken = take(&answer, &mut slots);
        let bodies: Vec<_> = taken.iter().filter_map(|batch| slots.parts(batch.slot)).collect();
        assert_eq!(bodies.len(), 3);
        assert!(bodies.iter().all(|parts| inside(&parts.body)));
    }
}
