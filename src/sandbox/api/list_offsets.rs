//! ListOffsets: the ends of partitions, or the first offset at or after a time.

use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context};
use crate::log::{Found, Isolation};

/// The answer has the leader epoch from here on.
const LEADER_EPOCH_SINCE: i16 = 4;

/// What is asked for instead of a time (`ListOffsetsRequest`): here all of the log is local.
mod special {
    pub(super) const LATEST: i64 = -1;
    pub(super) const EARLIEST: i64 = -2;
    pub(super) const MAX_TIMESTAMP: i64 = -3;
    pub(super) const EARLIEST_LOCAL: i64 = -4;
    pub(super) const LATEST_TIERED: i64 = -5;
}

impl Api for ListOffsetsRequest {
    const READS_ONLY: bool = true;

    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<ListOffsetsResponse> {
        let isolation = Isolation::read(self.isolation_level);
        let topics = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let found = find(context, &topic.name, asked, isolation);
                let answer = refused(asked.partition_index, found.err().unwrap_or(ErrorCode::NONE));
                match found {
                    Ok(Some(found)) => {
                        let answer = answer.with_offset(found.offset).with_timestamp(found.timestamp);
                        match context.version() >= LEADER_EPOCH_SINCE {
                            true => answer.with_leader_epoch(found.leader_epoch),
                            false => answer,
                        }
                    }
                    _ => answer,
                }
            });
            let partitions = partitions.collect();
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        Attempt::Done(ListOffsetsResponse::default().with_topics(topics.collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> ListOffsetsResponse {
        let topics = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| refused(asked.partition_index, code)).collect();
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }
}

fn refused(index: i32, code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(code.0)
        .with_offset(-1)
        .with_timestamp(-1)
        .with_leader_epoch(-1)
}

fn find(
    context: &mut Context<'_>,
    topic: &str,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<Option<Found>, ErrorCode> {
    let node = context.node();
    let partition = context.cluster.led(topic, asked.partition_index, node, asked.current_leader_epoch)?;
    let log = &partition.log;
    let at = |offset, leader_epoch| Some(Found { offset, timestamp: -1, leader_epoch });
    Ok(match asked.timestamp {
        special::LATEST => at(log.visible_end(isolation), partition.leader_epoch),
        special::EARLIEST | special::EARLIEST_LOCAL => at(log.start(), log.epoch_at(log.start())),
        special::MAX_TIMESTAMP => log.newest(),
        special::LATEST_TIERED => None,
        timestamp if timestamp >= 0 => log.find(timestamp, isolation),
        _ => return Err(ErrorCode::UNSUPPORTED_VERSION),
    })
}
