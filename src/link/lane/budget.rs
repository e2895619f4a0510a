//! The bytes that a lane holds: batches by slot, the frames that they are slices of, and the budget.
//!
//! A slice keeps its whole frame in memory, so frames are what is counted, until their last slice is released. A slice
//! that stays long is copied out of a frame that is otherwise free: the one copy that the lane makes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use slab::Slab;
use twinlog_core::batch::{Repacked, Run, Slot};
use twinlog_core::config::Timestamps;
use twinlog_core::ids::SourceOffset;
use twinlog_wire::batch::split_head;
use twinlog_wire::repack::Repack;

use super::Parts;

/// A batch that is opened may grow to this many bytes.
const UNPACKED_BYTES_MAX: usize = 256 << 20;

/// A slice that is older than this may be copied out of its frame.
const SLOW_MS: u64 = 1_000;

struct Held {
    slot: Slot,
    batch: Batch,
    frame: usize,
    since_ms: u64,
}

enum Batch {
    Whole(Bytes),
    Repacked(Box<Parts>),
}

struct Frame {
    bytes: u64,
    slices: u32,
    slice_bytes: u64,
}

/// The bytes of frames that each lane may hold. The lanes of an instance that copy something have it together, in equal
/// parts.
#[derive(Clone, Debug)]
pub(crate) struct Share(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    budget_bytes: AtomicU64,
    /// Lanes that copy something.
    lanes: AtomicU64,
}

impl Share {
    /// Of a budget that nobody uses.
    pub(crate) fn of(budget_bytes: u64) -> Self {
        Self(Arc::new(Shared { budget_bytes: AtomicU64::new(budget_bytes), lanes: AtomicU64::new(0) }))
    }

    /// Another budget from now on. What is held above it is let go of as it is released.
    pub(crate) fn resize(&self, budget_bytes: u64) {
        self.0.budget_bytes.store(budget_bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.budget_bytes.load(Ordering::Relaxed) / self.0.lanes.load(Ordering::Relaxed).max(1)
    }
}

/// A lane's part of the budget.
struct Part {
    share: Share,
    is_taken: bool,
}

impl Part {
    fn set(&mut self, taken: bool) {
        match (std::mem::replace(&mut self.is_taken, taken), taken) {
            (false, true) => self.share.0.lanes.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.share.0.lanes.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// The batches of a lane and their frames.
pub(super) struct Slots {
    part: Part,
    timestamps: Timestamps,
    used: u64,
    reserved: u64,
    /// Counts the batches, so that each has a slot of its own, whichever place it takes.
    count: u32,
    held: Slab<Held>,
    frames: Slab<Frame>,
    largest_batch: u64,
    unpin_at: u64,
}

impl Slots {
    pub(super) fn new(share: Share, timestamps: Timestamps) -> Self {
        Self {
            part: Part { share, is_taken: false },
            timestamps,
            used: 0,
            reserved: 0,
            count: 0,
            held: Slab::new(),
            frames: Slab::new(),
            largest_batch: 0,
            unpin_at: 0,
        }
    }

    /// Whether the lane copies something: only then it has a part of the budget.
    pub(super) fn take_part(&mut self, copies: bool) {
        self.part.set(copies);
    }

    /// Reserves up to `wanted` bytes for an answer; none if too little is left to be worth it. With nothing held there
    /// is always room: one batch may be larger than the budget.
    pub(super) fn reserve(&mut self, wanted: u64) -> Option<u64> {
        let left = self.part.share.bytes().saturating_sub(self.used + self.reserved);
        let grant = wanted.min(left);
        if grant < wanted.min(self.part.share.bytes() / 4) && self.used + self.reserved > 0 {
            return None;
        }
        let grant = grant.max(1);
        self.reserved += grant;
        Some(grant)
    }

    /// Gives a reservation back.
    pub(super) fn unreserve(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// A frame came; its slices are added next, then [`Slots::frame_done`] is called.
    pub(super) fn frame(&mut self, bytes: u64) -> usize {
        self.used += bytes;
        self.frames.insert(Frame { bytes, slices: 0, slice_bytes: 0 })
    }

    /// Holds a batch of a frame.
    pub(super) fn hold(&mut self, frame: usize, batch: Bytes, now_ms: u64) -> Slot {
        let entry = self.held.vacant_entry();
        self.count = self.count.wrapping_add(1);
        let slot = Slot(u64::from(self.count) << 32 | entry.key() as u64);
        self.largest_batch = self.largest_batch.max(batch.len() as u64);
        if let Some(frame) = self.frames.get_mut(frame) {
            frame.slices += 1;
            frame.slice_bytes += batch.len() as u64;
        }
        entry.insert(Held { slot, batch: Batch::Whole(batch), frame, since_ms: now_ms });
        slot
    }

    fn get(&self, slot: Slot) -> Option<&Held> {
        self.held.get(place(slot)).filter(|held| held.slot == slot)
    }

    /// All slices of a frame are held: without any it is free at once.
    pub(super) fn frame_done(&mut self, frame: usize) {
        if self.frames.get(frame).is_some_and(|frame| frame.slices == 0) {
            self.free(frame);
        }
    }

    /// Lets a batch go.
    pub(super) fn release(&mut self, slot: Slot) {
        if self.get(slot).is_none() {
            return;
        }
        let held = self.held.remove(place(slot));
        let bytes = match &held.batch {
            Batch::Whole(batch) => batch.len() as u64,
            Batch::Repacked(_) => 0,
        };
        let Some(frame) = self.frames.get_mut(held.frame) else { return };
        frame.slices -= 1;
        frame.slice_bytes = frame.slice_bytes.saturating_sub(bytes);
        if frame.slices == 0 {
            self.free(held.frame);
        }
    }

    fn free(&mut self, frame: usize) {
        if let Some(frame) = self.frames.try_remove(frame) {
            self.used -= frame.bytes;
        }
    }

    /// Length of the largest batch that was ever held, in bytes.
    pub(super) fn largest_batch(&self) -> u64 {
        self.largest_batch
    }

    /// A batch in the parts that are sent.
    pub(super) fn parts(&self, slot: Slot) -> Option<Parts> {
        match &self.get(slot)?.batch {
            Batch::Whole(batch) => split_head(batch).ok().map(|(head, body)| Parts { head, body }),
            Batch::Repacked(parts) => Some(Parts::clone(parts)),
        }
    }

    /// Length of a batch in bytes.
    pub(super) fn len(&self, slot: Slot) -> usize {
        match self.get(slot).map(|held| &held.batch) {
            Some(Batch::Whole(batch)) => batch.len(),
            Some(Batch::Repacked(parts)) => parts.head.len() + parts.body.len(),
            None => 0,
        }
    }

    /// Opens a batch, leaves out what lies below `from` and gives the rest its timestamps. The new batch replaces it;
    /// what it keeps in memory is counted as its frame.
    pub(super) fn repack(&mut self, slot: Slot, from: SourceOffset) -> Result<Repacked, String> {
        let held = self.held.get_mut(place(slot)).filter(|held| held.slot == slot);
        let Some(held) = held else { return Err("its bytes are gone".to_owned()) };
        let Batch::Whole(batch) = &held.batch else { return Err("it was opened already".to_owned()) };
        let append_time = self.timestamps.append_time();
        let repack = Repack { min_offset: from.0, append_time, unpacked_bytes_max: UNPACKED_BYTES_MAX };
        let Some(new) = repack.apply(batch).map_err(|error| error.to_string())? else {
            return Ok(Repacked { bytes: 0, max_timestamp: -1, runs: Vec::new() });
        };
        let run =
            |run: &twinlog_wire::repack::Run| Run { start: SourceOffset(run.source_start), len: u64::from(run.count) };
        let repacked = Repacked {
            bytes: new.meta.len,
            max_timestamp: new.meta.max_timestamp,
            runs: new.runs.iter().map(run).collect(),
        };
        let old = batch.len() as u64;
        held.batch = Batch::Repacked(Box::new(Parts { head: new.head, body: new.body }));
        if let Some(frame) = self.frames.get_mut(held.frame) {
            frame.slice_bytes = frame.slice_bytes.saturating_sub(old);
        }
        Ok(repacked)
    }

    /// Copies slices that wait for long out of frames that are mostly free.
    pub(super) fn unpin_slow(&mut self, now_ms: u64) {
        if now_ms < self.unpin_at {
            return;
        }
        self.unpin_at = now_ms + SLOW_MS;
        let mut copied = Vec::new();
        for (place, held) in &mut self.held {
            let Batch::Whole(batch) = &mut held.batch else { continue };
            let Some(frame) = self.frames.get(held.frame) else { continue };
            if now_ms >= held.since_ms + SLOW_MS && frame.slice_bytes * 2 < frame.bytes {
                *batch = Bytes::copy_from_slice(batch);
                copied.push((place, batch.len() as u64));
            }
        }
        for (place, bytes) in copied {
            let own = self.frame(bytes);
            let Some(held) = self.held.get_mut(place) else { continue };
            let old = std::mem::replace(&mut held.frame, own);
            if let Some(frame) = self.frames.get_mut(own) {
                (frame.slices, frame.slice_bytes) = (1, bytes);
            }
            if let Some(frame) = self.frames.get_mut(old) {
                frame.slices -= 1;
                frame.slice_bytes = frame.slice_bytes.saturating_sub(bytes);
                if frame.slices == 0 {
                    self.free(old);
                }
            }
        }
    }
}

/// The place that a slot names: the lower half of its number.
fn place(slot: Slot) -> usize {
    (slot.0 & u64::from(u32::MAX)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_until_its_last_slice_is_released() {
        let mut slots = Slots::new(Share::of(1_000), Timestamps::Append);
        let frame = slots.frame(600);
        let (first, second) =
            (slots.hold(frame, Bytes::from_static(&[0; 200]), 0), slots.hold(frame, Bytes::from_static(&[0; 300]), 0));
        slots.frame_done(frame);
        assert_eq!(slots.reserve(400), Some(400));
        slots.unreserve(400);
        slots.release(first);
        assert_eq!(slots.used, 600);
        slots.release(second);
        assert_eq!(slots.used, 0);
    }

    #[test]
    fn lanes_that_copy_something_have_the_budget_in_equal_parts() {
        let share = Share::of(1_000);
        let mut lanes = [0; 3].map(|_| Slots::new(share.clone(), Timestamps::Append));
        assert_eq!(share.bytes(), 1_000);
        lanes.iter_mut().for_each(|lane| lane.take_part(true));
        lanes[0].take_part(true);
        assert_eq!(share.bytes(), 333);
        assert_eq!((lanes[0].reserve(400), lanes[1].reserve(300)), (Some(333), Some(300)));
        lanes[2].take_part(false);
        assert_eq!(share.bytes(), 500);
        assert_eq!(lanes[0].reserve(400), Some(167), "what is left of its part");
        drop(lanes);
        assert_eq!(share.bytes(), 1_000, "lanes that are gone have none");
        share.resize(300);
        assert_eq!(share.bytes(), 300);
    }

    #[test]
    fn a_batch_above_the_budget_is_let_in_alone() {
        let mut slots = Slots::new(Share::of(1_000), Timestamps::Append);
        let frame = slots.frame(5_000);
        let slot = slots.hold(frame, Bytes::from_static(&[0; 5_000]), 0);
        slots.frame_done(frame);
        assert_eq!(slots.reserve(800), None);
        slots.release(slot);
        assert_eq!(slots.reserve(800), Some(800));
    }

    #[test]
    fn a_slot_that_was_released_is_nobody_elses() {
        let mut slots = Slots::new(Share::of(1_000), Timestamps::Append);
        let frame = slots.frame(300);
        let first = slots.hold(frame, Bytes::from_static(&[0; 100]), 0);
        slots.release(first);
        let frame = slots.frame(200);
        let second = slots.hold(frame, Bytes::from_static(&[0; 200]), 0);
        assert_eq!((slots.held.len(), place(first)), (1, place(second)));
        slots.release(first);
        assert!(slots.parts(first).is_none() && slots.repack(first, SourceOffset(0)).is_err());
        assert_eq!((slots.len(first), slots.len(second)), (0, 200));
    }

    #[test]
    fn a_slow_slice_leaves_a_frame_that_is_mostly_free() {
        let mut slots = Slots::new(Share::of(10_000), Timestamps::Append);
        let frame = slots.frame(5_000);
        let slow = slots.hold(frame, Bytes::from_static(&[7; 100]), 0);
        let fast = slots.hold(frame, Bytes::from_static(&[0; 4_900]), 0);
        slots.frame_done(frame);
        slots.release(fast);
        slots.unpin_slow(SLOW_MS - 1);
        assert_eq!(slots.used, 5_000);
        slots.unpin_slow(3 * SLOW_MS);
        assert_eq!(slots.used, 100);
        assert_eq!(slots.len(slow), 100);
        slots.release(slow);
        assert_eq!(slots.used, 0);
    }
}
