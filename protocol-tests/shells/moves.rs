//! Partitions that are sent from lane to lane, and lanes that come and go, as `twinlog lanes` does it, while everything
//! else goes on.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use twinlog_core::link_state::LinkState;
use twinlog_link::lanes::{Change, plan};
use twinlog_link::state::StateTopic;

use crate::instance::{LINK, setup};
use crate::network::Network;
use crate::world::World;

/// Whoever asks for a change does not wait longer for the target.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many lanes a link may be given.
const LANES_MAX: u32 = 4;

impl World {
    /// Somebody sends a partition to another lane, or changes the number of lanes.
    pub(crate) fn change_lanes(&mut self, others: &mut JoinSet<()>) {
        let keys: Vec<_> = self.audits.keys().cloned().collect();
        if keys.is_empty() {
            return;
        }
        let change = match self.rng.u32(0..6) {
            0 => Change::Resize(self.rng.u32(1..=LANES_MAX)),
            1 => Change::Rebalance,
            _ => {
                let (topic, partition) = keys[self.rng.usize(0..keys.len())].clone();
                Change::Move { topic, partition: Some(partition), to: self.rng.u32(0..LANES_MAX) }
            }
        };
        let setup = setup(&self.profile, &Network::default(), (&self.source, &self.target), self.environment());
        let shared = Rc::clone(&self.shared);
        others.spawn_local(async move {
            let carried_out = async { plan(&setup, &change).await?.carry_out(&setup, Duration::ZERO, &|_| {}).await };
            let said = match timeout(PATIENCE, carried_out).await {
                Ok(Ok(_)) => {
                    let what = if matches!(change, Change::Resize(_)) { "resizes" } else { "moves asked for" };
                    shared.happened(what);
                    "written".to_owned()
                }
                Ok(Err(failure)) => failure.what,
                Err(_elapsed) => "no end".to_owned(),
            };
            shared.trace(format!("{change:?}: {said}"));
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
