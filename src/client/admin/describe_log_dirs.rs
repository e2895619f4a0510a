//! DescribeLogDirs: how large replicas are, and how much room there is.

use kafka_protocol::messages::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;

use super::{TopicPartition, check};
use crate::cluster::{Cluster, Purpose};
use crate::error::Result;

/// A log directory of a broker.
#[derive(Clone, Debug)]
pub struct LogDir {
    /// Its path on the broker.
    pub path: String,
    /// An error where the directory cannot be used.
    pub result: Result<()>,
    /// The size of its file system in bytes, where the broker says (since 3.3).
    pub total_bytes: Option<i64>,
    /// The free bytes of its file system, where the broker says (since 3.3).
    pub usable_bytes: Option<i64>,
    /// The replicas in it.
    pub replicas: Vec<LogDirReplica>,
}

/// A replica in a log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirReplica {
    /// Which partition it is of.
    pub at: TopicPartition,
    /// The bytes of its log segments.
    pub size_bytes: i64,
    /// How far it is behind the leader.
    pub offset_lag: i64,
    /// Whether it is being moved here and will replace the current one.
    pub is_future: bool,
}

impl Cluster {
    /// The log directories of a broker with all its replicas.
    pub async fn describe_log_dirs(&self, node: i32) -> Result<Vec<LogDir>> {
        let connection = self.connection(node, Purpose::Admin, 0).await?;
        let answer = connection.call(DescribeLogDirsRequest::default().with_topics(None)).await?;
        check::<DescribeLogDirsRequest>(&connection, answer.error_code, None, None)?;
        let dir = |dir: &DescribeLogDirsResult| LogDir {
            path: dir.log_dir.to_string(),
            result: check::<DescribeLogDirsRequest>(&connection, dir.error_code, Some(&dir.log_dir), None),
            total_bytes: (dir.total_bytes >= 0).then_some(dir.total_bytes),
            usable_bytes: (dir.usable_bytes >= 0).then_some(dir.usable_bytes),
            replicas: replicas(dir),
        };
        Ok(answer.results.iter().map(dir).collect())
    }
}

fn replicas(dir: &DescribeLogDirsResult) -> Vec<LogDirReplica> {
    let mut replicas = Vec::new();
    for topic in &dir.topics {
        replicas.extend(topic.partitions.iter().map(|partition| LogDirReplica {
            at: TopicPartition::new(topic.name.to_string(), partition.partition_index),
            size_bytes: partition.partition_size,
            offset_lag: partition.offset_lag,
            is_future: partition.is_future_key,
        }));
    }
    replicas
}
