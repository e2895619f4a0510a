//! The wire crate against foreign encoders: kafka-protocol for messages, Kafka's own classes for batches.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod batches;
mod codecs;
mod fetch_response;
mod golden;
mod messages;
mod patch;
mod produce;
mod purity;
mod repack;
mod samples;
