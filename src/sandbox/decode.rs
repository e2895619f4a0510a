//! Requests from their bytes, which may be anybody's.
//!
//! kafka-protocol reserves memory for as many items as an array's count claims before it looks at them: four bytes can
//! ask for hundreds of gigabytes, and a failed allocation ends the process. So a message is first decoded over a
//! [`Probe`], which answers each number that is larger than what is left of the message with a small one instead. Such
//! a number can be an honest time-out, or a count that lies; what is read *after* it tells the two apart: a count
//! changes that, a plain number does not.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::buf::ByteBuf;

/// A request is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the request does not follow its schema: {0}")]
    Malformed(String),
    #[error("the request holds a length or a count that it has no bytes for")]
    FalseCount,
}

pub(crate) fn decode<T: Decodable>(body: Bytes, version: i16) -> Result<T, DecodeError> {
    let malformed = |error: &dyn std::fmt::Display| DecodeError::Malformed(error.to_string());
    let probe = |instead: i32| {
        let mut probe = Probe::new(body.clone(), instead);
        T::decode(&mut probe, version).map(|_| probe).map_err(|error| malformed(&error))
    };
    let first = probe(0)?;
    if first.replaced && probe(1).map(|second| second.reads).as_ref() != Ok(&first.reads) {
        return Err(DecodeError::FalseCount);
    }
    T::decode(&mut body.clone(), version).map_err(|error| malformed(&error))
}

/// A buffer that writes down what is read from it, and gives out no number larger than it is itself.
struct Probe {
    rest: Bytes,
    /// Given for a number that is too large.
    instead: i32,
    replaced: bool,
    /// What was left at each read.
    reads: Vec<usize>,
    /// A varint that is being read: its value and how many bits of it are there.
    varint: (u64, u32),
}

impl Probe {
    fn new(rest: Bytes, instead: i32) -> Self {
        Self { rest, instead, replaced: false, reads: Vec::new(), varint: (0, 0) }
    }
}

impl Buf for Probe {
    fn remaining(&self) -> usize {
        self.rest.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.rest.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.reads.push(self.rest.len());
        self.rest.advance(count);
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        self.reads.push(self.rest.len());
        let value = self.rest.try_get_i32()?;
        if usize::try_from(value).is_ok_and(|value| value > self.rest.len()) {
            self.replaced = true;
            return Ok(self.instead);
        }
        Ok(value)
    }

    /// Only varints are read byte by byte, and all of them are lengths, counts (both plus one) or tags.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        self.reads.push(self.rest.len());
        let byte = self.rest.try_get_u8()?;
        let (value, bits) = self.varint;
        let value = value | u64::from(byte & 0x7F) << bits;
        self.varint = if byte < 0x80 || bits >= 28 { (0, 0) } else { (value, bits + 7) };
        let (requested, available) = (usize::try_from(value).unwrap_or(usize::MAX), self.rest.len());
        if requested > available + 1 {
            return Err(TryGetError { requested, available });
        }
        Ok(byte)
    }
}

impl ByteBuf for Probe {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.rest.slice(range)
    }

    fn get_bytes(&mut self, count: usize) -> Bytes {
        self.reads.push(self.rest.len());
        self.rest.split_to(count)
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{FetchRequest, JoinGroupRequest, MetadataRequest};

    use super::*;

    #[test]
    fn an_honest_large_number_is_read_as_it_is() {
        let mut body = Vec::new();
        body.extend(i32::to_be_bytes(-1)); // replica
        body.extend(i32::to_be_bytes(500_000)); // how long to wait
        body.extend(i32::to_be_bytes(1));
        body.extend(i32::to_be_bytes(i32::MAX)); // how many bytes
        body.push(0);
        body.extend(i32::to_be_bytes(0)); // topics
        let request: FetchRequest = decode(body.into(), 4).unwrap();
        assert_eq!((request.max_wait_ms, request.max_bytes), (500_000, i32::MAX));
    }

    #[test]
    fn a_count_that_lies_is_refused_before_anything_is_reserved() {
        let count = Bytes::from(i32::MAX.to_be_bytes().to_vec());
        assert_eq!(decode::<MetadataRequest>(count.clone(), 0).err(), Some(DecodeError::FalseCount));
        // With bytes behind it that could be an item.
        let more = [&count[..], &[0, 1, b't', 0, 0, 0, 0]].concat();
        assert_eq!(decode::<MetadataRequest>(more.into(), 0).err(), Some(DecodeError::FalseCount));
        let compact = Bytes::from_static(&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0, 0, 0]);
        assert!(decode::<MetadataRequest>(compact.clone(), 12).is_err());
        assert!(decode::<JoinGroupRequest>(compact, 9).is_err());
    }
}
