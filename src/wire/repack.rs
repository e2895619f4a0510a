//! Opens a batch that cannot be forwarded as it is, keeps the wanted records and packs them with dense offsets. Where
//! all records stay as they are, only the head is new. Messages of the formats v0 and v1 become a v2 batch with the
//! same keys, values and timestamps.
//!
//! What stays: the codec, each record's key, value, headers and timestamp. With the delete horizon bit the base
//! timestamp field holds the horizon, and the records' deltas are relative to *that*: `DefaultRecordBatch` reads the
//! field as base timestamp in any case, and `MemoryRecordsBuilder` (4.1.1, its constructor) takes the horizon as base
//! before the first record is appended. So the field is kept and the bit is cleared.

use core::mem;

use bytes::Bytes;

use crate::batch::{BatchError, BatchMeta, Codec, HEAD_LEN, field, split_head, verify_crc};
use crate::builder::write_nullable;
use crate::compression::{CompressionError, compress, decompress};
use crate::error::DecodeError;
use crate::legacy;
use crate::patch::Stamp;
use crate::records::{RecordWriter, Records};

/// What a repacked `LogAppendTime` batch has as timestamps (the target's topic is `CreateTime`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendTime {
    /// Each record gets the append time: consumers see what they see at the source.
    Keep,
    /// Each record gets the create time that its producer gave.
    Drop,
}

/// What to keep of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Repack {
    /// Records below this source offset are left out.
    pub min_offset: i64,
    /// How `LogAppendTime` is treated.
    pub append_time: AppendTime,
    /// Limit for the unpacked body.
    pub unpacked_bytes_max: usize,
}

/// A new batch of the kept records: base offset 0, leader epoch and producer -1, a CRC of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repacked {
    /// The fields of `head`.
    pub meta: BatchMeta,
    /// The new header, to be patched like any other.
    pub head: [u8; HEAD_LEN],
    /// The new body.
    pub body: Bytes,
    /// Where the records came from, in order; the counts add up to the batch's record count.
    pub runs: Vec<Run>,
}

/// Consecutive source offsets that were kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Source offset of the first record.
    pub source_start: i64,
    /// Number of records, at least 1.
    pub count: u32,
}

/// Why a batch was not repacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RepackError {
    /// Its header is not one.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Its CRC does not fit: it was damaged, and a new CRC would hide that.
    #[error("the batch at offset {0} is damaged: its CRC does not fit")]
    Damaged(i64),
    /// Markers are never repacked.
    #[error("the batch at offset {0} is a control batch")]
    Control(i64),
    /// The attributes name a codec that the format does not know.
    #[error("the batch at offset {0} has an unknown codec")]
    UnknownCodec(i64),
    /// The body does not unpack or pack.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// The records do not follow the format.
    #[error(transparent)]
    Records(#[from] DecodeError),
    /// An old message's offset is not above the one before it, or below what it holds.
    #[error("the old message at offset {0} is out of order")]
    OffsetGoesBack(i64),
    /// An old message with a codec holds another one, or one of another format.
    #[error("the old message at offset {0} holds messages that it must not hold")]
    Nested(i64),
    /// An offset delta is not above the one before it, or outside of the batch.
    #[error("a record has the offset delta {0} out of order")]
    OffsetOrder(i32),
    /// The new batch is above 2 GiB.
    #[error("the repacked batch is too large for the format")]
    TooLarge,
}

impl Repack {
    /// Repacks a whole v2 batch, or one or more whole messages of v0 or v1; `None` if no record is kept.
    pub fn apply(&self, batch: &Bytes) -> Result<Option<Repacked>, RepackError> {
        match batch.get(field::MAGIC) {
            Some(0 | 1) => self.messages(batch),
            _ => self.batch(batch),
        }
    }

    fn batch(&self, batch: &Bytes) -> Result<Option<Repacked>, RepackError> {
        let meta = BatchMeta::parse(batch)?;
        let (_, body) = split_head(batch)?;
        if !verify_crc(batch) {
            return Err(RepackError::Damaged(meta.base_offset));
        }
        if meta.is_control() {
            return Err(RepackError::Control(meta.base_offset));
        }
        let codec = meta.codec().ok_or(RepackError::UnknownCodec(meta.base_offset))?;
        if meta.record_count == 0 {
            return Ok(None);
        }
        let plain = decompress(codec, &body, self.unpacked_bytes_max)?;
        let stamp = (meta.is_append_time() && self.append_time == AppendTime::Keep).then_some(meta.max_timestamp);
        let mut kept = Kept { base_timestamp: Some(stamp.unwrap_or(meta.base_timestamp)), ..Kept::default() };
        let mut last_delta = -1;
        for record in Records::new(&plain, meta.record_count) {
            let record = record?;
            if record.offset_delta <= last_delta || record.offset_delta > meta.last_offset_delta {
                return Err(RepackError::OffsetOrder(record.offset_delta));
            }
            last_delta = record.offset_delta;
            let source_offset = meta.base_offset.saturating_add(record.offset_delta.into());
            if source_offset >= self.min_offset {
                // Wraps as Java's sum does, so that both see the same timestamp.
                let timestamp = stamp.unwrap_or_else(|| meta.base_timestamp.wrapping_add(record.timestamp_delta));
                kept.push(source_offset, timestamp, record.attributes, record.payload);
            }
        }
        let is_the_same = stamp.is_none() && meta.is_dense() && kept.count == meta.record_count;
        let body = if is_the_same { body } else { compress(codec, mem::take(&mut kept.plain))? };
        kept.finish(codec, body)
    }

    fn messages(&self, set: &[u8]) -> Result<Option<Repacked>, RepackError> {
        let mut kept = Kept::default();
        let mut payload = Vec::new();
        let codec = legacy::open(set, self.append_time, self.unpacked_bytes_max, |record| {
            if record.offset >= self.min_offset {
                payload.clear();
                write_nullable(&mut payload, record.key);
                write_nullable(&mut payload, record.value);
                // No headers.
                payload.push(0);
                kept.push(record.offset, record.timestamp, 0, &payload);
            }
            Ok(())
        })?;
        let body = compress(codec, mem::take(&mut kept.plain))?;
        kept.finish(codec, body)
    }
}

/// The records that are kept, encoded with new offset deltas.
#[derive(Default)]
struct Kept {
    /// The first record's, unless it is given.
    base_timestamp: Option<i64>,
    max_timestamp: Option<i64>,
    plain: Vec<u8>,
    count: i32,
    runs: Vec<Run>,
}

impl Kept {
    fn push(&mut self, source_offset: i64, timestamp: i64, attributes: i8, payload: &[u8]) {
        let timestamp_delta = timestamp.wrapping_sub(*self.base_timestamp.get_or_insert(timestamp));
        self.max_timestamp = self.max_timestamp.max(Some(timestamp));
        RecordWriter { attributes, timestamp_delta, offset_delta: self.count.into(), payload }.write(&mut self.plain);
        self.count += 1;
        match self.runs.last_mut() {
            Some(run) if run.source_start.saturating_add(run.count.into()) == source_offset => run.count += 1,
            _ => self.runs.push(Run { source_start: source_offset, count: 1 }),
        }
    }

    /// A batch of them; the body holds them, packed.
    fn finish(self, codec: Codec, body: Bytes) -> Result<Option<Repacked>, RepackError> {
        let Some(last_offset_delta) = self.count.checked_sub(1).filter(|delta| *delta >= 0) else {
            return Ok(None);
        };
        let len = i32::try_from(body.len() + HEAD_LEN).map_err(|_| RepackError::TooLarge)?;
        let mut meta = BatchMeta {
            base_offset: 0,
            len: len.cast_unsigned(),
            leader_epoch: -1,
            crc: 0,
            attributes: codec.id(),
            last_offset_delta,
            base_timestamp: self.base_timestamp.unwrap_or(-1),
            max_timestamp: self.max_timestamp.unwrap_or(-1).max(-1),
            producer_id: Stamp::NONE.producer_id,
            producer_epoch: Stamp::NONE.producer_epoch,
            base_sequence: Stamp::NONE.base_sequence,
            record_count: self.count,
        };
        let head = meta.seal(&body);
        Ok(Some(Repacked { meta, head, body, runs: self.runs }))
    }
}
