//! twinlog between real Apache Kafka clusters: what the README promises, with Kafka's own clients as judges.
#![allow(clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

mod append_time;
mod ask;
mod bench;
mod brokers;
mod chance;
mod claims;
mod codecs;
mod compaction;
mod epochs;
mod far;
mod fleet;
mod growth;
mod kills;
mod lanes;
mod map;
mod members;
mod memory;
mod nearest;
mod old_formats;
mod old_records;
mod owners;
mod pair;
mod pruning;
mod refusals;
mod relay;
mod resolving;
mod secured;
mod segments;
mod shapes;
mod slow;
mod source_events;
mod transactions;
mod translator;
mod truncated;
mod tutorial;
