//! Writing to mirrors: one batch a partition a request, as many partitions as there are in it, a few requests in
//! flight a broker. What waits meanwhile goes together in the next one.
//!
//! A partition stays with one connection while anything of it is in flight there, whatever the metadata says meanwhile:
//! on two connections a later batch could overtake an earlier one.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::protocol::StrBytes;
use tokio::sync::mpsc;
use twinlog_client::{Cluster, Connection, Error, ErrorCode, Purpose, RawRequest, Retry};
use twinlog_core::batch::Slot;
use twinlog_core::ids::{Producer, TargetOffset, TopicId};
use twinlog_core::io::{Input, LanePartition};
use twinlog_core::lane::Lane;
use twinlog_core::outbox::Answer;
use twinlog_wire::frame::ResponseFrame;
use twinlog_wire::patch::{Stamp, patch_head};
use twinlog_wire::produce_request::{ProduceHead, ProducePartition, ProduceTopic, encode};
use twinlog_wire::produce_response::{PartitionResponse, ProduceResponse};
use twinlog_wire::topic::Topic;
use uuid::Uuid;

use super::budget::Slots;
use super::{LaneSetup, Message, refresh, tell};
use crate::failpoint;
use crate::lease::Lease;

/// Kafka's number of Produce.
pub(super) const PRODUCE: i16 = 0;
/// From here on topics are named by id (KIP-516).
const TOPIC_ID_SINCE: i16 = 13;
/// From here on answers have tagged fields.
const FLEXIBLE_SINCE: i16 = 9;
/// Requests in flight a broker. It works on one at a time; the others are on their way meanwhile.
const REQUESTS_MAX: usize = 4;
/// A request grows up to about this many bytes.
const REQUEST_BYTES: usize = 4 << 20;

/// A batch that is to be sent.
#[derive(Clone, Copy, Debug)]
struct Sending {
    partition: LanePartition,
    slot: Slot,
    attempt: u32,
    producer: Producer,
    sequence: i32,
}

impl Sending {
    fn input(&self, answer: Answer) -> Input {
        Input::Produced { partition: self.partition, slot: self.slot, attempt: self.attempt, answer }
    }
}

/// A request that was answered, or lost.
#[derive(Debug)]
pub(super) struct ProduceDone {
    node: i32,
    version: i16,
    sent: Vec<(Topic, i32, Sending)>,
    result: Result<Bytes, Error>,
}

#[derive(Debug, Default)]
struct Broker {
    connection: Option<Arc<Connection>>,
    connecting: bool,
    waiting: VecDeque<Sending>,
    in_flight: usize,
}

/// All brokers that lead mirrors of the lane.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    fresh: Vec<Sending>,
    brokers: BTreeMap<i32, Broker>,
    /// Where a partition has batches waiting or in flight, and how many.
    bound: HashMap<LanePartition, (i32, usize)>,
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
    ) {
        self.fresh.push(Sending { partition, slot, attempt, producer, sequence });
    }

    /// Sends what can be sent. What cannot go anywhere now comes back.
    pub(super) fn flush(
        &mut self,
        setup: &LaneSetup,
        slots: &Slots,
        core: &Lane,
        sender: &mpsc::UnboundedSender<Message>,
    ) -> Vec<Input> {
        let mut refused = Vec::new();
        let holds = setup.lease.holds();
        let metadata = setup.target.known();
        for sending in std::mem::take(&mut self.fresh) {
            let leader = core.partition(sending.partition).and_then(|partition| {
                let spec = partition.spec();
                metadata.as_ref()?.leader(&spec.target_topic, spec.key.partition)
            });
            let bound = self.bound.get(&sending.partition).map(|(node, _)| *node);
            let Some(node) = bound.or(leader).filter(|_| holds) else {
                refused.push(sending.input(Answer::NotSent));
                continue;
            };
            self.bound.entry(sending.partition).or_insert((node, 0)).1 += 1;
            self.brokers.entry(node).or_default().waiting.push_back(sending);
        }
        if !refused.is_empty() && holds {
            refresh(&setup.target);
        }
        if !holds {
            // Nor may what has waited for its turn be written.
            let waiting: Vec<_> = self.brokers.values_mut().flat_map(|broker| broker.waiting.drain(..)).collect();
            refused.extend(waiting.iter().map(|sending| self.finish(sending, Answer::NotSent)));
            return refused;
        }
        let nodes: Vec<i32> = self.brokers.keys().copied().collect();
        for node in nodes {
            self.send(node, setup, slots, core, sender);
        }
        refused
    }

    fn send(
        &mut self,
        node: i32,
        setup: &LaneSetup,
        slots: &Slots,
        core: &Lane,
        sender: &mpsc::UnboundedSender<Message>,
    ) {
        let Some(broker) = self.brokers.get_mut(&node) else { return };
        if broker.connection.as_ref().is_some_and(|connection| connection.is_closed()) && broker.in_flight == 0 {
            broker.connection = None;
        }
        if broker.waiting.is_empty() || broker.connecting {
            return;
        }
        let Some(connection) = broker.connection.clone() else {
            broker.connecting = true;
            let (target, lane, sender) = (setup.target.clone(), setup.lane, sender.clone());
            tokio::spawn(async move {
                let result = target.connection(node, Purpose::Produce, lane).await;
                tell(&sender, Message::Connected(node, result));
            });
            return;
        };
        while broker.in_flight < REQUESTS_MAX && !broker.waiting.is_empty() {
            let chosen = choose(&mut broker.waiting, slots);
            broker.in_flight += 1;
            let done = request(node, &connection, &chosen, slots, core, &setup.lease);
            let sender = sender.clone();
            match done {
                Ok((answer, sent, version)) => {
                    tokio::spawn(async move {
                        let result = answer.await;
                        tell(&sender, Message::Produced(ProduceDone { node, version, sent, result }));
                    });
                }
                Err(failed) => tell(&sender, Message::Produced(failed)),
            }
        }
    }

    /// A connection is there, or could not be had: then what waited for it comes back.
    pub(super) fn connected(
        &mut self,
        node: i32,
        result: Result<Arc<Connection>, Error>,
        target: &Cluster,
    ) -> Vec<Input> {
        let Some(broker) = self.brokers.get_mut(&node) else { return Vec::new() };
        broker.connecting = false;
        match result {
            Ok(connection) => {
                broker.connection = Some(connection);
                Vec::new()
            }
            Err(error) => {
                tracing::debug!(%error, "No connection to write mirrors.");
                refresh(target);
                let waiting: Vec<_> = broker.waiting.drain(..).collect();
                waiting.iter().map(|sending| self.finish(sending, Answer::NotSent)).collect()
            }
        }
    }

    /// What the core is told of an answer, and whether a leader must be looked up.
    pub(super) fn done(&mut self, done: ProduceDone) -> (Vec<Input>, bool) {
        failpoint::hit(failpoint::AFTER_PRODUCE);
        if let Some(broker) = self.brokers.get_mut(&done.node) {
            broker.in_flight -= 1;
        }
        let answers = done.result.map(|frame| read(frame, done.version));
        let mut inputs = Vec::with_capacity(done.sent.len());
        let mut stale = false;
        match answers {
            Ok(mut answers) => {
                for (topic, index, sending) in done.sent {
                    let answer = match answers.remove(&(topic, index)) {
                        Some(partition) => {
                            stale |= partition.error.retry() == Retry::AfterMetadata;
                            answer(&partition)
                        }
                        None => Answer::Lost,
                    };
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
                for (_, _, sending) in done.sent {
                    inputs.push(self.finish(&sending, answer.clone()));
                }
            }
        }
        (inputs, stale)
    }

    fn finish(&mut self, sending: &Sending, answer: Answer) -> Input {
        if let Some((_, count)) = self.bound.get_mut(&sending.partition) {
            *count -= 1;
            if *count == 0 {
                self.bound.remove(&sending.partition);
            }
        }
        sending.input(answer)
    }
}

/// Takes the oldest batch of each partition, up to the size of a request.
fn choose(waiting: &mut VecDeque<Sending>, slots: &Slots) -> Vec<Sending> {
    let mut chosen: Vec<Sending> = Vec::new();
    let mut partitions = BTreeSet::new();
    let mut bytes = 0;
    let mut rest = VecDeque::new();
    while let Some(sending) = waiting.pop_front() {
        let len = slots.len(sending.slot);
        let full = !chosen.is_empty() && bytes + len > REQUEST_BYTES;
        // A partition whose earlier batch stays behind must not be overtaken by its later one.
        if full || !partitions.insert(sending.partition) {
            partitions.insert(sending.partition);
            rest.push_back(sending);
            continue;
        }
        bytes += len;
        chosen.push(sending);
    }
    *waiting = rest;
    chosen
}

type Sent = (twinlog_client::Answer, Vec<(Topic, i32, Sending)>, i16);

fn request(
    node: i32,
    connection: &Connection,
    chosen: &[Sending],
    slots: &Slots,
    core: &Lane,
    lease: &Lease,
) -> Result<Sent, ProduceDone> {
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
        sent.push((topic.clone(), index, *sending));
        match topics.iter_mut().find(|other| other.topic == topic) {
            Some(found) => found.partitions.push(item),
            None => topics.push(ProduceTopic { topic, partitions: vec![item] }),
        }
    }
    match send(connection, version, &topics, lease) {
        Ok(answer) => Ok((answer, sent, version)),
        Err(error) => Err(ProduceDone { node, version, sent, result: Err(error) }),
    }
}

/// Sends a Produce request with acks from all in-sync replicas, if it leaves while the lease holds.
pub(super) fn send(
    connection: &Connection,
    version: i16,
    topics: &[ProduceTopic],
    lease: &Lease,
) -> Result<twinlog_client::Answer, Error> {
    use twinlog_client::{Cause, Outcome, Step};
    let correlation_id = connection.next_correlation_id();
    let timeout_ms = i32::try_from(connection.request_timeout().as_millis() / 2).unwrap_or(i32::MAX);
    let head = ProduceHead { version, correlation_id, client_id: connection.client_id(), acks: -1, timeout_ms };
    let slices = encode(&head, topics).map_err(|error| {
        let cause = Cause::Encode(error.to_string());
        Error::new(connection.peer().clone(), Step::Api(PRODUCE), Outcome::NotSent, cause)
    })?;
    let slices = slices.parts().cloned().collect();
    Ok(connection.send_raw(RawRequest {
        api_key: PRODUCE,
        correlation_id,
        timeout: None,
        permit: Some(lease.permit()),
        slices,
    }))
}

/// The answers by topic and partition; none of a frame that cannot be read, so that each batch counts as lost.
pub(super) fn read(frame: Bytes, version: i16) -> HashMap<(Topic, i32), PartitionResponse> {
    let header_version = i16::from(version >= FLEXIBLE_SINCE);
    let body = ResponseFrame::parse(frame).and_then(|frame| frame.into_body(header_version));
    let response = match body.and_then(|body| ProduceResponse::decode(body, version)) {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(%error, "The target's answer to Produce cannot be read.");
            return HashMap::new();
        }
    };
    let mut answers = HashMap::new();
    for topic in response.topics {
        for partition in topic.partitions {
            answers.insert((topic.topic.clone(), partition.index), partition);
        }
    }
    answers
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
