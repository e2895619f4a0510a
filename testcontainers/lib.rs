//! Real Apache Kafka clusters for tests.
#![allow(clippy::panic, reason = "this crate supports tests: a panic is how a test fails")]

mod broker;
mod cluster;
#[cfg(feature = "docker")]
mod docker;
mod error;
mod eventually;
mod java;
mod kit;
mod metadata;
mod mirror_maker;
mod node;
mod oracle;
mod oracle_at;
mod ports;
mod produce;
mod properties;
mod scratch;
mod spec;
mod supervised;
mod tool;
mod words;

pub use broker::Broker;
pub use cluster::Cluster;
pub use error::{Error, Result};
pub use eventually::eventually;
pub use java::{Finder, Java};
pub use kit::{KafkaVersion, Kit};
pub use mirror_maker::MirrorMaker;
pub use oracle::{Answer, Oracle};
pub use oracle_at::{At, Committed, Digest, Entry, Isolation, OracleAt, Placement};
pub use produce::{Codec, Headers, Produce, Produced};
pub use spec::{BACKEND_VARIABLE, Backend, ClusterSpec};
pub use tool::{ConsoleConsumer, KafkaTool, Output};
