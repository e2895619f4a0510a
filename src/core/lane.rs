//! A lane: a share of a link's partitions under one fenced producer id, and its partition of the map topic.
//!
//! ```text
//!  Taking ──InitProducerId──► FencingMap ──marker on its way──► LoadingMap ──marker seen──► Running ──► over
//! ```
//!
//! Nothing in the map is read as the truth before the lane's own marker is seen in it: from there on a former owner's
//! writes are refused. One transaction is open at a time, and it never holds data.

mod moving;
mod new_id;
mod own_map;
mod reread;
#[cfg(test)]
mod tests;
mod transactions;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use twinlog_wire::error_code::ErrorCode;

use self::new_id::Change;
pub use self::new_id::EpochLimits;
use crate::backoff;
use crate::ids::{Now, Producer, SourceOffset, TargetOffset};
use crate::io::{Event, Failure, Input, LanePartition, Member, Offline, Output, Over, PartitionSpec};
use crate::map_record::{LinkRecord, MapRecord, PartitionKey, Plan};
use crate::map_state::{MapState, MappedPartition};
use crate::map_writer::{MapWriter, Then};
use crate::partition::{Context, LOOK_MS, Need, Partition, SeenEnds};
use reread::Reread;

/// How many plans gather before they become a record: some ten thousand would be too large for a broker.
const PLANS_MAX: usize = 4096;

/// Topics in one fence: what one request may add, so that a fence is added whole or not at all.
const FENCE_TOPICS_MAX: usize = 100;

/// How often the ends of idle mirrors are looked at, in ms.
const LOOK_AFTER_MS: u64 = 10_000;

/// What a lane must know from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneConfig {
    /// Whose map this must be; it is written into a new one.
    pub link: LinkRecord,
    /// The target's `producer.id.expiration.ms`.
    pub producer_expiration_ms: i64,
    /// Between two progress marks of a moving partition, in ms.
    pub mark_interval_ms: u64,
    /// Bytes that may wait to be sent, before no more is fetched for a partition with its part of them.
    pub queue_bytes_max: u64,
    /// Ranges that one chunk of the map holds; a head holds at most twice as many.
    pub chunk_ranges: usize,
    /// After so long without a transaction there is one that keeps the lane's transactional id alive, in ms. After
    /// twice as long nothing is written before the target has shown that it still knows the id.
    pub keep_alive_ms: i64,
    /// When the producer id is changed.
    pub epochs: EpochLimits,
}

#[derive(Debug)]
enum Stage {
    Taking,
    FencingMap,
    LoadingMap { state: MapState, next: TargetOffset, since: u64 },
    Running,
    Over,
}

/// The one transaction or epoch change that is under way.
#[derive(Debug, PartialEq, Eq)]
enum Transaction {
    None,
    Init,
    Fence(Vec<Member>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Transaction,
    ReadMap,
    WriteMap,
    Mark,
    MarkIdle(LanePartition),
    LookAfter,
    Look,
    Partition(LanePartition),
}

/// A share of a link's partitions.
#[derive(Debug)]
pub struct Lane {
    config: LaneConfig,
    stage: Stage,
    producer: Option<Producer>,
    /// A new epoch is needed before the next fence.
    bump: bool,
    transaction: Transaction,
    transaction_wanted: bool,
    /// Not before this time, after a failure.
    transaction_at: u64,
    /// Members of a transaction that may be open: it must be committed before anything else. (InitProducerId would
    /// abort it under an epoch that nobody gets, and then take us for a zombie: `prepareInitProducerIdTransit`.)
    open_members: BTreeSet<Member>,
    /// When the coordinator was asked last.
    asked: Now,
    /// Until then a request of this lane that was not answered may still be carried out, and take the lane from it
    /// under an epoch that nobody gets.
    doubtful_until: u64,
    /// When the coordinator was last asked for what it then did.
    heard: Now,
    change: Change,
    /// Not before this time, after a change of the id was put off.
    change_at: u64,
    running_since: u64,
    /// The map names all producer ids that the lane ever had.
    ids_in_map: bool,
    own_ids: BTreeSet<i64>,
    /// None before the map was read, and where nothing may be written.
    writer: Option<MapWriter>,
    partitions: Vec<Partition>,
    by_key: BTreeMap<PartitionKey, LanePartition>,
    mapped: BTreeMap<PartitionKey, MappedPartition>,
    /// Where partitions go that are to be let go of: the lane, and the number of the move.
    leaving: BTreeMap<PartitionKey, (u32, u64)>,
    /// Which epoch wrote last to partitions that this lane let go of: none may begin its sequences twice.
    left_under: BTreeMap<PartitionKey, Producer>,
    /// What comes from other lanes, until it is in the map.
    adopting: BTreeMap<PartitionKey, MappedPartition>,
    /// What came from other lanes, also where there was nothing to come but the name: by which move.
    came: BTreeMap<PartitionKey, u64>,
    reread: Option<Reread>,
    plan_record: u64,
    plans: Vec<(PartitionKey, Plan)>,
    plans_acknowledged: u64,
    /// How many plans of each record are still needed.
    plan_uses: BTreeMap<u64, usize>,
    /// Partitions that have plans in a record that is not acknowledged.
    planned: BTreeMap<u64, Vec<LanePartition>>,
    timers: BTreeSet<(u64, Timer)>,
    /// Failures in a row of what concerns the map.
    attempt: u32,
    /// The same of transactions. The map may go on while they cannot: a partition that lost its leader between its
    /// fence and the marker holds up every later one.
    transaction_attempt: u32,
    /// Why the last transaction failed, until one succeeds.
    transaction_failure: Option<Failure>,
    draining: bool,
    out: VecDeque<Output>,
}

impl Lane {
    /// A lane that begins to be taken.
    pub fn new(config: LaneConfig, now: Now) -> Self {
        let mut lane = Self {
            stage: Stage::Taking,
            producer: None,
            bump: false,
            transaction: Transaction::None,
            transaction_wanted: true,
            transaction_at: 0,
            open_members: BTreeSet::new(),
            asked: now,
            doubtful_until: 0,
            heard: now,
            change: Change::None,
            change_at: 0,
            running_since: 0,
            ids_in_map: false,
            own_ids: BTreeSet::new(),
            writer: None,
            partitions: Vec::new(),
            by_key: BTreeMap::new(),
            mapped: BTreeMap::new(),
            leaving: BTreeMap::new(),
            left_under: BTreeMap::new(),
            adopting: BTreeMap::new(),
            came: BTreeMap::new(),
            reread: None,
            plan_record: 0,
            plans: Vec::new(),
            plans_acknowledged: 0,
            plan_uses: BTreeMap::new(),
            planned: BTreeMap::new(),
            timers: BTreeSet::new(),
            attempt: 0,
            transaction_attempt: 0,
            transaction_failure: None,
            draining: false,
            out: VecDeque::new(),
            config,
        };
        lane.set_timer(now, lane.config.mark_interval_ms, Timer::Mark);
        lane.set_timer(now, LOOK_AFTER_MS, Timer::LookAfter);
        lane.set_timer(now, LOOK_MS, Timer::Look);
        lane.settle(now);
        lane
    }

    /// Adds a partition, or finds it. None before the lane's map is loaded: until then nobody knows what it goes on
    /// from.
    pub fn add(&mut self, now: Now, spec: PartitionSpec) -> Option<LanePartition> {
        if !self.is_running() {
            return None;
        }
        if let Some(id) = self.find(&spec.key) {
            return Some(id);
        }
        let id = self.add_partition(now, spec);
        self.settle(now);
        Some(id)
    }

    fn add_partition(&mut self, now: Now, spec: PartitionSpec) -> LanePartition {
        let id = LanePartition(u32::try_from(self.partitions.len()).unwrap_or(u32::MAX));
        let left_under = self.left_under.remove(&spec.key);
        self.bump |= left_under.is_some() && left_under == self.producer;
        self.by_key.insert(spec.key.clone(), id);
        let mapped = self.mapped.remove(&spec.key);
        self.partitions.push(Partition::new(spec, mapped));
        self.with(now, id, Partition::start);
        id
    }

    /// Takes an input.
    pub fn handle(&mut self, now: Now, input: Input) {
        if matches!(self.stage, Stage::Over) {
            if let Input::Fetched { result: crate::io::FetchResult::Batches { batches, .. }, .. } = input {
                self.out.extend(batches.into_iter().map(|batch| Output::Release(batch.slot)));
            }
            return;
        }
        match input {
            Input::ProducerId(result) => self.producer_id(now, result),
            Input::Fenced(outcome) => self.fenced(now, outcome),
            Input::MapRead { from, result } => self.map_read(now, from, result),
            Input::MapWritten(answer) => self.map_written(now, answer),
            Input::Probed { partition, position, ends } => {
                self.with(now, partition, |partition, context| partition.probed(context, position, ends));
            }
            Input::TargetRead { partition, from, result } => {
                self.with(now, partition, |partition, context| partition.target_read(context, from, result));
            }
            Input::TargetEnds { partition, expected, look, start, end } => {
                let seen = SeenEnds { expected, look, start, end };
                self.with(now, partition, |partition, context| partition.ends_seen(context, seen));
            }
            Input::Repacked(id, result) => {
                self.with(now, id, |partition, context| partition.repacked(context, result));
            }
            Input::Fetched { partition, position, result } => {
                self.with(now, partition, |partition, context| partition.fetched(context, position, result));
            }
            Input::Produced { partition, slot, attempt, answer } => {
                self.with(now, partition, |partition, context| partition.produced(context, slot, attempt, answer));
            }
            Input::MirrorMoved { partition, slot, attempt } => {
                self.with(now, partition, |partition, context| partition.mirror_moved(context, slot, attempt));
            }
            Input::TargetOffline(id, offline) => self.target_offline(now, id, offline),
            Input::Stop(id, halt) => self.with(now, id, |partition, context| partition.halt(context, halt)),
            Input::Resolve { partition, resolution, spec } => {
                self.with(now, partition, |partition, context| partition.resolve_by(context, &resolution, spec));
            }
            Input::Release { key, to, number } => self.release(now, key, to, number),
            Input::Adopt(key, adoption) => self.adopt(key, *adoption),
            Input::Forget(key) => self.forget(key),
            Input::Gone(key) => self.gone(key),
            Input::Drain => self.draining = true,
        }
        self.settle(now);
    }

    fn target_offline(&mut self, now: Now, id: LanePartition, offline: Option<Offline>) {
        let Some(partition) = self.partitions.get_mut(id.0 as usize) else { return };
        let was_offline = partition.offline().is_some();
        partition.set_offline(now.mono_ms, offline);
        if was_offline && offline.is_none() {
            self.with(now, id, Partition::target_is_back);
        }
    }

    /// The next thing the shell should do. Plans that gathered are written once everything else is out.
    pub fn poll_output(&mut self, now: Now) -> Option<Output> {
        if self.out.is_empty() {
            self.write_plans();
            self.write_map(now);
        }
        self.out.pop_front()
    }

    /// When [`Lane::handle_timeout`] should be called next.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Handles what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((_, timer)) = self.timers.pop_first_if_due(now.mono_ms) {
            if matches!(self.stage, Stage::Over) {
                return;
            }
            match timer {
                Timer::Transaction => self.transaction_wanted = true,
                Timer::ReadMap => self.read_map(),
                Timer::WriteMap if self.may_be_unknown(now) => self.set_timer(now, LOOK_MS, Timer::WriteMap),
                Timer::WriteMap => {
                    if let Some(batch) = self.writer.as_ref().and_then(MapWriter::in_flight) {
                        self.out.push_back(Output::WriteMap(batch.clone()));
                    }
                }
                Timer::Mark => {
                    self.mark();
                    self.set_timer(now, self.config.mark_interval_ms, Timer::Mark);
                }
                Timer::MarkIdle(id) => {
                    let due = |partition: &Partition| partition.mark_at().is_some_and(|at| at <= now.mono_ms);
                    if self.partition(id).is_some_and(due) {
                        self.mark_one(id);
                    }
                }
                Timer::LookAfter => {
                    for id in self.ids() {
                        self.with(now, id, Partition::look_after);
                    }
                    self.set_timer(now, LOOK_AFTER_MS, Timer::LookAfter);
                }
                Timer::Look => {
                    self.transaction_wanted = true;
                    if self.is_running() {
                        for id in self.ids() {
                            self.with(now, id, Partition::look);
                        }
                    }
                    self.set_timer(now, LOOK_MS, Timer::Look);
                }
                Timer::Partition(id) => self.with(now, id, Partition::woken),
            }
        }
        self.settle(now);
    }

    /// Whether more of a partition is wanted: from which position, and the leader epoch before it.
    pub fn wants_fetch(&self, now: Now, id: LanePartition) -> Option<(SourceOffset, i32)> {
        let ready = matches!(self.stage, Stage::Running) && !self.holds_still(now);
        let part = self.config.queue_bytes_max / u64::try_from(self.partitions.len()).unwrap_or(u64::MAX).max(1);
        self.partition(id).filter(|_| ready)?.wants_fetch(now, part.max(1))
    }

    /// All partitions, in the order in which they were added.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// One partition.
    pub fn partition(&self, id: LanePartition) -> Option<&Partition> {
        self.partitions.get(id.0 as usize)
    }

    fn ids(&self) -> impl Iterator<Item = LanePartition> + use<> {
        (0..u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)).map(LanePartition)
    }

    /// Lends a partition what it needs, then sees to what it asked for.
    fn with(&mut self, now: Now, id: LanePartition, act: impl FnOnce(&mut Partition, &mut Context<'_>)) {
        let draining = self.holds_still(now);
        let Some(partition) = self.partitions.get_mut(id.0 as usize) else { return };
        let (mut needs, mut gone) = (Vec::new(), Vec::new());
        let planned_before = self.plans.len();
        let mut context = Context {
            now,
            id,
            producer_expiration_ms: self.config.producer_expiration_ms,
            draining,
            ending: self.draining,
            own_ids: &self.own_ids,
            plan_record: self.plan_record,
            plans_acknowledged: self.plans_acknowledged,
            plans: &mut self.plans,
            plans_gone: &mut gone,
            out: &mut self.out,
            needs: &mut needs,
        };
        act(partition, &mut context);
        for at in [partition.wake_at(), partition.fetch_at(now)].into_iter().flatten() {
            self.timers.insert((at, Timer::Partition(id)));
        }
        if let Some(at) = partition.mark_at() {
            self.timers.insert((at.max(now.mono_ms), Timer::MarkIdle(id)));
        }
        let planned = self.plans.len() - planned_before;
        if planned > 0 {
            *self.plan_uses.entry(self.plan_record).or_default() += planned;
            self.planned.entry(self.plan_record).or_default().push(id);
        }
        if self.plans.len() >= PLANS_MAX {
            self.write_plans();
        }
        self.plans_gone(gone);
        for (id, need) in needs {
            self.need(id, need);
        }
    }

    fn need(&mut self, id: LanePartition, need: Need) {
        match need {
            Need::Fence => {}
            Need::FenceAnew => self.bump = true,
            Need::Register => {
                if let (Some(partition), Some(writer)) = (self.partitions.get_mut(id.0 as usize), &mut self.writer) {
                    let key = partition.spec().key.clone();
                    let former = partition.take_former_chunks();
                    let gone = former.map(|number| MapRecord::ChunkGone(key.clone(), number));
                    let head = MapRecord::Head(key.clone(), partition.head());
                    let records: Vec<_> = core::iter::once(head).chain(gone).collect();
                    writer.push(&records, Then::Registered(id));
                }
            }
            Need::Chunks(behind) => self.want_chunks(id, behind),
            Need::CutBack(first, end) => {
                // The head makes plans void: they must stand before it.
                self.write_plans();
                if let (Some(partition), Some(writer)) = (self.partitions.get(id.0 as usize), &mut self.writer) {
                    let (key, head) = (&partition.spec().key, partition.head());
                    let then = Then::CutBack(id, head.cursor, self.plan_record);
                    let gone = (first..end).map(|number| MapRecord::ChunkGone(key.clone(), number));
                    // One group: nobody reads a map that says more than the log.
                    let records: Vec<_> = core::iter::once(MapRecord::Head(key.clone(), head)).chain(gone).collect();
                    writer.push(&records, then);
                }
            }
            Need::Halt => {
                if let (Some(partition), Some(writer)) = (self.partitions.get(id.0 as usize), &mut self.writer) {
                    writer.push(&[MapRecord::Halt(partition.spec().key.clone(), partition.halted())], Then::Halted(id));
                }
            }
            Need::Release => self.let_go(id),
        }
        self.transaction_wanted = true;
    }

    /// A plan is no longer needed: a record without needed plans is taken out of the map, once it is in it.
    fn plans_gone(&mut self, numbers: Vec<u64>) {
        for number in numbers {
            let Some(uses) = self.plan_uses.get_mut(&number) else { continue };
            *uses = uses.saturating_sub(1);
            self.drop_plan_record(number);
        }
    }

    fn drop_plan_record(&mut self, number: u64) {
        if number < self.plans_acknowledged && self.plan_uses.get(&number) == Some(&0) {
            self.plan_uses.remove(&number);
            if let Some(writer) = &mut self.writer {
                writer.push(&[MapRecord::PlansGone(number)], Then::Nothing);
            }
        }
    }

    fn settle(&mut self, now: Now) {
        self.begin_transaction(now);
        let quieting = self.draining || self.is_changing_id();
        let quiet = quieting && self.plans.is_empty() && self.partitions.iter().all(Partition::is_quiet);
        if !quiet || matches!(self.stage, Stage::Over) || self.has_left_its_id() {
            return;
        }
        self.mark();
        let written = self.writer.as_ref().is_none_or(MapWriter::is_idle);
        let idle = matches!(self.transaction, Transaction::None) || !matches!(self.stage, Stage::Running);
        if written && idle {
            match self.draining {
                true => self.over(Over::Drained),
                false => self.became_quiet(now),
            }
        }
    }

    /// Whether nothing is to be sent for now.
    fn holds_still(&self, now: Now) -> bool {
        self.draining
            || self.is_changing_id()
            || self.has_reached(self.config.epochs.hold_from)
            || self.may_be_unknown(now)
    }

    /// Whether the lane stood still for so long that the target may have forgotten its transactional id: the next owner
    /// would get another producer id, which refuses nothing that this one sends.
    fn may_be_unknown(&self, now: Now) -> bool {
        now.wall_ms - self.heard.wall_ms > 2 * self.config.keep_alive_ms
    }

    /// Somebody has a newer epoch: another owner, or nobody, if a late request of our own was carried out.
    fn superseded(&mut self, now: Now) {
        // What was carried out late may also have opened a transaction that the coordinator ends under another epoch,
        // much later: only its word from after that time shows that it did not.
        self.over(match now.mono_ms.min(self.heard.mono_ms) < self.doubtful_until {
            true => Over::Restart("a late request of its own may have taken it under another epoch"),
            false => Over::Lost,
        });
    }

    fn over(&mut self, reason: Over) {
        self.stage = Stage::Over;
        self.timers.clear();
        self.out.push_back(Output::Over(reason));
    }

    fn retry(&mut self, now: Now, failure: Failure, what: &'static str, timer: Timer) {
        if *self.attempts(timer) == 0 {
            self.out.push_back(Output::Event(Event::Retrying(None, failure, what)));
        }
        if timer == Timer::Transaction {
            self.transaction_failure = Some(failure);
        }
        self.set_backoff(now, timer);
    }

    fn set_backoff(&mut self, now: Now, timer: Timer) {
        let spread = self.producer.map_or(0, |producer| producer.id.unsigned_abs());
        let attempts = self.attempts(timer);
        let pause = backoff::pause_ms(*attempts, spread);
        *attempts += 1;
        if timer == Timer::Transaction {
            self.transaction_at = now.mono_ms + pause;
        }
        self.set_timer(now, pause, timer);
    }

    fn attempts(&mut self, timer: Timer) -> &mut u32 {
        match timer {
            Timer::Transaction => &mut self.transaction_attempt,
            _ => &mut self.attempt,
        }
    }

    /// A transaction succeeded.
    fn transactions_go_on(&mut self) {
        (self.transaction_attempt, self.transaction_failure) = (0, None);
    }

    /// Why the lane's last transaction failed, until one succeeds: all partitions that want a fence wait for it.
    pub fn transaction_failure(&self) -> Option<Failure> {
        self.transaction_failure
    }

    fn set_timer(&mut self, now: Now, after_ms: u64, timer: Timer) {
        self.timers.insert((now.mono_ms + after_ms, timer));
    }

    /// Whether the lane owns its map and copies.
    pub fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running)
    }
}

fn id(index: usize) -> Option<LanePartition> {
    u32::try_from(index).ok().map(LanePartition)
}

/// Codes that a retry does not help against until somebody grants a right.
fn forbidden(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED
            | ErrorCode::CLUSTER_AUTHORIZATION_FAILED
            | ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    )
}

/// Takes the first timer if it is due.
trait PopDue {
    fn pop_first_if_due(&mut self, mono_ms: u64) -> Option<(u64, Timer)>;
}

impl PopDue for BTreeSet<(u64, Timer)> {
    fn pop_first_if_due(&mut self, mono_ms: u64) -> Option<(u64, Timer)> {
        self.first().filter(|(at, _)| *at <= mono_ms)?;
        self.pop_first()
    }
}
