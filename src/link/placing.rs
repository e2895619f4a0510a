//! What this instance writes into the link's state: moves that have ended in its lanes, and, while it leads the link's
//! group, where new partitions are placed and which lanes are gone.
//!
//! What is to be written follows from the state alone, so nothing is lost where a write fails, and nothing comes of it
//! where another instance was faster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use twinlog_core::link_state::LinkState;
use twinlog_core::map_record::PartitionKey;
use twinlog_core::moves::Place;
use twinlog_core::report::Failure;
use twinlog_core::state_record::StateRecord;

use crate::map_reader::{MapReader, Told};
use crate::state::{Follower, Listener, StateError, StateTopic};
use crate::supervisor::LinkSetup;

/// The pause before something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known and not yet in the state.
#[derive(Clone, Debug, Default)]
struct Wanted {
    /// Moves that have ended in lanes of this instance.
    ended: BTreeMap<PartitionKey, u64>,
    /// Number of partitions of the topics that are copied; none while others place them.
    topics: BTreeMap<String, i32>,
    leads: bool,
}

impl Wanted {
    /// What is to be written. `mapped` says where the map has partitions that no table knows.
    fn decide(&self, state: &LinkState, mapped: &BTreeMap<PartitionKey, Place>) -> Vec<StateRecord> {
        let mut state = state.clone();
        let mut records = state.arrived(&self.ended);
        records.iter().cloned().for_each(|record| state.apply(record));
        if self.leads {
            let placed = state.place_new(&self.topics, mapped);
            placed.iter().cloned().for_each(|record| state.apply(record));
            records.extend(placed);
            records.extend(state.go_on_shrinking());
        }
        records
    }
}

/// The writer of one instance.
pub(crate) struct Placing {
    setup: LinkSetup,
    topic: StateTopic,
    follower: Arc<Follower>,
    changes: Listener,
    /// What was written and not seen yet.
    written: Option<LinkState>,
    wanted: Wanted,
    ended: mpsc::UnboundedReceiver<(PartitionKey, u64)>,
    updates: JoinSet<Result<LinkState, Failed>>,
    not_before: Option<Instant>,
}

/// Why the state could not be written.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the map cannot be read: {}", .0.what)]
    Map(Failure),
}

impl Placing {
    pub(crate) fn new(
        setup: &LinkSetup,
        topic: StateTopic,
        ended: mpsc::UnboundedReceiver<(PartitionKey, u64)>,
    ) -> Self {
        let follower = Arc::new(topic.follow());
        Self {
            setup: setup.clone(),
            topic,
            changes: follower.listen(),
            follower,
            written: None,
            wanted: Wanted::default(),
            ended,
            updates: JoinSet::new(),
            not_before: None,
        }
    }

    /// The state, for lanes to follow.
    pub(crate) fn follower(&self) -> Arc<Follower> {
        Arc::clone(&self.follower)
    }

    /// The state as it was last seen.
    pub(crate) fn state(&self) -> Arc<LinkState> {
        self.follower.state()
    }

    /// Whether this instance leads the group.
    pub(crate) fn lead(&mut self, leads: bool) {
        self.wanted.leads = leads;
        self.write();
    }

    /// Partitions that are to be copied.
    pub(crate) fn found<'a>(&mut self, partitions: impl Iterator<Item = &'a PartitionKey>) {
        for key in partitions {
            let count = self.wanted.topics.entry(key.topic.clone()).or_default();
            *count = (*count).max(key.partition + 1);
        }
        self.write();
    }

    /// Does its work; returns whenever the state may have changed.
    pub(crate) async fn changed(&mut self) {
        let not_before = self.not_before;
        tokio::select! {
            biased;
            state = self.changes.changed() => {
                self.written = None;
                self.wanted.ended.retain(|key, number| {
                    let is_later = |place: Place| (place.number, place.from.is_none()) > (*number, false);
                    !state.place(key).is_some_and(is_later)
                });
            }
            Some((key, number)) = self.ended.recv() => {
                self.wanted.ended.insert(key, number);
                while let Ok((key, number)) = self.ended.try_recv() {
                    self.wanted.ended.insert(key, number);
                }
            }
            Some(done) = self.updates.join_next() => match done {
                Ok(Ok(state)) => self.written = Some(state),
                Ok(Err(error)) => {
                    tracing::warn!(link = self.setup.name, %error, "The link's state cannot be written; trying again.");
                    self.not_before = Some(Instant::now() + AGAIN);
                }
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_cancelled) => {}
            },
            () = sleep_until(not_before.unwrap_or_else(Instant::now)), if not_before.is_some() => {
                self.not_before = None;
            }
        }
        self.write();
    }

    /// Begins to write what is not in the state yet, one update at a time.
    fn write(&mut self) {
        if !self.updates.is_empty() || self.not_before.is_some() {
            return;
        }
        let state = self.state();
        let state = self.written.as_ref().unwrap_or(&state);
        if self.wanted.decide(state, &BTreeMap::new()).is_empty() {
            return;
        }
        // What no table knows a map may know: the table was lost, or the link is older than it.
        let is_new = self.wanted.leads && !state.place_new(&self.wanted.topics, &BTreeMap::new()).is_empty();
        let (setup, topic, wanted) = (self.setup.clone(), self.topic.clone(), self.wanted.clone());
        self.updates.spawn(async move {
            let mapped = if is_new { places_by_the_map(&setup).await.map_err(Failed::Map)? } else { BTreeMap::new() };
            Ok(topic.update(|state| Ok(wanted.decide(state, &mapped))).await?)
        });
    }
}

async fn places_by_the_map(setup: &LinkSetup) -> Result<BTreeMap<PartitionKey, Place>, Failure> {
    let Some(mut reader) = MapReader::open(setup, Box::new(|_| false)).await? else { return Ok(BTreeMap::new()) };
    reader.read().await?;
    let place = |(key, told): (&PartitionKey, Told<'_>)| {
        let (lane, mapped) = (told.lane, told.mapped);
        let place = match mapped.released {
            Some(released) => Place { lane: released.to, from: Some(lane), number: released.number },
            None if mapped.is_held() => Place { lane, from: None, number: mapped.came.unwrap_or_default() },
            None => return None,
        };
        Some((key.clone(), place))
    };
    Ok(reader.told().into_iter().filter_map(place).collect())
}
