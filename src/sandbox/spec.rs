//! What a sandbox is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Clock;

/// A topic that is there from the start.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) configs: BTreeMap<String, String>,
}

impl TopicSpec {
    /// A topic with so many partitions and no settings of its own.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, configs: BTreeMap::new() }
    }

    /// Gives it a setting, by Kafka's name.
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), value.into());
        self
    }
}

/// What a sandbox is made of: by default one node without topics, with Kafka's own settings but for two (no topic is
/// made by asking for it, and a group's first rebalance does not wait).
#[derive(Clone, Debug)]
pub struct SandboxSpec {
    pub(crate) nodes: i32,
    pub(crate) cluster_id: String,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) topics: Vec<TopicSpec>,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
    pub(crate) marker_delay: Duration,
    pub(crate) pipe_bytes: usize,
}

impl Default for SandboxSpec {
    fn default() -> Self {
        Self {
            nodes: 1,
            cluster_id: "twinlog-sandbox".to_owned(),
            settings: BTreeMap::new(),
            topics: Vec::new(),
            clock: Clock::system(),
            seed: 0,
            marker_delay: Duration::from_millis(5),
            pipe_bytes: 1 << 20,
        }
    }
}

impl SandboxSpec {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// So many nodes, numbered from 1. Leaders and coordinators are spread over them.
    pub fn nodes(mut self, nodes: i32) -> Self {
        self.nodes = nodes;
        self
    }

    /// The cluster's id.
    pub fn cluster_id(mut self, id: impl Into<String>) -> Self {
        self.cluster_id = id.into();
        self
    }

    /// A setting of all brokers, by Kafka's name: `producer.id.expiration.ms`, `transaction.max.timeout.ms`,
    /// `message.max.bytes`, `num.partitions`, `auto.create.topics.enable`, …
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// A topic that is there from the start.
    pub fn topic(mut self, topic: TopicSpec) -> Self {
        self.topics.push(topic);
        self
    }

    /// Where timestamps come from; the system's clock by default.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Decides topic ids, and what faults by chance hit.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How long after EndTxn's answer the markers are written; 5 ms by default.
    pub fn marker_delay(mut self, delay: Duration) -> Self {
        self.marker_delay = delay;
        self
    }

    /// How many bytes an in-memory connection holds in each direction; 1 MiB by default.
    pub fn pipe_bytes(mut self, bytes: usize) -> Self {
        self.pipe_bytes = bytes;
        self
    }
}
