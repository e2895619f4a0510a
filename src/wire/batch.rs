//! A view of record batches: the header of 61 bytes is read, the body is never touched.
//!
//! Source: `RecordBatch` of message format v2, <https://kafka.apache.org/documentation/#recordbatch>.

/// Length of a v2 batch header in bytes; the body (the records section) follows it.
pub const HEAD_LEN: usize = 61;

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
    /// The codec, or `None` for a value that the format does not know.
    pub fn codec(&self) -> Option<Codec> {
        match self.attributes & 0x07 {
            0 => Some(Codec::None),
            1 => Some(Codec::Gzip),
            2 => Some(Codec::Snappy),
            3 => Some(Codec::Lz4),
            4 => Some(Codec::Zstd),
            _ => None,
        }
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
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The offset after the last record.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// Whether every offset from the base to the last has a record, so that the batch can be forwarded as it is.
    pub fn is_dense(&self) -> bool {
        i64::from(self.record_count) == i64::from(self.last_offset_delta) + 1
    }
}
