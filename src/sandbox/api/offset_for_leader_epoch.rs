//! OffsetForLeaderEpoch: where a leader epoch ends.

use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context};

impl Api for OffsetForLeaderEpochRequest {
    const READS_ONLY: bool = true;

    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<OffsetForLeaderEpochResponse> {
        let topics = self.topics.iter().map(|topic| {
            answer(topic, |asked| {
                let node = context.node();
                let partition = context.cluster.led(&topic.topic, asked.partition, node, asked.current_leader_epoch)?;
                Ok(partition.log.epoch_end(asked.leader_epoch))
            })
        });
        Attempt::Done(OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> OffsetForLeaderEpochResponse {
        let topics = self.topics.iter().map(|topic| answer(topic, |_| Err(code)));
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }
}

fn answer(
    topic: &OffsetForLeaderTopic,
    mut end: impl FnMut(&OffsetForLeaderPartition) -> Result<(i32, i64), ErrorCode>,
) -> OffsetForLeaderTopicResult {
    let partitions = topic.partitions.iter().map(|asked| {
        let answer = EpochEndOffset::default().with_partition(asked.partition);
        match end(asked) {
            Ok((epoch, end)) => answer.with_leader_epoch(epoch).with_end_offset(end),
            Err(code) => answer.with_error_code(code.0).with_leader_epoch(-1).with_end_offset(-1),
        }
    });
    let partitions = partitions.collect();
    OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions)
}
