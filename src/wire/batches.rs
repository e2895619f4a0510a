//! Walks the records section of a fetch answer (or of a log file) batch by batch.

use bytes::{Buf as _, Bytes};

use crate::batch::{BatchMeta, HEAD_LEN, LENGTH_OVERHEAD, field, whole_len};
use crate::error::BatchError;
use crate::legacy;
use crate::records::Records;

/// The smallest message of format v0: CRC, magic, attributes, two null fields behind offset and length.
const LEGACY_LEN_MIN: usize = LENGTH_OVERHEAD + 14;

/// Messages of v0 and v1 that hold no others are handed out together up to so many bytes: what becomes a batch of its
/// own should not be one record. It is the size that producers make batches of by default.
const JOINED_BYTES_MAX: usize = 16 << 10;

/// One entry of a records section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A batch of message format v2: its header and the whole of it, head and body, as a slice of the input.
    V2(BatchMeta, Bytes),
    /// Messages of format v0 or v1: one that holds others, or several that hold none.
    Legacy {
        /// The first one's offset. One that holds others has the offset of the last of them.
        offset: i64,
        /// The offset of the last record.
        last_offset: i64,
        /// The whole messages, each with offset and length.
        bytes: Bytes,
    },
}

impl Entry {
    /// The first offset that it names.
    pub fn base_offset(&self) -> i64 {
        match self {
            Self::V2(meta, _) => meta.base_offset,
            Self::Legacy { offset, .. } => *offset,
        }
    }

    /// The offset after the last one.
    pub fn next_offset(&self) -> i64 {
        match self {
            Self::V2(meta, _) => meta.next_offset(),
            Self::Legacy { last_offset, .. } => last_offset.saturating_add(1),
        }
    }

    /// The whole of it.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::V2(_, bytes) | Self::Legacy { bytes, .. } => bytes,
        }
    }

    /// The whole of it, without what was read.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::V2(_, bytes) | Self::Legacy { bytes, .. } => bytes,
        }
    }
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
        let (offset, section) = (self.offset()?, self.rest.clone());
        self.rest.advance(len);
        let (mut last_offset, mut joined) = (offset, len);
        while let Some((next, len)) = self.joins(&section, magic).filter(|(_, len)| joined + len <= JOINED_BYTES_MAX) {
            self.rest.advance(len);
            (last_offset, joined) = (next, joined + len);
        }
        Ok(Some(Entry::Legacy { offset, last_offset, bytes: section.slice(..joined) }))
    }

    /// The offset in front: what follows it must have one, too.
    fn offset(&self) -> Result<i64, BatchError> {
        let offset = self.rest.first_chunk().map_or(-1, |bytes| i64::from_be_bytes(*bytes));
        if (0..i64::MAX).contains(&offset) { Ok(offset) } else { Err(BatchError::BadBaseOffset(offset)) }
    }

    /// Offset and length of the next message, if it goes together with those that `section` begins with.
    fn joins(&self, section: &[u8], magic: i8) -> Option<(i64, usize)> {
        let (len, _) = self.peek().ok()?.filter(|(_, next)| *next == magic)?;
        let holds_none = !legacy::has_codec(section) && !legacy::has_codec(&self.rest);
        holds_none.then_some((self.offset().ok()?, len))
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
