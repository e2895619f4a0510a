//! A mirror that lost its end: up to where its log still is what the map says.
//!
//! The end of the log alone says little, as markers of ours may stand where lost records stood. So the log is read in
//! windows that grow backwards, each up to a marker of ours that was written after the loss, and each batch is compared
//! with the map. Behind the last batch that agrees only markers may stand: records there cannot be taken back.

use alloc::vec::Vec;

use twinlog_wire::batch::BatchMeta;

use crate::ids::{Producer, SourceOffset, TargetOffset};
use crate::map_record::Plan;
use crate::offset_map::{Extent, Range};
use crate::sequence;

/// Offsets of the first window; each further one begins four times as far back.
const FIRST_WINDOW: u64 = 64;

/// What the map knows of a mirror whose end is gone, and what counts as part of it.
#[derive(Debug)]
pub struct Known {
    ranges: Vec<Range>,
    /// How many records lie before each range.
    before: Vec<u64>,
    /// How far the copy was.
    pub extent: Extent,
    /// The sequence of the record that was to come at the end.
    pub cursor: Option<Plan>,
    /// The target's leader epoch when its log was last read up to a marker: what carries it or an older one was there
    /// before the loss, since a loss comes with a new leader.
    pub verified_epoch: i32,
    /// The target's log start: what lay before it was not lost but deleted.
    pub log_start: TargetOffset,
}

/// Where the log is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How far the copy is after it.
    pub extent: Extent,
    /// The sequence behind the last batch that is left, if one is.
    pub cursor: Option<Plan>,
}

/// What a window says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The place is found, and behind it are only markers.
    Cut(Cut),
    /// It lies further back.
    Wider,
    /// It cannot be proved, or records stand behind it: here.
    Unprovable(TargetOffset),
}

impl Known {
    /// From all ranges that may be needed, in order.
    pub fn new(
        ranges: Vec<Range>,
        extent: Extent,
        cursor: Option<Plan>,
        verified_epoch: i32,
        log_start: TargetOffset,
    ) -> Self {
        let mut records = 0u64;
        let before = |range: &Range| {
            let before = records;
            records = records.saturating_add(range.len);
            before
        };
        let before = ranges.iter().map(before).collect();
        Self { ranges, before, extent, cursor, verified_epoch, log_start }
    }

    /// How many of the known records lie below an offset.
    fn below(&self, offset: TargetOffset) -> u64 {
        let following = self.ranges.partition_point(|range| range.target_start < offset);
        let last = following.checked_sub(1).and_then(|at| Some((self.ranges.get(at)?, self.before.get(at)?)));
        last.map_or(0, |(range, before)| before.saturating_add(offset.since(range.target_start).min(range.len)))
    }

    fn between(&self, from: TargetOffset, to: TargetOffset) -> u64 {
        self.below(to).saturating_sub(self.below(from))
    }

    /// The source offset of the first record at an offset or behind it.
    fn source_from(&self, offset: TargetOffset) -> Option<SourceOffset> {
        let following = self.ranges.partition_point(|range| range.target_end() <= offset);
        self.ranges.get(following).map(|range| range.source_start.plus(offset.since(range.target_start)))
    }

    /// Whether a batch of records is where the map says, as far as its place and its sequence tell. What lies below
    /// `from` is not known. `before` is the batch of ours before it.
    fn agrees(&self, batch: &BatchMeta, from: TargetOffset, before: Option<&Last>) -> bool {
        let (base, end) = (TargetOffset(batch.base_offset).max(from), TargetOffset(batch.next_offset()));
        let base_sequence = sequence::advance(batch.base_sequence, base.since(TargetOffset(batch.base_offset)));
        let producer = Producer::of(batch);
        if end > self.extent.next_target || self.between(base, end) != end.since(base) {
            return false;
        }
        if let Some(cursor) = self.cursor.filter(|cursor| cursor.producer == producer) {
            // Sequences and records are one for one up to the end.
            let missing = self.between(base, self.extent.next_target);
            return sequence::ahead(base_sequence, cursor.sequence) == Some(missing);
        }
        let follows = before.filter(|before| before.producer == producer).is_none_or(|before| {
            sequence::ahead(before.sequence, base_sequence) == Some(self.between(before.end, base))
        });
        batch.leader_epoch <= self.verified_epoch && follows
    }

    /// Whether a batch stood there before anything of ours.
    fn is_earlier(&self, batch: &BatchMeta) -> bool {
        let first = self.ranges.first().map_or(self.extent.next_target, |range| range.target_start);
        batch.leader_epoch <= self.verified_epoch && TargetOffset(batch.next_offset()) <= first
    }
}

/// The last batch that agreed.
#[derive(Clone, Copy, Debug)]
struct Last {
    producer: Producer,
    /// The sequence after it.
    sequence: i32,
    end: TargetOffset,
}

/// The search for the place.
#[derive(Clone, Debug)]
pub struct Search {
    /// Nothing that the map knows lies behind it.
    end: TargetOffset,
    width: u64,
    /// Where the window begins.
    from: TargetOffset,
    /// Whether the log starts there.
    at_log_start: bool,
    /// The next target offset to read.
    pub next_read: TargetOffset,
    /// The target's leader epoch of the batch before it, or -1.
    pub read_epoch: i32,
    seen: Vec<BatchMeta>,
}

impl Search {
    /// A search that begins right before `end`.
    pub fn new(end: TargetOffset) -> Self {
        let mut search = Self {
            end,
            width: FIRST_WINDOW,
            from: end,
            at_log_start: false,
            next_read: end,
            read_epoch: -1,
            seen: Vec::new(),
        };
        search.begin();
        search
    }

    /// Reads the window anew: the log has changed, or ends before `end`.
    pub fn again(&mut self, end: TargetOffset) {
        self.end = self.end.min(end);
        self.begin();
    }

    /// Begins further back.
    pub fn widen(&mut self) {
        self.width = self.width.saturating_mul(4);
        self.begin();
    }

    fn begin(&mut self) {
        let width = i64::try_from(self.width).unwrap_or(i64::MAX);
        self.read_from(TargetOffset(self.end.0.saturating_sub(width).max(0)));
        self.at_log_start = self.from == TargetOffset(0);
    }

    fn read_from(&mut self, from: TargetOffset) {
        self.from = from;
        self.next_read = from;
        self.read_epoch = -1;
        self.seen.clear();
    }

    /// The log starts behind the window's begin.
    pub fn log_starts(&mut self, start: TargetOffset) {
        self.read_from(start);
        self.at_log_start = true;
    }

    /// Where the window begins: ranges before it are not needed.
    pub fn from(&self) -> TargetOffset {
        self.from
    }

    /// Takes the next batch of the window, without the marker that it ends with.
    pub fn take(&mut self, batch: &BatchMeta) {
        self.next_read = TargetOffset(batch.next_offset());
        self.read_epoch = batch.leader_epoch;
        self.seen.push(*batch);
    }

    /// Compares what was read with the map. `is_ours` knows producer ids.
    pub fn judge(&self, known: &Known, is_ours: impl Fn(i64) -> bool) -> Judged {
        let (mut last, mut earlier) = (None::<Last>, self.from);
        let mut rest = self.seen.iter();
        for batch in rest.by_ref() {
            let (base, end) = (TargetOffset(batch.base_offset), TargetOffset(batch.next_offset()));
            if !batch.is_control() && known.agrees(batch, self.from, last.as_ref()) {
                let sequence = sequence::advance(batch.base_sequence, end.since(base));
                last = Some(Last { producer: Producer::of(batch), sequence, end });
            } else if known.is_earlier(batch) {
                earlier = earlier.max(end);
            } else if !batch.is_control() || !is_ours(batch.producer_id) {
                return Judged::Unprovable(base);
            } else if known.between(base, end) > 0 {
                // A marker where a record was: all behind it was written after the loss.
                break;
            }
        }
        if let Some(foreign) = rest.find(|batch| !batch.is_control() || !is_ours(batch.producer_id)) {
            return Judged::Unprovable(TargetOffset(foreign.base_offset));
        }
        if last.is_none() && !self.at_log_start {
            return Judged::Wider;
        }
        let next_target = last.map_or(earlier, |last| last.end).min(known.extent.next_target);
        if last.is_none() && known.below(self.from) > 0 && self.from >= known.log_start {
            // Retention may have taken the last batch that was left: how many were lost before it nobody knows.
            return Judged::Unprovable(self.from);
        }
        let synced = known.source_from(next_target.max(known.log_start)).unwrap_or(known.extent.synced);
        let cursor = last.map(|last| Plan {
            producer: last.producer,
            sequence: last.sequence,
            source_start: synced,
            target_start: next_target,
            leader_epoch: -1,
        });
        Judged::Cut(Cut { extent: Extent { synced, next_target }, cursor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::testing::batch;

    const FIRST: Producer = Producer { id: 9, epoch: 1 };
    const SECOND: Producer = Producer { id: 9, epoch: 2 };
    const LATER: Producer = Producer { id: 9, epoch: 3 };

    /// Ten records of a first epoch behind its marker, twenty of a second behind its own, all under leader epoch 4.
    fn known() -> Known {
        let range =
            |source, target, len| Range { source_start: SourceOffset(source), target_start: TargetOffset(target), len };
        let cursor = Plan {
            producer: SECOND,
            sequence: 20,
            source_start: SourceOffset(131),
            target_start: TargetOffset(32),
            leader_epoch: 0,
        };
        let extent = Extent { synced: SourceOffset(131), next_target: TargetOffset(32) };
        let ranges = Vec::from([range(100, 1, 10), range(111, 12, 20)]);
        Known::new(ranges, extent, Some(cursor), 4, TargetOffset(0))
    }

    fn judge(log: &[BatchMeta]) -> Judged {
        let mut search = Search::new(TargetOffset(32));
        log.iter().for_each(|batch| search.take(batch));
        search.judge(&known(), |id| id == 9)
    }

    fn cut(synced: i64, next_target: i64, cursor: Option<(Producer, i32)>) -> Judged {
        let (synced, next_target) = (SourceOffset(synced), TargetOffset(next_target));
        let plan = |(producer, sequence)| Plan {
            producer,
            sequence,
            source_start: synced,
            target_start: next_target,
            leader_epoch: -1,
        };
        Judged::Cut(Cut { extent: Extent { synced, next_target }, cursor: cursor.map(plan) })
    }

    const BEGIN: [(Producer, i32, i32, i64, i32); 3] =
        [(FIRST, 4, -1, 0, 1), (FIRST, 4, 0, 1, 10), (SECOND, 4, -1, 11, 1)];

    fn begin() -> Vec<BatchMeta> {
        BEGIN.map(|(producer, epoch, sequence, base, records)| batch(producer, epoch, sequence, base, records)).into()
    }

    #[test]
    fn the_cut_is_behind_the_last_batch_that_is_left() {
        let mut log = begin();
        log.push(batch(SECOND, 4, 0, 12, 5));
        assert_eq!(judge(&log), cut(116, 17, Some((SECOND, 5))));
        assert_eq!(judge(&log[..2]), cut(111, 11, Some((FIRST, 10))));
        assert_eq!(judge(&[]), cut(100, 0, None));
    }

    #[test]
    fn where_nothing_of_ours_lies_before_the_logs_start_all_is_copied_again() {
        let judge = |known: Known, start: i64| {
            let mut search = Search::new(TargetOffset(32));
            search.log_starts(TargetOffset(start));
            search.judge(&known, |id| id == 9)
        };
        assert_eq!(judge(known(), 1), cut(100, 1, None));
        assert_eq!(judge(known(), 2), Judged::Unprovable(TargetOffset(2)), "its first record may have been lost there");
    }

    #[test]
    fn markers_in_the_place_of_records_do_not_count_for_them() {
        let mut log = begin();
        log.push(batch(SECOND, 4, 0, 12, 5));
        log.extend((17..32).map(|base| batch(LATER, 5, -1, base, 1)));
        assert_eq!(judge(&log), cut(116, 17, Some((SECOND, 5))));
    }

    #[test]
    fn records_behind_the_cut_cannot_be_taken_back() {
        let mut log = begin();
        // A broker that had forgotten us took what follows the lost ones.
        log.push(batch(SECOND, 5, 20, 12, 3));
        assert_eq!(judge(&log), Judged::Unprovable(TargetOffset(12)));
        log[3] = batch(FIRST, 5, 10, 12, 3);
        assert_eq!(judge(&log), Judged::Unprovable(TargetOffset(12)), "somebody who had been fenced");
        log[3] = batch(LATER, 5, -1, 12, 1);
        log.push(batch(Producer { id: -1, epoch: -1 }, 5, -1, 13, 1));
        assert_eq!(judge(&log), Judged::Unprovable(TargetOffset(13)));
    }

    #[test]
    fn what_lies_over_a_marker_or_was_written_later_does_not_agree() {
        // The first epoch's records go on where the second one's marker was.
        let mut log = Vec::from([begin()[0], batch(FIRST, 4, 0, 1, 9)]);
        log.push(batch(FIRST, 4, 9, 10, 3));
        assert_eq!(judge(&log), Judged::Unprovable(TargetOffset(10)));
        // Before anything of ours, but after the loss.
        let foreign = batch(Producer { id: -1, epoch: -1 }, 5, 0, 0, 1);
        assert_eq!(judge(&[foreign]), Judged::Unprovable(TargetOffset(0)));
        // Behind a marker in the place of a record.
        let mut log = begin();
        log.extend([batch(SECOND, 4, 0, 12, 5), batch(LATER, 5, -1, 17, 1), batch(SECOND, 4, 6, 18, 2)]);
        assert_eq!(judge(&log), Judged::Unprovable(TargetOffset(18)));
    }

    #[test]
    fn a_window_is_read_anew_from_its_begin() {
        let mut search = Search::new(TargetOffset(1_000));
        search.take(&batch(SECOND, 7, 0, 960, 10));
        assert_eq!((search.next_read, search.read_epoch), (TargetOffset(970), 7));
        search.again(TargetOffset(500));
        assert_eq!((search.from(), search.next_read, search.read_epoch), (TargetOffset(436), TargetOffset(436), -1));
        search.again(TargetOffset(900));
        assert_eq!(search.from(), TargetOffset(436), "the end does not come back");
    }

    #[test]
    fn a_batch_that_was_sent_again_in_its_place_is_left() {
        let mut log = begin();
        log.push(batch(SECOND, 5, 0, 12, 20));
        assert_eq!(judge(&log), cut(131, 32, Some((SECOND, 20))));
    }

    #[test]
    fn a_window_without_records_is_too_small() {
        let mut search = Search::new(TargetOffset(1_000));
        search.take(&batch(LATER, 5, -1, 990, 1));
        assert_eq!(search.judge(&known(), |id| id == 9), Judged::Wider);
        search.widen();
        assert_eq!(search.from(), TargetOffset(1_000 - 256));
    }

    #[test]
    fn what_retention_took_may_have_been_lost_before() {
        let mut search = Search::new(TargetOffset(32));
        search.log_starts(TargetOffset(20));
        search.take(&batch(LATER, 5, -1, 20, 1));
        assert_eq!(search.judge(&known(), |id| id == 9), Judged::Unprovable(TargetOffset(20)));
    }

    #[test]
    fn a_batch_over_the_windows_begin_counts_as_far_as_it_lies_in_it() {
        let mut search = Search::new(TargetOffset(32));
        search.log_starts(TargetOffset(14));
        search.take(&batch(SECOND, 4, 0, 12, 5));
        assert_eq!(search.judge(&known(), |id| id == 9), cut(116, 17, Some((SECOND, 5))));
    }
}
