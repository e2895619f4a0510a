//! The map of partitions as of now: what the map's log says, brought up to date by the mirrors' own logs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use twinlog_client::admin::{IsolationLevel, ListedOffset, OffsetAt, TopicPartition};
use twinlog_client::{Cluster, Error, Metadata};
use twinlog_core::ids::{TargetOffset, TopicId};
use twinlog_core::map_record::{Chunk, PartitionKey};
use twinlog_core::offset_map::{Extent, OffsetMap};
use twinlog_core::plans::Plans;
use twinlog_core::report::{Failure, FailureKind};
use twinlog_core::resolution::Lost;

use super::walk::Walk;
use super::{Keep, MapReader, Told};
use crate::log::LogReader;
use crate::names;
use crate::reach::out_of_reach;
use crate::supervisor::LinkSetup;

/// Mirrors whose logs are read at the same time.
const WALKS_MAX: usize = 8;

/// Which partitions are looked at, and how closely.
pub(crate) struct Wanted {
    /// Which source partitions.
    pub(crate) partitions: Keep,
    /// Whether all their ranges are wanted, not only the newest.
    pub(crate) whole: bool,
}

/// What a link's map says of the partitions that were asked for.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Number of lanes that the map topic has room for.
    pub(crate) lanes: u32,
    /// The partitions, by source topic and number.
    pub(crate) partitions: Vec<PartitionMap>,
    /// Partitions that stopped before anything was copied, with name and words of the state.
    pub(crate) stopped: BTreeMap<PartitionKey, (String, String)>,
}

/// The map of one partition.
#[derive(Debug)]
pub(crate) struct PartitionMap {
    /// The source partition.
    pub(crate) key: PartitionKey,
    /// The lane whose word this is.
    pub(crate) lane: u32,
    /// Topic id of the source topic that was copied.
    pub(crate) source_topic_id: TopicId,
    /// The mirror's name.
    pub(crate) target_topic: String,
    /// The mirror's topic id.
    pub(crate) target_topic_id: TopicId,
    /// Its ranges: all, or those since the last chunk.
    pub(crate) map: OffsetMap,
    /// How far the copy is.
    pub(crate) extent: Extent,
    /// Why it stopped, name and words, if it did.
    pub(crate) halt: Option<(String, String)>,
    /// The last decision about it that was carried out.
    pub(crate) resolved: u64,
    /// Source offsets that were left out.
    pub(crate) lost: Lost,
    /// Where the mirror's log starts; none if that could not be read.
    pub(crate) target_start: Option<TargetOffset>,
    /// What the mirror's log ends with.
    pub(crate) end: MirrorEnd,
}

/// What a mirror's log holds behind the map's last mark.
#[derive(Clone, Debug)]
pub(crate) enum MirrorEnd {
    /// Nothing but what this link wrote.
    Ours,
    /// A batch that the link did not write.
    Foreign {
        /// Where the link's next record was to be.
        expected: TargetOffset,
        /// Where the batch begins.
        found: TargetOffset,
    },
    /// Less than what had been acknowledged.
    Truncated {
        /// The acknowledged end.
        acknowledged: TargetOffset,
        /// The end that was found.
        found: TargetOffset,
    },
    /// The topic is gone.
    Deleted,
    /// A topic of that name is there, but not the one that was written to.
    Recreated,
    /// It could not be read.
    Unread(Error),
}

/// Reads the map and the mirrors' tails; none if the link has never run.
pub(crate) async fn snapshot(setup: &LinkSetup, wanted: Wanted) -> Result<Option<Snapshot>, Failure> {
    let Wanted { partitions, whole } = wanted;
    let partitions = Arc::new(partitions);
    let kept = Arc::clone(&partitions);
    let Some(mut reader) = MapReader::open(setup, Box::new(move |key| whole && kept(key))).await? else {
        return Ok(None);
    };
    reader.read().await?;
    let mirrors = reader.heads().filter(|(key, _)| partitions(key));
    let mirrors = mirrors.map(|(key, head)| TopicPartition::new(head.target_topic.as_str(), key.partition)).collect();
    let bounds = Bounds::ask(&setup.target, &mirrors).await;
    reader.read().await?;

    let mut found = Vec::new();
    let begun = |(key, told): &(&PartitionKey, Told<'_>)| told.mapped.head.is_some() && partitions(key);
    for (key, told) in reader.told().into_iter().filter(begun) {
        let Some(contents) = reader.contents(told.lane) else { continue };
        let map = assemble(key, told, &contents.chunks(key), whole);
        let map = map.map_err(|what| damaged(&names::map_topic(&setup.name), &what))?;
        found.push((map, told.mapped.plans.clone(), contents.state.producer_ids.clone()));
    }
    let lanes = reader.lanes();
    let stopped = reader.stopped().filter(|(key, _)| partitions(key));
    let stopped = stopped.map(|(key, halt)| (key.clone(), halt.clone())).collect();
    drop(reader);
    let metadata = setup.target.metadata().await.map_err(|error| out_of_reach(&error))?;
    let mut partitions = walk_all(&setup.target, &metadata, &bounds, found).await;
    partitions.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Some(Snapshot { lanes, partitions, stopped }))
}

pub(super) fn damaged(topic: &str, what: &str) -> Failure {
    Failure::new(FailureKind::Difference, format!("target topic {topic}: {what}"))
        .advise("the map is damaged: copy this topic anew into another mirror")
}

/// Joins the chunks that are still needed and the head's ranges.
pub(super) fn assemble(
    key: &PartitionKey,
    told: Told<'_>,
    chunks: &BTreeMap<u64, &Chunk>,
    whole: bool,
) -> Result<PartitionMap, String> {
    let name = || format!("{}:{}", key.topic, key.partition);
    let Some(head) = told.mapped.head.clone() else { return Err(format!("{} has no head", name())) };
    let mut ranges = Vec::new();
    if whole {
        for number in head.first_chunk..head.chunks {
            let chunk = chunks.get(&number).ok_or_else(|| format!("{} has no chunk {number}", name()))?;
            ranges.extend_from_slice(&chunk.ranges);
        }
    }
    ranges.extend_from_slice(&head.ranges);
    let mut map = OffsetMap::behind(head.pruned);
    for range in ranges {
        map.append(range)
            .map_err(|bad| format!("the ranges of {} go back at source offset {}", name(), bad.next.source_start))?;
    }
    Ok(PartitionMap {
        key: key.clone(),
        lane: told.lane,
        source_topic_id: head.source_topic_id,
        target_topic: head.target_topic,
        target_topic_id: head.target_topic_id,
        map,
        extent: head.extent,
        halt: told.mapped.halt.clone(),
        resolved: head.resolved,
        lost: head.lost,
        target_start: None,
        end: MirrorEnd::Ours,
    })
}

/// Starts and ends of mirrors, as of one moment before the map was read to its end.
struct Bounds {
    starts: BTreeMap<TopicPartition, Result<ListedOffset, Error>>,
    ends: BTreeMap<TopicPartition, Result<ListedOffset, Error>>,
}

impl Bounds {
    async fn ask(target: &Cluster, mirrors: &BTreeSet<TopicPartition>) -> Self {
        let list = async |at: OffsetAt| {
            let asked = mirrors.iter().map(|mirror| (mirror.clone(), at)).collect();
            match target.list_offsets(&asked, IsolationLevel::ReadUncommitted).await {
                Ok(listed) => listed,
                Err(error) => mirrors.iter().map(|mirror| (mirror.clone(), Err(error.clone()))).collect(),
            }
        };
        Self { ends: list(OffsetAt::Latest).await, starts: list(OffsetAt::Earliest).await }
    }

    /// Both, where the mirror was known when they were asked for.
    fn of(&self, mirror: &TopicPartition) -> Option<Result<(i64, i64), Error>> {
        let number = |listed: &Result<ListedOffset, Error>| match listed {
            Ok(listed) => Ok(listed.offset.unwrap_or_default()),
            Err(error) => Err(error.clone()),
        };
        let (start, end) = (self.starts.get(mirror)?, self.ends.get(mirror)?);
        Some(number(start).and_then(|start| Ok((start, number(end)?))))
    }
}

async fn walk_all(
    target: &Cluster,
    metadata: &Metadata,
    bounds: &Bounds,
    found: Vec<(PartitionMap, Plans, BTreeSet<i64>)>,
) -> Vec<PartitionMap> {
    let turns = Arc::new(Semaphore::new(WALKS_MAX));
    let mut done = Vec::new();
    let mut walks = JoinSet::new();
    for (mut partition, plans, producer_ids) in found {
        let mirror = TopicPartition::new(partition.target_topic.as_str(), partition.key.partition);
        let topic = metadata.topics.get(&mirror.topic);
        let topic_id = topic.map(|topic| topic.id_bytes()).unwrap_or_default();
        if topic.is_none() || topic_id != partition.target_topic_id {
            partition.end = if topic.is_none() { MirrorEnd::Deleted } else { MirrorEnd::Recreated };
            done.push(partition);
            continue;
        }
        let bounds = bounds.of(&mirror);
        let log = LogReader {
            cluster: target.clone(),
            lane: 0,
            at: mirror,
            topic_id,
            isolation: IsolationLevel::ReadUncommitted,
            max_wait: Duration::ZERO,
        };
        let turns = Arc::clone(&turns);
        walks.spawn(async move {
            let _turn = turns.acquire().await;
            bring_up_to_date(&mut partition, plans, producer_ids, &log, bounds).await;
            partition
        });
    }
    done.append(&mut walks.join_all().await);
    done
}

async fn bring_up_to_date(
    partition: &mut PartitionMap,
    plans: Plans,
    producer_ids: BTreeSet<i64>,
    log: &LogReader,
    bounds: Option<Result<(i64, i64), Error>>,
) {
    let (start, end) = match bounds {
        Some(Ok(bounds)) => bounds,
        Some(Err(error)) => {
            partition.end = MirrorEnd::Unread(error);
            return;
        }
        // It came into the map meanwhile: the head is as fresh as can be.
        None => return,
    };
    partition.target_start = Some(TargetOffset(start));
    let map = core::mem::take(&mut partition.map);
    let mut walk = Walk::new(map, partition.extent, plans, producer_ids, TargetOffset(end));
    let result = walk.run(log).await;
    (partition.map, partition.extent, partition.end) = walk.finish();
    if let Err(error) = result {
        partition.end = MirrorEnd::Unread(error);
    }
}
