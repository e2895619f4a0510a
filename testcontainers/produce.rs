//! What the oracle shall produce, and what became of it.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::oracle::Answer;
use crate::oracle_at::{partitions, strange};

/// What the oracle shall produce. Every record follows from the seed and its running number, which is in its header
/// `n` and in its value, so a lost or doubled one can be named; record `n` goes to partition `n % partitions`.
#[derive(Debug, Clone)]
#[must_use = "it is produced by OracleAt::produce"]
pub struct Produce {
    words: Vec<(&'static str, String)>,
}

/// How a batch is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// Gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// Which headers a record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headers {
    /// None.
    None,
    /// `n`, the running number.
    Number,
    /// `n`, and on four of five records also a key twice, a null value and an empty key with an empty value.
    Rich,
}

impl Produce {
    /// This many records of about 200 bytes of JSON to all partitions of a topic, idempotent and not compressed.
    pub fn new(topic: &str, count: u64) -> Self {
        Self { words: vec![("topic", topic.to_owned()), ("n", count.to_string())] }
    }

    /// Records without end, for a background producer.
    pub fn endless(topic: &str) -> Self {
        Self { words: vec![("topic", topic.to_owned())] }
    }

    /// The running number of the first record; 0 unless told.
    pub fn first(self, n: u64) -> Self {
        self.word("first", n.to_string())
    }

    /// Only the first so many partitions.
    pub fn partitions(self, partitions: u32) -> Self {
        self.word("partitions", partitions.to_string())
    }

    /// How batches are compressed.
    pub fn codec(self, codec: Codec) -> Self {
        let word = match codec {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        };
        self.word("codec", word)
    }

    /// The size a batch may have, and how long it waits for more records in milliseconds.
    pub fn batches(self, bytes: u32, linger_ms: u32) -> Self {
        self.word("batch-bytes", bytes.to_string()).word("linger", linger_ms.to_string())
    }

    /// About so many bytes in a value.
    pub fn value_bytes(self, bytes: u32) -> Self {
        self.word("value-bytes", bytes.to_string())
    }

    /// Values that cannot be compressed, instead of JSON.
    pub fn noise(self) -> Self {
        self.word("json", "false")
    }

    /// Timestamps from `base`, `step` milliseconds apart, instead of the time of sending.
    pub fn timestamps(self, base: i64, step: i64) -> Self {
        self.word("base-timestamp", base.to_string()).word("timestamp-step", step.to_string())
    }

    /// Which headers a record has; [`Headers::Number`] unless told.
    pub fn headers(self, headers: Headers) -> Self {
        let word = match headers {
            Headers::None => "none",
            Headers::Number => "number",
            Headers::Rich => "rich",
        };
        self.word("headers", word)
    }

    /// Some null keys, tombstones and empty values in between.
    pub fn nulls(self) -> Self {
        self.word("nulls", "true")
    }

    /// Some tombstones in between.
    pub fn tombstones(self) -> Self {
        self.word("tombstones", "true")
    }

    /// Only so many different keys, for compaction.
    pub fn keys(self, keys: u64) -> Self {
        self.word("keys", keys.to_string())
    }

    /// Every fifth record has one of so many keys, for holes in compacted batches.
    pub fn hot_keys(self, keys: u64) -> Self {
        self.word("hot-keys", keys.to_string())
    }

    /// What follows from the running number does so from this seed, too.
    pub fn seed(self, seed: u64) -> Self {
        self.word("seed", seed.to_string())
    }

    /// In transactions of so many records each, of which every `abort_every`-th is aborted (0: none).
    pub fn transactions(self, id: &str, records: u64, abort_every: u64) -> Self {
        self.word("transactional-id", id)
            .word("transaction-records", records.to_string())
            .word("abort-every", abort_every.to_string())
    }

    /// Leaves the last transaction open, until [`crate::OracleAt::finish_transaction`].
    pub fn leave_open(self) -> Self {
        self.word("leave-open", "true")
    }

    /// So many records a second.
    pub fn rate(self, per_second: u64) -> Self {
        self.word("rate", per_second.to_string())
    }

    /// Without a producer id, as old clients do.
    pub fn not_idempotent(self) -> Self {
        self.word("idempotent", "false")
    }

    /// `0`, `1` or `all`.
    pub fn acks(self, acks: &str) -> Self {
        self.word("acks", acks)
    }

    /// Any other word of the oracle, such as `config.delivery.timeout.ms`.
    pub fn word(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.words.push((key, value.into()));
        self
    }

    pub(crate) fn words(&self) -> Vec<(&str, &str)> {
        self.words.iter().map(|(key, value)| (*key, value.as_str())).collect()
    }
}

/// What became of what was to be produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produced {
    /// Handed to the producer.
    pub sent: u64,
    /// Given up by it.
    pub failed: u64,
    /// The first failure.
    pub error: Option<String>,
    /// Acknowledged, by partition; with transactions, the aborted ones, too.
    pub acked: BTreeMap<i32, u64>,
    /// In committed transactions, by partition; empty without transactions.
    pub committed: BTreeMap<i32, u64>,
    /// How many transactions were aborted.
    pub aborts: u64,
}

impl Produced {
    /// All acknowledged records.
    pub fn acked_total(&self) -> u64 {
        self.acked.values().sum()
    }

    /// All records of committed transactions.
    pub fn committed_total(&self) -> u64 {
        self.committed.values().sum()
    }

    pub(crate) fn parse(answer: &Answer) -> Result<Self> {
        let number = |key: &str| answer.get(key).and_then(|text| text.parse().ok()).ok_or_else(|| strange(answer));
        let committed =
            answer.iter().filter_map(|(key, count)| Some((key.strip_prefix('c')?.parse().ok()?, count.parse().ok()?)));
        Ok(Self {
            sent: number("sent")?,
            failed: number("failed")?,
            error: answer.get("error").filter(|error| !error.is_empty()).cloned(),
            acked: partitions(answer, |text| text.parse().ok())?,
            committed: committed.collect(),
            aborts: number("aborts")?,
        })
    }
}
