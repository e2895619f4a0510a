//! What real brokers answer, case by case: each row of docs/wire-facts.md against real Apache Kafka and the
//! sandbox.
//!
//! A new kind of peers implements [`Kind`](acts::Kind) and gets a test below.
#![allow(
    clippy::panic,
    clippy::future_not_send,
    reason = "a panic is how a test fails; cases run on one thread, so that they can share what they count"
)]

mod acts;
mod ask;
mod batch;
mod cases;
mod memory;
mod peer;
mod place;
mod rows;
mod run;

use twinlog_testcontainers::KafkaVersion;

use crate::acts::Kafka;
use crate::memory::Memory;

#[test]
fn sandbox() {
    run::run(&Memory);
}

#[test]
fn kafka_4_1_1() {
    run::run(&Kafka(KafkaVersion::V4_1_1));
}

#[test]
fn kafka_3_9_1() {
    run::run(&Kafka(KafkaVersion::V3_9_1));
}
