//! Batches as cases send them, also such as no client would send.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use twinlog_wire::batch::{BatchMeta, Codec};
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};
use twinlog_wire::patch::Stamp;

use crate::peer::Verdict;

pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// Where header fields start.
pub(crate) mod field {
    pub(crate) const CRC: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
}

/// The wall clock in ms.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A producer's id and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

impl Producer {
    pub(crate) fn stamp(self, base_sequence: i32) -> Stamp {
        Stamp { producer_id: self.id, producer_epoch: self.epoch, base_sequence }
    }

    /// A batch of `count` records of now.
    pub(crate) fn batch(self, base_sequence: i32, count: usize) -> Bytes {
        self.batch_of(base_sequence, count, now())
    }

    /// A batch of `count` records of this time.
    pub(crate) fn batch_of(self, base_sequence: i32, count: usize, timestamp: i64) -> Bytes {
        Draft::new(count).stamp(self.stamp(base_sequence)).at(timestamp).build()
    }
}

/// A batch in the making: records with a key and a value that tell them apart.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) options: BatchOptions,
    count: usize,
    holes: u32,
    timestamp: i64,
    keys: bool,
    word: &'static str,
    value_bytes: usize,
}

impl Draft {
    /// A batch of `count` records of now, without a producer.
    pub(crate) fn new(count: usize) -> Self {
        let options = BatchOptions::default();
        Self { options, count, holes: 0, timestamp: now(), keys: true, word: "value", value_bytes: 0 }
    }

    pub(crate) fn stamp(mut self, stamp: Stamp) -> Self {
        self.options.stamp = stamp;
        self
    }

    pub(crate) fn at(mut self, timestamp: i64) -> Self {
        self.timestamp = timestamp;
        self
    }

    pub(crate) fn codec(mut self, codec: Codec) -> Self {
        self.options.codec = codec;
        self
    }

    /// As it stands in a log at this offset.
    pub(crate) fn fetched_at(mut self, base_offset: i64) -> Self {
        self.options.base_offset = base_offset;
        self.options.leader_epoch = 7;
        self
    }

    pub(crate) fn without_keys(mut self) -> Self {
        self.keys = false;
        self
    }

    /// Leaves out offsets behind the records, as the cleaner does.
    pub(crate) fn holes(mut self, holes: u32) -> Self {
        self.holes = holes;
        self
    }

    /// Other content.
    pub(crate) fn word(mut self, word: &'static str) -> Self {
        self.word = word;
        self
    }

    /// Values of this many bytes.
    pub(crate) fn value_bytes(mut self, bytes: usize) -> Self {
        self.value_bytes = bytes;
        self
    }

    pub(crate) fn build(&self) -> Bytes {
        let mut builder = BatchBuilder::new(self.options);
        for index in 0..self.count {
            let key = format!("key-{index}");
            let mut value = format!("{}-{index}", self.word);
            while value.len() < self.value_bytes {
                value.push_str(&format!("{:x}", value.len().wrapping_mul(2_654_435_761)));
            }
            builder.push(&NewRecord {
                timestamp: self.timestamp + index as i64,
                key: self.keys.then_some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: &[],
            });
        }
        builder.skip(self.holes);
        builder.finish().unwrap_or_else(|error| panic!("a test's batch: {error}"))
    }
}

/// The batch with other bytes in its header and a checksum that fits.
pub(crate) fn with(batch: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut new = BytesMut::from(&batch[..]);
    new[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&new[field::ATTRIBUTES..]);
    new[field::CRC..field::CRC + 4].copy_from_slice(&crc.to_be_bytes());
    new.freeze()
}

/// The batch with these attribute bits set and a checksum that fits.
pub(crate) fn with_bits(batch: &Bytes, bits: i16) -> Bytes {
    let attributes = meta(batch).map_or(0, |meta| meta.attributes);
    with(batch, field::ATTRIBUTES, &(attributes | bits).to_be_bytes())
}

/// The batch's header.
pub(crate) fn meta(batch: &Bytes) -> Verdict<BatchMeta> {
    Ok(BatchMeta::parse(batch)?)
}
