//! The oracle's commands on one cluster.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::acl::Acl;
use crate::error::{Doing, Error, Result};
use crate::oracle::{Answer, Oracle};
use crate::produce::{Produce, Produced};

static FILES: AtomicU64 = AtomicU64::new(0);

/// The oracle's commands on one cluster.
#[derive(Debug, Clone)]
pub struct OracleAt<'a> {
    oracle: &'a Oracle,
    bootstrap: String,
}

/// What of a log with transactions is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All records, up to the high watermark.
    ReadUncommitted,
    /// Without open and aborted transactions, up to the last stable offset.
    ReadCommitted,
}

/// Which end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The first offset that is kept.
    Begin,
    /// The high watermark.
    End,
    /// The last stable offset.
    Stable,
}

/// What one partition holds. Two partitions hold the same records in the same order when their [`Digest::body`] is
/// equal, at whatever offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// The first offset kept.
    pub begin: i64,
    /// The offset up to which was read.
    pub end: i64,
    /// The offset of the first record, if any.
    pub first: Option<i64>,
    /// The offset of the last record, if any.
    pub last: Option<i64>,
    /// How many records there are.
    pub count: u64,
    /// SHA-256 of their timestamps, keys, values and headers in order, with null distinct from empty.
    pub sha256: String,
}

impl Digest {
    /// What does not depend on offsets: count and hash.
    pub fn body(&self) -> (u64, &str) {
        (self.count, &self.sha256)
    }
}

/// One record of a topic, as [`OracleAt::index`] tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp.
    pub timestamp: i64,
    /// SHA-256 of its timestamp, key, value and headers.
    pub sha256: String,
    /// SHA-256 of its key.
    pub key: String,
}

/// Who holds a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The leader; -1 for none.
    pub leader: i32,
    /// All replicas, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub in_sync: Vec<i32>,
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The offset to go on from.
    pub offset: i64,
    /// The leader epoch of the last record read, if told.
    pub epoch: Option<i32>,
    /// The text kept with it.
    pub metadata: String,
}

impl<'a> OracleAt<'a> {
    pub(crate) fn new(oracle: &'a Oracle, bootstrap: String) -> Self {
        Self { oracle, bootstrap }
    }

    /// Any command with these words; `bootstrap` is added.
    pub fn ask(&self, verb: &str, words: &[(&str, &str)]) -> Result<Answer> {
        let mut all = vec![("bootstrap", self.bootstrap.as_str())];
        all.extend(words);
        self.oracle.ask(verb, &all)
    }

    /// Makes a topic with the cluster's replication factor, and waits until it has leaders; answers its id.
    pub fn create_topic(&self, topic: &str, partitions: u32, config: &[(&str, &str)]) -> Result<String> {
        let partitions = partitions.to_string();
        let config = prefixed(config);
        let mut words = vec![("topic", topic), ("partitions", &partitions)];
        words.extend(config.iter().map(|(key, value)| (key.as_str(), *value)));
        Ok(self.ask("create", &words)?.remove("id").unwrap_or_default())
    }

    /// Removes a topic, and waits until it is not listed.
    pub fn delete_topic(&self, topic: &str) -> Result<()> {
        self.ask("delete", &[("topic", topic)]).map(drop)
    }

    /// Gives a topic more partitions: `partitions` in all.
    pub fn add_partitions(&self, topic: &str, partitions: u32) -> Result<()> {
        let partitions = partitions.to_string();
        self.ask("add-partitions", &[("topic", topic), ("partitions", &partitions)]).map(drop)
    }

    /// Who holds each partition of a topic.
    pub fn placement(&self, topic: &str) -> Result<BTreeMap<i32, Placement>> {
        let answer = self.ask("describe", &[("topic", topic)])?;
        let list = |text: &str| text.split(',').map(|id| id.parse().ok()).collect();
        partitions(&answer, |text| {
            let mut parts = text.split(':');
            let leader = parts.next()?.parse().ok()?;
            let replicas = list(parts.next()?)?;
            let in_sync = parts.next().filter(|isr| !isr.is_empty());
            let in_sync = in_sync.map_or_else(|| Some(Vec::new()), list)?;
            Some(Placement { leader, replicas, in_sync })
        })
    }

    /// A topic's own configuration, without defaults.
    pub fn topic_config(&self, topic: &str) -> Result<BTreeMap<String, String>> {
        self.ask("describe-config", &[("topic", topic)])
    }

    /// Sets some keys of a topic's configuration and removes others.
    pub fn alter_config(&self, topic: &str, set: &[(&str, &str)], remove: &[&str]) -> Result<()> {
        let remove = remove.join(",");
        let config = prefixed(set);
        let mut words = vec![("topic", topic), ("delete", remove.as_str())];
        words.extend(config.iter().map(|(key, value)| (key.as_str(), *value)));
        self.ask("alter-config", &words).map(drop)
    }

    /// Removes the records before an offset; answers the first offset kept.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<i64> {
        let (partition, before) = (partition.to_string(), before.to_string());
        let words = [("topic", topic), ("partition", &partition), ("before", &before)];
        let answer = self.ask("delete-records", &words)?;
        answer.get("low").and_then(|low| low.parse().ok()).ok_or_else(|| strange(&answer))
    }

    /// Gives a user this password for both mechanisms of SCRAM; brokers know of it soon after.
    pub fn set_password(&self, user: &str, password: &str) -> Result<()> {
        self.ask("set-password", &[("user", user), ("password", password)]).map(drop)
    }

    /// Lets somebody do something; brokers know of it soon after.
    pub fn allow(&self, acl: &Acl) -> Result<()> {
        self.ask("allow", &acl.words()).map(drop)
    }

    /// Takes away what was allowed.
    pub fn forbid(&self, acl: &Acl) -> Result<()> {
        self.ask("forbid", &acl.words()).map(drop)
    }

    /// Moves a partition to these replicas, waits for it, and makes the first of them the leader.
    pub fn move_partition(&self, topic: &str, partition: i32, replicas: &[i32]) -> Result<()> {
        let partition = partition.to_string();
        let replicas: Vec<String> = replicas.iter().map(i32::to_string).collect();
        let replicas = replicas.join(",");
        let words = [("topic", topic), ("partition", &partition), ("replicas", &replicas)];
        self.ask("move", &words).map(drop)
    }

    /// Makes a partition's first replica its leader, and waits for it.
    pub fn elect_preferred(&self, topic: &str, partition: i32) -> Result<()> {
        let partition = partition.to_string();
        self.ask("elect", &[("topic", topic), ("partition", &partition)]).map(drop)
    }

    /// An offset of each partition of a topic.
    pub fn offsets(&self, topic: &str, at: At) -> Result<BTreeMap<i32, i64>> {
        let at = match at {
            At::Begin => "begin",
            At::End => "end",
            At::Stable => "stable",
        };
        let answer = self.ask("offsets", &[("topic", topic), ("at", at)])?;
        partitions(&answer, |text| text.parse().ok())
    }

    /// Produces records to their end, see [`Produce`]. An error when one was not accepted.
    pub fn produce(&self, produce: &Produce) -> Result<Produced> {
        Produced::parse(&self.ask("produce", &produce.words())?)
    }

    /// Starts a background producer of this name.
    pub fn produce_start(&self, id: &str, produce: &Produce) -> Result<()> {
        let mut words = vec![("id", id)];
        words.extend(produce.words());
        self.ask("produce-start", &words).map(drop)
    }

    /// What a background producer has done so far.
    pub fn produce_progress(&self, id: &str) -> Result<Produced> {
        Produced::parse(&self.ask("produce-progress", &[("id", id)])?)
    }

    /// Stops a background producer; answers what was acknowledged. Failed records are told, and no error.
    pub fn produce_stop(&self, id: &str) -> Result<Produced> {
        Produced::parse(&self.ask("produce-stop", &[("id", id)])?)
    }

    /// Ends the transaction that [`Produce::leave_open`] left open.
    pub fn finish_transaction(&self, transactional_id: &str, commit: bool) -> Result<()> {
        let outcome = if commit { "commit" } else { "abort" };
        let words = [("transactional-id", transactional_id), ("outcome", outcome)];
        self.ask("txn-finish", &words).map(drop)
    }

    /// What each partition of a topic holds, from its beginning to its end as of now.
    pub fn digest(&self, topic: &str, isolation: Isolation) -> Result<BTreeMap<i32, Digest>> {
        let words = [("topic", topic), ("isolation", isolation.word())];
        partitions(&self.ask("digest", &words)?, |text| {
            let mut parts = text.split(':');
            let mut number = || parts.next()?.parse::<i64>().ok();
            let (begin, end, count, first, last) = (number()?, number()?, number()?, number()?, number()?);
            let count = u64::try_from(count).ok()?;
            let offset = |offset: i64| (offset >= 0).then_some(offset);
            let (first, last) = (offset(first), offset(last));
            let sha256 = parts.next()?.to_owned();
            Some(Digest { begin, end, first, last, count, sha256 })
        })
    }

    /// Every record of a topic, each partition in its order: to check an offset map record by record.
    pub fn index(&self, topic: &str, isolation: Isolation) -> Result<Vec<Entry>> {
        let name = format!("index-{}", FILES.fetch_add(1, Ordering::Relaxed));
        let file = self.oracle.folder().join(name);
        let path = file.to_string_lossy();
        let words = [("topic", topic), ("isolation", isolation.word()), ("file", &*path)];
        let answer = self.ask("index", &words)?;
        let text = std::fs::read_to_string(&file).doing(|| format!("read {path}"))?;
        std::fs::remove_file(&file).doing(|| format!("remove {path}"))?;
        let entries: Option<Vec<Entry>> = text.lines().map(entry).collect();
        let told = answer.get("count").and_then(|count| count.parse().ok());
        entries.filter(|entries| Some(entries.len()) == told).ok_or_else(|| strange(&answer))
    }

    /// Commits an offset for a group that has no members.
    pub fn group_commit(&self, group: &str, topic: &str, partition: i32, committed: &Committed) -> Result<()> {
        let (partition, offset) = (partition.to_string(), committed.offset.to_string());
        let epoch = committed.epoch.map(|epoch| epoch.to_string()).unwrap_or_default();
        let mut words = vec![("group", group), ("topic", topic), ("partition", &partition)];
        words.extend([("offset", offset.as_str()), ("epoch", &epoch)]);
        words.push(("metadata", &committed.metadata));
        self.ask("group-commit", &words).map(drop)
    }

    /// All that a group has committed, by topic and partition.
    pub fn group_offsets(&self, group: &str) -> Result<BTreeMap<(String, i32), Committed>> {
        let answer = self.ask("group-offsets", &[("group", group)])?;
        let all = answer.iter().map(|(key, value)| {
            let (topic, partition) = key.rsplit_once(':')?;
            let mut parts = value.splitn(3, ':');
            let offset = parts.next()?.parse().ok()?;
            let epoch = parts.next().filter(|epoch| !epoch.is_empty());
            let epoch = epoch.map(|epoch| epoch.parse().ok());
            let epoch = epoch.map_or(Some(None), |epoch| epoch.map(Some))?;
            let metadata = parts.next()?.to_owned();
            let committed = Committed { offset, epoch, metadata };
            Some(((topic.to_owned(), partition.parse().ok()?), committed))
        });
        all.collect::<Option<_>>().ok_or_else(|| strange(&answer))
    }
}

impl Isolation {
    fn word(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "read_uncommitted",
            Self::ReadCommitted => "read_committed",
        }
    }
}

fn prefixed<'a>(config: &[(&str, &'a str)]) -> Vec<(String, &'a str)> {
    config.iter().map(|(key, value)| (format!("config.{key}"), *value)).collect()
}

/// The words `p0=`, `p1=` and so on, read by `read`.
pub(crate) fn partitions<T>(answer: &Answer, read: impl Fn(&str) -> Option<T>) -> Result<BTreeMap<i32, T>> {
    let numbered = answer.iter().filter_map(|(key, text)| {
        let partition = key.strip_prefix('p')?.parse::<i32>().ok()?;
        Some(read(text).map(|value| (partition, value)))
    });
    numbered.collect::<Option<_>>().ok_or_else(|| strange(answer))
}

pub(crate) fn strange(answer: &Answer) -> Error {
    Error::Oracle { command: "?".to_owned(), message: format!("not as agreed: {answer:?}") }
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse::<i64>().ok();
    let (partition, offset, timestamp) = (number()?, number()?, number()?);
    let partition = i32::try_from(partition).ok()?;
    let (sha256, key) = (words.next()?.to_owned(), words.next()?.to_owned());
    Some(Entry { partition, offset, timestamp, sha256, key })
}
