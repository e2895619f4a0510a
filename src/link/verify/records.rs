//! A batch opened: one print a record, as consumers see it, without its bytes.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use twinlog_core::batch::BatchKind;
use twinlog_core::config::Timestamps;
use twinlog_core::ids::SourceOffset;
use twinlog_wire::batch::{BatchMeta, ControlType, Entry, HEAD_LEN, control_type, verify_crc};
use twinlog_wire::compression::decompress;
use twinlog_wire::records::{Record, Records};
use twinlog_wire::repack::Repack;

use crate::lane::append_time;

/// A batch may unpack to this many bytes. Batches are compared one at a time a side, so this bounds the memory.
const UNPACKED_BYTES_MAX: usize = 256 << 20;

pub(super) const DAMAGED: &str = "the batch is damaged: its CRC does not fit";

/// A whole batch, or whole messages of an old format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) kind: BatchKind,
    pub(super) bytes: Bytes,
    /// What counts if its broker gave it a time.
    pub(super) timestamps: Timestamps,
}

impl Batch {
    pub(super) fn new(entry: Entry, timestamps: Timestamps) -> Self {
        let (kind, bytes) = match entry {
            Entry::V2(meta, bytes) if meta.is_control() => {
                (BatchKind::Control { meta, abort: control_type(&bytes) == Ok(ControlType::Abort) }, bytes)
            }
            Entry::V2(meta, bytes) => (BatchKind::Records(meta), bytes),
            Entry::Legacy { offset, last_offset, bytes } => {
                (BatchKind::Legacy { first: SourceOffset(offset), last: SourceOffset(last_offset) }, bytes)
            }
        };
        Self { kind, bytes, timestamps }
    }

    pub(super) fn base_offset(&self) -> i64 {
        match self.kind {
            BatchKind::Records(meta) | BatchKind::Control { meta, .. } => meta.base_offset,
            BatchKind::Legacy { first, .. } => first.0,
        }
    }

    pub(super) fn next_offset(&self) -> i64 {
        match self.kind {
            BatchKind::Records(meta) | BatchKind::Control { meta, .. } => meta.next_offset(),
            BatchKind::Legacy { last, .. } => last.0 + 1,
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(HEAD_LEN..).unwrap_or_default()
    }

    /// Its records; the error is in words.
    pub(super) fn open(&self) -> Result<Vec<Print>, String> {
        let prints = match self.kind.meta() {
            Some(_) if !verify_crc(&self.bytes) => return Err(DAMAGED.to_owned()),
            Some(meta) => self.prints(meta, self.body()),
            None => self.open_messages(),
        };
        prints.map_err(|words| format!("the batch cannot be opened: {words}"))
    }

    fn prints(&self, meta: &BatchMeta, body: &[u8]) -> Result<Vec<Print>, String> {
        let codec = meta.codec().ok_or("its codec is unknown")?;
        if meta.record_count == 0 {
            return Ok(Vec::new());
        }
        let plain = decompress(codec, body, UNPACKED_BYTES_MAX).map_err(|error| error.to_string())?;
        let prints: Result<Vec<_>, _> = Records::new(&plain, meta.record_count)
            .map(|record| record.map(|record| Print::new(meta, self.timestamps, &record)))
            .collect();
        prints.map_err(|error| error.to_string())
    }

    /// Messages of an old format, by way of the batch that the link makes of them.
    fn open_messages(&self) -> Result<Vec<Print>, String> {
        let append_time = append_time(self.timestamps);
        let repack = Repack { min_offset: 0, append_time, unpacked_bytes_max: UNPACKED_BYTES_MAX };
        let Some(new) = repack.apply(&self.bytes).map_err(|error| error.to_string())? else { return Ok(Vec::new()) };
        let mut prints = self.prints(&new.meta, &new.body)?;
        let offsets = new.runs.iter().flat_map(|run| run.source_start..run.source_start + i64::from(run.count));
        for (print, offset) in prints.iter_mut().zip(offsets) {
            print.offset = offset;
        }
        Ok(prints)
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
