//! OffsetCommit, by members and by nobody (generation -1), which a group in use refuses with 25.

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context};
use crate::cluster::Cluster;
use crate::group::Committed;

impl Api for OffsetCommitRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<OffsetCommitResponse> {
        if let Err(code) = check(self, context) {
            return Attempt::Done(self.refusal(code, context.version()));
        }
        let cluster = &mut *context.cluster;
        let topics = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let code = commit(cluster, &self.group_id, &topic.name, asked).err().unwrap_or(ErrorCode::NONE);
                answer(asked, code)
            });
            let partitions = partitions.collect();
            OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        Attempt::Done(OffsetCommitResponse::default().with_topics(topics.collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> OffsetCommitResponse {
        let topics = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| answer(asked, code)).collect();
            OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        OffsetCommitResponse::default().with_topics(topics.collect())
    }
}

fn check(request: &OffsetCommitRequest, context: &mut Context<'_>) -> Result<(), ErrorCode> {
    let (node, now_ms) = (context.node(), context.now.elapsed_ms);
    let (member, generation) = (&request.member_id, request.generation_id_or_member_epoch);
    context.cluster.check_coordinator(&request.group_id, node)?;
    match context.cluster.groups.get_mut(request.group_id.as_str()) {
        Some(group) => group.check_commit(member, generation, now_ms),
        // A group that nobody has joined is made by a commit of nobody; a generation of it cannot be.
        None if generation < 0 => {
            context.cluster.groups.entry(request.group_id.to_string()).or_default();
            Ok(())
        }
        None => Err(ErrorCode::ILLEGAL_GENERATION),
    }
}

fn commit(
    cluster: &mut Cluster,
    group: &str,
    topic: &str,
    asked: &OffsetCommitRequestPartition,
) -> Result<(), ErrorCode> {
    let metadata = asked.committed_metadata.as_ref().map(|metadata| metadata.to_string()).unwrap_or_default();
    check_target(cluster, topic, asked.partition_index, &metadata)?;
    let (offset, leader_epoch) = (asked.committed_offset, asked.committed_leader_epoch);
    let at = (topic.to_owned(), asked.partition_index);
    if let Some(group) = cluster.groups.get_mut(group) {
        group.commit(at, Committed { offset, leader_epoch, metadata });
    }
    Ok(())
}

/// Whether an offset of this partition with this metadata can be committed.
pub(super) fn check_target(cluster: &Cluster, topic: &str, index: i32, metadata: &str) -> Result<(), ErrorCode> {
    if cluster.partition(topic, index).is_none() {
        return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let longest = usize::try_from(cluster.settings.number("offset.metadata.max.bytes")).unwrap_or_default();
    if metadata.len() > longest { Err(ErrorCode::OFFSET_METADATA_TOO_LARGE) } else { Ok(()) }
}

fn answer(asked: &OffsetCommitRequestPartition, code: ErrorCode) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition::default().with_partition_index(asked.partition_index).with_error_code(code.0)
}
