//! Produce: one batch a partition, appended or refused by itself.

use std::collections::BTreeSet;

use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{BrokerId, ProduceRequest, ProduceResponse};
use twinlog_wire::batch::BatchMeta;
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, text};
use crate::codes;
use crate::incoming::{Incoming, Refused};
use crate::log::Appended;
use crate::txn::Producer;

/// From here on topics are named by id (KIP-516).
const TOPIC_ID_SINCE: i16 = 13;
/// From here on the refused record and the broker's words are in the answer (KIP-467).
const RECORD_ERRORS_SINCE: i16 = 8;
/// From here on a new leader is named (KIP-951).
const LEADER_SINCE: i16 = 10;
/// From here on the broker adds partitions to the producer's transaction itself (KIP-890).
const ADDS_PARTITIONS_SINCE: i16 = 12;

impl Api for ProduceRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<ProduceResponse> {
        if ![-1, 0, 1].contains(&self.acks) {
            return Attempt::Done(self.refusal(codes::INVALID_REQUIRED_ACKS, context.version()));
        }
        if self.transactional_id.is_none() && self.has_transactional_batch() {
            // Not being allowed to is what a broker says to a transaction without a name.
            let code = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
            return Attempt::Done(self.refusal(code, context.version()));
        }
        self.keep_last_of_each();
        let mut moved = Vec::new();
        let mut response = ProduceResponse::default();
        for topic in &self.topic_data {
            let name = match context.version() >= TOPIC_ID_SINCE {
                true => context.cluster.topic_name(topic.topic_id).map(str::to_owned),
                false => Some(topic.name.to_string()),
            };
            let partitions = topic.partition_data.iter().map(|data| {
                let unknown = Refused::new(ErrorCode::UNKNOWN_TOPIC_ID, "This server does not host this topic ID.");
                let result = match &name {
                    Some(name) => self.append(context, name, data),
                    None => Err(unknown),
                };
                if let (Err(refused), Some(name)) = (&result, &name)
                    && refused.code == ErrorCode::NOT_LEADER_OR_FOLLOWER
                    && context.version() >= LEADER_SINCE
                {
                    return not_leader(context, name, data.index, &mut moved);
                }
                let start = name.as_ref().and_then(|name| context.cluster.partition(name, data.index));
                answer(context, data.index, result, start.map_or(-1, |partition| partition.log.start()))
            });
            let partition_responses = partitions.collect();
            let answered = TopicProduceResponse::default().with_partition_responses(partition_responses);
            response.responses.push(match context.version() >= TOPIC_ID_SINCE {
                true => answered.with_topic_id(topic.topic_id),
                false => answered.with_name(topic.name.clone()),
            });
        }
        moved.sort_unstable();
        moved.dedup();
        response.node_endpoints = moved.into_iter().map(|node| endpoint(context, node)).collect();
        Attempt::Done(response)
    }

    fn refusal(&self, code: ErrorCode, version: i16) -> ProduceResponse {
        let responses = self.topic_data.iter().map(|topic| {
            let refused = |data: &PartitionProduceData| {
                PartitionProduceResponse::default().with_index(data.index).with_error_code(code.0).with_base_offset(-1)
            };
            let answered = TopicProduceResponse::default()
                .with_partition_responses(topic.partition_data.iter().map(refused).collect());
            match version >= TOPIC_ID_SINCE {
                true => answered.with_topic_id(topic.topic_id),
                false => answered.with_name(topic.name.clone()),
            }
        });
        ProduceResponse::default().with_responses(responses.collect())
    }

    fn wants_answer(&self) -> bool {
        self.acks != 0
    }
}

trait Appends {
    fn keep_last_of_each(&mut self);
    fn has_transactional_batch(&self) -> bool;
    fn append(&self, context: &mut Context<'_>, topic: &str, data: &PartitionProduceData) -> Result<Appended, Refused>;
}

impl Appends for ProduceRequest {
    /// A partition that is named twice gets the last batch alone, as in the map that brokers make of a request.
    fn keep_last_of_each(&mut self) {
        let mut seen = BTreeSet::new();
        for topic in self.topic_data.iter_mut().rev() {
            let (name, id) = (topic.name.to_string(), topic.topic_id);
            topic.partition_data.reverse();
            topic.partition_data.retain(|data| seen.insert((name.clone(), id, data.index)));
            topic.partition_data.reverse();
        }
        self.topic_data.retain(|topic| !topic.partition_data.is_empty());
    }

    fn has_transactional_batch(&self) -> bool {
        let mut batches = self.topic_data.iter().flat_map(|topic| &topic.partition_data);
        batches.any(|data| {
            let meta = data.records.as_ref().and_then(|records| BatchMeta::parse(records).ok());
            meta.is_some_and(|meta| meta.is_transactional())
        })
    }

    fn append(&self, context: &mut Context<'_>, topic: &str, data: &PartitionProduceData) -> Result<Appended, Refused> {
        let (node, now) = (context.node(), context.now);
        let words = "This server is not the leader for that topic-partition.";
        let no_leader = |code| Refused::new(code, words);
        let partition = context.cluster.led(topic, data.index, node, -1).map_err(no_leader)?;
        let leader_epoch = partition.leader_epoch;
        let rules = context.cluster.topics.get(topic).map(|topic| topic.rules);
        let rules = rules.ok_or_else(|| no_leader(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))?;
        let incoming = Incoming::check(data.records.as_ref().unwrap_or(&bytes::Bytes::new()), &rules, now.wall_ms)?;
        if let Some(transactional_id) = self.transactional_id.as_ref().filter(|_| incoming.meta.is_transactional()) {
            let producer = Producer { id: incoming.meta.producer_id, epoch: incoming.meta.producer_epoch };
            let transactions = &mut context.cluster.transactions;
            if context.exchange.version >= ADDS_PARTITIONS_SINCE {
                let added = [(topic.to_owned(), data.index)];
                transactions
                    .add(transactional_id, producer, added, now.elapsed_ms)
                    .map_err(|code| Refused::new(code, "The partition is not added to the transaction."))?;
            } else if !transactions.covers(transactional_id, producer, topic, data.index) {
                let words = "The partition is not part of an open transaction of this producer.";
                return Err(Refused::new(ErrorCode::INVALID_TXN_STATE, words));
            }
        }
        let partition = context.cluster.led(topic, data.index, node, -1).map_err(no_leader)?;
        partition.log.append(incoming, leader_epoch)
    }
}

fn answer(
    context: &Context<'_>,
    index: i32,
    result: Result<Appended, Refused>,
    log_start: i64,
) -> PartitionProduceResponse {
    let answer = PartitionProduceResponse::default().with_index(index);
    match result {
        Ok(appended) => answer
            .with_base_offset(appended.base_offset)
            .with_log_append_time_ms(appended.append_time_ms)
            .with_log_start_offset(log_start),
        Err(refused) => {
            let answer = answer.with_error_code(refused.code.0).with_base_offset(-1).with_log_append_time_ms(-1);
            if context.version() < RECORD_ERRORS_SINCE {
                return answer;
            }
            let record = refused.record.map(|record| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(record)
                    .with_batch_index_error_message(Some(text(refused.message)))
            });
            answer.with_error_message(Some(text(refused.message))).with_record_errors(record.into_iter().collect())
        }
    }
}

fn not_leader(context: &Context<'_>, topic: &str, index: i32, moved: &mut Vec<i32>) -> PartitionProduceResponse {
    let mut answer = PartitionProduceResponse::default()
        .with_index(index)
        .with_error_code(ErrorCode::NOT_LEADER_OR_FOLLOWER.0)
        .with_base_offset(-1);
    if let Some((leader, epoch)) =
        context.cluster.partition(topic, index).and_then(|partition| Some((partition.leader?, partition.leader_epoch)))
    {
        moved.push(leader);
        answer.current_leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader)).with_leader_epoch(epoch);
    }
    answer
}

fn endpoint(context: &Context<'_>, node: i32) -> NodeEndpoint {
    let (host, port) = context.address(node);
    NodeEndpoint::default().with_node_id(BrokerId(node)).with_host(host).with_port(port)
}
