//! Real Apache Kafka clusters for tests, with Kafka's own tools and clients as judges.
//!
//! [`ClusterSpec`] starts a [`Cluster`] of Java processes from Kafka's Maven jars (or of containers, see [`Backend`]);
//! its [`Broker`]s can be killed, stopped, paused and started again. [`KafkaTool`] runs the programs that come with
//! Kafka, [`MirrorMaker`] is the rival, and [`Oracle`] is one long-lived Java process that creates topics, produces
//! records that follow from a seed, and tells by hashes what a topic holds. Any other program is a [`Program`] or a
//! [`Dialogue`]; what it needs is made once in the [`Cache`]. Everything here blocks.
//!
//! Nothing of this outlives the test process, whatever its end: each child has a watchdog that reads from a pipe of
//! the test process and kills the child at the pipe's end, and the folders go when the last watchdog has gone. So a
//! cluster may live in a static and be shared by all tests of a binary.
//!
//! Limits: Linux only (pidfd, `/bin/sh`); one listener without TLS or SASL, on 127.0.0.1; a missing Java or Maven is
//! an error, never a skipped test.
#![allow(clippy::panic, reason = "this crate supports tests: a panic is how a test fails")]

mod acl;
mod broker;
mod cache;
mod cluster;
mod dialogue;
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
mod program;
mod properties;
mod scratch;
mod spec;
mod status;
mod supervised;
mod tool;
mod words;

pub use acl::Acl;
pub use broker::Broker;
pub use cache::Cache;
pub use cluster::Cluster;
pub use dialogue::Dialogue;
pub use error::{Error, Result};
pub use eventually::eventually;
pub use java::{Finder, Java};
pub use kit::{KafkaVersion, Kit};
pub use mirror_maker::MirrorMaker;
pub use oracle::{Answer, Oracle};
pub use oracle_at::{At, Committed, Digest, Entry, Isolation, OracleAt, Placement};
pub use produce::{Codec, Headers, Produce, Produced};
pub use program::{Folder, Program};
pub use spec::{BACKEND_VARIABLE, Backend, ClusterSpec};
pub use status::{peak_resident_bytes, status_number};
pub use tool::{ConsoleConsumer, KafkaTool, Output};
