//! From the outbox to the mirror: what may be sent when, and what an answer means.

use alloc::string::String;

use twinlog_wire::error_code::ErrorCode;

use super::remedy::{Remedy, remedy};
use super::{Context, Need, Partition, Phase};
use crate::batch::Slot;
use crate::halt::Halt;
use crate::ids::{Now, TargetOffset};
use crate::io::{Event, Failure, Output};
use crate::offset_map::{LogStarts, Range};
use crate::outbox::{Answer, IN_FLIGHT_MAX, Outgoing};

/// A partition whose oldest batch was not taken for so long, in ms, gives way to others.
const STUCK_MS: u64 = 2_000;

/// A look at the mirror's end that was not answered for so long, in ms, is asked for again.
const LOOK_AGAIN_MS: u64 = 1_000;

/// So often a new leader may say that the log ends too early: it learns its high watermark from its followers.
const LOOKS_MAX: u8 = 4;

impl Partition {
    fn is_old(&self, context: &Context<'_>, max_timestamp: i64) -> bool {
        max_timestamp < context.now.wall_ms - context.producer_expiration_ms / 2
    }

    /// Whether the broker may forget us soon, or has: it goes by the time of our last marker or the newest record of
    /// our last batch. What was sent young is remembered for as long as a batch is young, and half of that again.
    pub(super) fn may_be_forgotten(&self, context: &Context<'_>) -> bool {
        self.remembered_ms < context.now.wall_ms - context.producer_expiration_ms / 4 * 3
    }

    /// Whether a broker might take this batch at any place in the order, since it has forgotten us or will soon after:
    /// such a batch goes alone, and what became of it is found out before it is sent again.
    fn goes_alone(&self, context: &Context<'_>, max_timestamp: i64) -> bool {
        self.is_old(context, max_timestamp) || self.may_be_forgotten(context)
    }

    /// Sends what may be sent, and closes what is done.
    pub fn advance(&mut self, context: &mut Context<'_>) {
        if self.phase != Phase::Active {
            return;
        }
        if self.leaving {
            self.go_on_leaving(context);
        }
        if self.phase != Phase::Active || (self.leaving && self.outbox.is_empty()) {
            return;
        }
        if self.outbox.is_empty() {
            if self.repacking.is_none() && self.fetch_position > self.extent.synced {
                self.extent.synced = self.fetch_position;
                self.leader_epoch = self.fetch_epoch;
                self.dirty = true;
                self.skipped_at = Some(context.now.mono_ms);
            }
            if let Some(halt) = self.halt_next.take() {
                self.halt(context, halt);
            }
            return;
        }
        if context.draining || self.offline().is_some() || self.wake_at.is_some_and(|at| at > context.now.mono_ms) {
            return;
        }
        self.wake_at = None;
        if self.looks_due > 0 && self.outbox.next_to_send().is_some() {
            // Old records would be taken at the wrong place. What is in flight went to the former leader.
            if self.outbox.in_flight() == 0 {
                self.look_at_ends(context);
                self.wake_at = Some(context.now.mono_ms + LOOK_AGAIN_MS);
            }
            return;
        }
        // After a failure one batch finds out whether the next ones are worth the wait.
        let window = if self.attempt > 0 { 1 } else { IN_FLIGHT_MAX };
        while self.outbox.in_flight() < window && !self.alone_in_flight {
            let Some((batch, sent_before)) = self.outbox.next_to_send() else { return };
            let (slot, sequence) = (batch.slot, batch.sequence);
            // Of a young one the broker remembers us again, once it is there.
            let goes_alone = self.goes_alone(context, batch.max_timestamp);
            let Some(producer) = self.producer else { return };
            if batch.plan_record >= context.plans_acknowledged || (goes_alone && self.outbox.in_flight() > 0) {
                return;
            }
            if goes_alone && sent_before {
                return self.resolve(context);
            }
            let attempt = self.outbox.sent(slot);
            self.alone_in_flight = goes_alone;
            context.out.push_back(Output::Send { partition: context.id, slot, attempt, producer, sequence });
        }
    }

    /// A batch was answered, or lost.
    pub fn produced(&mut self, context: &mut Context<'_>, slot: Slot, attempt: u32, answer: Answer) {
        if let Answer::Stored { log_start, .. } = answer {
            self.log_starts(LogStarts { target: log_start, ..self.starts });
        }
        self.outbox.answered(slot, attempt, answer);
        if self.phase != Phase::Active {
            return;
        }
        while let Some(found) = self.outbox.front_stored_at() {
            if found != self.extent.next_target {
                break;
            }
            let Some(batch) = self.outbox.pop() else { break };
            context.out.push_back(Output::Release(batch.slot));
            self.stored(context, &batch);
        }
        self.settle(context);
    }

    /// Goes on after a batch came out of flight.
    fn settle(&mut self, context: &mut Context<'_>) {
        let mut went_alone = false;
        if self.outbox.in_flight() == 0 {
            went_alone = core::mem::take(&mut self.alone_in_flight);
            if self.outbox.front_stored_at().is_some() {
                // Something stands before it, a marker that was written twice or somebody else's, or the log had lost
                // its end. The log tells.
                return self.resolve(context);
            }
        }
        self.failed(context, went_alone);
        self.advance(context);
    }

    /// Whether the target has not taken its oldest batch for long.
    pub(super) fn is_stuck(&self, now: Now) -> bool {
        !self.outbox.is_empty() && now.mono_ms.saturating_sub(self.waiting_since) >= STUCK_MS
    }

    /// Where the target does not take its batches, what was never sent goes, and is fetched again later: the lane's
    /// budget is for those that move.
    pub fn give_way(&mut self, context: &mut Context<'_>) {
        // Before a halt the source may no longer have it.
        if !self.is_stuck(context.now) || self.repacking.is_some() || self.halt_next.is_some() {
            return;
        }
        let shed = self.outbox.shed();
        let (Some(first), Some(last)) = (shed.last(), self.outbox.back()) else { return };
        // The plans that were made for it are made anew.
        (self.next_sequence, self.planned) = (first.sequence, None);
        (self.fetch_position, self.fetch_epoch) = (last.source_end, last.leader_epoch);
        context.out.extend(shed.iter().map(|batch| Output::Release(batch.slot)));
        context.out.push_back(Output::Event(Event::GaveWay(context.id, self.fetch_position)));
    }

    fn stored(&mut self, context: &Context<'_>, batch: &Outgoing) {
        for run in &batch.runs {
            let range = Range { source_start: run.start, target_start: self.extent.next_target, len: run.len };
            let appended = self.map.append(range);
            assert!(appended.is_ok(), "{appended:?} in {:?}: the outbox is in source order", self.spec.key);
            self.extent.next_target = range.target_end();
        }
        self.extent.synced = batch.source_end;
        self.leader_epoch = batch.leader_epoch;
        self.remembered_ms = batch.max_timestamp.min(context.now.wall_ms);
        self.waiting_since = context.now.mono_ms;
        self.records += batch.records();
        self.bytes += u64::from(batch.bytes);
        self.attempt = 0;
        self.target_retrying = None;
        self.dirty = true;
    }

    /// Deals with the oldest failure, once nothing is in flight. `went_alone`: nothing else was.
    fn failed(&mut self, context: &mut Context<'_>, went_alone: bool) {
        let Some((batch, answer)) = self.outbox.failure() else { return };
        let (offset, next, bytes) = (batch.first(), batch.source_end, batch.bytes);
        let failure = match answer {
            Answer::Stored { .. } => return,
            Answer::Lost => Failure::Lost,
            Answer::NotSent => Failure::NotSent,
            Answer::Refused(code, _) => Failure::Code(*code),
        };
        let message = match answer {
            Answer::Refused(_, message) => message.clone(),
            _ => String::new(),
        };
        match remedy(failure, self.attempt) {
            Remedy::Resolve => self.resolve(context),
            Remedy::Halt
                if matches!(
                    failure,
                    Failure::Code(ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE)
                ) =>
            {
                let Failure::Code(code) = failure else { return };
                self.halt(context, Halt::TooLarge { offset, next, bytes, code });
            }
            Remedy::Halt => {
                let Failure::Code(code) = failure else { return };
                self.halt(context, Halt::Refused { offset, next, code, message });
            }
            Remedy::Resend { certain: false } if went_alone => self.resolve(context),
            Remedy::Resend { certain } => {
                self.outbox.retry_failed(certain && went_alone);
                self.target_retrying(context, failure, "writing to the mirror");
                self.wait(context);
            }
        }
    }

    /// The mirror has another leader, which may have lost acknowledged records.
    pub fn mirror_moved(&mut self, context: &mut Context<'_>, slot: Slot, attempt: u32) {
        self.outbox.held_back(slot, attempt);
        self.looks_due = LOOKS_MAX;
        self.look = self.look.wrapping_add(1);
        if self.phase == Phase::Active {
            self.wake_at = None;
            self.settle(context);
        }
    }

    /// The end was looked at before anything is sent to a new leader.
    pub(super) fn looked(&mut self, context: &mut Context<'_>, found: TargetOffset) {
        if found >= self.extent.next_target {
            self.looks_due = 0;
            self.wake_at = None;
            self.advance(context);
        } else if self.outbox.in_flight() == 0 {
            self.looks_due -= 1;
            if self.looks_due == 0 {
                self.resolve(context);
            } else {
                self.wait(context);
            }
        }
    }

    /// The fate of a batch is unknown and a resend cannot tell: a new epoch, a marker, the tail.
    pub(super) fn resolve(&mut self, context: &mut Context<'_>) {
        self.phase = Phase::Unfenced;
        context.out.push_back(Output::Event(Event::Resolving(context.id)));
        self.wait(context);
        context.needs.push((context.id, Need::FenceAnew));
    }
}
