//! A world of instances, a coordinator, and what befalls them.

use std::collections::BTreeMap;
use twinlog_core::io::Failure;
use twinlog_core::members::{Answer, Event, Input, MembersConfig, Output, Request, Word};
use twinlog_wire::error_code::ErrorCode;

use super::coordinator::Coordinator;
use super::instance::Instance;
use crate::seeds::{Coverage, Outcome, failure_of};
use crate::sim::Rng;

/// A wrong way to use a membership. Each must be found, or the simulation proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The clock stands still while the machine sleeps.
    ClockStops,
    /// A lane is said to be let go while it is still written.
    LetGoneEarly,
    /// A lost lane is written on.
    LostIgnored,
    /// The coordinator counts a member dead after half of the session.
    ShortSession,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ClockStops, Self::LetGoneEarly, Self::LostIgnored, Self::ShortSession];
}

/// How long after the last fault all lanes must be owned, besides two sessions: one for those who died unseen, one for
/// those who joined and died.
const SLACK_MS: u64 = 3_000;

#[derive(Clone, Debug)]
enum What {
    /// A request reaches the coordinator.
    Arrives { life: usize, question: u64, request: Request },
    /// An answer reaches its instance.
    Answered { life: usize, question: u64, result: Result<Answer, Failure> },
    /// The time for an answer is over.
    Limit { life: usize, question: u64 },
    /// An instance looks at its timers.
    Wakes { life: usize },
    /// A lane is drained.
    Drained { life: usize, lane: u32 },
    /// The coordinator looks at its timers.
    Coordinator,
    /// Something befalls the world.
    Fault,
}

/// One world.
pub struct World {
    rng: Rng,
    pub(super) now: u64,
    config: MembersConfig,
    lanes: u32,
    instances_max: usize,
    /// Bytes a second of each lane; none where they are all alike.
    rates: Option<Vec<u64>>,
    lives: Vec<Instance>,
    coordinator: Coordinator,
    /// When the coordinator looks at its timers next.
    looks_at: Option<u64>,
    queue: BTreeMap<(u64, u64), What>,
    events: u64,
    faulty: bool,
    /// The group has lost its memory: no new instance begins until then (the rule `strangers`).
    forgotten_until: u64,
    mistake: Option<Mistake>,
    coverage: Coverage,
    trace: Option<Vec<String>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("now", &self.now).finish_non_exhaustive()
    }
}

/// Runs the world of a seed.
pub fn run(seed: u64, mistake: Option<Mistake>, tracing: bool) -> Outcome {
    let mut world = World::new(seed, mistake, tracing);
    let failure = failure_of(|| world.run());
    Outcome { failure, coverage: world.coverage, trace: world.trace.unwrap_or_default() }
}

impl World {
    fn new(seed: u64, mistake: Option<Mistake>, tracing: bool) -> Self {
        let mut rng = Rng::new(seed);
        let session_ms = rng.pick(&[1_000, 2_000, 6_000, 10_000]);
        let settle_ms = rng.pick(&[500, 5_000, 30_000]);
        let coordinator = Coordinator::new(rng.pick(&[0, 0, 3_000]));
        Self {
            now: 1_000_000,
            config: MembersConfig { session_ms, settle_ms },
            lanes: rng.pick(&[1, 2, 4, 4, 16]),
            instances_max: rng.between(1, 8) as usize,
            rates: rng.chance(300).then(|| (0..16).map(|_| rng.pick(&[0, 1_000, 100_000, 10_000_000])).collect()),
            lives: Vec::new(),
            coordinator,
            looks_at: None,
            queue: BTreeMap::new(),
            events: 0,
            faulty: true,
            forgotten_until: 0,
            mistake,
            coverage: Coverage::new(),
            trace: tracing.then(Vec::new),
            rng,
        }
    }

    /// A world without faults, for stories.
    pub fn calm(config: MembersConfig, lanes: u32) -> Self {
        let coordinator = Coordinator::new(0);
        Self { config, lanes, rates: None, faulty: false, coordinator, ..Self::new(0, None, false) }
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.between(1, self.instances_max as u64) {
            self.start();
        }
        let end = self.now + self.rng.between(10_000, 60_000);
        self.schedule(1, What::Fault);
        self.run_until(end)?;
        self.faulty = false;
        let awake = self.alive().map(|life| self.lives[life].asleep_until.max(self.lives[life].cut_until)).max();
        self.run_until(awake.unwrap_or_default().max(self.now))?;
        if self.alive().next().is_none() {
            self.start();
        }
        self.said("faults stop");
        self.break_connections();
        // What was sent may come late, ids that were given out may be waited for, a leader may have died unseen.
        // And who lives through a loss of the group's memory waits for those who may not know of it yet.
        let sessions = if self.forgotten_until > 0 { 3 } else { 2 };
        self.run_until(self.now + self.config.session_ms * sessions + SLACK_MS + Self::LATE_MS)?;
        // A lane that is on its way from one to another is nobody's for a moment, and who has just taken an answer for
        // lost asks again after a pause of up to a quarter of a session.
        let deadline = self.now + SLACK_MS + self.config.session_ms / 4;
        while self.now < deadline && self.all_owned().is_err() {
            self.pass(100)?;
        }
        self.all_owned()?;
        self.run_until(self.now + self.config.settle_ms + self.config.session_ms + SLACK_MS)?;
        self.changes();
        self.run_until(self.now + 2 * self.config.settle_ms + 4 * self.config.session_ms)?;
        self.all_owned()?;
        if self.changes() > 0 {
            return Err("lanes move though nothing happens".to_owned());
        }
        self.shared_fairly()
    }

    /// How late a request may still be carried out.
    const LATE_MS: u64 = 4_000;

    /// Goes on until this time.
    pub fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            self.now = entry.key().0;
            let what = entry.remove();
            self.happens(what);
            self.no_lane_twice()?;
        }
        self.now = end;
        self.no_lane_twice()
    }

    /// Goes on for so long.
    pub fn pass(&mut self, ms: u64) -> Result<(), String> {
        self.run_until(self.now + ms)
    }

    /// A new instance begins; its number.
    pub fn start(&mut self) -> usize {
        let life = self.lives.len();
        self.lives.push(Instance::new(self.config, self.lanes, self.now));
        self.say(|| format!("{life} starts"));
        self.said("starts");
        self.outputs(life);
        life
    }

    /// An instance dies.
    pub fn crash(&mut self, life: usize) {
        self.say(|| format!("{life} dies"));
        self.lives[life].is_alive = false;
        self.lives[life].writes.clear();
    }

    /// An instance drains its lanes and leaves.
    pub fn leave(&mut self, life: usize) {
        self.say(|| format!("{life} is told to leave"));
        self.lives[life].leaves = true;
        self.lives[life].writes.clear();
        let clock = self.lives[life].clock(self.now);
        self.lives[life].membership.handle(clock, Input::Leave);
        self.outputs(life);
    }

    /// The lanes of an instance.
    pub fn lanes_of(&self, life: usize) -> Vec<u32> {
        self.lives[life].writes.keys().copied().collect()
    }

    /// How often a lane changed hands since this was last asked.
    pub fn changes(&mut self) -> u64 {
        self.lives.iter_mut().map(|instance| std::mem::take(&mut instance.changes)).sum()
    }

    fn alive(&self) -> impl Iterator<Item = usize> {
        (0..self.lives.len()).filter(|life| self.lives[*life].is_alive && !self.lives[*life].leaves)
    }

    fn schedule(&mut self, after: u64, what: What) {
        self.events += 1;
        self.queue.insert((self.now + after, self.events), what);
    }

    fn said(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_default() += 1;
    }

    fn say(&mut self, words: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now}: {}", words()));
        }
    }

    fn happens(&mut self, what: What) {
        match what {
            What::Arrives { life, question, mut request } => {
                if let (Some(Mistake::ShortSession), Request::Join { session_ms, .. }) = (self.mistake, &mut request) {
                    *session_ms /= 2;
                }
                self.say(|| format!("    {life} asks {question}: {}", name(&request)));
                self.coordinator.handle(self.now, (life, question), &request);
                self.replies();
            }
            What::Coordinator => {
                self.looks_at = None;
                self.coordinator.tick(self.now);
                self.replies();
            }
            What::Fault => self.fault(),
            What::Answered { life, .. }
            | What::Limit { life, .. }
            | What::Wakes { life }
            | What::Drained { life, .. } => self.for_instance(life, what),
        }
    }

    fn for_instance(&mut self, life: usize, what: What) {
        let (now, instance) = (self.now, &mut self.lives[life]);
        if !instance.is_alive {
            return;
        }
        if instance.asleep_until > now {
            let after = instance.asleep_until - now;
            return self.schedule(after, what);
        }
        let held = instance.lease_holds(now);
        match what {
            What::Answered { question, result, .. } => instance.answer(now, question, result),
            What::Limit { question, .. } => instance.answer(now, question, Err(Failure::Lost)),
            What::Drained { lane, .. } => {
                // It may be another time that the lane is ours by now.
                if !matches!(instance.writes.get(&lane), Some(Some(until)) if *until <= now) {
                    return;
                }
                instance.writes.remove(&lane);
                if self.mistake != Some(Mistake::LetGoneEarly) {
                    let clock = instance.clock(now);
                    instance.membership.handle(clock, Input::LetGone(lane));
                }
            }
            _ => {
                instance.wakes_at = None;
                let clock = instance.clock(now);
                instance.membership.handle_timeout(clock);
            }
        }
        self.outputs_since(life, held);
    }

    fn outputs(&mut self, life: usize) {
        let held = self.lives[life].lease_holds(self.now);
        self.outputs_since(life, held);
    }

    /// Carries out what an instance asks for. `held`: its lease held before.
    fn outputs_since(&mut self, life: usize, held: bool) {
        while let Some(output) = self.lives[life].output() {
            match output {
                Output::Ask { question, request, limit_ms } => self.asks(life, question, request, limit_ms),
                Output::Own(lane) => {
                    self.say(|| format!("{life} owns lane {lane}"));
                    self.lives[life].writes.insert(lane, None);
                    self.lives[life].changes += 1;
                    self.measures(life);
                }
                Output::LetGo(lane) => {
                    self.say(|| format!("{life} lets lane {lane} go"));
                    self.said("lanes let go");
                    let after = self.rng.between(1, 1_500);
                    self.lives[life].changes += 1;
                    self.lives[life].writes.insert(lane, Some(self.now + after));
                    self.schedule(after, What::Drained { life, lane });
                    if self.mistake == Some(Mistake::LetGoneEarly) {
                        let clock = self.lives[life].clock(self.now);
                        self.lives[life].membership.handle(clock, Input::LetGone(lane));
                    }
                }
                Output::Lost(lane) => {
                    self.say(|| format!("{life} loses lane {lane}"));
                    self.said("lanes lost");
                    self.lives[life].changes += 1;
                    assert!(
                        !held || self.now < self.forgotten_until || self.mistake.is_some(),
                        "instance {life} loses lane {lane} within its lease"
                    );
                    if self.mistake != Some(Mistake::LostIgnored) {
                        self.lives[life].writes.remove(&lane);
                    }
                }
                Output::Event(event) => {
                    self.say(|| format!("{life}: {event:?}"));
                    if matches!(event, Event::Member { .. }) {
                        self.lives[life].was_member = true;
                    }
                }
                Output::Refused(code) => panic!("instance {life} is refused: {code}"),
                Output::Left => {
                    self.said("members that left");
                    self.lives[life].is_alive = false;
                }
            }
        }
        if let Some(at) = self.lives[life].membership.poll_timeout() {
            let at = (at + self.lives[life].behind_ms).max(self.now);
            if self.lives[life].wakes_at.is_none_or(|other| at < other) {
                self.lives[life].wakes_at = Some(at);
                self.schedule(at - self.now, What::Wakes { life });
            }
        }
    }

    /// It has found out what its lanes copy.
    /// From now on lanes have these rates, in bytes a second.
    pub fn set_rates(&mut self, rates: Vec<u64>) {
        self.rates = Some(rates);
        for life in self.alive().collect::<Vec<_>>() {
            self.measures(life);
            self.outputs(life);
        }
    }

    fn measures(&mut self, life: usize) {
        let Some(all) = &self.rates else { return };
        let rate = |lane: &u32| (*lane, all[*lane as usize]);
        let rates = self.lives[life].writes.keys().map(rate).collect();
        let clock = self.lives[life].clock(self.now);
        self.lives[life].membership.handle(clock, Input::Rates(rates));
    }

    fn asks(&mut self, life: usize, question: u64, request: Request, limit_ms: u64) {
        self.lives[life].open.insert(question);
        self.schedule(limit_ms, What::Limit { life, question });
        if self.lives[life].cut_until > self.now {
            return;
        }
        let (lost, twice) = match self.faulty {
            true => (self.rng.chance(30), self.rng.chance(20)),
            false => (false, false),
        };
        if lost {
            return self.said("requests lost");
        }
        let delay = self.delay();
        if twice {
            let later = delay + self.rng.between(1, Self::LATE_MS);
            self.said("requests carried out twice");
            self.schedule(later, What::Arrives { life, question, request: request.clone() });
        }
        self.schedule(delay, What::Arrives { life, question, request });
    }

    /// Whatever waits for an answer hears that none will come.
    fn break_connections(&mut self) {
        for life in 0..self.lives.len() {
            for question in self.lives[life].open.clone() {
                self.schedule(1, What::Limit { life, question });
            }
        }
    }

    fn delay(&mut self) -> u64 {
        if !self.faulty {
            return 1;
        }
        match self.rng.below(40) {
            0 => self.rng.between(100, Self::LATE_MS),
            _ => self.rng.delay(),
        }
    }

    fn replies(&mut self) {
        for ((life, question), result) in self.coordinator.replies() {
            if self.lives[life].cut_until > self.now || (self.faulty && self.rng.chance(30)) {
                self.said("answers lost");
                continue;
            }
            if let Err(Failure::Code(code)) = result {
                self.said(match code {
                    ErrorCode::REBALANCE_IN_PROGRESS => "27",
                    ErrorCode::UNKNOWN_MEMBER_ID => "25",
                    ErrorCode::ILLEGAL_GENERATION => "22",
                    _ => "coordinator elsewhere",
                });
            }
            let delay = self.delay();
            self.say(|| format!("    {life} is answered {question}: {}", words(&result)));
            self.schedule(delay, What::Answered { life, question, result });
        }
        if let Some(due) = self.coordinator.due().map(|due| due.max(self.now))
            && self.looks_at.is_none_or(|other| due < other)
        {
            self.looks_at = Some(due);
            self.schedule(due - self.now, What::Coordinator);
        }
    }

    fn fault(&mut self) {
        if !self.faulty {
            return;
        }
        let next = self.rng.between(50, 4_000);
        self.schedule(next, What::Fault);
        let session_ms = self.config.session_ms;
        let alive: Vec<usize> = self.alive().collect();
        let some = (!alive.is_empty()).then(|| alive[self.rng.index(alive.len())]);
        match (self.rng.below(12), some) {
            (0 | 1, Some(life)) => {
                self.crash(life);
                self.said("crashes");
            }
            (2, Some(life)) => self.leave(life),
            (3, Some(life)) => {
                let ms = self.rng.between(10, session_ms * 3);
                self.say(|| format!("{life} sleeps for {ms} ms"));
                self.said(if ms > session_ms { "sleeps longer than the session" } else { "sleeps" });
                self.lives[life].asleep_until = self.now + ms;
                if self.mistake == Some(Mistake::ClockStops) {
                    self.lives[life].behind_ms += ms;
                }
            }
            (4, Some(life)) => {
                let ms = self.rng.between(10, session_ms * 2);
                self.say(|| format!("{life} is cut off for {ms} ms"));
                self.said("cuts");
                self.lives[life].cut_until = self.now + ms;
            }
            (5, _) => {
                let ms = self.rng.between(10, session_ms * 2);
                self.say(|| format!("the coordinator moves within {ms} ms"));
                self.said("moves of the coordinator");
                self.coordinator.moves(self.now, self.now + ms);
                self.replies();
            }
            (6, _) => {
                let code = self.rng.pick(&[
                    ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
                    ErrorCode::COORDINATOR_NOT_AVAILABLE,
                    ErrorCode::NOT_COORDINATOR,
                ]);
                self.coordinator.away = Some((self.now + self.rng.between(10, session_ms), code));
            }
            (7, _) if self.rng.chance(300) && alive.iter().all(|life| self.lives[*life].was_member) => {
                self.say(|| "the group is forgotten".to_owned());
                self.said("groups forgotten");
                self.coordinator.forgets();
                self.forgotten_until = self.now + session_ms * 4;
            }
            (8, Some(_)) => {
                let lanes = self.rng.pick(&[1, 2, 4, 8, 16]);
                self.lanes = lanes;
                self.say(|| format!("there are {lanes} lanes"));
                self.said("changes of the number of lanes");
                for life in alive {
                    let clock = self.lives[life].clock(self.now);
                    self.lives[life].membership.handle(clock, Input::Lanes(self.lanes));
                    self.outputs(life);
                }
            }
            _ => {
                if alive.len() < self.instances_max && self.now >= self.forgotten_until {
                    self.start();
                }
            }
        }
    }

    fn no_lane_twice(&self) -> Result<(), String> {
        let mut owners: BTreeMap<u32, usize> = BTreeMap::new();
        for (life, instance) in self.lives.iter().enumerate().filter(|(_, instance)| instance.lease_holds(self.now)) {
            for lane in instance.writes.keys() {
                if let Some(other) = owners.insert(*lane, life) {
                    return Err(format!("lane {lane} is owned by {other} and {life} at {}", self.now));
                }
            }
        }
        Ok(())
    }

    fn all_owned(&self) -> Result<(), String> {
        for lane in 0..self.lanes {
            let owns =
                |life: &usize| self.lives[*life].lease_holds(self.now) && self.lives[*life].writes.contains_key(&lane);
            if !self.alive().any(|life| owns(&life)) {
                return Err(format!("lane {lane} is nobody's at {}", self.now));
            }
        }
        Ok(())
    }

    /// No one has much more than its part; by bytes, no one has two lanes while another has none.
    fn shared_fairly(&mut self) -> Result<(), String> {
        let counts: Vec<usize> = self.alive().map(|life| self.lives[life].writes.len()).collect();
        let (most, fair) = (counts.iter().max().unwrap(), (self.lanes as usize).div_ceil(counts.len()));
        // What is not worth a move stays.
        let is_fair = match &self.rates {
            None => most * 85 <= fair * 100,
            Some(_) => *most < 2 || counts.iter().all(|count| *count > 0),
        };
        if !is_fair {
            return Err(format!("lanes are shared as {counts:?}, their rates are {:?}", self.rates));
        }
        if self.rates.is_some() && counts.len() > 1 {
            self.said("unlike lanes shared");
        }
        Ok(())
    }
}

fn name(request: &Request) -> String {
    match request {
        Request::Join { word, .. } => {
            let Word { generation, settled, quiet_ms, claims, plan } = Word::decode(word).unwrap();
            let lanes: Vec<_> = claims.iter().map(|(lane, claim)| (*lane, claim.leaving)).collect();
            let known = plan.generation;
            format!("Join, carried out {generation}, knows {known}, {settled}, {quiet_ms}, {lanes:?}")
        }
        Request::Sync { generation, .. } => format!("Sync of {generation}"),
        Request::Heartbeat { generation, .. } => format!("Heartbeat of {generation}"),
        Request::Leave { .. } => "Leave".to_owned(),
    }
}

fn words(result: &Result<Answer, Failure>) -> String {
    match result {
        Ok(Answer::Joined { generation, .. }) => format!("generation {generation}"),
        Ok(Answer::IdRequired(id)) => id.clone(),
        Ok(Answer::Synced(_)) => "a plan".to_owned(),
        Ok(Answer::Done) => "done".to_owned(),
        Err(failure) => format!("{failure:?}"),
    }
}
