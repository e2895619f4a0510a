//! Walks the records of an uncompressed v2 body; nothing is allocated or copied.
//!
//! ```text
//! record: length varint | attributes i8 | timestamp delta varlong | offset delta varint
//!         | key length varint, key | value length varint, value | header count varint, headers
//! header: key length varint, key | value length varint, value
//! ```
//! A length of -1 stands for null. Source: `DefaultRecord` in Kafka's clients.

use crate::error::DecodeError;
use crate::varint::{read_varint, read_varlong, signed_len, write_signed};

/// One record, borrowed from the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Attributes, of which Kafka uses none.
    pub attributes: i8,
    /// Timestamp in ms, relative to the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Offset relative to the batch's base offset.
    pub offset_delta: i32,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null (a tombstone).
    pub value: Option<&'a [u8]>,
    /// Number of headers.
    pub header_count: i32,
    /// The headers as they are on the wire, without their count; [`headers`](Self::headers) walks them.
    pub headers: &'a [u8],
    /// Everything behind the offset delta: what stays when a record is renumbered.
    pub(crate) payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// Walks the headers; ends with an error if they do not fill their bytes exactly.
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.headers, left: self.header_count }
    }

    fn parse(bytes: &mut &'a [u8]) -> Result<Self, DecodeError> {
        let len = read_varint(bytes)?;
        let mut rest = take(bytes, len)?;
        let (&attributes, after) = rest.split_first().ok_or(DecodeError::Truncated)?;
        rest = after;
        let timestamp_delta = read_varlong(&mut rest)?;
        let offset_delta = read_varint(&mut rest)?;
        let payload = rest;
        let key = read_nullable(&mut rest)?;
        let value = read_nullable(&mut rest)?;
        let header_count = read_varint(&mut rest)?;
        if header_count < 0 || header_count as usize > rest.len() / 2 {
            return Err(DecodeError::BadLength(header_count.into()));
        }
        let attributes = attributes.cast_signed();
        Ok(Self { attributes, timestamp_delta, offset_delta, key, value, header_count, headers: rest, payload })
    }
}

/// An iterator over the records of an uncompressed body; it ends after its first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: i32,
}

impl<'a> Records<'a> {
    /// Walks `body`, which must hold exactly `record_count` records.
    pub fn new(body: &'a [u8], record_count: i32) -> Self {
        Self { rest: body, left: record_count }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = core::mem::take(&mut self.left);
        if left <= 0 {
            return trailing(&mut self.rest);
        }
        let record = Record::parse(&mut self.rest);
        match record {
            Ok(_) => self.left = left - 1,
            Err(_) => self.rest = &[],
        }
        Some(record)
    }
}

/// One header: its key (UTF-8 by Kafka's rules, not checked here) and its value, or null.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// An iterator over a record's headers; it ends after its first error.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: i32,
}

impl<'a> Headers<'a> {
    fn step(&mut self) -> Result<Header<'a>, DecodeError> {
        let key = read_nullable(&mut self.rest)?.ok_or(DecodeError::BadLength(-1))?;
        Ok((key, read_nullable(&mut self.rest)?))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<Header<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = core::mem::take(&mut self.left);
        if left <= 0 {
            return trailing(&mut self.rest);
        }
        let header = self.step();
        match header {
            Ok(_) => self.left = left - 1,
            Err(_) => self.rest = &[],
        }
        Some(header)
    }
}

/// Encodes a record from its numbers and its payload (key, value and headers, encoded already).
pub(crate) struct RecordWriter<'a> {
    pub(crate) attributes: i8,
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i64,
    pub(crate) payload: &'a [u8],
}

impl RecordWriter<'_> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let len = 1 + signed_len(self.timestamp_delta) + signed_len(self.offset_delta) + self.payload.len();
        write_signed(out, len as i64);
        out.push(self.attributes.cast_unsigned());
        write_signed(out, self.timestamp_delta);
        write_signed(out, self.offset_delta);
        out.extend_from_slice(self.payload);
    }
}

/// Reports bytes that are left after the last item, once.
fn trailing<T>(rest: &mut &[u8]) -> Option<Result<T, DecodeError>> {
    let left = core::mem::take(rest).len();
    (left > 0).then_some(Err(DecodeError::Trailing(left)))
}

fn read_nullable<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
    match read_varint(bytes)? {
        -1 => Ok(None),
        len => take(bytes, len).map(Some),
    }
}

pub(crate) fn take<'a>(bytes: &mut &'a [u8], len: i32) -> Result<&'a [u8], DecodeError> {
    let len = usize::try_from(len).map_err(|_| DecodeError::BadLength(len.into()))?;
    let (taken, rest) = bytes.split_at_checked(len).ok_or(DecodeError::Truncated)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attributes, timestamp and offset 0, null key and value, then what the test gives.
    fn record(tail: &[u8]) -> Vec<u8> {
        let mut bytes = vec![(5 + tail.len() as u8) * 2, 0, 0, 0, 1, 1];
        bytes.extend_from_slice(tail);
        bytes
    }

    fn first(body: &[u8]) -> Result<Record<'_>, DecodeError> {
        Records::new(body, 1).next().unwrap()
    }

    #[test]
    fn header_counts_that_lie_are_errors() {
        assert_eq!(first(&record(&[0])).map(|record| record.header_count), Ok(0));
        assert_eq!(first(&record(&[1])), Err(DecodeError::BadLength(-1)));
        assert_eq!(first(&record(&[4, 0, 1, 0])), Err(DecodeError::BadLength(2)));
    }

    #[test]
    fn bytes_behind_the_last_record_or_header_are_an_error_once() {
        let body = [record(&[0]), vec![7]].concat();
        let mut records = Records::new(&body, 1);
        assert!(matches!(records.next(), Some(Ok(_))));
        assert_eq!(records.next(), Some(Err(DecodeError::Trailing(1))));
        assert_eq!(records.next(), None);

        let body = record(&[2, 2, b'k', 1, 9, 9]);
        let headers: Vec<_> = first(&body).unwrap().headers().collect();
        assert_eq!(headers, [Ok((&b"k"[..], None)), Err(DecodeError::Trailing(2))]);
    }

    #[test]
    fn a_count_above_the_records_is_an_error_once() {
        let body = record(&[0]);
        let records: Vec<_> = Records::new(&body, 9).collect();
        assert_eq!(records.len(), 2);
        assert_eq!(records[1], Err(DecodeError::Truncated));
    }
}
