//! One pair of clusters for all tests here, and what every test does with it.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::thread;

use kafka_protocol::messages::CreateAclsRequest;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::protocol::StrBytes;
use twinlog_client::{Address, Cluster, DialConfig, Side};
use twinlog_core::config::{ExistingTopics, LinkConfig};
use twinlog_core::topics::TopicRules;
use twinlog_link::map_topic::ensure_map_topic;
use twinlog_link::mirrors::{Mirrors, Round};
use twinlog_testcontainers::{ClusterSpec, KafkaVersion, Oracle, OracleAt};

/// The source's brokers keep records for 5 hours unless a topic says otherwise.
pub(crate) const SOURCE_RETENTION: &str = "18000000";
pub(crate) const LANES: u32 = 2;

pub(crate) struct Kit {
    source: twinlog_testcontainers::Cluster,
    target: twinlog_testcontainers::Cluster,
    oracle: Oracle,
}

pub(crate) static KIT: LazyLock<Kit> = LazyLock::new(|| {
    let source = ClusterSpec::new()
        .version(KafkaVersion::V3_9_1)
        .config("log.retention.hours", "5")
        .config("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .config("allow.everyone.if.no.acl.found", "true");
    let target = ClusterSpec::new();
    thread::scope(|threads| {
        let source = threads.spawn(|| source.start().unwrap());
        let target = threads.spawn(|| target.start().unwrap());
        let oracle = Oracle::start().unwrap();
        Kit { source: source.join().unwrap(), target: target.join().unwrap(), oracle }
    })
});

impl Kit {
    pub(crate) fn source(&self) -> OracleAt<'_> {
        self.oracle.at(self.source.bootstrap_text())
    }

    pub(crate) fn target(&self) -> OracleAt<'_> {
        self.oracle.at(self.target.bootstrap_text())
    }

    pub(crate) fn client(&self, side: Side) -> Cluster {
        let brokers = if side == Side::Source { &self.source } else { &self.target };
        let bootstrap = brokers.bootstrap().iter().map(|text| text.parse::<Address>().unwrap()).collect();
        Cluster::new(side, bootstrap, DialConfig::default()).unwrap()
    }

    /// The mirrors of a link whose map topic is there.
    pub(crate) async fn mirrors(&self, link: &str, config: LinkConfig) -> Mirrors {
        let (source, target) = (self.client(Side::Source), self.client(Side::Target));
        ensure_map_topic(&target, link, LANES, None).await.unwrap();
        Mirrors::new(link, "a", config, source, target)
    }
}

/// A link that takes these topics.
pub(crate) fn link(include: &[&str], rename: &str) -> LinkConfig {
    let topics = TopicRules {
        include: include.iter().map(|text| text.parse().unwrap()).collect(),
        exclude: Vec::new(),
        rename: rename.parse().unwrap(),
    };
    LinkConfig::new("a", "b", topics)
}

pub(crate) fn append(config: LinkConfig) -> LinkConfig {
    LinkConfig { existing: ExistingTopics::Append, ..config }
}

/// `topic:partition` of everything that is to be copied.
pub(crate) fn copied(round: &Round) -> Vec<String> {
    round.partitions.iter().map(|spec| format!("{}:{}", spec.key.topic, spec.key.partition)).collect()
}

/// `topic:partition state` of everything that is stopped.
pub(crate) fn stopped(round: &Round) -> Vec<String> {
    round.stops.iter().map(|(key, halt)| format!("{}:{} {}", key.topic, key.partition, halt.name())).collect()
}

/// Topics that are held back.
pub(crate) fn held(round: &Round) -> Vec<&str> {
    round.held.keys().map(String::as_str).collect()
}

pub(crate) fn told(round: &Round) -> Vec<String> {
    round.problems.iter().map(ToString::to_string).collect()
}

pub(crate) fn settings(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Whether a rule for everybody allows or denies.
#[derive(Clone, Copy)]
pub(crate) enum Permission {
    Deny = 2,
    Allow = 3,
}

/// Adds a rule on a topic for everybody; the operation is Kafka's number. What no rule allows is denied from then on.
pub(crate) async fn rule(cluster: &Cluster, topic: &str, operation: i8, permission: Permission) {
    const TOPIC: i8 = 2;
    const LITERAL: i8 = 3;
    let acl = AclCreation::default()
        .with_resource_type(TOPIC)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_resource_pattern_type(LITERAL)
        .with_principal(StrBytes::from_static_str("User:*"))
        .with_host(StrBytes::from_static_str("*"))
        .with_operation(operation)
        .with_permission_type(permission as i8);
    let connection = cluster.controller().await.unwrap();
    let answer = connection.call(CreateAclsRequest::default().with_creations(vec![acl])).await.unwrap();
    assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
}
