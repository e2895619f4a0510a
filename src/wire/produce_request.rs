//! A Produce request as a list of slices for `writev`: the bodies go from the receive buffer to the socket.
//!
//! ```text
//! small | head || body || small | head || body || … || small
//! ```
//! The small parts and the heads stand in one buffer; `||` is where one slice ends and the next begins.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut as _, Bytes};

use crate::batch::{HEAD_LEN, LENGTH_OVERHEAD, field, get};
use crate::topic::Topic;

/// Kafka's number of this API.
const API_KEY: i16 = 0;

/// First version with compact lengths and tagged fields.
const FLEXIBLE_FROM: i16 = 9;

/// First version that names topics by id (KIP-516).
const TOPIC_ID_FROM: i16 = 13;

/// The fields in front of the topics. The transactional id is always null: data batches are plain idempotent ones.
#[derive(Clone, Copy, Debug)]
pub struct ProduceHead<'a> {
    /// API version, 3 to 13.
    pub version: i16,
    /// Comes back in the answer.
    pub correlation_id: i32,
    /// The name under which the broker logs and meters us.
    pub client_id: &'a str,
    /// -1: all in-sync replicas, 1: the leader, 0: no answer at all.
    pub acks: i16,
    /// How long the broker waits for the replicas, in ms.
    pub timeout_ms: i32,
}

/// The batches for one topic.
#[derive(Clone, Debug)]
pub struct ProduceTopic {
    /// By id from version 13 on, by name before.
    pub topic: Topic,
    /// At most one entry a partition: brokers refuse more batches.
    pub partitions: Vec<ProducePartition>,
}

/// One batch for one partition.
#[derive(Clone, Debug)]
pub struct ProducePartition {
    /// Partition number.
    pub index: i32,
    /// The patched head.
    pub head: [u8; HEAD_LEN],
    /// What follows the head; only referred to.
    pub body: Bytes,
}

/// What cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// This crate does not know the version.
    #[error("Produce version {0} is not supported")]
    UnsupportedVersion(i16),
    /// A topic by name in a version with ids, or the other way round.
    #[error("Produce version {0} does not name topics that way")]
    WrongTopicKind(i16),
    /// A text above 32 767 bytes.
    #[error("a text of {0} bytes is too long for the protocol")]
    TextTooLong(usize),
    /// The head's length field does not fit the body.
    #[error("the head of partition {0} does not belong to its body")]
    HeadMismatch(i32),
    /// The request does not fit a frame.
    #[error("the request is too large for a frame")]
    TooLarge,
}

/// Lists the slices of a request, length prefix first.
pub fn encode(head: &ProduceHead<'_>, topics: &[ProduceTopic]) -> Result<Slices, EncodeError> {
    if !(3..=TOPIC_ID_FROM).contains(&head.version) {
        return Err(EncodeError::UnsupportedVersion(head.version));
    }
    let mut writer = Writer::new(head.version, topics);
    writer.head(head)?;
    writer.count(topics.len())?;
    for topic in topics {
        writer.topic(&topic.topic)?;
        writer.count(topic.partitions.len())?;
        for partition in &topic.partitions {
            writer.partition(partition)?;
        }
        writer.no_tags();
    }
    writer.no_tags();
    writer.finish()
}

/// Slices to be written one after the other; remembers how far that has come.
///
/// It is a [`Buf`], so tokio's `write_all_buf` and the like take it as it is, with vectored writes. What is written
/// is let go at once.
#[derive(Clone, Debug, Default)]
pub struct Slices {
    parts: VecDeque<Bytes>,
    remaining: usize,
}

impl Slices {
    /// The parts that are not written yet.
    pub fn parts(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter()
    }

    fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.remaining += part.len();
            self.parts.push_back(part);
        }
    }
}

impl Buf for Slices {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    /// Marks `count` bytes as written; more than remain mark all.
    fn advance(&mut self, count: usize) {
        let mut left = count.min(self.remaining);
        self.remaining -= left;
        while let Some(part) = self.parts.front_mut() {
            if left < part.len() {
                part.advance(left);
                return;
            }
            left -= part.len();
            self.parts.pop_front();
        }
    }
}

/// Writes small parts into one buffer and notes behind which of its bytes a body stands.
struct Writer<'a> {
    /// A `Vec`: a `BytesMut` calls a function for each number that is put into it.
    small: Vec<u8>,
    bodies: Vec<(usize, &'a Bytes)>,
    flexible: bool,
    version: i16,
}

impl<'a> Writer<'a> {
    fn new(version: i16, topics: &[ProduceTopic]) -> Self {
        let partitions: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
        Self {
            small: Vec::with_capacity(128 + topics.len() * 64 + partitions * (HEAD_LEN + 16)),
            bodies: Vec::with_capacity(partitions),
            flexible: version >= FLEXIBLE_FROM,
            version,
        }
    }

    fn head(&mut self, head: &ProduceHead<'_>) -> Result<(), EncodeError> {
        self.small.put_i32(0);
        self.small.put_i16(API_KEY);
        self.small.put_i16(head.version);
        self.small.put_i32(head.correlation_id);
        let client_id_len = text_len(head.client_id)?;
        self.small.put_i16(client_id_len);
        self.small.put_slice(head.client_id.as_bytes());
        self.no_tags();
        if self.flexible {
            self.small.put_u8(0);
        } else {
            self.small.put_i16(-1);
        }
        self.small.put_i16(head.acks);
        self.small.put_i32(head.timeout_ms);
        Ok(())
    }

    fn topic(&mut self, topic: &Topic) -> Result<(), EncodeError> {
        match topic {
            Topic::Id(id) if self.version >= TOPIC_ID_FROM => self.small.put_u128(id.as_u128()),
            Topic::Name(name) if self.version < TOPIC_ID_FROM => {
                let len = text_len(name)?;
                if self.flexible {
                    self.unsigned(u32::from(len.cast_unsigned()) + 1);
                } else {
                    self.small.put_i16(len);
                }
                self.small.put_slice(name.as_bytes());
            }
            _ => return Err(EncodeError::WrongTopicKind(self.version)),
        }
        Ok(())
    }

    fn partition(&mut self, partition: &'a ProducePartition) -> Result<(), EncodeError> {
        let len = HEAD_LEN + partition.body.len();
        let named = i32::from_be_bytes(get(&partition.head, field::LENGTH));
        if usize::try_from(named).ok() != Some(len - LENGTH_OVERHEAD) {
            return Err(EncodeError::HeadMismatch(partition.index));
        }
        self.small.put_i32(partition.index);
        self.count(len)?;
        self.small.put_slice(&partition.head);
        self.bodies.push((self.small.len(), &partition.body));
        self.no_tags();
        Ok(())
    }

    /// A count of items or bytes, compact from the flexible versions on.
    fn count(&mut self, count: usize) -> Result<(), EncodeError> {
        let count = i32::try_from(count).map_err(|_| EncodeError::TooLarge)?;
        if self.flexible {
            self.unsigned(count.cast_unsigned() + 1);
        } else {
            self.small.put_i32(count);
        }
        Ok(())
    }

    fn unsigned(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.small.put_u8((value & 0x7F) as u8 | 0x80);
            value >>= 7;
        }
        self.small.put_u8(value as u8);
    }

    fn no_tags(&mut self) {
        if self.flexible {
            self.small.put_u8(0);
        }
    }

    fn finish(mut self) -> Result<Slices, EncodeError> {
        let bodies: usize = self.bodies.iter().map(|(_, body)| body.len()).sum();
        let frame = i32::try_from(self.small.len() - 4 + bodies).map_err(|_| EncodeError::TooLarge)?;
        if let Some(prefix) = self.small.first_chunk_mut() {
            *prefix = frame.to_be_bytes();
        }
        let mut small = Bytes::from(self.small);
        let mut slices = Slices { parts: VecDeque::with_capacity(self.bodies.len() * 2 + 1), remaining: 0 };
        let mut cut = 0;
        for (end, body) in self.bodies {
            slices.push(small.split_to(end - cut));
            slices.push(body.clone());
            cut = end;
        }
        slices.push(small);
        Ok(slices)
    }
}

fn text_len(text: &str) -> Result<i16, EncodeError> {
    i16::try_from(text.len()).map_err(|_| EncodeError::TextTooLong(text.len()))
}
