//! What the core knows of a batch: its header and the shell's handle to its bytes.

use alloc::vec::Vec;
use core::iter;

use twinlog_wire::batch::{BatchMeta, ControlType, Entry, control_type};

use crate::ids::SourceOffset;

/// The shell's handle to the bytes of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u64);

/// One batch of a fetch answer, in log order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchedBatch {
    /// Its bytes.
    pub slot: Slot,
    /// What its header says.
    pub kind: BatchKind,
}

/// What kind of batch a header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    /// Records.
    Records(BatchMeta),
    /// A commit or abort marker, or another control batch.
    Control {
        /// Its header.
        meta: BatchMeta,
        /// Whether it ends a transaction by aborting it.
        abort: bool,
    },
    /// Messages of format v0 or v1.
    Legacy {
        /// The first offset that they name: what they hold may begin before it.
        first: SourceOffset,
        /// The offset of the last record.
        last: SourceOffset,
    },
}

impl BatchKind {
    /// What an entry of a records section is.
    pub fn of(entry: &Entry) -> Self {
        match entry {
            Entry::V2(meta, bytes) if meta.is_control() => {
                Self::Control { meta: *meta, abort: control_type(bytes) == Ok(ControlType::Abort) }
            }
            Entry::V2(meta, _) => Self::Records(*meta),
            Entry::Legacy { offset, last_offset, .. } => {
                Self::Legacy { first: SourceOffset(*offset), last: SourceOffset(*last_offset) }
            }
        }
    }

    /// The header, where the format has one.
    pub fn meta(&self) -> Option<&BatchMeta> {
        match self {
            Self::Records(meta) | Self::Control { meta, .. } => Some(meta),
            Self::Legacy { .. } => None,
        }
    }
}

/// A transaction that a read-committed fetch answer names as aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Its producer id.
    pub producer_id: i64,
    /// Offset of its first record.
    pub first_offset: SourceOffset,
}

/// Consecutive source offsets that a batch holds records for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First source offset.
    pub start: SourceOffset,
    /// Number of records, at least 1.
    pub len: u64,
}

impl Run {
    /// The source offset after the last record.
    pub fn end(&self) -> SourceOffset {
        self.start.plus(self.len)
    }
}

/// A batch after the shell took the records out that are not to be copied, and numbered the others anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repacked {
    /// Length of the new batch in bytes.
    pub bytes: u32,
    /// Largest timestamp of the records that are left, in ms.
    pub max_timestamp: i64,
    /// The source offsets of the records that are left, in order; none if nothing is left.
    pub runs: Vec<Run>,
}

impl Repacked {
    /// Whether its records are in order, from the one position up to the other.
    pub fn lies_within(&self, from: SourceOffset, end: SourceOffset) -> bool {
        let starts = self.runs.iter().map(|run| run.start).chain([end]);
        let ends = iter::once(from).chain(self.runs.iter().map(Run::end));
        starts.zip(ends).all(|(start, before)| before <= start)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::BatchMeta;
    use crate::ids::Producer;

    /// A batch as it stands in a mirror's log; a marker if its sequence is below 0.
    pub(crate) fn batch(producer: Producer, leader_epoch: i32, sequence: i32, base: i64, records: i32) -> BatchMeta {
        BatchMeta {
            base_offset: base,
            len: 100,
            leader_epoch,
            crc: 0,
            attributes: if sequence < 0 { 0x30 } else { 0 },
            last_offset_delta: records - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: sequence,
            record_count: records,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn an_entry_is_records_or_a_marker() {
        use twinlog_wire::builder::{BatchBuilder, BatchOptions};
        for (marker, is_abort) in [(ControlType::Abort, true), (ControlType::Commit, false)] {
            let bytes = BatchBuilder::marker(BatchOptions::default(), marker, 0, 1).unwrap();
            let mut meta = BatchMeta::parse(&bytes).unwrap();
            assert_eq!(BatchKind::of(&Entry::V2(meta, bytes.clone())), BatchKind::Control { meta, abort: is_abort });
            meta.attributes = 0;
            assert_eq!(BatchKind::of(&Entry::V2(meta, bytes)), BatchKind::Records(meta));
        }
    }

    #[test]
    fn records_lie_within_a_batch_in_order() {
        let lies_within = |runs: &[(i64, u64)]| {
            let runs = runs.iter().map(|(start, len)| Run { start: SourceOffset(*start), len: *len }).collect();
            Repacked { bytes: 100, max_timestamp: 0, runs }.lies_within(SourceOffset(5), SourceOffset(10))
        };
        for (runs, is_within) in [
            (vec![], true),
            (vec![(5, 5)], true),
            (vec![(5, 1), (7, 3)], true),
            (vec![(6, 1), (7, 1)], true),
            (vec![(4, 2)], false),
            (vec![(8, 3)], false),
            (vec![(7, 2), (8, 1)], false),
            (vec![(7, 1), (5, 1)], false),
        ] {
            assert_eq!(lies_within(&runs), is_within, "{runs:?}");
        }
    }
}
