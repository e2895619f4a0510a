//! What a leader looks at before it takes a client's batch, and what it changes in it.
//!
//! Source: `ProduceRequest.validateRecords`, `UnifiedLog.analyzeAndValidateRecords`, `LogValidator`.

use bytes::{BufMut as _, Bytes, BytesMut};
use twinlog_wire::batch::{BatchError, BatchMeta, Codec, HEAD_LEN};
use twinlog_wire::compression::{compress, decompress};
use twinlog_wire::error_code::ErrorCode;
use twinlog_wire::records::Records;

use crate::settings::Rules;

/// A batch may unpack to as much; what claims more is damaged.
const UNPACKED_BYTES_MAX: usize = 512 << 20;

/// Where the header's fields start; the checksum covers everything from the attributes on.
mod field {
    pub(super) const LENGTH: usize = 8;
    pub(super) const MAGIC: usize = 16;
    pub(super) const CRC: usize = 17;
    pub(super) const ATTRIBUTES: usize = 21;
    pub(super) const LAST_OFFSET_DELTA: usize = 23;
    pub(super) const MAX_TIMESTAMP: usize = 35;
}

const CODEC_BITS: i16 = 0x07;
const APPEND_TIME_BIT: i16 = 0x08;
const NO_TIMESTAMP: i64 = -1;

/// A batch that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: ErrorCode,
    /// The broker's words for it.
    pub(crate) message: &'static str,
    /// The record that is to blame, by its place in the batch.
    pub(crate) record: Option<i32>,
}

impl Refused {
    pub(crate) fn new(code: ErrorCode, message: &'static str) -> Self {
        Self { code, message, record: None }
    }

    fn invalid(message: &'static str) -> Self {
        Self::new(ErrorCode::INVALID_RECORD, message)
    }
}

/// A batch that may be appended, as the leader stores it but for its place in the log.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) meta: BatchMeta,
    head: [u8; HEAD_LEN],
    body: Bytes,
}

impl Incoming {
    /// Looks at the records of one partition in a Produce request.
    pub(crate) fn check(records: &Bytes, rules: &Rules, now_ms: i64) -> Result<Self, Refused> {
        let meta = one_batch(records)?;
        let (Some(head), Some(body)) = (records.first_chunk(), records.get(HEAD_LEN..)) else {
            return Err(Refused::new(ErrorCode::CORRUPT_MESSAGE, "The batch ends early."));
        };
        if i64::from(meta.len) > rules.max_message_bytes {
            return Err(too_large());
        }
        if crc_of(head, body) != meta.crc {
            return Err(Refused::new(ErrorCode::CORRUPT_MESSAGE, "Record is corrupt: its checksum does not fit."));
        }
        if meta.is_control() {
            return Err(Refused::invalid("Clients are not allowed to write control records."));
        }
        if meta.producer_id >= 0 && meta.base_sequence < 0 {
            return Err(Refused::invalid("Invalid sequence number in a record batch with a producer id."));
        }
        if meta.record_count == 0 || !meta.is_dense() {
            return Err(Refused::invalid("The record count does not fit the batch's offsets."));
        }
        let codec =
            meta.codec().ok_or_else(|| Refused::new(ErrorCode::UNKNOWN_SERVER_ERROR, "Unknown compression type."))?;
        let plain = decompress(codec, body, UNPACKED_BYTES_MAX)
            .map_err(|_| Refused::new(ErrorCode::CORRUPT_MESSAGE, "The records cannot be unpacked."))?;
        let newest = look_at_records(&meta, &plain, rules, now_ms)?;
        let mut incoming = Self { meta, head: *head, body: records.slice(HEAD_LEN..) };
        if let Some(wanted) = rules.compression.filter(|wanted| *wanted != codec) {
            // The target's own codec wins, as at a broker whose topic does not say "producer".
            let packed = compress(wanted, plain.into_owned())
                .map_err(|_| Refused::new(ErrorCode::UNKNOWN_SERVER_ERROR, "The records cannot be packed."))?;
            incoming.set_body(wanted, packed)?;
            if i64::from(incoming.meta.len) > rules.max_message_bytes {
                return Err(too_large());
            }
        }
        let attributes = incoming.meta.attributes & !APPEND_TIME_BIT;
        match rules.is_append_time {
            true => incoming.set_times(attributes | APPEND_TIME_BIT, now_ms),
            false => incoming.set_times(attributes, newest),
        }
        Ok(incoming)
    }

    /// The bytes to store at this offset. Neither field is covered by the checksum.
    pub(crate) fn store(self, base_offset: i64, leader_epoch: i32) -> (BatchMeta, Bytes) {
        let mut stored = BytesMut::with_capacity(HEAD_LEN + self.body.len());
        stored.put_i64(base_offset);
        stored.put_slice(self.head.get(field::LENGTH..field::LENGTH + 4).unwrap_or_default());
        stored.put_i32(leader_epoch);
        stored.put_slice(self.head.get(field::MAGIC..).unwrap_or_default());
        stored.put_slice(&self.body);
        (BatchMeta { base_offset, leader_epoch, ..self.meta }, stored.freeze())
    }

    fn set_body(&mut self, codec: Codec, body: Bytes) -> Result<(), Refused> {
        self.meta.len = u32::try_from(HEAD_LEN + body.len()).map_err(|_| too_large())?;
        self.body = body;
        let id = match codec {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        };
        self.meta.attributes = self.meta.attributes & !CODEC_BITS | id;
        put(&mut self.head, field::LENGTH, (self.meta.len - 12).to_be_bytes());
        self.seal();
        Ok(())
    }

    /// The checksum is only computed anew where something changes.
    fn set_times(&mut self, attributes: i16, max_timestamp: i64) {
        if (self.meta.attributes, self.meta.max_timestamp) != (attributes, max_timestamp) {
            (self.meta.attributes, self.meta.max_timestamp) = (attributes, max_timestamp);
            self.seal();
        }
    }

    fn seal(&mut self) {
        put(&mut self.head, field::ATTRIBUTES, self.meta.attributes.to_be_bytes());
        put(&mut self.head, field::MAX_TIMESTAMP, self.meta.max_timestamp.to_be_bytes());
        self.meta.crc = crc_of(&self.head, &self.body);
        put(&mut self.head, field::CRC, self.meta.crc.to_be_bytes());
    }
}

/// The only batch in a partition's records.
fn one_batch(records: &[u8]) -> Result<BatchMeta, Refused> {
    let exactly_one = Refused::invalid("Produce requests must have exactly one record batch a partition.");
    if records.is_empty() {
        return Err(exactly_one);
    }
    let base_offset = records.first_chunk().map(|bytes| i64::from_be_bytes(*bytes));
    let meta = match BatchMeta::parse(records) {
        Ok(meta) => meta,
        Err(BatchError::BadMagic(_)) => {
            return Err(Refused::invalid("Produce requests are only allowed to contain record batches with magic 2."));
        }
        Err(_) if base_offset.is_some_and(|offset| offset != 0) => return Err(bad_base_offset()),
        // Numbers that no producer writes: the checksum says whether they were sent or damaged.
        Err(BatchError::BadCount(_) | BatchError::BadLastOffsetDelta(_)) if own_crc_fits(records) => {
            return Err(Refused::invalid("The record count does not fit the batch's offsets."));
        }
        Err(_) => return Err(Refused::new(ErrorCode::CORRUPT_MESSAGE, "The batch's header is not one.")),
    };
    match records.len().cmp(&(meta.len as usize)) {
        std::cmp::Ordering::Less => Err(Refused::new(ErrorCode::CORRUPT_MESSAGE, "The batch ends early.")),
        std::cmp::Ordering::Greater => Err(exactly_one),
        std::cmp::Ordering::Equal if meta.base_offset != 0 => Err(bad_base_offset()),
        std::cmp::Ordering::Equal => Ok(meta),
    }
}

fn bad_base_offset() -> Refused {
    Refused::invalid("The baseOffset of the record batch in the append should be 0.")
}

fn too_large() -> Refused {
    Refused::new(ErrorCode::MESSAGE_TOO_LARGE, "The record batch is larger than max.message.bytes.")
}

/// Looks at keys and timestamps; gives the largest timestamp that a reader sees.
fn look_at_records(meta: &BatchMeta, plain: &[u8], rules: &Rules, now_ms: i64) -> Result<i64, Refused> {
    let mut newest = NO_TIMESTAMP;
    for (index, record) in (0..).zip(Records::new(plain, meta.record_count)) {
        let refused = |code, message| Refused { code, message, record: Some(index) };
        let record = record.map_err(|_| refused(ErrorCode::INVALID_RECORD, "The records do not follow the format."))?;
        if rules.is_compacted && record.key.is_none() {
            let words = "Compacted topic cannot accept message without key.";
            return Err(refused(ErrorCode::INVALID_RECORD, words));
        }
        let timestamp = match meta.is_append_time() {
            true => meta.max_timestamp,
            false => meta.base_timestamp.wrapping_add(record.timestamp_delta),
        };
        newest = newest.max(timestamp);
        let ahead = timestamp.saturating_sub(now_ms);
        let outside = ahead > rules.timestamp_after_max_ms || ahead.saturating_neg() > rules.timestamp_before_max_ms;
        if outside && timestamp != NO_TIMESTAMP && !rules.is_append_time {
            let words = "The record's timestamp is out of range of the broker's clock.";
            return Err(refused(ErrorCode::INVALID_TIMESTAMP, words));
        }
    }
    Ok(newest)
}

fn crc_of(head: &[u8; HEAD_LEN], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head.get(field::ATTRIBUTES..).unwrap_or_default()), body)
}

fn own_crc_fits(records: &[u8]) -> bool {
    let crc = records.get(field::CRC..).and_then(|rest| rest.first_chunk());
    let covered = records.get(field::ATTRIBUTES..);
    // A length field that does not fit is found out by the checksum as well: it would cover other bytes.
    crc.zip(covered).is_some_and(|(crc, covered)| u32::from_be_bytes(*crc) == crc32c::crc32c(covered))
        && records.len() > field::LAST_OFFSET_DELTA
}

fn put<const N: usize>(head: &mut [u8; HEAD_LEN], start: usize, value: [u8; N]) {
    if let Some(place) = head.get_mut(start..start + N) {
        place.copy_from_slice(&value);
    }
}
