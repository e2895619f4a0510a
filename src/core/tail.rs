//! Reading the tail of a mirror: which source records its last batches are, by producer id and sequence.
//!
//! The owner reads up to its own marker, after which nothing of a former owner can come. A reader without ownership
//! (`translate`, `status`) reads up to the high watermark. The log end is never taken for a length.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use twinlog_wire::batch::BatchMeta;

use crate::ids::{Producer, SourceOffset, TargetOffset};
use crate::map_record::Plan;
use crate::offset_map::{Extent, OffsetMap, Range};
use crate::plans::Plans;
use crate::sequence;

/// A position in the tail, and what was found up to there.
#[derive(Clone, Debug)]
pub struct Tail {
    /// The map up to the position: own batches are appended.
    pub map: OffsetMap,
    /// Both positions behind the last own batch.
    pub extent: Extent,
    /// Leader epoch of the source's batch before `extent.synced`, or -1.
    pub leader_epoch: i32,
    /// The next target offset to read.
    pub next_read: TargetOffset,
    /// The target's leader epoch of the batch before `next_read`, or -1.
    pub read_epoch: i32,
    /// What the next batch of this producer must follow: its sequence and its offset.
    follows: Option<(Producer, i32, TargetOffset)>,
    /// Where markers stand.
    markers: Vec<TargetOffset>,
    /// The target's log starts behind `extent`, and no batch of ours was found since.
    trimmed: bool,
}

/// What a batch of the target turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Before the position: already counted.
    Before,
    /// Records of ours.
    Own,
    /// A marker of ours.
    Marker(Producer),
    /// Somebody else's, or one of ours that was never planned.
    Foreign(TargetOffset),
    /// Ours, at a lower offset than its plan says: the log had lost its end when it was written.
    Behind {
        /// Where it was to be: the log had reached this.
        acknowledged: TargetOffset,
        /// Where it is.
        found: TargetOffset,
    },
}

impl Tail {
    /// What follows `extent`. The cursor, if there is one, is the plan of the record that was to come there.
    pub fn new(map: OffsetMap, extent: Extent, leader_epoch: i32, cursor: Option<Plan>) -> Self {
        let follows = cursor.map(|cursor| (cursor.producer, cursor.sequence, extent.next_target));
        Self {
            map,
            extent,
            leader_epoch,
            next_read: extent.next_target,
            read_epoch: -1,
            follows,
            markers: Vec::new(),
            trimmed: false,
        }
    }

    /// The log starts here, behind what was to be read.
    pub fn skip_to(&mut self, start: TargetOffset) {
        self.next_read = start;
        self.read_epoch = -1;
        if start > self.extent.next_target {
            self.extent.next_target = start;
            self.follows = None;
            self.trimmed = true;
        }
    }

    /// Whether it cannot be known how far the copy is: its last records are gone from the log.
    pub fn is_trimmed(&self) -> bool {
        self.trimmed
    }

    /// Takes the next batch of the target's log. `own_ids` are the producer ids that the lane ever had.
    pub fn take(&mut self, plans: &Plans, own_ids: &BTreeSet<i64>, batch: &BatchMeta) -> Found {
        let base = TargetOffset(batch.base_offset);
        if TargetOffset(batch.last_offset()) < self.next_read {
            return Found::Before;
        }
        let end = TargetOffset(batch.next_offset());
        let producer = Producer::of(batch);
        if producer.id < 0 || !plans.is_own(own_ids, producer.id) {
            return Found::Foreign(base);
        }
        let before = self.follows.filter(|(before, ..)| *before == producer);
        if batch.is_control() {
            // Whoever it is of, also of a lane that the partition was in before: what follows comes that much later.
            self.markers.push(base);
            let follows = self.follows.map(|(producer, sequence, at)| (producer, sequence, at.plus(end.since(base))));
            self.follows = follows;
            self.next_read = end;
            self.extent.next_target = end;
            return Found::Marker(producer);
        }
        // The target's cleaner keeps the span of offsets and the base sequence when it takes records out of a batch.
        let span = end.since(base);
        let Some(pieces) = plans.pieces(producer, batch.base_sequence, span) else {
            return Found::Foreign(base);
        };
        // Within an epoch sequences and offsets grow alike, also where the target's cleaner took batches out; at its
        // begin the plan says where it was to be. A lower offset is one at which acknowledged records were lost, after
        // which a broker that had forgotten us took more.
        let (due, in_place) = match before {
            Some((_, sequence, offset)) => {
                let due = sequence::ahead(sequence, batch.base_sequence).map(|records| offset.plus(records));
                (due, due == Some(base))
            }
            None => {
                let from = |start: TargetOffset| self.markers.iter().filter(|marker| **marker >= start).count() as u64;
                let due = plans.target_of(producer, batch.base_sequence, from);
                (due, due.is_none_or(|due| due <= base))
            }
        };
        if !in_place {
            return Found::Behind { acknowledged: due.unwrap_or(base).max(base), found: base };
        }
        self.follows = Some((producer, sequence::advance(batch.base_sequence, span), end));
        let mut target_start = base;
        for piece in pieces {
            let range = Range { source_start: piece.source_start, target_start, len: piece.len };
            if self.map.append(range).is_err() {
                return Found::Foreign(base);
            }
            target_start = range.target_end();
            self.extent.synced = self.extent.synced.max(range.source_end());
            self.leader_epoch = piece.leader_epoch;
        }
        self.next_read = end;
        self.extent.next_target = end;
        self.trimmed = false;
        Found::Own
    }

    /// Goes past a batch that is not ours, and whose place in the log is accepted.
    pub fn pass(&mut self, batch: &BatchMeta) {
        self.next_read = TargetOffset(batch.next_offset());
        self.extent.next_target = self.next_read;
        self.follows = None;
    }

    /// The source position to go on from.
    pub fn position(&self) -> SourceOffset {
        self.extent.synced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Producer = Producer { id: 9, epoch: 4 };
    const NEXT: Producer = Producer { id: 9, epoch: 5 };
    const IDS: [i64; 2] = [7, 9];

    fn plan(producer: Producer, sequence: i32, source: i64, target: i64) -> Plan {
        let (source_start, target_start) = (SourceOffset(source), TargetOffset(target));
        Plan { producer, sequence, source_start, target_start, leader_epoch: 0 }
    }

    fn batch(producer: Producer, sequence: i32, base: i64, records: i32) -> BatchMeta {
        crate::batch::testing::batch(producer, 0, sequence, base, records)
    }

    /// The map knows 100 records, the next one goes to target offset 101.
    fn tail() -> (Tail, Plans) {
        let mut plans = Plans::default();
        plans.set_cursor(Some(plan(OWN, 100, 500, 101)), 0);
        plans.push(0, plan(NEXT, 0, 506, 108));
        let extent = Extent { synced: SourceOffset(500), next_target: TargetOffset(101) };
        (Tail::new(OffsetMap::new(), extent, 0, plans.cursor()), plans)
    }

    #[test]
    fn batches_and_markers_in_their_places_are_ours() {
        let (mut tail, plans) = tail();
        assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(OWN, 100, 101, 6)), Found::Own);
        assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(NEXT, -1, 107, 1)), Found::Marker(NEXT));
        assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(NEXT, 0, 108, 2)), Found::Own);
        assert_eq!(tail.extent, Extent { synced: SourceOffset(508), next_target: TargetOffset(110) });
    }

    #[test]
    fn a_marker_of_an_earlier_lane_moves_what_follows() {
        let (mut tail, mut plans) = tail();
        plans.set_earlier(alloc::vec![7]);
        assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(OWN, 100, 101, 2)), Found::Own);
        let late = Producer { id: 7, epoch: 1 };
        assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(late, -1, 103, 1)), Found::Marker(late));
        assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(OWN, 102, 104, 2)), Found::Own);
        assert_eq!(tail.extent, Extent { synced: SourceOffset(504), next_target: TargetOffset(106) });
    }

    #[test]
    fn every_id_that_the_lane_had_is_ours() {
        let (mut tail, plans) = tail();
        let (former, foreign) = (Producer { id: 7, epoch: 30 }, Producer { id: 8, epoch: 0 });
        assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(former, -1, 101, 1)), Found::Marker(former));
        let found = tail.take(&plans, &BTreeSet::from(IDS), &batch(foreign, -1, 102, 1));
        assert_eq!(found, Found::Foreign(TargetOffset(102)));
    }

    #[test]
    fn the_first_id_that_a_cluster_hands_out_is_one_and_none_is_not() {
        let (mut tail, plans) = tail();
        let first = Producer { id: 0, epoch: 0 };
        assert_eq!(tail.take(&plans, &BTreeSet::from([0]), &batch(first, -1, 101, 1)), Found::Marker(first));
        let nobody = Producer { id: -1, epoch: -1 };
        let found = tail.take(&plans, &BTreeSet::from([-1]), &batch(nobody, 0, 102, 1));
        assert_eq!(found, Found::Foreign(TargetOffset(102)));
    }

    #[test]
    fn a_batch_where_acknowledged_ones_were_is_named() {
        // Six records and the marker were lost, and what a new epoch wrote then stands in their place.
        let (mut tail, plans) = tail();
        let behind = Found::Behind { acknowledged: TargetOffset(108), found: TargetOffset(101) };
        assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(NEXT, 0, 101, 2)), behind);
    }

    #[test]
    fn markers_take_room_that_was_not_planned() {
        // Of the new epoch the first record was to come behind one marker, and there are three.
        let (mut tail, plans) = tail();
        assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(OWN, 100, 101, 6)), Found::Own);
        for at in [107, 108, 109] {
            assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(NEXT, -1, at, 1)), Found::Marker(NEXT));
        }
        let behind = Found::Behind { acknowledged: TargetOffset(111), found: TargetOffset(110) };
        assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(NEXT, 1, 110, 1)), behind);
    }

    #[test]
    fn sequences_that_jump_further_than_offsets_are_named() {
        let (mut tail, plans) = tail();
        assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(OWN, 100, 101, 2)), Found::Own);
        let behind = Found::Behind { acknowledged: TargetOffset(105), found: TargetOffset(103) };
        assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(OWN, 104, 103, 2)), behind);
    }

    #[test]
    fn a_trimmed_tail_tells_the_position_by_its_next_batch() {
        let (mut tail, plans) = tail();
        tail.skip_to(TargetOffset(104));
        assert!(tail.is_trimmed());
        assert_eq!(tail.take(&plans, &BTreeSet::from(IDS), &batch(OWN, 103, 104, 3)), Found::Own);
        assert_eq!((tail.is_trimmed(), tail.position()), (false, SourceOffset(506)));
    }
}
