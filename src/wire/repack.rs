//! Opens a batch that cannot be forwarded as it is, keeps the wanted records and packs them with dense offsets.
//!
//! What stays: the codec, each record's key, value, headers and timestamp. With the delete horizon bit the base
//! timestamp field holds the horizon, and the records' deltas are relative to *that*: `DefaultRecordBatch` reads the
//! field as base timestamp in any case, and `MemoryRecordsBuilder` (4.1.1, its constructor) takes the horizon as base
//! before the first record is appended. So the field is kept and the bit is cleared.

use bytes::Bytes;

use crate::batch::{BatchError, BatchMeta, Codec, HEAD_LEN, verify_crc};
use crate::compression::{CompressionError, compress, decompress};
use crate::error::DecodeError;
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
    /// An offset delta is not above the one before it, or outside of the batch.
    #[error("a record has the offset delta {0} out of order")]
    OffsetOrder(i32),
    /// The new batch is above 2 GiB.
    #[error("the repacked batch is too large for the format")]
    TooLarge,
}

impl Repack {
    /// Repacks a whole v2 batch; `None` if no record is kept.
    pub fn apply(&self, batch: &[u8]) -> Result<Option<Repacked>, RepackError> {
        let meta = BatchMeta::parse(batch)?;
        let body = batch.get(HEAD_LEN..meta.len as usize).ok_or(BatchError::Truncated)?;
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
        let plain = decompress(codec, body, self.unpacked_bytes_max)?;
        let mut kept = Kept::new(&meta, self.append_time);
        let mut last_delta = -1;
        for record in Records::new(&plain, meta.record_count) {
            let record = record?;
            if record.offset_delta <= last_delta || record.offset_delta > meta.last_offset_delta {
                return Err(RepackError::OffsetOrder(record.offset_delta));
            }
            last_delta = record.offset_delta;
            let source_offset = meta.base_offset.saturating_add(record.offset_delta.into());
            if source_offset >= self.min_offset {
                kept.push(source_offset, record.timestamp_delta, record.attributes, record.payload);
            }
        }
        kept.finish(codec)
    }
}

/// The records that are kept, encoded with new offset deltas.
struct Kept {
    base_timestamp: i64,
    max_timestamp: i64,
    timestamp_deltas: bool,
    plain: Vec<u8>,
    count: i32,
    runs: Vec<Run>,
}

impl Kept {
    fn new(meta: &BatchMeta, append_time: AppendTime) -> Self {
        let stamped = meta.is_append_time() && append_time == AppendTime::Keep;
        Self {
            base_timestamp: if stamped { meta.max_timestamp } else { meta.base_timestamp },
            max_timestamp: -1,
            timestamp_deltas: !stamped,
            plain: Vec::new(),
            count: 0,
            runs: Vec::new(),
        }
    }

    fn push(&mut self, source_offset: i64, timestamp_delta: i64, attributes: i8, payload: &[u8]) {
        let timestamp_delta = if self.timestamp_deltas { timestamp_delta } else { 0 };
        // Wraps as Java's sum does, so that both see the same timestamp.
        self.max_timestamp = self.max_timestamp.max(self.base_timestamp.wrapping_add(timestamp_delta));
        RecordWriter { attributes, timestamp_delta, offset_delta: self.count.into(), payload }.write(&mut self.plain);
        self.count += 1;
        match self.runs.last_mut() {
            Some(run) if run.source_start.saturating_add(run.count.into()) == source_offset => run.count += 1,
            _ => self.runs.push(Run { source_start: source_offset, count: 1 }),
        }
    }

    fn finish(self, codec: Codec) -> Result<Option<Repacked>, RepackError> {
        let Some(last_offset_delta) = self.count.checked_sub(1).filter(|delta| *delta >= 0) else {
            return Ok(None);
        };
        let body = compress(codec, self.plain)?;
        let len = i32::try_from(body.len() + HEAD_LEN).map_err(|_| RepackError::TooLarge)?;
        let mut meta = BatchMeta {
            base_offset: 0,
            len: len.cast_unsigned(),
            leader_epoch: -1,
            crc: 0,
            attributes: codec.id(),
            last_offset_delta,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: Stamp::NONE.producer_id,
            producer_epoch: Stamp::NONE.producer_epoch,
            base_sequence: Stamp::NONE.base_sequence,
            record_count: self.count,
        };
        let head = meta.seal(&body);
        Ok(Some(Repacked { meta, head, body, runs: self.runs }))
    }
}
