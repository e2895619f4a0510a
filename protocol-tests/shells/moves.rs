//! Partitions that are sent from lane to lane, as `twinlog lanes move` does, while everything else goes on.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use twinlog_core::link_state::LinkState;
use twinlog_core::map_record::PartitionKey;
use twinlog_link::state::{StateError, StateTopic};

use crate::instance::{LINK, setup};
use crate::network::Network;
use crate::world::World;

/// Whoever asks for a move does not wait longer for the target.
const PATIENCE: Duration = Duration::from_secs(10);

impl World {
    /// Somebody sends a partition to another lane.
    pub(crate) fn send_to_a_lane(&mut self, others: &mut JoinSet<()>) {
        let keys: Vec<_> = self.audits.keys().cloned().collect();
        if keys.is_empty() {
            return;
        }
        let (topic, partition) = keys[self.rng.usize(0..keys.len())].clone();
        let lane = self.rng.u32(0..self.profile.lanes.into());
        let to = BTreeMap::from([(PartitionKey { topic, partition }, lane)]);
        let setup = setup(&self.profile, &Network::default(), (&self.source, &self.target), self.environment());
        let shared = Rc::clone(&self.shared);
        others.spawn_local(async move {
            let asked = async {
                match StateTopic::open(&setup.target, LINK, setup.environment.clock.clone()).await? {
                    Some(state) => state.update(|state| state.send(&to)).await.map(drop),
                    None => Ok(()),
                }
            };
            let result: Result<Result<(), StateError>, _> = timeout(PATIENCE, asked).await;
            shared.trace(format!("{to:?} is to go to that lane: {:?}", result.map(|asked| asked.err())));
        });
    }

    /// What the link's state says.
    pub(crate) async fn link_state(&self) -> Result<LinkState, String> {
        let setup = setup(&self.profile, &Network::default(), (&self.source, &self.target), self.environment());
        let clock = setup.environment.clock.clone();
        let state = StateTopic::open(&setup.target, LINK, clock).await.map_err(|error| error.to_string())?;
        match state {
            Some(state) => state.read().await.map_err(|error| error.to_string()),
            // No link has come so far yet.
            None => Ok(LinkState::default()),
        }
    }
}
