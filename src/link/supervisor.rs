//! A running link: lanes on their threads, mirrors in step, one stop for all.
//!
//! ```text
//!  preflight ──► lanes begin ──► rounds of mirrors (every `topics` interval) ──► drain ──► end
//!                                       │ a lane is over: begun again from its map, or the link ends
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use twinlog_client::admin::{IsolationLevel, OffsetAt, TopicPartition};
use twinlog_client::{Cluster, Error};
use twinlog_core::config::LinkConfig;
use twinlog_core::halt::Halt;
use twinlog_core::io::{Over, PartitionSpec};
use twinlog_core::lane::{EpochLimits, LaneConfig};
use twinlog_core::map_record::{LinkRecord, PartitionKey};
use twinlog_core::report::{Missing, RunEnd};
use twinlog_core::status::{LinkStatus, PartitionStatus, Standing};

use crate::claims::Claims;
use crate::environment::{Environment, LanePlace};
use crate::lane::{Command, LaneSetup, LaneShell};
use crate::map_topic::{MapTopicError, ensure_map_topic, keep_alive_ms, producer_expiration_ms};
use crate::mirrors::Mirrors;
use crate::names::lane_of;
use crate::same_cluster::{SameCluster, refuse_same_cluster};

/// How long the clusters may take to answer for the first time.
const FIRST_CONTACT: Duration = Duration::from_secs(20);
/// How long a drain may take before what is in flight is left to the next start.
const DRAIN: Duration = Duration::from_secs(25);
/// The pause before a lane is begun again.
const RESTART: Duration = Duration::from_secs(1);
/// The pause after the target forbade something.
const FORBIDDEN: Duration = Duration::from_secs(10);
/// How often snapshots of the lanes are put together.
const STATUS: Duration = Duration::from_millis(250);
/// Bytes of one partition that may wait or be in flight before no more is fetched for it.
const QUEUE_BYTES: u64 = 4 << 20;
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
    pub fn status(&self, partitions: Vec<PartitionStatus>) -> LinkStatus {
        LinkStatus {
            link: self.name.clone(),
            source: self.config.source.clone(),
            target: self.config.target.clone(),
            lanes: self.config.lanes,
            partitions,
        }
    }
}

/// Why a link ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A cluster cannot be asked what must be known before the start.
    #[error(transparent)]
    Client(#[from] Error),
    /// Both sides are one cluster.
    #[error(transparent)]
    SameCluster(#[from] SameCluster),
    /// The map topic cannot be used.
    #[error(transparent)]
    MapTopic(#[from] MapTopicError),
    /// Another instance has taken a lane over.
    #[error(
        "link {link}: lane {lane} was taken over by another instance, so this one has stopped writing; \
         nothing is lost and nothing is on the target twice"
    )]
    Lost {
        /// The link's name.
        link: String,
        /// The lane's number.
        lane: u32,
    },
    /// The map topic holds something that this build does not understand, or that belongs to another link.
    #[error("link {link}: the map of lane {lane} cannot be used: {reason}")]
    BadMap {
        /// The link's name.
        link: String,
        /// The lane's number.
        lane: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// A thread cannot be started.
    #[error("no thread for the lanes: {0}")]
    Thread(String),
}

/// Runs a link until `stop` is true, or with `until_caught_up` until everything that was on the source at the start is
/// on the target. Snapshots go to `status`.
pub async fn run(
    setup: LinkSetup,
    until_caught_up: bool,
    mut stop: watch::Receiver<bool>,
    status: watch::Sender<LinkStatus>,
) -> Result<RunEnd, LinkError> {
    let mut link = Running::begin(setup, status).await?;
    let mut wanted = None;
    let mut next_round = Instant::now();
    let mut next_status = Instant::now();
    let end = loop {
        if Instant::now() >= next_round {
            let complete = link.round().await;
            next_round = Instant::now() + link.setup.config.intervals.topics;
            if until_caught_up && wanted.is_none() && complete {
                match link.ends_of_source().await {
                    Ok(ends) => wanted = Some(ends),
                    Err(error) => {
                        tracing::warn!(%error, "The source's ends cannot be asked for; trying again.");
                        next_round = Instant::now() + RESTART;
                    }
                }
            } else if until_caught_up && wanted.is_none() {
                next_round = Instant::now() + RESTART;
            }
        }
        if Instant::now() >= next_status {
            link.publish();
            next_status = Instant::now() + STATUS;
        }
        if let Some(end) = wanted.as_ref().and_then(|wanted| link.caught_up(wanted)) {
            break Ok(end);
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break Ok(RunEnd::default()),
            Some((lane, over)) = link.overs.recv() => {
                if let Some(error) = link.lane_over(lane, over) {
                    break Err(error);
                }
            }
            () = sleep_until(next_round.min(next_status)) => {}
        }
    };
    link.drain().await;
    link.publish();
    match (end, wanted) {
        // A signal in the middle: what is missing is said all the same.
        (Ok(end), Some(wanted)) if end.missing.is_empty() => Ok(link.end(&wanted)),
        (end, _) => end,
    }
}

/// The link and its lanes.
struct Running {
    setup: LinkSetup,
    lanes: Vec<LaneHandle>,
    workers: Vec<Worker>,
    mirrors: Mirrors,
    claims: Claims,
    specs: BTreeMap<PartitionKey, PartitionSpec>,
    stops: BTreeMap<PartitionKey, Halt>,
    /// Source topics that are to be copied and cannot be yet; the log says why.
    held: BTreeSet<String>,
    overs: mpsc::UnboundedReceiver<(u32, Over)>,
    over_sender: mpsc::UnboundedSender<(u32, Over)>,
    status: watch::Sender<LinkStatus>,
}

struct LaneHandle {
    setup: Arc<LaneSetup>,
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<Vec<PartitionStatus>>,
    drained: bool,
    task: AbortHandle,
}

impl Drop for LaneHandle {
    /// A lane does not outlive its link: what the link was when it was dropped is what a killed process is.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A runtime for lanes, which share it and nothing else.
struct Worker {
    handle: Handle,
    /// Of a thread with a runtime of its own; dropping it ends the thread.
    _end: Option<oneshot::Sender<()>>,
}

impl Running {
    async fn begin(setup: LinkSetup, status: watch::Sender<LinkStatus>) -> Result<Self, LinkError> {
        let deadline = Instant::now() + FIRST_CONTACT;
        let (source, target) = (setup.source.clone(), setup.target.clone());
        let source_metadata = source.retry(deadline, || source.refresh()).await?;
        let target_metadata = target.retry(deadline, || target.refresh()).await?;
        if let Some(warning) = refuse_same_cluster(&source_metadata, &target_metadata)? {
            tracing::warn!(link = setup.name, "{warning}");
        }
        let lanes = u32::from(setup.config.lanes);
        let map_topic_id = ensure_map_topic(&target, &setup.name, lanes, setup.config.replication_factor).await?;
        let producer_expiration_ms = target.retry(deadline, || producer_expiration_ms(&target)).await?;
        let keep_alive_ms = target.retry(deadline, || keep_alive_ms(&target)).await?;
        let config = LaneConfig {
            link: LinkRecord {
                link: setup.name.clone(),
                lanes,
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
        let workers = workers(setup.environment.lanes, usize::from(setup.config.lanes))?;
        let (over_sender, overs) = mpsc::unbounded_channel();
        let mirrors = Mirrors::new(
            &setup.name,
            &setup.config.source,
            setup.config.clone(),
            setup.source.clone(),
            setup.target.clone(),
        );
        let claims = Claims::new(
            &setup.name,
            &config.link.source_cluster,
            setup.target.clone(),
            setup.config.replication_factor,
            setup.environment.clock.clone(),
        );
        let mut running = Self {
            lanes: Vec::new(),
            workers,
            mirrors,
            claims,
            specs: BTreeMap::new(),
            stops: BTreeMap::new(),
            held: BTreeSet::new(),
            overs,
            over_sender,
            status,
            setup,
        };
        for lane in 0..lanes {
            let lane_setup = LaneSetup {
                link: running.setup.name.clone(),
                lane,
                source: running.setup.source.clone(),
                target: running.setup.target.clone(),
                map_topic_id,
                config: config.clone(),
                fetch: running.setup.config.fetch,
                budget_bytes: running.setup.config.budget_bytes / u64::from(lanes),
                clock: running.setup.environment.clock.clone(),
            };
            if let Some(handle) = running.spawn(Arc::new(lane_setup), Duration::ZERO) {
                running.lanes.push(handle);
            }
        }
        Ok(running)
    }

    /// Begins a lane after a pause.
    fn spawn(&self, setup: Arc<LaneSetup>, after: Duration) -> Option<LaneHandle> {
        let (commands, mut inbox) = mpsc::unbounded_channel();
        let (status_sender, status) = watch::channel(Vec::new());
        let overs = self.over_sender.clone();
        let (lane, shell) = (setup.lane, Arc::clone(&setup));
        let worker = self.workers.get(usize::try_from(lane).unwrap_or(0) % self.workers.len().max(1))?;
        let running = worker.handle.spawn(async move {
            sleep(after).await;
            LaneShell::new(shell, status_sender).run(&mut inbox).await
        });
        let task = running.abort_handle();
        worker.handle.spawn(async move {
            // A lane that broke one of its own rules is like one that was killed: its map and the mirrors tell the
            // next one what is there. It must not stand still without a word.
            let over = running.await.unwrap_or(Over::Restart("it panicked, which is a bug: please report it"));
            // The supervisor is gone only when the link has ended.
            drop(overs.send((lane, over)));
        });
        Some(LaneHandle { setup, commands, status, drained: false, task })
    }

    /// One round of mirrors; whether the source could be asked.
    async fn round(&mut self) -> bool {
        let mut round = match self.mirrors.sync().await {
            Ok(round) => round,
            Err(error) => {
                tracing::warn!(link = self.setup.name, %error, "Topics cannot be compared; trying again.");
                return false;
            }
        };
        let config = &self.setup.config;
        self.claims.sift(&mut round, |topic| config.topics.rename.apply(&config.source, topic)).await;
        for problem in &round.problems {
            tracing::warn!(link = self.setup.name, "{problem}");
        }
        self.held = round.held.into_iter().collect();
        let lanes = u32::from(self.setup.config.lanes);
        let mut fresh: BTreeMap<u32, Vec<PartitionSpec>> = BTreeMap::new();
        for spec in round.partitions {
            if !self.specs.contains_key(&spec.key) {
                // What stopped it before it was ever copied is no longer so.
                self.stops.remove(&spec.key);
                let lane = lane_of(&spec.key.topic, spec.key.partition, lanes);
                fresh.entry(lane).or_default().push(spec.clone());
                self.specs.insert(spec.key.clone(), spec);
            }
        }
        for (lane, specs) in fresh {
            self.tell(lane, Command::Add(specs));
        }
        for (key, halt) in round.stops {
            if self.stops.get(&key) != Some(&halt) {
                if self.specs.contains_key(&key) {
                    self.tell(lane_of(&key.topic, key.partition, lanes), Command::Stop(key.clone(), halt.clone()));
                } else {
                    let (topic, partition) = (&key.topic, key.partition);
                    tracing::error!(topic, partition, state = halt.name(), reason = %halt, "Partition stopped.");
                }
                self.stops.insert(key, halt);
            }
        }
        true
    }

    fn tell(&self, lane: u32, command: Command) {
        if let Some(lane) = usize::try_from(lane).ok().and_then(|lane| self.lanes.get(lane)) {
            // A lane that is over is begun again with all its partitions.
            drop(lane.commands.send(command));
        }
    }

    /// A lane is over: begun again, or the reason why the link ends.
    fn lane_over(&mut self, lane: u32, over: Over) -> Option<LinkError> {
        let link = self.setup.name.clone();
        let pause = match over {
            Over::Drained => {
                if let Some(handle) = usize::try_from(lane).ok().and_then(|lane| self.lanes.get_mut(lane)) {
                    handle.drained = true;
                }
                return None;
            }
            Over::Lost => {
                self.mark_over(lane);
                return Some(LinkError::Lost { link, lane });
            }
            Over::BadMap(reason) => {
                self.mark_over(lane);
                return Some(LinkError::BadMap { link, lane, reason });
            }
            Over::Restart(reason) => {
                tracing::warn!(link, lane, reason, "The lane is begun again from its map.");
                RESTART
            }
            Over::Forbidden(code, what) => {
                tracing::error!(link, lane, %code, what, "The target forbids what the lane needs; trying again.");
                FORBIDDEN
            }
        };
        let index = usize::try_from(lane).ok()?;
        let fresh = self.spawn(Arc::clone(&self.lanes.get(index)?.setup), pause)?;
        let lanes = u32::from(self.setup.config.lanes);
        let own = |key: &PartitionKey| lane_of(&key.topic, key.partition, lanes) == lane;
        let specs = self.specs.values().filter(|spec| own(&spec.key)).cloned().collect();
        drop(fresh.commands.send(Command::Add(specs)));
        for (key, halt) in self.stops.iter().filter(|(key, _)| own(key)) {
            drop(fresh.commands.send(Command::Stop(key.clone(), halt.clone())));
        }
        *self.lanes.get_mut(index)? = fresh;
        None
    }

    fn mark_over(&mut self, lane: u32) {
        if let Some(handle) = usize::try_from(lane).ok().and_then(|lane| self.lanes.get_mut(lane)) {
            handle.drained = true;
        }
    }

    /// The last stable offset of every partition that is to be copied.
    async fn ends_of_source(&self) -> Result<BTreeMap<PartitionKey, i64>, Error> {
        let at = |key: &PartitionKey| TopicPartition::new(key.topic.clone(), key.partition);
        let keys = self.specs.keys().chain(self.stops.keys());
        let asked = keys.clone().map(|key| (at(key), OffsetAt::Latest)).collect();
        let mut listed = self.setup.source.list_offsets(&asked, IsolationLevel::ReadCommitted).await?;
        let mut ends = BTreeMap::new();
        for key in keys {
            match listed.remove(&at(key)) {
                Some(Ok(found)) => drop(ends.insert(key.clone(), found.offset.unwrap_or_default())),
                // A source topic that is gone is a halt, not an end to wait for.
                Some(Err(_)) if self.stops.contains_key(key) => {}
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
        Ok(ends)
    }

    fn rows(&self) -> BTreeMap<PartitionKey, PartitionStatus> {
        let mut rows = BTreeMap::new();
        for lane in &self.lanes {
            for row in lane.status.borrow().iter() {
                rows.insert(PartitionKey { topic: row.topic.clone(), partition: row.partition }, row.clone());
            }
        }
        for (key, halt) in &self.stops {
            rows.entry(key.clone()).or_insert_with(|| self.row(key, Standing::Halted, halt.name(), Some(halt)));
        }
        for key in self.specs.keys() {
            rows.entry(key.clone()).or_insert_with(|| self.row(key, Standing::Waiting, "beginning", None));
        }
        rows
    }

    /// A partition that its lane does not show.
    fn row(&self, key: &PartitionKey, standing: Standing, state: &str, halt: Option<&Halt>) -> PartitionStatus {
        let target_topic = self.setup.config.topics.rename.apply(&self.setup.config.source, &key.topic);
        let lane = lane_of(&key.topic, key.partition, u32::from(self.setup.config.lanes));
        PartitionStatus {
            topic: key.topic.clone(),
            target_topic,
            partition: key.partition,
            lane: u16::try_from(lane).unwrap_or(u16::MAX),
            standing,
            state: state.to_owned(),
            detail: halt.map(ToString::to_string),
            position: None,
            synced: None,
            high_watermark: None,
            last_stable_offset: None,
            records: 0,
            bytes: 0,
        }
    }

    fn publish(&self) {
        self.status.send_replace(self.setup.status(self.rows().into_values().collect()));
    }

    /// The end of `--until-caught-up`, once every partition has what it wanted or halted.
    fn caught_up(&self, wanted: &BTreeMap<PartitionKey, i64>) -> Option<RunEnd> {
        let rows = self.rows();
        let done = |(key, end): (&PartitionKey, &i64)| {
            rows.get(key).is_some_and(|row| row.standing == Standing::Halted || row.synced >= Some(*end))
        };
        wanted.iter().all(done).then(|| self.end(wanted))
    }

    fn end(&self, wanted: &BTreeMap<PartitionKey, i64>) -> RunEnd {
        RunEnd { wanted: wanted.len(), missing: self.missing(wanted) }
    }

    fn missing(&self, wanted: &BTreeMap<PartitionKey, i64>) -> Vec<Missing> {
        let rows = self.rows();
        let stopped = self.stops.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key, None));
        let mut missing: Vec<_> = self.held.iter().map(|topic| self.held_back(topic)).collect();
        for (key, end) in wanted.iter().map(|(key, end)| (key, Some(*end))).chain(stopped) {
            let Some(row) = rows.get(key) else { continue };
            if end.is_some() && row.synced >= end {
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
    fn held_back(&self, topic: &str) -> Missing {
        Missing {
            link: self.setup.name.clone(),
            topic: topic.to_owned(),
            partition: None,
            synced: None,
            wanted: None,
            state: "held".to_owned(),
            detail: Some("its mirror cannot be made or used yet; the warning about it says why".to_owned()),
        }
    }

    /// Lets every lane finish what is in flight and write its progress.
    async fn drain(&mut self) {
        for lane in &self.lanes {
            drop(lane.commands.send(Command::Drain));
        }
        let drained = timeout(DRAIN, async {
            while self.lanes.iter().any(|lane| !lane.drained) {
                let Some((lane, _)) = self.overs.recv().await else { return };
                self.mark_over(lane);
            }
        });
        if drained.await.is_err() {
            tracing::warn!(link = self.setup.name, "Not everything in flight was answered; the next start finds out.");
        }
    }
}

fn workers(place: LanePlace, lanes: usize) -> Result<Vec<Worker>, LinkError> {
    match place {
        LanePlace::SameRuntime => Ok(vec![Worker { handle: Handle::current(), _end: None }]),
        LanePlace::OwnThreads => {
            let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
            (0..cores.min(lanes).max(1)).map(worker).collect()
        }
    }
}

/// A thread with a runtime of its own.
fn worker(number: usize) -> Result<Worker, LinkError> {
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(|error| LinkError::Thread(error.to_string()))?;
    let handle = runtime.handle().clone();
    let (end, ended) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name(format!("lanes-{number}"))
        .spawn(move || {
            // Either way the lanes have ended.
            drop(runtime.block_on(ended));
        })
        .map_err(|error| LinkError::Thread(error.to_string()))?;
    Ok(Worker { handle, _end: Some(end) })
}
