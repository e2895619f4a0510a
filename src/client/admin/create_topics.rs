//! CreateTopics.

use std::collections::BTreeMap;

use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use uuid::Uuid;

use super::{check, fill_missing, str_bytes, timeout_ms, topic_name};
use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::error::Result;

/// Brokers take -1 (their own default) for the number of partitions and the replication factor since v4.
const DEFAULTS_SINCE: i16 = 4;

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1: the broker's default.
    pub partitions: i32,
    /// How many replicas; -1: the broker's default.
    pub replication_factor: i16,
    /// Its own settings.
    pub configs: BTreeMap<String, String>,
}

/// A topic that was created, or would have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; none where the broker is too old to say (before 2.8) or the request was a trial.
    pub id: Option<Uuid>,
    /// How many partitions it has, where the broker says.
    pub partitions: Option<i32>,
    /// How many replicas it has, where the broker says.
    pub replication_factor: Option<i16>,
}

impl Cluster {
    /// Creates topics, or only tries whether they could be created. One result a topic.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<BTreeMap<String, Result<CreatedTopic>>> {
        let connection = self.controller().await?;
        let defaults = topics.iter().any(|t| t.partitions < 0 || t.replication_factor < 0);
        let version_min = if defaults { DEFAULTS_SINCE } else { i16::MIN };
        let version = connection.require_version::<CreateTopicsRequest>(version_min, i16::MAX)?;
        let request = CreateTopicsRequest::default()
            .with_topics(topics.iter().map(new_topic).collect())
            .with_timeout_ms(timeout_ms(&connection))
            .with_validate_only(validate_only);
        let answer = connection.call_at(request, version, None).await?;
        let results = answer.topics.iter().map(|topic| (topic.name.to_string(), created(&connection, topic)));
        let mut results = results.collect();
        fill_missing::<CreateTopicsRequest, _, _>(&connection, topics.iter().map(|t| t.name.clone()), &mut results);
        Ok(results)
    }
}

fn new_topic(topic: &NewTopic) -> CreatableTopic {
    let config = |(name, value): (&String, &String)| {
        CreatableTopicConfig::default().with_name(str_bytes(name)).with_value(Some(str_bytes(value)))
    };
    CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replication_factor)
        .with_configs(topic.configs.iter().map(config).collect())
}

fn created(connection: &Connection, topic: &CreatableTopicResult) -> Result<CreatedTopic> {
    let item = format!("topic {}", topic.name.as_str());
    check::<CreateTopicsRequest>(connection, topic.error_code, Some(&item), topic.error_message.as_ref())?;
    Ok(CreatedTopic {
        id: (!topic.topic_id.is_nil()).then_some(topic.topic_id),
        partitions: (topic.num_partitions >= 0).then_some(topic.num_partitions),
        replication_factor: (topic.replication_factor >= 0).then_some(topic.replication_factor),
    })
}
