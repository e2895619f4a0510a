//! What happens to the world by itself: appends, and everything that goes wrong.

use twinlog_core::io::Input;
use twinlog_core::lane::Lane;
use twinlog_core::moves::Place;

use super::broker::TRANSACTION_TIMEOUT_MS;
use super::profile::{Ages, Cause};
use super::source::Kind;
use super::target::Payload;
use super::world::{Event, Origin, World};

/// When the group has noticed that an instance is silent, in ms.
const SESSION_MS: u64 = 45_000;

impl World {
    pub(crate) fn set_up(&mut self) {
        let existing = self.profile.existing;
        for partition in 0..self.profile.partitions {
            for _ in 0..self.profile.backlog {
                self.append_something(partition);
            }
            let source = &mut self.sources[partition];
            source.high_watermark = source.end();
            let stands = !matches!(self.profile.cause, Some((of, Cause::NotEmpty)) if of != partition);
            if existing > 0 && stands {
                let wall = self.wall();
                self.targets[partition].foreign(existing as i64, wall);
                self.targets[partition].high_watermark = existing as i64;
            }
            self.after(0, Event::Append(partition));
        }
        for lane in 0..self.profile.lanes {
            self.plan_start(lane, 0);
        }
        for partition in 0..self.discovered {
            self.place(partition);
        }
        self.plan(self.profile.lanes > 1, 1_000, Event::Move);
        self.after(200, Event::Supervise);
        self.after(0, Event::Metadata);
        self.after(self.profile.expiry_check_ms, Event::Expiry);
        let span = self.profile.fault_ms;
        self.plan(self.profile.leaders_ms > 0, span / 4, Event::Leader);
        self.plan(self.profile.leaderless_ms > 0, span / 4, Event::Leaderless);
        self.plan(self.profile.pauses, span / 3, Event::Pause);
        self.plan(self.profile.rivals, span / 3, Event::Rival);
        self.plan(self.profile.trims, span / 2, Event::Trim);
        self.plan(self.profile.holes, span / 4, Event::Clean);
        self.plan(self.profile.map_compaction, span / 4, Event::Compact);
        self.plan(self.profile.drains, span / 2, Event::Drain);
        self.plan(self.profile.jump, span, Event::Jump);
        self.plan(self.profile.late_partition, span, Event::Discover);
        self.plan(self.profile.cause.is_some(), span, Event::Cause);
        self.plan(true, span, Event::Read);
    }

    fn plan(&mut self, on: bool, within: u64, event: Event) {
        if on {
            let delay = self.rng.below(within + 1);
            self.after(delay, event);
        }
    }

    pub(crate) fn timestamp(&mut self) -> i64 {
        let wall = self.wall();
        let expiration = self.profile.expiration_ms as u64;
        match self.profile.ages {
            Ages::Young => wall,
            Ages::Old if self.rng.chance(300) => 1_000 + self.rng.below(1_000) as i64,
            Ages::Old => wall - 3 * expiration as i64 - self.rng.below(expiration) as i64,
            Ages::Mixed => match self.rng.below(4) {
                0 => wall,
                1 => wall - expiration as i64 / 2 + self.rng.below(200) as i64 - 100,
                2 => wall - self.rng.below(2 * expiration) as i64,
                _ => 1_000,
            },
        }
    }

    fn append_something(&mut self, partition: usize) {
        let (count, len) = (self.rng.between(1, self.profile.records_max), self.rng.between(70, 900) as u32);
        let timestamp = self.timestamp();
        let roll = self.rng.below(100);
        let producer = 100 + self.rng.below(3) as i64;
        if self.profile.source_leaders && roll >= 97 {
            self.sources[partition].epoch += 1;
        }
        let open = self.sources[partition].open.contains_key(&producer);
        match roll {
            0..=29 if self.profile.transactions && open => {
                let abort = self.rng.chance(400);
                if abort {
                    self.count("aborted transactions");
                }
                self.sources[partition].finish(producer, abort, timestamp);
            }
            0..=59 if self.profile.transactions => {
                self.sources[partition].append(Kind::Transactional, count, producer, timestamp, len);
            }
            // What has no leader's epoch cannot tell that the source lost its end.
            90..=91 if self.cause_of(partition) != Some(Cause::SourceTruncated) => {
                self.count("messages of old formats");
                self.sources[partition].append(Kind::Legacy, count, -1, timestamp, len);
            }
            90..=94 => {
                self.count("batches with the broker's time");
                self.sources[partition].append(Kind::AppendTime, count, -1, timestamp, len);
            }
            _ => self.sources[partition].append(Kind::Data, count, -1, timestamp, len),
        }
        if self.profile.holes && self.rng.chance(300) {
            // Written long ago, and cleaned since: the append comes with its holes.
            let index = self.sources[partition].batches.len() - 1;
            if self.now <= 1_000 {
                self.clean(partition, index);
            }
        }
    }

    fn clean(&mut self, partition: usize, index: usize) {
        let batch = &self.sources[partition].batches[index];
        if !matches!(batch.kind, Kind::Data | Kind::Transactional | Kind::AppendTime) {
            return;
        }
        let (last, len) = (index + 1 == self.sources[partition].batches.len(), batch.records.len());
        let drop = !last && self.rng.chance(300);
        let step = self.rng.between(2, 4) as i64;
        let none = len < 50 && self.rng.chance(250);
        self.count("cleaned batches");
        self.sources[partition].clean(index, |record| !none && record.offset % step != 0, drop);
    }

    pub(crate) fn fault(&mut self, event: Event) {
        match event {
            Event::Append(partition) => self.append(partition),
            Event::SourceHighWatermark(partition) => {
                let source = &mut self.sources[partition];
                source.high_watermark = source.end();
            }
            Event::Expiry => self.expire(),
            _ if self.quiet => {}
            Event::Leader => self.move_a_leader(),
            Event::Leaderless => self.lose_a_leader(),
            Event::Pause => self.pause(),
            Event::Rival => {
                self.count("rivals");
                let lane = self.rng.index(self.profile.lanes);
                self.plan_start(lane, 0);
                self.plan(true, 4_000, Event::Rival);
            }
            Event::Move => self.move_something(),
            Event::Trim => self.trim(),
            Event::Clean => self.clean_something(),
            Event::Drain => self.drain_somebody(),
            Event::Compact => {
                self.count("compactions of the map");
                let lane = self.rng.index(self.profile.lanes);
                let map = self.map_of(lane);
                let is_running = |index: usize| self.instances[index].lane.as_ref().is_some_and(Lane::is_running);
                let is_read = !self.living().all(is_running);
                self.targets[map].compact(is_read);
                self.plan(true, 3_000, Event::Compact);
            }
            Event::Jump => self.jump(),
            Event::Cause => self.bring_about(),
            Event::Discover => self.discover(),
            _ => {}
        }
    }

    fn append(&mut self, partition: usize) {
        if self.quiet {
            return;
        }
        self.append_something(partition);
        let (lag, pause) = (self.rng.below(20), self.rng.between(1, 2 * self.profile.append_ms));
        self.after(lag, Event::SourceHighWatermark(partition));
        self.after(pause, Event::Append(partition));
    }

    fn expire(&mut self) {
        let (wall, expiration) = (self.wall(), self.profile.expiration_ms);
        let barrier = self.number();
        for partition in 0..self.targets.len() {
            if self.targets[partition].forget(wall, expiration) {
                self.count("producers forgotten");
                self.targets[partition].barrier = barrier;
            }
        }
        let pause = self.profile.expiry_check_ms.max(if self.quiet { 1_000 } else { 0 });
        self.after(pause, Event::Expiry);
    }

    /// A leader moves, or its broker restarts. What was appended above the high watermark may be lost; who waits for
    /// its followers hears that it is no longer the leader, or nothing.
    fn move_a_leader(&mut self) {
        let pause = self.rng.between(1, 2 * self.profile.leaders_ms);
        self.after(pause, Event::Leader);
        let partition = self.rng.index(self.targets.len());
        let (wall, expiration) = (self.wall(), self.profile.expiration_ms);
        let clean = self.rng.chance(500);
        let log = &self.targets[partition];
        let ends: Vec<i64> = log.batches.iter().map(super::target::Batch::end).collect();
        let choices: Vec<i64> = ends.into_iter().filter(|end| *end >= log.high_watermark).collect();
        let keep = if clean || choices.is_empty() { log.end() } else { self.rng.pick(&choices) };
        self.elect(partition, keep);
        if clean {
            self.count("clean restarts");
            self.targets[partition].restart(wall, expiration);
        } else {
            self.count("leader moves");
        }
    }

    pub(crate) fn elect(&mut self, partition: usize, keep: i64) {
        let (wall, expiration, barrier) = (self.wall(), self.profile.expiration_ms, self.number());
        let down = if self.rng.chance(500) { self.rng.between(10, 1_500) } else { 0 };
        let log = &mut self.targets[partition];
        log.elect(keep, wall, expiration);
        log.generation += 1;
        log.down_until = self.now + down;
        log.barrier = barrier;
        self.note(|_| format!("new leader of {partition}, log kept up to {keep}, down for {down}"));
        for waiter in std::mem::take(&mut self.waiters[partition]) {
            if let super::world::Target::Marker { transaction, producer } = waiter.target {
                self.after(20, Event::Marker { transaction, producer, partition, again: false });
                continue;
            }
            let code = twinlog_wire::error_code::ErrorCode::NOT_LEADER_OR_FOLLOWER;
            let answer = twinlog_core::outbox::Answer::Refused(code, String::new());
            self.after(2, Event::Answer(waiter.request, waiter.origin, waiter.target, answer));
        }
        if self.rng.chance(300) {
            let all: Vec<_> = self.instances.iter().map(|instance| instance.connections[partition].id).collect();
            for connection in all {
                self.break_connection(connection);
            }
        }
        self.appended(partition);
    }

    fn pause(&mut self) {
        self.plan(true, 5_000, Event::Pause);
        let living: Vec<_> = self.living().collect();
        if living.is_empty() {
            return;
        }
        self.count("pauses");
        let (index, pause) = (self.rng.pick(&living), self.rng.between(100, 6_000));
        self.instances[index].paused_until = self.now + pause;
        self.note(|_| format!("{index} stands still for {pause}"));
        if self.rng.chance(600) {
            self.plan_start(self.instances[index].number, 10);
        }
    }

    /// Retention on either side: only what any owner has behind it. Past that it is a cause of its own.
    fn trim(&mut self) {
        self.plan(true, 3_000, Event::Trim);
        let partition = self.rng.index(self.profile.partitions);
        if self.rng.chance(500) {
            let known = self.known_target_end(partition);
            // Retention that takes the last batch before the tail takes the evidence of a lost end with it.
            let evident = self.cause_of(partition) != Some(Cause::TargetTruncated);
            let log = &mut self.targets[partition];
            if known > log.start && evident {
                log.start = known - self.rng.below((known - log.start) as u64) as i64;
                self.count("trims of a mirror");
            }
            return;
        }
        let log = &self.targets[partition];
        let copied = log.batches.iter().rev().find_map(|batch| match &batch.payload {
            Payload::Records(content) if batch.end() <= log.high_watermark => content.records.last(),
            _ => None,
        });
        if let Some(last) = copied
            && self.cause_of(partition).is_none()
        {
            let to = last.offset + 1;
            let source = &mut self.sources[partition];
            if to > source.start {
                source.start = to;
                self.count("trims");
            }
        }
    }

    fn clean_something(&mut self) {
        self.plan(true, 2_000, Event::Clean);
        let partition = self.rng.index(self.profile.partitions);
        let source = &self.sources[partition];
        let stable = source.last_stable();
        let old = source.batches.iter().filter(|batch| batch.last < stable).count();
        if old > 1 {
            let index = self.rng.index(old - 1);
            self.clean(partition, index);
        }
    }

    /// SIGTERM in the middle of the work; somebody else goes on.
    fn drain_somebody(&mut self) {
        self.plan(true, 5_000, Event::Drain);
        let living: Vec<_> = self.living().collect();
        if !living.is_empty() {
            self.count("drains under way");
            let instance = self.rng.pick(&living);
            let origin = Origin { instance, life: self.instances[instance].life };
            self.deliver(origin, Input::Drain);
        }
    }

    /// The whole world stands still for long: records that were young are old, brokers forget.
    fn jump(&mut self) {
        // What is on its way would take the leap along, and no request lives that long.
        let on_its_way = !self.pending.is_empty() || self.waiters.iter().any(|waiters| !waiters.is_empty());
        if on_its_way {
            return self.after(7, Event::Jump);
        }
        self.count("time jumps");
        let expiration = self.profile.expiration_ms as u64;
        self.now += self.rng.between(expiration / 3, 2 * expiration);
        if self.rng.chance(500) {
            self.count("transactional ids forgotten");
            self.note(|_| "the coordinator forgets the transactional id".into());
            let lane = self.rng.index(self.profile.lanes);
            self.coordinators[lane].forget();
        }
        let barrier = self.number();
        for log in &mut self.targets {
            log.barrier = barrier;
        }
        self.expire();
    }

    fn discover(&mut self) {
        for partition in self.discovered..self.profile.partitions {
            self.place(partition);
        }
        self.discovered = self.profile.partitions;
    }

    /// The faults stop; what is open is ended.
    pub(crate) fn calm_down(&mut self) {
        self.note(|_| "quiet from here on".into());
        self.discover();
        if !self.caused && self.profile.cause.is_some() {
            self.profile.cause = match self.profile.cause {
                Some((_, Cause::NotEmpty)) => self.profile.cause,
                _ => None,
            };
        }
        self.quiet = true;
        let wall = self.wall();
        for source in &mut self.sources {
            let open: Vec<_> = source.open.keys().copied().collect();
            for producer in open {
                source.finish(producer, producer % 2 == 0, wall);
            }
            source.high_watermark = source.end();
        }
        self.lose_a_leader_at_the_end();
    }

    /// A former owner of a lane without partitions does nothing that could be refused, so that it hears of it with the
    /// next keep-alive only. The group would have told it.
    fn end_idle_zombies(&mut self, lane: usize) {
        let is_here = |place: &Place| place.lane as usize == lane && place.from.is_none();
        let is_empty = !self.states.table.iter().flatten().any(is_here);
        let owned = self.coordinators[lane].owner.is_some_and(|owner| self.instances[owner].alive);
        if self.quiet && self.now > self.quiet_at + SESSION_MS && is_empty && !owned {
            let living: Vec<_> = self.living().filter(|index| self.instances[*index].number == lane).collect();
            for index in living {
                self.end(index);
            }
        }
    }

    /// Looks after the world as an operator would, and ends it when all is copied.
    pub(crate) fn supervise(&mut self) {
        self.after(200, Event::Supervise);
        for lane in 0..self.profile.lanes {
            let alone = !self.living().any(|index| self.instances[index].number == lane);
            if alone && self.draining.is_empty() {
                self.plan_start(lane, 100);
            }
            self.end_idle_zombies(lane);
            if self.coordinators[lane].is_open_since(self.now.saturating_sub(TRANSACTION_TIMEOUT_MS)) {
                self.count("transactions timed out");
                let markers = self.coordinators[lane].abort();
                self.write_markers(Some(markers));
            }
        }
        self.look_for_the_end();
    }
}
