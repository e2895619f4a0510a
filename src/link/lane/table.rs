//! What the link's table asks of a lane: which partitions it copies, takes over, lets go of ([`twinlog_core::moves`]).
//!
//! The lane acts only by a table that was read after it was taken. From then on it hears of each change, and goes
//! through the table again after each step of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use twinlog_core::halt::Halt;
use twinlog_core::ids::Now;
use twinlog_core::io::{Event, Input, PartitionSpec};
use twinlog_core::lane::Lane;
use twinlog_core::link_state::LinkState;
use twinlog_core::map_record::PartitionKey;
use twinlog_core::moves::{Adoption, Order, order};

use super::{LaneSetup, Message, tell};
use crate::map_reader::OtherLane;

/// The pause after a read that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// All partitions of the link that are to be copied, and those that are to stop: every lane gets the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partitions {
    pub(crate) specs: Arc<BTreeMap<PartitionKey, PartitionSpec>>,
    pub(crate) stops: Arc<BTreeMap<PartitionKey, Halt>>,
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
    is_due: bool,
    /// Something is under way that nobody reports.
    waits: bool,
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
        self.state = Some(state);
        self.is_due = true;
    }

    /// Looks again at what takes its time.
    pub(super) fn look_again(&mut self) {
        self.is_due |= self.waits;
    }

    /// Takes note of what the core says.
    pub(super) fn hear(&mut self, event: &Event, setup: &LaneSetup, sender: &mpsc::UnboundedSender<Message>) {
        match event {
            Event::Taken { .. } => {
                self.state = None;
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
        (self.is_due, self.waits) = (false, false);
        let is_ours = |lane: u32| lane == setup.lane;
        let here = state.places().filter(|(_, place)| is_ours(place.lane) || place.from.is_some_and(is_ours));
        let mut places: BTreeMap<_, _> = here.map(|(key, place)| (key, Some(place))).collect();
        for key in core.known_keys() {
            places.entry(key.clone()).or_insert_with(|| state.place(key));
        }
        let mut adopts: BTreeMap<u32, BTreeMap<PartitionKey, u64>> = BTreeMap::new();
        for (key, place) in places {
            let order = order(setup.lane, place, core.known(&key));
            self.waits |= !matches!(order, Order::Nothing | Order::Copy);
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
                Order::Release { to, number } => core.handle(now, Input::Release { key, to, number }),
                Order::Forget => core.handle(now, Input::Forget(key)),
            }
        }
        self.stop(now, core);
        self.others.retain(|from, other| other.is_none() || adopts.contains_key(from));
        for (from, moves) in adopts {
            self.read_other(from, moves, setup, sender);
        }
        true
    }

    fn copy(&self, now: Now, core: &mut Lane, key: &PartitionKey) {
        if let Some(spec) = self.partitions.specs.get(key)
            && core.find(key).is_none()
        {
            core.add(now, spec.clone());
        }
    }

    fn stop(&mut self, now: Now, core: &mut Lane) {
        self.stopped.retain(|key, _| core.find(key).is_some());
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
            let wanted = order(setup.lane, state.place(&key), core.known(&key));
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
