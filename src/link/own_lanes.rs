//! The lanes that this instance has: begun when the group gives them, drained when it asks for them, dropped when they
//! are lost. Each is a task on one of some threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use twinlog_core::ids::SourceOffset;
use twinlog_core::io::{Failure, Over};
use twinlog_core::map_record::PartitionKey;
use twinlog_core::status::PartitionStatus;

use crate::environment::{LanePlace, lane_threads};
use crate::lane::{Command, LaneSetup, LaneShell, Partitions, Translated, words};

/// How long a drain may take before what is in flight is left to the next owner.
pub(crate) const DRAIN: Duration = Duration::from_secs(25);
/// The pause before a lane is begun again.
const RESTART: Duration = Duration::from_secs(1);
/// The pause after the target forbade something.
const FORBIDDEN: Duration = Duration::from_secs(10);
/// The longest pause before a lane is taken again that somebody else took without being its owner.
const TAKEN_MAX: Duration = Duration::from_secs(30);
/// A lane that went on for so long is not in a fight.
const PEACE: Duration = Duration::from_secs(60);
/// How often the rates of lanes are measured.
const RATES_OVER: Duration = Duration::from_secs(5);
/// So many measures are the memory of a rate: a minute, so that a short burst moves no lane.
const RATES_KEPT: u64 = 12;

/// What follows from the end of a lane's task.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing.
    Nothing,
    /// It was let go: the group is to hear of it.
    LetGone,
    /// It must be begun again after this time.
    Begin(Duration),
    /// Its map cannot be used, which ends the link.
    BadMap(String),
}

/// The end of a lane's task: lane, life, reason.
pub(crate) type Ended = (u32, u64, Over);

/// The lanes of this instance.
pub(crate) struct OwnLanes {
    /// What all lanes have in common; the lane's number is each one's own.
    template: LaneSetup,
    place: LanePlace,
    workers: Vec<Worker>,
    lanes: BTreeMap<u32, Lane>,
    lives: u64,
    ends: mpsc::UnboundedSender<Ended>,
    measured: Option<Measured>,
    doors: Doors,
}

/// The lanes of this instance, for who asks them something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doors(Arc<Mutex<BTreeMap<u32, mpsc::UnboundedSender<Command>>>>);

impl Doors {
    fn lanes(&self) -> MutexGuard<'_, BTreeMap<u32, mpsc::UnboundedSender<Command>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where source positions are on the mirrors, of partitions whose lanes are here and know it.
    pub(crate) async fn translate(&self, positions: Vec<(PartitionKey, SourceOffset)>) -> Vec<Translated> {
        let (positions, (answers, mut answered)) = (Arc::new(positions), mpsc::unbounded_channel());
        for lane in self.lanes().values() {
            // One that is over has nothing to say.
            drop(lane.send(Command::Translate(Arc::clone(&positions), answers.clone())));
        }
        drop(answers);
        let mut all = Vec::new();
        while let Some(answer) = answered.recv().await {
            all.push(answer);
        }
        all
    }
}

struct Lane {
    /// What a former task of the same lane says late does not count.
    life: u64,
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<Vec<Arc<PartitionStatus>>>,
    begun: Instant,
    /// How often in a row it was taken by somebody else.
    taken: u32,
    /// It is being drained and dropped at this time.
    let_go_until: Option<Instant>,
    task: AbortHandle,
}

impl Drop for Lane {
    /// A lane does not outlive its link: what the link was when it was dropped is what a killed process is.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Bytes by lane and life, when they were looked at, and how many a second there were up to then.
struct Measured {
    at: Instant,
    bytes: BTreeMap<(u32, u64), u64>,
    rates: BTreeMap<(u32, u64), u64>,
}

/// A runtime for lanes, which share it and nothing else.
struct Worker {
    handle: Handle,
    /// Of a thread with a runtime of its own; dropping it ends the thread.
    _end: Option<oneshot::Sender<()>>,
}

impl OwnLanes {
    /// No lanes yet, and the channel on which the ends of their tasks arrive. The error is in words.
    pub(crate) fn new(
        template: LaneSetup,
        place: LanePlace,
        lanes: usize,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Ended>), String> {
        let (ends, ended) = mpsc::unbounded_channel();
        let workers = workers(place, 0, lanes)?;
        Ok((
            Self {
                template,
                place,
                workers,
                lanes: BTreeMap::new(),
                lives: 0,
                ends,
                measured: None,
                doors: Doors::default(),
            },
            ended,
        ))
    }

    /// For who asks the lanes something.
    pub(crate) fn doors(&self) -> Doors {
        self.doors.clone()
    }

    /// There are as many lanes now.
    pub(crate) fn make_room(&mut self, lanes: u32) {
        let lanes = usize::try_from(lanes).unwrap_or(1);
        match workers(self.place, self.workers.len(), lanes) {
            Ok(more) => self.workers.extend(more),
            Err(error) => tracing::warn!(error, "No thread for more lanes: they share those that are there."),
        }
    }

    /// Begins a lane after a pause.
    pub(crate) fn begin(&mut self, lane: u32, after: Duration, partitions: &Partitions) {
        let taken = self.lanes.remove(&lane).map_or(0, |former| former.taken);
        let (commands, mut inbox) = mpsc::unbounded_channel();
        // The inbox is right here.
        drop(commands.send(Command::Partitions(partitions.clone())));
        self.doors.lanes().insert(lane, commands.clone());
        let (status_sender, status) = watch::channel(Vec::new());
        let Some(worker) = self.workers.get(usize::try_from(lane).unwrap_or(0) % self.workers.len().max(1)) else {
            return;
        };
        let setup = Arc::new(LaneSetup { lane, ..self.template.clone() });
        let running = worker.handle.spawn(async move {
            sleep(after).await;
            LaneShell::new(setup, status_sender).run(&mut inbox).await
        });
        let task = running.abort_handle();
        self.lives += 1;
        let (life, ends) = (self.lives, self.ends.clone());
        worker.handle.spawn(async move {
            let over = match running.await {
                Ok(over) => over,
                // Dropped: nobody waits for its end.
                Err(error) if error.is_cancelled() => return,
                // A lane that broke one of its own rules is like one that was killed: its map and the mirrors tell the
                // next one what is there. It must not stand still without a word.
                Err(_) => Over::Restart("it panicked, which is a bug: please report it"),
            };
            // The supervisor is gone only when the link has ended.
            drop(ends.send((lane, life, over)));
        });
        let begun = Instant::now() + after;
        self.lanes.insert(lane, Lane { life, commands, status, begun, taken, let_go_until: None, task });
    }

    /// Whether a lane is ours, until it is drained.
    pub(crate) fn has(&self, lane: u32) -> bool {
        self.lanes.contains_key(&lane)
    }

    /// How many lanes are ours.
    pub(crate) fn count(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Tells all lanes what is to be copied.
    pub(crate) fn set_partitions(&self, partitions: &Partitions) {
        for lane in self.lanes.values() {
            // A lane that is over is begun again with all of them.
            drop(lane.commands.send(Command::Partitions(partitions.clone())));
        }
    }

    /// Drains a lane; its end, or [`OwnLanes::expired`], says when it is let go.
    pub(crate) fn let_go(&mut self, lane: u32) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.let_go_until.get_or_insert_with(|| Instant::now() + DRAIN);
            // A lane that is over says so by itself.
            drop(lane.commands.send(Command::Drain));
        }
    }

    /// Drains all.
    pub(crate) fn let_all_go(&mut self) {
        let all: Vec<u32> = self.lanes.keys().copied().collect();
        all.into_iter().for_each(|lane| self.let_go(lane));
    }

    /// Drops a lane at once.
    pub(crate) fn lose(&mut self, lane: u32) {
        self.lanes.remove(&lane);
    }

    /// Drops all.
    pub(crate) fn lose_all(&mut self) {
        self.lanes.clear();
    }

    /// When the next drain has taken too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.lanes.values().filter_map(|lane| lane.let_go_until).min()
    }

    /// Drops lanes whose drain has taken too long.
    pub(crate) fn expired(&mut self) -> Vec<u32> {
        let now = Instant::now();
        let late = |lane: &Lane| lane.let_go_until.is_some_and(|until| until <= now);
        let late: Vec<u32> = self.lanes.iter().filter(|(_, lane)| late(lane)).map(|(number, _)| *number).collect();
        for lane in &late {
            let link = &self.template.link;
            tracing::warn!(link, lane, "Not everything in flight was answered; the next owner finds out.");
            self.lanes.remove(lane);
        }
        late
    }

    /// A lane's task has ended.
    pub(crate) fn ended(&mut self, (number, life, over): Ended) -> Next {
        let Some(lane) = self.lanes.get_mut(&number).filter(|lane| lane.life == life) else { return Next::Nothing };
        let link = self.template.link.as_str();
        if let Over::BadMap(reason) = over {
            self.lanes.remove(&number);
            return Next::BadMap(reason);
        }
        if lane.let_go_until.is_some() {
            self.lanes.remove(&number);
            return Next::LetGone;
        }
        match over {
            Over::Drained | Over::BadMap(_) => Next::Nothing,
            Over::Restart(reason) => {
                tracing::warn!(link, lane = number, reason, "The lane is begun again from its map.");
                Next::Begin(RESTART)
            }
            Over::Forbidden(code, what) => {
                let lane = number;
                let failure = words(Failure::Code(code));
                tracing::error!(link, lane, failure, what, "The target forbids what the lane needs; trying again.");
                Next::Begin(FORBIDDEN)
            }
            Over::Lost => {
                lane.taken = if lane.begun.elapsed() > PEACE { 0 } else { lane.taken.saturating_add(1) };
                let pause = RESTART.saturating_mul(1 << lane.taken.min(5)).min(TAKEN_MAX);
                tracing::warn!(
                    link,
                    lane = number,
                    ?pause,
                    "Somebody took the lane who does not own it by the link's group; it is taken back after a pause."
                );
                Next::Begin(pause)
            }
        }
    }

    /// What all lanes show.
    pub(crate) fn rows(&self) -> Vec<Arc<PartitionStatus>> {
        self.lanes.values().flat_map(|lane| lane.status.borrow().clone()).collect()
    }

    /// Whether any lane shows something else than at the last look.
    pub(crate) fn look_for_news(&mut self) -> bool {
        let look = |lane: &mut Lane| {
            let is_news = lane.status.has_changed().unwrap_or_default();
            lane.status.mark_unchanged();
            is_news
        };
        self.lanes.values_mut().fold(false, |is_news, lane| look(lane) | is_news)
    }

    /// Bytes a second of the lanes in the last minute or so, if it is time to measure again. A lane that has just begun
    /// is left out.
    pub(crate) fn rates(&mut self) -> Option<BTreeMap<u32, u64>> {
        let now = Instant::now();
        if self.measured.as_ref().is_some_and(|measured| now - measured.at < RATES_OVER) {
            return None;
        }
        let of = |lane: &Lane| lane.status.borrow().iter().map(|row| row.bytes).sum::<u64>();
        let bytes: BTreeMap<(u32, u64), u64> =
            self.lanes.iter().map(|(number, lane)| ((*number, lane.life), of(lane))).collect();
        let Some(before) = self.measured.take() else {
            self.measured = Some(Measured { at: now, bytes, rates: BTreeMap::new() });
            return None;
        };
        let ms = u64::try_from((now - before.at).as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = |(place, bytes): (&(u32, u64), &u64)| {
            let rate = bytes.saturating_sub(*before.bytes.get(place)?).saturating_mul(1_000) / ms;
            let smooth = |known: &u64| known.saturating_mul(RATES_KEPT - 1).saturating_add(rate) / RATES_KEPT;
            Some((*place, before.rates.get(place).map_or(rate, smooth)))
        };
        let rates: BTreeMap<_, _> = bytes.iter().filter_map(rate).collect();
        let told = rates.iter().map(|((lane, _), rate)| (*lane, *rate)).collect();
        self.measured = Some(Measured { at: now, bytes, rates });
        Some(told)
    }
}

/// Those that are needed for so many lanes besides the first ones.
fn workers(place: LanePlace, first: usize, lanes: usize) -> Result<Vec<Worker>, String> {
    match place {
        LanePlace::SameRuntime if first > 0 => Ok(Vec::new()),
        LanePlace::SameRuntime => Ok(vec![Worker { handle: Handle::current(), _end: None }]),
        LanePlace::OwnThreads => (first..lane_threads(lanes)).map(worker).collect(),
    }
}

/// A thread with a runtime of its own.
fn worker(number: usize) -> Result<Worker, String> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let handle = runtime.handle().clone();
    let (end, ended) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name(format!("lanes-{number}"))
        .spawn(move || {
            // Either way the lanes have ended.
            drop(runtime.block_on(ended));
        })
        .map_err(|error| error.to_string())?;
    Ok(Worker { handle, _end: Some(end) })
}
