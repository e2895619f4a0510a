//! `verify`: source and target compared through the map, up to where the copy was at the start, so it works beside a
//! `run`. Several partitions at a time; of each log a few parts are in memory.

mod compare;
mod partition;
mod records;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use twinlog_client::admin::{IsolationLevel, OffsetAt, TopicPartition};
use twinlog_client::{Cluster, Metadata};
use twinlog_core::ids::SourceOffset;
use twinlog_core::report::{Failure, FailureKind, PartitionVerdict, VerifyProgress, VerifyReport};
use twinlog_core::topics::Pattern;

use self::partition::{Job, Moved, Worker};
use crate::map_reader::{MirrorEnd, PartitionMap, Wanted, snapshot};
use crate::mirrors::present::describe;
use crate::reach::out_of_reach;
use crate::supervisor::LinkSetup;
use crate::translate::never_run;

/// Partitions that are compared at the same time, each over connections of its own.
const WORKERS: u32 = 4;

/// Compares what the two sides hold, for source topics that one of `topics` matches, or for all if there is none.
pub async fn verify(
    setup: &LinkSetup,
    topics: &[Pattern],
    progress: &(dyn Fn(VerifyProgress) + Send + Sync),
) -> Result<VerifyReport, Failure> {
    let source = setup.source.refresh().await.map_err(|error| out_of_reach(&error))?;
    let patterns = topics.to_vec();
    let matches = move |topic: &str| patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(topic));
    let wanted = Wanted { partitions: Box::new(move |key| matches(&key.topic)), whole: true };
    let snapshot = snapshot(setup, wanted).await?.ok_or_else(|| never_run(setup))?;
    if snapshot.partitions.is_empty() && !topics.is_empty() {
        let asked: Vec<&str> = topics.iter().map(Pattern::as_str).collect();
        let what = format!("no mirrored topic of link {} matches {}", setup.name, asked.join(", "));
        return Err(Failure::new(FailureKind::Difference, what).advise("see `twinlog status` for those that are"));
    }
    let jobs = jobs(setup, &source, snapshot.partitions).await?;
    let mut partitions = work(setup, jobs, progress).await?;
    partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Ok(VerifyReport { link: setup.name.clone(), partitions })
}

/// What is to be compared of each partition.
async fn jobs(setup: &LinkSetup, source: &Metadata, partitions: Vec<PartitionMap>) -> Result<Vec<Job>, Failure> {
    let is_there = |partition: &PartitionMap| {
        let topic = source.topics.get(&partition.key.topic);
        topic.is_some_and(|topic| topic.id_bytes() == partition.source_topic_id)
    };
    let at = |partition: &PartitionMap| TopicPartition::new(partition.key.topic.as_str(), partition.key.partition);
    let there = || partitions.iter().filter(|partition| is_there(partition));
    let asked = there().map(|partition| (at(partition), OffsetAt::Earliest)).collect();
    let starts = setup.source.list_offsets(&asked, IsolationLevel::ReadUncommitted).await;
    let mut starts = starts.map_err(|error| out_of_reach(&error))?;
    let is_mirrored = |partition: &&PartitionMap| !matches!(partition.end, MirrorEnd::Deleted | MirrorEnd::Recreated);
    let sources = there().map(|partition| partition.key.topic.clone()).collect();
    let mirrors = there().filter(is_mirrored).map(|partition| partition.target_topic.clone()).collect();
    let sources = compacted(&setup.source, sources).await?;
    let mirrors = compacted(&setup.target, mirrors).await?;
    let mut jobs = Vec::new();
    for partition in partitions {
        let source_start = match starts.remove(&at(&partition)) {
            Some(Ok(listed)) => Some(SourceOffset(listed.offset.unwrap_or_default())),
            Some(Err(error)) => return Err(out_of_reach(&error)),
            None => None,
        };
        jobs.push(Job {
            timestamps: setup.config.timestamps,
            source_compacts: sources.contains(&partition.key.topic),
            target_compacts: mirrors.contains(&partition.target_topic),
            source_start,
            partition,
        });
    }
    Ok(jobs)
}

/// Those of the topics whose records a cleaner takes out.
async fn compacted(cluster: &Cluster, topics: BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
    let mut compacted = BTreeSet::new();
    for (topic, settings) in describe(cluster, topics.iter().map(String::as_str)).await {
        let settings = settings.map_err(|error| out_of_reach(&error))?;
        if settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
            compacted.insert(topic);
        }
    }
    Ok(compacted)
}

async fn work(
    setup: &LinkSetup,
    jobs: Vec<Job>,
    progress: &(dyn Fn(VerifyProgress) + Send + Sync),
) -> Result<Vec<PartitionVerdict>, Failure> {
    let total = jobs.iter().map(Job::offsets).sum();
    let queue = Arc::new(Mutex::new(VecDeque::from(jobs)));
    let (sender, mut moves) = mpsc::unbounded_channel();
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        let queue = Arc::clone(&queue);
        let (source, target) = (setup.source.clone(), setup.target.clone());
        let worker = Worker { source, target, number, moves: sender.clone() };
        workers.spawn(async move {
            let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let mut verdicts = Vec::new();
            while let Some(job) = next() {
                verdicts.push(worker.compare(job).await?);
            }
            Ok(verdicts)
        });
    }
    drop(sender);
    let (mut done, mut verdicts) = (0, Vec::new());
    loop {
        tokio::select! {
            biased;
            Some(Moved { topic, partition, offsets }) = moves.recv() => {
                done += offsets;
                progress(VerifyProgress { topic, partition, done, total });
            }
            Some(joined) = workers.join_next() => match joined {
                Ok(part) => verdicts.append(&mut part?),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
            else => return Ok(verdicts),
        }
    }
}
