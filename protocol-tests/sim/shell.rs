//! The modelled shell of an instance: outputs become requests, answers become inputs.

use std::collections::BTreeMap;
use std::rc::Rc;

use twinlog_core::batch::{BatchKind, FetchedBatch, Repacked, Run, Slot};
use twinlog_core::config::{ExistingTopics, GapPolicy};
use twinlog_core::ids::{Producer, SourceOffset, TargetOffset};
use twinlog_core::io::{
    Event as LaneEvent, Failure, FenceOutcome, FetchResult, Input, LanePartition, Member, Output, Over, PartitionSpec,
    ReadResult,
};
use twinlog_core::lane::{Lane, LaneConfig};
use twinlog_core::map_record::{LinkRecord, PartitionKey};
use twinlog_core::outbox::Answer;

use super::mistakes::Mistake;
use super::source::{Content, Fetch, Kind};
use super::world::{Call, Connection, Event, Instance, Origin, Request, Target, World};

pub(crate) fn key(partition: usize) -> PartitionKey {
    PartitionKey { topic: "t".into(), partition: partition as i32 }
}

pub(crate) fn lane_partition(partition: usize) -> LanePartition {
    LanePartition(partition as u32)
}

impl World {
    pub(crate) fn start(&mut self, number: usize) {
        self.start_planned[number] = false;
        let partitions = self.profile.partitions;
        let index = self.instances.len();
        self.instances.push(Instance {
            lane: None,
            number,
            table: Vec::new(),
            table_version: 0,
            ids: vec![None; partitions],
            life: 0,
            alive: true,
            slots: BTreeMap::new(),
            fetching: vec![false; partitions],
            connections: vec![Connection::default(); partitions + self.profile.lanes],
            paused_until: 0,
            held: Vec::new(),
            fence: None,
            cut: None,
            sent: BTreeMap::new(),
        });
        self.count("starts");
        self.restart(index);
    }

    /// A new lane in an instance.
    pub(crate) fn restart(&mut self, index: usize) {
        let config = LaneConfig {
            link: LinkRecord { link: "sim".into(), source_cluster: "a".into(), target_cluster: "b".into() },
            producer_expiration_ms: self.profile.expiration_ms,
            mark_interval_ms: self.profile.mark_interval_ms,
            queue_bytes_max: self.profile.queue_bytes_max,
            chunk_ranges: self.profile.chunk_ranges,
            keep_alive_ms: self.profile.keep_alive_ms,
            epochs: self.profile.epochs.limits,
        };
        let (life, now) = (self.number(), self.time());
        let instance = &mut self.instances[index];
        instance.life = life;
        instance.table.clear();
        instance.table_version = 0;
        instance.ids.fill(None);
        instance.fetching.fill(false);
        instance.slots.clear();
        instance.lane = Some(Lane::new(config, now));
        self.note(|_| format!("instance {index} begins, life {life}"));
        self.drive(index);
        self.look(Origin { instance: index, life }, true);
    }

    /// An instance copies a partition from now on.
    pub(crate) fn add_partition(&mut self, index: usize, partition: usize) {
        let (now, spec) = (self.time(), self.spec(partition));
        let instance = &mut self.instances[index];
        if let Some(lane) = instance.lane.as_mut().filter(|lane| lane.find(&spec.key).is_none()) {
            instance.ids[partition] = lane.add(now, spec);
            self.drive(index);
        }
    }

    /// What is to be copied, as both sides are now.
    pub(crate) fn spec(&self, partition: usize) -> PartitionSpec {
        let existing = match self.profile.existing {
            0 => ExistingTopics::Refuse,
            _ if matches!(self.profile.cause, Some((_, super::profile::Cause::NotEmpty))) => ExistingTopics::Refuse,
            _ => ExistingTopics::Append,
        };
        PartitionSpec {
            key: key(partition),
            source_topic_id: [self.source_topics[partition]; 16],
            target_topic: "t".into(),
            target_topic_id: [self.target_topics[partition]; 16],
            existing,
            gap: if self.profile.skips_gaps { GapPolicy::Skip } else { GapPolicy::Halt },
        }
    }

    /// How long until an answer reaches the life that it is for; none if it never does.
    pub(crate) fn wait_for(&self, origin: Origin) -> Option<u64> {
        match self.reach(origin) {
            Reach::Gone => None,
            Reach::In(wait) => Some(wait),
            Reach::Now => Some(0),
        }
    }

    /// Whether an answer reaches the life that it is for. A paused instance gets it when it goes on.
    fn reach(&self, origin: Origin) -> Reach {
        let instance = &self.instances[origin.instance];
        if instance.lane.is_none() || instance.life != origin.life {
            Reach::Gone
        } else if instance.paused_until > self.now {
            Reach::In(instance.paused_until - self.now)
        } else {
            Reach::Now
        }
    }

    pub(crate) fn deliver(&mut self, origin: Origin, input: Input) {
        match self.reach(origin) {
            Reach::Gone => {}
            Reach::In(wait) => self.after(wait, Event::Input(origin, input)),
            Reach::Now => {
                let Some(input) = self.twist_input(origin, input) else { return };
                self.note(|_| format!("{} <- {input:?}", origin.instance));
                let now = self.time();
                self.find_what_the_lane_added(origin.instance);
                let instance = &mut self.instances[origin.instance];
                let mut named = input.clone();
                rename_input(&mut named, &|id| instance.ids[id.0 as usize].unwrap_or(NOBODY));
                if let Input::Fetched { partition, result: FetchResult::Failed(_), .. } = &input {
                    instance.fetching[partition.0 as usize] = false;
                }
                if let Some(lane) = &mut instance.lane {
                    lane.handle(now, named);
                }
                self.drive(origin.instance);
            }
        }
    }

    /// A lane takes in by itself what it is to let go of, and what its used-up producer id must be fenced in.
    fn find_what_the_lane_added(&mut self, index: usize) {
        let instance = &mut self.instances[index];
        let Some(lane) = &instance.lane else { return };
        let mut to_be_fenced = 0;
        for (partition, id) in instance.ids.iter_mut().enumerate() {
            let Some(found) = lane.find(&key(partition)) else { continue };
            if id.replace(found).is_none() && lane.partition(found).is_some_and(|found| !found.is_leaving()) {
                to_be_fenced += 1;
            }
        }
        (0..to_be_fenced).for_each(|_| self.count("partitions taken in to fence a used-up id"));
    }

    /// Does what the lane asks for; at each effect the instance may die, before it or after it.
    pub(crate) fn drive(&mut self, index: usize) {
        let Some(mut lane) = self.instances[index].lane.take() else { return };
        let origin = Origin { instance: index, life: self.instances[index].life };
        let now = self.time();
        while let Some(mut output) = lane.poll_output(now) {
            rename_output(&mut output, &|id| name_of(&lane, id));
            let is_effect = !matches!(output, Output::Event(_) | Output::Release(_) | Output::Over(_));
            if is_effect && self.crashes() {
                return self.crash(index);
            }
            self.note(|_| format!("{index} -> {output:?}"));
            let over = if let Output::Over(over) = &output { Some(over.clone()) } else { None };
            self.obey(origin, &lane, output);
            if let Some(over) = over {
                return self.over(index, over);
            }
            if is_effect && self.crashes() {
                return self.crash(index);
            }
        }
        let wanted = (0..).map(LanePartition).take(lane.partitions().len());
        let wanted = wanted.filter_map(|id| Some((name_of(&lane, id), lane.wants_fetch(now, id)?)));
        let wanted: Vec<_> = wanted.collect();
        self.instances[index].lane = Some(lane);
        for (id, (position, epoch)) in wanted {
            let partition = id.0 as usize;
            if !std::mem::replace(&mut self.instances[index].fetching[partition], true) {
                self.call(origin, Call::Fetch { partition, position: position.0, epoch });
            }
        }
    }

    fn crashes(&mut self) -> bool {
        !self.quiet && self.rng.chance(self.profile.crash)
    }

    /// kill -9: what it sent may still be on its way.
    pub(crate) fn crash(&mut self, index: usize) {
        self.note(|_| format!("{index} dies"));
        self.count("crashes");
        self.end(index);
        let delay = self.rng.between(0, 2_000);
        self.plan_start(self.instances[index].number, delay);
    }

    pub(super) fn end(&mut self, index: usize) {
        let instance = &mut self.instances[index];
        instance.lane = None;
        instance.alive = false;
        instance.slots.clear();
        let connections: Vec<_> = instance.connections.iter().map(|connection| connection.id).collect();
        for connection in connections {
            self.break_connection(connection);
        }
    }

    pub(crate) fn plan_start(&mut self, lane: usize, delay: u64) {
        if !self.start_planned[lane] {
            self.start_planned[lane] = true;
            self.after(delay, Event::Start(lane));
        }
    }

    fn over(&mut self, index: usize, over: Over) {
        match over {
            Over::Restart(why) => {
                self.count("restarts of a lane");
                self.note(|_| format!("{index} begins anew: {why}"));
                self.end(index);
                self.instances[index].alive = true;
                if self.draining.contains(&index) {
                    // It did not end as it was told to: it catches up once more.
                    self.draining.clear();
                }
                self.after(100, Event::Restart(index));
            }
            Over::Lost => {
                self.count("zombies refused");
                if self.owner_beside(index) == Some(index) {
                    self.fail(format!("instance {index} gives up though nobody else took the lane"));
                }
                self.end(index);
                if self.draining.contains(&index) {
                    // A zombie that had not heard: its successor died, another one will look.
                    self.draining.clear();
                }
            }
            Over::Drained if self.draining.contains(&index) => {
                self.end(index);
                self.drained(index);
            }
            Over::Drained => {
                self.end(index);
                self.plan_start(self.instances[index].number, 300);
            }
            Over::BadMap(_) | Over::Forbidden(..) => self.fail(format!("instance {index}: {over:?}")),
        }
    }

    fn obey(&mut self, origin: Origin, lane: &Lane, output: Output) {
        self.judge_output(origin, lane, &output);
        if self.twist(origin, lane, &output) {
            return;
        }
        match output {
            Output::InitProducerId { current } => self.call(origin, Call::Init(current)),
            Output::Fence { producer, members } => {
                if members.is_empty() {
                    self.count("commits of what lost its leader");
                    return self.call(origin, Call::Commit(producer, true));
                }
                let without = self.leaderless_members(self.instances[origin.instance].number, &members);
                if without.is_empty() {
                    return self.call(origin, Call::Add { producer, members });
                }
                self.after(0, Event::Input(origin, Input::Fenced(FenceOutcome::NotAdded(without))));
            }
            Output::ReadMap { from } => self.call(origin, Call::ReadMap(from.0)),
            Output::WriteMap(batch) => self.produce(origin, Target::Map, Call::WriteMap(batch)),
            Output::Probe { partition, position } => {
                self.call(origin, Call::Probe(partition.0 as usize, position));
            }
            Output::ReadTarget { partition, from, epoch } => {
                self.call(origin, Call::ReadTarget { partition: partition.0 as usize, from: from.0, epoch });
            }
            Output::LookAtEnds { partition, expected, look } => {
                self.call(origin, Call::LookAtEnds { partition: partition.0 as usize, expected: expected.0, look });
            }
            Output::Repack { partition, slot, from } => {
                self.count("repacks");
                let delay = self.rng.delay();
                let (partition, slot, from) = (partition.0 as usize, slot.0, from.0);
                self.after(delay, Event::Repack { origin, partition, slot, from });
            }
            Output::Send { partition, slot, attempt, producer, sequence } => {
                let partition = partition.0 as usize;
                let Some(content) = self.instances[origin.instance].slots.get(&slot.0).map(Rc::clone) else { return };
                let target = Target::Data { partition, slot: slot.0, attempt };
                self.produce(origin, target, Call::Produce { producer, sequence, content });
            }
            Output::Release(slot) => {
                if self.instances[origin.instance].slots.remove(&slot.0).is_none() {
                    self.fail(format!("slot {slot:?} is released twice, or was never given"));
                }
            }
            Output::Event(event) => self.follow(origin, &event),
            Output::Over(_) => {}
        }
    }

    /// What a change of state leads to: the table is looked at again.
    fn follow(&mut self, origin: Origin, event: &LaneEvent) {
        match event {
            LaneEvent::Released(key, _) if self.mistake == Some(Mistake::ForgetEarly) => {
                self.after(0, Event::Input(origin, Input::Forget(key.clone())));
            }
            LaneEvent::Taken { .. } | LaneEvent::Released(..) | LaneEvent::Adopted(_) | LaneEvent::Forgotten(_) => {
                self.after(0, Event::Look(origin, false));
            }
            _ => {}
        }
    }

    /// Sends anything but a Produce. Whatever happens, there is one answer.
    pub(crate) fn call(&mut self, origin: Origin, call: Call) {
        let (id, delay) = (self.number(), self.rng.delay());
        let request = Request { id, origin, call, heard: true, connection: 0, delayed: false, target: Target::Map };
        if !self.quiet && self.rng.chance(self.profile.not_sent) {
            let input = refusal(&request.call, Failure::NotSent);
            return self.after_some(delay, input.map(|input| Event::Input(origin, input)));
        }
        if !self.quiet && self.rng.chance(self.profile.lost) {
            self.count("requests lost");
            let input = refusal(&request.call, Failure::Lost);
            let patience = self.rng.between(20, 1_500);
            self.after_some(patience, input.map(|input| Event::Input(origin, input)));
            if self.rng.chance(600) {
                let late = if self.rng.chance(self.profile.late) { self.rng.between(0, 4_000) } else { 0 };
                self.after(delay + late, Event::Execute(Request { heard: false, delayed: late > 0, ..request }));
            }
            return;
        }
        self.after(delay, Event::Execute(request));
    }

    fn after_some(&mut self, delay: u64, event: Option<Event>) {
        if let Some(event) = event {
            self.after(delay, event);
        }
    }

    /// The partitions are in the transaction: it is committed, if the process still lives.
    pub(crate) fn added(&mut self, origin: Origin, producer: Producer) {
        match self.reach(origin) {
            Reach::Gone => return,
            Reach::In(wait) => return self.after(wait, Event::Added { origin, producer }),
            Reach::Now => {}
        }
        if self.crashes() {
            return self.crash(origin.instance);
        }
        self.call(origin, Call::Commit(producer, false));
    }

    /// A fetch answer arrives: its batches become slots.
    pub(crate) fn fetched(&mut self, origin: Origin, partition: usize, position: i64, fetch: Fetch, first: bool) {
        match self.reach(origin) {
            Reach::Gone => return,
            Reach::In(wait) => return self.after(wait, Event::Fetched(origin, partition, position, fetch, first)),
            Reach::Now => {}
        }
        if first {
            self.instances[origin.instance].fetching[partition] = false;
        }
        let result = match fetch {
            Fetch::OutOfRange => FetchResult::OutOfRange,
            Fetch::Diverging(end) => FetchResult::Diverging { end: SourceOffset(end) },
            Fetch::Batches { high_watermark, last_stable, start, mut batches, aborted } => {
                self.twist_fetch(&mut batches);
                let mut given = Vec::new();
                for batch in batches {
                    let slot = Slot(self.number());
                    self.instances[origin.instance].slots.insert(slot.0, batch.content);
                    let kind = match batch.kind {
                        Kind::Control { abort } => BatchKind::Control { meta: batch.meta, abort },
                        Kind::Legacy => BatchKind::Legacy {
                            first: SourceOffset(batch.meta.base_offset),
                            last: SourceOffset(batch.meta.last_offset()),
                        },
                        _ => BatchKind::Records(batch.meta),
                    };
                    given.push(FetchedBatch { slot, kind });
                }
                FetchResult::Batches {
                    high_watermark: SourceOffset(high_watermark),
                    last_stable: SourceOffset(last_stable),
                    log_start: SourceOffset(start),
                    batches: given,
                    aborted,
                }
            }
        };
        let (partition, position) = (lane_partition(partition), SourceOffset(position));
        self.deliver(origin, Input::Fetched { partition, position, result });
    }

    /// A batch is opened: its records from `from` on are numbered anew.
    pub(crate) fn repack(&mut self, origin: Origin, partition: usize, slot: u64, from: i64) {
        match self.reach(origin) {
            Reach::Gone => return,
            Reach::In(wait) => return self.after(wait, Event::Repack { origin, partition, slot, from }),
            Reach::Now => {}
        }
        // A partition that stopped meanwhile has let go of it.
        let Some(content) = self.instances[origin.instance].slots.get(&slot) else { return };
        let result = if content.bad {
            Err("damaged".into())
        } else {
            let records: Vec<_> = content.records.iter().copied().filter(|record| record.offset >= from).collect();
            let mut runs: Vec<Run> = Vec::new();
            for record in &records {
                match runs.last_mut() {
                    Some(run) if run.end().0 == record.offset => run.len += 1,
                    _ => runs.push(Run { start: SourceOffset(record.offset), len: 1 }),
                }
            }
            let repacked = Repacked { bytes: content.len, max_timestamp: content.max_timestamp, runs };
            let content = Content { records, ..Content::clone(content) };
            self.instances[origin.instance].slots.insert(slot, Rc::new(content));
            Ok(repacked)
        };
        self.deliver(origin, Input::Repacked(lane_partition(partition), result));
    }
}

/// A partition that a lane has never had.
const NOBODY: LanePartition = LanePartition(u32::MAX);

/// The world's number of a partition; a lane counts as they were added to it.
fn name_of(lane: &Lane, id: LanePartition) -> LanePartition {
    lane.partition(id).map_or(id, |partition| LanePartition(partition.spec().key.partition as u32))
}

fn rename_member(member: &mut Member, to: &dyn Fn(LanePartition) -> LanePartition) {
    if let Member::Data(id) = member {
        *id = to(*id);
    }
}

fn rename_input(input: &mut Input, to: &dyn Fn(LanePartition) -> LanePartition) {
    match input {
        Input::Probed { partition: id, .. }
        | Input::TargetRead { partition: id, .. }
        | Input::TargetEnds { partition: id, .. }
        | Input::Repacked(id, _)
        | Input::Fetched { partition: id, .. }
        | Input::Produced { partition: id, .. }
        | Input::MirrorMoved { partition: id, .. }
        | Input::TargetOffline(id, _)
        | Input::Stop(id, _)
        | Input::Resolve { partition: id, .. } => *id = to(*id),
        Input::Fenced(FenceOutcome::NotAdded(codes)) => {
            codes.iter_mut().for_each(|(member, _)| rename_member(member, to));
        }
        _ => {}
    }
}

fn rename_output(output: &mut Output, to: &dyn Fn(LanePartition) -> LanePartition) {
    match output {
        Output::Probe { partition: id, .. }
        | Output::ReadTarget { partition: id, .. }
        | Output::LookAtEnds { partition: id, .. }
        | Output::Repack { partition: id, .. }
        | Output::Send { partition: id, .. }
        | Output::Event(
            LaneEvent::Copying(id, _)
            | LaneEvent::Resolving(id)
            | LaneEvent::GaveWay(id, _)
            | LaneEvent::CutBack { partition: id, .. }
            | LaneEvent::TargetOffline(id, _)
            | LaneEvent::Stalled(id, _)
            | LaneEvent::GoesOn(id, _)
            | LaneEvent::Halted(id, _)
            | LaneEvent::Resolved(id, _)
            | LaneEvent::Retrying(Some(id), ..),
        ) => *id = to(*id),
        Output::Fence { members, .. } => {
            members.iter_mut().for_each(|member| rename_member(member, to));
            members.dedup();
        }
        _ => {}
    }
}

enum Reach {
    Gone,
    In(u64),
    Now,
}

pub(crate) fn produced(target: Target, answer: Answer) -> Input {
    match target {
        Target::Map | Target::Marker { .. } => Input::MapWritten(answer),
        Target::Data { partition, slot, attempt } => {
            Input::Produced { partition: lane_partition(partition), slot: Slot(slot), attempt, answer }
        }
    }
}

/// What the lane hears of a call that failed.
pub(crate) fn refusal(call: &Call, failure: Failure) -> Option<Input> {
    Some(match call {
        Call::Init(_) => Input::ProducerId(Err(failure)),
        Call::Add { .. } if failure == Failure::Lost => Input::Fenced(FenceOutcome::Unknown),
        Call::Add { .. } => Input::Fenced(FenceOutcome::Failed(failure)),
        Call::Commit(..) => Input::Fenced(FenceOutcome::Unknown),
        Call::ReadMap(from) => Input::MapRead { from: TargetOffset(*from), result: ReadResult::Failed(failure) },
        Call::ReadTarget { partition, from, .. } => Input::TargetRead {
            partition: lane_partition(*partition),
            from: TargetOffset(*from),
            result: ReadResult::Failed(failure),
        },
        Call::Probe(partition, position) => {
            Input::Probed { partition: lane_partition(*partition), position: *position, ends: Err(failure) }
        }
        Call::Fetch { partition, position, .. } => Input::Fetched {
            partition: lane_partition(*partition),
            position: SourceOffset(*position),
            result: FetchResult::Failed(failure),
        },
        Call::LookAtEnds { .. } | Call::WriteMap(_) | Call::Produce { .. } => return None,
        Call::ReadTable | Call::EndMove { .. } | Call::ReadOther { .. } => return None,
    })
}
