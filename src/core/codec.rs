//! The bytes of records in the link's own topics: numbers of variable length (zigzag where they can be negative) and
//! texts, after one byte for the version of the format.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::ids::{SourceOffset, TargetOffset, TopicId};
use crate::offset_map::Range;

/// Version of the values' format that this build writes.
pub const FORMAT: u8 = 1;

/// A value or key that this build cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// What was wrong, in words.
    pub reason: &'static str,
}

pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { bytes: alloc::vec![FORMAT] }
    }

    pub(crate) fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(crate) fn signed(&mut self, value: i64) {
        self.unsigned(((value << 1) ^ (value >> 63)) as u64);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.unsigned(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// The first range as it is, each later one as the two gaps before it and its length: about five bytes a range.
    pub(crate) fn ranges(&mut self, ranges: &[Range]) {
        self.unsigned(ranges.len() as u64);
        let (mut source, mut target) = (SourceOffset(0), TargetOffset(0));
        for range in ranges {
            self.signed(range.source_start.0.wrapping_sub(source.0));
            self.signed(range.target_start.0.wrapping_sub(target.0));
            self.unsigned(range.len);
            (source, target) = (range.source_end(), range.target_end());
        }
    }
}

pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, BadRecord> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => Ok(Self { rest }),
            Some(_) => Err(BadRecord { reason: "written by a newer twinlog" }),
            None => Err(BadRecord { reason: "empty value" }),
        }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], BadRecord> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(BadRecord { reason: "value ends too early" })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, BadRecord> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?.first().copied().unwrap_or_default();
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(BadRecord { reason: "number too long" })
    }

    pub(crate) fn signed(&mut self) -> Result<i64, BadRecord> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn int(&mut self) -> Result<i32, BadRecord> {
        i32::try_from(self.signed()?).map_err(|_| BadRecord { reason: "number out of range" })
    }

    pub(crate) fn flag(&mut self) -> Result<bool, BadRecord> {
        match self.unsigned()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadRecord { reason: "neither yes nor no" }),
        }
    }

    pub(crate) fn lane(&mut self) -> Result<u32, BadRecord> {
        u32::try_from(self.unsigned()?).map_err(|_| BadRecord { reason: "lane out of range" })
    }

    pub(crate) fn text(&mut self) -> Result<String, BadRecord> {
        let len = usize::try_from(self.unsigned()?).map_err(|_| BadRecord { reason: "text too long" })?;
        let bytes = self.take(len)?;
        core::str::from_utf8(bytes).map(ToString::to_string).map_err(|_| BadRecord { reason: "not text" })
    }

    pub(crate) fn topic_id(&mut self) -> Result<TopicId, BadRecord> {
        let mut id = TopicId::default();
        id.copy_from_slice(self.take(16)?);
        Ok(id)
    }

    pub(crate) fn ranges(&mut self) -> Result<Vec<Range>, BadRecord> {
        let count = self.unsigned()?;
        let mut ranges = Vec::new();
        let (mut source, mut target) = (SourceOffset(0), TargetOffset(0));
        for _ in 0..count {
            let range = Range {
                source_start: SourceOffset(source.0.wrapping_add(self.signed()?)),
                target_start: TargetOffset(target.0.wrapping_add(self.signed()?)),
                len: self.unsigned()?,
            };
            (source, target) = (range.source_end(), range.target_end());
            ranges.push(range);
        }
        Ok(ranges)
    }
}

/// The number at the end of a key.
pub(crate) fn number(part: Option<&str>) -> Result<u64, BadRecord> {
    part.and_then(|text| text.parse().ok()).ok_or(BadRecord { reason: "key without its number" })
}
