//! Kafka's wire format as twinlog needs it on the hot path: pure functions over bytes.
//!
//! The way of a batch: [`frame`] cuts an answer out of the receive buffer, [`fetch_response`] finds each partition's
//! records in it, [`batch`] walks the headers, [`patch`] writes a new head, [`produce_request`] lists the slices for
//! `writev`, and [`produce_response`] reads the answer. What cannot go on as it is takes the way over [`repack`].
//! All bytes come from outside: nothing here panics on them, loops on them, or allocates what they merely claim.
//! Everything that is not on the hot path goes through [`kafka_protocol`].

pub mod batch;
mod batches;
pub mod builder;
pub mod compression;
mod crc;
pub mod error;
pub mod error_code;
pub mod fetch_response;
pub mod frame;
pub mod legacy;
pub mod patch;
pub mod produce_request;
pub mod produce_response;
mod reader;
pub mod records;
pub mod repack;
pub mod topic;
mod varint;
mod zstd_context;
