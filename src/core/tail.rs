//! Reading the tail of a mirror: which source records its last batches are, by producer id and sequence.
//!
//! The owner reads up to its own marker, after which nothing of a former owner can come. A reader without ownership
//! (`translate`, `status`) reads up to the high watermark. The log end is never taken for a length.

use twinlog_wire::batch::BatchMeta;

use crate::ids::{Producer, SourceOffset, TargetOffset};
use crate::offset_map::{Extent, OffsetMap, Range};
use crate::plans::Plans;

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
}

impl Tail {
    /// Takes the next batch of the target's log. `own_id` is the lane's present producer id.
    pub fn take(&mut self, plans: &Plans, own_id: i64, batch: &BatchMeta) -> Found {
        let base = TargetOffset(batch.base_offset);
        if TargetOffset(batch.last_offset()) < self.next_read {
            return Found::Before;
        }
        let end = TargetOffset(batch.next_offset());
        let producer = Producer { id: batch.producer_id, epoch: batch.producer_epoch };
        if producer.id < 0 || (producer.id != own_id && !plans.knows_producer_id(producer.id)) {
            return Found::Foreign(base);
        }
        if batch.is_control() {
            self.next_read = end;
            self.extent.next_target = end;
            return Found::Marker(producer);
        }
        // The target's cleaner keeps the span of offsets and the base sequence when it takes records out of a batch.
        let span = end.since(base);
        let Some(pieces) = plans.pieces(producer, batch.base_sequence, span) else {
            return Found::Foreign(base);
        };
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
        Found::Own
    }

    /// The source position to go on from.
    pub fn position(&self) -> SourceOffset {
        self.extent.synced
    }
}
