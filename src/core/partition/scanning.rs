//! A marker of ours, and the mirror's log read up to it: how far the copy is.

use alloc::vec::Vec;

use twinlog_wire::batch::BatchMeta;

use super::{Context, Need, Partition, Phase};
use crate::halt::Halt;
use crate::ids::{Now, Producer, TargetOffset};
use crate::io::{Event, Failure, Output, ReadResult};
use crate::map_record::Plan;
use crate::offset_map::LogStarts;
use crate::outbox::Outgoing;
use crate::sequence;
use crate::tail::{Found, Tail};

/// A marker that was not seen for so long, in ms, is written again.
pub(crate) const MARKER_WAIT_MS: u64 = 20_000;

impl Partition {
    /// Whether the lane's next transaction should take it along.
    pub fn wants_fence(&self, now: Now) -> bool {
        self.phase == Phase::Unfenced && self.offline().is_none() && self.wake_at.is_none_or(|at| at <= now.mono_ms)
    }

    /// Whether an older owner may still write to its mirror: it was fenced, or is about to be. Of one that was let go
    /// of all is answered, and a marker keeps older owners out.
    pub fn may_be_written_to(&self) -> bool {
        match &self.phase {
            Phase::Probing | Phase::Registering | Phase::Released => false,
            Phase::Unfenced
            | Phase::Fencing
            | Phase::Scanning { .. }
            | Phase::CuttingBack { .. }
            | Phase::Parting { .. }
            | Phase::Active => true,
            Phase::Halted(halt) => self.in_map && *halt != Halt::TargetRecreated,
        }
    }

    /// Its mirror may hold a marker of a newer epoch than it sends under.
    pub fn fence_anew(&mut self, context: &mut Context<'_>) {
        if self.phase == Phase::Active {
            self.phase = Phase::Unfenced;
            context.needs.push((context.id, Need::FenceAnew));
        }
    }

    /// It is in a transaction.
    pub fn fencing(&mut self, now: Now) {
        self.phase = Phase::Fencing;
        self.wake_at = None;
        self.fenced_ms = now.wall_ms;
    }

    /// The transaction was committed: the marker of this producer will come.
    pub fn fence_committed(&mut self, context: &mut Context<'_>, marker: Producer) {
        if self.phase != Phase::Fencing {
            return;
        }
        self.phase = Phase::Scanning { marker };
        self.attempt = 0;
        self.scanning_since = context.now.mono_ms;
        match &mut self.search {
            Some(search) => search.again(self.extent.next_target),
            None => self.begin_tail(),
        }
        self.read_on(context);
    }

    fn begin_tail(&mut self) {
        // What is right before the tail shows whether the log still is the one that was written to.
        let mut tail = Tail::new(self.map.clone(), self.extent, self.leader_epoch, self.anchor());
        if self.anchor().is_some() {
            tail.next_read = TargetOffset((self.extent.next_target.0 - 1).max(0));
        }
        self.tail = Some(tail);
    }

    /// Asks for the next part of the log.
    pub(super) fn read_on(&mut self, context: &mut Context<'_>) {
        let next = match (&self.search, &self.tail) {
            (Some(search), _) => (search.next_read, search.read_epoch),
            (None, Some(tail)) => (tail.next_read, tail.read_epoch),
            (None, None) => return,
        };
        let (from, epoch) = next;
        context.out.push_back(Output::ReadTarget { partition: context.id, from, epoch });
    }

    /// The marker is not there yet. After long it is written again: it may lie where the log was cut back.
    pub(super) fn await_marker(&mut self, context: &mut Context<'_>) {
        if context.now.mono_ms - self.scanning_since > MARKER_WAIT_MS {
            self.phase = Phase::Unfenced;
            context.needs.push((context.id, Need::Fence));
        } else {
            self.wait(context);
        }
    }

    /// The transaction did not take it along, or came to nothing.
    pub fn fence_failed(&mut self, context: &mut Context<'_>, failure: Option<Failure>) {
        if self.phase != Phase::Fencing {
            return;
        }
        self.phase = Phase::Unfenced;
        if let Some(failure) = failure {
            self.target_retrying(context, failure, "writing the marker");
            self.wait(context);
        }
        context.needs.push((context.id, Need::Fence));
    }

    /// A part of the tail was read.
    pub fn target_read(&mut self, context: &mut Context<'_>, from: TargetOffset, result: ReadResult<BatchMeta>) {
        let Phase::Scanning { marker } = self.phase else { return };
        if self.closing {
            return self.close(context, marker, from, result);
        }
        if self.search.is_some() {
            return self.searched(context, marker, from, result);
        }
        let Some(mut tail) = self.tail.take() else { return };
        if from != tail.next_read {
            self.tail = Some(tail);
            return;
        }
        match result {
            ReadResult::Entries { entries, next } => {
                for batch in &entries {
                    let expected = tail.next_read;
                    tail.read_epoch = batch.leader_epoch;
                    if TargetOffset(batch.base_offset) < self.extent.next_target {
                        if !self.is_anchor(batch) {
                            return self.search_for_the_end(context, self.extent.next_target);
                        }
                        tail.next_read = tail.next_read.max(TargetOffset(batch.next_offset()));
                        continue;
                    }
                    match tail.take(&self.plans, context.own_ids, batch) {
                        Found::Before | Found::Own => {}
                        Found::Marker(found) if found == marker => {
                            self.verified_epoch = batch.leader_epoch;
                            return self.scanned(context, marker, tail);
                        }
                        Found::Marker(_) => {}
                        Found::Foreign(_) if self.is_tolerant => tail.pass(batch),
                        Found::Foreign(found) => {
                            return self.halt(context, Halt::Diverged { expected, found });
                        }
                        Found::Behind { acknowledged, found } => {
                            return self.halt(context, Halt::TargetTruncated { acknowledged, found });
                        }
                    }
                }
                return self.read_further(context, tail, from, next);
            }
            ReadResult::OutOfRange { start, .. } if start > tail.next_read => {
                // The mirror's own retention took the tail: the sequences behind it tell the position.
                tail.skip_to(start);
                self.log_starts(LogStarts { target: start, ..self.starts });
                self.tail = Some(tail);
                return self.read_on(context);
            }
            ReadResult::OutOfRange { end, .. } if end < self.extent.next_target => {
                return self.search_for_the_end(context, end);
            }
            ReadResult::OutOfRange { end, .. } if end < tail.next_read => {
                // The log lost its end while it was read. What the map knows is there.
                self.begin_tail();
                return self.read_on(context);
            }
            ReadResult::OutOfRange { .. } => {
                // Inside the log after all: the epoch that we named may be older than the log's first.
                tail.read_epoch = -1;
                self.wait(context);
            }
            ReadResult::Failed(failure) => {
                self.target_retrying(context, failure, "reading the mirror's tail");
                self.wait(context);
            }
        }
        self.tail = Some(tail);
    }

    /// Behind what was read there may be more; where nothing came, the marker is awaited.
    pub(super) fn read_further(
        &mut self,
        context: &mut Context<'_>,
        mut tail: Tail,
        from: TargetOffset,
        next: TargetOffset,
    ) {
        tail.next_read = tail.next_read.max(next);
        let has_come = tail.next_read > from;
        self.tail = Some(tail);
        if has_come {
            self.attempt = 0;
            self.read_on(context);
        } else {
            self.await_marker(context);
        }
    }

    /// The sequence that follows what was acknowledged last, if anything was.
    pub(super) fn anchor(&self) -> Option<Plan> {
        if self.producer.is_some() { self.cursor() } else { self.plans.cursor() }
    }

    /// Right before the tail is what was acknowledged last: a batch of ours that ends with its sequence, or a marker of
    /// that epoch where the map has no record. Anything else was written after the log had lost its end.
    fn is_anchor(&self, batch: &BatchMeta) -> bool {
        let acknowledged = self.extent.next_target;
        let Some(anchor) = self.anchor() else { return true };
        let span = u64::try_from(batch.next_offset() - batch.base_offset).unwrap_or(0);
        let ends_there = TargetOffset(batch.next_offset()) == acknowledged;
        let ours = Producer::of(batch) == anchor.producer;
        let follows = match batch.is_control() {
            true => self.map.ranges().last().is_none_or(|range| range.target_end() != acknowledged),
            false => sequence::advance(batch.base_sequence, span) == anchor.sequence,
        };
        ends_there && ours && follows
    }

    fn scanned(&mut self, context: &mut Context<'_>, marker: Producer, tail: Tail) {
        if tail.is_trimmed() {
            let (copied, start) = (self.extent.next_target, tail.extent.next_target);
            return self.halt(context, Halt::TargetTrimmed { copied, start });
        }
        if self.takes_beginning(context) {
            return;
        }
        let position = tail.position();
        self.map = tail.map;
        self.extent = tail.extent;
        self.leader_epoch = tail.leader_epoch;
        while let Some(batch) = self.outbox.pop_up_to(position) {
            self.records += batch.records();
            self.bytes += u64::from(batch.bytes);
            context.out.push_back(Output::Release(batch.slot));
        }
        if self.producer != Some(marker) {
            self.producer = Some(marker);
            self.next_sequence = 0;
            self.planned = None;
            let mut batches: Vec<Outgoing> = self.outbox.clear().collect();
            for batch in &mut batches {
                batch.forget_sending();
            }
            for batch in batches {
                self.push(context, batch);
            }
        } else {
            self.outbox.retry_failed(false);
        }
        // Of what was let go unanswered, a part may be there.
        if !self.recovered || self.fetch_position < position {
            self.recovered = true;
            self.fetch_position = position;
            self.fetch_epoch = self.leader_epoch;
        }
        self.phase = Phase::Active;
        self.is_tolerant = false;
        if self.halt_in_map {
            self.halt_in_map = false;
            context.needs.push((context.id, Need::Halt));
        }
        self.alone_in_flight = false;
        self.looks_due = 0;
        self.remembered_ms = self.fenced_ms;
        self.waiting_since = context.now.mono_ms;
        self.attempt = 0;
        self.wake_at = None;
        self.target_retrying = None;
        self.dirty = true;
        if self.fetch_at == u64::MAX {
            // The answer about the ends came while nobody waited for it.
            self.fetch_at = context.now.mono_ms;
        }
        context.out.push_back(Output::Event(Event::Copying(context.id, self.fetch_position)));
        self.advance(context);
    }
}
