//! The link's map as it can be read without owning it: `translate`, `status` and `verify` stand on this.
//!
//! Order matters, since an owner may be at work meanwhile. Every batch on a mirror was planned in the map before it was
//! sent, so the mirrors' ends are asked for *first*, then the map is read to its end, then the mirrors' logs from the
//! heads up to those ends: whatever is found there is explained by the map, or is somebody else's.
//!
//! The map's own batches, markers and its record of ids name every producer id that the lane had: a new owner
//! writes its marker there before it fences a mirror, so its markers in mirrors are never taken for foreign writes.
//!
//! Which lane a partition is in is asked of nobody: all map partitions are read, and of a partition that moves the word
//! counts that [`true_one`] names. A lane is there to take it before the other one forgets it, but map partitions are
//! read one after the other: so what was forgotten meanwhile, and is nowhere else yet, is looked for again.

mod other_lane;
mod snapshot;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use twinlog_client::ErrorCode;
use twinlog_client::admin::{IsolationLevel, OffsetAt, TopicPartition};
use twinlog_core::io::MapEntry;
use twinlog_core::map_record::{Chunk, FORMAT, Head, LinkRecord, MapRecord, PartitionKey};
use twinlog_core::map_state::{MapState, MappedPartition};
use twinlog_core::moves::true_one;
use twinlog_core::report::{Failure, FailureKind};
use twinlog_wire::batch::Entry;

pub(crate) use self::other_lane::OtherLane;
pub(crate) use self::snapshot::{MirrorEnd, PartitionMap, Snapshot, Wanted, snapshot};
use self::snapshot::{assemble, damaged};
use crate::log::{LogPart, LogRead, LogReader};
use crate::map_log::map_entries;
use crate::names;
use crate::reach::{deadline, out_of_reach};
use crate::supervisor::LinkSetup;

/// Between two reads of a leader that is behind.
const PAUSE: Duration = Duration::from_millis(50);

/// Which partitions' older ranges are kept in memory: all others' are passed over.
pub(crate) type Keep = Box<dyn Fn(&PartitionKey) -> bool + Send + Sync>;

/// A link's map topic, read lane by lane.
pub(crate) struct MapReader {
    topic: String,
    keep: Keep,
    lanes: Vec<Lane>,
}

/// One partition of the map topic.
struct Lane {
    log: LogReader,
    /// The offset to read next; none before the first read.
    next: Option<i64>,
    contents: Contents,
}

/// What a map partition's records add up to.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    state: MapState,
    /// Older ranges of the partitions that are kept.
    chunks: BTreeMap<(PartitionKey, u64), Chunk>,
    /// Partitions that the lane forgot since this was last taken.
    forgotten: BTreeSet<PartitionKey>,
}

/// What the map says of one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    /// The lane whose word counts.
    pub(crate) lane: u32,
    /// Its word.
    pub(crate) mapped: &'a MappedPartition,
}

/// A record that cannot be read, in words.
#[derive(Debug, PartialEq, Eq)]
struct Unreadable {
    offset: i64,
    what: String,
    newer: bool,
}

impl fmt::Debug for MapReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapReader").field("topic", &self.topic).field("lanes", &self.lanes.len()).finish()
    }
}

impl MapReader {
    /// Finds the map topic; there is none if the link has never run.
    pub(crate) async fn open(setup: &LinkSetup, keep: Keep) -> Result<Option<Self>, Failure> {
        let topic = names::map_topic(&setup.name);
        let metadata = setup.target.refresh().await.map_err(|e| out_of_reach(&e))?;
        let known = metadata.topics.get(&topic).filter(|found| found.error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        let Some(found) = known else { return Ok(None) };
        if !found.error.is_ok() {
            let what = format!("target topic {topic} cannot be described: {}", found.error);
            return Err(Failure::new(FailureKind::OutOfReach, what).advise("grant Describe and Read on it"));
        }
        let topic_id = found.id_bytes();
        let lane = |partition: i32| Lane {
            log: LogReader {
                cluster: setup.target.clone(),
                lane: 0,
                at: TopicPartition::new(topic.as_str(), partition),
                topic_id,
                isolation: IsolationLevel::ReadUncommitted,
                max_wait: Duration::from_millis(500),
            },
            next: None,
            contents: Contents::default(),
        };
        let lanes = found.partitions.iter().map(|partition| lane(partition.index)).collect();
        Ok(Some(Self { topic, keep, lanes }))
    }

    /// How many lanes the map topic has room for: the link may have fewer by now.
    pub(crate) fn lanes(&self) -> u32 {
        u32::try_from(self.lanes.len()).unwrap_or(u32::MAX)
    }

    /// Reads on to the high watermarks as of now.
    pub(crate) async fn read(&mut self) -> Result<(), Failure> {
        loop {
            for lane in &mut self.lanes {
                lane.read_on(&self.keep).await?;
            }
            if !self.lost_sight() {
                return Ok(());
            }
        }
    }

    /// Whether a partition was forgotten since this was last asked, and no lane says anything else of it: one that was
    /// read before may have it by now.
    fn lost_sight(&mut self) -> bool {
        let forgotten: Vec<_> =
            self.lanes.iter_mut().map(|lane| core::mem::take(&mut lane.contents.forgotten)).collect();
        let has =
            |lane: &Lane, key| lane.contents.state.partitions.get(key).is_some_and(|mapped| mapped.head.is_some());
        forgotten.iter().flatten().any(|key| !self.lanes.iter().any(|lane| has(lane, key)))
    }

    /// Whose map it is, as far as was read.
    pub(crate) fn link(&self) -> Option<&LinkRecord> {
        self.lanes.iter().find_map(|lane| lane.contents.state.link.as_ref())
    }

    /// Source partitions that have a head.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (&PartitionKey, &Head)> {
        self.told().into_iter().filter_map(|(key, told)| Some((key, told.mapped.head.as_ref()?)))
    }

    /// Source partitions that stopped before anything was copied, with name and words of the state.
    pub(crate) fn stopped(&self) -> impl Iterator<Item = (&PartitionKey, &(String, String))> {
        let never_begun = self.told().into_iter().filter(|(_, told)| told.mapped.head.is_none());
        never_begun.filter_map(|(key, told)| Some((key, told.mapped.halt.as_ref()?)))
    }

    /// What the map says of each source partition.
    pub(crate) fn told(&self) -> BTreeMap<&PartitionKey, Told<'_>> {
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (lane, number) in self.lanes.iter().zip(0..) {
            for (key, mapped) in &lane.contents.state.partitions {
                all.entry(key).or_default().push((number, mapped));
            }
        }
        all.into_iter().filter_map(|(key, words)| Some((key, counting(&words)?))).collect()
    }

    /// The maps of these partitions, as of their last marks.
    pub(crate) fn maps(
        &self,
        wanted: &BTreeSet<PartitionKey>,
    ) -> Result<BTreeMap<PartitionKey, PartitionMap>, Failure> {
        let begun = self.told().into_iter().filter(|(key, told)| wanted.contains(*key) && told.mapped.head.is_some());
        let map = |(key, told): (&PartitionKey, Told<'_>)| {
            let chunks = self.contents(told.lane).map(|contents| contents.chunks(key)).unwrap_or_default();
            let map = assemble(key, told, &chunks, true).map_err(|what| damaged(&self.topic, &what))?;
            Ok((key.clone(), map))
        };
        begun.map(map).collect()
    }

    /// What was read of a lane.
    fn contents(&self, lane: u32) -> Option<&Contents> {
        self.lanes.get(usize::try_from(lane).ok()?).map(|lane| &lane.contents)
    }
}

/// The word that counts, of what the lanes say of one partition.
fn counting<'a>(words: &[(u32, &'a MappedPartition)]) -> Option<Told<'a>> {
    let told = |(lane, mapped)| Told { lane, mapped };
    let found = true_one(words.iter().copied()).map(told)?;
    if found.mapped.head.is_some() {
        return Some(found);
    }
    // Nothing of it is copied: a lane that has it knows best whether it stopped.
    let rank = |mapped: &MappedPartition| (mapped.is_held(), mapped.halt.is_some(), mapped.released.is_none());
    words.iter().copied().max_by_key(|(_, mapped)| rank(mapped)).map(told)
}

impl Lane {
    async fn read_on(&mut self, keep: &Keep) -> Result<(), Failure> {
        let (target, log) = (&self.log.cluster, &self.log);
        let failed = |error| out_of_reach(&error);
        let deadline = deadline();
        let end = target.retry(deadline, || log.offset(OffsetAt::Latest)).await.map_err(failed)?;
        let mut next = match self.next {
            Some(next) => next,
            None => target.retry(deadline, || log.offset(OffsetAt::Earliest)).await.map_err(failed)?,
        };
        let cut = |found| {
            let what = format!("target {}: the log ended at {end}, now at {found}", log.at);
            let failure = Failure::new(FailureKind::Difference, what);
            failure.advise("the target lost a part of the map: look at its brokers' logs")
        };
        while next < end {
            let read = target.retry(deadline, || log.read(next)).await.map_err(failed)?;
            match read {
                LogRead::Part(part) if part.entries.is_empty() && part.high_watermark < end => {
                    if Instant::now() >= deadline {
                        return Err(cut(part.high_watermark));
                    }
                    // A new leader's high watermark may be behind for a moment.
                    sleep(PAUSE).await;
                }
                LogRead::Part(part) => {
                    let taken = self.contents.take(&part, next, end, keep);
                    let taken = taken.map_err(|unreadable| unreadable.into_failure(&log.at))?;
                    // Nothing below the watermark is left where the cleaner took the rest.
                    next = if taken > next { taken } else { end };
                }
                LogRead::OutOfRange { start, .. } if start > next => next = start,
                LogRead::OutOfRange { end: found, .. } => return Err(cut(found)),
            }
        }
        self.next = Some(next);
        Ok(())
    }
}

impl Contents {
    /// Takes what lies below `end`; gives the offset to read next.
    fn take(&mut self, part: &LogPart, from: i64, end: i64, keep: &Keep) -> Result<i64, Unreadable> {
        let mut next = from;
        for entry in &part.entries {
            let (offset, after) = (entry.base_offset(), entry.next_offset());
            if offset >= end {
                break;
            }
            if after <= from {
                continue;
            }
            self.take_entry(entry, keep).map_err(|(what, newer)| Unreadable { offset, what, newer })?;
            next = after;
        }
        Ok(next)
    }

    fn take_entry(&mut self, entry: &Entry, keep: &Keep) -> Result<(), (String, bool)> {
        if let Entry::V2(meta, _) = entry {
            self.state.written_by(meta.producer_id);
        }
        for entry in map_entries(entry).map_err(|what| (what, false))? {
            let MapEntry::Record { key, value, .. } = entry else { continue };
            let record = MapRecord::decode(&key, value.as_deref()).map_err(|bad| {
                let newer = value.as_ref().and_then(|value| value.first()).is_some_and(|format| *format > FORMAT);
                (format!("record {:?}: {}", String::from_utf8_lossy(&key), bad.reason), newer)
            })?;
            match record {
                Some(MapRecord::Chunk(key, number, chunk)) if keep(&key) => {
                    self.chunks.insert((key, number), chunk);
                }
                Some(MapRecord::Chunk(..)) => {}
                Some(MapRecord::ChunkGone(key, number)) => {
                    self.chunks.remove(&(key, number));
                }
                Some(record) => {
                    if let MapRecord::HeadGone(key) = &record {
                        self.forgotten.insert(key.clone());
                    }
                    self.state.apply(record);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The chunks of a partition that are there, by number.
    fn chunks(&self, key: &PartitionKey) -> BTreeMap<u64, &Chunk> {
        let all = (key.clone(), 0)..=(key.clone(), u64::MAX);
        self.chunks.range(all).map(|((_, number), chunk)| (*number, chunk)).collect()
    }
}

impl Unreadable {
    fn into_failure(self, at: &TopicPartition) -> Failure {
        let what = format!("target {}:{}@{}: {}", at.topic, at.partition, self.offset, self.what);
        match self.newer {
            true => Failure::new(FailureKind::Refused, what).advise("use the newer twinlog that wrote the map"),
            false => Failure::new(FailureKind::Difference, what)
                .advise("somebody else wrote to the map topic, or it is damaged: find out who writes to it"),
        }
    }
}
