//! DeleteRecords: moves a partition's start.

use kafka_protocol::messages::delete_records_request::DeleteRecordsTopic;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context};

impl Api for DeleteRecordsRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<DeleteRecordsResponse> {
        let topics = self.topics.iter().map(|topic| {
            answer(topic, |index, offset| {
                let node = context.node();
                context.cluster.led(&topic.name, index, node, -1)?.log.delete_before(offset)
            })
        });
        Attempt::Done(DeleteRecordsResponse::default().with_topics(topics.collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> DeleteRecordsResponse {
        let topics = self.topics.iter().map(|topic| answer(topic, |_, _| Err(code)));
        DeleteRecordsResponse::default().with_topics(topics.collect())
    }
}

fn answer(
    topic: &DeleteRecordsTopic,
    mut delete: impl FnMut(i32, i64) -> Result<i64, ErrorCode>,
) -> DeleteRecordsTopicResult {
    let partitions = topic.partitions.iter().map(|asked| {
        let answer = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
        match delete(asked.partition_index, asked.offset) {
            Ok(start) => answer.with_low_watermark(start),
            Err(code) => answer.with_low_watermark(-1).with_error_code(code.0),
        }
    });
    let partitions = partitions.collect();
    DeleteRecordsTopicResult::default().with_name(topic.name.clone()).with_partitions(partitions)
}
