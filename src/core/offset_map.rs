//! The offset map of one partition: ranges of equal difference between source and target offsets.

use alloc::vec::Vec;

use crate::ids::{SourceOffset, TargetOffset};

/// A run of records whose source and target offsets differ by one constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Source offset of the first record.
    pub source_start: SourceOffset,
    /// Target offset of the first record.
    pub target_start: TargetOffset,
    /// Number of records, at least 1.
    pub len: u64,
}

impl Range {
    /// The source offset after the last record.
    pub fn source_end(&self) -> SourceOffset {
        self.source_start.plus(self.len)
    }

    /// The target offset after the last record.
    pub fn target_end(&self) -> TargetOffset {
        self.target_start.plus(self.len)
    }
}

/// Ranges that are strictly increasing in both offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetMap {
    /// The last range that was taken out because its records are on neither side any more.
    pruned: Option<Range>,
    ranges: Vec<Range>,
}

/// Where both logs of a partition start, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStarts {
    /// The source's log start.
    pub source: SourceOffset,
    /// The target's log start.
    pub target: TargetOffset,
}

impl LogStarts {
    /// Whether nothing of the range is left on either side.
    pub fn are_behind(&self, range: &Range) -> bool {
        range.source_end() <= self.source && range.target_end() <= self.target
    }
}

/// A range that would go back in one of the offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotIncreasing {
    /// What is in the map.
    pub last: Range,
    /// What was to be appended.
    pub next: Range,
}

/// Where a position of one side lies on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation<T, S> {
    /// The record at the position is this one.
    Exact(T),
    /// The record at the position is not on the other side (a marker, aborted, compacted away): the next one that is.
    Next(T),
    /// Nothing follows yet: the position that the next record will get.
    End(T),
    /// The record is no longer on the other side: its log starts here.
    Clamped(T),
    /// Not on the other side yet: everything before this position is.
    NotYet(S),
}

/// How far a copy is: both positions belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The source position up to which everything is on the target.
    pub synced: SourceOffset,
    /// The target position that the next record will get.
    pub next_target: TargetOffset,
}

impl OffsetMap {
    /// An empty map.
    pub const fn new() -> Self {
        Self { pruned: None, ranges: Vec::new() }
    }

    /// A map whose older ranges, up to this one, were taken out.
    pub const fn behind(pruned: Option<Range>) -> Self {
        Self { pruned, ranges: Vec::new() }
    }

    /// The last range that was taken out.
    pub fn pruned(&self) -> Option<Range> {
        self.pruned
    }

    /// Notes that all ranges up to this one, which is not in here, were taken out.
    pub fn set_pruned(&mut self, pruned: Range) {
        self.pruned = Some(pruned);
    }

    /// Takes out the ranges that nothing is left of on either side.
    pub fn prune(&mut self, starts: LogStarts) {
        let gone = self.ranges.partition_point(|range| starts.are_behind(range));
        self.pruned = self.ranges.drain(..gone).next_back().or(self.pruned);
    }

    /// All ranges, in order.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Appends records; they extend the last range where they continue it on both sides.
    pub fn append(&mut self, next: Range) -> Result<(), NotIncreasing> {
        if next.len == 0 {
            return Ok(());
        }
        if let Some(last) = self.ranges.last().copied().or(self.pruned)
            && (next.source_start < last.source_end() || next.target_start < last.target_end())
        {
            return Err(NotIncreasing { last, next });
        }
        if let Some(last) = self.ranges.last_mut()
            && next.source_start == last.source_end()
            && next.target_start == last.target_end()
        {
            last.len += next.len;
            return Ok(());
        }
        self.ranges.push(next);
        Ok(())
    }

    /// Appends ranges up to the first that goes back: such ones cannot have been written by this code.
    pub fn extend(&mut self, ranges: impl IntoIterator<Item = Range>) {
        for range in ranges {
            if self.append(range).is_err() {
                return;
            }
        }
    }

    /// Takes the oldest `count` ranges out.
    pub fn split_oldest(&mut self, count: usize) -> Vec<Range> {
        let count = count.min(self.ranges.len());
        self.ranges.drain(..count).collect()
    }

    /// The target position for a source position.
    pub fn translate(
        &self,
        position: SourceOffset,
        extent: Extent,
        target_log_start: TargetOffset,
    ) -> Translation<TargetOffset, SourceOffset> {
        if position > extent.synced {
            return Translation::NotYet(extent.synced);
        }
        if let Some(pruned) = self.pruned.filter(|pruned| position < pruned.source_end()) {
            return Translation::Clamped(target_log_start.max(pruned.target_end()));
        }
        match self.find(position.0, |range| (range.source_start.0, range.target_start.0)) {
            Found::Inside(at) => clamped(Translation::Exact, TargetOffset(at), target_log_start),
            Found::Before(at) => clamped(Translation::Next, TargetOffset(at), target_log_start),
            Found::Behind => clamped(Translation::End, extent.next_target, target_log_start),
        }
    }

    /// The source position for a target position.
    pub fn translate_back(
        &self,
        position: TargetOffset,
        extent: Extent,
        source_log_start: SourceOffset,
    ) -> Translation<SourceOffset, TargetOffset> {
        if position > extent.next_target {
            return Translation::NotYet(extent.next_target);
        }
        if let Some(pruned) = self.pruned.filter(|pruned| position < pruned.target_end()) {
            return Translation::Clamped(source_log_start.max(pruned.source_end()));
        }
        match self.find(position.0, |range| (range.target_start.0, range.source_start.0)) {
            Found::Inside(at) => clamped(Translation::Exact, SourceOffset(at), source_log_start),
            Found::Before(at) => clamped(Translation::Next, SourceOffset(at), source_log_start),
            Found::Behind => clamped(Translation::End, extent.synced, source_log_start),
        }
    }

    /// Where a position lies on the other side. `starts` gives a range's start on this side and on the other.
    fn find(&self, position: i64, starts: impl Fn(&Range) -> (i64, i64)) -> Found {
        let following = self.ranges.partition_point(|range| starts(range).0 <= position);
        let before = following.checked_sub(1).and_then(|index| self.ranges.get(index));
        let into = before.map(|range| (position - starts(range).0, range));
        match into.filter(|(into, range)| into.unsigned_abs() < range.len) {
            Some((into, range)) => Found::Inside(starts(range).1 + into),
            None => self.ranges.get(following).map_or(Found::Behind, |next| Found::Before(starts(next).1)),
        }
    }
}

/// Where a position lies among the ranges, and the offset on the other side.
enum Found {
    /// In a range.
    Inside(i64),
    /// Before a range: that range's start.
    Before(i64),
    /// Behind all of them.
    Behind,
}

fn clamped<T: Ord, S>(kind: fn(T) -> Translation<T, S>, at: T, log_start: T) -> Translation<T, S> {
    if at < log_start { Translation::Clamped(log_start) } else { kind(at) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn range(source: i64, target: i64, len: u64) -> Range {
        Range { source_start: SourceOffset(source), target_start: TargetOffset(target), len }
    }

    fn sample() -> (OffsetMap, Extent) {
        let mut map = OffsetMap::new();
        for next in [range(10, 1, 5), range(15, 6, 5), range(22, 11, 3), range(25, 15, 1)] {
            map.append(next).unwrap();
        }
        (map, Extent { synced: SourceOffset(30), next_target: TargetOffset(16) })
    }

    #[test]
    fn records_that_continue_extend_the_last_range() {
        let (map, _) = sample();
        assert_eq!(map.ranges(), &vec![range(10, 1, 10), range(22, 11, 3), range(25, 15, 1)]);
    }

    #[test]
    fn a_range_that_goes_back_is_refused() {
        let (mut map, _) = sample();
        assert!(map.append(range(24, 20, 1)).is_err());
        assert!(map.append(range(40, 15, 1)).is_err());
    }

    #[test]
    fn translates_inside_gaps_end_and_beyond() {
        let (map, extent) = sample();
        let at = |position| map.translate(SourceOffset(position), extent, TargetOffset(0));
        assert_eq!(at(12), Translation::Exact(TargetOffset(3)));
        assert_eq!(at(20), Translation::Next(TargetOffset(11)));
        assert_eq!(at(3), Translation::Next(TargetOffset(1)));
        assert_eq!(at(24), Translation::Exact(TargetOffset(13)));
        assert_eq!(at(25), Translation::Exact(TargetOffset(15)));
        assert_eq!(at(26), Translation::End(TargetOffset(16)));
        assert_eq!(at(30), Translation::End(TargetOffset(16)));
        assert_eq!(at(31), Translation::NotYet(SourceOffset(30)));
        assert_eq!(map.translate(SourceOffset(12), extent, TargetOffset(8)), Translation::Clamped(TargetOffset(8)));
    }

    #[test]
    fn translates_back() {
        let (map, extent) = sample();
        let at = |position| map.translate_back(TargetOffset(position), extent, SourceOffset(0));
        assert_eq!(at(3), Translation::Exact(SourceOffset(12)));
        assert_eq!(at(14), Translation::Next(SourceOffset(25)));
        assert_eq!(at(0), Translation::Next(SourceOffset(10)));
        assert_eq!(at(16), Translation::End(SourceOffset(30)));
        assert_eq!(at(17), Translation::NotYet(TargetOffset(16)));
    }

    #[test]
    fn what_is_left_on_neither_side_is_pruned() {
        let (mut map, extent) = sample();
        let starts = |source, target| LogStarts { source: SourceOffset(source), target: TargetOffset(target) };
        map.prune(starts(24, 10));
        assert_eq!(map.pruned(), None, "the target's log still holds its last record");
        map.prune(starts(22, 12));
        assert_eq!((map.pruned(), map.ranges()[0]), (Some(range(10, 1, 10)), range(22, 11, 3)));
        map.prune(starts(22, 12));
        assert_eq!(map.pruned(), Some(range(10, 1, 10)), "what was pruned stays known");
        let at = |position, start| map.translate(SourceOffset(position), extent, TargetOffset(start));
        assert_eq!(at(12, 12), Translation::Clamped(TargetOffset(12)));
        assert_eq!(at(20, 12), Translation::Clamped(TargetOffset(12)));
        assert_eq!(at(24, 12), Translation::Exact(TargetOffset(13)));
        let back = |position| map.translate_back(TargetOffset(position), extent, SourceOffset(0));
        assert_eq!(back(3), Translation::Clamped(SourceOffset(20)), "also where the source is gone");
        assert_eq!(back(11), Translation::Exact(SourceOffset(22)), "right behind what is gone");
        let mut none = map.clone();
        none.prune(starts(99, 99));
        assert_eq!(none.ranges(), &[]);
        assert_eq!(none.translate(SourceOffset(26), extent, TargetOffset(16)), Translation::End(TargetOffset(16)));
    }

    #[test]
    fn a_map_is_put_together_of_what_was_taken_out_and_what_follows() {
        let mut map = OffsetMap::new();
        map.set_pruned(range(10, 1, 10));
        map.extend([range(22, 11, 3), range(25, 14, 2), range(9, 1, 1)]);
        assert_eq!((map.pruned(), map.ranges()), (Some(range(10, 1, 10)), &[range(22, 11, 5)][..]));
    }

    #[test]
    fn an_empty_partition_has_its_end() {
        let map = OffsetMap::new();
        let extent = Extent { synced: SourceOffset(500), next_target: TargetOffset(1) };
        assert_eq!(map.translate(SourceOffset(500), extent, TargetOffset(0)), Translation::End(TargetOffset(1)));
    }
}
