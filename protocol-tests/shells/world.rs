//! One world: two sandboxes, writers, a link, and what befalls them, all in one runtime whose time is paused.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};
use twinlog_link::environment::{BootClock, Environment, LanePlace, RequestPartitions, WallClock};
use twinlog_link::supervisor::LinkError;
use twinlog_sandbox::{ApiKey, Clock, Fault, FaultId, Sandbox, SandboxSpec, TopicSpec};

use twinlog_protocol_tests::seeds::{Coverage, Outcome};

use crate::ahead::Ahead;
use crate::faults::arm;
use crate::instance::{Instance, LINK, setup};
use crate::judge::{Audit, judge, verify_all};
use crate::network::Network;
use crate::profile::{Mistake, Profile};
use crate::writers::{Kind, Writer};

/// Ms since 1970 at which each world begins.
const START_MS: i64 = 1_700_000_000_000;
/// How long a link may take to catch up when nothing goes wrong any more. Old records go one batch a round trip.
const CATCH_UP: Duration = Duration::from_secs(600);
/// A mirror to which nothing is written is looked at every 10 s: by then a lost end is found, and the copy cut back.
const LOOKED_AT: Duration = Duration::from_secs(15);
/// A world is over long before that.
const WORLD: Duration = Duration::from_secs(3_600);

/// What all parts of a world share.
pub(crate) struct Shared {
    begun: Instant,
    number: Cell<u64>,
    coverage: RefCell<Coverage>,
    trace: RefCell<Vec<String>>,
}

impl Shared {
    /// A number that no record has had yet.
    pub(crate) fn number(&self) -> u64 {
        self.number.update(|number| number + 1);
        self.number.get()
    }

    pub(crate) fn happened(&self, what: &'static str) {
        self.count(what, 1);
    }

    pub(crate) fn count(&self, what: &'static str, times: u64) {
        if times > 0 {
            *self.coverage.borrow_mut().entry(what).or_default() += times;
        }
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        START_MS + i64::try_from(self.begun.elapsed().as_millis()).unwrap()
    }

    pub(crate) fn trace(&self, line: impl Into<String>) {
        let line = format!("{:>7} {}", self.begun.elapsed().as_millis(), line.into());
        tracing::info!("=== {line}");
        self.trace.borrow_mut().push(line);
    }
}

/// One runtime for all, by its own time; the wall clock began at `start_ms`.
pub(crate) fn environment(begun: Instant, start_ms: i64) -> Environment {
    let elapsed = move || i64::try_from(begun.elapsed().as_millis()).unwrap();
    let clock = WallClock::new(move || start_ms + elapsed());
    let boot_clock = BootClock::new(move || elapsed().unsigned_abs());
    // Worlds are small: with so few, requests are in turns, in sessions, and neither.
    let request_partitions = RequestPartitions(2);
    Environment { lanes: LanePlace::SameRuntime, clock, boot_clock, request_partitions, meter: None }
}

/// Runs the world of a seed.
pub(crate) fn run(seed: u64, mistake: Option<Mistake>) -> Outcome {
    // The client's pauses and its choice of brokers.
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let ahead = Ahead::default();
    let mut outcome = ahead.count(|| {
        LocalSet::new().block_on(&runtime, async {
            let mut rng = Rng::with_seed(seed);
            let profile = Profile::of(&mut rng, mistake);
            let shared = Rc::new(Shared {
                begun: Instant::now(),
                number: Cell::new(0),
                coverage: RefCell::default(),
                trace: RefCell::default(),
            });
            shared.trace(format!("{profile:?}"));
            let mut world = World::new(seed, mistake, profile, rng, Rc::clone(&shared));
            let result = timeout(WORLD, world.live()).await;
            let failure = result.unwrap_or_else(|_| Err("the world does not end".to_owned())).err();
            let (coverage, trace) = (shared.coverage.take(), shared.trace.take());
            Outcome { failure, coverage, trace }
        })
    });
    let fetches = [("fetches ahead", ahead.held()), ("fetches ahead in vain", ahead.failed())];
    for (what, times) in fetches.into_iter().filter(|(_, times)| *times > 0) {
        *outcome.coverage.entry(what).or_default() += times;
    }
    outcome
}

pub(crate) struct World {
    pub(crate) shared: Rc<Shared>,
    pub(crate) profile: Profile,
    pub(crate) mistake: Option<Mistake>,
    pub(crate) rng: Rng,
    pub(crate) source: Sandbox,
    pub(crate) target: Sandbox,
    pub(crate) topics: Vec<(String, i32)>,
    pub(crate) audits: BTreeMap<(String, i32), Audit>,
    pub(crate) instances: Vec<Instance>,
    started: u64,
    writers: Vec<JoinHandle<()>>,
    pub(crate) stop_writers: watch::Sender<bool>,
}

impl World {
    fn new(seed: u64, mistake: Option<Mistake>, profile: Profile, rng: Rng, shared: Rc<Shared>) -> Self {
        let sandbox = |name: &str, nodes: i32| {
            let expiration = profile.expiration_ms.to_string();
            let spec = SandboxSpec::new()
                .nodes(nodes)
                .cluster_id(name)
                .seed(seed ^ u64::from(name.as_bytes()[0]))
                .clock(Clock::with_tokio(START_MS))
                .setting("producer.id.expiration.ms", expiration)
                .setting("group.min.session.timeout.ms", "1000")
                .marker_delay(Duration::from_millis(profile.marker_delay_ms))
                .pipe_bytes(profile.pipe_bytes);
            Sandbox::new(spec).unwrap()
        };
        let (source, target) = (sandbox("source", profile.nodes.0), sandbox("target", profile.nodes.1));
        Self {
            shared,
            mistake,
            rng,
            source,
            target,
            topics: Vec::new(),
            audits: BTreeMap::new(),
            instances: Vec::new(),
            started: 0,
            writers: Vec::new(),
            stop_writers: watch::Sender::new(false),
            profile,
        }
    }

    /// Makes a topic with its writers.
    pub(crate) fn add_topic(&mut self) {
        let name = format!("topic-{}", self.topics.len());
        let partitions = self.rng.i32(1..=self.profile.partitions_max);
        self.source.create_topic(&TopicSpec::new(&name, partitions)).unwrap();
        for partition in 0..partitions {
            self.audits.insert((name.clone(), partition), Audit::default());
        }
        for _ in 0..self.rng.usize(1..=self.profile.writers_max) {
            let writer = Writer {
                shared: Rc::clone(&self.shared),
                source: self.source.clone(),
                topic: name.clone(),
                partitions,
                kind: [Kind::Plain, Kind::Idempotent, Kind::Transactional][self.rng.usize(0..3)],
                ages: self.profile.ages,
                number: u32::try_from(self.writers.len()).unwrap(),
                rng: self.rng.fork(),
                pause_ms: self.profile.write_pause_ms,
                records_max: self.profile.records_max,
                value_bytes_max: self.profile.value_bytes_max,
                stop: self.stop_writers.subscribe(),
            };
            self.writers.push(spawn_local(writer.run()));
        }
        self.shared.trace(format!("{name} with {partitions} partitions"));
        self.topics.push((name, partitions));
    }

    pub(crate) fn environment(&self) -> Environment {
        let behind = if self.mistake == Some(Mistake::ClockBehind) { 2 * 86_400_000 } else { 0 };
        environment(self.shared.begun, START_MS - behind)
    }

    pub(crate) fn start(&mut self, until_caught_up: bool) {
        let network = Network::default();
        let setup = setup(&self.profile, &network, (&self.source, &self.target), self.environment());
        let instance = Instance::start(self.started, setup, network, until_caught_up);
        self.shared.trace(format!("instance {} starts", self.started));
        self.shared.happened("starts");
        self.started += 1;
        self.instances.push(instance);
    }

    /// That the source is far away is no fault.
    fn take_far_away(&self) {
        if self.profile.far_ms > 0 {
            let way = Duration::from_millis(self.profile.far_ms);
            self.source.fault(Fault::delay(way).on(ApiKey::Fetch).from_client(LINK));
        }
    }

    async fn live(&mut self) -> Result<(), String> {
        for _ in 0..self.profile.topics {
            self.add_topic();
        }
        let mut armed: Vec<(&'static str, Sandbox, FaultId)> = Vec::new();
        for sandbox in [self.source.clone(), self.target.clone()] {
            let faults = arm(&sandbox, &self.profile, &mut self.rng);
            armed.extend(faults.into_iter().map(|(name, id)| (name, sandbox.clone(), id)));
        }
        self.take_far_away();
        self.faulty_time().await?;
        for (name, sandbox, id) in armed {
            self.shared.count(name, sandbox.hits(id));
        }
        self.source.clear_faults();
        self.target.clear_faults();
        self.take_far_away();
        self.shared.trace("no more faults");
        // What is written now is what a link that was fenced finds out by.
        sleep(Duration::from_secs(1)).await;
        self.stop_writers.send_replace(true);
        for writer in std::mem::take(&mut self.writers) {
            writer.await.map_err(|error| format!("a writer broke off: {error}"))?;
        }
        // The sandbox writes markers a little later.
        sleep(Duration::from_secs(1)).await;
        if self.profile.losses_ms > 0 {
            sleep(LOOKED_AT).await;
        }
        self.catch_up().await?;
        self.judge().await
    }

    /// Looks after instances that are over; the reason if one ended as it must not.
    pub(crate) async fn look_after(&mut self, calm: bool) -> Result<(), String> {
        // One that was fenced and has not noticed takes what its successor wrote for somebody else's, and must not say
        // so before it could write it down.
        if let Some(halted) = self.instances.iter().find_map(Instance::halted) {
            return Err(halted);
        }
        if self.instances.len() > 1 && self.instances.iter().all(Instance::copies) {
            self.shared.happened("lanes shared by two");
        }
        let mut index = 0;
        while index < self.instances.len() {
            if !self.instances[index].task.is_finished() {
                index += 1;
                continue;
            }
            let mut instance = self.instances.remove(index);
            // A process is over with all that it has begun.
            instance.network.kill();
            let end = (&mut instance.task).await.map_err(|error| format!("a link broke off: {error}"))?;
            self.shared.trace(format!("instance {} ends: {end:?}", instance.number));
            match end {
                Ok(_) if instance.is_stopped => self.shared.happened("ends in order"),
                Ok(end) => return Err(format!("a link ended without being told: {end:?}")),
                Err(LinkError::Client(_)) if !calm => self.shared.happened("starts that failed"),
                Err(LinkError::MapTopic(_)) if !calm => self.shared.happened("starts that failed at the map topic"),
                Err(error) => return Err(format!("a link ended: {error:?}")),
            }
        }
        Ok(())
    }

    /// What is missing on the target, as the links say.
    fn behind(&self) -> Option<String> {
        self.audits.keys().find_map(|(topic, partition)| {
            let end = self.source.offsets(topic, *partition).unwrap().1;
            let synced = self.instances.iter().filter_map(|link| link.synced(topic, *partition)).max();
            (synced < Some(end)).then(|| {
                let rows = self.instances.iter().flat_map(Instance::rows);
                let rows: Vec<_> = rows.filter(|row| row.topic == *topic && row.partition == *partition).collect();
                format!("{topic}:{partition} is at {synced:?} of {end}: {rows:?}")
            })
        })
    }

    /// What is on its way to another lane, or a lane that is to go.
    async fn moving(&self) -> Result<Option<String>, String> {
        let state = self.link_state().await?;
        if state.lanes().is_some_and(|lanes| lanes.wanted < lanes.count) {
            return Ok(Some(format!("lanes are to go: {:?}", state.lanes())));
        }
        let moving = state.places().find(|(_, place)| place.from.is_some());
        Ok(moving.map(|(key, place)| format!("{key:?} is on its way: {place:?}")))
    }

    /// One link is left, and it catches up.
    async fn catch_up(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + CATCH_UP;
        loop {
            self.look_after(true).await?;
            if self.instances.is_empty() {
                self.start(false);
            }
            match self.behind().or(self.moving().await?) {
                None if self.instances.len() == 1 && !self.instances[0].is_stopped => break,
                None if Instant::now() > deadline => return Err("a link does not end".to_owned()),
                // They share the lanes for ever: one is to take over all in the end.
                None if !self.instances[0].is_stopped => self.instances[0].stop(),
                Some(behind) if Instant::now() > deadline => return Err(format!("not caught up: {behind}")),
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
        self.shared.trace("caught up");
        match self.rng.u32(0..3) {
            // It is judged while it runs. Of markers at the end the map hears with the next progress mark.
            0 => {
                sleep(Duration::from_millis(2 * self.profile.mark_ms)).await;
                self.shared.happened("maps read beside their owner");
                return Ok(());
            }
            1 => {
                self.instances[0].stop();
                while !self.instances.is_empty() {
                    self.look_after(true).await?;
                    sleep(Duration::from_millis(50)).await;
                }
            }
            _ => self.instances.remove(0).kill(),
        }
        // Nothing is left to do but to find that out.
        self.start(true);
        let mut last = self.instances.remove(0);
        let end = timeout(CATCH_UP, &mut last.task).await;
        last.network.kill();
        match end {
            Ok(Ok(Ok(end))) if end.missing.is_empty() => Ok(()),
            other => Err(format!("--until-caught-up: {other:?}")),
        }
    }

    async fn judge(&mut self) -> Result<(), String> {
        let network = Network::default();
        let setup = setup(&self.profile, &network, (&self.source, &self.target), self.environment());
        let mut copied = 0;
        for ((topic, partition), audit) in &mut self.audits {
            let at = (topic.as_str(), *partition);
            audit.read_on(&self.source, at).await;
            copied += judge((&self.source, &self.target), audit, at, &setup).await?;
            self.shared.count("source records", u64::try_from(audit.records()).unwrap());
            let end = self.target.offsets(&crate::instance::mirror(topic), *partition).unwrap();
            self.shared.trace(format!("{topic}:{partition} ends at {end:?}"));
        }
        let moves = self.link_state().await?.places().map(|(_, place)| place.number).sum();
        self.shared.count("moves to another lane", moves);
        self.shared.count("records copied", u64::try_from(copied).unwrap());
        verify_all(&setup, self.audits.len()).await?;
        self.look_after(true).await
    }
}
