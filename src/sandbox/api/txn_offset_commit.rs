//! TxnOffsetCommit: offsets that count when the transaction is committed. A group in use takes them as well.

use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestPartition;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use twinlog_wire::error_code::ErrorCode;

use super::offset_commit::check_target;
use super::{Api, Attempt, Context};
use crate::group::Committed;
use crate::txn::Producer;

impl Api for TxnOffsetCommitRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<TxnOffsetCommitResponse> {
        if let Err(code) = check(self, context) {
            return Attempt::Done(self.refusal(code, context.version()));
        }
        let topics = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let code = commit(self, context, &topic.name, asked).err().unwrap_or(ErrorCode::NONE);
                answer(asked, code)
            });
            let partitions = partitions.collect();
            TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        Attempt::Done(TxnOffsetCommitResponse::default().with_topics(topics.collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> TxnOffsetCommitResponse {
        let topics = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| answer(asked, code)).collect();
            TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        TxnOffsetCommitResponse::default().with_topics(topics.collect())
    }
}

fn check(request: &TxnOffsetCommitRequest, context: &mut Context<'_>) -> Result<(), ErrorCode> {
    context.cluster.check_coordinator(&request.group_id, context.exchange.node)?;
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    if !context.cluster.transactions.covers_group(&request.transactional_id, producer, &request.group_id) {
        return Err(ErrorCode::INVALID_TXN_STATE);
    }
    // Before v3 the request says nothing of a member.
    let (member, generation) = (&request.member_id, request.generation_id);
    match context.cluster.groups.get(request.group_id.as_str()) {
        Some(group) => group.check_transactional(member, generation),
        None if generation < 0 => {
            context.cluster.groups.entry(request.group_id.to_string()).or_default();
            Ok(())
        }
        None => Err(ErrorCode::ILLEGAL_GENERATION),
    }
}

fn commit(
    request: &TxnOffsetCommitRequest,
    context: &mut Context<'_>,
    topic: &str,
    asked: &TxnOffsetCommitRequestPartition,
) -> Result<(), ErrorCode> {
    let metadata = asked.committed_metadata.as_ref().map(|metadata| metadata.to_string()).unwrap_or_default();
    check_target(context.cluster, topic, asked.partition_index, &metadata)?;
    let (offset, leader_epoch) = (asked.committed_offset, asked.committed_leader_epoch);
    let at = (topic.to_owned(), asked.partition_index);
    if let Some(group) = context.cluster.groups.get_mut(request.group_id.as_str()) {
        group.commit_later(request.producer_id.0, at, Committed { offset, leader_epoch, metadata });
    }
    Ok(())
}

fn answer(asked: &TxnOffsetCommitRequestPartition, code: ErrorCode) -> TxnOffsetCommitResponsePartition {
    TxnOffsetCommitResponsePartition::default().with_partition_index(asked.partition_index).with_error_code(code.0)
}
