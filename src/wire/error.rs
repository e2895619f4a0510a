//! What can be wrong with bytes from outside, one enum a layer.

/// A receive buffer does not hold frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length prefix is negative.
    #[error("a frame has the length {0}")]
    NegativeLength(i32),
    /// The frame is above the limit.
    #[error("a frame of {frame_bytes} bytes is above the limit of {frame_bytes_max}")]
    TooLarge {
        /// Length that the prefix names.
        frame_bytes: usize,
        /// Limit of the cutter.
        frame_bytes_max: usize,
    },
}

/// A message's bytes do not follow its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// A length or a count is negative, null where it must not be, or above what the bytes can hold.
    #[error("the message holds a length or count of {0}")]
    BadLength(i64),
    /// A variable-length integer has more bits than its type.
    #[error("the message holds a malformed varint")]
    BadVarint,
    /// A text is not UTF-8.
    #[error("the message holds a text that is not UTF-8")]
    BadText,
    /// Bytes are left after the last field.
    #[error("{0} bytes are left after the message's last field")]
    Trailing(usize),
    /// This crate does not know the version.
    #[error("version {0} of the message is not supported")]
    UnsupportedVersion(i16),
}

/// A record batch is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Fewer bytes than the header or than its length field says.
    #[error("the batch ends early")]
    Truncated,
    /// The magic byte is none of 0, 1, 2 (or not 2, where only v2 will do).
    #[error("unknown magic {0} of a record batch")]
    BadMagic(i8),
    /// The length field is too small for the format.
    #[error("a record batch has the length {0}")]
    BadLength(i32),
    /// The record count is negative or above the span of offsets.
    #[error("a record batch has {0} records")]
    BadCount(i32),
    /// The last offset delta is negative.
    #[error("a record batch has the last offset delta {0}")]
    BadLastOffsetDelta(i32),
    /// The base offset is negative or too near to the end of i64.
    #[error("a record batch has the base offset {0}")]
    BadBaseOffset(i64),
    /// The batch should be a control batch, but has no readable marker.
    #[error("a control batch without a marker")]
    NoMarker,
}
