//! Encodes v2 record batches: for the link's own records, and for tests and the sandbox, which also need batches with
//! holes, markers and delete horizons as brokers store them.
//!
//! Source: `DefaultRecordBatch`, `DefaultRecord` and `EndTransactionMarker` in Kafka's clients.

use bytes::{Bytes, BytesMut};

use crate::batch::{BatchMeta, Codec, ControlType, HEAD_LEN};
use crate::compression::{CompressionError, compress};
use crate::patch::Stamp;
use crate::records::RecordWriter;
use crate::varint::write_signed;

/// Attribute bits above the codec.
pub(crate) mod attribute {
    pub(crate) const APPEND_TIME: i16 = 0x08;
    pub(crate) const TRANSACTIONAL: i16 = 0x10;
    pub(crate) const CONTROL: i16 = 0x20;
    pub(crate) const DELETE_HORIZON: i16 = 0x40;
}

/// The header fields that do not follow from the records. The default is what a producer without idempotence sends.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    /// Offset of the first record; 0 in Produce requests.
    pub base_offset: i64,
    /// Leader epoch, or -1 in Produce requests.
    pub leader_epoch: i32,
    /// Codec of the body.
    pub codec: Codec,
    /// Producer id, epoch and sequence.
    pub stamp: Stamp,
    /// Sets the transactional bit.
    pub transactional: bool,
    /// Marks the batch as `LogAppendTime` and takes this, in ms, as its max timestamp.
    pub append_time: Option<i64>,
    /// Marks the batch as one that the cleaner saw: this, in ms, stands in the base timestamp field.
    pub delete_horizon: Option<i64>,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            base_offset: 0,
            leader_epoch: -1,
            codec: Codec::None,
            stamp: Stamp::NONE,
            transactional: false,
            append_time: None,
            delete_horizon: None,
        }
    }
}

/// A record to be encoded.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// Timestamp in ms.
    pub timestamp: i64,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null.
    pub value: Option<&'a [u8]>,
    /// Header keys and values.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Why a batch was not built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// It covers no offset.
    #[error("a batch without an offset")]
    Empty,
    /// Bytes or offsets do not fit the header's 31 bits.
    #[error("the batch is too large for the format")]
    TooLarge,
    /// The codec failed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// Collects records and encodes them as one batch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    attributes: i16,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    next_offset_delta: i64,
    record_count: i64,
    plain: Vec<u8>,
    /// A record behind its offset, of which the length must be known first; used again by each.
    payload: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(options: BatchOptions) -> Self {
        let mut attributes = options.codec.id();
        for (set, bit) in [
            (options.append_time.is_some(), attribute::APPEND_TIME),
            (options.transactional, attribute::TRANSACTIONAL),
            (options.delete_horizon.is_some(), attribute::DELETE_HORIZON),
        ] {
            if set {
                attributes |= bit;
            }
        }
        Self {
            options,
            attributes,
            base_timestamp: options.delete_horizon,
            max_timestamp: -1,
            next_offset_delta: 0,
            record_count: 0,
            plain: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// The marker that ends a transaction, as a coordinator of `coordinator_epoch` writes it at `timestamp` (ms).
    ///
    /// Of the options, base offset, leader epoch and stamp count (markers have the sequence -1).
    pub fn marker(
        options: BatchOptions,
        control_type: ControlType,
        coordinator_epoch: i32,
        timestamp: i64,
    ) -> Result<Bytes, BuildError> {
        let BatchOptions { base_offset, leader_epoch, stamp, .. } = options;
        let mut builder =
            Self::new(BatchOptions { base_offset, leader_epoch, stamp, transactional: true, ..Default::default() });
        builder.attributes |= attribute::CONTROL;
        let [high, low] = control_type.id().to_be_bytes();
        let [a, b, c, d] = coordinator_epoch.to_be_bytes();
        builder.push(&NewRecord {
            timestamp,
            key: Some(&[0, 0, high, low]),
            value: Some(&[0, 0, a, b, c, d]),
            headers: &[],
        });
        builder.finish()
    }

    /// Adds a record at the next offset.
    pub fn push(&mut self, record: &NewRecord<'_>) -> &mut Self {
        let base_timestamp = *self.base_timestamp.get_or_insert(record.timestamp);
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let payload = &mut self.payload;
        payload.clear();
        write_nullable(payload, record.key);
        write_nullable(payload, record.value);
        write_signed(payload, record.headers.len() as i64);
        for (key, value) in record.headers {
            write_nullable(payload, Some(key.as_bytes()));
            write_nullable(payload, *value);
        }
        RecordWriter {
            attributes: 0,
            timestamp_delta: record.timestamp.wrapping_sub(base_timestamp),
            offset_delta: self.next_offset_delta,
            payload,
        }
        .write(&mut self.plain);
        self.next_offset_delta += 1;
        self.record_count += 1;
        self
    }

    /// Leaves out `offsets` offsets, as compaction does; at the end of the batch they count as well.
    pub fn skip(&mut self, offsets: u32) -> &mut Self {
        self.next_offset_delta += i64::from(offsets);
        self
    }

    /// The batch as one piece, head and body.
    pub fn finish(self) -> Result<Bytes, BuildError> {
        if self.next_offset_delta == 0 {
            return Err(BuildError::Empty);
        }
        let last_offset_delta = i32::try_from(self.next_offset_delta - 1).map_err(|_| BuildError::TooLarge)?;
        let body = if self.record_count == 0 { Bytes::new() } else { compress(self.options.codec, self.plain)? };
        let len = i32::try_from(body.len() + HEAD_LEN).map_err(|_| BuildError::TooLarge)?;
        let mut meta = BatchMeta {
            base_offset: self.options.base_offset,
            len: len.cast_unsigned(),
            leader_epoch: self.options.leader_epoch,
            crc: 0,
            attributes: self.attributes,
            last_offset_delta,
            base_timestamp: self.base_timestamp.unwrap_or(-1),
            max_timestamp: self.options.append_time.unwrap_or(self.max_timestamp),
            producer_id: self.options.stamp.producer_id,
            producer_epoch: self.options.stamp.producer_epoch,
            base_sequence: self.options.stamp.base_sequence,
            record_count: self.record_count as i32,
        };
        let head = meta.seal(&body);
        let mut batch = BytesMut::with_capacity(HEAD_LEN + body.len());
        batch.extend_from_slice(&head);
        batch.extend_from_slice(&body);
        Ok(batch.freeze())
    }
}

pub(crate) fn write_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            write_signed(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => write_signed(out, -1),
    }
}
