//! Reads a message's fields; what it hands out are slices of the frame.

use bytes::{Buf as _, Bytes};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::error::DecodeError;
use crate::varint;

/// A place in a message. Lengths and counts are checked against what is left before anything is allocated.
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn into_rest(self) -> Bytes {
        self.rest
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn i16(&mut self) -> Result<i16, DecodeError> {
        self.rest.try_get_i16().map_err(|_| DecodeError::Truncated)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.rest.try_get_i32().map_err(|_| DecodeError::Truncated)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.rest.try_get_i64().map_err(|_| DecodeError::Truncated)
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.rest.try_get_u128().map(Uuid::from_u128).map_err(|_| DecodeError::Truncated)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u32, DecodeError> {
        let mut rest = &self.rest[..];
        let value = varint::read_unsigned(&mut rest)?;
        let read = self.rest.len() - rest.len();
        self.rest.advance(read);
        Ok(value)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        Ok(self.rest.split_to(len))
    }

    /// A text that is not null.
    pub(crate) fn text(&mut self, flexible: bool) -> Result<StrBytes, DecodeError> {
        self.nullable_text(flexible)?.ok_or(DecodeError::BadLength(-1))
    }

    pub(crate) fn nullable_text(&mut self, flexible: bool) -> Result<Option<StrBytes>, DecodeError> {
        let len = if flexible { self.compact_len()? } else { i64::from(self.i16()?) };
        let Some(bytes) = self.nullable(len)? else {
            return Ok(None);
        };
        StrBytes::from_utf8(bytes).map(Some).map_err(|_| DecodeError::BadText)
    }

    pub(crate) fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        let len = if flexible { self.compact_len()? } else { i64::from(self.i32()?) };
        self.nullable(len)
    }

    /// Reads an array's items; null counts as empty. `item_len_min` bounds how many there can be.
    pub(crate) fn array<T>(
        &mut self,
        flexible: bool,
        item_len_min: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let len = if flexible { self.compact_len()? } else { i64::from(self.i32()?) };
        if len == -1 {
            return Ok(Vec::new());
        }
        let count = usize::try_from(len).map_err(|_| DecodeError::BadLength(len))?;
        if count > self.remaining() / item_len_min {
            return Err(DecodeError::BadLength(len));
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Calls `field` with each tagged field's tag and its bytes; what it does not know it leaves alone.
    pub(crate) fn tagged_fields(
        &mut self,
        mut field: impl FnMut(u32, Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned()?;
        for _ in 0..count {
            let tag = self.unsigned()?;
            let len = self.unsigned()? as usize;
            field(tag, Self::new(self.take(len)?))?;
        }
        Ok(())
    }

    pub(crate) fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        self.tagged_fields(|_, _| Ok(()))
    }

    /// Fails if anything is left.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    fn compact_len(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from(self.unsigned()?) - 1)
    }

    fn nullable(&mut self, len: i64) -> Result<Option<Bytes>, DecodeError> {
        if len == -1 {
            return Ok(None);
        }
        let len = usize::try_from(len).map_err(|_| DecodeError::BadLength(len))?;
        self.take(len).map(Some)
    }
}
