//! Counts every record on the target against what the shop's own answers say, without the link's code.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use twinlog_client::Cluster;
use twinlog_client::admin::{IsolationLevel, TopicPartition};
use twinlog_core::report::{Failure, FailureKind};
use twinlog_link::log::{LogRead, LogReader};
use twinlog_link::reach::out_of_reach;
use twinlog_wire::batch::{BatchMeta, Entry, split_head};
use twinlog_wire::compression::decompress;
use twinlog_wire::records::Records;

use super::shop::Written;

/// A batch of the demo unpacks to far less.
const UNPACKED_BYTES_MAX: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Committed records that are not on the target.
    pub(super) lost: u64,
    /// Records that are there again.
    pub(super) doubled: u64,
    /// Records before an earlier one, or never committed.
    pub(super) misplaced: u64,
}

/// Reads all mirrors as any consumer would, uncommitted records included.
pub(super) async fn count(target: &Cluster, written: &Written) -> Result<Counted, Failure> {
    let mut all = Counted::default();
    let metadata = target.refresh().await.map_err(|error| out_of_reach(&error))?;
    for (at, committed) in &written.partitions {
        let topic_id = metadata.topics.get(&*at.topic).and_then(|topic| topic.id).map(|id| *id.as_bytes());
        let log = LogReader {
            cluster: target.clone(),
            lane: 0,
            at: at.clone(),
            topic_id: topic_id.unwrap_or_default(),
            isolation: IsolationLevel::ReadUncommitted,
            max_wait: Duration::ZERO,
        };
        let numbers = numbers(&log).await?;
        let counted = compare(committed.iter().cloned().flatten(), &numbers);
        all.lost += counted.lost;
        all.doubled += counted.doubled;
        all.misplaced += counted.misplaced;
    }
    Ok(all)
}

/// The numbers of a partition's records in log order.
async fn numbers(log: &LogReader) -> Result<Vec<u64>, Failure> {
    let (mut numbers, mut next) = (Vec::new(), 0);
    loop {
        let read = log.cluster.retry(Instant::now() + PATIENCE, || log.read(next)).await;
        let LogRead::Part(part) = read.map_err(|error| out_of_reach(&error))? else {
            return Err(bad(&log.at, "its log does not begin at 0"));
        };
        if part.entries.is_empty() && next >= part.high_watermark {
            return Ok(numbers);
        }
        for entry in &part.entries {
            let Entry::V2(meta, bytes) = entry else { return Err(bad(&log.at, "a batch in an old format")) };
            if !meta.is_control() && meta.base_offset >= next {
                numbers_of(&log.at, meta, bytes, &mut numbers)?;
            }
            next = next.max(meta.next_offset());
        }
    }
}

fn numbers_of(at: &TopicPartition, meta: &BatchMeta, batch: &Bytes, out: &mut Vec<u64>) -> Result<(), Failure> {
    let (_, body) = split_head(batch).map_err(|error| bad(at, &error.to_string()))?;
    let codec = meta.codec().ok_or_else(|| bad(at, "an unknown codec"))?;
    let plain = decompress(codec, &body, UNPACKED_BYTES_MAX).map_err(|error| bad(at, &error.to_string()))?;
    for record in Records::new(&plain, meta.record_count) {
        let record = record.map_err(|error| bad(at, &error.to_string()))?;
        let key = record.key.and_then(|key| core::str::from_utf8(key).ok());
        let number = key.and_then(|key| key.rsplit_once('-')?.1.parse().ok());
        out.push(number.ok_or_else(|| bad(at, "a record that the shop did not write"))?);
    }
    Ok(())
}

fn bad(at: &TopicPartition, what: &str) -> Failure {
    Failure::new(FailureKind::Difference, format!("target {at}: {what}"))
}

/// What is found, against what was committed in this order.
fn compare(committed: impl Iterator<Item = u64>, found: &[u64]) -> Counted {
    let mut times: BTreeMap<u64, u64> = committed.map(|number| (number, 0)).collect();
    let (mut counted, mut last) = (Counted::default(), None);
    for number in found {
        let is_first = match times.get_mut(number) {
            Some(times) => {
                *times += 1;
                *times == 1
            }
            None => {
                counted.misplaced += 1;
                continue;
            }
        };
        if !is_first {
            counted.doubled += 1;
        } else if last.is_some_and(|last| last > number) {
            counted.misplaced += 1;
        }
        last = last.max(Some(number));
    }
    counted.lost = times.values().filter(|times| **times == 0).count() as u64;
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_or_misplaced_is_counted() {
        let counted = |found: &[u64]| {
            let Counted { lost, doubled, misplaced } = compare([1, 2, 3, 7, 8].into_iter(), found);
            (lost, doubled, misplaced)
        };
        assert_eq!(counted(&[1, 2, 3, 7, 8]), (0, 0, 0));
        assert_eq!(counted(&[1, 2, 7, 8]), (1, 0, 0));
        assert_eq!(counted(&[1, 2, 3, 2, 3, 7, 8]), (0, 2, 0));
        assert_eq!(counted(&[1, 3, 2, 7, 8]), (0, 0, 1));
        assert_eq!(counted(&[1, 2, 3, 4, 7, 8]), (0, 0, 1));
    }
}
