//! Metadata: nodes, topics, leaders.

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, text, topic_name};
use crate::cluster::{Topic, Wanted};

/// Every operation on a topic, as bits (`AclOperation`): what a cluster without an authorizer answers.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// The same for the cluster.
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

impl Api for MetadataRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<MetadataResponse> {
        let version = context.version();
        // In v0 an empty list means all topics, later null does.
        let asked = self.topics.clone().filter(|topics| version > 0 || !topics.is_empty());
        let topics = match asked {
            None => {
                let all = context.cluster.topics.iter();
                all.map(|(name, topic)| self.describe(name, topic, version)).collect()
            }
            Some(topics) => topics.iter().map(|topic| self.look_up(context, topic)).collect(),
        };
        let brokers = context.cluster.nodes.iter().map(|node| {
            let (host, port) = context.address(*node);
            MetadataResponseBroker::default().with_node_id(BrokerId(*node)).with_host(host).with_port(port)
        });
        let mut response = MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_controller_id(BrokerId(context.cluster.nodes.first().copied().unwrap_or(-1)))
            .with_topics(topics);
        if version >= 2 {
            response.cluster_id = Some(text(&context.cluster.id));
        }
        if (8..=10).contains(&version) && self.include_cluster_authorized_operations {
            response.cluster_authorized_operations = CLUSTER_OPERATIONS;
        }
        Attempt::Done(response)
    }

    fn refusal(&self, code: ErrorCode, version: i16) -> MetadataResponse {
        let topics = self.topics.iter().flatten().map(|topic| refused(topic, code, version));
        let response = MetadataResponse::default().with_controller_id(BrokerId(-1)).with_topics(topics.collect());
        if version >= 13 { response.with_error_code(code.0) } else { response }
    }
}

trait Describes {
    fn look_up(&self, context: &mut Context<'_>, asked: &MetadataRequestTopic) -> MetadataResponseTopic;
    fn describe(&self, name: &str, topic: &Topic, version: i16) -> MetadataResponseTopic;
}

impl Describes for MetadataRequest {
    fn look_up(&self, context: &mut Context<'_>, asked: &MetadataRequestTopic) -> MetadataResponseTopic {
        let version = context.version();
        let name = match &asked.name {
            Some(name) => name.to_string(),
            None => match context.cluster.topic_name(asked.topic_id) {
                Some(name) => name.to_owned(),
                None => return refused(asked, ErrorCode::UNKNOWN_TOPIC_ID, version),
            },
        };
        // Before v4 the client could not say that it wants no topic to be made.
        let may_create = version < 4 || self.allow_auto_topic_creation;
        let is_there = context.cluster.topics.contains_key(&name);
        if !is_there && may_create && context.cluster.settings.is_on("auto.create.topics.enable") {
            let wanted = Wanted { name: name.clone(), partitions: -1, replication_factor: -1, ..Wanted::default() };
            if let Err(objection) = context.cluster.create_topic(&wanted, false) {
                return refused(asked, objection.code, version);
            }
        }
        match context.cluster.topics.get(&name) {
            Some(topic) => self.describe(&name, topic, version),
            None => refused(asked, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, version),
        }
    }

    fn describe(&self, name: &str, topic: &Topic, version: i16) -> MetadataResponseTopic {
        let ids = |nodes: &[i32]| nodes.iter().copied().map(BrokerId).collect::<Vec<_>>();
        let partitions = (0..).zip(&topic.partitions).map(|(index, partition)| {
            let code = if partition.leader.is_some() { ErrorCode::NONE } else { ErrorCode::LEADER_NOT_AVAILABLE };
            let described = MetadataResponsePartition::default()
                .with_error_code(code.0)
                .with_partition_index(index)
                .with_leader_id(BrokerId(partition.leader.unwrap_or(-1)))
                .with_replica_nodes(ids(&partition.replicas))
                .with_isr_nodes(ids(&partition.replicas));
            if version >= 7 { described.with_leader_epoch(partition.leader_epoch) } else { described }
        });
        let mut described =
            MetadataResponseTopic::default().with_name(Some(topic_name(name))).with_partitions(partitions.collect());
        if version >= 10 {
            described.topic_id = topic.id;
        }
        if version >= 8 && self.include_topic_authorized_operations {
            described.topic_authorized_operations = TOPIC_OPERATIONS;
        }
        described
    }
}

fn refused(asked: &MetadataRequestTopic, code: ErrorCode, version: i16) -> MetadataResponseTopic {
    // Before v12 a name is never null.
    let name = if version < 12 { asked.name.clone().or_else(|| Some(topic_name(""))) } else { asked.name.clone() };
    let refused = MetadataResponseTopic::default().with_error_code(code.0).with_name(name);
    if version >= 10 { refused.with_topic_id(asked.topic_id) } else { refused }
}
