//! One partition: from the marker before its first write to a steady copy, and back when a batch's fate is unknown.
//!
//! ```text
//!  Probing ──► Registering ──► Unfenced ──► Fencing ──► Scanning ──► Active ──► Halted
//!  (new)       (head in map)      ▲      (transaction) (tail up to     │   any state
//!                                 │                     our marker)    │
//!                                 └── unknown outcome, 45, 47, old ◄───┘
//!                                 └── CuttingBack ◄── Scanning: the mirror lost its end
//!
//!  Halted ──► Probing, Unfenced, or Parting ──► CuttingBack: somebody decided how it goes on
//! ```
//!
//! There is one way to find out how far the copy is: a marker of ours in the partition, and its log read up to it by
//! producer id and sequence. Start, crash, and unknown outcomes all take it.

mod in_map;
mod leaving;
mod losing;
mod remedy;
mod resolving;
mod scanning;
mod sending;
mod watch;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

pub use self::in_map::Progress;
use self::resolving::Permit;
pub(crate) use self::scanning::MARKER_WAIT_MS;
pub(crate) use self::watch::LOOK_MS;
use self::watch::Watch;
use crate::backoff;
use crate::batch::{FetchedBatch, Repacked, Run, Slot};
use crate::config::ExistingTopics;
use crate::cut_back::Search;
use crate::halt::Halt;
use crate::ids::{Now, Producer, SourceOffset, TargetOffset};
use crate::intake::{Intake, Opening, Verdict};
use crate::io::{Ends, Event, Failure, FetchResult, LanePartition, Output, PartitionSpec, Retrying};
use crate::map_record::{PartitionKey, Plan};
use crate::map_state::MappedPartition;
use crate::offset_map::{Extent, LogStarts, OffsetMap, Range};
use crate::outbox::{Outbox, Outgoing, Runs};
use crate::plans::Plans;
use crate::resolution::Lost;
use crate::sequence;
use crate::tail::Tail;

/// What the lane lends its partitions while one of them handles an input.
#[derive(Debug)]
pub struct Context<'a> {
    /// The time.
    pub now: Now,
    /// The partition's number in the lane.
    pub id: LanePartition,
    /// The target's `producer.id.expiration.ms`.
    pub producer_expiration_ms: i64,
    /// Whether nothing new is to be sent.
    pub draining: bool,
    /// Whether the lane was told to end.
    pub ending: bool,
    /// The producer ids that the lane ever had.
    pub own_ids: &'a BTreeSet<i64>,
    /// The number of the plan record that is being gathered.
    pub plan_record: u64,
    /// Plan records below this number are acknowledged.
    pub plans_acknowledged: u64,
    /// Plans for that record.
    pub plans: &'a mut Vec<(PartitionKey, Plan)>,
    /// Numbers of records whose plan is no longer needed, once each plan.
    pub plans_gone: &'a mut Vec<u64>,
    /// What the shell is asked for.
    pub out: &'a mut VecDeque<Output>,
    /// What the lane is asked for.
    pub needs: &'a mut Vec<(LanePartition, Need)>,
}

/// What a partition asks its lane for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Its head written to the map, then [`Partition::registered`].
    Register,
    /// A marker.
    Fence,
    /// A marker under a new epoch.
    FenceAnew,
    /// Why it stopped, or that it goes on, written to the map.
    Halt,
    /// Its last head and that it was let go of, written to the map.
    Release,
    /// The ranges of its chunks that end behind this offset, then [`Partition::chunks_read`].
    Chunks(TargetOffset),
    /// Its head, which was cut back, and tombstones for the chunks from the one number up to the other written to the
    /// map, then [`Partition::cut_back_written`].
    CutBack(u64, u64),
}

/// What a look at a mirror's ends found; see [`crate::io::Input::TargetEnds`].
#[derive(Clone, Copy, Debug)]
pub struct SeenEnds {
    /// The end that was expected.
    pub expected: TargetOffset,
    /// The number of the look.
    pub look: u32,
    /// The log's start.
    pub start: TargetOffset,
    /// The high watermark.
    pub end: TargetOffset,
}

/// Where a partition is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// New: both logs' ends are asked for.
    Probing,
    /// New: its head is on its way to the map.
    Registering,
    /// Waits for the lane's next transaction.
    Unfenced,
    /// In a transaction.
    Fencing,
    /// Reads its tail up to the marker.
    Scanning {
        /// The marker's producer.
        marker: Producer,
    },
    /// The mirror lost its end: what is left is on its way to the map.
    CuttingBack {
        /// The sequence behind the last batch that is left.
        cursor: Option<Plan>,
    },
    /// What the source took back from an offset on stays on the mirror: older ranges are read again, to be cut there.
    Parting {
        /// That offset.
        end: SourceOffset,
    },
    /// Copies.
    Active,
    /// Stopped.
    Halted(Halt),
    /// Let go of: another lane goes on with it.
    Released,
}

/// One source partition and its mirror.
#[derive(Clone, Debug)]
pub struct Partition {
    spec: PartitionSpec,
    phase: Phase,
    map: OffsetMap,
    /// The number of the oldest chunk that the map keeps.
    first_chunk: u64,
    /// The last range of each chunk that the map keeps; none of one that was not there.
    chunks: VecDeque<Option<Range>>,
    starts: LogStarts,
    extent: Extent,
    /// Leader epoch of the source's batch before `extent.synced`.
    leader_epoch: i32,
    plans: Plans,
    producer: Option<Producer>,
    /// The sequence that the next record put into the outbox gets.
    next_sequence: i32,
    /// The source offset and leader epoch that the present plan covers next.
    planned: Option<(SourceOffset, i32)>,
    newest_plan_record: u64,
    fetch_position: SourceOffset,
    fetch_epoch: i32,
    /// What is left of the last answer, while a batch of it is being opened.
    intake: Intake,
    repacking: Option<(Slot, Opening)>,
    outbox: Outbox,
    /// The halt that follows when all before it is copied.
    halt_next: Option<Halt>,
    /// The last decision about it that was carried out.
    resolved: u64,
    /// A decision about the state that it was in: it holds until the source's next answer.
    permit: Option<Permit>,
    /// What somebody else wrote may stay.
    is_tolerant: bool,
    /// Source offsets that were left out.
    lost: Lost,
    /// Chunks of a mirror that was begun anew, which the map still has.
    former_chunks: core::ops::Range<u64>,
    /// Whether the map has a head of it, or will.
    in_map: bool,
    /// It is to be let go of.
    leaving: bool,
    /// It had stopped when it was to be let go of: its log is read only for the marker.
    closing: bool,
    /// Whether the map says that it stopped.
    halt_in_map: bool,
    /// Whether somebody was told that it stopped.
    halt_said: bool,
    /// The cursor as it was when it stopped: what was on its way then may still arrive.
    halted_cursor: Option<Plan>,
    tail: Option<Tail>,
    /// The mirror's log ends or differs below what was acknowledged: up to where is it left?
    search: Option<Search>,
    /// The ranges of its newest chunks, as far as the search wanted them, oldest first.
    reread: Vec<Vec<Range>>,
    /// The target's leader epoch when its log was last read up to a marker, or -1.
    verified_epoch: i32,
    /// Whether the tail was read once since the lane was taken.
    recovered: bool,
    alone_in_flight: bool,
    /// The mirror has another leader: nothing is sent before its end was looked at, so many times at most.
    looks_due: u8,
    look: u32,
    /// When its present fence was begun.
    fenced_ms: i64,
    /// The time by which the broker remembers us: of our last marker there, or the newest record of our last batch.
    remembered_ms: i64,
    /// When it began to wait for its marker, by the clock that never goes back.
    scanning_since: u64,
    high_watermark: Option<SourceOffset>,
    last_stable: Option<SourceOffset>,
    attempt: u32,
    wake_at: Option<u64>,
    fetch_attempt: u32,
    fetch_at: u64,
    /// Since when the oldest batch in the outbox has been the oldest.
    waiting_since: u64,
    /// What is tried again and again, on each side.
    source_retrying: Option<Retrying>,
    target_retrying: Option<Retrying>,
    watch: Watch,
    dirty: bool,
    /// When its position last moved over what is not copied, if no head says so yet.
    skipped_at: Option<u64>,
    records: u64,
    bytes: u64,
}

impl Partition {
    /// A partition as the map knows it, if it does.
    pub fn new(spec: PartitionSpec, mapped: Option<MappedPartition>) -> Self {
        let head = mapped.as_ref().and_then(|mapped| mapped.head.clone());
        let halt_in_map = mapped.as_ref().is_some_and(|mapped| mapped.halt.is_some());
        let chunk = |number| mapped.as_ref().and_then(|mapped| mapped.chunks.get(&number).copied());
        let chunks = head.iter().flat_map(|head| head.first_chunk..head.chunks).map(chunk).collect();
        let mut partition = Self {
            phase: Phase::Probing,
            map: OffsetMap::new(),
            first_chunk: 0,
            chunks,
            starts: LogStarts::default(),
            extent: Extent { synced: SourceOffset(0), next_target: TargetOffset(0) },
            leader_epoch: -1,
            plans: mapped.map(|mapped| mapped.plans).unwrap_or_default(),
            producer: None,
            next_sequence: 0,
            planned: None,
            newest_plan_record: 0,
            fetch_position: SourceOffset(0),
            fetch_epoch: -1,
            intake: Intake::default(),
            repacking: None,
            outbox: Outbox::default(),
            halt_next: None,
            resolved: 0,
            permit: None,
            is_tolerant: false,
            lost: Lost::default(),
            former_chunks: 0..0,
            in_map: head.is_some(),
            leaving: false,
            closing: false,
            halt_in_map,
            halt_said: false,
            halted_cursor: None,
            tail: None,
            search: None,
            reread: Vec::new(),
            verified_epoch: -1,
            recovered: false,
            alone_in_flight: false,
            looks_due: 0,
            look: 0,
            fenced_ms: 0,
            remembered_ms: 0,
            scanning_since: 0,
            high_watermark: None,
            last_stable: None,
            attempt: 0,
            wake_at: None,
            fetch_attempt: 0,
            fetch_at: 0,
            waiting_since: 0,
            source_retrying: None,
            target_retrying: None,
            watch: Watch::default(),
            dirty: false,
            skipped_at: None,
            records: 0,
            bytes: 0,
            spec,
        };
        if let Some(head) = head {
            partition.phase = Phase::Unfenced;
            partition.first_chunk = head.first_chunk;
            partition.map = OffsetMap::behind(head.pruned);
            partition.extent = head.extent;
            partition.leader_epoch = head.leader_epoch;
            partition.verified_epoch = head.verified_epoch;
            partition.resolved = head.resolved;
            partition.lost = head.lost;
            // If they go back, the head's end still holds.
            partition.map.extend(head.ranges);
            if head.source_topic_id != partition.spec.source_topic_id {
                partition.phase = Phase::Halted(Halt::Recreated);
            } else if head.target_topic_id != partition.spec.target_topic_id {
                partition.phase = Phase::Halted(Halt::TargetRecreated);
            }
        }
        partition
    }

    /// Begins, after [`Partition::new`].
    pub fn start(&mut self, context: &mut Context<'_>) {
        match self.phase.clone() {
            Phase::Probing => self.probe(context),
            Phase::Unfenced => context.needs.push((context.id, Need::Fence)),
            Phase::Halted(_) => self.halt_written(context),
            Phase::Registering
            | Phase::Fencing
            | Phase::Scanning { .. }
            | Phase::CuttingBack { .. }
            | Phase::Parting { .. }
            | Phase::Released
            | Phase::Active => {}
        }
    }

    fn probe(&self, context: &mut Context<'_>) {
        context.out.push_back(Output::Probe { partition: context.id, position: self.fetch_position });
    }

    /// Both ends are known, or could not be had.
    pub fn probed(&mut self, context: &mut Context<'_>, position: SourceOffset, ends: Result<Ends, Failure>) {
        match (&self.phase, ends) {
            (Phase::Probing, Ok(ends)) if position == self.fetch_position => {
                let records = ends.target_end.since(ends.target_start);
                if self.spec.existing == ExistingTopics::Refuse && records > 0 {
                    return self.halt(context, Halt::TargetNotEmpty { records });
                }
                self.source_retrying = None;
                self.extent = Extent { synced: ends.source_start, next_target: ends.target_end };
                self.phase = Phase::Registering;
                self.in_map = true;
                context.needs.push((context.id, Need::Register));
            }
            // The source may have grown since.
            (Phase::Active, Ok(_)) if position != self.fetch_position => {
                self.fetch_at = self.fetch_at.min(context.now.mono_ms);
            }
            (Phase::Active, Ok(ends)) => {
                if self.fetch_position < ends.source_start {
                    let gap = Halt::Gap { from: self.fetch_position, to: ends.source_start };
                    self.halt_when_copied(context, gap);
                } else if self.fetch_position > ends.source_end {
                    let truncated = Halt::SourceTruncated { copied: self.fetch_position, end: ends.source_end };
                    self.halt_when_copied(context, truncated);
                } else {
                    // Inside the log after all: the epoch that we named may be older than the log's first.
                    self.fetch_epoch = -1;
                    self.fetch_at = context.now.mono_ms;
                }
            }
            (Phase::Probing | Phase::Active, Err(failure)) => {
                self.source_retrying(context, failure, "asking for the ends of both logs");
                self.wait(context);
                if self.phase == Phase::Active {
                    self.fetch_at = self.wake_at.unwrap_or(context.now.mono_ms);
                }
            }
            _ => {}
        }
    }

    /// The head is in the map: the first marker may be written.
    pub fn registered(&mut self, context: &mut Context<'_>) {
        if self.phase == Phase::Registering {
            self.phase = Phase::Unfenced;
            // Of a mirror that is begun anew the broker knows what was sent under the present epoch.
            let need = if self.is_tolerant { Need::FenceAnew } else { Need::Fence };
            context.needs.push((context.id, need));
        }
    }

    /// The position to fetch from and the leader epoch before it, if more is wanted.
    pub fn wants_fetch(&self, now: Now, queue_bytes_max: u64) -> Option<(SourceOffset, i32)> {
        let ready = self.phase == Phase::Active
            && self.repacking.is_none()
            && self.halt_next.is_none()
            && !self.leaving
            && self.fetch_at <= now.mono_ms
            && self.offline().is_none()
            && !self.is_stuck(now)
            && self.outbox.waiting_bytes() < queue_bytes_max;
        ready.then_some((self.fetch_position, self.fetch_epoch))
    }

    /// Whether the source is known to have more than was fetched.
    pub fn is_behind(&self) -> bool {
        self.has_more_from(self.fetch_position)
    }

    /// Whether the source is known to have records at a position or behind it.
    pub fn has_more_from(&self, position: SourceOffset) -> bool {
        self.last_stable.is_some_and(|stable| stable > position)
    }

    /// What is fetched next, and the leader epoch before it.
    pub fn fetch_position(&self) -> (SourceOffset, i32) {
        (self.fetch_position, self.fetch_epoch)
    }

    /// A fetch was answered.
    pub fn fetched(&mut self, context: &mut Context<'_>, position: SourceOffset, result: FetchResult) {
        let expected = position == self.fetch_position
            && self.phase == Phase::Active
            && self.halt_next.is_none()
            && !self.leaving
            && self.repacking.is_none();
        match result {
            FetchResult::Batches { batches, .. } if !expected => release(context, batches),
            _ if !expected => {}
            FetchResult::Batches { high_watermark, last_stable, log_start, batches, aborted } => {
                self.fetch_attempt = 0;
                self.source_retrying = None;
                self.is_over_it();
                self.high_watermark = Some(high_watermark);
                self.last_stable = Some(last_stable);
                self.log_starts(LogStarts { source: log_start, ..self.starts });
                self.intake = Intake::new(batches, aborted);
                self.decide(context);
            }
            FetchResult::OutOfRange => {
                // Nothing is fetched until the ends are known.
                self.fetch_at = u64::MAX;
                self.probe(context);
            }
            FetchResult::Diverging { end } => {
                let copied = self.fetch_position;
                self.halt_when_copied(context, Halt::SourceTruncated { copied, end });
            }
            FetchResult::Failed(failure) => {
                self.source_retrying(context, failure, "fetching from the source");
                self.fetch_at = context.now.mono_ms + backoff::pause_ms(self.fetch_attempt, context.id.0.into());
                self.fetch_attempt += 1;
            }
        }
    }

    /// Decides on the batches that came, up to one that must be opened first.
    fn decide(&mut self, context: &mut Context<'_>) {
        while let Some((batch, verdict)) = self.intake.next(self.fetch_position) {
            self.fetch_epoch = batch.kind.meta().map_or(-1, |meta| meta.leader_epoch);
            match verdict {
                Verdict::Skip(next) => {
                    self.fetch_position = next;
                    context.out.push_back(Output::Release(batch.slot));
                }
                Verdict::Forward(meta) => {
                    let run = Run {
                        start: SourceOffset(meta.base_offset),
                        len: u64::try_from(meta.record_count).unwrap_or(0),
                    };
                    self.fetch_position = run.end();
                    let outgoing = Outgoing::new(
                        batch.slot,
                        meta.len,
                        Runs::from([run]),
                        run.end(),
                        meta.leader_epoch,
                        meta.max_timestamp,
                    );
                    self.push(context, outgoing);
                }
                Verdict::Repack(opening) => {
                    self.repacking = Some((batch.slot, opening));
                    context.out.push_back(Output::Repack {
                        partition: context.id,
                        slot: batch.slot,
                        from: self.fetch_position,
                    });
                    return;
                }
                Verdict::Halt(halt) => {
                    context.out.push_back(Output::Release(batch.slot));
                    let rest: Vec<_> = self.intake.drain().collect();
                    release(context, rest);
                    self.halt_next = Some(halt);
                }
            }
        }
        self.advance(context);
    }

    /// A batch was opened.
    pub fn repacked(&mut self, context: &mut Context<'_>, result: Result<Repacked, String>) {
        let Some((slot, Opening { first, next, leader_epoch })) = self.repacking.take() else { return };
        let result = result.and_then(|repacked| match repacked.lies_within(self.fetch_position, next) {
            true => Ok(repacked),
            false => Err(String::from("it holds records that lie outside of it")),
        });
        match result {
            Ok(repacked) if repacked.runs.is_empty() => {
                self.fetch_position = next;
                context.out.push_back(Output::Release(slot));
            }
            Ok(repacked) => {
                self.fetch_position = next;
                let outgoing = Outgoing::new(
                    slot,
                    repacked.bytes,
                    repacked.runs.into(),
                    next,
                    leader_epoch,
                    repacked.max_timestamp,
                );
                self.push(context, outgoing);
            }
            Err(message) => {
                context.out.push_back(Output::Release(slot));
                let rest: Vec<_> = self.intake.drain().collect();
                release(context, rest);
                self.halt_next = Some(Halt::Unreadable { offset: first, next, message });
            }
        }
        self.decide(context);
    }

    /// Puts a batch into the outbox: its sequence follows the last one, a plan is made where a new range begins.
    fn push(&mut self, context: &mut Context<'_>, mut batch: Outgoing) {
        let Some(producer) = self.producer else { return };
        batch.sequence = self.next_sequence;
        // Sequences and records are one for one: so many records wait before it.
        let before = self.outbox.front().and_then(|front| sequence::ahead(front.sequence, self.next_sequence));
        let mut target_start = self.extent.next_target.plus(before.unwrap_or(0));
        for run in &batch.runs {
            if self.planned != Some((run.start, batch.leader_epoch)) {
                let plan = Plan {
                    producer,
                    sequence: self.next_sequence,
                    source_start: run.start,
                    target_start,
                    leader_epoch: batch.leader_epoch,
                };
                context.plans.push((self.spec.key.clone(), plan));
                context.plans_gone.extend(self.plans.push(context.plan_record, plan));
                self.newest_plan_record = context.plan_record;
            }
            self.next_sequence = sequence::advance(self.next_sequence, run.len);
            target_start = target_start.plus(run.len);
            self.planned = Some((run.end(), batch.leader_epoch));
        }
        batch.plan_record = self.newest_plan_record;
        if self.outbox.is_empty() {
            self.waiting_since = context.now.mono_ms;
        }
        self.outbox.push(batch);
    }

    fn halt_when_copied(&mut self, context: &mut Context<'_>, halt: Halt) {
        self.halt_next = Some(halt);
        self.advance(context);
    }

    /// Stops for good: everything is let go.
    pub fn halt(&mut self, context: &mut Context<'_>, halt: Halt) {
        if matches!(self.phase, Phase::Halted(_) | Phase::Released) || self.takes_exit(context, &halt) {
            return;
        }
        self.halted_cursor = self.cursor();
        self.let_go(context);
        self.search = None;
        self.tail = None;
        self.wake_at = None;
        self.phase = Phase::Halted(halt);
        self.halt_in_map = true;
        context.needs.push((context.id, Need::Halt));
        if self.leaving {
            self.go_on_leaving(context);
        }
    }

    /// Lets go of every batch on its way.
    fn let_go(&mut self, context: &mut Context<'_>) {
        let rest: Vec<_> = self.intake.drain().collect();
        release(context, rest);
        if let Some((slot, _)) = self.repacking.take() {
            context.out.push_back(Output::Release(slot));
        }
        for batch in self.outbox.clear() {
            context.out.push_back(Output::Release(batch.slot));
        }
    }

    /// Why it stopped is in the map, so it is this owner that says so: what a successor wrote looks like somebody
    /// else's to a former one.
    pub(crate) fn halt_written(&mut self, context: &mut Context<'_>) {
        if let Phase::Halted(halt) = &self.phase
            && !self.halt_said
        {
            context.out.push_back(Output::Event(Event::Halted(context.id, halt.clone())));
            self.halt_said = true;
        }
    }

    /// Whether the map says that it stopped, if it did.
    pub fn is_halt_said(&self) -> bool {
        self.halt_said
    }

    fn wait(&mut self, context: &Context<'_>) {
        let pause = backoff::pause_ms(self.attempt, u64::from(context.id.0));
        self.attempt += 1;
        self.wake_at = Some(context.now.mono_ms + pause);
    }

    fn source_retrying(&mut self, context: &mut Context<'_>, failure: Failure, doing: &'static str) {
        retrying(context, &mut self.source_retrying, Retrying { doing, failure });
    }

    fn target_retrying(&mut self, context: &mut Context<'_>, failure: Failure, doing: &'static str) {
        retrying(context, &mut self.target_retrying, Retrying { doing, failure });
    }

    /// What keeps it from going on, if something is tried again and again.
    fn retrying(&self) -> Option<Retrying> {
        self.target_retrying.or(self.source_retrying)
    }

    /// When it wants [`Partition::woken`].
    pub fn wake_at(&self) -> Option<u64> {
        self.wake_at
    }

    /// When it may be fetched again, if that is a pause after a failure.
    pub fn fetch_at(&self, now: Now) -> Option<u64> {
        (self.fetch_at > now.mono_ms && self.fetch_at != u64::MAX).then_some(self.fetch_at)
    }

    /// A pause is over.
    pub fn woken(&mut self, context: &mut Context<'_>) {
        if self.wake_at.is_none_or(|at| at > context.now.mono_ms) {
            return;
        }
        self.wake_at = None;
        if self.offline().is_none() {
            self.take_up(context);
        }
    }

    /// Does what its phase waits to do.
    fn take_up(&mut self, context: &mut Context<'_>) {
        match &self.phase {
            Phase::Probing => self.probe(context),
            Phase::Unfenced => context.needs.push((context.id, Need::Fence)),
            Phase::Scanning { .. } => self.read_on(context),
            Phase::Active => self.advance(context),
            Phase::Registering
            | Phase::Fencing
            | Phase::CuttingBack { .. }
            | Phase::Parting { .. }
            | Phase::Halted(_)
            | Phase::Released => {}
        }
    }

    /// Looks after a partition that is idle: its end should not move, and the broker should not forget us.
    pub fn look_after(&mut self, context: &mut Context<'_>) {
        if self.phase != Phase::Active || !self.outbox.is_empty() || context.draining || self.offline().is_some() {
            return;
        }
        if self.may_be_forgotten(context) {
            return self.fence_anew(context);
        }
        self.look_at_ends(context);
    }

    fn look_at_ends(&self, context: &mut Context<'_>) {
        let (expected, look) = (self.extent.next_target, self.look);
        context.out.push_back(Output::LookAtEnds { partition: context.id, expected, look });
    }

    /// The mirror's start and end were looked at.
    pub fn ends_seen(&mut self, context: &mut Context<'_>, seen: SeenEnds) {
        let SeenEnds { expected, look, start, end: found } = seen;
        if look != self.look {
            return;
        }
        self.log_starts(LogStarts { target: start, ..self.starts });
        if self.looks_due > 0 && self.phase == Phase::Active {
            return self.looked(context, found);
        }
        let idle = self.phase == Phase::Active && self.outbox.is_empty() && self.extent.next_target == expected;
        if idle && found != expected {
            // A marker that was written twice, a successor's, somebody else's records, or a log that lost its end: a
            // new epoch and the tail tell which.
            self.resolve(context);
        }
    }

    /// Whether nothing of it is in flight.
    pub fn is_quiet(&self) -> bool {
        self.outbox.in_flight() == 0
    }

    /// Whether it stopped.
    pub fn is_halted(&self) -> bool {
        matches!(self.phase, Phase::Halted(_))
    }

    /// What it is told to copy.
    pub fn spec(&self) -> &PartitionSpec {
        &self.spec
    }

    /// Where it is on its way.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Plans that the map must keep.
    pub fn plans(&self) -> &Plans {
        &self.plans
    }
}

/// The same failure is told once, until something succeeds.
fn retrying(context: &mut Context<'_>, last: &mut Option<Retrying>, now: Retrying) {
    if last.is_none_or(|last| last.failure != now.failure) {
        context.out.push_back(Output::Event(Event::Retrying(Some(context.id), now.failure, now.doing)));
    }
    *last = Some(now);
}

fn release(context: &mut Context<'_>, batches: Vec<FetchedBatch>) {
    context.out.extend(batches.into_iter().map(|batch| Output::Release(batch.slot)));
}
