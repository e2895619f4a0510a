//! Messages of the formats v0 and v1, which brokers before 4.0 may still keep from clients before 0.11.
//!
//! ```text
//! message: offset i64 | size i32 | CRC-32 u32 | magic i8 | attributes i8 | v1: timestamp i64
//!          | key length i32, key | value length i32, value
//! ```
//! A length of -1 stands for null. A message with a codec holds others as its value, and has the offset of the last of
//! them. In v1 their own offsets count from the first one, in v0 they are those of the log. A message of v0 has no
//! timestamp, for which consumers are given -1. Source: `LegacyRecord` and `AbstractLegacyRecordBatch` in Kafka's
//! clients.

use core::hash::Hasher;
use std::borrow::Cow;

use twox_hash::XxHash32;

use crate::batch::{Codec, field};
use crate::compression::decompress;
use crate::error::DecodeError;
use crate::records::take;
use crate::repack::{AppendTime, RepackError};

/// What consumers are given of a record without a timestamp.
const NO_TIMESTAMP: i64 = -1;

const ATTRIBUTES: usize = field::MAGIC + 1;
const CODEC: i8 = 0x07;
const APPEND_TIME: i8 = 0x08;

/// Whether the message at the front holds others.
pub(crate) fn has_codec(message: &[u8]) -> bool {
    message.get(ATTRIBUTES).is_some_and(|attributes| attributes.cast_signed() & CODEC != 0)
}

/// One record of an old message, as a consumer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset in the log.
    pub offset: i64,
    /// Its timestamp in ms, or -1.
    pub timestamp: i64,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null.
    pub value: Option<&'a [u8]>,
}

/// Gives each record of the messages in `set` to `each`, in order; answers the codec of those that had one.
pub fn open(
    set: &[u8],
    append_time: AppendTime,
    unpacked_bytes_max: usize,
    mut each: impl FnMut(Record<'_>) -> Result<(), RepackError>,
) -> Result<Codec, RepackError> {
    let mut last_offset = -1;
    let mut each = |record: Record<'_>| {
        if record.offset <= last_offset {
            return Err(RepackError::OffsetGoesBack(record.offset));
        }
        last_offset = record.offset;
        each(record)
    };
    let mut found = Codec::None;
    for message in Messages(set) {
        let message = message?;
        if !message.is_intact {
            return Err(RepackError::Damaged(message.offset));
        }
        match message.codec()? {
            Codec::None => each(message.record(0, message.timestamp))?,
            codec => {
                found = codec;
                let body = message.value.ok_or(DecodeError::BadLength(-1))?;
                let body = if codec == Codec::Lz4 { with_checksum_of_lz4(body) } else { Cow::Borrowed(body) };
                let plain = decompress(codec, &body, unpacked_bytes_max)?;
                message.open(&plain, append_time, &mut each)?;
            }
        }
    }
    Ok(found)
}

struct Message<'a> {
    offset: i64,
    magic: i8,
    attributes: i8,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    /// Whether the checksum fits.
    is_intact: bool,
}

impl<'a> Message<'a> {
    fn parse(bytes: &mut &'a [u8]) -> Result<Self, DecodeError> {
        let (offset, size) = (i64::from_be_bytes(array(bytes)?), i32::from_be_bytes(array(bytes)?));
        let mut rest = take(bytes, size)?;
        let crc = u32::from_be_bytes(array(&mut rest)?);
        let is_intact = crc32fast::hash(rest) == crc;
        let [magic, attributes] = array(&mut rest)?.map(u8::cast_signed);
        let timestamp = match magic {
            0 => NO_TIMESTAMP,
            _ => i64::from_be_bytes(array(&mut rest)?),
        };
        let (key, value) = (nullable(&mut rest)?, nullable(&mut rest)?);
        match rest.len() {
            0 => Ok(Self { offset, magic, attributes, timestamp, key, value, is_intact }),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    fn codec(&self) -> Result<Codec, RepackError> {
        Codec::of(i16::from(self.attributes)).ok_or(RepackError::UnknownCodec(self.offset))
    }

    fn record(&self, base_offset: i64, timestamp: i64) -> Record<'a> {
        let offset = self.offset.saturating_add(base_offset);
        Record { offset, timestamp, key: self.key, value: self.value }
    }

    /// The messages inside of this one.
    fn open(
        &self,
        plain: &[u8],
        append_time: AppendTime,
        each: &mut impl FnMut(Record<'_>) -> Result<(), RepackError>,
    ) -> Result<(), RepackError> {
        let base_offset = match self.magic {
            0 => 0,
            _ => {
                let last = Messages(plain).last().transpose()?.map_or(0, |inner| inner.offset);
                self.offset.checked_sub(last).ok_or(RepackError::OffsetGoesBack(self.offset))?
            }
        };
        let is_stamped = self.attributes & APPEND_TIME != 0 && append_time == AppendTime::Keep;
        for inner in Messages(plain) {
            let inner = inner?;
            if inner.magic != self.magic || inner.codec()? != Codec::None {
                return Err(RepackError::Nested(self.offset));
            }
            let record = inner.record(base_offset, if is_stamped { self.timestamp } else { inner.timestamp });
            if record.offset > self.offset {
                return Err(RepackError::OffsetGoesBack(self.offset));
            }
            each(record)?;
        }
        Ok(())
    }
}

/// Walks messages; ends after its first error.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = Message::parse(&mut self.0);
        if message.is_err() {
            self.0 = &[];
        }
        Some(message)
    }
}

/// An lz4 frame whose header has the checksum of the frame format. Clients before 0.10 counted the frame's magic number
/// in, and v0 has kept it so.
fn with_checksum_of_lz4(frame: &[u8]) -> Cow<'_, [u8]> {
    const MAGIC_LEN: usize = 4;
    const HAS_CONTENT_SIZE: u8 = 0x08;
    const HAS_DICTIONARY: u8 = 0x01;
    let Some(flags) = frame.get(MAGIC_LEN) else { return Cow::Borrowed(frame) };
    let content_size = if flags & HAS_CONTENT_SIZE != 0 { 8 } else { 0 };
    let dictionary = if flags & HAS_DICTIONARY != 0 { 4 } else { 0 };
    let end = MAGIC_LEN + 2 + content_size + dictionary;
    let (Some(descriptor), Some(old)) = (frame.get(MAGIC_LEN..end), frame.get(end)) else {
        return Cow::Borrowed(frame);
    };
    let mut hasher = XxHash32::with_seed(0);
    hasher.write(descriptor);
    let checksum = (hasher.finish() >> 8) as u8;
    if checksum == *old {
        return Cow::Borrowed(frame);
    }
    let mut frame = frame.to_vec();
    frame[end] = checksum;
    Cow::Owned(frame)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(DecodeError::Truncated)?;
    *bytes = rest;
    Ok(*taken)
}

fn nullable<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
    match i32::from_be_bytes(array(bytes)?) {
        -1 => Ok(None),
        len => take(bytes, len).map(Some),
    }
}
