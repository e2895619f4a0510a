//! CreatePartitions.

use std::collections::BTreeMap;

use kafka_protocol::messages::CreatePartitionsRequest;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;

use super::{check, fill_missing, timeout_ms, topic_name};
use crate::cluster::Cluster;
use crate::error::Result;

/// A topic to add partitions to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartitions {
    /// The topic's name.
    pub topic: String,
    /// How many partitions it shall have afterwards.
    pub total: i32,
}

impl Cluster {
    /// Adds partitions to topics, or only tries whether they could be added. One result a topic.
    pub async fn create_partitions(
        &self,
        topics: &[NewPartitions],
        validate_only: bool,
    ) -> Result<BTreeMap<String, Result<()>>> {
        let connection = self.controller().await?;
        let topic = |topic: &NewPartitions| {
            // Null assignments: the broker places the replicas.
            CreatePartitionsTopic::default()
                .with_name(topic_name(&topic.topic))
                .with_count(topic.total)
                .with_assignments(None)
        };
        let request = CreatePartitionsRequest::default()
            .with_topics(topics.iter().map(topic).collect())
            .with_timeout_ms(timeout_ms(&connection))
            .with_validate_only(validate_only);
        let answer = connection.call(request).await?;
        let results = answer.results.iter().map(|topic| {
            let item = format!("topic {}", topic.name.as_str());
            let message = topic.error_message.as_ref();
            let result = check::<CreatePartitionsRequest>(&connection, topic.error_code, Some(&item), message);
            (topic.name.to_string(), result)
        });
        let mut results = results.collect();
        let asked = topics.iter().map(|t| t.topic.clone());
        fill_missing::<CreatePartitionsRequest, _, _>(&connection, asked, &mut results);
        Ok(results)
    }
}
