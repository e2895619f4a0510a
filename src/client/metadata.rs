//! What a cluster says about itself: brokers, topics, leaders.

use std::collections::BTreeMap;

use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use twinlog_core::ids::TopicId;
use twinlog_wire::error_code::ErrorCode;
use uuid::Uuid;

use crate::connection::Connection;
use crate::dial::Address;
use crate::error::{Cause, Outcome, Result, Step};

/// From v4 on a request can say that it does not create topics. Topic ids come with v10, an error for the whole answer
/// with v13.
const VERSION_MIN: i16 = 4;

/// One snapshot of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The broker that takes requests for the controller.
    pub controller: Option<i32>,
    /// The live brokers by id.
    pub brokers: BTreeMap<i32, Broker>,
    /// All topics that may be described, by name.
    pub topics: BTreeMap<String, Topic>,
}

/// A live broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Where it listens for this client.
    pub address: Address,
    /// Its rack.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id; none on brokers before 2.8.
    pub id: Option<Uuid>,
    /// Whether Kafka itself uses it.
    pub is_internal: bool,
    /// Not `NONE` where the topic as a whole cannot be described.
    pub error: ErrorCode,
    /// Its partitions in the order of their index.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub index: i32,
    /// The leading broker; none while it has none.
    pub leader: Option<i32>,
    /// The leader's epoch; none on brokers before 2.1.
    pub leader_epoch: Option<i32>,
    /// The brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those that are in sync.
    pub isr: Vec<i32>,
    /// Not `NONE` while it has no leader or its listener is unknown.
    pub error: ErrorCode,
}

impl Topic {
    /// Its id as 16 bytes; all zero where it has none.
    pub fn id_bytes(&self) -> TopicId {
        self.id.map(|id| *id.as_bytes()).unwrap_or_default()
    }
}

impl Metadata {
    /// A partition of a topic.
    pub fn partition(&self, topic: &str, index: i32) -> Option<&Partition> {
        let partitions = &self.topics.get(topic)?.partitions;
        let found = partitions.binary_search_by_key(&index, |p| p.index).ok()?;
        partitions.get(found)
    }

    /// The broker that leads a partition.
    pub fn leader(&self, topic: &str, index: i32) -> Option<i32> {
        self.partition(topic, index)?.leader
    }
}

/// Asks for all topics. Nothing is ever created by it.
pub(crate) async fn fetch(connection: &Connection) -> Result<Metadata> {
    let version = connection.require_version::<MetadataRequest>(VERSION_MIN, i16::MAX)?;
    let request = MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
    let answer = connection.call_at(request, version, None).await?;
    match ErrorCode(answer.error_code) {
        ErrorCode::NONE => Ok(read(answer)),
        code => {
            let cause = Cause::Code { code, item: None, message: None };
            Err(connection.error(Step::of::<MetadataRequest>(), Outcome::Answered, cause))
        }
    }
}

fn read(answer: MetadataResponse) -> Metadata {
    let brokers = answer.brokers.iter().filter_map(|broker| {
        let port = u16::try_from(broker.port).ok()?;
        let (id, address) = (broker.node_id.0, Address { host: broker.host.to_string(), port });
        Some((id, Broker { id, address, rack: broker.rack.as_ref().map(text) }))
    });
    let topics = answer.topics.iter().filter_map(topic);
    Metadata {
        cluster_id: answer.cluster_id.as_ref().map(text),
        controller: (answer.controller_id.0 >= 0).then_some(answer.controller_id.0),
        brokers: brokers.collect(),
        topics: topics.map(|topic| (topic.name.clone(), topic)).collect(),
    }
}

fn topic(topic: &MetadataResponseTopic) -> Option<Topic> {
    let name = topic.name.as_ref()?.to_string();
    let mut partitions: Vec<_> = topic.partitions.iter().map(partition).collect();
    partitions.sort_by_key(|p| p.index);
    Some(Topic {
        name,
        id: (!topic.topic_id.is_nil()).then_some(topic.topic_id),
        is_internal: topic.is_internal,
        error: ErrorCode(topic.error_code),
        partitions,
    })
}

fn partition(partition: &MetadataResponsePartition) -> Partition {
    Partition {
        index: partition.partition_index,
        leader: (partition.leader_id.0 >= 0).then_some(partition.leader_id.0),
        leader_epoch: (partition.leader_epoch >= 0).then_some(partition.leader_epoch),
        replicas: partition.replica_nodes.iter().map(|id| id.0).collect(),
        isr: partition.isr_nodes.iter().map(|id| id.0).collect(),
        error: ErrorCode(partition.error_code),
    }
}

fn text(text: &StrBytes) -> String {
    text.to_string()
}
