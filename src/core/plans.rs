//! The plans of one partition: which source offset each of our sequences stands for.
//!
//! A batch on the target names no source offset. It does carry our producer id, epoch and sequence, and the plan that
//! was acknowledged before it was sent says which source offset that sequence stands for. So the target's own log
//! tells how far the copy is, without the source.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::ids::{Producer, SourceOffset, TargetOffset};
use crate::map_record::Plan;
use crate::sequence;

/// The plans that can still be needed, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plans {
    cursor: Option<Plan>,
    later: Vec<(u64, Plan)>,
    /// Producer ids of the lanes that the partition was in before.
    earlier: Vec<i64>,
}

/// A stretch of one target batch that stands for consecutive source offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Source offset of the first record.
    pub source_start: SourceOffset,
    /// Number of records.
    pub len: u64,
    /// Leader epoch of the source when they were written.
    pub leader_epoch: i32,
}

impl Plans {
    /// The plan as of the last head that was written.
    pub fn cursor(&self) -> Option<Plan> {
        self.cursor
    }

    /// Plans that were made after the cursor, with the number of the record that holds each.
    pub fn later(&self) -> &[(u64, Plan)] {
        &self.later
    }

    /// Producer ids of the lanes that the partition was in before: markers of theirs may still come.
    pub fn earlier(&self) -> &[i64] {
        &self.earlier
    }

    /// Sets them.
    pub fn set_earlier(&mut self, ids: Vec<i64>) {
        self.earlier = ids;
    }

    /// Adds a plan of record `number`. It makes those void that it plans anew: the same source offsets, or the same
    /// sequences. The numbers of the void ones are returned.
    pub fn push(&mut self, number: u64, plan: Plan) -> Vec<u64> {
        let void = |old: &Plan| {
            old.source_start >= plan.source_start
                || (old.producer == plan.producer && sequence::ahead(plan.sequence, old.sequence).is_some())
        };
        // Later plans have later source offsets, so what is void is at the end.
        let mut gone = Vec::new();
        while let Some((number, _)) = self.later.pop_if(|(_, old)| void(old)) {
            gone.push(number);
        }
        self.later.push((number, plan));
        gone
    }

    /// Sets the cursor of a head; plans that it covers go. Their numbers are returned.
    ///
    /// Only plans of records below `before` can be covered: those that stand before the head in the map's log. One of
    /// them that has another producer was made by a former owner or before a new fence: the head was written with
    /// knowledge of all that it led to.
    pub fn set_cursor(&mut self, cursor: Option<Plan>, before: u64) -> Vec<u64> {
        self.cursor = cursor;
        let needed = |number: u64, plan: &Plan| {
            number >= before
                || cursor.is_some_and(|cursor| {
                    plan.producer == cursor.producer
                        && sequence::ahead(cursor.sequence, plan.sequence).is_some()
                        && *plan != cursor
                })
        };
        let covered = self.later.iter().filter(|(number, plan)| !needed(*number, plan));
        let gone = covered.map(|(number, _)| *number).collect();
        self.later.retain(|(number, plan)| needed(*number, plan));
        gone
    }

    fn newest_first(&self) -> impl Iterator<Item = &Plan> {
        self.later.iter().rev().map(|(_, plan)| plan).chain(self.cursor.as_ref())
    }

    /// The plan that a sequence of `producer` falls under.
    pub fn find(&self, producer: Producer, sequence: i32) -> Option<&Plan> {
        self.newest_first().find(|plan| plan.producer == producer && sequence::ahead(plan.sequence, sequence).is_some())
    }

    /// The target offset that a sequence was to get, at the least, where `markers` says how many markers stand from an
    /// offset on: they take room that was not planned.
    pub fn target_of(
        &self,
        producer: Producer,
        sequence: i32,
        markers: impl Fn(TargetOffset) -> u64,
    ) -> Option<TargetOffset> {
        let plan = self.find(producer, sequence)?;
        let ahead = sequence::ahead(plan.sequence, sequence)?;
        // Before its first record nothing need have stood: then they only push it on.
        let pushed = if ahead > 0 { markers(plan.target_start) } else { 0 };
        Some(plan.target_start.plus(ahead + pushed))
    }

    /// Which source offsets `count` records from `sequence` on stand for; `None` if one of them was never planned.
    pub fn pieces(&self, producer: Producer, sequence: i32, count: u64) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < count {
            let at = sequence::advance(sequence, done);
            let plan = self.find(producer, at)?;
            let into = sequence::ahead(plan.sequence, at)?;
            let next_plan = self
                .newest_first()
                .filter(|other| other.producer == producer)
                .filter_map(|other| sequence::ahead(at, other.sequence))
                .filter(|distance| *distance > 0)
                .min()
                .unwrap_or(u64::MAX);
            let len = next_plan.min(count - done);
            pieces.push(Piece { source_start: plan.source_start.plus(into), len, leader_epoch: plan.leader_epoch });
            done += len;
        }
        Some(pieces)
    }

    /// Whether a producer id is one of ours: the lane or an earlier one of the partition had it, or a plan was made for
    /// it.
    pub fn is_own(&self, own_ids: &BTreeSet<i64>, id: i64) -> bool {
        own_ids.contains(&id) || self.earlier.contains(&id) || self.newest_first().any(|plan| plan.producer.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const FIRST: Producer = Producer { id: 9, epoch: 1 };
    const SECOND: Producer = Producer { id: 9, epoch: 2 };

    fn plan(producer: Producer, sequence: i32, source: i64) -> Plan {
        let target_start = TargetOffset(source);
        Plan { producer, sequence, source_start: SourceOffset(source), target_start, leader_epoch: 0 }
    }

    fn spans(pieces: Option<Vec<Piece>>) -> Option<Vec<(i64, u64)>> {
        pieces.map(|pieces| pieces.iter().map(|piece| (piece.source_start.0, piece.len)).collect())
    }

    #[test]
    fn a_batch_over_several_plans_is_cut_at_each() {
        let mut plans = Plans::default();
        plans.push(1, plan(FIRST, 0, 100));
        plans.push(2, plan(FIRST, 10, 200));
        plans.push(2, plan(FIRST, 12, 300));
        assert_eq!(spans(plans.pieces(FIRST, 8, 6)), Some(vec![(108, 2), (200, 2), (300, 2)]));
        assert_eq!(spans(plans.pieces(SECOND, 8, 6)), None);
    }

    #[test]
    fn sequences_wrap() {
        let mut plans = Plans::default();
        plans.push(1, plan(FIRST, i32::MAX - 1, 100));
        plans.push(2, plan(FIRST, 1, 500));
        assert_eq!(spans(plans.pieces(FIRST, i32::MAX, 4)), Some(vec![(101, 2), (500, 2)]));
    }

    #[test]
    fn a_new_epoch_voids_what_it_plans_anew() {
        let mut plans = Plans::default();
        plans.push(1, plan(FIRST, 0, 100));
        plans.push(2, plan(FIRST, 10, 200));
        assert_eq!(plans.push(3, plan(SECOND, 0, 150)), vec![2]);
        assert_eq!(spans(plans.pieces(FIRST, 9, 1)), Some(vec![(109, 1)]));
        assert_eq!(spans(plans.pieces(SECOND, 3, 1)), Some(vec![(153, 1)]));
    }

    #[test]
    fn the_same_sequence_planned_again_counts_by_its_last_plan() {
        let mut plans = Plans::default();
        plans.push(1, plan(FIRST, 0, 100));
        plans.push(2, plan(FIRST, 10, 200));
        assert_eq!(plans.push(3, plan(FIRST, 10, 900)), vec![2]);
        assert_eq!(spans(plans.pieces(FIRST, 9, 2)), Some(vec![(109, 1), (900, 1)]));
    }

    #[test]
    fn a_head_covers_plans_up_to_its_cursor() {
        let mut plans = Plans::default();
        plans.push(1, plan(FIRST, 0, 100));
        plans.push(2, plan(FIRST, 10, 200));
        plans.push(3, plan(FIRST, 20, 300));
        // The plan at the cursor's own sequence but another offset has not begun: it is still needed.
        assert_eq!(plans.set_cursor(Some(plan(FIRST, 20, 210)), u64::MAX), vec![1, 2]);
        assert_eq!(spans(plans.pieces(FIRST, 20, 1)), Some(vec![(300, 1)]));
        assert_eq!(plans.set_cursor(Some(plan(SECOND, 0, 320)), u64::MAX), vec![3]);
        assert_eq!(plans.later(), &[]);
    }

    #[test]
    fn a_head_does_not_cover_what_was_planned_after_it() {
        let mut plans = Plans::default();
        plans.push(1, plan(FIRST, 0, 100));
        plans.push(2, plan(SECOND, 0, 105));
        assert_eq!(plans.set_cursor(Some(plan(FIRST, 5, 105)), 2), vec![1]);
        assert_eq!(spans(plans.pieces(SECOND, 0, 1)), Some(vec![(105, 1)]));
    }
}
