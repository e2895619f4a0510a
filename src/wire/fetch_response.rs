//! A view over Fetch answers, versions 4 to 18: the shell is read, the records stay slices of the frame.
//!
//! Written by hand because kafka-protocol's decoder allocates what a count claims before it looks at the bytes.

use bytes::Bytes;

use crate::error::DecodeError;
use crate::error_code::ErrorCode;
use crate::reader::Reader;
use crate::topic::{Leader, NodeEndpoint, Topic};

/// A Fetch answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponse {
    /// How long the broker throttled us, in ms.
    pub throttle_ms: i32,
    /// An error of the whole request (v7+), such as a lost fetch session.
    pub error: ErrorCode,
    /// Fetch session, or 0 for none (v7+, KIP-227).
    pub session_id: i32,
    /// Topics in the broker's order; in a session only those with news.
    pub topics: Vec<FetchTopic>,
    /// Addresses of the brokers that `current_leader` fields name (v16+, KIP-951).
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// One topic of a Fetch answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic {
    /// By id from version 13 on, by name before.
    pub topic: Topic,
    /// Partitions in the broker's order.
    pub partitions: Vec<FetchPartition>,
}

/// One partition of a Fetch answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// Partition number.
    pub index: i32,
    /// The partition's own error.
    pub error: ErrorCode,
    /// Offset behind the last replicated record, or -1.
    pub high_watermark: i64,
    /// Offset of the first record of the oldest open transaction (else the high watermark), or -1.
    pub last_stable_offset: i64,
    /// First offset of the log, or -1 (v5+).
    pub log_start_offset: i64,
    /// Where the log left the history that `last_fetched_epoch` named (v12+, KIP-595): the source was truncated.
    pub diverging_epoch: Option<EpochEnd>,
    /// The leader to turn to (v12+), with a leader error.
    pub current_leader: Option<Leader>,
    /// The aborted transactions in the range, for read-committed fetches.
    pub aborted: Vec<AbortedTransaction>,
    /// A nearer replica that the broker proposes, or -1 (v11+, KIP-392).
    pub preferred_read_replica: i32,
    /// The records section, to be walked by [`Batches`](crate::batch::Batches); it keeps the whole frame in memory.
    pub records: Bytes,
}

/// The end of a leader epoch in the broker's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The leader epoch.
    pub epoch: i32,
    /// The offset behind its last record.
    pub end_offset: i64,
}

/// An aborted transaction: its producer's data from `first_offset` to the abort marker does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Producer id.
    pub producer_id: i64,
    /// Offset of the transaction's first record in the partition.
    pub first_offset: i64,
}

impl FetchResponse {
    /// Reads the body of an answer (what [`into_body`](crate::frame::ResponseFrame::into_body) gave).
    pub fn decode(body: Bytes, version: i16) -> Result<Self, DecodeError> {
        if !(4..=18).contains(&version) {
            return Err(DecodeError::UnsupportedVersion(version));
        }
        let layout = Layout { version, flexible: version >= 12 };
        let mut reader = Reader::new(body);
        let mut response = Self {
            throttle_ms: reader.i32()?,
            error: ErrorCode::NONE,
            session_id: 0,
            topics: Vec::new(),
            node_endpoints: Vec::new(),
        };
        if version >= 7 {
            response.error = ErrorCode(reader.i16()?);
            response.session_id = reader.i32()?;
        }
        response.topics = reader.array(layout.flexible, Layout::TOPIC_LEN_MIN, |reader| layout.topic(reader))?;
        if layout.flexible {
            reader.tagged_fields(|tag, mut field| {
                if tag == 0 && version >= 16 {
                    response.node_endpoints = NodeEndpoint::read_all(&mut field)?;
                }
                Ok(())
            })?;
        }
        reader.finish()?;
        Ok(response)
    }
}

#[derive(Clone, Copy)]
struct Layout {
    version: i16,
    flexible: bool,
}

impl Layout {
    /// Bytes of an empty name and an empty array.
    const TOPIC_LEN_MIN: usize = 3;

    /// Bytes of the fixed fields of version 4.
    const PARTITION_LEN_MIN: usize = 22;

    /// Two numbers of 64 bits.
    const ABORTED_LEN_MIN: usize = 16;

    fn topic(self, reader: &mut Reader) -> Result<FetchTopic, DecodeError> {
        let topic = Topic::read(reader, self.version >= 13, self.flexible)?;
        let partitions = reader.array(self.flexible, Self::PARTITION_LEN_MIN, |reader| self.partition(reader))?;
        self.skip_tags(reader)?;
        Ok(FetchTopic { topic, partitions })
    }

    fn partition(self, reader: &mut Reader) -> Result<FetchPartition, DecodeError> {
        let mut partition = FetchPartition {
            index: reader.i32()?,
            error: ErrorCode(reader.i16()?),
            high_watermark: reader.i64()?,
            last_stable_offset: reader.i64()?,
            log_start_offset: if self.version >= 5 { reader.i64()? } else { -1 },
            diverging_epoch: None,
            current_leader: None,
            aborted: reader.array(self.flexible, Self::ABORTED_LEN_MIN, |reader| self.aborted(reader))?,
            preferred_read_replica: if self.version >= 11 { reader.i32()? } else { -1 },
            records: reader.nullable_bytes(self.flexible)?.unwrap_or_default(),
        };
        if self.flexible {
            reader.tagged_fields(|tag, mut field| {
                match tag {
                    0 => {
                        let (epoch, end_offset) = (field.i32()?, field.i64()?);
                        partition.diverging_epoch = Some(EpochEnd { epoch, end_offset });
                    }
                    1 => partition.current_leader = Some(Leader::read(&mut field)?),
                    _ => {}
                }
                Ok(())
            })?;
        }
        Ok(partition)
    }

    fn aborted(self, reader: &mut Reader) -> Result<AbortedTransaction, DecodeError> {
        let aborted = AbortedTransaction { producer_id: reader.i64()?, first_offset: reader.i64()? };
        self.skip_tags(reader)?;
        Ok(aborted)
    }

    fn skip_tags(self, reader: &mut Reader) -> Result<(), DecodeError> {
        if self.flexible { reader.skip_tagged_fields() } else { Ok(()) }
    }
}
