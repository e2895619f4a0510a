//! A batch opened: one print a record, as consumers see it, without its bytes.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use twinlog_wire::batch::{BatchMeta, HEAD_LEN};
use twinlog_wire::compression::decompress;
use twinlog_wire::records::{Record, Records};

/// A batch may unpack to this many bytes. Batches are compared one at a time a side, so this bounds the memory.
const UNPACKED_BYTES_MAX: usize = 256 << 20;

/// A whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) meta: BatchMeta,
    pub(super) bytes: Bytes,
}

impl Batch {
    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(HEAD_LEN..).unwrap_or_default()
    }

    /// Its records; the error is in words.
    pub(super) fn open(&self) -> Result<Vec<Print>, String> {
        let codec = self.meta.codec().ok_or("its codec is unknown")?;
        if self.meta.record_count == 0 {
            return Ok(Vec::new());
        }
        let plain = decompress(codec, self.body(), UNPACKED_BYTES_MAX).map_err(|error| error.to_string())?;
        let prints: Result<Vec<_>, _> = Records::new(&plain, self.meta.record_count)
            .map(|record| record.map(|record| Print::new(&self.meta, &record)))
            .collect();
        prints.map_err(|error| error.to_string())
    }
}

/// A record without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) offset: i64,
    timestamp: i64,
    key: Field,
    value: Field,
    headers: Field,
}

impl Print {
    fn new(meta: &BatchMeta, record: &Record<'_>) -> Self {
        // Both sums wrap as Java's do; with `LogAppendTime` consumers see the append time.
        let timestamp = match meta.is_append_time() {
            true => meta.max_timestamp,
            false => meta.base_timestamp.wrapping_add(record.timestamp_delta),
        };
        Self {
            offset: meta.base_offset.saturating_add(record.offset_delta.into()),
            timestamp,
            key: Field::new(record.key),
            value: Field::new(record.value),
            headers: Field::new(Some(record.headers)),
        }
    }

    /// What is not the same, with both values; the offsets are not compared.
    pub(super) fn differs_from(&self, target: &Self) -> Option<String> {
        if self.timestamp != target.timestamp {
            return Some(format!("timestamp {} is {} on the target", self.timestamp, target.timestamp));
        }
        let fields = [
            ("key", self.key, target.key),
            ("value", self.value, target.value),
            ("headers", self.headers, target.headers),
        ];
        fields
            .into_iter()
            .find(|(_, source, target)| source != target)
            .map(|(name, source, target)| format!("{name}: {source} is {target} on the target"))
    }
}

/// A key, a value or all headers of a record: length and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field(Option<(usize, u64)>);

impl Field {
    fn new(bytes: Option<&[u8]>) -> Self {
        Self(bytes.map(|bytes| {
            let mut hasher = DefaultHasher::new();
            hasher.write(bytes);
            (bytes.len(), hasher.finish())
        }))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("null"),
            Some((len, hash)) => write!(f, "{len} bytes with hash {hash:016x}"),
        }
    }
}
