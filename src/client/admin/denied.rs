//! What may not be done with topics that do not exist yet. Brokers look at rights before they look for the topic, so
//! requests that would do nothing tell the one from the other.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{BrokerId, FetchRequest, ProduceRequest};
use twinlog_wire::error_code::ErrorCode;

use super::{ConfigResource, NewPartitions, NewTopic, Operation, timeout_ms, topic_name};
use crate::cluster::Cluster;
use crate::error::Result;

/// From v13 on topics have ids here, which these do not have.
const FETCH_VERSION_MAX: i16 = 12;
/// From v13 on, too.
const PRODUCE_VERSION_MAX: i16 = 12;
/// Of all in-sync replicas: with none, there would be no answer.
const ACKS_ALL: i16 = -1;

impl Cluster {
    /// Those of some topics, none of which exists, on which an operation is not allowed. Nothing is made, read or
    /// written, also where one of them comes to exist meanwhile.
    ///
    /// Of operations that no request tells apart from these ([`Operation::Describe`] and what is not for topics) it
    /// answers none.
    pub async fn denied(&self, operation: Operation, topics: &[String]) -> Result<BTreeSet<String>> {
        match operation {
            Operation::Read => self.denied_reads(topics).await,
            Operation::Write => self.denied_writes(topics).await,
            Operation::Create => {
                let new = |name: &String| NewTopic {
                    name: name.clone(),
                    partitions: 1,
                    replication_factor: 1,
                    configs: BTreeMap::new(),
                };
                let new: Vec<_> = topics.iter().map(new).collect();
                Ok(denied_of(self.create_topics(&new, true).await?))
            }
            Operation::Alter => {
                let new = |name: &String| NewPartitions { topic: name.clone(), total: 1 };
                let new: Vec<_> = topics.iter().map(new).collect();
                Ok(denied_of(self.create_partitions(&new, true).await?))
            }
            Operation::DescribeConfigs => {
                let asked: Vec<_> = topics.iter().cloned().map(ConfigResource::Topic).collect();
                let name = |(resource, answer)| match resource {
                    ConfigResource::Topic(name) => Some((name, answer)),
                    ConfigResource::Broker(_) => None,
                };
                Ok(denied_of(self.describe_configs(&asked).await?.into_iter().filter_map(name).collect()))
            }
            _ => Ok(BTreeSet::new()),
        }
    }

    async fn denied_reads(&self, topics: &[String]) -> Result<BTreeSet<String>> {
        let connection = self.any().await?;
        let version = connection.require_version::<FetchRequest>(i16::MIN, FETCH_VERSION_MAX)?;
        let partition = FetchPartition::default().with_partition_max_bytes(1);
        let topic =
            |name: &String| FetchTopic::default().with_topic(topic_name(name)).with_partitions(vec![partition.clone()]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_bytes(1)
            .with_topics(topics.iter().map(topic).collect());
        let answer = connection.call_at(request, version, None).await?;
        let topics = answer.responses.iter();
        let codes = topics.flat_map(|t| t.partitions.iter().map(|p| (t.topic.as_str(), p.error_code)));
        Ok(denied_by(codes))
    }

    async fn denied_writes(&self, topics: &[String]) -> Result<BTreeSet<String>> {
        let connection = self.any().await?;
        let version = connection.require_version::<ProduceRequest>(i16::MIN, PRODUCE_VERSION_MAX)?;
        // No record, which no broker appends.
        let partition = PartitionProduceData::default().with_records(Some(Bytes::new()));
        let topic = |name: &String| {
            TopicProduceData::default().with_name(topic_name(name)).with_partition_data(vec![partition.clone()])
        };
        let request = ProduceRequest::default()
            .with_acks(ACKS_ALL)
            .with_timeout_ms(timeout_ms(&connection))
            .with_topic_data(topics.iter().map(topic).collect());
        let answer = connection.call_at(request, version, None).await?;
        let topics = answer.responses.iter();
        let codes = topics.flat_map(|t| t.partition_responses.iter().map(|p| (t.name.as_str(), p.error_code)));
        Ok(denied_by(codes))
    }
}

fn denied_by<'a>(codes: impl Iterator<Item = (&'a str, i16)>) -> BTreeSet<String> {
    let denied = codes.filter(|(_, code)| ErrorCode(*code) == ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    denied.map(|(topic, _)| topic.to_owned()).collect()
}

fn denied_of<T>(answers: BTreeMap<String, Result<T>>) -> BTreeSet<String> {
    let is_denied = |answer: &Result<T>| {
        let code = answer.as_ref().err().and_then(crate::Error::code);
        // Brokers answer the second where the right may be given on the cluster, too.
        matches!(code, Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED | ErrorCode::CLUSTER_AUTHORIZATION_FAILED))
    };
    answers.into_iter().filter(|(_, answer)| is_denied(answer)).map(|(topic, _)| topic).collect()
}
