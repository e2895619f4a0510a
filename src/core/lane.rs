//! A lane: a share of a link's partitions under one fenced producer id, and its partition of the map topic.
//!
//! ```text
//!  Taking ──InitProducerId──► FencingMap ──marker on its way──► LoadingMap ──marker seen──► Running ──► over
//! ```
//!
//! Nothing in the map is read as the truth before the lane's own marker is seen in it: from there on a former owner's
//! writes are refused. One transaction is open at a time, and it never holds data.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::vec::Vec;

use twinlog_wire::error_code::{ErrorCode, Retry};

use crate::backoff;
use crate::ids::{Now, Producer, SourceOffset, TargetOffset};
use crate::io::{
    Event, Failure, FenceOutcome, Input, LanePartition, MapEntry, Member, Output, Over, PartitionSpec, ReadResult,
};
use crate::map_record::{LinkRecord, MapRecord, PartitionKey, Plan, PlanList};
use crate::map_state::{MapState, MappedPartition};
use crate::map_writer::{MapWriter, Then};
use crate::outbox::Answer;
use crate::partition::{Context, MARKER_WAIT_MS, Need, Partition, Phase};

/// Topics in one fence: what one request may add, so that a fence is added whole or not at all.
const FENCE_TOPICS_MAX: usize = 100;

/// How many plans gather before they become a record: some ten thousand would be too large for a broker.
const PLANS_MAX: usize = 4096;

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
    /// Bytes of one partition that may wait or be in flight before no more is fetched for it.
    pub queue_bytes_max: u64,
    /// Ranges that one chunk of the map holds; a head holds at most twice as many.
    pub chunk_ranges: usize,
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
    LookAfter,
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
    /// abort
    /// it under an epoch that nobody gets, and then take us for a zombie: `prepareInitProducerIdTransit`.)
    open_members: BTreeSet<Member>,
    /// A new epoch had to wait for a transaction of this lane to end.
    init_waited: bool,
    /// A fence since the last epoch was not answered: its requests may still arrive.
    fence_unanswered: bool,
    writer: Option<MapWriter>,
    partitions: Vec<Partition>,
    by_key: BTreeMap<PartitionKey, LanePartition>,
    mapped: BTreeMap<PartitionKey, MappedPartition>,
    plan_record: u64,
    plans: Vec<(PartitionKey, Plan)>,
    plans_acknowledged: u64,
    /// How many plans of each record are still needed.
    plan_uses: BTreeMap<u64, usize>,
    /// Partitions that have plans in a record that is not acknowledged.
    planned: BTreeMap<u64, Vec<LanePartition>>,
    timers: BTreeSet<(u64, Timer)>,
    attempt: u32,
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
            init_waited: false,
            fence_unanswered: false,
            writer: None,
            partitions: Vec::new(),
            by_key: BTreeMap::new(),
            mapped: BTreeMap::new(),
            plan_record: 0,
            plans: Vec::new(),
            plans_acknowledged: 0,
            plan_uses: BTreeMap::new(),
            planned: BTreeMap::new(),
            timers: BTreeSet::new(),
            attempt: 0,
            draining: false,
            out: VecDeque::new(),
            config,
        };
        lane.set_timer(now, lane.config.mark_interval_ms, Timer::Mark);
        lane.set_timer(now, LOOK_AFTER_MS, Timer::LookAfter);
        lane.settle(now);
        lane
    }

    /// Adds a partition, or finds it.
    pub fn add(&mut self, now: Now, spec: PartitionSpec) -> LanePartition {
        if let Some(id) = self.by_key.get(&spec.key) {
            return *id;
        }
        let id = LanePartition(u32::try_from(self.partitions.len()).unwrap_or(u32::MAX));
        self.by_key.insert(spec.key.clone(), id);
        // Until the map is loaded the partition does not know what it will go on from: it is made anew then.
        let mapped = self.mapped.remove(&spec.key);
        self.partitions.push(Partition::new(spec, mapped));
        if matches!(self.stage, Stage::Running) {
            self.with(now, id, Partition::start);
        }
        self.settle(now);
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
            Input::Probed(id, ends) => self.with(now, id, |partition, context| partition.probed(context, ends)),
            Input::TargetRead { partition, from, result } => {
                self.with(now, partition, |partition, context| partition.target_read(context, from, result));
            }
            Input::TargetEnds { partition, expected, start, end } => {
                self.with(now, partition, |partition, context| partition.ends_seen(context, expected, start, end));
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
            Input::Stop(id, halt) => self.with(now, id, |partition, context| partition.halt(context, halt)),
            Input::Drain => self.draining = true,
        }
        self.settle(now);
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
                Timer::WriteMap => {
                    if let Some(batch) = self.writer.as_ref().and_then(MapWriter::in_flight) {
                        self.out.push_back(Output::WriteMap(batch.clone()));
                    }
                }
                Timer::Mark => {
                    self.mark();
                    self.set_timer(now, self.config.mark_interval_ms, Timer::Mark);
                }
                Timer::LookAfter => {
                    for id in self.ids() {
                        self.with(now, id, Partition::look_after);
                    }
                    self.set_timer(now, LOOK_AFTER_MS, Timer::LookAfter);
                }
                Timer::Partition(id) => self.with(now, id, Partition::woken),
            }
        }
        self.settle(now);
    }

    /// Partitions that want to be fetched, with position and the leader epoch before it.
    pub fn wants_fetch(&self, now: Now) -> impl Iterator<Item = (LanePartition, SourceOffset, i32)> {
        let ready = matches!(self.stage, Stage::Running) && !self.draining;
        self.partitions.iter().enumerate().filter(move |_| ready).filter_map(move |(index, partition)| {
            let (position, epoch) = partition.wants_fetch(now, self.config.queue_bytes_max)?;
            Some((id(index)?, position, epoch))
        })
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
        let Some(partition) = self.partitions.get_mut(id.0 as usize) else { return };
        let (mut needs, mut gone) = (Vec::new(), Vec::new());
        let planned_before = self.plans.len();
        let mut context = Context {
            now,
            id,
            producer_expiration_ms: self.config.producer_expiration_ms,
            draining: self.draining,
            own_id: self.producer.map_or(-1, |producer| producer.id),
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
                if let (Some(partition), Some(writer)) = (self.partitions.get(id.0 as usize), &mut self.writer) {
                    let head = MapRecord::Head(partition.spec().key.clone(), partition.head());
                    writer.push(&[head], Then::Registered(id));
                }
            }
            Need::Halt => {
                if let (Some(partition), Some(writer)) = (self.partitions.get(id.0 as usize), &mut self.writer) {
                    writer.push(&[MapRecord::Halt(partition.spec().key.clone(), partition.halted())], Then::Nothing);
                }
            }
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

    // ---- taking, epochs, fences ----

    /// Begins the next epoch change or fence if one is wanted and none is under way.
    fn begin_transaction(&mut self, now: Now) {
        let paused = self.transaction_at > now.mono_ms;
        if !core::mem::take(&mut self.transaction_wanted) || self.transaction != Transaction::None || paused {
            return;
        }
        match self.stage {
            Stage::Taking => self.init(),
            Stage::FencingMap => self.fence(now, alloc::vec![Member::Map]),
            Stage::LoadingMap { .. } | Stage::Over => {}
            Stage::Running => {
                let wanting = self.partitions.iter().enumerate().filter(|(_, partition)| partition.wants_fence(now));
                let mut topics = BTreeSet::new();
                let wanting: BTreeSet<_> = wanting
                    .filter(|(_, partition)| {
                        let topic = &partition.spec().target_topic;
                        topics.contains(topic) || (topics.len() < FENCE_TOPICS_MAX && topics.insert(topic.clone()))
                    })
                    .filter_map(|(index, _)| Some(Member::Data(id(index)?)))
                    .collect();
                match (self.bump, self.open_members.is_empty()) {
                    (true, true) if !wanting.is_empty() => self.init(),
                    // It only closes what is open: who asked for a new epoch is not served by a marker of this one.
                    (true, false) => self.commit_open(),
                    _ if wanting.is_empty() && self.open_members.is_empty() => {}
                    _ => self.fence(now, wanting.union(&self.open_members).copied().collect()),
                }
            }
        }
    }

    /// With a producer already there, only if it is still the newest: an owner that took over meanwhile stays.
    fn init(&mut self) {
        self.transaction = Transaction::Init;
        self.out.push_back(Output::InitProducerId { current: self.producer });
    }

    fn commit_open(&mut self) {
        let Some(producer) = self.producer else { return };
        let members: Vec<_> = self.open_members.iter().copied().collect();
        self.transaction = Transaction::Fence(members.clone());
        self.out.push_back(Output::Fence { producer, members });
    }

    fn fence(&mut self, now: Now, members: Vec<Member>) {
        let Some(producer) = self.producer else { return };
        for member in &members {
            if let Member::Data(id) = member
                && let Some(partition) = self.partitions.get_mut(id.0 as usize)
                && partition.wants_fence(now)
            {
                partition.fencing(now);
            }
        }
        self.transaction = Transaction::Fence(members.clone());
        self.out.push_back(Output::Fence { producer, members });
    }

    fn producer_id(&mut self, now: Now, result: Result<Producer, Failure>) {
        if self.transaction != Transaction::Init {
            return;
        }
        self.transaction = Transaction::None;
        match result {
            Ok(producer) => {
                self.attempt = 0;
                self.bump = false;
                self.init_waited = false;
                self.fence_unanswered = false;
                self.producer = Some(producer);
                if matches!(self.stage, Stage::Taking) {
                    self.stage = Stage::FencingMap;
                }
                self.transaction_wanted = true;
            }
            // A request of our own that arrived late had opened a transaction again. The coordinator aborted it under
            // an
            // epoch that nobody gets; who takes the lane anew finds the same as after another owner.
            Err(Failure::Code(ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED))
                if self.init_waited && self.fence_unanswered =>
            {
                self.over(Over::Restart("a transaction of the lane was aborted under a newer epoch"));
            }
            Err(Failure::Code(ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED)) => self.over(Over::Lost),
            Err(Failure::Code(ErrorCode::INVALID_PRODUCER_ID_MAPPING)) => {
                self.over(Over::Restart("the target forgot the lane's transactional id"));
            }
            Err(Failure::Code(code)) if forbidden(code) => {
                self.over(Over::Forbidden(code, "InitProducerId with the lane's transactional id"));
            }
            Err(failure) => {
                self.init_waited |=
                    failure == Failure::Code(ErrorCode::CONCURRENT_TRANSACTIONS) && self.producer.is_some();
                self.retry(now, failure, "getting a producer id", Timer::Transaction);
            }
        }
    }

    fn fenced(&mut self, now: Now, outcome: FenceOutcome) {
        let Transaction::Fence(members) = core::mem::replace(&mut self.transaction, Transaction::None) else { return };
        let fenced_by_other =
            |code: ErrorCode| matches!(code, ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED);
        match outcome {
            FenceOutcome::Committed => {
                self.attempt = 0;
                self.open_members.clear();
                self.committed(now, &members);
            }
            FenceOutcome::NotAdded(codes) => {
                if codes.iter().any(|(_, code)| fenced_by_other(*code)) {
                    return self.over(Over::Lost);
                }
                self.not_added(now, &members, &codes);
            }
            FenceOutcome::Failed(Failure::Code(code)) if fenced_by_other(code) => return self.over(Over::Lost),
            FenceOutcome::Failed(Failure::Code(code)) if forbidden(code) => {
                return self.over(Over::Forbidden(code, "a transaction with the lane's transactional id"));
            }
            FenceOutcome::Failed(Failure::Code(ErrorCode::INVALID_PRODUCER_ID_MAPPING)) => {
                return self.over(Over::Restart("the target forgot the lane's transactional id"));
            }
            FenceOutcome::Failed(failure) => {
                self.give_back(now, &members, None);
                self.retry(now, failure, "writing markers", Timer::Transaction);
            }
            FenceOutcome::Unknown => {
                // A marker may or may not come. The same again: it joins the transaction if that is open, and commits
                // it;
                // it waits for the markers if it is ending; it is a new one if all is done.
                self.fence_unanswered = true;
                self.give_back(now, &members, None);
                self.open_members.extend(members.iter().filter(|member| **member != Member::Map));
                self.retry(now, Failure::Lost, "writing markers", Timer::Transaction);
            }
        }
        self.transaction_wanted = true;
    }

    fn committed(&mut self, now: Now, members: &[Member]) {
        let Some(producer) = self.producer else { return };
        for member in members {
            match member {
                Member::Map => {
                    let (state, next) = (MapState::default(), TargetOffset(0));
                    self.stage = Stage::LoadingMap { state, next, since: now.mono_ms };
                    self.read_map();
                }
                Member::Data(id) => {
                    self.with(now, *id, |partition, context| partition.fence_committed(context, producer));
                }
            }
        }
    }

    fn not_added(&mut self, now: Now, members: &[Member], codes: &[(Member, ErrorCode)]) {
        for member in members {
            let code = codes.iter().find(|(other, _)| other == member).map(|(_, code)| *code);
            let failure = code.filter(|code| !code.is_ok() && *code != ErrorCode::OPERATION_NOT_ATTEMPTED);
            match member {
                Member::Map => {
                    if let Some(code) = failure.filter(|code| forbidden(*code)) {
                        return self.over(Over::Forbidden(code, "writing to the map topic"));
                    }
                    let failure = failure.unwrap_or(ErrorCode::OPERATION_NOT_ATTEMPTED);
                    self.retry(now, Failure::Code(failure), "writing the map's marker", Timer::Transaction);
                }
                Member::Data(id) => {
                    // Without it the others can still be committed.
                    if failure.is_some_and(|code| code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION || forbidden(code)) {
                        self.open_members.remove(member);
                    }
                    self.with(now, *id, |partition, context| {
                        partition.fence_failed(context, failure.map(Failure::Code));
                    });
                }
            }
        }
    }

    fn give_back(&mut self, now: Now, members: &[Member], failure: Option<Failure>) {
        for member in members {
            if let Member::Data(id) = member {
                self.with(now, *id, |partition, context| partition.fence_failed(context, failure));
            }
        }
    }

    // ---- the map ----

    fn read_map(&mut self) {
        if let Stage::LoadingMap { next, .. } = &self.stage {
            self.out.push_back(Output::ReadMap { from: *next });
        }
    }

    fn map_read(&mut self, now: Now, from: TargetOffset, result: ReadResult<MapEntry>) {
        let Some(own) = self.producer else { return };
        let Stage::LoadingMap { state, next, since } = &mut self.stage else { return };
        if from != *next {
            return;
        }
        match result {
            ReadResult::Entries { entries, next: after } => {
                for entry in entries {
                    match entry {
                        MapEntry::Marker(producer) if producer == own => return self.loaded(now),
                        MapEntry::Marker(_) => {}
                        MapEntry::Record { key, value } => match MapRecord::decode(&key, value.as_deref()) {
                            Ok(Some(record)) => state.apply(record),
                            Ok(None) => {}
                            Err(bad) => {
                                let key = alloc::string::String::from_utf8_lossy(&key).into_owned();
                                return self.over(Over::BadMap(format!("record {key:?}: {}", bad.reason)));
                            }
                        },
                    }
                }
                let moved = after > *next;
                *next = (*next).max(after);
                if moved {
                    self.attempt = 0;
                    self.read_map();
                } else if now.mono_ms - *since > MARKER_WAIT_MS {
                    // The map's log lost it: another one.
                    self.stage = Stage::FencingMap;
                    self.transaction_wanted = true;
                } else {
                    self.set_backoff(now, Timer::ReadMap);
                }
            }
            ReadResult::OutOfRange { start, .. } if start > *next => {
                *next = start;
                self.read_map();
            }
            ReadResult::OutOfRange { .. } => self.set_backoff(now, Timer::ReadMap),
            ReadResult::Failed(failure) => self.retry(now, failure, "reading the map", Timer::ReadMap),
        }
    }

    fn loaded(&mut self, now: Now) {
        let Stage::LoadingMap { state, .. } = core::mem::replace(&mut self.stage, Stage::Running) else { return };
        let Some(producer) = self.producer else { return };
        let mut writer = MapWriter::new(producer);
        match &state.link {
            None => writer.push(&[MapRecord::Link(self.config.link.clone())], Then::Nothing),
            Some(link) if *link == self.config.link => {}
            Some(link) => {
                let words = format!("it belongs to {link:?}, this is {:?}", self.config.link);
                return self.over(Over::BadMap(words));
            }
        }
        self.writer = Some(writer);
        self.attempt = 0;
        self.plan_record = state.next_plan_record;
        self.plans_acknowledged = state.next_plan_record;
        self.plan_uses = state.plan_records.iter().map(|number| (*number, 0)).collect();
        for mapped in state.partitions.values() {
            for (number, _) in mapped.plans.later() {
                *self.plan_uses.entry(*number).or_default() += 1;
            }
        }
        for number in state.plan_records {
            self.drop_plan_record(number);
        }
        self.mapped = state.partitions;
        self.out.push_back(Output::Event(Event::Taken { producer }));
        for id in self.ids() {
            if let Some(partition) = self.partitions.get_mut(id.0 as usize) {
                let spec = partition.spec().clone();
                let mapped = self.mapped.remove(&spec.key);
                let stopped = match partition.phase() {
                    Phase::Halted(halt) => Some(halt.clone()),
                    _ => None,
                };
                *partition = Partition::new(spec, mapped);
                if let Some(halt) = stopped {
                    // Told so while the map was not loaded yet.
                    self.with(now, id, |partition, context| partition.halt(context, halt));
                    continue;
                }
            }
            self.with(now, id, Partition::start);
        }
    }

    fn map_written(&mut self, now: Now, answer: Answer) {
        let Some(writer) = &mut self.writer else { return };
        let Some(batch) = writer.in_flight() else { return };
        let aged = now.wall_ms - batch.timestamp_ms > self.config.producer_expiration_ms / 2;
        let failure = match answer {
            Answer::Stored { .. } => {
                self.attempt = 0;
                for then in writer.written() {
                    self.written(now, then);
                }
                return;
            }
            Answer::Lost => Failure::Lost,
            Answer::NotSent => Failure::NotSent,
            Answer::Refused(code, _) => Failure::Code(code),
        };
        match failure {
            // Only another owner's fence puts a newer epoch into the map's partition.
            Failure::Code(ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED) => self.over(Over::Lost),
            Failure::Code(code) if forbidden(code) => self.over(Over::Forbidden(code, "writing to the map topic")),
            Failure::Code(code) if code.retry() == Retry::Never && code != ErrorCode::UNKNOWN_SERVER_ERROR || aged => {
                self.over(Over::Restart("the map topic refused a write"));
            }
            _ if aged => self.over(Over::Restart("the map topic could not be written for long")),
            failure => self.retry(now, failure, "writing to the map", Timer::WriteMap),
        }
    }

    fn written(&mut self, now: Now, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Registered(id) => self.with(now, id, Partition::registered),
            Then::Head(id, cursor, before) => {
                let partition = self.partitions.get_mut(id.0 as usize);
                let gone = partition.map(|partition| partition.head_written(cursor, before));
                self.plans_gone(gone.unwrap_or_default());
            }
            Then::Plans(number) => {
                self.plans_acknowledged = number + 1;
                self.drop_plan_record(number);
                for id in self.planned.remove(&number).unwrap_or_default() {
                    self.with(now, id, Partition::advance);
                }
            }
        }
    }

    /// Turns the plans that gathered into one record.
    fn write_plans(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        if self.plans.is_empty() {
            return;
        }
        let entries = core::mem::take(&mut self.plans);
        writer.push(&[MapRecord::Plans(self.plan_record, PlanList { entries })], Then::Plans(self.plan_record));
        self.plan_record += 1;
    }

    fn write_map(&mut self, now: Now) {
        if matches!(self.stage, Stage::Over) {
            return;
        }
        if let Some(batch) = self.writer.as_mut().and_then(|writer| writer.next_batch(now)) {
            self.out.push_back(Output::WriteMap(batch));
        }
    }

    /// Progress marks: the heads of all partitions that moved.
    fn mark(&mut self) {
        // A head says which plans are void: those that it knows of must stand before it.
        self.write_plans();
        let Some(writer) = &mut self.writer else { return };
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            if !partition.take_dirty() {
                continue;
            }
            let key = partition.spec().key.clone();
            // A chunk that is there before its head is not counted yet: only the head says how many there are.
            while let Some((number, chunk)) = partition.take_chunk(self.config.chunk_ranges) {
                writer.push(&[MapRecord::Chunk(key.clone(), number, chunk)], Then::Nothing);
            }
            let gone = partition.prune().map(|number| MapRecord::ChunkGone(key.clone(), number));
            let gone: Vec<_> = gone.collect();
            let head = partition.head();
            let Some(id) = id(index) else { continue };
            let then = Then::Head(id, head.cursor, self.plan_record);
            // One group: whoever reads the head does not miss a chunk.
            let records: Vec<_> = core::iter::once(MapRecord::Head(key, head)).chain(gone).collect();
            writer.push(&records, then);
        }
    }

    // ---- time and end ----

    fn settle(&mut self, now: Now) {
        self.begin_transaction(now);
        let quiet = self.draining && self.plans.is_empty() && self.partitions.iter().all(Partition::is_quiet);
        if !quiet || matches!(self.stage, Stage::Over) {
            return;
        }
        self.mark();
        let written = self.writer.as_ref().is_none_or(MapWriter::is_idle);
        let idle = matches!(self.transaction, Transaction::None) || !matches!(self.stage, Stage::Running);
        if written && idle {
            self.over(Over::Drained);
        }
    }

    fn over(&mut self, reason: Over) {
        self.stage = Stage::Over;
        self.timers.clear();
        self.out.push_back(Output::Over(reason));
    }

    fn retry(&mut self, now: Now, failure: Failure, what: &'static str, timer: Timer) {
        if self.attempt == 0 {
            self.out.push_back(Output::Event(Event::Retrying(None, failure, what)));
        }
        self.set_backoff(now, timer);
    }

    fn set_backoff(&mut self, now: Now, timer: Timer) {
        let pause = backoff::pause_ms(self.attempt, self.producer.map_or(0, |producer| producer.id.unsigned_abs()));
        self.attempt += 1;
        if timer == Timer::Transaction {
            self.transaction_at = now.mono_ms + pause;
        }
        self.set_timer(now, pause, timer);
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
