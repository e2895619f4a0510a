//! The batches of one partition between source and target: waiting, in flight, answered.
//!
//! ```text
//!            send                ok (in order)
//!  Waiting ────────► InFlight ────────────────► popped: its records are in the map
//!     ▲                 │ error, lost
//!     └── resend ◄── Failed      (nothing is resent while anything is in flight)
//! ```
//!
//! A batch that was ever sent goes out as the same bytes until its fate is known: sequences are given once, and only a
//! new producer epoch (after the tail was read) gives them anew.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use smallvec::SmallVec;
use twinlog_wire::error_code::ErrorCode;

use crate::batch::{Run, Slot};
use crate::ids::{SourceOffset, TargetOffset};

/// How many batches of one partition may be in flight: the number whose sequences a broker remembers.
pub const IN_FLIGHT_MAX: usize = 5;

/// What came of sending one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is on the target.
    Stored {
        /// Offset of its first record.
        base: TargetOffset,
        /// The target's log start, or -1 from a broker that does not tell.
        log_start: TargetOffset,
    },
    /// The broker's error, with its own words if it gave any.
    Refused(ErrorCode, String),
    /// It was sent and no answer came: it may or may not be there.
    Lost,
    /// It never left.
    NotSent,
}

/// Most batches have one run: it needs no memory of its own.
pub type Runs = SmallVec<[Run; 1]>;

/// Where a batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    InFlight,
    Stored(TargetOffset),
    Failed(Answer),
}

/// One batch on its way.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its bytes.
    pub slot: Slot,
    /// Length in bytes.
    pub bytes: u32,
    /// The source offsets of its records, in order; at least one run.
    pub runs: Runs,
    /// The source position behind it, with what was compacted away at its end.
    pub source_end: SourceOffset,
    /// Leader epoch in its header.
    pub leader_epoch: i32,
    /// Largest timestamp of its records, in ms.
    pub max_timestamp: i64,
    /// Sequence of its first record.
    pub sequence: i32,
    /// The plan record that must be acknowledged before it is sent.
    pub plan_record: u64,
    state: State,
    attempt: u32,
    ever_sent: bool,
    /// Whether it was sent before the present attempt.
    sent_before: bool,
}

impl Outgoing {
    /// A batch that waits; sequence and plan are given when it is pushed.
    pub fn new(
        slot: Slot,
        bytes: u32,
        runs: Runs,
        source_end: SourceOffset,
        leader_epoch: i32,
        max_timestamp: i64,
    ) -> Self {
        Self {
            slot,
            bytes,
            runs,
            source_end,
            leader_epoch,
            max_timestamp,
            sequence: 0,
            plan_record: 0,
            state: State::Waiting,
            attempt: 0,
            ever_sent: false,
            sent_before: false,
        }
    }

    /// Makes it one that was never sent: under a new epoch, after the tail showed that it is not there.
    pub fn forget_sending(&mut self) {
        self.state = State::Waiting;
        self.ever_sent = false;
    }

    /// Number of records.
    pub fn records(&self) -> u64 {
        self.runs.iter().map(|run| run.len).sum()
    }

    /// Source offset of the first record.
    pub fn first(&self) -> SourceOffset {
        self.runs.first().map_or(self.source_end, |run| run.start)
    }

    /// The source offset after the last record.
    pub fn records_end(&self) -> SourceOffset {
        self.runs.last().map_or(self.source_end, Run::end)
    }
}

/// All batches of one partition on their way, in source order.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    batches: VecDeque<Outgoing>,
    in_flight: usize,
    bytes: u64,
}

impl Outbox {
    /// Bytes of all batches.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of batches that wait to be sent.
    pub fn waiting_bytes(&self) -> u64 {
        let sent = self.batches.iter().take(IN_FLIGHT_MAX).filter(|batch| batch.state != State::Waiting);
        self.bytes - sent.map(|batch| u64::from(batch.bytes)).sum::<u64>()
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// How many were sent and have not been answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The oldest batch.
    pub fn front(&self) -> Option<&Outgoing> {
        self.batches.front()
    }

    /// Adds a batch at the end.
    pub fn push(&mut self, batch: Outgoing) {
        self.bytes += u64::from(batch.bytes);
        self.batches.push_back(batch);
    }

    /// The next batch to send, unless one failed; with whether it was sent before.
    pub fn next_to_send(&self) -> Option<(&Outgoing, bool)> {
        // One that is stored and still here is not where it was expected: the log is read first.
        if self.has_failed() || self.front_stored_at().is_some() {
            return None;
        }
        self.batches
            .iter()
            .take(IN_FLIGHT_MAX)
            .find(|batch| batch.state == State::Waiting)
            .map(|batch| (batch, batch.ever_sent))
    }

    /// Marks that batch as sent; the number of the attempt tells its answer from those to earlier ones.
    pub fn sent(&mut self, slot: Slot) -> u32 {
        let Some(batch) = self.batches.iter_mut().find(|batch| batch.slot == slot) else { return 0 };
        batch.state = State::InFlight;
        batch.attempt += 1;
        batch.sent_before = core::mem::replace(&mut batch.ever_sent, true);
        self.in_flight += 1;
        batch.attempt
    }

    /// Takes an answer. One to an earlier attempt, or to a batch that is no longer in flight, is ignored.
    pub fn answered(&mut self, slot: Slot, attempt: u32, answer: Answer) {
        let Some(batch) = self.batches.iter_mut().find(|batch| batch.slot == slot) else { return };
        if batch.state != State::InFlight || batch.attempt != attempt {
            return;
        }
        self.in_flight -= 1;
        batch.state = match answer {
            Answer::Stored { base, .. } => State::Stored(base),
            failed => State::Failed(failed),
        };
    }

    /// The attempt was not made: the batch waits as before.
    pub fn held_back(&mut self, slot: Slot, attempt: u32) {
        let Some(batch) = self.batches.iter_mut().find(|batch| batch.slot == slot) else { return };
        if batch.state == State::InFlight && batch.attempt == attempt {
            self.in_flight -= 1;
            batch.state = State::Waiting;
            batch.ever_sent = batch.sent_before;
        }
    }

    /// The oldest batch's offset on the target, if it is there.
    pub fn front_stored_at(&self) -> Option<TargetOffset> {
        let State::Stored(at) = self.batches.front()?.state else { return None };
        Some(at)
    }

    /// The oldest batch, if its records end at or before `position`.
    pub fn pop_up_to(&mut self, position: SourceOffset) -> Option<Outgoing> {
        if self.batches.front()?.records_end() > position {
            return None;
        }
        self.pop()
    }

    /// Takes the oldest batch out.
    pub fn pop(&mut self) -> Option<Outgoing> {
        let batch = self.batches.pop_front()?;
        if batch.state == State::InFlight {
            self.in_flight -= 1;
        }
        self.bytes -= u64::from(batch.bytes);
        Some(batch)
    }

    /// Takes out what was never sent, behind the oldest batch, newest first.
    pub fn shed(&mut self) -> Vec<Outgoing> {
        let mut shed = Vec::new();
        while self.batches.len() > 1
            && let Some(batch) = self.batches.pop_back_if(|batch| batch.state == State::Waiting && !batch.ever_sent)
        {
            self.bytes -= u64::from(batch.bytes);
            shed.push(batch);
        }
        shed
    }

    /// Takes out all that was never sent, newest first.
    pub fn drop_unsent(&mut self) -> Vec<Outgoing> {
        let mut unsent = Vec::new();
        while let Some(batch) = self.batches.pop_back_if(|batch| batch.state == State::Waiting && !batch.ever_sent) {
            self.bytes -= u64::from(batch.bytes);
            unsent.push(batch);
        }
        unsent
    }

    /// The newest batch.
    pub fn back(&self) -> Option<&Outgoing> {
        self.batches.back()
    }

    /// Lets go of everything.
    pub fn clear(&mut self) -> impl Iterator<Item = Outgoing> {
        self.in_flight = 0;
        self.bytes = 0;
        self.batches.drain(..)
    }

    fn has_failed(&self) -> bool {
        self.batches.iter().take(IN_FLIGHT_MAX).any(|batch| matches!(batch.state, State::Failed(_)))
    }

    /// The oldest failure, once everything that was sent has its answer.
    pub fn failure(&self) -> Option<(&Outgoing, &Answer)> {
        if self.in_flight > 0 {
            return None;
        }
        self.batches.iter().take(IN_FLIGHT_MAX).find_map(|batch| match &batch.state {
            State::Failed(answer) => Some((batch, answer)),
            _ => None,
        })
    }

    /// Makes the failed ones wait again, as the same bytes; `not_stored`: it is known that they are not on the target.
    pub fn retry_failed(&mut self, not_stored: bool) {
        for batch in self.batches.iter_mut().take(IN_FLIGHT_MAX) {
            if matches!(batch.state, State::Failed(_)) {
                batch.state = State::Waiting;
                batch.ever_sent &= !not_stored;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(slot: u64, bytes: u32, runs: &[(i64, u64)]) -> Outgoing {
        let runs: Runs = runs.iter().map(|(start, len)| Run { start: SourceOffset(*start), len: *len }).collect();
        let end = runs.last().map_or(SourceOffset(0), Run::end);
        Outgoing::new(Slot(slot), bytes, runs, end, 0, 0)
    }

    /// Three batches of 100, 200 and 300 bytes.
    fn outbox() -> Outbox {
        let mut outbox = Outbox::default();
        for slot in 1..=3 {
            outbox.push(outgoing(slot, 100 * slot as u32, &[(10 * slot as i64, 10)]));
        }
        outbox
    }

    fn next(outbox: &Outbox) -> Option<(u64, bool)> {
        outbox.next_to_send().map(|(batch, sent_before)| (batch.slot.0, sent_before))
    }

    const STORED: Answer = Answer::Stored { base: TargetOffset(1), log_start: TargetOffset(0) };

    #[test]
    fn bytes_are_counted_and_those_that_wait() {
        let mut outbox = outbox();
        assert_eq!((outbox.bytes(), outbox.waiting_bytes()), (600, 600));
        assert_eq!(outbox.sent(Slot(1)), 1);
        assert_eq!((outbox.bytes(), outbox.waiting_bytes()), (600, 500));
        outbox.answered(Slot(1), 1, STORED);
        assert_eq!((outbox.bytes(), outbox.waiting_bytes()), (600, 500));
        assert_eq!(outbox.pop().map(|batch| batch.slot), Some(Slot(1)));
        assert_eq!((outbox.bytes(), outbox.waiting_bytes(), outbox.in_flight()), (500, 500, 0));
        assert_eq!(outgoing(7, 1, &[(5, 2), (9, 3)]).records(), 5);
    }

    #[test]
    fn an_attempt_that_was_not_made_leaves_the_batch_as_it_was() {
        let mut outbox = outbox();
        outbox.sent(Slot(1));
        outbox.held_back(Slot(1), 2);
        assert_eq!(outbox.in_flight(), 1, "of another attempt");
        outbox.held_back(Slot(1), 1);
        assert_eq!((outbox.in_flight(), next(&outbox)), (0, Some((1, false))));
        outbox.held_back(Slot(1), 1);
        assert_eq!((outbox.in_flight(), next(&outbox)), (0, Some((1, false))), "it waits already");
        assert_eq!(outbox.sent(Slot(1)), 2);
        outbox.answered(Slot(1), 1, Answer::Lost);
        assert_eq!(outbox.in_flight(), 1, "the answer to an earlier attempt");
    }

    #[test]
    fn nothing_follows_one_that_failed_or_is_not_where_it_was_expected() {
        let mut outbox = outbox();
        outbox.sent(Slot(1));
        outbox.sent(Slot(2));
        assert_eq!(next(&outbox), Some((3, false)));
        outbox.answered(Slot(1), 1, STORED);
        assert_eq!(next(&outbox), None, "stored, and still here");
        outbox.pop();
        assert_eq!(next(&outbox), Some((3, false)));
        outbox.answered(Slot(2), 1, Answer::Lost);
        assert_eq!(next(&outbox), None, "one failed");
        outbox.retry_failed(false);
        assert_eq!(next(&outbox), Some((2, true)));
    }

    #[test]
    fn what_was_never_sent_is_taken_out_newest_first_and_the_oldest_may_stay() {
        let slots = |taken: Vec<Outgoing>| taken.iter().map(|batch| batch.slot.0).collect::<Vec<_>>();
        let mut outbox = outbox();
        assert_eq!(slots(outbox.clone().drop_unsent()), [3, 2, 1]);
        assert_eq!(slots(outbox.shed()), [3, 2]);
        assert_eq!((outbox.bytes(), outbox.back().map(|batch| batch.slot)), (100, Some(Slot(1))));
        assert_eq!(slots(outbox.shed()), [0; 0]);
        let mut outbox = self::outbox();
        outbox.sent(Slot(1));
        outbox.sent(Slot(2));
        outbox.answered(Slot(2), 1, Answer::Lost);
        outbox.retry_failed(false);
        assert_eq!(slots(outbox.clone().shed()), [3], "the second may be on the target");
        assert_eq!(slots(outbox.drop_unsent()), [3]);
        assert_eq!((outbox.bytes(), outbox.back().map(|batch| batch.slot)), (300, Some(Slot(2))));
    }

    #[test]
    fn a_failure_is_told_when_all_that_was_sent_has_its_answer_and_the_oldest_first() {
        let mut outbox = outbox();
        outbox.sent(Slot(1));
        outbox.sent(Slot(2));
        outbox.answered(Slot(2), 1, Answer::Lost);
        assert!(outbox.failure().is_none(), "the first may still come");
        outbox.answered(Slot(1), 1, Answer::Lost);
        assert_eq!(outbox.failure().map(|(batch, _)| batch.slot), Some(Slot(1)));
        outbox.retry_failed(true);
        assert_eq!((outbox.failure().is_none(), next(&outbox)), (true, Some((1, false))), "known not to be there");
    }

    #[test]
    fn what_a_read_of_the_log_has_shown_is_taken_out() {
        let mut outbox = outbox();
        outbox.sent(Slot(1));
        assert!(outbox.pop_up_to(SourceOffset(19)).is_none());
        assert_eq!(outbox.pop_up_to(SourceOffset(20)).map(|batch| batch.slot), Some(Slot(1)));
        assert_eq!((outbox.in_flight(), outbox.is_empty(), outbox.bytes()), (0, false, 500));
        assert_eq!(outbox.front().map(Outgoing::first), Some(SourceOffset(20)));
        let mut again = outbox.pop_up_to(SourceOffset(i64::MAX)).expect("the second");
        (again.state, again.ever_sent) = (State::InFlight, true);
        again.forget_sending();
        assert_eq!((again.state, again.ever_sent), (State::Waiting, false));
        assert_eq!(outbox.clear().count(), 1);
        assert_eq!((outbox.is_empty(), outbox.bytes(), outbox.in_flight()), (true, 0, 0));
    }
}
