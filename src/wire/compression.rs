//! Packs and unpacks batch bodies as Kafka's Java client and librdkafka do.
//!
//! Unpacking has a limit, since a few bytes can claim gigabytes: the output never grows beyond it. On top come the
//! codecs' own windows: 32 KiB for gzip, two blocks of at most 8 MiB for lz4, and for zstd the frame's window, which
//! may be as large as the limit (or 8 MiB, if the limit is below).

use std::borrow::Cow;
use std::io::{self, Read, Write as _};

use bytes::Bytes;

use crate::batch::Codec;
use crate::zstd_context::{Unpacking, pack, unpack};

/// What a xerial stream (snappy-java's `SnappyOutputStream`) starts with: the magic and two versions of 32 bits.
/// librdkafka writes one raw block without it; both are read.
const XERIAL_HEAD: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

/// Of the xerial head only the magic is compared: snappy-java ignores the versions of what it can read.
const XERIAL_MAGIC_LEN: usize = 8;

/// Kafka's Java client packs blocks of this many bytes.
const XERIAL_BLOCK_LEN: usize = 32 * 1024;

/// Windows up to this (2^23 bytes) are accepted whatever the limit: encoders declare them for small contents too.
const ZSTD_WINDOW_LOG_MIN: u32 = 23;

/// The largest window that zstd decoders take by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Why a body was not packed or unpacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// Unpacked it would be above the limit.
    #[error("the body unpacks to more than {unpacked_bytes_max} bytes")]
    TooLarge {
        /// The limit.
        unpacked_bytes_max: usize,
    },
    /// The bytes are not what the codec writes.
    #[error("the body is no {codec:?} stream: {reason}")]
    Corrupt {
        /// Codec that the attributes name.
        codec: Codec,
        /// The decoder's words.
        reason: String,
    },
    /// The encoder failed.
    #[error("{codec:?} cannot pack the body: {reason}")]
    NotPacked {
        /// The codec.
        codec: Codec,
        /// The encoder's words.
        reason: String,
    },
}

/// Unpacks a body to at most `unpacked_bytes_max` bytes; an uncompressed one is passed through.
pub fn decompress(codec: Codec, body: &[u8], unpacked_bytes_max: usize) -> Result<Cow<'_, [u8]>, CompressionError> {
    let sink = Limited { codec, bytes_max: unpacked_bytes_max };
    match codec {
        Codec::None if body.len() > unpacked_bytes_max => Err(sink.too_large()),
        Codec::None => Ok(Cow::Borrowed(body)),
        Codec::Gzip => sink.read_all(flate2::bufread::MultiGzDecoder::new(body), body.len()).map(Cow::Owned),
        Codec::Lz4 => sink.read_all(lz4_flex::frame::FrameDecoder::new(body), body.len()).map(Cow::Owned),
        Codec::Snappy => sink.snappy(body).map(Cow::Owned),
        Codec::Zstd => {
            let limit_log = usize::BITS - unpacked_bytes_max.leading_zeros();
            let window_log_max = limit_log.clamp(ZSTD_WINDOW_LOG_MIN, ZSTD_WINDOW_LOG_MAX);
            let read = |unpacking: Unpacking<'_>| sink.read_all(unpacking, body.len()).map(Cow::Owned);
            unpack(body, window_log_max, read).map_err(|error| sink.corrupt(&error))?
        }
    }
}

/// Packs a body; an uncompressed one is passed through.
pub fn compress(codec: Codec, plain: Vec<u8>) -> Result<Bytes, CompressionError> {
    let packed = match codec {
        Codec::None => Ok(plain),
        Codec::Gzip => gzip(&plain),
        Codec::Snappy => xerial(&plain),
        Codec::Lz4 => lz4(&plain),
        Codec::Zstd => pack(&plain),
    };
    match packed {
        Ok(packed) => Ok(packed.into()),
        Err(error) => Err(CompressionError::NotPacked { codec, reason: error.to_string() }),
    }
}

fn gzip(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// Independent blocks of 64 KiB without checksums: the only kind that Kafka's reader takes, in Kafka's own size.
fn lz4(plain: &[u8]) -> io::Result<Vec<u8>> {
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(plain)?;
    Ok(encoder.finish()?)
}

fn xerial(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = snap::raw::Encoder::new();
    let mut out = XERIAL_HEAD.to_vec();
    for block in plain.chunks(XERIAL_BLOCK_LEN) {
        let packed = encoder.compress_vec(block)?;
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

/// Collects output up to a limit.
#[derive(Clone, Copy)]
struct Limited {
    codec: Codec,
    bytes_max: usize,
}

impl Limited {
    fn too_large(self) -> CompressionError {
        CompressionError::TooLarge { unpacked_bytes_max: self.bytes_max }
    }

    fn corrupt(self, reason: &impl ToString) -> CompressionError {
        CompressionError::Corrupt { codec: self.codec, reason: reason.to_string() }
    }

    /// Reads to the end; grows by doubling from a guess, but never beyond the limit.
    fn read_all(self, mut decoder: impl Read, packed_len: usize) -> Result<Vec<u8>, CompressionError> {
        let mut out = vec![0; packed_len.saturating_mul(4).min(self.bytes_max)];
        let mut filled = 0;
        loop {
            if filled == self.bytes_max {
                let more = decoder.read(&mut [0]).map_err(|error| self.corrupt(&error))?;
                return if more == 0 { Ok(out) } else { Err(self.too_large()) };
            }
            if filled == out.len() {
                let grown = (filled * 2).max(4096).min(self.bytes_max);
                out.reserve_exact(grown - filled);
                out.resize(grown, 0);
            }
            match decoder.read(&mut out[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => return Err(self.corrupt(&error)),
            }
        }
        out.truncate(filled);
        Ok(out)
    }

    fn snappy(self, body: &[u8]) -> Result<Vec<u8>, CompressionError> {
        let mut out = Vec::new();
        let mut rest = body;
        if !is_xerial(rest) {
            self.snappy_block(rest, &mut out)?;
            return Ok(out);
        }
        while !rest.is_empty() {
            // Streams may be joined, so that a head can come again.
            if is_xerial(rest) {
                rest = rest.get(XERIAL_HEAD.len()..).ok_or_else(|| self.corrupt(&"cut head"))?;
                continue;
            }
            let (len, after) = rest.split_first_chunk().ok_or_else(|| self.corrupt(&"cut length"))?;
            let len = u32::from_be_bytes(*len) as usize;
            let (block, after) = after.split_at_checked(len).ok_or_else(|| self.corrupt(&"cut block"))?;
            self.snappy_block(block, &mut out)?;
            rest = after;
        }
        Ok(out)
    }

    fn snappy_block(self, block: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
        let len = snap::raw::decompress_len(block).map_err(|error| self.corrupt(&error))?;
        let start = out.len();
        if len > self.bytes_max - start {
            return Err(self.too_large());
        }
        out.resize(start + len, 0);
        let written =
            snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(|error| self.corrupt(&error))?;
        out.truncate(start + written);
        Ok(())
    }
}

fn is_xerial(bytes: &[u8]) -> bool {
    bytes.starts_with(&XERIAL_HEAD[..XERIAL_MAGIC_LEN])
}
