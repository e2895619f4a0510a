//! What this client may do with the cluster and its topics.

use std::collections::BTreeMap;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{DescribeClusterRequest, MetadataRequest};

use super::{check, fill_missing, topic_name};
use crate::cluster::Cluster;
use crate::error::Result;

/// Topics' operations are in Metadata since v8.
const TOPIC_OPERATIONS_SINCE: i16 = 8;

/// An operation of Kafka's authorizer, with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i8)]
#[non_exhaustive]
pub enum Operation {
    /// Read records, commit offsets.
    Read = 3,
    /// Write records.
    Write = 4,
    /// Create topics.
    Create = 5,
    /// Delete topics or records.
    Delete = 6,
    /// Change partitions.
    Alter = 7,
    /// See that it exists.
    Describe = 8,
    /// What brokers do among themselves.
    ClusterAction = 9,
    /// See settings.
    DescribeConfigs = 10,
    /// Change settings.
    AlterConfigs = 11,
    /// Idempotent writes, for brokers before 2.8.
    IdempotentWrite = 12,
}

/// The operations that are allowed, as the broker's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operations(i32);

impl Operations {
    /// Whether an operation is allowed.
    pub fn allows(self, operation: Operation) -> bool {
        self.0 & (1 << operation as i8) != 0
    }

    /// The broker says `i32::MIN` where it was not asked or cannot tell.
    pub(super) fn read(bits: i32) -> Option<Self> {
        (bits != i32::MIN).then_some(Self(bits))
    }
}

/// The cluster's id and what may be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRights {
    /// The cluster's id.
    pub cluster_id: String,
    /// None where the broker does not tell.
    pub operations: Option<Operations>,
}

impl Cluster {
    /// What may be done with the cluster as a whole.
    pub async fn describe_cluster(&self) -> Result<ClusterRights> {
        let connection = self.any().await?;
        let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        let answer = connection.call(request).await?;
        let message = answer.error_message.as_ref();
        check::<DescribeClusterRequest>(&connection, answer.error_code, None, message)?;
        Ok(ClusterRights {
            cluster_id: answer.cluster_id.to_string(),
            operations: Operations::read(answer.cluster_authorized_operations),
        })
    }

    /// What may be done with topics. One result a topic; none where the broker does not tell.
    pub async fn topic_operations(&self, topics: &[String]) -> Result<BTreeMap<String, Result<Option<Operations>>>> {
        let connection = self.any().await?;
        let version = connection.require_version::<MetadataRequest>(TOPIC_OPERATIONS_SINCE, i16::MAX)?;
        let names = topics.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
        let request = MetadataRequest::default()
            .with_topics(Some(names.collect()))
            .with_allow_auto_topic_creation(false)
            .with_include_topic_authorized_operations(true);
        let answer = connection.call_at(request, version, None).await?;
        check::<MetadataRequest>(&connection, answer.error_code, None, None)?;
        let results = answer.topics.iter().filter_map(|topic| {
            let name = topic.name.as_ref()?.to_string();
            let item = format!("topic {name}");
            let result = check::<MetadataRequest>(&connection, topic.error_code, Some(&item), None);
            Some((name, result.map(|()| Operations::read(topic.topic_authorized_operations))))
        });
        let mut results = results.collect();
        fill_missing::<MetadataRequest, _, _>(&connection, topics.iter().cloned(), &mut results);
        Ok(results)
    }
}
