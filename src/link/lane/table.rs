//! What the link's table asks of a lane: which partitions it copies, takes over, lets go of ([`twinlog_core::moves`]).
//!
//! The lane acts only by a table that was read after it was taken. From then on it hears of each change, and goes
//! through the table again after each step of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use twinlog_client::ErrorCode;
use twinlog_core::halt::Halt;
use twinlog_core::ids::{Now, TopicId};
use twinlog_core::io::{Event, Input, PartitionSpec};
use twinlog_core::lane::Lane;
use twinlog_core::link_state::LinkState;
use twinlog_core::map_record::PartitionKey;
use twinlog_core::moves::{Adoption, Order, Place, order};
use twinlog_core::resolution::Exit;

use super::{LaneSetup, Message, tell};
use crate::map_reader::OtherLane;
use crate::mirrors::Resolutions;

/// The pause after a read that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// What takes longer than this is said.
const LONG: Duration = Duration::from_secs(30);

/// All partitions of the link that are to be copied, and those that are to stop: every lane gets the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partitions {
    pub(crate) specs: Arc<BTreeMap<PartitionKey, PartitionSpec>>,
    pub(crate) stops: Arc<BTreeMap<PartitionKey, Halt>>,
    /// What was decided about those that stopped, before the others were looked at.
    pub(crate) resolutions: Resolutions,
}

/// What was read in another lane's map.
pub(super) struct OtherRead {
    from: u32,
    /// None if it could not be read: it is begun anew.
    reader: Option<OtherLane>,
    adoptions: Vec<(PartitionKey, Adoption)>,
}

impl std::fmt::Debug for OtherRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtherRead").field("from", &self.from).field("adoptions", &self.adoptions.len()).finish()
    }
}

/// The table as the lane knows it, and how far the lane is with it.
#[derive(Default)]
pub(super) struct Table {
    partitions: Partitions,
    state: Option<Arc<LinkState>>,
    following: Option<AbortHandle>,
    /// Other lanes' maps; none of one that is just being read.
    others: BTreeMap<u32, Option<OtherLane>>,
    /// The last move of each partition of which was said that it has ended.
    ended: BTreeMap<PartitionKey, u64>,
    stopped: BTreeMap<PartitionKey, Halt>,
    /// The newest move of each partition that any table named: a reader of a log that lost its end may go back.
    newest: BTreeMap<PartitionKey, u64>,
    /// What is under way that nobody reports, since when, and whether that was said.
    waits: BTreeMap<PartitionKey, (Order, Instant, bool)>,
    /// Since when mirrors of partitions that are to be let go of are not there.
    gone: BTreeMap<PartitionKey, Instant>,
    /// Since when the lane waits for the table.
    taken: Option<Instant>,
    is_due: bool,
}

impl Drop for Table {
    fn drop(&mut self) {
        if let Some(following) = &self.following {
            following.abort();
        }
    }
}

impl Table {
    /// What is to be copied is other than before.
    pub(super) fn set_partitions(&mut self, partitions: Partitions) {
        self.partitions = partitions;
        self.is_due = true;
    }

    /// The table was read, or has changed.
    pub(super) fn set_state(&mut self, state: Arc<LinkState>) {
        for (key, place) in state.places().filter(|(_, place)| place.number > 0) {
            let newest = self.newest.entry(key).or_default();
            *newest = place.number.max(*newest);
        }
        self.ended.retain(|key, number| state.is_moving(key, *number));
        self.state = Some(state);
        self.taken = None;
        self.is_due = true;
    }

    /// Looks again at what takes its time.
    pub(super) fn look_again(&mut self, setup: &LaneSetup) {
        self.is_due |= !self.waits.is_empty();
        let LaneSetup { link, lane, .. } = setup;
        if self.taken.take_if(|since| since.elapsed() >= LONG).is_some() {
            tracing::warn!(
                link,
                lane,
                "The table of lanes cannot be read, so nothing of the lane is copied; trying again."
            );
        }
        for (key, (order, since, is_said)) in &mut self.waits {
            if since.elapsed() >= LONG && !std::mem::replace(is_said, true) {
                let PartitionKey { topic, partition } = key;
                let waits_for = match order {
                    Order::Adopt { from, .. } => format!("lane {from} to let go of it"),
                    Order::Release { .. } => "what is on its way to the mirror".to_owned(),
                    _ => "the link's state to be written".to_owned(),
                };
                tracing::warn!(
                    link,
                    lane,
                    topic,
                    partition,
                    waits_for,
                    "A partition is on its way to another lane for long."
                );
            }
        }
    }

    /// Where the table says that a partition is; nothing, if a table said something newer.
    fn place(&self, state: &LinkState, key: &PartitionKey) -> Option<Place> {
        let newest = self.newest.get(key).copied().unwrap_or_default();
        state.place(key).filter(|place| place.number >= newest)
    }

    /// Takes note of what the core says.
    pub(super) fn hear(&mut self, event: &Event, setup: &LaneSetup, sender: &mpsc::UnboundedSender<Message>) {
        match event {
            Event::Taken { .. } => {
                self.state = None;
                self.taken = Some(Instant::now());
                let following = self.following.replace(follow(setup, sender));
                following.iter().for_each(AbortHandle::abort);
            }
            Event::Released(..) | Event::Adopted(..) | Event::Forgotten(..) => self.is_due = true,
            _ => {}
        }
    }

    /// Carries out what the table asks for, if something may have changed; whether it did anything.
    pub(super) fn obey(
        &mut self,
        now: Now,
        core: &mut Lane,
        setup: &LaneSetup,
        sender: &mpsc::UnboundedSender<Message>,
    ) -> bool {
        if !self.is_due || !core.is_running() {
            return false;
        }
        let Some(state) = self.state.clone() else { return false };
        self.is_due = false;
        let mut waits = std::mem::take(&mut self.waits);
        let is_ours = |lane: u32| lane == setup.lane;
        let here = state.places().filter(|(_, place)| is_ours(place.lane) || place.from.is_some_and(is_ours));
        let keys: BTreeSet<_> = here.map(|(key, _)| key).chain(core.known_keys().cloned()).collect();
        let mut adopts: BTreeMap<u32, BTreeMap<PartitionKey, u64>> = BTreeMap::new();
        for key in keys {
            let order = order(setup.lane, self.place(&state, &key), core.known(&key));
            if !matches!(order, Order::Nothing | Order::Copy) {
                let as_before = waits.remove(&key).filter(|(before, ..)| *before == order);
                self.waits.insert(key.clone(), as_before.unwrap_or_else(|| (order, Instant::now(), false)));
            }
            match order {
                Order::Nothing => {}
                Order::Copy => self.copy(now, core, &key),
                Order::EndMove { number } => {
                    self.copy(now, core, &key);
                    if self.ended.insert(key.clone(), number) != Some(number) {
                        // The link may be over by now.
                        drop(setup.ended.send((key, number)));
                    }
                }
                Order::Adopt { from, number } => drop(adopts.entry(from).or_default().insert(key, number)),
                Order::Release { to, number } => {
                    core.handle(now, Input::Release { key: key.clone(), to, number });
                    self.let_go_of_what_is_gone(now, core, setup, key);
                }
                Order::Forget => core.handle(now, Input::Forget(key)),
            }
        }
        self.gone.retain(|key, _| self.waits.contains_key(key));
        self.resolve(now, core);
        self.stop(now, core);
        self.others.retain(|from, other| other.is_none() || adopts.contains_key(from));
        for (from, moves) in adopts {
            self.read_other(from, moves, setup, sender);
        }
        true
    }

    /// A mirror that was deleted, or deleted and made anew, cannot be fenced, and need not be. Metadata are asked for
    /// each second while a partition has no leader.
    fn let_go_of_what_is_gone(&mut self, now: Now, core: &mut Lane, setup: &LaneSetup, key: PartitionKey) {
        let Some((id, partition)) = core.find(&key).and_then(|id| Some((id, core.partition(id)?))) else { return };
        let (spec, metadata) = (partition.spec(), setup.target.known());
        let is_there = metadata.is_none_or(|metadata| {
            metadata.topics.get(&spec.target_topic).is_some_and(|topic| {
                let topic_id = topic.id_bytes();
                let is_another = [topic_id, spec.target_topic_id].iter().all(|id| *id != TopicId::default())
                    && topic_id != spec.target_topic_id;
                topic.error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION && !is_another
            })
        });
        if is_there {
            self.gone.remove(&key);
        } else if self.gone.entry(key).or_insert_with(Instant::now).elapsed() >= LONG {
            core.handle(now, Input::Stop(id, Halt::TargetRecreated));
        }
    }

    fn copy(&self, now: Now, core: &mut Lane, key: &PartitionKey) {
        if let Some(spec) = self.partitions.specs.get(key)
            && core.find(key).is_none()
        {
            core.add(now, spec.clone());
        }
    }

    /// Hands on what was decided and not carried out yet.
    fn resolve(&self, now: Now, core: &mut Lane) {
        for (key, resolution) in self.partitions.resolutions.iter() {
            let spec = self.partitions.specs.get(key);
            if spec.is_none() && resolution.exit == Exit::Recreate && self.is_made_anew(key) {
                core.handle(now, Input::Gone(key.clone()));
            }
            let Some((id, partition)) = core.find(key).and_then(|id| Some((id, core.partition(id)?))) else { continue };
            if let Some(spec) = spec
                && partition.resolved() < resolution.number
            {
                let (resolution, spec) = (resolution.clone(), spec.clone());
                core.handle(now, Input::Resolve { partition: id, resolution, spec });
            }
        }
    }

    /// Whether a topic is copied that had this partition before it was made anew.
    fn is_made_anew(&self, key: &PartitionKey) -> bool {
        let first = PartitionKey { topic: key.topic.clone(), partition: 0 };
        self.partitions.specs.contains_key(&first) && !self.partitions.stops.contains_key(&first)
    }

    fn stop(&mut self, now: Now, core: &mut Lane) {
        let stops = &self.partitions.stops;
        self.stopped.retain(|key, _| core.find(key).is_some() && stops.contains_key(key));
        for (key, halt) in self.partitions.stops.iter() {
            if let Some(id) = core.find(key)
                && self.stopped.get(key) != Some(halt)
            {
                self.stopped.insert(key.clone(), halt.clone());
                core.handle(now, Input::Stop(id, halt.clone()));
            }
        }
    }

    /// Looks into another lane's map for what comes from there, one look at a time.
    fn read_other(
        &mut self,
        from: u32,
        moves: BTreeMap<PartitionKey, u64>,
        setup: &LaneSetup,
        sender: &mpsc::UnboundedSender<Message>,
    ) {
        let former = match self.others.insert(from, None) {
            Some(None) => return,
            Some(former) => former.filter(|reader| reader.reads_for(moves.keys())),
            None => None,
        };
        let keys = || moves.keys().cloned().collect();
        let (target, link) = (&setup.target, &setup.link);
        let mut reader =
            former.unwrap_or_else(|| OtherLane::new(target, link, setup.map_topic_id, from, setup.lane, keys()));
        let sender = sender.clone();
        tokio::spawn(async move {
            let read = match reader.read().await {
                Ok(()) => {
                    let found =
                        |(key, number): (PartitionKey, u64)| Some((key.clone(), reader.adoption(&key, number)?));
                    let adoptions = moves.into_iter().filter_map(found).collect();
                    OtherRead { from, adoptions, reader: Some(reader) }
                }
                Err(failure) => {
                    tracing::debug!(lane = from, what = failure.what, "Another lane's map cannot be read.");
                    OtherRead { from, adoptions: Vec::new(), reader: None }
                }
            };
            tell(&sender, Message::OtherRead(Box::new(read)));
        });
    }

    /// Takes over what another lane has let go of, if it is still to come here.
    pub(super) fn other_read(&mut self, now: Now, read: OtherRead, core: &mut Lane, setup: &LaneSetup) {
        match read.reader {
            Some(reader) => drop(self.others.insert(read.from, Some(reader))),
            None => drop(self.others.remove(&read.from)),
        }
        let Some(state) = &self.state else { return };
        for (key, adoption) in read.adoptions {
            let wanted = order(setup.lane, self.place(state, &key), core.known(&key));
            if matches!(wanted, Order::Adopt { number, .. } if number == adoption.number) {
                core.handle(now, Input::Adopt(key, Box::new(adoption)));
            }
        }
    }
}

/// Tells the lane what the state says as of now or later, and then each time when it changes.
fn follow(setup: &LaneSetup, sender: &mpsc::UnboundedSender<Message>) -> AbortHandle {
    let (follower, sender) = (Arc::clone(&setup.state), sender.clone());
    let task = tokio::spawn(async move {
        let mut changes = follower.listen();
        let mut state = loop {
            match follower.fresh().await {
                Ok(state) => break state,
                Err(error) => {
                    tracing::debug!(%error, "The link's state cannot be read; trying again.");
                    sleep(PAUSE).await;
                }
            }
        };
        while !sender.is_closed() {
            tell(&sender, Message::State(state));
            state = changes.changed().await;
        }
    });
    task.abort_handle()
}
