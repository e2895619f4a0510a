//! The world: virtual time, a queue of events, both clusters, and all instances that were ever started.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use twinlog_core::ids::{Now, Producer, SourceOffset};
use twinlog_core::io::{Input, LanePartition, MapBatch, Member};
use twinlog_core::lane::Lane;
use twinlog_core::moves::Adoption;
use twinlog_core::outbox::Answer;
use twinlog_core::resolution::Resolution;

use super::coordinator::Coordinator;
use super::judge::Judge;
use super::mistakes::Mistake;
use super::profile::{Cause, Profile};
use super::rng::Rng;
use super::source::{Content, Fetch, Source};
use super::tables::{States, Table};
use super::target::Log;

/// The wall clock at the start, in ms since the epoch.
const WALL_START: i64 = 1_760_000_000_000;
/// How long the copy may take to catch up once the faults have stopped, in ms of virtual time.
const CATCH_UP_MS: u64 = 240_000;
/// A world that takes more steps than this is stuck in a loop.
const STEPS_MAX: u64 = 400_000;

/// One life of one instance: answers to a former life reach nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) instance: usize,
    pub(crate) life: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Init(Option<Producer>),
    Add {
        producer: Producer,
        members: Vec<Member>,
    },
    /// The last part: nothing was added before it, so that there may be nothing to commit.
    Commit(Producer, bool),
    WriteMap(MapBatch),
    Produce {
        producer: Producer,
        sequence: i32,
        content: Rc<Content>,
    },
    ReadMap(i64),
    ReadTarget {
        partition: usize,
        from: i64,
        epoch: i32,
    },
    Probe(usize, SourceOffset),
    LookAtEnds {
        partition: usize,
        expected: i64,
        look: u32,
    },
    Fetch {
        partition: usize,
        position: i64,
        epoch: i32,
    },
    ReadTable,
    EndMove {
        partition: usize,
        number: u64,
    },
    /// What another lane's map says of a partition.
    ReadOther {
        partition: usize,
        from: u32,
        number: u64,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) origin: Origin,
    pub(crate) call: Call,
    /// Whether the caller still hears the answer (Produce: see [`World::pending`]).
    pub(crate) heard: bool,
    pub(crate) connection: u64,
    pub(crate) delayed: bool,
    /// What a Produce is for.
    pub(crate) target: Target,
}

#[derive(Debug)]
pub(crate) enum Event {
    Input(Origin, Input),
    /// The last part: whether it is the answer, or the same once more.
    Fetched(Origin, usize, i64, Fetch, bool),
    Added {
        origin: Origin,
        producer: Producer,
    },
    Execute(Request),
    /// The answer to a Produce arrives.
    Answer(u64, Origin, Target, Answer),
    Break(u64),
    Marker {
        transaction: u64,
        producer: Producer,
        partition: usize,
        again: bool,
    },
    HighWatermark {
        partition: usize,
        generation: u64,
    },
    Repack {
        origin: Origin,
        partition: usize,
        slot: u64,
        from: i64,
    },
    Append(usize),
    SourceHighWatermark(usize),
    Leader,
    Leaderless,
    /// The leader of this partition comes back, after all other faults.
    LeaderBack(usize),
    Metadata,
    Expiry,
    Pause,
    Rival,
    /// An instance for a lane.
    Start(usize),
    Move,
    /// Somebody decides how a partition goes on.
    Decide(usize),
    /// An instance looks at the table; whether it does so again by itself.
    Look(Origin, bool),
    TableRead(Origin, usize, Table),
    OtherRead(Origin, usize, Option<Box<Adoption>>, u64),
    Restart(usize),
    Supervise,
    Read,
    Trim,
    Clean,
    Compact,
    Drain,
    Jump,
    Cause,
    Discover,
}

/// What a Produce was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Map,
    Data {
        partition: usize,
        slot: u64,
        attempt: u32,
    },
    /// A marker, of the coordinator.
    Marker {
        transaction: u64,
        producer: Producer,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) origin: Origin,
    pub(crate) target: Target,
    pub(crate) connection: u64,
}

/// A connection that is gone: which of its requests the broker still processes, and how late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken {
    pub(crate) cut: u64,
    pub(crate) delay: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) at: u64,
    pub(crate) generation: u64,
    /// When the lane was told of it: what it sends at that time is held back.
    pub(crate) told_at: u64,
}

/// An append that is answered when the high watermark has passed it.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) end: i64,
    pub(crate) base: i64,
    pub(crate) request: u64,
    pub(crate) origin: Origin,
    pub(crate) target: Target,
}

/// A process that runs the lane, as the shell would.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) lane: Option<Lane>,
    /// The lane's number.
    pub(crate) number: usize,
    /// The table, as it was read since the lane was taken.
    pub(crate) table: Table,
    pub(crate) table_version: usize,
    /// What the lane calls each partition.
    pub(crate) ids: Vec<Option<LanePartition>>,
    pub(crate) life: u64,
    /// Not over for good: it runs, or is about to restart.
    pub(crate) alive: bool,
    pub(crate) slots: BTreeMap<u64, Rc<Content>>,
    pub(crate) fetching: Vec<bool>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) paused_until: u64,
    /// Map writes that a seeded mistake holds back.
    pub(crate) held: Vec<MapBatch>,
    /// Whose marker the last fence asked for.
    pub(crate) fence: Option<Producer>,
    /// A partition whose head was cut back and is to be written.
    pub(crate) cut: Option<usize>,
    /// Producer and sequence of what was sent, by slot.
    pub(crate) sent: BTreeMap<u64, (Producer, i32)>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) profile: Profile,
    pub(crate) mistake: Option<Mistake>,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    numbers: u64,
    pub(crate) sources: Vec<Source>,
    /// The mirrors, and behind them the map of each lane.
    pub(crate) targets: Vec<Log>,
    pub(crate) waiters: Vec<VecDeque<Waiter>>,
    /// One for each lane's transactional id.
    pub(crate) coordinators: Vec<Coordinator>,
    pub(crate) states: States,
    pub(crate) instances: Vec<Instance>,
    pub(crate) pending: BTreeMap<u64, Pending>,
    pub(crate) broken: BTreeMap<u64, Broken>,
    pub(crate) quiet: bool,
    /// When faults ended, or when it was last seen that something was copied since.
    pub(crate) quiet_at: u64,
    copied_before: i64,
    /// Instances that were told to end because all is copied.
    pub(crate) draining: Vec<usize>,
    pub(crate) discovered: usize,
    pub(crate) start_planned: Vec<bool>,
    /// Whether the world's cause has come to pass.
    pub(crate) caused: bool,
    pub(crate) source_topics: Vec<u8>,
    pub(crate) target_topics: Vec<u8>,
    /// The last decision about each partition.
    pub(crate) resolutions: Vec<Option<Resolution>>,
    /// Where the present mirror of each partition begins: what stands before was another one.
    pub(crate) begun_anew: Vec<i64>,
    /// What the source took back may stay on the mirror.
    pub(crate) parted: bool,
    pub(crate) judge: Judge,
    pub(crate) failure: Option<String>,
    pub(crate) done: bool,
    pub(crate) again: bool,
    pub(crate) coverage: BTreeMap<&'static str, u64>,
    pub(crate) trace: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(seed: u64, mistake: Option<Mistake>, tracing: bool) -> Self {
        let mut rng = Rng::new(seed);
        let profile = Profile::of(&mut rng);
        let partitions = profile.partitions;
        let mut world = Self {
            mistake,
            now: 1_000,
            queue: BTreeMap::new(),
            numbers: 1,
            sources: (0..partitions)
                .map(|number| Source::new(number as u64, rng.pick(&[0, 0, 7, 1_000_000])))
                .collect(),
            targets: (0..partitions + profile.lanes).map(|_| Log::default()).collect(),
            waiters: vec![VecDeque::new(); partitions + profile.lanes],
            coordinators: (0..profile.lanes).map(|lane| Coordinator::new(lane, profile.epochs.max)).collect(),
            states: States::new(vec![None; partitions]),
            instances: Vec::new(),
            pending: BTreeMap::new(),
            broken: BTreeMap::new(),
            quiet: false,
            quiet_at: 0,
            copied_before: 0,
            draining: Vec::new(),
            discovered: if profile.late_partition { partitions - 1 } else { partitions },
            start_planned: vec![false; profile.lanes],
            caused: false,
            source_topics: vec![1; partitions],
            target_topics: vec![1; partitions],
            resolutions: vec![None; partitions],
            begun_anew: vec![0; partitions],
            parted: false,
            judge: Judge::new(partitions, profile.lanes),
            failure: None,
            done: false,
            again: rng.chance(250),
            coverage: BTreeMap::new(),
            trace: tracing.then(Vec::new),
            rng,
            profile,
        };
        world.note(|world| format!("seed {seed}: {:?}", world.profile));
        world.set_up();
        world
    }

    pub(crate) fn time(&self) -> Now {
        Now { mono_ms: self.now, wall_ms: self.wall() }
    }

    pub(crate) fn wall(&self) -> i64 {
        WALL_START + self.now as i64
    }

    /// The map of a lane.
    pub(crate) fn map_of(&self, lane: usize) -> usize {
        self.profile.partitions + lane
    }

    /// The map that an instance writes.
    pub(crate) fn map(&self, origin: Origin) -> usize {
        self.map_of(self.instances[origin.instance].number)
    }

    /// Who got the present epoch of an instance's lane, if anybody did.
    pub(crate) fn owner_beside(&self, instance: usize) -> Option<usize> {
        self.coordinators[self.instances[instance].number].owner
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_default() += 1;
    }

    pub(crate) fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = format!("{:>8} {}", self.now, line(self));
            self.trace.get_or_insert_default().push(line);
        }
    }

    /// The first failure counts.
    pub(crate) fn fail(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.note(|_| format!("FAILED: {what}"));
        self.failure.get_or_insert(what);
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        let number = self.number();
        self.queue.insert((self.now + delay, number), event);
    }

    pub(crate) fn cause_of(&self, partition: usize) -> Option<Cause> {
        self.profile.cause.filter(|(of, _)| *of == partition).map(|(_, cause)| cause)
    }

    pub(crate) fn living(&self) -> impl Iterator<Item = usize> + use<> {
        let living: Vec<usize> =
            self.instances.iter().enumerate().filter(|(_, one)| one.alive).map(|(index, _)| index).collect();
        living.into_iter()
    }

    /// Runs to the end; what was wrong, if anything was.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let mut steps = 0;
        while !self.done && self.failure.is_none() {
            steps += 1;
            if steps > STEPS_MAX {
                self.fail("liveness: too many steps");
            }
            if !self.quiet && self.now >= 1_000 + self.profile.fault_ms {
                self.quiet_at = self.now;
                self.calm_down();
            }
            if self.quiet && self.now > self.quiet_at + CATCH_UP_MS {
                let copied = self.copied();
                if copied > self.copied_before {
                    (self.quiet_at, self.copied_before) = (self.now, copied);
                    continue;
                }
                let state = self.describe();
                self.fail(format!("liveness: nothing was copied for {CATCH_UP_MS} ms without faults: {state}"));
            }
            self.step();
        }
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn step(&mut self) {
        let due = |one: &Instance| Some(one.lane.as_ref()?.poll_timeout()?.max(one.paused_until));
        let timer = self.instances.iter().enumerate().filter_map(|(index, one)| Some((due(one)?, index))).min();
        let event = self.queue.first_key_value().map(|(key, _)| key.0);
        match (timer, event) {
            (Some((at, index)), event) if event.is_none_or(|event| at <= event) => {
                self.now = self.now.max(at);
                let now = self.time();
                if let Some(lane) = self.instances.get_mut(index).and_then(|one| one.lane.as_mut()) {
                    lane.handle_timeout(now);
                }
                self.drive(index);
            }
            _ => match self.queue.pop_first() {
                Some(((at, _), event)) => {
                    self.now = self.now.max(at);
                    self.happen(event);
                }
                None => self.fail("liveness: nothing is left to happen"),
            },
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(origin, input) => self.deliver(origin, input),
            Event::Fetched(origin, partition, position, fetch, first) => {
                self.fetched(origin, partition, position, fetch, first);
            }
            Event::Added { origin, producer } => self.added(origin, producer),
            Event::Execute(request) => self.execute(request),
            Event::Answer(request, origin, target, answer) => self.answered(request, origin, target, answer),
            Event::Break(connection) => self.break_connection(connection),
            Event::Marker { transaction, producer, partition, again } => {
                self.write_marker(transaction, producer, partition, again);
            }
            Event::HighWatermark { partition, generation } => self.advance_high_watermark(partition, generation),
            Event::Repack { origin, partition, slot, from } => self.repack(origin, partition, slot, from),
            Event::Start(lane) => self.start(lane),
            Event::Look(origin, regular) => self.look(origin, regular),
            Event::Decide(partition) => self.decide(partition),
            Event::TableRead(origin, version, table) => self.table_read(origin, version, table),
            Event::OtherRead(origin, partition, adoption, number) => {
                self.other_read(origin, partition, adoption, number);
            }
            Event::Restart(instance) => self.restart(instance),
            Event::Supervise => self.supervise(),
            Event::Read => self.read_now(),
            Event::Metadata => self.metadata_arrives(),
            Event::LeaderBack(partition) => self.judge_the_others(partition),
            fault => self.fault(fault),
        }
    }

    /// What stands in the way, for a failure's text.
    /// How far all living owners are together.
    fn copied(&self) -> i64 {
        let lanes = self.living().filter_map(|index| self.instances[index].lane.as_ref());
        lanes.flat_map(Lane::partitions).map(|partition| partition.progress().extent.synced.0).sum()
    }

    pub(crate) fn describe(&self) -> String {
        let mut text = format!("coordinators {:?}, table {:?}", self.coordinators, self.states.table);
        for (index, instance) in self.instances.iter().enumerate() {
            let Some(lane) = &instance.lane else { continue };
            text += &format!("\n instance {index} of lane {}, running {}:", instance.number, lane.is_running());
            let known = |number| lane.known(&super::shell::key(number));
            text += &format!("{:?}", (0..self.profile.partitions).map(known).collect::<Vec<_>>());
            for (number, id) in instance.ids.iter().enumerate() {
                let Some(partition) = id.and_then(|id| lane.partition(id)) else { continue };
                let source = &self.sources[number];
                let (phase, progress) = (partition.phase(), partition.progress());
                text += &format!("\n  {number} {phase:?} lso {} {progress:?}", source.last_stable());
            }
        }
        text
    }
}
