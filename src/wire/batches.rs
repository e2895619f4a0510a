//! Walks the records section of a fetch answer (or of a log file) batch by batch.

use bytes::Bytes;

use crate::batch::{BatchMeta, HEAD_LEN, LENGTH_OVERHEAD, field, whole_len};
use crate::error::BatchError;
use crate::records::Records;

/// The smallest message of format v0: CRC, magic, attributes, two null fields behind offset and length.
const LEGACY_LEN_MIN: usize = LENGTH_OVERHEAD + 14;

/// One entry of a records section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A batch of message format v2: its header and the whole of it, head and body, as a slice of the input.
    V2(BatchMeta, Bytes),
    /// A message of format v0 or v1 (a compressed one holds others).
    Legacy {
        /// 0 or 1.
        magic: i8,
        /// Its offset; that of the last inner message if compressed.
        offset: i64,
        /// The whole message with offset and length.
        bytes: Bytes,
    },
}

/// An iterator over the entries of a records section.
///
/// Brokers cut the section at the fetch size, so a partial last entry is normal: it ends the walk without an error
/// and [`partial_tail`](Self::partial_tail) tells its length. Garbage is an error, after which the walk is over.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
    partial_tail: usize,
}

impl Batches {
    /// Walks `section`; all entries share its memory.
    pub fn new(section: Bytes) -> Self {
        Self { rest: section, partial_tail: 0 }
    }

    /// Bytes of the partial last entry, known when the walk is over. A section that has nothing else needs a larger
    /// fetch size (brokers since Fetch v3 send the first batch whole).
    pub fn partial_tail(&self) -> usize {
        self.partial_tail
    }

    /// The next entry's length and magic, or `None` when it is not there as a whole.
    fn peek(&self) -> Result<Option<(usize, i8)>, BatchError> {
        let Some(length) = self.rest.get(field::LENGTH..).and_then(|rest| rest.first_chunk()) else {
            return Ok(None);
        };
        let len = whole_len(i32::from_be_bytes(*length), LEGACY_LEN_MIN)? as usize;
        let Some(magic) = self.rest.get(field::MAGIC).map(|magic| magic.cast_signed()) else {
            return Ok(None);
        };
        if !(0..=2).contains(&magic) {
            return Err(BatchError::BadMagic(magic));
        }
        Ok((len <= self.rest.len()).then_some((len, magic)))
    }

    fn step(&mut self) -> Result<Option<Entry>, BatchError> {
        let Some((len, magic)) = self.peek()? else {
            return Ok(None);
        };
        if magic == 2 {
            let meta = BatchMeta::parse(&self.rest)?;
            return Ok(Some(Entry::V2(meta, self.rest.split_to(len))));
        }
        let offset = self.rest.first_chunk().map(|bytes| i64::from_be_bytes(*bytes));
        match offset {
            Some(offset) if offset >= 0 => Ok(Some(Entry::Legacy { magic, offset, bytes: self.rest.split_to(len) })),
            other => Err(BatchError::BadBaseOffset(other.unwrap_or(-1))),
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Entry, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.step();
        match entry {
            Ok(Some(entry)) => return Some(Ok(entry)),
            Ok(None) => self.partial_tail += self.rest.len(),
            Err(_) => {}
        }
        self.rest = Bytes::new();
        entry.err().map(Err)
    }
}

impl core::iter::FusedIterator for Batches {}

/// What a control batch says.
///
/// Source: `ControlRecordType` in Kafka's clients; what is no transaction marker (KRaft, snapshots) is `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlType {
    /// The producer's transaction was aborted.
    Abort,
    /// The producer's transaction was committed.
    Commit,
    /// Another type, by its number.
    Other(i16),
}

impl ControlType {
    /// The type's number in the key.
    pub(crate) fn id(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::Other(id) => id,
        }
    }
}

/// Reads the type of a whole control batch from its first record's key (version and type, 16 bits each).
pub fn control_type(batch: &[u8]) -> Result<ControlType, BatchError> {
    let meta = BatchMeta::parse(batch)?;
    let body = batch.get(HEAD_LEN..meta.len as usize).ok_or(BatchError::Truncated)?;
    let first = Records::new(body, meta.record_count).next();
    match first {
        Some(Ok(record)) if meta.is_control() => match record.key {
            Some(&[_, _, high, low, ..]) => Ok(match i16::from_be_bytes([high, low]) {
                0 => ControlType::Abort,
                1 => ControlType::Commit,
                other => ControlType::Other(other),
            }),
            _ => Err(BatchError::NoMarker),
        },
        _ => Err(BatchError::NoMarker),
    }
}
