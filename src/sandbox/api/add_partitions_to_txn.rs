//! AddPartitionsToTxn, as clients send it: all of the partitions, or none.

use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use twinlog_wire::error_code::ErrorCode;

use super::init_producer_id::fenced;
use super::{Api, Attempt, Context};
use crate::txn::Producer;

/// Before this version "fenced" is told as an invalid epoch.
const FENCED_SINCE: i16 = 2;

impl Api for AddPartitionsToTxnRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<AddPartitionsToTxnResponse> {
        let id = &self.v3_and_below_transactional_id;
        let all = self
            .v3_and_below_topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|index| (topic.name.to_string(), *index)));
        let all: Vec<(String, i32)> = all.collect();
        let is_there = |topic: &str, index: i32| context.cluster.partition(topic, index).is_some();
        if all.iter().any(|(topic, index)| !is_there(topic, *index)) {
            // One that cannot be added: nothing is attempted with the others.
            return Attempt::Done(self.answer(|topic, index| match is_there(topic, index) {
                true => ErrorCode::OPERATION_NOT_ATTEMPTED,
                false => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            }));
        }
        let producer = Producer { id: self.v3_and_below_producer_id.0, epoch: self.v3_and_below_producer_epoch };
        let (node, now_ms) = (context.node(), context.now.elapsed_ms);
        let added = if id.is_empty() { Err(ErrorCode::INVALID_REQUEST) } else { Ok(()) }
            .and_then(|()| context.cluster.check_coordinator(id, node))
            .and_then(|()| context.cluster.transactions.add(id, producer, all, now_ms));
        Attempt::Done(match added {
            Ok(()) => self.answer(|_, _| ErrorCode::NONE),
            Err(code) => self.refusal(code, context.version()),
        })
    }

    fn refusal(&self, code: ErrorCode, version: i16) -> AddPartitionsToTxnResponse {
        let code = fenced(code, version >= FENCED_SINCE);
        self.answer(|_, _| code)
    }
}

trait Answers {
    fn answer(&self, code: impl Fn(&str, i32) -> ErrorCode) -> AddPartitionsToTxnResponse;
}

impl Answers for AddPartitionsToTxnRequest {
    fn answer(&self, code: impl Fn(&str, i32) -> ErrorCode) -> AddPartitionsToTxnResponse {
        let topics = self.v3_and_below_topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|index| {
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*index)
                    .with_partition_error_code(code(&topic.name, *index).0)
            });
            let partitions = partitions.collect();
            AddPartitionsToTxnTopicResult::default().with_name(topic.name.clone()).with_results_by_partition(partitions)
        });
        AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
    }
}
