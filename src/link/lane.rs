//! The shell around [`twinlog_core::lane::Lane`]: one task, one set of connections, no locks.
//!
//! Everything that happens arrives in one inbox. After each look into it the core's outputs are carried out: what goes
//! to the same broker at the same time goes in one request.

mod budget;
mod currency;
mod events;
mod fence;
mod intake;
mod leaders;
mod map_io;
mod outgoing;
mod route;
mod source_leaders;
mod table;
mod target_reads;
mod times;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use twinlog_client::{Cluster, Connection, Error};
use twinlog_core::config::{FetchConfig, Timestamps};
use twinlog_core::ids::{Now, SourceOffset, TargetOffset, TopicId};
use twinlog_core::io::{Event, Failure, Input, LanePartition, Output, Over};
use twinlog_core::lane::{Lane, LaneConfig};
use twinlog_core::link_state::LinkState;
use twinlog_core::map_record::PartitionKey;
use twinlog_core::offset_map::Translation;
use twinlog_core::partition::Partition;
use twinlog_core::status::PartitionStatus;

pub(crate) use self::budget::Share;
use self::budget::Slots;
use self::events::Events;
pub(crate) use self::events::words;
pub(crate) use self::fence::init_producer_id;
use self::intake::{FetchDone, Intake};
use self::leaders::Leaders;
pub(crate) use self::map_io::produce;
use self::outgoing::{Outgoing, ProduceDone};
use self::route::Route;
pub(crate) use self::table::Partitions;
use self::table::{OtherRead, Table};
use self::target_reads::TargetReads;
use self::times::Times;
use crate::environment::{RequestPartitions, WallClock};
use crate::lease::Lease;
use crate::meter::Meter;
use crate::state::Follower;

/// Everything that a lane's shell needs.
#[derive(Clone, Debug)]
pub(crate) struct LaneSetup {
    pub(crate) link: String,
    pub(crate) lane: u32,
    pub(crate) source: Cluster,
    pub(crate) target: Cluster,
    pub(crate) map_topic_id: TopicId,
    pub(crate) config: LaneConfig,
    pub(crate) fetch: FetchConfig,
    /// Of this instance, or empty.
    pub(crate) rack: Arc<str>,
    pub(crate) request_partitions: RequestPartitions,
    /// Produce requests in flight to one broker.
    pub(crate) requests_max: usize,
    pub(crate) share: Share,
    pub(crate) timestamps: Timestamps,
    pub(crate) clock: WallClock,
    /// Whether the lane may be written.
    pub(crate) lease: Lease,
    /// The link's state: which partitions are in which lane.
    pub(crate) state: Arc<Follower>,
    /// Where is told which partitions have come to the lane, by which moves.
    pub(crate) ended: mpsc::UnboundedSender<(PartitionKey, u64)>,
    /// Who wants to know what the lane's time went into.
    pub(crate) meter: Option<Meter>,
}

/// What a lane is told from outside.
#[derive(Debug)]
pub(crate) enum Command {
    /// What the link copies, whichever lane it is in.
    Partitions(Partitions),
    /// Say where source positions are on the mirrors, of the partitions that it has.
    Translate(Arc<Vec<(PartitionKey, SourceOffset)>>, mpsc::UnboundedSender<Translated>),
    /// Finish.
    Drain,
}

/// Where a source position is on the mirror.
pub(crate) type Translated = (PartitionKey, SourceOffset, Translation<TargetOffset, SourceOffset>);

/// What arrives in the inbox.
#[derive(Debug)]
enum Message {
    Core(Input),
    Many(Vec<Input>),
    Fetched(FetchDone),
    Connected(Route, Result<Arc<Connection>, Error>),
    Produced(ProduceDone),
    State(Arc<LinkState>),
    OtherRead(Box<OtherRead>),
}

/// How often a snapshot is given out.
const STATUS_PAUSE: Duration = Duration::from_millis(500);

/// How often one is given out where nothing has happened, with as of when each partition is current.
const STATUS_PAUSE_IDLE: Duration = Duration::from_secs(1);

pub(crate) struct LaneShell {
    setup: Arc<LaneSetup>,
    core: Lane,
    begun: Instant,
    inbox: mpsc::UnboundedReceiver<Message>,
    /// Bounded by what the core has in flight: each message answers one of its outputs.
    sender: mpsc::UnboundedSender<Message>,
    slots: Slots,
    intake: Intake,
    outgoing: Outgoing,
    leaders: Leaders,
    reads: TargetReads,
    table: Table,
    events: Events,
    times: Option<Times>,
    status: watch::Sender<Vec<Arc<PartitionStatus>>>,
    status_at: Instant,
    shown_at: Instant,
    /// Something has happened since the last snapshot.
    is_news: bool,
}

impl LaneShell {
    pub(crate) fn new(setup: Arc<LaneSetup>, status: watch::Sender<Vec<Arc<PartitionStatus>>>) -> Self {
        let (sender, inbox) = mpsc::unbounded_channel();
        let begun = Instant::now();
        let core = Lane::new(setup.config.clone(), now(begun, &setup.clock));
        Self {
            slots: Slots::new(setup.share.clone(), setup.timestamps),
            intake: Intake::default(),
            outgoing: Outgoing::default(),
            leaders: Leaders::default(),
            reads: TargetReads::default(),
            table: Table::default(),
            events: Events::new(&setup.link, setup.lane),
            times: setup.meter.is_some().then(Times::default),
            setup,
            core,
            begun,
            inbox,
            sender,
            status,
            status_at: begun,
            shown_at: begun,
            is_news: true,
        }
    }

    /// Runs until the core says that the lane is over.
    pub(crate) async fn run(mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> Over {
        // One timer for all of it. It is set anew when it went off, or goes off too late: that it may go off too early
        // costs less than to set it for each message.
        let mut alarm = pin!(sleep_until(self.status_at));
        loop {
            if let Some(over) = self.carry_out() {
                self.publish();
                if let (Some(meter), Some(times)) = (&self.setup.meter, self.times) {
                    meter.tell(times.measured());
                }
                return over;
            }
            if let Some(times) = &mut self.times {
                times.worked(self.intake.is_waiting(), self.outgoing.is_waiting(), self.outgoing.stored_bytes());
            }
            if Instant::now() >= self.status_at {
                self.publish();
            }
            let timer = self.core.poll_timeout().map(|ms| self.begun + Duration::from_millis(ms));
            let wake = timer.map_or(self.status_at, |timer| timer.min(self.status_at));
            if alarm.is_elapsed() || wake < alarm.deadline() {
                alarm.as_mut().reset(wake);
            }
            tokio::select! {
                // The rare ones first: a full inbox must hold up neither time nor commands.
                biased;
                () = alarm.as_mut() => {
                    let now = self.now();
                    self.is_news |= timer.is_some_and(|timer| timer <= Instant::now());
                    self.core.handle_timeout(now);
                    self.slots.unpin_slow(now.mono_ms);
                }
                command = commands.recv() => self.command(command.unwrap_or(Command::Drain)),
                Some(message) = self.inbox.recv() => {
                    if let Some(times) = &mut self.times {
                        times.waited();
                    }
                    self.take(message);
                    while let Ok(message) = self.inbox.try_recv() {
                        self.take(message);
                    }
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Partitions(partitions) => self.table.set_partitions(partitions),
            Command::Translate(positions, answers) => {
                for (key, position) in positions.iter() {
                    let partition = self.core.find(key).and_then(|id| self.core.partition(id));
                    if let Some(found) = partition.and_then(|partition| partition.translate(*position)) {
                        // Who asked may have gone.
                        drop(answers.send((key.clone(), *position, found)));
                    }
                }
            }
            Command::Drain => self.core.handle(self.now(), Input::Drain),
        }
    }

    fn take(&mut self, message: Message) {
        let now = self.now();
        self.is_news |= !matches!(message, Message::Fetched(_));
        match message {
            Message::Core(input) => self.core.handle(now, input),
            Message::Many(inputs) => inputs.into_iter().for_each(|input| self.core.handle(now, input)),
            Message::Fetched(done) => {
                let node = done.node;
                self.intake.came(done);
                while let Some((inputs, stale)) = self.intake.next_answered(node, &mut self.slots, &self.core, now) {
                    // In a fetch session an answer may say nothing.
                    self.is_news |= !inputs.is_empty();
                    if stale {
                        refresh(&self.setup.source);
                    }
                    inputs.into_iter().for_each(|input| self.core.handle(now, input));
                }
            }
            Message::Connected(route, result) => {
                let inputs = self.outgoing.connected(route, result, &self.setup.target);
                inputs.into_iter().for_each(|input| self.core.handle(now, input));
            }
            Message::State(state) => self.table.set_state(state),
            Message::OtherRead(read) => self.table.other_read(now, *read, &mut self.core, &self.setup),
            Message::Produced(done) => {
                let (inputs, stale) = self.outgoing.done(done, &self.core, now.mono_ms);
                if stale {
                    refresh(&self.setup.target);
                }
                inputs.into_iter().for_each(|input| self.core.handle(now, input));
            }
        }
    }

    /// Carries out what the core asks for, until it asks for nothing more.
    fn carry_out(&mut self) -> Option<Over> {
        loop {
            let now = self.now();
            while let Some(output) = self.core.poll_output(now) {
                if let Some(over) = self.output(output) {
                    return Some(over);
                }
            }
            if self.table.obey(now, &mut self.core, &self.setup, &self.sender) {
                continue;
            }
            let mut inputs = self.outgoing.flush(&self.setup, &self.slots, &self.core, now.mono_ms, &self.sender);
            inputs.append(&mut self.leaders.changes(&self.setup, &self.core, &self.outgoing));
            if inputs.is_empty() {
                break;
            }
            inputs.into_iter().for_each(|input| self.core.handle(now, input));
        }
        self.reads.flush(&self.setup, &self.core, &self.sender);
        let now = self.now();
        while self.intake.fetch_more(&self.setup, &mut self.slots, &self.core, &self.outgoing, now, &self.sender) {}
        None
    }

    fn output(&mut self, output: Output) -> Option<Over> {
        match output {
            Output::InitProducerId { current } => fence::init(&self.setup, &self.sender, current),
            Output::Fence { producer, members } => {
                fence::fence(&self.setup, &self.sender, &self.core, producer, members);
            }
            Output::ReadMap { from } => map_io::read(&self.setup, &self.sender, from),
            Output::WriteMap(batch) => map_io::write(&self.setup, &self.sender, batch),
            Output::Probe { partition, position } => self.reads.probe(partition, position),
            Output::ReadTarget { partition, from, epoch } => self.reads.read(partition, from, epoch),
            Output::LookAtEnds { partition, expected, look } => self.reads.look_at_ends(partition, expected, look),
            Output::Repack { partition, slot, from } => {
                let result = self.slots.repack(slot, from);
                self.core.handle(self.now(), Input::Repacked(partition, result));
            }
            Output::Send { partition, slot, attempt, producer, sequence } => {
                let bytes = self.slots.len(slot);
                self.outgoing.push(partition, slot, attempt, producer, sequence, bytes);
            }
            Output::Release(slot) => self.slots.release(slot),
            Output::Event(event) => {
                if matches!(event, Event::Resolved(..)) {
                    self.intake.look_up_again();
                }
                self.table.hear(&event, &self.setup, &self.sender);
                self.events.log(&event, &self.core, self.intake.is_short_of_budget());
            }
            Output::Over(over) => return Some(over),
        }
        None
    }

    fn now(&self) -> Now {
        now(self.begun, &self.setup.clock)
    }

    fn publish(&mut self) {
        self.status_at = Instant::now() + STATUS_PAUSE;
        self.table.look_again(&self.setup);
        if !std::mem::take(&mut self.is_news) && self.shown_at.elapsed() < STATUS_PAUSE_IDLE {
            return;
        }
        self.shown_at = Instant::now();
        let lane = u16::try_from(self.setup.lane).unwrap_or(u16::MAX);
        // One that was let go of is its new lane's.
        let is_here =
            |(id, partition): &(LanePartition, &Partition)| self.core.find(&partition.spec().key) == Some(*id);
        let all = (0..).map(LanePartition).zip(self.core.partitions());
        let mut snapshot = all.filter(is_here).peekable();
        self.slots.take_part(snapshot.peek().is_some());
        let short_of_budget = self.intake.is_short_of_budget();
        let (core, intake) = (&self.core, &mut self.intake);
        let rows = snapshot.map(|(id, partition)| {
            let current_as_of_ms = intake.current_as_of_ms(id, partition.synced());
            events::status(partition, core, lane, short_of_budget, current_as_of_ms)
        });
        self.status.send_if_modified(|shown| replace_changed(shown, rows));
    }
}

/// Puts new rows in the place of those that differ; whether any does.
fn replace_changed(shown: &mut Vec<Arc<PartitionStatus>>, rows: impl Iterator<Item = PartitionStatus>) -> bool {
    let (mut count, mut is_changed) = (0, false);
    for row in rows {
        match shown.get_mut(count) {
            Some(before) if **before == row => {}
            Some(before) => (*before, is_changed) = (Arc::new(row), true),
            None => {
                shown.push(Arc::new(row));
                is_changed = true;
            }
        }
        count += 1;
    }
    is_changed |= shown.len() > count;
    shown.truncate(count);
    is_changed
}

/// Both clocks, as the core wants them.
fn now(begun: Instant, clock: &WallClock) -> Now {
    Now { mono_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), wall_ms: clock.now_ms() }
}

/// Sends a message to the lane, which may be over by now.
fn tell(sender: &mpsc::UnboundedSender<Message>, message: Message) {
    drop(sender.send(message));
}

/// What the core is told of an error.
pub(crate) fn failure(error: &Error) -> Failure {
    match error.code() {
        Some(code) => Failure::Code(code),
        None if error.is_outcome_unknown() => Failure::Lost,
        None => Failure::NotSent,
    }
}

/// Asks for metadata in the background: who waits for a leader tries again soon.
fn refresh(cluster: &Cluster) {
    let cluster = cluster.clone();
    tokio::spawn(async move {
        if let Err(error) = cluster.refresh().await {
            tracing::debug!(%error, "Metadata cannot be refreshed.");
        }
    });
}

/// The same where it is asked for again and again, by all lanes: not if it was asked for within this time.
fn refresh_now_and_then(cluster: &Cluster, pause: Duration) {
    let cluster = cluster.clone();
    tokio::spawn(async move {
        if let Err(error) = cluster.refresh_if_older(pause).await {
            tracing::debug!(%error, "Metadata cannot be refreshed.");
        }
    });
}

/// The bytes of a batch, in the two parts that go to the socket.
#[derive(Clone, Debug)]
struct Parts {
    head: [u8; twinlog_wire::batch::HEAD_LEN],
    body: Bytes,
}
