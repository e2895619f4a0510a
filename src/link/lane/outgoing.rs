//! Writing to mirrors: one batch a partition a request, as many partitions as there are in it, a few requests in
//! flight a broker. What waits meanwhile goes together in the next one.
//!
//! A partition stays with one connection while anything of it is in flight there, whatever the metadata says meanwhile:
//! on two connections a later batch could overtake an earlier one. A partition that is slow ([`Pace`]) changes to a
//! connection for slow ones, once nothing of it is in flight, and back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::protocol::StrBytes;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;
use tokio::time::Instant;
use twinlog_client::{Cluster, Connection, Error, ErrorCode, Metadata, Permit, RawRequest, Reply, Retry};
use twinlog_core::batch::Slot;
use twinlog_core::ids::{Producer, TargetOffset, TopicId};
use twinlog_core::io::{Input, LanePartition};
use twinlog_core::lane::Lane;
use twinlog_core::outbox::Answer;
use twinlog_core::pace::Pace;
use twinlog_core::partition::Partition;
use twinlog_wire::frame::ResponseFrame;
use twinlog_wire::patch::{Stamp, patch_head};
use twinlog_wire::produce_request::{ProduceHead, ProducePartition, ProduceTopic, encode};
use twinlog_wire::produce_response::{PartitionResponse, ProduceResponse};
use twinlog_wire::topic::Topic;
use uuid::Uuid;

use super::budget::Slots;
use super::route::Route;
use super::{LaneSetup, Message, refresh, tell};
use crate::failpoint;
use crate::in_order::InOrder;
use crate::lease::Lease;

/// Kafka's number of Produce.
pub(super) const PRODUCE: i16 = 0;
/// From here on topics are named by id (KIP-516).
const TOPIC_ID_SINCE: i16 = 13;
/// From here on answers have tagged fields.
const FLEXIBLE_SINCE: i16 = 9;
/// A request grows up to about this many bytes.
const REQUEST_BYTES: u64 = 4 << 20;
/// With a small budget, up to this part of it: what is in flight to one broker is a quarter of the budget then.
const BUDGET_PARTS: u64 = 16;
/// This part of the budget may wait for one connection or be in flight on it.
const LINE_PART: u64 = 2;
/// A broker that works on one request of the shared connection for so long does not answer. It was asked not to wait
/// for followers for more than a second.
const SILENT: Duration = Duration::from_secs(10);
/// Between two attempts to connect to a broker that could not be reached.
const PROBE: Duration = Duration::from_secs(1);

/// A batch that is to be sent.
#[derive(Clone, Copy, Debug)]
struct Sending {
    partition: LanePartition,
    slot: Slot,
    attempt: u32,
    producer: Producer,
    sequence: i32,
    bytes: u64,
}

impl Sending {
    fn moved(&self) -> Input {
        Input::MirrorMoved { partition: self.partition, slot: self.slot, attempt: self.attempt }
    }

    fn input(&self, answer: Answer) -> Input {
        Input::Produced { partition: self.partition, slot: self.slot, attempt: self.attempt, answer }
    }
}

/// The batches of a request, by the names that its answer has for them.
type Sent = Vec<((Topic, i32), Sending)>;

/// A request that was answered, or lost.
#[derive(Debug)]
pub(super) struct ProduceDone {
    route: Route,
    version: i16,
    begun: Instant,
    sent: Sent,
    result: Result<Bytes, Error>,
}

/// A connection, and what waits for it.
#[derive(Debug, Default)]
struct Line {
    connection: Option<Arc<Connection>>,
    connecting: bool,
    /// Counts the connections.
    connected: u64,
    waiting: VecDeque<Sending>,
    in_flight: usize,
    /// Of batches that wait or are in flight.
    bytes: u64,
    /// Since when the broker works on the oldest request.
    busy_since: Option<Instant>,
}

impl Line {
    fn forget_closed(&mut self) {
        if self.in_flight == 0 && self.connection.as_ref().is_some_and(|connection| connection.is_closed()) {
            self.connection = None;
        }
    }
}

/// All brokers that lead mirrors of the lane.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    fresh: Vec<Sending>,
    lines: BTreeMap<Route, Line>,
    /// Where a partition has batches waiting or in flight, and how many.
    bound: FxHashMap<LanePartition, (Route, usize)>,
    /// Where the core last heard that a partition's batches go: by which route, the leader's epoch, and the connection.
    /// Anything else may have lost acknowledged records: the core looks before it sends.
    known: FxHashMap<LanePartition, (Route, Option<i32>, u64)>,
    /// What waited for a connection came back to the core. Of these partitions a batch that the core sent before it
    /// heard of it comes back, too, or it would overtake them.
    given_back: BTreeSet<LanePartition>,
    pace: Pace,
    /// Brokers that do not answer, each with the time of the next attempt to connect.
    unreachable: BTreeMap<i32, Instant>,
    changes_of_reach: u64,
    stored_bytes: u64,
}

impl Outgoing {
    /// Takes a batch; [`Outgoing::flush`] sends it.
    pub(super) fn push(
        &mut self,
        partition: LanePartition,
        slot: Slot,
        attempt: u32,
        producer: Producer,
        sequence: i32,
        bytes: usize,
    ) {
        self.fresh.push(Sending { partition, slot, attempt, producer, sequence, bytes: bytes as u64 });
    }

    /// Whether a broker answers, as far as anybody tried.
    pub(super) fn is_reachable(&self, node: i32) -> bool {
        !self.unreachable.contains_key(&node)
    }

    /// How often that changed of any broker.
    pub(super) fn changes_of_reach(&self) -> u64 {
        self.changes_of_reach
    }

    /// Whether requests are in flight.
    pub(super) fn is_waiting(&self) -> bool {
        self.lines.values().any(|line| line.in_flight > 0)
    }

    /// Bytes of all batches that brokers said to have stored.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Connections that hold as much of the budget as they may. More for their partitions would be taken from others.
    pub(super) fn full(&self, budget_bytes: u64) -> BTreeSet<Route> {
        let full = self.lines.iter().filter(|(_, line)| line.bytes >= budget_bytes / LINE_PART);
        full.map(|(route, _)| *route).collect()
    }

    /// The connection of a partition, as far as it is known where its next batch goes.
    pub(super) fn route_of(&self, partition: LanePartition, leader: i32) -> Route {
        self.bound.get(&partition).map_or_else(|| Route::shared(leader), |(route, _)| *route)
    }

    /// Sends what can be sent. What cannot go anywhere now comes back.
    pub(super) fn flush(
        &mut self,
        setup: &LaneSetup,
        slots: &Slots,
        core: &Lane,
        now_ms: u64,
        sender: &mpsc::UnboundedSender<Message>,
    ) -> Vec<Input> {
        let mut refused = self.take_from_the_silent();
        let mut moved = std::mem::take(&mut self.given_back);
        let holds = setup.lease.holds();
        let metadata = setup.target.known();
        for sending in std::mem::take(&mut self.fresh) {
            let is_slow = self.pace.is_slow(now_ms, sending.partition);
            let bound = self.bound.get(&sending.partition).map(|(route, _)| *route);
            if bound.is_some_and(|route| route.is_slow() != is_slow) {
                // It changes its connection once nothing of it is in flight.
                self.fresh.push(sending);
                continue;
            }
            let led = bound.is_none().then(|| leader(sending.partition, core, metadata.as_deref())).flatten();
            let route = bound.or_else(|| Some(self.route(led?.0, is_slow)));
            let Some(route) = route.filter(|route| holds && self.is_reachable(route.node)) else {
                refused.push(sending.input(Answer::NotSent));
                continue;
            };
            let line = self.lines.entry(route).or_default();
            if let Some((_, epoch)) = led {
                line.forget_closed();
                // Without a connection it hears when there is one.
                let is_connected = line.connection.is_some();
                let place = (route, epoch, line.connected + u64::from(!is_connected));
                let is_known = self.known.insert(sending.partition, place) == Some(place);
                if is_connected && (!is_known || moved.contains(&sending.partition)) {
                    moved.insert(sending.partition);
                    refused.push(sending.moved());
                    continue;
                }
            }
            self.bound.entry(sending.partition).or_insert((route, 0)).1 += 1;
            line.bytes += sending.bytes;
            line.waiting.push_back(sending);
        }
        if holds && refused.iter().any(|input| matches!(input, Input::Produced { .. })) {
            refresh(&setup.target);
        }
        if !holds {
            // Nor may what has waited for its turn be written.
            let waiting: Vec<_> = self.lines.values_mut().flat_map(|line| line.waiting.drain(..)).collect();
            refused.extend(waiting.iter().map(|sending| self.not_sent(sending)));
            return refused;
        }
        self.look_for_the_unreachable(setup, metadata.as_deref(), sender);
        let routes: Vec<Route> = self.lines.keys().copied().collect();
        for route in routes {
            self.send(route, setup, slots, core, sender);
        }
        refused
    }

    /// The connection for a partition of which nothing is in flight: of those for slow ones, the one with the fewest.
    fn route(&self, node: i32, is_slow: bool) -> Route {
        let load = |route: &Route| self.bound.values().filter(|(other, _)| other == route).count();
        let slow = is_slow.then(|| Route::slow(node).min_by_key(load)).flatten();
        slow.unwrap_or_else(|| Route::shared(node))
    }

    /// A broker that has not answered for long is unreachable: what waits for it comes back, so that it is not held.
    fn take_from_the_silent(&mut self) -> Vec<Input> {
        let is_silent = |(route, line): &(&Route, &Line)| {
            !route.is_slow() && line.busy_since.is_some_and(|since| since.elapsed() >= SILENT)
        };
        let silent: Vec<Route> = self.lines.iter().filter(is_silent).map(|(route, _)| *route).collect();
        let mut refused = Vec::new();
        for route in silent {
            self.set_reachable(route.node, false);
            refused.append(&mut self.give_back(route));
        }
        refused
    }

    fn give_back(&mut self, route: Route) -> Vec<Input> {
        let waiting = self.lines.get_mut(&route).map(|line| std::mem::take(&mut line.waiting)).unwrap_or_default();
        waiting.iter().map(|sending| self.not_sent(sending)).collect()
    }

    /// A batch that waited in vain. It may have waited for a connection that did not come, and when one comes later,
    /// nobody will have looked at the mirror's end.
    fn not_sent(&mut self, sending: &Sending) -> Input {
        self.known.remove(&sending.partition);
        self.finish(sending, Answer::NotSent)
    }

    fn set_reachable(&mut self, node: i32, reachable: bool) {
        let changed = match reachable {
            true => self.unreachable.remove(&node).is_some(),
            false if self.is_reachable(node) => self.unreachable.insert(node, Instant::now() + PROBE).is_none(),
            false => false,
        };
        self.changes_of_reach += u64::from(changed);
    }

    /// Tries to connect to brokers that could not be reached. One that the metadata do not name cannot be tried.
    fn look_for_the_unreachable(
        &mut self,
        setup: &LaneSetup,
        metadata: Option<&Metadata>,
        sender: &mpsc::UnboundedSender<Message>,
    ) {
        for (node, at) in &mut self.unreachable {
            let route = Route::shared(*node);
            let line = self.lines.entry(route).or_default();
            let is_named = metadata.is_some_and(|metadata| metadata.brokers.contains_key(node));
            if *at <= Instant::now() && is_named && !line.connecting && line.in_flight == 0 {
                *at = Instant::now() + PROBE;
                line.connecting = true;
                connect(route, setup, sender);
            }
        }
    }

    fn send(
        &mut self,
        route: Route,
        setup: &LaneSetup,
        slots: &Slots,
        core: &Lane,
        sender: &mpsc::UnboundedSender<Message>,
    ) {
        let Some(line) = self.lines.get_mut(&route) else { return };
        line.forget_closed();
        if line.waiting.is_empty() || line.connecting {
            return;
        }
        let Some(connection) = line.connection.clone() else {
            line.connecting = true;
            return connect(route, setup, sender);
        };
        // One broker must not hold more than a part of the budget.
        let bytes_max = REQUEST_BYTES.min(setup.share.bytes() / BUDGET_PARTS);
        while line.in_flight < setup.requests_max && !line.waiting.is_empty() {
            let chosen = choose(&mut line.waiting, bytes_max);
            line.in_flight += 1;
            let begun = Instant::now();
            line.busy_since.get_or_insert(begun);
            let (request, version, sent) = request(route, &connection, &chosen, slots, core, &setup.lease);
            let sender = sender.clone();
            let done = move |result| {
                tell(&sender, Message::Produced(ProduceDone { route, version, begun, sent, result }));
            };
            match request {
                Ok(request) => connection.send_raw_then(request, Reply::new(done)),
                Err(error) => done(Err(error)),
            }
        }
    }

    /// A connection is there, or could not be had: then what waited for it comes back.
    pub(super) fn connected(
        &mut self,
        route: Route,
        result: Result<Arc<Connection>, Error>,
        target: &Cluster,
    ) -> Vec<Input> {
        self.set_reachable(route.node, result.is_ok());
        let Some(line) = self.lines.get_mut(&route) else { return Vec::new() };
        line.connecting = false;
        match result {
            Ok(connection) => {
                line.connection = Some(connection);
                line.connected += 1;
                let waiting: Vec<_> = line.waiting.drain(..).collect();
                self.given_back.extend(waiting.iter().map(|sending| sending.partition));
                waiting.iter().map(|sending| self.unbind(sending).moved()).collect()
            }
            Err(error) => {
                tracing::debug!(%error, "No connection to write mirrors.");
                let waiting = self.give_back(route);
                if !waiting.is_empty() {
                    refresh(target);
                }
                waiting
            }
        }
    }

    /// What the core is told of an answer, and whether a leader must be looked up.
    pub(super) fn done(&mut self, done: ProduceDone, core: &Lane, now_ms: u64) -> (Vec<Input>, bool) {
        failpoint::hit(failpoint::AFTER_PRODUCE);
        let mut busy = done.begun.elapsed();
        if let Some(line) = self.lines.get_mut(&done.route) {
            line.in_flight -= 1;
            let busy_since = line.busy_since.take();
            line.busy_since = (line.in_flight > 0).then(Instant::now);
            // Before that the broker worked on what was sent earlier.
            busy = busy_since.map_or(busy, |since| busy.min(since.elapsed()));
        }
        let took_ms = u64::try_from(busy.as_millis()).unwrap_or(u64::MAX);
        let alone = done.sent.len() == 1;
        let answers = done.result.map(|frame| read(frame, done.version));
        let mut inputs = Vec::with_capacity(done.sent.len());
        let mut stale = false;
        match answers {
            Ok(mut answers) => {
                self.set_reachable(done.route.node, true);
                for (key, sending) in done.sent {
                    let answer = match answers.of(&key) {
                        Some(partition) => {
                            stale |= partition.error.retry() == Retry::AfterMetadata;
                            answer(partition)
                        }
                        None => Answer::Lost,
                    };
                    if matches!(answer, Answer::Stored { .. }) {
                        self.stored_bytes += sending.bytes;
                    }
                    if self.pace.answered(now_ms, sending.partition, &answer, took_ms, alone) {
                        let spec = core.partition(sending.partition).map(Partition::spec);
                        let (topic, node) = (spec.map_or("", |spec| &spec.target_topic), done.route.node);
                        let (_, partition) = key;
                        tracing::info!(topic, partition, node, took_ms, "Slow: on a connection of its own.");
                    }
                    inputs.push(self.finish(&sending, answer));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "A write to mirrors failed.");
                stale = true;
                let answer = match (error.code(), error.is_outcome_unknown()) {
                    (None, false) => Answer::NotSent,
                    _ => Answer::Lost,
                };
                for (_, sending) in done.sent {
                    inputs.push(self.finish(&sending, answer.clone()));
                }
            }
        }
        (inputs, stale)
    }

    fn finish(&mut self, sending: &Sending, answer: Answer) -> Input {
        self.unbind(sending).input(answer)
    }

    fn unbind<'a>(&mut self, sending: &'a Sending) -> &'a Sending {
        if let Some((route, count)) = self.bound.get_mut(&sending.partition) {
            if let Some(line) = self.lines.get_mut(route) {
                line.bytes = line.bytes.saturating_sub(sending.bytes);
            }
            *count -= 1;
            if *count == 0 {
                self.bound.remove(&sending.partition);
            }
        }
        sending
    }
}

/// Who leads a mirror, and the epoch.
fn leader(partition: LanePartition, core: &Lane, metadata: Option<&Metadata>) -> Option<(i32, Option<i32>)> {
    let spec = core.partition(partition)?.spec();
    let found = metadata?.partition(&spec.target_topic, spec.key.partition)?;
    Some((found.leader?, found.leader_epoch))
}

fn connect(route: Route, setup: &LaneSetup, sender: &mpsc::UnboundedSender<Message>) {
    let (target, lane, sender) = (setup.target.clone(), setup.lane, sender.clone());
    tokio::spawn(async move {
        let result = target.connection(route.node, route.purpose(), lane).await;
        tell(&sender, Message::Connected(route, result));
    });
}

/// Takes the oldest batch of each partition, up to the size of a request.
fn choose(waiting: &mut VecDeque<Sending>, bytes_max: u64) -> Vec<Sending> {
    let mut chosen: Vec<Sending> = Vec::new();
    let mut partitions = BTreeSet::new();
    let mut bytes = 0;
    let mut skipped = Vec::new();
    while let Some(sending) = waiting.pop_front() {
        if !chosen.is_empty() && bytes + sending.bytes > bytes_max {
            // What comes later may wait for it: a later batch of its partition must not go first.
            skipped.push(sending);
            break;
        }
        if !partitions.insert(sending.partition) {
            skipped.push(sending);
            continue;
        }
        bytes += sending.bytes;
        chosen.push(sending);
    }
    skipped.into_iter().rev().for_each(|sending| waiting.push_front(sending));
    chosen
}

/// The request for these batches, its version, and what is in it.
fn request(
    route: Route,
    connection: &Connection,
    chosen: &[Sending],
    slots: &Slots,
    core: &Lane,
    lease: &Lease,
) -> (Result<RawRequest, Error>, i16, Sent) {
    let by_id = |sending: &Sending| {
        core.partition(sending.partition).is_some_and(|p| p.spec().target_topic_id != TopicId::default())
    };
    let version_max = if chosen.iter().all(by_id) { TOPIC_ID_SINCE } else { TOPIC_ID_SINCE - 1 };
    let version = connection.version_up_to::<ProduceRequest>(version_max).unwrap_or(TOPIC_ID_SINCE - 1);
    let mut topics: Vec<ProduceTopic> = Vec::new();
    let mut sent = Vec::with_capacity(chosen.len());
    for sending in chosen {
        let (Some(partition), Some(parts)) = (core.partition(sending.partition), slots.parts(sending.slot)) else {
            continue;
        };
        let spec = partition.spec();
        let topic = match version >= TOPIC_ID_SINCE {
            true => Topic::Id(Uuid::from_bytes(spec.target_topic_id)),
            false => Topic::Name(StrBytes::from_string(spec.target_topic.clone())),
        };
        let stamp = Stamp {
            producer_id: sending.producer.id,
            producer_epoch: sending.producer.epoch,
            base_sequence: sending.sequence,
        };
        let body_len = u32::try_from(parts.body.len()).unwrap_or(u32::MAX);
        let index = spec.key.partition;
        let item = ProducePartition { index, head: patch_head(&parts.head, body_len, stamp), body: parts.body };
        sent.push(((topic.clone(), index), *sending));
        match topics.iter_mut().find(|other| other.topic == topic) {
            Some(found) => found.partitions.push(item),
            None => topics.push(ProduceTopic { topic, partitions: vec![item] }),
        }
    }
    let timeout = route.timeout(connection.request_timeout());
    (raw(connection, version, &topics, timeout, Some(lease.permit())), version, sent)
}

/// A Produce request with acks from all in-sync replicas, which may take so long; with a permit, it leaves only while
/// that holds.
pub(super) fn raw(
    connection: &Connection,
    version: i16,
    topics: &[ProduceTopic],
    timeout: Duration,
    permit: Option<Permit>,
) -> Result<RawRequest, Error> {
    use twinlog_client::{Cause, Outcome, Step};
    let correlation_id = connection.next_correlation_id();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let head = ProduceHead { version, correlation_id, client_id: connection.client_id(), acks: -1, timeout_ms };
    let slices = encode(&head, topics).map_err(|error| {
        let cause = Cause::Encode(error.to_string());
        Error::new(connection.peer().clone(), Step::Api(PRODUCE), Outcome::NotSent, cause)
    })?;
    let slices = slices.parts().cloned().collect();
    Ok(RawRequest { api_key: PRODUCE, correlation_id, timeout: None, permit, slices })
}

/// The answers of a frame by topic and partition; none of one that cannot be read, so that each batch counts as lost.
pub(super) fn read(frame: Bytes, version: i16) -> Answers {
    let header_version = i16::from(version >= FLEXIBLE_SINCE);
    let body = ResponseFrame::parse(frame).and_then(|frame| frame.into_body(header_version));
    let topics = match body.and_then(|body| ProduceResponse::decode(body, version)) {
        Ok(response) => response.topics,
        Err(error) => {
            tracing::warn!(%error, "The target's answer to Produce cannot be read.");
            Vec::new()
        }
    };
    let key = |topic: &Topic, partition: &PartitionResponse| (topic.clone(), partition.index);
    let keys = topics.iter().flat_map(|of| of.partitions.iter().map(|partition| key(&of.topic, partition))).collect();
    Answers { places: InOrder::new(keys), all: topics.into_iter().flat_map(|of| of.partitions).collect() }
}

/// The answers to the batches of a request.
#[derive(Debug)]
pub(super) struct Answers {
    places: InOrder<(Topic, i32)>,
    all: Vec<PartitionResponse>,
}

impl Answers {
    pub(super) fn of(&mut self, topic: &(Topic, i32)) -> Option<&PartitionResponse> {
        self.all.get(self.places.place(topic)?)
    }
}

/// What the core is told of one batch.
pub(super) fn answer(partition: &PartitionResponse) -> Answer {
    if !partition.error.is_ok() {
        let record = partition.record_errors.first().and_then(|record| record.message.as_ref());
        let message = record.or(partition.error_message.as_ref()).map(ToString::to_string).unwrap_or_default();
        return Answer::Refused(partition.error, message);
    }
    match partition.base_offset {
        // Known to be there, but the broker no longer knows where.
        ..0 => Answer::Refused(ErrorCode::DUPLICATE_SEQUENCE_NUMBER, String::new()),
        base => Answer::Stored { base: TargetOffset(base), log_start: TargetOffset(partition.log_start_offset) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of 100 bytes of a partition; its number is its slot.
    fn batch(partition: u32, slot: u64) -> Sending {
        let producer = Producer { id: 1, epoch: 0 };
        let partition = LanePartition(partition);
        Sending { partition, slot: Slot(slot), attempt: 1, producer, sequence: 0, bytes: 100 }
    }

    fn slots<'a>(batches: impl IntoIterator<Item = &'a Sending>) -> Vec<u64> {
        batches.into_iter().map(|batch| batch.slot.0).collect()
    }

    #[test]
    fn a_request_takes_the_oldest_batch_of_each_partition_and_the_others_keep_their_order() {
        let mut waiting = [batch(1, 1), batch(1, 2), batch(2, 3), batch(1, 4), batch(3, 5), batch(2, 6)].into();
        assert_eq!(slots(&choose(&mut waiting, 1_000)), [1, 3, 5]);
        assert_eq!(slots(&waiting), [2, 4, 6]);
        assert_eq!(slots(&choose(&mut waiting, 1_000)), [2, 6]);
        assert_eq!(slots(&waiting), [4]);
    }

    #[test]
    fn a_full_request_leaves_the_rest_in_its_order_and_holds_one_batch_of_any_size() {
        let mut waiting = [batch(1, 1), batch(1, 2), batch(2, 3), batch(3, 4), batch(4, 5)].into();
        assert_eq!(slots(&choose(&mut waiting, 250)), [1, 3]);
        assert_eq!(slots(&waiting), [2, 4, 5]);
        assert_eq!(slots(&choose(&mut waiting, 10)), [2]);
        assert_eq!(slots(&waiting), [4, 5]);
    }
}
