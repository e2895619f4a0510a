//! A batch opened: one print a record, as consumers see it, without its bytes.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use twinlog_core::config::Timestamps;
use twinlog_wire::batch::{BatchMeta, Entry, HEAD_LEN, verify_crc};
use twinlog_wire::compression::decompress;
use twinlog_wire::legacy;
use twinlog_wire::records::{Record, Records};

/// A batch may unpack to this many bytes. Batches are compared one at a time a side, so this bounds the memory.
const UNPACKED_BYTES_MAX: usize = 256 << 20;

pub(super) const DAMAGED: &str = "the batch is damaged: its CRC does not fit";

/// A whole batch, or whole messages of an old format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) entry: Entry,
    /// What counts if its broker gave it a time.
    pub(super) timestamps: Timestamps,
}

impl Batch {
    pub(super) fn body(&self) -> &[u8] {
        self.entry.bytes().get(HEAD_LEN..).unwrap_or_default()
    }

    /// Its records; the error is in words.
    pub(super) fn open(&self) -> Result<Vec<Print>, String> {
        let prints = match &self.entry {
            Entry::V2(_, bytes) if !verify_crc(bytes) => return Err(DAMAGED.to_owned()),
            Entry::V2(meta, _) => self.open_batch(meta),
            Entry::Legacy { bytes, .. } => self.open_messages(bytes),
        };
        prints.map_err(|words| format!("the batch cannot be opened: {words}"))
    }

    fn open_batch(&self, meta: &BatchMeta) -> Result<Vec<Print>, String> {
        let codec = meta.codec().ok_or("its codec is unknown")?;
        if meta.record_count == 0 {
            return Ok(Vec::new());
        }
        let plain = decompress(codec, self.body(), UNPACKED_BYTES_MAX).map_err(|error| error.to_string())?;
        let prints: Result<Vec<_>, _> = Records::new(&plain, meta.record_count)
            .map(|record| record.map(|record| Print::new(meta, self.timestamps, &record)))
            .collect();
        prints.map_err(|error| error.to_string())
    }

    fn open_messages(&self, messages: &[u8]) -> Result<Vec<Print>, String> {
        let mut prints = Vec::new();
        let opened = legacy::open(messages, self.timestamps.append_time(), UNPACKED_BYTES_MAX, |record| {
            let legacy::Record { offset, timestamp, key, value } = record;
            let (key, value, headers) = (Field::new(key), Field::new(value), Field::new(Some(&[])));
            prints.push(Print { offset, timestamp, key, value, headers });
            Ok(())
        });
        opened.map(|_codec| prints).map_err(|error| error.to_string())
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
    fn new(meta: &BatchMeta, timestamps: Timestamps, record: &Record<'_>) -> Self {
        // Both sums wrap as Java's do; with `LogAppendTime` consumers see the append time.
        let timestamp = match meta.is_append_time() && timestamps == Timestamps::Append {
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
