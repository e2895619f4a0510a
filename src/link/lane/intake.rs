//! Fetching from the source: one request a broker at a time, all partitions that want more in it. Of a broker that is
//! so far away that the line to it would be idle most of the time, the next ones are asked for before the last one is
//! answered.

mod answer;
mod broker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use twinlog_client::admin::IsolationLevel;
use twinlog_client::{Error, ErrorCode, Purpose, Retry};
use twinlog_core::ids::{Now, SourceOffset};
use twinlog_core::io::{Failure, FetchResult, Input, LanePartition};
use twinlog_core::lane::Lane;
use twinlog_core::partition::Partition;

use self::answer::read;
use self::broker::{Broker, Scope, Wanted};
use super::budget::Slots;
use super::currency::Currency;
use super::outgoing::Outgoing;
use super::source_leaders::SourceLeaders;
use super::{LaneSetup, Message, failure, refresh, refresh_now_and_then, tell};
use crate::fetch::{Fetched, Limits, fetch_in};

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
    pub(super) node: i32,
    /// Which of the requests to this broker.
    number: u64,
    took: Duration,
    result: Result<Fetched, Error>,
}

/// The requests under way.
#[derive(Debug, Default)]
pub(super) struct Intake {
    leaders: SourceLeaders,
    brokers: BTreeMap<i32, Broker>,
    currency: Currency,
    /// Somebody was not asked for want of budget the last time.
    short_of_budget: bool,
    /// The broker that was asked last: the next one comes first, so that a small budget goes round.
    last_node: i32,
}

impl Intake {
    /// A partition has another source topic than before.
    pub(super) fn look_up_again(&mut self) {
        self.leaders = SourceLeaders::default();
    }

    /// Sends a request to each broker that has none and leads partitions that want more, and one more to those that are
    /// far away. Whether there was any: if so, there may be more to ask for.
    pub(super) fn fetch_more(
        &mut self,
        setup: &LaneSetup,
        slots: &mut Slots,
        core: &Lane,
        outgoing: &Outgoing,
        now: Now,
        sender: &mpsc::UnboundedSender<Message>,
    ) -> bool {
        if !core.is_running() {
            return false;
        }
        let Some(metadata) = setup.source.known() else {
            refresh(&setup.source);
            return false;
        };
        if self.leaders.look_up(&metadata, core) {
            slots.take_part(true);
        }
        if self.leaders.without().iter().any(|id| core.wants_fetch(now, *id).is_some()) {
            refresh_now_and_then(&setup.source, LEADERLESS_PAUSE);
        }
        let brokers = u64::try_from(self.leaders.of_each().count()).unwrap_or(u64::MAX).max(REQUEST_PART);
        let bytes_max = u64::try_from(setup.fetch.max_bytes).unwrap_or(1).min(setup.share.bytes() / brokers);
        let takes_more = |node| self.brokers.get(&node).is_none_or(|broker| broker.takes_more(bytes_max));
        let asked: Vec<_> = self.leaders.of_each().filter(|(node, _)| takes_more(*node)).collect();
        if asked.is_empty() {
            return false;
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
        for (node, led) in asked {
            let broker = self.brokers.entry(node).or_default();
            choices.extend(broker.choose(led, setup.request_partitions, core, now, is_held_up).map(|it| (node, it)));
        }
        let mut is_sent = false;
        let later = choices.split_off(&self.last_node.saturating_add(1));
        for (node, choice) in later.into_iter().chain(choices) {
            let broker = self.brokers.entry(node).or_default();
            let Some(reserved) = slots.reserve(broker.size.bytes(bytes_max)) else {
                if broker.is_busy() {
                    // Nobody waits for what would only come ahead.
                    continue;
                }
                self.short_of_budget = true;
                break;
            };
            self.short_of_budget = false;
            self.last_node = node;
            is_sent = true;
            let max_wait = setup.fetch.max_wait;
            let limits = Limits {
                max_bytes: i32::try_from(reserved).unwrap_or(i32::MAX),
                partition_max_bytes: partition_bytes(reserved, choice.behind, slots.largest_batch(), setup),
                max_wait: if choice.leaves_out { SHORT_WAIT.min(max_wait) } else { max_wait },
                isolation: IsolationLevel::ReadCommitted,
            };
            let partition_bytes = u64::try_from(limits.partition_max_bytes).unwrap_or_default();
            let request = broker.ask(choice, setup.request_partitions, (reserved, partition_bytes), core);
            let (source, lane, sender) = (setup.source.clone(), setup.lane, sender.clone());
            let rack = Arc::clone(&setup.rack);
            tokio::spawn(async move {
                let begun = Instant::now();
                let result = match source.connection(node, Purpose::Fetch, lane).await {
                    Ok(connection) => fetch_in(&connection, &request.wants, &request.session, limits, &rack).await,
                    Err(error) => Err(error),
                };
                let took = begun.elapsed();
                tell(&sender, Message::Fetched(FetchDone { node, number: request.number, took, result }));
            });
        }
        is_sent
    }

    /// As of when a partition is current, in ms since 1970.
    pub(super) fn current_as_of_ms(&mut self, id: LanePartition, synced: SourceOffset) -> Option<i64> {
        self.currency.as_of(id, synced)
    }

    /// Whether requests are under way.
    pub(super) fn is_waiting(&self) -> bool {
        self.brokers.values().any(Broker::is_busy)
    }

    /// Whether somebody was not asked for want of budget the last time.
    pub(super) fn is_short_of_budget(&self) -> bool {
        self.short_of_budget
    }

    /// A request was answered.
    pub(super) fn came(&mut self, done: FetchDone) {
        self.brokers.entry(done.node).or_default().came(done.number, done.result, done.took);
    }

    /// What the core is told of the next answer of a broker, in the order in which they were asked for, and whether a
    /// leader must be looked up.
    pub(super) fn next_answered(
        &mut self,
        node: i32,
        slots: &mut Slots,
        core: &Lane,
        now: Now,
    ) -> Option<(Vec<Input>, bool)> {
        let broker = self.brokers.get_mut(&node)?;
        let (asked, result) = broker.next_answered()?;
        slots.unreserve(asked.reserved);
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                broker.session.lost();
                if asked.scope == Scope::News && error.code().is_some_and(is_about_sessions) {
                    tracing::debug!(%error, "A fetch session is over.");
                    return Some((Vec::new(), false));
                }
                tracing::debug!(%error, "Fetch failed.");
                for want in &asked.wanted {
                    self.leaders.back_to_leader(want.id, node);
                }
                let failed = FetchResult::Failed(failure(&error));
                return Some((asked.wanted.iter().filter_map(|want| want.input(failed.clone(), core)).collect(), true));
            }
        };
        if asked.scope != Scope::Alone {
            broker.session.answered(answer.session_id);
        }
        let frame = slots.frame(answer.frame_bytes as u64);
        let synced = |want: Wanted| core.partition(want.id).map_or(want.from, Partition::synced);
        let mut stale = false;
        // Replicas that the leader names, and partitions that a replica did not send.
        let (mut named, mut failed) = (Vec::new(), Vec::new());
        let mut answered = vec![false; asked.wanted.len()];
        let mut inputs = Vec::new();
        for of_topic in answer.topics {
            let ids = self.leaders.of_topic(&of_topic.topic);
            for partition in of_topic.partitions {
                let id = usize::try_from(partition.index).ok().and_then(|index| *ids.get(index)?);
                let Some(place) = id.and_then(|id| asked.place(id)) else { continue };
                let want = asked.wanted[place];
                answered[place] = true;
                let error = partition.error;
                stale |= error.retry() == Retry::AfterMetadata;
                let bytes = partition.records.len() as u64;
                let nearer = partition.preferred_read_replica;
                let mut result = read(partition, frame, slots, now.mono_ms);
                if nearer >= 0 {
                    named.push((want.id, nearer));
                } else if !matches!(result, FetchResult::Batches { .. }) && self.leaders.is_nearer(want.id, node) {
                    failed.push(want.id);
                    // Where its log begins and ends says nothing of the leader's.
                    if !matches!(result, FetchResult::Failed(_)) {
                        result = FetchResult::Failed(Failure::Code(ErrorCode::OFFSET_NOT_AVAILABLE));
                    }
                }
                self.currency.answered(want.id, want.from, Some(&result), synced(want), now.wall_ms);
                if !broker.is_of_use(&asked, want, bytes, &result, core) {
                    release(result, slots);
                    continue;
                }
                if let (FetchResult::Failed(_), Some(partition)) = (&result, core.partition(want.id)) {
                    let key = &partition.spec().key;
                    let (topic, partition) = (&key.topic, key.partition);
                    tracing::debug!(topic, partition, %error, "A partition cannot be fetched.");
                }
                inputs.extend(want.input(result, core));
            }
        }
        slots.frame_done(frame);
        named.into_iter().for_each(|(id, nearer)| self.leaders.read_from(id, nearer, core));
        failed.into_iter().for_each(|id| self.leaders.back_to_leader(id, node));
        for (want, _) in asked.wanted.iter().zip(answered).filter(|(_, answered)| !answered) {
            if asked.scope == Scope::News {
                self.currency.answered(want.id, want.from, None, synced(*want), now.wall_ms);
                continue;
            }
            let failed = FetchResult::Failed(Failure::Code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
            inputs.extend(want.input(failed, core));
            stale = true;
        }
        Some((inputs, stale))
    }
}

/// Nobody wants its batches.
fn release(result: FetchResult, slots: &mut Slots) {
    if let FetchResult::Batches { batches, .. } = result {
        batches.into_iter().for_each(|batch| slots.release(batch.slot));
    }
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

/// What each partition may have of an answer, so that all that have more have something in it: a Produce request takes
/// one batch of each. A larger batch comes only where it is the first, so there is room for two of the largest.
fn partition_bytes(answer_bytes: u64, behind: usize, largest_batch: u64, setup: &LaneSetup) -> i32 {
    let fair = answer_bytes / u64::try_from(behind.max(1)).unwrap_or(u64::MAX);
    let least = PARTITION_BYTES_MIN.max(2 * largest_batch);
    i32::try_from(fair.max(least)).unwrap_or(i32::MAX).min(setup.fetch.partition_max_bytes)
}
