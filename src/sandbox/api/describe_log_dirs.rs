//! DescribeLogDirs: one directory in memory, of unknown size.

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, text, topic_name};

/// From here on the answer has an error of its own.
const ERROR_SINCE: i16 = 3;

impl Api for DescribeLogDirsRequest {
    const READS_ONLY: bool = true;

    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<DescribeLogDirsResponse> {
        let wanted = |name: &str, index: i32| {
            self.topics.as_ref().is_none_or(|topics| {
                topics.iter().any(|topic| topic.topic.as_str() == name && topic.partitions.contains(&index))
            })
        };
        let topics = context.cluster.topics.iter().filter_map(|(name, topic)| {
            let here = (0..)
                .zip(&topic.partitions)
                .filter(|(index, partition)| partition.replicas.contains(&context.node()) && wanted(name, *index));
            let partitions: Vec<_> = here
                .map(|(index, partition)| {
                    DescribeLogDirsPartition::default()
                        .with_partition_index(index)
                        .with_partition_size(i64::try_from(partition.log.size_bytes()).unwrap_or(i64::MAX))
                })
                .collect();
            let described = DescribeLogDirsTopic::default().with_name(topic_name(name));
            (!partitions.is_empty()).then(|| described.with_partitions(partitions))
        });
        let dir = DescribeLogDirsResult::default().with_log_dir(text("/memory")).with_topics(topics.collect());
        Attempt::Done(DescribeLogDirsResponse::default().with_results(vec![dir]))
    }

    fn refusal(&self, code: ErrorCode, version: i16) -> DescribeLogDirsResponse {
        if version >= ERROR_SINCE {
            return DescribeLogDirsResponse::default().with_error_code(code.0);
        }
        let dir = DescribeLogDirsResult::default().with_error_code(code.0);
        DescribeLogDirsResponse::default().with_results(vec![dir])
    }
}
