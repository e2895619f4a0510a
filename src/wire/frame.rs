//! Cuts length-prefixed frames out of a receive buffer, without a copy.
//!
//! ```text
//! | length: i32 | correlation id: i32 | tagged fields (flexible headers) | body |
//!               |<------------------------ length ------------------------->|
//! ```

use bytes::{Buf as _, Bytes, BytesMut};

use crate::error::{DecodeError, FrameError};
use crate::reader::Reader;

/// Bytes of the length prefix.
const PREFIX_LEN: usize = 4;

/// Cuts frames and refuses those above a size.
#[derive(Clone, Copy, Debug)]
pub struct FrameCutter {
    frame_bytes_max: usize,
}

impl FrameCutter {
    /// A cutter for frames of at most `frame_bytes_max` bytes, the prefix of 4 bytes not counted.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max }
    }

    /// Takes the first frame (without its prefix) off `buffer`, or `None` when it is not there as a whole.
    ///
    /// The frame shares the buffer's memory. After an error the connection is of no use: where the next frame
    /// starts is not known.
    pub fn take(&self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(len) = self.frame_len(buffer)? else {
            return Ok(None);
        };
        if buffer.len() - PREFIX_LEN < len {
            return Ok(None);
        }
        buffer.advance(PREFIX_LEN);
        Ok(Some(buffer.split_to(len).freeze()))
    }

    /// How many bytes `buffer` still lacks until [`take`](Self::take) yields a frame (0: it does now).
    ///
    /// Before the prefix is there, only the prefix counts. Reserve that much and a large frame is read into one
    /// allocation.
    pub fn missing(&self, buffer: &[u8]) -> Result<usize, FrameError> {
        Ok(match self.frame_len(buffer)? {
            Some(len) => (PREFIX_LEN + len).saturating_sub(buffer.len()),
            None => PREFIX_LEN - buffer.len(),
        })
    }

    fn frame_len(&self, buffer: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = buffer.first_chunk::<PREFIX_LEN>() else {
            return Ok(None);
        };
        let len = i32::from_be_bytes(*prefix);
        let Ok(frame_bytes) = usize::try_from(len) else {
            return Err(FrameError::NegativeLength(len));
        };
        if frame_bytes > self.frame_bytes_max {
            return Err(FrameError::TooLarge { frame_bytes, frame_bytes_max: self.frame_bytes_max });
        }
        Ok(Some(frame_bytes))
    }
}

/// A response frame whose correlation id was read; the body's version is known only to who sent the request.
#[derive(Clone, Debug)]
pub struct ResponseFrame {
    correlation_id: i32,
    rest: Bytes,
}

impl ResponseFrame {
    /// Reads the correlation id of a frame that [`FrameCutter::take`] gave.
    pub fn parse(frame: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame);
        let correlation_id = reader.i32()?;
        Ok(Self { correlation_id, rest: reader.into_rest() })
    }

    /// The id of the request that this answers.
    pub fn correlation_id(&self) -> i32 {
        self.correlation_id
    }

    /// The body, for a response header of version 0 or 1 (1 has tagged fields, which are skipped).
    ///
    /// kafka-protocol's `ApiKey::response_header_version` gives the version; ApiVersions has always 0.
    pub fn into_body(self, header_version: i16) -> Result<Bytes, DecodeError> {
        let mut reader = Reader::new(self.rest);
        if header_version >= 1 {
            reader.skip_tagged_fields()?;
        }
        Ok(reader.into_rest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_and_without_a_copy() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 3, 7, 8, 9, 0, 0, 0, 1][..]);
        let at = buffer[4..].as_ptr();
        let cutter = FrameCutter::new(3);

        let frame = cutter.take(&mut buffer).unwrap().unwrap();

        assert_eq!(frame, [7, 8, 9][..]);
        assert_eq!(frame.as_ptr(), at);
        assert_eq!(cutter.missing(&buffer).unwrap(), 1);
        assert!(cutter.take(&mut buffer).unwrap().is_none());
        assert_eq!(buffer, [0, 0, 0, 1][..], "an incomplete frame stays in the buffer");
    }

    #[test]
    fn missing_counts_down_to_the_whole_frame() {
        let cutter = FrameCutter::new(100);
        assert_eq!(cutter.missing(&[]).unwrap(), 4);
        assert_eq!(cutter.missing(&[0, 0]).unwrap(), 2);
        assert_eq!(cutter.missing(&[0, 0, 0, 9]).unwrap(), 9);
        assert_eq!(cutter.missing(&[0, 0, 0, 1, 5, 5]).unwrap(), 0);
    }

    #[test]
    fn wrong_lengths_are_typed_errors() {
        let cutter = FrameCutter::new(3);
        let too_large = FrameError::TooLarge { frame_bytes: 4, frame_bytes_max: 3 };
        assert_eq!(cutter.take(&mut BytesMut::from(&[0, 0, 0, 4][..])), Err(too_large));
        assert_eq!(cutter.missing(&[0xFF; 4]), Err(FrameError::NegativeLength(-1)));
    }

    #[test]
    fn response_headers_of_both_versions() {
        let frame = Bytes::from_static(&[0, 0, 1, 0, /* tags */ 1, 9, 2, 1, 1, /* body */ 42]);
        let response = ResponseFrame::parse(frame).unwrap();
        assert_eq!(response.correlation_id(), 256);
        assert_eq!(response.clone().into_body(1).unwrap(), [42][..]);
        assert_eq!(response.into_body(0).unwrap().len(), 6);
        assert!(ResponseFrame::parse(Bytes::from_static(&[0, 0, 1])).is_err());
    }
}
