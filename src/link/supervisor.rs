//! A running link: the lanes that the group gives this instance, mirrors in step, one stop for all.
//!
//! ```text
//!  preflight ──► join the group ──► lanes come and go, rounds of mirrors (every `topics` interval) ──► drain ──► leave
//!                                       │ a lane is over: begun again from its map, or the link ends
//! ```
//!
//! Which partition is in which lane stands in the link's state; each lane goes by it itself.

mod error;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use twinlog_client::admin::{IsolationLevel, OffsetAt, TopicPartition};
use twinlog_client::{Cluster, Error, Metadata};
use twinlog_core::config::LinkConfig;
use twinlog_core::lane::{EpochLimits, LaneConfig};
use twinlog_core::map_record::{LinkRecord, PartitionKey};
use twinlog_core::moves::Place;
use twinlog_core::report::{Missing, RunEnd};
use twinlog_core::state_record::Lanes;
use twinlog_core::status::{Instance, LinkStatus, PartitionStatus, Standing};

pub use self::error::LinkError;
use crate::claims::Claims;
use crate::environment::Environment;
use crate::groups::Groups;
use crate::lane::{LaneSetup, Partitions, Share};
use crate::lease::Lease;
use crate::map_topic::{Memory, ensure_map_topic, memory};
use crate::members::{Members, MembersSetup, News};
use crate::mirrors::{Mirrors, Resolutions, Round, new_topics};
use crate::names::map_topic;
use crate::objectives::Objectives;
use crate::own_lanes::{DRAIN, Ended, Next, OwnLanes};
use crate::placing::Placing;
use crate::reach::first_contact;
use crate::same_cluster::refuse_same_cluster;
use crate::state::StateTopic;
use crate::status;

/// How long the clusters may take to answer for the first time.
const FIRST_CONTACT: Duration = Duration::from_secs(20);
/// How long the group may take to hear that this instance leaves; without that, others wait for the session's end.
const LEAVE: Duration = Duration::from_secs(3);
/// The pause before something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often snapshots of the lanes are put together.
const STATUS: Duration = Duration::from_millis(250);
/// How often the map is asked how far other instances are, by one that waits for them to be caught up.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of a lane that may wait to be sent before no more is fetched: enough for the time until more comes, and not
/// more than stays in the processor's caches.
const QUEUE_BYTES: u64 = 1 << 20;
/// Ranges in one chunk of the map: about 5 KB.
const CHUNK_RANGES: usize = 1024;

/// What a link is made of.
#[derive(Clone, Debug)]
pub struct LinkSetup {
    /// Its name.
    pub name: String,
    /// Its part of the configuration; `source` and `target` there are the names that people gave.
    pub config: LinkConfig,
    /// The cluster that is read.
    pub source: Cluster,
    /// The cluster that is written.
    pub target: Cluster,
    /// Where it runs.
    pub environment: Environment,
}

impl LinkSetup {
    /// What it shows of itself, with these partitions.
    pub fn status(&self, partitions: Vec<Arc<PartitionStatus>>) -> LinkStatus {
        LinkStatus {
            link: self.name.clone(),
            source: self.config.source.clone(),
            target: self.config.target.clone(),
            lanes: self.config.lanes,
            instance: None,
            partitions,
        }
    }
}

/// Runs a link until `stop` is true, or with `until_caught_up` until everything that was on the source at the start is
/// on the target, whichever instance brings it there. Snapshots go to `status`.
pub async fn run(
    setup: LinkSetup,
    until_caught_up: bool,
    stop: watch::Receiver<bool>,
    status: watch::Sender<LinkStatus>,
) -> Result<RunEnd, LinkError> {
    let (_nobody, changes) = mpsc::unbounded_channel();
    run_changing(setup, until_caught_up, stop, changes, status).await
}

/// The same, with configurations to take over while it runs: they may differ from the one before in what
/// [`twinlog_core::reload::Fate::TakesOver`] stands for alone.
pub async fn run_changing(
    setup: LinkSetup,
    until_caught_up: bool,
    mut stop: watch::Receiver<bool>,
    mut changes: mpsc::UnboundedReceiver<LinkConfig>,
    status: watch::Sender<LinkStatus>,
) -> Result<RunEnd, LinkError> {
    let (mut link, mut ends) = Running::begin(setup, status).await?;
    let (mut next_status, mut is_news) = (Instant::now(), true);
    link.wants_ends = until_caught_up;
    let end = loop {
        let now = Instant::now();
        if now >= next_status {
            if link.lanes.look_for_news() | std::mem::take(&mut is_news) | link.objectives.are_due() {
                link.publish();
            }
            next_status = now + STATUS;
            if let Some(rates) = link.lanes.rates() {
                link.members.rates(rates);
            }
        }
        if link.next_round.is_some_and(|at| now >= at) {
            link.begin_round();
        }
        for lane in link.lanes.expired() {
            link.members.let_gone(lane);
        }
        if let Some(end) = link.caught_up() {
            break Ok(end);
        }
        let wake = [link.next_round, link.lanes.deadline()].into_iter().flatten().fold(next_status, Instant::min);
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break Ok(RunEnd::default()),
            Some(config) = changes.recv() => link.take_over(config),
            Some(news) = link.members.news.recv() => {
                if let Some(error) = link.hear(news) {
                    break Err(error);
                }
            }
            Some(ended) = ends.recv() => {
                if let Some(error) = link.lane_ended(ended) {
                    break Err(error);
                }
            }
            Some(done) = link.rounds.join_next() => link.round_done(unpanicked(done)),
            Some(rows) = link.looks.join_next() => link.looked(unpanicked(rows)),
            () = link.placing.changed() => link.look_at_state(),
            () = sleep_until(wake) => continue,
        }
        is_news = true;
    };
    if until_caught_up && end.is_ok() {
        link.groups.finish().await;
    }
    link.drain(&mut ends).await;
    link.publish();
    match end {
        // A signal in the middle: what is missing is said all the same.
        Ok(end) if end.missing.is_empty() => Ok(link.wanted.as_ref().map_or(end, |wanted| link.end(wanted))),
        end => end,
    }
}

/// What a task gave. A panic in it goes on here.
fn unpanicked<T>(joined: Result<T, tokio::task::JoinError>) -> Option<T> {
    match joined {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_cancelled) => None,
    }
}

/// The link and the lanes that it has.
struct Running {
    setup: LinkSetup,
    members: Members,
    lanes: OwnLanes,
    placing: Placing,
    groups: Groups,
    /// How many lanes there are.
    count: u32,
    /// Whether the group has shared the lanes out: what is not ours is another instance's.
    shared: bool,
    /// Whether this instance leads the group.
    leads: bool,
    /// Mirrors are held back until the group's leader has claimed them.
    waits_for_claims: bool,
    /// None while a round is under way: it has them.
    topics: Option<Topics>,
    rounds: JoinSet<RoundDone>,
    /// None while a round is under way.
    next_round: Option<Instant>,
    partitions: Partitions,
    /// What was decided before the start: the first round may come before the state is followed.
    first_resolutions: Resolutions,
    /// Source topics that are to be copied and cannot be yet, and why.
    held: BTreeMap<String, String>,
    /// The source's ends are to be asked for: everything up to them is what is waited for.
    wants_ends: bool,
    wanted: Option<BTreeMap<PartitionKey, i64>>,
    /// Looks at how far other instances are, and what the last one saw.
    looks: JoinSet<Option<Vec<Arc<PartitionStatus>>>>,
    next_look: Instant,
    elsewhere: BTreeMap<PartitionKey, Arc<PartitionStatus>>,
    /// What lanes showed last that were drained at the end.
    last: Vec<Arc<PartitionStatus>>,
    objectives: Objectives,
    /// The memory that its lanes have together.
    share: Share,
    /// The configuration has changed since the last round of mirrors began.
    changed: bool,
    status: watch::Sender<LinkStatus>,
}

/// What a round of mirrors is made with.
struct Topics {
    mirrors: Mirrors,
    claims: Claims,
}

impl Topics {
    /// Compares both sides; only what this link has claimed comes back to be copied. With whether there is something
    /// that the group's leader is yet to claim.
    async fn round(
        &mut self,
        config: &LinkConfig,
        leads: bool,
        resolutions: &Resolutions,
    ) -> Result<(Round, bool), Error> {
        self.mirrors.configured(config);
        self.mirrors.decided(resolutions);
        let mut round = self.mirrors.sync().await?;
        let target_name = |topic: &str| config.topics.rename.apply(&config.source, topic);
        let is_unclaimed = self.claims.sift(&mut round, leads, target_name).await;
        Ok((round, is_unclaimed))
    }
}

/// What came of a round.
struct RoundDone {
    topics: Topics,
    round: Result<Round, Error>,
    /// What it knew of what was decided.
    resolutions: Resolutions,
    /// The group's leader is yet to claim mirrors.
    is_unclaimed: bool,
    /// The source's ends, if they were asked for.
    ends: Option<Result<BTreeMap<PartitionKey, i64>, Error>>,
}

impl Running {
    async fn begin(
        setup: LinkSetup,
        status: watch::Sender<LinkStatus>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Ended>), LinkError> {
        let deadline = Instant::now() + FIRST_CONTACT;
        let (source, target) = (setup.source.clone(), setup.target.clone());
        let asked =
            tokio::join!(first_contact(&setup.name, &source, deadline), first_contact(&setup.name, &target, deadline));
        let (source_metadata, target_metadata) = match asked {
            (Err(source), Err(target)) => return Err(LinkError::Neither(source, target)),
            (source, target) => (source?, target?),
        };
        if let Some(warning) = refuse_same_cluster(&source_metadata, &target_metadata)? {
            tracing::warn!(link = setup.name, "{warning}");
        }
        let replicas = setup.config.replication_factor;
        let clock = &setup.environment.clock;
        let state_topic = StateTopic::ensure(&target, &setup.name, replicas, clock.clone()).await?;
        let (lanes, resolutions) = begin_state(&setup, &state_topic, &target_metadata).await?;
        let map_topic_id = ensure_map_topic(&target, &setup.name, lanes, replicas).await?;
        let Memory { producer_expiration_ms, keep_alive_ms, offsets_retention } =
            target.retry(deadline, || memory(&target)).await?;
        let config = LaneConfig {
            link: LinkRecord {
                link: setup.name.clone(),
                source_cluster: source_metadata.cluster_id.clone().unwrap_or_default(),
                target_cluster: target_metadata.cluster_id.clone().unwrap_or_default(),
            },
            producer_expiration_ms,
            mark_interval_ms: u64::try_from(setup.config.intervals.mark.as_millis()).unwrap_or(u64::MAX),
            queue_bytes_max: QUEUE_BYTES,
            chunk_ranges: CHUNK_RANGES,
            keep_alive_ms,
            epochs: EpochLimits::KAFKA,
        };
        let lease = Lease::new(setup.environment.boot_clock.clone());
        let (ended_sender, ended) = mpsc::unbounded_channel();
        let placing = Placing::new(&setup, state_topic, ended);
        let share = Share::of(setup.config.budget_bytes);
        let template = LaneSetup {
            link: setup.name.clone(),
            lane: 0,
            source,
            target: target.clone(),
            map_topic_id,
            config,
            fetch: setup.config.fetch,
            rack: setup.config.rack.as_deref().unwrap_or_default().into(),
            request_partitions: setup.environment.request_partitions,
            requests_max: usize::from(setup.config.produce.in_flight),
            share: share.clone(),
            timestamps: setup.config.timestamps,
            clock: setup.environment.clock.clone(),
            lease: lease.clone(),
            state: placing.follower(),
            ended: ended_sender,
            meter: setup.environment.meter.clone(),
        };
        let (own, ends) = OwnLanes::new(template, setup.environment.lanes, usize::try_from(lanes).unwrap_or(1))
            .map_err(LinkError::Thread)?;
        let mirrors = Mirrors::new(
            &setup.name,
            &setup.config.source,
            setup.config.clone(),
            setup.source.clone(),
            setup.target.clone(),
        );
        let claims = Claims::new(
            &setup.name,
            source_metadata.cluster_id.as_deref().unwrap_or_default(),
            setup.target.clone(),
            setup.config.replication_factor,
            setup.environment.clock.clone(),
        );
        let members = MembersSetup {
            link: setup.name.clone(),
            target,
            config: setup.config.members,
            lanes,
            clock: setup.environment.boot_clock.clone(),
        };
        let running = Self {
            groups: Groups::begin(&setup, own.doors(), lease.clone(), offsets_retention),
            members: Members::begin(members, lease),
            lanes: own,
            placing,
            count: lanes,
            shared: false,
            leads: false,
            waits_for_claims: false,
            topics: Some(Topics { mirrors, claims }),
            rounds: JoinSet::new(),
            next_round: Some(Instant::now()),
            partitions: Partitions::default(),
            first_resolutions: resolutions,
            held: BTreeMap::new(),
            wants_ends: false,
            wanted: None,
            looks: JoinSet::new(),
            next_look: Instant::now(),
            elsewhere: BTreeMap::new(),
            last: Vec::new(),
            objectives: Objectives::new(&setup),
            share,
            changed: false,
            status,
            setup,
        };
        Ok((running, ends))
    }

    /// Goes on by another configuration.
    fn take_over(&mut self, config: LinkConfig) {
        self.share.resize(config.budget_bytes);
        self.objectives.replace(&config.objectives);
        self.groups.take(&config.groups);
        self.setup.config = config;
        // Not the one that is under way: it began by the configuration before.
        self.changed = true;
        if self.next_round.is_some() {
            self.next_round = Some(Instant::now());
        }
    }

    /// The state may say something new: lanes find out by themselves what their partitions are.
    fn look_at_state(&mut self) {
        if self.is_decided() && self.next_round.is_some() {
            self.next_round = Some(Instant::now());
        }
        let Some(lanes) = self.placing.state().lanes() else { return };
        if lanes.count != self.count {
            tracing::info!(
                link = self.setup.name,
                before = self.count,
                now = lanes.count,
                "The number of lanes changes."
            );
            self.count = lanes.count;
            self.lanes.make_room(lanes.count);
            self.members.lanes(lanes.count);
        }
    }

    /// What the group says.
    fn hear(&mut self, news: News) -> Option<LinkError> {
        match news {
            News::Own(lane) => self.begin_lane(lane, Duration::ZERO),
            News::LetGo(lane) => {
                tracing::info!(link = self.setup.name, lane, "The lane goes to another instance.");
                self.lanes.let_go(lane);
            }
            News::Lost(lane) => self.lanes.lose(lane),
            News::Shared { leads } => {
                self.shared = true;
                self.leads = leads;
                self.placing.lead(leads);
                self.groups.lead(leads);
                if leads && self.waits_for_claims && self.next_round.is_some() {
                    self.next_round = Some(Instant::now());
                }
            }
            News::Refused(code) => return Some(LinkError::Members { link: self.setup.name.clone(), code }),
            News::Left => {}
        }
        None
    }

    /// Begins a lane with its partitions.
    fn begin_lane(&mut self, lane: u32, after: Duration) {
        self.lanes.begin(lane, after, &self.partitions);
    }

    /// A lane's task is over: begun again, let go, or the reason why the link ends.
    fn lane_ended(&mut self, ended: Ended) -> Option<LinkError> {
        let lane = ended.0;
        match self.lanes.ended(ended) {
            Next::Nothing => {}
            Next::LetGone => self.members.let_gone(lane),
            Next::Begin(after) => self.begin_lane(lane, after),
            Next::BadMap(reason) => {
                return Some(LinkError::BadMap { link: self.setup.name.clone(), lane, reason });
            }
        }
        None
    }

    /// Begins a round of mirrors. It may take long, and the group must not wait for it.
    fn begin_round(&mut self) {
        let Some(mut topics) = self.topics.take() else { return };
        self.next_round = None;
        self.changed = false;
        let (config, source) = (self.setup.config.clone(), self.setup.source.clone());
        let (wants_ends, leads) = (self.wants_ends, self.leads);
        let state = self.placing.state();
        let resolutions = match state.lanes() {
            Some(_) => Arc::new(state.resolutions().clone()),
            None => Arc::clone(&self.first_resolutions),
        };
        self.rounds.spawn(async move {
            let (round, is_unclaimed) = match topics.round(&config, leads, &resolutions).await {
                Ok((round, is_unclaimed)) => (Ok(round), is_unclaimed),
                Err(error) => (Err(error), false),
            };
            let ends = match &round {
                Ok(round) if wants_ends && !is_unclaimed => Some(ends_of_source(&source, round).await),
                _ => None,
            };
            RoundDone { topics, round, resolutions, is_unclaimed, ends }
        });
    }

    fn round_done(&mut self, done: Option<RoundDone>) {
        let Some(RoundDone { topics, round, resolutions, is_unclaimed, ends }) = done else { return };
        self.topics = Some(topics);
        match round {
            Ok(round) => self.take_round(round, resolutions),
            Err(error) => {
                tracing::warn!(link = self.setup.name, %error, "Topics cannot be compared; trying again.");
            }
        }
        match ends {
            Some(Ok(ends)) => {
                self.wanted = Some(ends);
                self.wants_ends = false;
            }
            Some(Err(error)) => {
                tracing::warn!(link = self.setup.name, %error, "The source's ends cannot be asked for; trying again.");
            }
            None => {}
        }
        self.waits_for_claims = is_unclaimed;
        let pause = match is_unclaimed {
            _ if self.changed => Duration::ZERO,
            true if self.leads => Duration::ZERO,
            true => AGAIN,
            false if self.wants_ends => AGAIN,
            false if self.is_decided() => AGAIN,
            false => self.setup.config.intervals.topics,
        };
        self.next_round = Some(Instant::now() + pause);
    }

    /// Whether something was decided that no round has seen yet.
    fn is_decided(&self) -> bool {
        let state = self.placing.state();
        state.lanes().is_some() && state.resolutions() != &*self.partitions.resolutions
    }

    /// Tells the lanes what a round has found.
    fn take_round(&mut self, round: Round, resolutions: Resolutions) {
        for problem in &round.problems {
            tracing::warn!(link = self.setup.name, "{problem}");
        }
        self.held = round.held;
        // What stopped them before counts no more: the round says whether it still does.
        let decided = new_topics(&self.partitions.resolutions, &resolutions);
        if !decided.is_empty() {
            Arc::make_mut(&mut self.partitions.stops).retain(|key, _| !decided.contains(&key.topic));
            Arc::make_mut(&mut self.partitions.specs).retain(|key, _| !decided.contains(&key.topic));
        }
        self.partitions.resolutions = resolutions;
        let Partitions { specs, stops, .. } = &self.partitions;
        let fresh: Vec<_> = round.partitions.into_iter().filter(|spec| specs.get(&spec.key) != Some(spec)).collect();
        let stopped: Vec<_> = round.stops.into_iter().filter(|(key, halt)| stops.get(key) != Some(halt)).collect();
        if fresh.is_empty() && stopped.is_empty() && decided.is_empty() {
            return;
        }
        self.placing.found(fresh.iter().map(|spec| &spec.key));
        let specs = Arc::make_mut(&mut self.partitions.specs);
        let stops = Arc::make_mut(&mut self.partitions.stops);
        for spec in fresh {
            // What stopped it before it was ever copied is no longer so.
            stops.remove(&spec.key);
            specs.insert(spec.key.clone(), spec);
        }
        for (key, halt) in stopped {
            if !specs.contains_key(&key) {
                let (topic, partition) = (&key.topic, key.partition);
                tracing::error!(topic, partition, state = halt.name(), reason = %halt, "Partition stopped.");
            }
            stops.insert(key, halt);
        }
        self.lanes.set_partitions(&self.partitions);
        self.groups.mirrored(&self.partitions.specs);
    }

    fn rows(&self) -> BTreeMap<PartitionKey, Arc<PartitionStatus>> {
        let (mut rows, state) = (BTreeMap::new(), self.placing.state());
        for row in self.last.iter().cloned().chain(self.lanes.rows()) {
            rows.insert(PartitionKey { topic: row.topic.clone(), partition: row.partition }, row);
        }
        for (key, halt) in self.partitions.stops.iter() {
            rows.entry(key.clone()).or_insert_with(|| {
                let row = self.row(key, state.place(key), Standing::Halted, halt.name());
                Arc::new(PartitionStatus { detail: Some(halt.to_string()), ..row })
            });
        }
        for key in self.partitions.specs.keys() {
            let place = state.place(key);
            rows.entry(key.clone()).or_insert_with(|| match place {
                Some(at) if self.shared && !self.lanes.has(at.lane) => self.elsewhere(key, place),
                Some(Place { from: Some(from), .. }) => {
                    let detail = Some(format!("waits for lane {from} to let go of it"));
                    Arc::new(PartitionStatus { detail, ..self.row(key, place, Standing::Waiting, "moving") })
                }
                _ => Arc::new(self.row(key, place, Standing::Waiting, "beginning")),
            });
        }
        rows
    }

    /// A partition whose lane another instance has.
    fn elsewhere(&self, key: &PartitionKey, place: Option<Place>) -> Arc<PartitionStatus> {
        match self.elsewhere.get(key) {
            Some(row) if row.standing == Standing::Halted => Arc::clone(row),
            seen => {
                let row = self.row(key, place, Standing::Elsewhere, Standing::Elsewhere.name());
                Arc::new(PartitionStatus { synced: seen.and_then(|row| row.synced), ..row })
            }
        }
    }

    /// A partition that its lane does not show.
    fn row(&self, key: &PartitionKey, place: Option<Place>, standing: Standing, state: &str) -> PartitionStatus {
        let target_topic = self.setup.config.topics.rename.apply(&self.setup.config.source, &key.topic);
        let lane = place.and_then(|place| u16::try_from(place.lane).ok()).unwrap_or_default();
        PartitionStatus::new(key.clone(), target_topic, lane, standing, state)
    }

    fn publish(&mut self) {
        let rows = self.objectives.judge(self.rows().into_values().collect());
        let status = self.setup.status(rows);
        let narrow = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let instance = Instance { ready: self.shared, lanes: narrow(self.lanes.count()) };
        let lanes = u16::try_from(self.count).unwrap_or(u16::MAX);
        self.status.send_replace(LinkStatus { lanes, instance: Some(instance), ..status });
    }

    /// The end of `--until-caught-up`, once every partition has what it wanted or halted. What other instances copy is
    /// looked up in the map when the own lanes have nothing left to do.
    fn caught_up(&mut self) -> Option<RunEnd> {
        let wanted = self.wanted.as_ref()?;
        let rows = self.rows();
        let lacks = |(key, end): &(&PartitionKey, &i64)| {
            // Where more was copied than the source had at the start, it may have taken records back: its first answer
            // tells.
            let is_known = |row: &PartitionStatus| row.high_watermark.is_some() || row.standing == Standing::Elsewhere;
            let done = |row: &&Arc<PartitionStatus>| match row.standing {
                Standing::Halted => true,
                _ => row.synced == Some(**end) || (row.synced > Some(**end) && is_known(row)),
            };
            rows.get(*key).filter(done).is_none()
        };
        let mut lacking = wanted.iter().filter(lacks).peekable();
        if lacking.peek().is_none() {
            return Some(self.end(wanted));
        }
        let is_elsewhere =
            |(key, _): (&PartitionKey, &i64)| rows.get(key).is_some_and(|row| row.standing == Standing::Elsewhere);
        if lacking.all(is_elsewhere) && self.looks.is_empty() && Instant::now() >= self.next_look {
            let setup = self.setup.clone();
            self.looks.spawn(async move {
                match status::status(&setup).await {
                    Ok(seen) => Some(seen.status.partitions),
                    Err(failure) => {
                        tracing::debug!(link = setup.name, what = failure.what, "The map cannot be looked at.");
                        None
                    }
                }
            });
        }
        None
    }

    fn looked(&mut self, rows: Option<Option<Vec<Arc<PartitionStatus>>>>) {
        self.next_look = Instant::now() + LOOK;
        for row in rows.flatten().into_iter().flatten() {
            self.elsewhere.insert(PartitionKey { topic: row.topic.clone(), partition: row.partition }, row);
        }
    }

    fn end(&self, wanted: &BTreeMap<PartitionKey, i64>) -> RunEnd {
        RunEnd { wanted: wanted.len(), missing: self.missing(wanted) }
    }

    fn missing(&self, wanted: &BTreeMap<PartitionKey, i64>) -> Vec<Missing> {
        let rows = self.rows();
        let stopped = self.partitions.stops.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key, None));
        let mut missing: Vec<_> = self.held.iter().map(|(topic, why)| self.held_back(topic, why)).collect();
        for (key, end) in wanted.iter().map(|(key, end)| (key, Some(*end))).chain(stopped) {
            let Some(row) = rows.get(key) else { continue };
            if end.is_some() && row.synced >= end && row.standing != Standing::Halted {
                continue;
            }
            missing.push(Missing {
                link: self.setup.name.clone(),
                topic: key.topic.clone(),
                partition: Some(key.partition),
                synced: row.synced,
                wanted: end,
                state: row.state.clone(),
                detail: row.detail.clone(),
            });
        }
        missing
    }

    /// A topic of which nothing can be copied yet.
    fn held_back(&self, topic: &str, why: &str) -> Missing {
        Missing {
            link: self.setup.name.clone(),
            topic: topic.to_owned(),
            partition: None,
            synced: None,
            wanted: None,
            state: "held".to_owned(),
            detail: Some(why.to_owned()),
        }
    }

    /// Lets every lane finish what is in flight and write its progress, then leaves the group, so that others take
    /// over at once.
    async fn drain(&mut self, ends: &mut mpsc::UnboundedReceiver<Ended>) {
        self.lanes.let_all_go();
        let drained = timeout(DRAIN, async {
            while !self.lanes.is_empty() {
                tokio::select! {
                    biased;
                    Some(news) = self.members.news.recv() => {
                        if let News::Lost(lane) = news {
                            self.lanes.lose(lane);
                        }
                    }
                    Some(ended) = ends.recv() => {
                        self.last.extend(self.lanes.rows());
                        drop(self.lanes.ended(ended));
                    }
                    else => return,
                }
            }
        });
        if drained.await.is_err() {
            tracing::warn!(link = self.setup.name, "Not everything in flight was answered; the next start finds out.");
            self.lanes.lose_all();
        }
        self.members.leave();
        let left = timeout(LEAVE, async {
            while let Some(news) = self.members.news.recv().await {
                if matches!(news, News::Left | News::Refused(_)) {
                    return;
                }
            }
        });
        if left.await.is_err() {
            tracing::warn!(link = self.setup.name, "The link's group did not hear in time that this instance leaves.");
        }
    }
}

/// How many lanes there are, after saying so in the link's state if it is new there: what the configuration names
/// counts for a new link only. And what was decided about partitions that stopped.
async fn begin_state(
    setup: &LinkSetup,
    topic: &StateTopic,
    target: &Metadata,
) -> Result<(u32, Resolutions), LinkError> {
    let wanted = u32::from(setup.config.lanes);
    let state = topic.read().await?;
    let lanes = match state.lanes() {
        Some(lanes) => lanes,
        None => {
            // A map without a state: the state was lost, or the link is older than it.
            let map = target.topics.get(&map_topic(&setup.name)).filter(|map| map.error.is_ok());
            let mapped = map.and_then(|map| u32::try_from(map.partitions.len()).ok());
            let state = topic.update(|state| Ok(state.begin(mapped.unwrap_or(wanted)))).await?;
            state.lanes().unwrap_or(Lanes { count: wanted, wanted })
        }
    };
    if lanes.wanted != wanted {
        tracing::info!(
            link = setup.name,
            configured = wanted,
            lanes = lanes.wanted,
            "The link has another number of lanes than its configuration names; `twinlog lanes resize` changes it."
        );
    }
    Ok((lanes.count, Arc::new(state.resolutions().clone())))
}

/// The last stable offset of every partition that is to be copied.
async fn ends_of_source(source: &Cluster, round: &Round) -> Result<BTreeMap<PartitionKey, i64>, Error> {
    let at = |key: &PartitionKey| TopicPartition::new(key.topic.clone(), key.partition);
    let stopped: BTreeSet<&PartitionKey> = round.stops.iter().map(|(key, _)| key).collect();
    let keys = || round.partitions.iter().map(|spec| &spec.key).chain(stopped.iter().copied());
    let asked = keys().map(|key| (at(key), OffsetAt::Latest)).collect();
    let mut listed = source.list_offsets(&asked, IsolationLevel::ReadCommitted).await?;
    let mut ends = BTreeMap::new();
    for key in keys() {
        match listed.remove(&at(key)) {
            Some(Ok(found)) => drop(ends.insert(key.clone(), found.offset.unwrap_or_default())),
            // A source topic that is gone is a halt, not an end to wait for.
            Some(Err(_)) if stopped.contains(key) => {}
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
    Ok(ends)
}
