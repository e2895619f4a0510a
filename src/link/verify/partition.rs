//! One partition: both logs read ahead, part by part, into the comparison.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use twinlog_client::admin::{IsolationLevel, TopicPartition};
use twinlog_client::{Cluster, Error};
use twinlog_core::config::Timestamps;
use twinlog_core::ids::{SourceOffset, TargetOffset};
use twinlog_core::report::{Difference, Failure, PartitionVerdict, Side};
use twinlog_wire::batch::Entry;

use super::compare::{Comparison, Step, Subject, Tally, offset};
use crate::log::{LogPart, LogRead, LogReader};
use crate::map_reader::{MirrorEnd, PartitionMap};
use crate::reach::{deadline, out_of_reach};

/// Parts that wait for the comparison, besides the one that is read.
const READ_AHEAD: usize = 1;

/// Between two reads of a leader that is behind.
const PAUSE: Duration = Duration::from_millis(50);

/// A partition to compare.
pub(super) struct Job {
    pub(super) partition: PartitionMap,
    /// Where the source's log starts; none if the topic that was copied is gone.
    pub(super) source_start: Option<SourceOffset>,
    pub(super) timestamps: Timestamps,
    pub(super) source_compacts: bool,
    pub(super) target_compacts: bool,
}

/// A comparison went on.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// By so many source offsets.
    pub(super) offsets: u64,
}

/// One of those that compare at the same time; its number is that of its connections.
pub(super) struct Worker {
    pub(super) source: Cluster,
    pub(super) target: Cluster,
    pub(super) number: u32,
    pub(super) moves: mpsc::UnboundedSender<Moved>,
}

/// What a reader found next.
enum Read {
    Part(i64, LogPart),
    /// The log begins here now.
    StartsAt(i64),
    End,
    Failed(Error),
}

impl Job {
    /// Where both logs are compared from: the first offsets that both sides still have.
    fn starts(&self) -> (SourceOffset, TargetOffset) {
        let PartitionMap { map, extent, target_start, .. } = &self.partition;
        let (source, target) = (self.source_start.unwrap_or(extent.synced), target_start.unwrap_or(TargetOffset(0)));
        let first = map.ranges().first().map_or(extent.next_target, |range| range.target_start);
        let mut from = source.min(extent.synced);
        if target > first {
            let kept = offset(map.translate_back(target, *extent, SourceOffset(0))).unwrap_or(extent.synced);
            from = from.max(kept);
        }
        let onto = offset(map.translate(from, *extent, target)).unwrap_or(extent.next_target);
        (from, onto)
    }

    /// How many source offsets are compared.
    pub(super) fn offsets(&self) -> u64 {
        self.partition.extent.synced.since(self.starts().0)
    }

    /// Why there is nothing to compare.
    fn obstacle(&self) -> Option<&'static str> {
        match self.partition.end {
            MirrorEnd::Deleted => Some("the target topic was deleted"),
            MirrorEnd::Recreated => Some("the target topic was deleted and made again"),
            _ if self.source_start.is_none() => Some("the source topic was deleted, or deleted and made again"),
            _ => None,
        }
    }
}

impl Worker {
    pub(super) async fn compare(&self, job: Job) -> Result<PartitionVerdict, Failure> {
        if let MirrorEnd::Unread(error) = &job.partition.end {
            return Err(out_of_reach(error));
        }
        let (source_start, target_start) = job.starts();
        let PartitionMap { key, target_topic, extent, .. } = &job.partition;
        let mut verdict = PartitionVerdict {
            topic: key.topic.clone(),
            target_topic: target_topic.clone(),
            partition: key.partition,
            from: source_start.0,
            to: extent.synced.0,
            batches_by_checksum: 0,
            batches_by_record: 0,
            records: 0,
            difference: None,
        };
        let (source_offset, target_offset) = (source_start.0, target_start.0);
        let obstacle = job.obstacle();
        let mut difference = obstacle.map(|what| Difference { source_offset, target_offset, what: what.to_owned() });
        let behind = behind(&job.partition);
        if difference.is_none() {
            let (tally, found) = self.run(job, source_start, target_start).await?;
            let Tally { batches_by_checksum, batches_by_record, records } = tally;
            verdict = PartitionVerdict { batches_by_checksum, batches_by_record, records, ..verdict };
            difference = found.or(behind);
        }
        if let Some(difference) = &difference {
            verdict.to = difference.source_offset;
        }
        verdict.difference = difference;
        Ok(verdict)
    }

    async fn run(
        &self,
        job: Job,
        source_start: SourceOffset,
        target_start: TargetOffset,
    ) -> Result<(Tally, Option<Difference>), Failure> {
        let Job { partition, timestamps, source_compacts, target_compacts, .. } = job;
        let PartitionMap { key, source_topic_id, target_topic, target_topic_id, map, extent, .. } = partition;
        let log = |cluster: &Cluster, topic: &str, topic_id, isolation| LogReader {
            cluster: cluster.clone(),
            lane: self.number,
            at: TopicPartition::new(topic, key.partition),
            topic_id,
            isolation,
            max_wait: Duration::from_millis(500),
        };
        let source = log(&self.source, &key.topic, source_topic_id, IsolationLevel::ReadCommitted);
        let target = log(&self.target, &target_topic, target_topic_id, IsolationLevel::ReadUncommitted);
        let mut source = read_ahead(source, source_start.0, extent.synced.0);
        let mut target = read_ahead(target, target_start.0, extent.next_target.0);
        let subject = Subject { map, extent, timestamps, source_compacts, target_compacts };
        let mut comparison = Comparison::new(subject, source_start, target_start);
        let mut at = source_start;
        loop {
            let side = match comparison.step() {
                Step::Need(side) => side,
                Step::Done => break self.moved(&key.topic, key.partition, extent.synced.since(at)),
                Step::Differs(difference) => return Ok((comparison.tally(), Some(difference))),
            };
            let read = match side {
                Side::Source => source.recv().await,
                Side::Target => target.recv().await,
            };
            match read {
                Some(Read::Part(from, part)) => {
                    if side == Side::Source {
                        let reached = SourceOffset(from).min(extent.synced);
                        self.moved(&key.topic, key.partition, reached.since(at));
                        at = at.max(reached);
                    }
                    comparison.feed(side, from, part);
                }
                Some(Read::StartsAt(start)) => comparison.starts_at(side, start),
                Some(Read::End) | None => comparison.finish(side),
                Some(Read::Failed(error)) => return Err(out_of_reach(&error)),
            }
        }
        Ok((comparison.tally(), None))
    }

    fn moved(&self, topic: &str, partition: i32, offsets: u64) {
        // Nobody looks any more once another partition failed.
        drop(self.moves.send(Moved { topic: topic.to_owned(), partition, offsets }));
    }
}

/// A difference behind everything that was compared.
fn behind(partition: &PartitionMap) -> Option<Difference> {
    let source_offset = partition.extent.synced.0;
    match partition.end {
        MirrorEnd::Foreign { found, .. } => Some(Difference {
            source_offset,
            target_offset: found.0,
            what: "the target has a batch that this link did not write".to_owned(),
        }),
        MirrorEnd::Truncated { acknowledged, found } => Some(Difference {
            source_offset,
            target_offset: found.0,
            what: format!("the target's log ends here; {acknowledged} had been acknowledged"),
        }),
        _ => None,
    }
}

/// Reads a log from `from` up to `end` ahead of who takes its parts.
fn read_ahead(log: LogReader, from: i64, end: i64) -> mpsc::Receiver<Read> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::spawn(async move {
        let mut next = from;
        loop {
            let read = read(&log, &mut next, end).await;
            let is_last = matches!(read, Read::End | Read::Failed(_));
            // The comparison may be over.
            if sender.send(read).await.is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

async fn read(log: &LogReader, next: &mut i64, end: i64) -> Read {
    let deadline = deadline();
    loop {
        let from = *next;
        if from >= end {
            return Read::End;
        }
        match log.cluster.retry(deadline, || log.read(from)).await {
            Ok(LogRead::Part(part)) => {
                let reached = part.entries.last().map(Entry::next_offset);
                let known = match log.isolation {
                    IsolationLevel::ReadUncommitted => part.high_watermark,
                    IsolationLevel::ReadCommitted => part.last_stable,
                };
                match reached {
                    Some(reached) => {
                        *next = reached.max(from + 1);
                        return Read::Part(from, part);
                    }
                    // A new leader may be behind for a moment.
                    None if known < end && Instant::now() < deadline => sleep(PAUSE).await,
                    // The cleaner took the rest, or the log is shorter than it was.
                    None => return Read::End,
                }
            }
            Ok(LogRead::OutOfRange { start, .. }) if start > from => {
                *next = start;
                return Read::StartsAt(start);
            }
            Ok(LogRead::OutOfRange { .. }) => return Read::End,
            Err(error) => return Read::Failed(error),
        }
    }
}
