//! A view of record batches: the header of 61 bytes is read, the body is never touched.
//!
//! Source: `RecordBatch` of message format v2, <https://kafka.apache.org/documentation/#recordbatch>.

use bytes::Bytes;

pub use crate::batches::{Batches, ControlType, Entry, control_type};
pub use crate::error::BatchError;

/// Length of a v2 batch header in bytes; the body (the records section) follows it.
pub const HEAD_LEN: usize = 61;

/// Where the header's fields start.
pub(crate) mod field {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const LENGTH: usize = 8;
    pub(crate) const LEADER_EPOCH: usize = 12;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CRC: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const BASE_TIMESTAMP: usize = 27;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
    pub(crate) const PRODUCER_ID: usize = 43;
    pub(crate) const PRODUCER_EPOCH: usize = 51;
    pub(crate) const BASE_SEQUENCE: usize = 53;
    pub(crate) const RECORD_COUNT: usize = 57;
}

/// Bytes that the length field does not count: the base offset and itself.
pub(crate) const LENGTH_OVERHEAD: usize = field::LEADER_EPOCH;

/// Compression codec, the low three bits of the attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not compressed.
    None,
    /// gzip.
    Gzip,
    /// snappy.
    Snappy,
    /// lz4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// The codec that attributes name, or `None` for a value that the format does not know.
    pub(crate) fn of(attributes: i16) -> Option<Self> {
        match attributes & 0x07 {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The codec's number in the attributes.
    pub(crate) fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }
}

/// The header fields of one v2 batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMeta {
    /// Offset of the first record (also where it was compacted away).
    pub base_offset: i64,
    /// Length of the whole batch in bytes, header included.
    pub len: u32,
    /// Leader epoch that the source's leader wrote.
    pub leader_epoch: i32,
    /// CRC32C of everything from the attributes on.
    pub crc: u32,
    /// Attribute bits as they are on the wire.
    pub attributes: i16,
    /// Offset of the last record relative to the base offset.
    pub last_offset_delta: i32,
    /// Timestamp that the records' deltas refer to, in ms.
    pub base_timestamp: i64,
    /// Largest timestamp of the records, in ms (the append time with `LogAppendTime`).
    pub max_timestamp: i64,
    /// Producer id, or -1.
    pub producer_id: i64,
    /// Producer epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// Number of records in the body.
    pub record_count: i32,
}

impl BatchMeta {
    /// Reads a v2 header off the front of `bytes`; the body need not be there.
    ///
    /// What it accepts cannot make any method of this type overflow.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let head: &[u8; HEAD_LEN] = bytes.first_chunk().ok_or(BatchError::Truncated)?;
        let magic = head[field::MAGIC].cast_signed();
        if magic != 2 {
            return Err(BatchError::BadMagic(magic));
        }
        let meta = Self {
            base_offset: i64::from_be_bytes(get(head, field::BASE_OFFSET)),
            len: whole_len(i32::from_be_bytes(get(head, field::LENGTH)), HEAD_LEN)?,
            leader_epoch: i32::from_be_bytes(get(head, field::LEADER_EPOCH)),
            crc: u32::from_be_bytes(get(head, field::CRC)),
            attributes: i16::from_be_bytes(get(head, field::ATTRIBUTES)),
            last_offset_delta: i32::from_be_bytes(get(head, field::LAST_OFFSET_DELTA)),
            base_timestamp: i64::from_be_bytes(get(head, field::BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(get(head, field::MAX_TIMESTAMP)),
            producer_id: i64::from_be_bytes(get(head, field::PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(get(head, field::PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(get(head, field::BASE_SEQUENCE)),
            record_count: i32::from_be_bytes(get(head, field::RECORD_COUNT)),
        };
        if meta.last_offset_delta < 0 {
            return Err(BatchError::BadLastOffsetDelta(meta.last_offset_delta));
        }
        let span = i64::from(meta.last_offset_delta) + 1;
        if meta.record_count < 0 || i64::from(meta.record_count) > span {
            return Err(BatchError::BadCount(meta.record_count));
        }
        if meta.base_offset < 0 || meta.base_offset.checked_add(span).is_none() {
            return Err(BatchError::BadBaseOffset(meta.base_offset));
        }
        Ok(meta)
    }

    /// Writes the header for `body`; the length is taken as it is, the CRC is computed and noted here.
    pub(crate) fn seal(&mut self, body: &[u8]) -> [u8; HEAD_LEN] {
        let mut head = [0; HEAD_LEN];
        put(&mut head, field::BASE_OFFSET, self.base_offset.to_be_bytes());
        put(&mut head, field::LENGTH, (self.len - LENGTH_OVERHEAD as u32).to_be_bytes());
        put(&mut head, field::LEADER_EPOCH, self.leader_epoch.to_be_bytes());
        put(&mut head, field::MAGIC, [2]);
        put(&mut head, field::ATTRIBUTES, self.attributes.to_be_bytes());
        put(&mut head, field::LAST_OFFSET_DELTA, self.last_offset_delta.to_be_bytes());
        put(&mut head, field::BASE_TIMESTAMP, self.base_timestamp.to_be_bytes());
        put(&mut head, field::MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        put(&mut head, field::PRODUCER_ID, self.producer_id.to_be_bytes());
        put(&mut head, field::PRODUCER_EPOCH, self.producer_epoch.to_be_bytes());
        put(&mut head, field::BASE_SEQUENCE, self.base_sequence.to_be_bytes());
        put(&mut head, field::RECORD_COUNT, self.record_count.to_be_bytes());
        self.crc = crc32c::crc32c_append(crc32c::crc32c(&head[field::ATTRIBUTES..]), body);
        put(&mut head, field::CRC, self.crc.to_be_bytes());
        head
    }

    /// Length of the body in bytes.
    pub fn body_len(&self) -> u32 {
        self.len.saturating_sub(HEAD_LEN as u32)
    }

    /// The codec, or `None` for a value that the format does not know.
    pub fn codec(&self) -> Option<Codec> {
        Codec::of(self.attributes)
    }

    /// Bit 3: the timestamps were given by the broker (`LogAppendTime`).
    pub fn is_append_time(&self) -> bool {
        self.attributes & 0x08 != 0
    }

    /// Bit 4: the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Bit 5: a control batch (commit and abort markers).
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// Bit 6: the base timestamp is the cleaner's delete horizon.
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & 0x40 != 0
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the last record.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Whether every offset from the base to the last has a record, so that the batch can be forwarded as it is.
    pub fn is_dense(&self) -> bool {
        i64::from(self.record_count) == i64::from(self.last_offset_delta) + 1
    }
}

/// Whether the CRC in the header of a whole v2 batch fits its bytes; anything else than a whole batch does not fit.
pub fn verify_crc(batch: &[u8]) -> bool {
    let Ok(meta) = BatchMeta::parse(batch) else {
        return false;
    };
    match batch.get(field::ATTRIBUTES..meta.len as usize) {
        Some(covered) => crc32c::crc32c(covered) == meta.crc,
        None => false,
    }
}

/// Splits a whole v2 batch into its head and its body; the body is a slice of `batch`.
pub fn split_head(batch: &Bytes) -> Result<([u8; HEAD_LEN], Bytes), BatchError> {
    let meta = BatchMeta::parse(batch)?;
    if batch.len() < meta.len as usize {
        return Err(BatchError::Truncated);
    }
    let head = *batch.first_chunk().ok_or(BatchError::Truncated)?;
    Ok((head, batch.slice(HEAD_LEN..meta.len as usize)))
}

/// The length of a batch or message with its overhead, from the length field.
pub(crate) fn whole_len(length: i32, whole_min: usize) -> Result<u32, BatchError> {
    match u32::try_from(length) {
        Ok(rest) if rest as usize + LENGTH_OVERHEAD >= whole_min => Ok(rest + LENGTH_OVERHEAD as u32),
        _ => Err(BatchError::BadLength(length)),
    }
}

/// The `N` bytes of a header field; the places are constants, so that it cannot fail.
pub(crate) fn get<const N: usize>(head: &[u8; HEAD_LEN], start: usize) -> [u8; N] {
    core::array::from_fn(|index| head[start + index])
}

/// Writes a field's bytes; the places are constants, so that it cannot fail.
pub(crate) fn put<const N: usize>(head: &mut [u8; HEAD_LEN], start: usize, value: [u8; N]) {
    head[start..start + N].copy_from_slice(&value);
}
