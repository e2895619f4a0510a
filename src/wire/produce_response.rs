//! Reads Produce answers, versions 3 to 13.
//!
//! Written by hand because kafka-protocol's decoder allocates what a count claims before it looks at the bytes.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use crate::error::DecodeError;
use crate::error_code::ErrorCode;
use crate::reader::Reader;
use crate::topic::{Leader, NodeEndpoint, Topic};

/// A Produce answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceResponse {
    /// Topics in the broker's order.
    pub topics: Vec<TopicResponse>,
    /// How long the broker throttled us, in ms.
    pub throttle_ms: i32,
    /// Addresses of the brokers that `current_leader` fields name (v10+, KIP-951).
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// The answers for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicResponse {
    /// By id from version 13 on, by name before.
    pub topic: Topic,
    /// Partitions in the broker's order.
    pub partitions: Vec<PartitionResponse>,
}

/// The answer for one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionResponse {
    /// Partition number.
    pub index: i32,
    /// Whether the batch is on the log, and if not, why not.
    pub error: ErrorCode,
    /// Offset that the batch's first record got, or -1.
    pub base_offset: i64,
    /// The append time in ms in a `LogAppendTime` topic, else -1.
    pub log_append_time: i64,
    /// Start of the partition's log, or -1 (v5+).
    pub log_start_offset: i64,
    /// The records that the broker refused (v8+, KIP-467).
    pub record_errors: Vec<RecordError>,
    /// The broker's words for the error (v8+).
    pub error_message: Option<StrBytes>,
    /// The leader to turn to (v10+, KIP-951), with a leader error.
    pub current_leader: Option<Leader>,
}

/// Why one record was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Index of the record in its batch.
    pub index: i32,
    /// The broker's words.
    pub message: Option<StrBytes>,
}

impl ProduceResponse {
    /// Reads the body of an answer (what [`into_body`](crate::frame::ResponseFrame::into_body) gave).
    pub fn decode(body: Bytes, version: i16) -> Result<Self, DecodeError> {
        if !(3..=13).contains(&version) {
            return Err(DecodeError::UnsupportedVersion(version));
        }
        let layout = Layout { version, flexible: version >= 9 };
        let mut reader = Reader::new(body);
        let topics = reader.array(layout.flexible, 6, |reader| layout.topic(reader))?;
        let throttle_ms = reader.i32()?;
        let mut node_endpoints = Vec::new();
        if layout.flexible {
            reader.tagged_fields(|tag, mut field| {
                if tag == 0 && version >= 10 {
                    node_endpoints = NodeEndpoint::read_all(&mut field)?;
                }
                Ok(())
            })?;
        }
        reader.finish()?;
        Ok(Self { topics, throttle_ms, node_endpoints })
    }
}

#[derive(Clone, Copy)]
struct Layout {
    version: i16,
    flexible: bool,
}

impl Layout {
    fn topic(self, reader: &mut Reader) -> Result<TopicResponse, DecodeError> {
        let topic = Topic::read(reader, self.version >= 13, self.flexible)?;
        let partitions = reader.array(self.flexible, 22, |reader| self.partition(reader))?;
        self.skip_tags(reader)?;
        Ok(TopicResponse { topic, partitions })
    }

    fn partition(self, reader: &mut Reader) -> Result<PartitionResponse, DecodeError> {
        let mut partition = PartitionResponse {
            index: reader.i32()?,
            error: ErrorCode(reader.i16()?),
            base_offset: reader.i64()?,
            log_append_time: reader.i64()?,
            log_start_offset: if self.version >= 5 { reader.i64()? } else { -1 },
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        };
        if self.version >= 8 {
            partition.record_errors = reader.array(self.flexible, 5, |reader| self.record(reader))?;
            partition.error_message = reader.nullable_text(self.flexible)?;
        }
        if self.flexible {
            reader.tagged_fields(|tag, mut field| {
                if tag == 0 && self.version >= 10 {
                    partition.current_leader = Some(Leader::read(&mut field)?);
                }
                Ok(())
            })?;
        }
        Ok(partition)
    }

    fn record(self, reader: &mut Reader) -> Result<RecordError, DecodeError> {
        let error = RecordError { index: reader.i32()?, message: reader.nullable_text(self.flexible)? };
        self.skip_tags(reader)?;
        Ok(error)
    }

    fn skip_tags(self, reader: &mut Reader) -> Result<(), DecodeError> {
        if self.flexible { reader.skip_tagged_fields() } else { Ok(()) }
    }
}
