//! Kafka's wire format as twinlog needs it on the hot path: pure functions over bytes.
//!
//! Everything that is not on the hot path goes through [`kafka_protocol`].

pub mod batch;
pub mod error_code;
