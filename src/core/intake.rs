//! From a fetch answer to the batches that are copied: what is skipped, forwarded, opened, or cannot be copied.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use twinlog_wire::batch::BatchMeta;

use crate::batch::{Aborted, BatchKind, FetchedBatch};
use crate::halt::Halt;
use crate::ids::SourceOffset;

/// The batches of one fetch answer that have not been decided on, and its aborted transactions.
///
/// The list of aborted transactions belongs to one answer: a read-committed answer names all that overlap it.
#[derive(Clone, Debug, Default)]
pub struct Intake {
    batches: VecDeque<FetchedBatch>,
    aborted: VecDeque<Aborted>,
    aborting: BTreeSet<i64>,
}

/// What is known of a batch that must be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Where it begins, as far as it says so.
    pub first: SourceOffset,
    /// The position behind it.
    pub next: SourceOffset,
    /// The leader's epoch that it was written under, or -1.
    pub leader_epoch: i32,
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing of it is copied. The next position is given.
    Skip(SourceOffset),
    /// It is copied as it is.
    Forward(BatchMeta),
    /// Records are missing from it or lie before the position, its broker gave it its time, or its format is old: it
    /// must be opened.
    Repack(Opening),
    /// It cannot be copied exactly.
    Halt(Halt),
}

impl Intake {
    /// Takes an answer.
    pub fn new(batches: Vec<FetchedBatch>, mut aborted: Vec<Aborted>) -> Self {
        aborted.sort_by_key(|transaction| transaction.first_offset);
        Self { batches: batches.into(), aborted: aborted.into(), aborting: BTreeSet::new() }
    }

    /// All batches that are left, to let go of them.
    pub fn drain(&mut self) -> impl Iterator<Item = FetchedBatch> {
        self.batches.drain(..)
    }

    /// Decides on the next batch, seen from `position`.
    pub fn next(&mut self, position: SourceOffset) -> Option<(FetchedBatch, Verdict)> {
        let batch = self.batches.pop_front()?;
        Some((batch, self.judge(&batch, position)))
    }

    fn judge(&mut self, batch: &FetchedBatch, position: SourceOffset) -> Verdict {
        let meta = match batch.kind {
            BatchKind::Legacy { last, .. } if last < position => return Verdict::Skip(position),
            BatchKind::Legacy { first, last } => {
                return Verdict::Repack(Opening { first, next: last.plus(1), leader_epoch: -1 });
            }
            BatchKind::Control { meta, abort } => {
                self.begin_aborts_up_to(SourceOffset(meta.last_offset()));
                if abort {
                    self.aborting.remove(&meta.producer_id);
                }
                return Verdict::Skip(position.max(SourceOffset(meta.next_offset())));
            }
            BatchKind::Records(meta) => meta,
        };
        let (base, next) = (SourceOffset(meta.base_offset), SourceOffset(meta.next_offset()));
        self.begin_aborts_up_to(SourceOffset(meta.last_offset()));
        let aborted = meta.is_transactional() && self.aborting.contains(&meta.producer_id);
        if next <= position || aborted || meta.record_count == 0 {
            return Verdict::Skip(position.max(next));
        }
        if meta.codec().is_none() {
            return Verdict::Halt(Halt::Unsupported { offset: base, next });
        }
        let is_whole = meta.is_dense() && base >= position;
        if is_whole && !meta.is_append_time() {
            return Verdict::Forward(meta);
        }
        Verdict::Repack(Opening { first: base, next, leader_epoch: meta.leader_epoch })
    }

    /// The rule of Kafka's consumer (`CompletedFetch`): a transaction's batches are left out from its first offset
    /// up to its abort marker.
    fn begin_aborts_up_to(&mut self, offset: SourceOffset) {
        while let Some(transaction) = self.aborted.front().filter(|transaction| transaction.first_offset <= offset) {
            self.aborting.insert(transaction.producer_id);
            self.aborted.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Slot;
    use alloc::vec;

    fn meta(base: i64, span: i32, count: i32, producer_id: i64, attributes: i16) -> BatchMeta {
        BatchMeta {
            base_offset: base,
            len: 100,
            leader_epoch: 0,
            crc: 0,
            attributes,
            last_offset_delta: span - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id,
            producer_epoch: 0,
            base_sequence: 0,
            record_count: count,
        }
    }

    fn records(meta: BatchMeta) -> FetchedBatch {
        FetchedBatch { slot: Slot(0), kind: BatchKind::Records(meta) }
    }

    fn abort_marker(base: i64, producer_id: i64) -> FetchedBatch {
        let meta = meta(base, 1, 1, producer_id, 0x30);
        FetchedBatch { slot: Slot(0), kind: BatchKind::Control { meta, abort: true } }
    }

    fn verdicts(mut intake: Intake, mut position: SourceOffset) -> Vec<&'static str> {
        let mut out = vec![];
        while let Some((batch, verdict)) = intake.next(position) {
            out.push(match verdict {
                Verdict::Skip(next) => {
                    position = next;
                    "skip"
                }
                Verdict::Forward(meta) => {
                    position = SourceOffset(meta.next_offset());
                    "forward"
                }
                Verdict::Repack(opening) => {
                    position = opening.next;
                    "repack"
                }
                Verdict::Halt(_) => "halt",
            });
            let _ = batch;
        }
        out
    }

    #[test]
    fn dense_goes_on_holes_and_overlaps_are_opened_empty_is_skipped() {
        let intake = Intake::new(
            vec![
                records(meta(0, 10, 10, -1, 0)),
                records(meta(10, 10, 10, -1, 0)),
                records(meta(20, 10, 7, -1, 0)),
                records(meta(30, 10, 0, -1, 0)),
                records(meta(40, 1, 1, -1, 0)),
            ],
            vec![],
        );
        assert_eq!(verdicts(intake, SourceOffset(15)), ["skip", "repack", "repack", "skip", "forward"]);
    }

    #[test]
    fn aborted_transactions_are_left_out_up_to_their_marker() {
        let transactional = 0x10;
        let intake = Intake::new(
            vec![
                records(meta(0, 5, 5, 7, transactional)),
                records(meta(5, 5, 5, 8, transactional)),
                records(meta(10, 5, 5, 7, 0)),
                abort_marker(15, 7),
                records(meta(16, 4, 4, 7, transactional)),
                records(meta(20, 5, 5, 7, transactional)),
                abort_marker(25, 7),
            ],
            vec![
                Aborted { producer_id: 7, first_offset: SourceOffset(20) },
                Aborted { producer_id: 7, first_offset: SourceOffset(0) },
            ],
        );
        assert_eq!(
            verdicts(intake, SourceOffset(0)),
            ["skip", "forward", "forward", "skip", "forward", "skip", "skip"]
        );
    }

    #[test]
    fn append_times_and_old_formats_are_opened() {
        let append_time = Intake::new(vec![records(meta(3, 1, 1, -1, 0x08))], vec![]);
        assert_eq!(verdicts(append_time, SourceOffset(0)), ["repack"]);
        let legacy = |first: i64, last: i64| FetchedBatch {
            slot: Slot(0),
            kind: BatchKind::Legacy { first: SourceOffset(first), last: SourceOffset(last) },
        };
        let all = vec![legacy(0, 2), legacy(3, 9), legacy(12, 12)];
        assert_eq!(verdicts(Intake::new(all, vec![]), SourceOffset(3)), ["skip", "repack", "repack"]);
    }
}
