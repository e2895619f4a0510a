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
        // What is right before the tail shows whether the log still is the one that was written to.
        let mut tail = Tail::new(self.map.clone(), self.extent, self.leader_epoch, self.anchor());
        if self.anchor().is_some() {
            tail.next_read = TargetOffset((self.extent.next_target.0 - 1).max(0));
        }
        read_on(context, &tail);
        self.tail = Some(tail);
    }

    /// The transaction did not take it along, or came to nothing.
    pub fn fence_failed(&mut self, context: &mut Context<'_>, failure: Option<Failure>) {
        if self.phase != Phase::Fencing {
            return;
        }
        self.phase = Phase::Unfenced;
        if let Some(failure) = failure {
            self.retrying(context, failure, "writing the marker");
            self.wait(context);
        }
        context.needs.push((context.id, Need::Fence));
    }

    /// A part of the tail was read.
    pub fn target_read(&mut self, context: &mut Context<'_>, from: TargetOffset, result: ReadResult<BatchMeta>) {
        let Phase::Scanning { marker } = self.phase else { return };
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
                        if let Err(truncated) = self.check_anchor(batch) {
                            return self.halt(context, truncated);
                        }
                        tail.next_read = tail.next_read.max(TargetOffset(batch.next_offset()));
                        continue;
                    }
                    match tail.take(&self.plans, context.own_id, batch) {
                        Found::Before | Found::Own => {}
                        Found::Marker(found) if found == marker => return self.scanned(context, marker, tail),
                        Found::Marker(_) => {}
                        Found::Foreign(found) => {
                            return self.halt(context, Halt::Diverged { expected, found });
                        }
                        Found::Behind { acknowledged, found } => {
                            return self.halt(context, Halt::TargetTruncated { acknowledged, found });
                        }
                    }
                }
                tail.next_read = tail.next_read.max(next);
                if tail.next_read > from {
                    self.attempt = 0;
                    read_on(context, &tail);
                } else if context.now.mono_ms - self.scanning_since > MARKER_WAIT_MS {
                    // It may lie before the tail, where the log was cut back: the next one does not, or shows it.
                    self.phase = Phase::Unfenced;
                    context.needs.push((context.id, Need::Fence));
                    return;
                } else {
                    self.wait(context);
                }
            }
            ReadResult::OutOfRange { start, .. } if start > tail.next_read => {
                // The mirror's own retention took the tail: the sequences behind it tell the position.
                tail.skip_to(start);
                self.log_starts(LogStarts { target: start, ..self.starts });
                read_on(context, &tail);
            }
            ReadResult::OutOfRange { end, .. } if end < tail.next_read => {
                let acknowledged = tail.next_read;
                return self.halt(context, Halt::TargetTruncated { acknowledged, found: end });
            }
            ReadResult::OutOfRange { .. } => {
                // Inside the log after all: the epoch that we named may be older than the log's first.
                tail.read_epoch = -1;
                self.wait(context);
            }
            ReadResult::Failed(failure) => {
                self.retrying(context, failure, "reading the mirror's tail");
                self.wait(context);
            }
        }
        self.tail = Some(tail);
    }

    /// The sequence that follows what was acknowledged last, if anything was.
    fn anchor(&self) -> Option<Plan> {
        if self.producer.is_some() { self.cursor() } else { self.plans.cursor() }
    }

    /// Right before the tail is what was acknowledged last: a batch of ours that ends with its sequence, or a marker of
    /// that epoch. Anything else was written after the log had lost its end.
    fn check_anchor(&self, batch: &BatchMeta) -> Result<(), Halt> {
        let acknowledged = self.extent.next_target;
        let Some(anchor) = self.anchor() else { return Ok(()) };
        let span = u64::try_from(batch.next_offset() - batch.base_offset).unwrap_or(0);
        let ends_there = TargetOffset(batch.next_offset()) == acknowledged;
        let ours = Producer { id: batch.producer_id, epoch: batch.producer_epoch } == anchor.producer;
        let follows = batch.is_control() || sequence::advance(batch.base_sequence, span) == anchor.sequence;
        if ends_there && ours && follows {
            return Ok(());
        }
        Err(Halt::TargetTruncated { acknowledged, found: TargetOffset(batch.base_offset) })
    }

    fn scanned(&mut self, context: &mut Context<'_>, marker: Producer, tail: Tail) {
        if tail.is_trimmed() {
            let (copied, start) = (self.extent.next_target, tail.extent.next_target);
            return self.halt(context, Halt::TargetTrimmed { copied, start });
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
        if self.halt_in_map {
            self.halt_in_map = false;
            context.needs.push((context.id, Need::Halt));
        }
        self.old_in_flight = false;
        self.remembered_ms = self.fenced_ms;
        self.waiting_since = context.now.mono_ms;
        self.attempt = 0;
        self.wake_at = None;
        self.retrying = None;
        self.dirty = true;
        if self.fetch_at == u64::MAX {
            // The answer about the ends came while nobody waited for it.
            self.fetch_at = context.now.mono_ms;
        }
        context.out.push_back(Output::Event(Event::Copying(context.id, self.fetch_position)));
        self.advance(context);
    }
}

/// Asks for the next part of the tail.
pub(super) fn read_on(context: &mut Context<'_>, tail: &Tail) {
    let (from, epoch) = (tail.next_read, tail.read_epoch);
    context.out.push_back(Output::ReadTarget { partition: context.id, from, epoch });
}
