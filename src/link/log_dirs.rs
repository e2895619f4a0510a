//! How large partitions are, as the brokers' log dirs have them.

use std::collections::BTreeMap;

use twinlog_client::admin::{LogDir, TopicPartition};
use twinlog_client::{Cluster, Error, Metadata};

/// Log dirs of brokers, by id.
pub(crate) type LogDirs = BTreeMap<i32, Vec<LogDir>>;

/// Asks all brokers.
pub(crate) async fn log_dirs(cluster: &Cluster, metadata: &Metadata) -> Result<LogDirs, Error> {
    let mut all = LogDirs::new();
    for node in metadata.brokers.keys() {
        all.insert(*node, cluster.describe_log_dirs(*node).await?);
    }
    Ok(all)
}

/// The bytes of each partition at its leader.
pub(crate) fn leader_bytes(dirs: &LogDirs, metadata: &Metadata) -> BTreeMap<TopicPartition, u64> {
    let mut bytes = BTreeMap::new();
    for (node, dirs) in dirs {
        for replica in dirs.iter().flat_map(|dir| &dir.replicas) {
            let leads = metadata.leader(&replica.at.topic, replica.at.partition) == Some(*node);
            if leads && !replica.is_future {
                bytes.insert(replica.at.clone(), u64::try_from(replica.size_bytes).unwrap_or(0));
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlog_client::admin::LogDirReplica;

    #[test]
    fn only_the_leaders_replica_counts() {
        let mut metadata = Metadata::default();
        let partition = twinlog_client::metadata::Partition {
            index: 0,
            leader: Some(2),
            leader_epoch: None,
            replicas: vec![1, 2],
            isr: vec![1, 2],
            error: twinlog_client::ErrorCode::NONE,
        };
        let topic = twinlog_client::metadata::Topic {
            name: "orders".into(),
            id: None,
            is_internal: false,
            error: twinlog_client::ErrorCode::NONE,
            partitions: vec![partition],
        };
        metadata.topics.insert("orders".into(), topic);
        let with = |size_bytes, is_future| LogDir {
            replicas: vec![LogDirReplica {
                at: TopicPartition::new("orders", 0),
                size_bytes,
                offset_lag: 0,
                is_future,
            }],
            path: "/a".to_owned(),
            result: Ok(()),
            total_bytes: None,
            usable_bytes: None,
        };
        let dirs = LogDirs::from([(1, vec![with(900, false)]), (2, vec![with(1000, false), with(5, true)])]);
        assert_eq!(leader_bytes(&dirs, &metadata), BTreeMap::from([(TopicPartition::new("orders", 0), 1000)]));
    }
}
