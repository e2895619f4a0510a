//! The source's records: prepared batches of one length, which repeat. Only their base offsets are written as they are
//! sent; those lie in front of what the checksum covers.

use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

use super::cells::Cell;

/// About how long a record is, where the batch is longer.
const RECORD_BYTES: usize = 1 << 10;
/// What a batch and its record need beside the value, about.
const OVERHEAD_BYTES: usize = 61 + 10;
/// A partition repeats after this many bytes, as a fetch of it has no more.
const PARTITION_BYTES: usize = 1 << 20;
/// All partitions together, but for one batch in each, have at least and at most so many bytes.
const ARENA_BYTES: RangeInclusive<usize> = 8 << 20..=128 << 20;

/// The batches of all partitions. Batch `n` of a partition stands at place `n` modulo [`Arena::held`].
#[derive(Debug)]
pub(crate) struct Arena {
    partitions: Vec<Mutex<Vec<u8>>>,
    batch_len: usize,
    records_a_batch: u64,
    held: u64,
}

impl Arena {
    pub(crate) fn new(cell: &Cell) -> Self {
        let mut rng = Rng::with_seed(cell.batch_bytes as u64);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(cell.age);
        let timestamp = i64::try_from(since.as_millis()).unwrap_or_default();
        let records = (cell.batch_bytes / RECORD_BYTES).max(1);
        let value_len = (cell.batch_bytes.saturating_sub(OVERHEAD_BYTES) / records).saturating_sub(8).max(1);
        let mut value = vec![0; value_len];
        let mut batch = || {
            let mut builder = BatchBuilder::new(BatchOptions { leader_epoch: 0, ..BatchOptions::default() });
            for _ in 0..records {
                rng.fill(&mut value);
                builder.push(&NewRecord { timestamp, value: Some(&value), ..NewRecord::default() });
            }
            builder.finish().expect("a batch of records of one length")
        };
        let batch_len = batch().len();
        let (least, most) = (ARENA_BYTES.start() / cell.partitions, ARENA_BYTES.end() / cell.partitions);
        let held = (PARTITION_BYTES.clamp(least, most) / batch_len).max(1);
        let mut partition = || {
            let mut bytes = Vec::with_capacity(held * batch_len);
            for _ in 0..held {
                bytes.extend_from_slice(&batch());
            }
            Mutex::new(bytes)
        };
        Self {
            partitions: (0..cell.partitions).map(|_| partition()).collect(),
            batch_len,
            records_a_batch: records as u64,
            held: held as u64,
        }
    }

    pub(crate) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Length of each batch in bytes.
    pub(crate) fn batch_len(&self) -> usize {
        self.batch_len
    }

    /// Records of each batch.
    pub(crate) fn records_a_batch(&self) -> u64 {
        self.records_a_batch
    }

    /// How many batches of a partition there are before they repeat.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// How many batches a partition must have for about so many bytes in all.
    pub(crate) fn batches_a_partition(&self, bytes: u64) -> u64 {
        (bytes / (self.batch_len as u64 * self.partitions.len() as u64)).max(1)
    }

    /// The bytes of a partition; there must be such a one.
    pub(crate) fn lock(&self, partition: usize) -> MutexGuard<'_, Vec<u8>> {
        self.partitions[partition].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the base offsets of `count` batches from batch `first` on, at most [`Arena::held`].
    pub(crate) fn stamp(&self, bytes: &mut [u8], first: u64, count: u64) {
        for batch in first..first + count {
            let place = (batch % self.held) as usize * self.batch_len;
            let base = batch * self.records_a_batch;
            bytes[place..place + 8].copy_from_slice(&base.to_be_bytes());
        }
    }

    /// The bytes of `count` batches from batch `first` on: the second part is what lies behind the place where the
    /// batches repeat.
    pub(crate) fn slices<'a>(&self, bytes: &'a [u8], first: u64, count: u64) -> (&'a [u8], &'a [u8]) {
        let start = (first % self.held) as usize * self.batch_len;
        let len = count as usize * self.batch_len;
        let front = len.min(bytes.len() - start);
        (&bytes[start..start + front], &bytes[..len - front])
    }
}
