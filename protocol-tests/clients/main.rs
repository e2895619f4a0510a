//! Clients that others wrote, against the sandbox and against mirrors: kcat, librdkafka (by confluent-kafka) and
//! Kafka's own tools; with `TWINLOG_TEST=long` franz-go and kafkajs, too. Each tells the same story, see `story`.
#![allow(clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

mod client;
mod java;
mod kcat;
mod languages;
mod pinned;
mod place;
mod speaker;
mod story;

use place::{Mirror, Sandboxed};
use story::tell;
use twinlog_protocol_tests::is_long;

#[test]
fn kcat_on_the_sandbox() {
    tell(&kcat::Kcat::find(), &Sandboxed::start(), "kcat");
}

#[test]
fn kcat_on_a_mirror() {
    tell(&kcat::Kcat::find(), &Mirror::of("kcat"), "kcat");
}

#[test]
fn librdkafka_on_the_sandbox() {
    tell(&languages::librdkafka(), &Sandboxed::start(), "librdkafka");
}

#[test]
fn librdkafka_on_a_mirror() {
    tell(&languages::librdkafka(), &Mirror::of("librdkafka"), "librdkafka");
}

#[test]
fn kafkas_tools_on_the_sandbox() {
    tell(&java::JavaTools::install(), &Sandboxed::start(), "java");
}

#[test]
fn kafkas_tools_on_a_mirror() {
    tell(&java::JavaTools::install(), &Mirror::of("java"), "java");
}

/// In the short form, that it is pinned is all that is looked at.
#[test]
fn franz_go() {
    pinned::franz_go();
    if is_long() {
        tell(&languages::franz_go(), &Sandboxed::start(), "franz");
        tell(&languages::franz_go(), &Mirror::of("franz"), "franz");
    }
}

/// In the short form, that it is pinned is all that is looked at.
#[test]
fn kafkajs() {
    pinned::kafkajs();
    if is_long() {
        tell(&languages::kafkajs(), &Sandboxed::start(), "kafkajs");
        tell(&languages::kafkajs(), &Mirror::of("kafkajs"), "kafkajs");
    }
}
