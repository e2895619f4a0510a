//! Looking at mirrors: their tails at recovery, both logs' ends for new partitions, the ends of idle ones. What is
//! asked for at the same time goes to each broker in one request.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use twinlog_client::admin::{IsolationLevel, ListedOffset, OffsetAt, TopicPartition};
use twinlog_client::{Cluster, ErrorCode, Purpose, Result, Retry};
use twinlog_core::ids::{SourceOffset, TargetOffset};
use twinlog_core::io::{Ends, Failure, Input, LanePartition, ReadResult};
use twinlog_core::lane::Lane;
use twinlog_wire::batch::{BatchMeta, Batches, Entry};
use twinlog_wire::fetch_response::FetchPartition;

use super::{LaneSetup, Message, failure, refresh, tell};
use crate::failpoint;
use crate::fetch::{Limits, Want, fetch};

/// How long the broker may wait for a marker to come.
const MAX_WAIT: Duration = Duration::from_millis(100);
/// Bytes of one answer; tails are short, as progress is marked every few seconds.
const READ_BYTES: i32 = 4 << 20;

/// What was asked for and is not sent yet.
#[derive(Debug, Default)]
pub(super) struct TargetReads {
    probes: Vec<(LanePartition, SourceOffset)>,
    reads: Vec<(LanePartition, TargetOffset, i32)>,
    looks: Vec<(LanePartition, TargetOffset, u32)>,
}

impl TargetReads {
    pub(super) fn probe(&mut self, partition: LanePartition, position: SourceOffset) {
        self.probes.push((partition, position));
    }

    pub(super) fn read(&mut self, partition: LanePartition, from: TargetOffset, epoch: i32) {
        self.reads.push((partition, from, epoch));
    }

    pub(super) fn look_at_ends(&mut self, partition: LanePartition, expected: TargetOffset, look: u32) {
        self.looks.push((partition, expected, look));
    }

    /// Sends everything that gathered.
    pub(super) fn flush(&mut self, setup: &LaneSetup, core: &Lane, sender: &mpsc::UnboundedSender<Message>) {
        if !self.probes.is_empty() {
            probe(setup, core, sender.clone(), std::mem::take(&mut self.probes));
        }
        if !self.looks.is_empty() {
            look(setup, core, sender.clone(), std::mem::take(&mut self.looks));
        }
        if !self.reads.is_empty() {
            read(setup, core, sender, std::mem::take(&mut self.reads));
        }
    }
}

fn target_of(core: &Lane, id: LanePartition) -> Option<TopicPartition> {
    let spec = core.partition(id)?.spec();
    Some(TopicPartition::new(spec.target_topic.clone(), spec.key.partition))
}

fn source_of(core: &Lane, id: LanePartition) -> Option<TopicPartition> {
    let key = &core.partition(id)?.spec().key;
    Some(TopicPartition::new(key.topic.clone(), key.partition))
}

type Listed = BTreeMap<TopicPartition, Result<ListedOffset>>;

async fn list(cluster: &Cluster, partitions: &[TopicPartition], at: OffsetAt) -> Result<Listed> {
    let asked = partitions.iter().map(|partition| (partition.clone(), at)).collect();
    let listed = cluster.list_offsets(&asked, IsolationLevel::ReadUncommitted).await;
    let failed = |result: &Result<ListedOffset>| result.is_err();
    if listed.as_ref().map_or(true, |listed| listed.values().any(failed)) {
        refresh(cluster);
    }
    listed
}

fn offset(listed: &Result<Listed>, at: &TopicPartition) -> Result<i64, Failure> {
    let listed = listed.as_ref().map_err(failure)?;
    match listed.get(at) {
        Some(Ok(found)) => Ok(found.offset.unwrap_or_default()),
        Some(Err(error)) => Err(failure(error)),
        None => Err(Failure::Code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
    }
}

fn probe(
    setup: &LaneSetup,
    core: &Lane,
    sender: mpsc::UnboundedSender<Message>,
    ids: Vec<(LanePartition, SourceOffset)>,
) {
    let (source, target) = (setup.source.clone(), setup.target.clone());
    let named = |(id, position): &(_, _)| Some((*id, *position, source_of(core, *id)?, target_of(core, *id)?));
    let partitions: Vec<_> = ids.iter().filter_map(named).collect();
    tokio::spawn(async move {
        let sources: Vec<_> = partitions.iter().map(|(_, _, at, _)| at.clone()).collect();
        let targets: Vec<_> = partitions.iter().map(|(_, _, _, at)| at.clone()).collect();
        let (source_start, source_end, target_start, target_end) = tokio::join!(
            list(&source, &sources, OffsetAt::Earliest),
            list(&source, &sources, OffsetAt::Latest),
            list(&target, &targets, OffsetAt::Earliest),
            list(&target, &targets, OffsetAt::Latest),
        );
        let ends = |source_at: &TopicPartition, target_at: &TopicPartition| {
            Ok(Ends {
                source_start: SourceOffset(offset(&source_start, source_at)?),
                source_end: SourceOffset(offset(&source_end, source_at)?),
                target_start: TargetOffset(offset(&target_start, target_at)?),
                target_end: TargetOffset(offset(&target_end, target_at)?),
            })
        };
        let inputs = partitions.iter().map(|(partition, position, source, target)| Input::Probed {
            partition: *partition,
            position: *position,
            ends: ends(source, target),
        });
        tell(&sender, Message::Many(inputs.collect()));
    });
}

fn look(
    setup: &LaneSetup,
    core: &Lane,
    sender: mpsc::UnboundedSender<Message>,
    looks: Vec<(LanePartition, TargetOffset, u32)>,
) {
    let target = setup.target.clone();
    let partitions: Vec<_> =
        looks.iter().filter_map(|(id, expected, look)| Some((*id, *expected, *look, target_of(core, *id)?))).collect();
    tokio::spawn(async move {
        let asked: Vec<_> = partitions.iter().map(|(_, _, _, at)| at.clone()).collect();
        let (starts, ends) =
            tokio::join!(list(&target, &asked, OffsetAt::Earliest), list(&target, &asked, OffsetAt::Latest));
        let inputs = partitions.iter().filter_map(|(partition, expected, look, at)| {
            let (start, end) = (TargetOffset(offset(&starts, at).ok()?), TargetOffset(offset(&ends, at).ok()?));
            Some(Input::TargetEnds { partition: *partition, expected: *expected, look: *look, start, end })
        });
        tell(&sender, Message::Many(inputs.collect()));
    });
}

fn read(
    setup: &LaneSetup,
    core: &Lane,
    sender: &mpsc::UnboundedSender<Message>,
    reads: Vec<(LanePartition, TargetOffset, i32)>,
) {
    let metadata = setup.target.known();
    let mut by_leader: BTreeMap<Option<i32>, Vec<(LanePartition, TargetOffset, Want)>> = BTreeMap::new();
    for (id, from, last_epoch) in reads {
        let Some(partition) = core.partition(id) else { continue };
        let spec = partition.spec();
        let leader = metadata.as_ref().and_then(|m| m.leader(&spec.target_topic, spec.key.partition));
        let want = Want {
            topic: spec.target_topic.clone(),
            topic_id: spec.target_topic_id,
            partition: spec.key.partition,
            from: from.0,
            last_epoch,
        };
        by_leader.entry(leader).or_default().push((id, from, want));
    }
    for (leader, reads) in by_leader {
        let (target, lane, sender) = (setup.target.clone(), setup.lane, sender.clone());
        tokio::spawn(async move {
            let inputs = read_from(&target, lane, leader, reads).await;
            failpoint::hit(failpoint::DURING_RECOVERY);
            tell(&sender, Message::Many(inputs));
        });
    }
}

async fn read_from(
    target: &Cluster,
    lane: u32,
    leader: Option<i32>,
    reads: Vec<(LanePartition, TargetOffset, Want)>,
) -> Vec<Input> {
    let limits = Limits {
        max_bytes: READ_BYTES,
        partition_max_bytes: READ_BYTES,
        max_wait: MAX_WAIT,
        isolation: IsolationLevel::ReadUncommitted,
    };
    let wants: Vec<_> = reads.iter().map(|(_, _, want)| want.clone()).collect();
    let answer = match leader {
        None => Err(Failure::Code(ErrorCode::LEADER_NOT_AVAILABLE)),
        Some(leader) => match target.connection(leader, Purpose::Fetch, lane).await {
            Ok(connection) => fetch(&connection, &wants, limits).await.map_err(|error| failure(&error)),
            Err(error) => Err(failure(&error)),
        },
    };
    let mut results: BTreeMap<usize, FetchPartition> = match answer {
        Ok(found) => found.into_iter().collect(),
        Err(failure) => {
            refresh(target);
            let failed = |(partition, from, _): &(LanePartition, TargetOffset, Want)| Input::TargetRead {
                partition: *partition,
                from: *from,
                result: ReadResult::Failed(failure),
            };
            return reads.iter().map(failed).collect();
        }
    };
    let mut inputs = Vec::with_capacity(reads.len());
    for (place, (partition, from, want)) in reads.into_iter().enumerate() {
        let result = match results.remove(&place) {
            Some(found) => part(target, from, &want, found).await,
            None => ReadResult::Failed(Failure::Code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
        };
        inputs.push(Input::TargetRead { partition, from, result });
    }
    inputs
}

async fn part(target: &Cluster, from: TargetOffset, want: &Want, found: FetchPartition) -> ReadResult<BatchMeta> {
    if let Some(diverging) = found.diverging_epoch {
        let (start, end) = (TargetOffset(found.log_start_offset), TargetOffset(diverging.end_offset));
        return ReadResult::OutOfRange { start, end };
    }
    match found.error {
        ErrorCode::NONE => {
            let metas = Batches::new(found.records).map(|entry| match entry {
                Ok(Entry::V2(meta, _)) => Some(meta),
                Ok(Entry::Legacy { .. }) | Err(_) => None,
            });
            let Some(entries) = metas.collect::<Option<Vec<_>>>() else {
                return ReadResult::Failed(Failure::Code(ErrorCode::CORRUPT_MESSAGE));
            };
            let next = entries.iter().map(|meta| TargetOffset(meta.next_offset())).max();
            ReadResult::Entries { entries, next: next.unwrap_or(from) }
        }
        ErrorCode::OFFSET_OUT_OF_RANGE => {
            let at = [TopicPartition::new(want.topic.clone(), want.partition)];
            let (start, end) = (list(target, &at, OffsetAt::Earliest).await, list(target, &at, OffsetAt::Latest).await);
            match at.first().map(|at| (offset(&start, at), offset(&end, at))) {
                Some((Ok(start), Ok(end))) => {
                    ReadResult::OutOfRange { start: TargetOffset(start), end: TargetOffset(end) }
                }
                Some((Err(failure), _) | (_, Err(failure))) => ReadResult::Failed(failure),
                None => ReadResult::Failed(Failure::NotSent),
            }
        }
        code => {
            if code.retry() == Retry::AfterMetadata {
                refresh(target);
            }
            ReadResult::Failed(Failure::Code(code))
        }
    }
}
