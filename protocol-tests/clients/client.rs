//! What a client is asked to do, whatever it is written in.

use std::collections::BTreeMap;

/// A record as a client writes it. Where its client cannot choose the timestamp, it is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<Header>,
    pub(crate) timestamp: Option<i64>,
}

/// Name and value.
pub(crate) type Header = (String, Option<String>);

/// A record as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<Header>,
}

/// By which kind of producer records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Plain,
    Idempotent,
    /// In one transaction.
    Commit,
    /// In one transaction that is taken back.
    Abort,
}

/// What is written at once: by one producer, as one transaction if it is one.
#[derive(Clone, Debug)]
pub(crate) struct Writing {
    pub(crate) how: How,
    pub(crate) codec: &'static str,
    pub(crate) records: Vec<Record>,
}

/// What a client has. The story leaves out what it has not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Skills {
    /// By Kafka's names.
    pub(crate) codecs: &'static [&'static str],
    pub(crate) idempotent: bool,
    pub(crate) commits: bool,
    pub(crate) aborts: bool,
    /// Whether records have the timestamps that they are given.
    pub(crate) timestamps: bool,
    /// Whether each record has headers of its own, not the same as all others of its writing.
    pub(crate) own_headers: bool,
    /// Whether keys and values can be empty and not null.
    pub(crate) empty: bool,
    /// Whether headers can have null as their value.
    pub(crate) null_headers: bool,
    /// Whether two members can be watched while they share a topic.
    pub(crate) shares: bool,
}

/// Which partitions two members of a group had.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The first, alone.
    pub(crate) alone: Vec<i32>,
    /// The first, beside the second.
    pub(crate) first: Vec<i32>,
    /// The second, beside the first.
    pub(crate) second: Vec<i32>,
    /// The second, after the first had left.
    pub(crate) left: Vec<i32>,
}

/// A client under test. `at` is a list of bootstrap servers. What fails, panics with the client's own words.
pub(crate) trait Client {
    fn skills(&self) -> Skills;

    /// Writes, and returns when all is acknowledged.
    fn write(&self, at: &str, topic: &str, writing: &Writing);

    /// Reads all partitions from their beginnings, without a group. A client that sees no end reads `count` records.
    fn read(&self, at: &str, topic: &str, partitions: i32, committed: bool, count: usize) -> Vec<Read>;

    /// All topics with how many partitions each has.
    fn topics(&self, at: &str) -> BTreeMap<String, i32>;

    /// The ends of a topic's partitions.
    fn ends(&self, at: &str, topic: &str, partitions: i32) -> BTreeMap<i32, i64>;

    /// Joins a group, reads so many records, commits, and leaves.
    fn read_in_group(&self, at: &str, group: &str, topic: &str, count: usize) -> Vec<Read>;

    /// Two members join a group one after the other, and the first leaves.
    fn share(&self, at: &str, group: &str, topic: &str, partitions: i32) -> Shared;
}
