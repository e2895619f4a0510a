//! The sandbox, as clients see it: requests are encoded by kafka-protocol, batches by twinlog's own builder. What
//! brokers answer was measured on Apache Kafka 4.1.1 and 3.9.1.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

mod admin;
mod client;
mod damage;
mod faults;
mod fetching;
mod groups;
mod kit;
mod producing;
mod transactions;
mod versions;
