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
mod node;
mod ports;
mod properties;
mod scratch;
mod spec;
mod supervised;

pub use broker::Broker;
pub use cluster::Cluster;
pub use error::{Error, Result};
pub use eventually::eventually;
pub use java::{Finder, Java};
pub use kit::{KafkaVersion, Kit};
pub use spec::{BACKEND_VARIABLE, Backend, ClusterSpec};
