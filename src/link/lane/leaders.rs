//! Which mirrors cannot be written to now, as metadata and connections tell, and the look in the background for when
//! that changes: partitions without a leader ask for nothing themselves.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use twinlog_client::Metadata;
use twinlog_core::io::{Input, LanePartition, Offline};
use twinlog_core::lane::Lane;

use super::outgoing::Outgoing;
use super::{LaneSetup, refresh_now_and_then};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Leaders {
    metadata: Option<Arc<Metadata>>,
    unreachable: u64,
    partitions: usize,
    waiting: bool,
    look_at: Option<Instant>,
}

impl Leaders {
    /// What the core is to be told. Nothing, as long as there are no other metadata, connections or partitions.
    pub(super) fn changes(&mut self, setup: &LaneSetup, core: &Lane, outgoing: &Outgoing) -> Vec<Input> {
        if self.waiting && self.look_at.is_none_or(|at| at <= Instant::now()) {
            self.look_at = Some(Instant::now() + LOOK);
            refresh_now_and_then(&setup.target, LOOK);
        }
        let Some(metadata) = setup.target.known() else { return Vec::new() };
        let as_before = self.metadata.as_ref().is_some_and(|before| Arc::ptr_eq(before, &metadata))
            && self.unreachable == outgoing.changes_of_reach()
            && self.partitions == core.partitions().len();
        if as_before {
            return Vec::new();
        }
        self.waiting = false;
        let mut changes = Vec::new();
        for (id, partition) in (0..).map(LanePartition).zip(core.partitions()) {
            let spec = partition.spec();
            if core.find(&spec.key) != Some(id) {
                // It was let go of.
                continue;
            }
            let offline = match metadata.leader(&spec.target_topic, spec.key.partition) {
                None => Some(Offline::NoLeader),
                Some(node) => (!outgoing.is_reachable(node)).then_some(Offline::Unreachable(node)),
            };
            self.waiting |= offline.is_some();
            if offline != partition.offline() {
                changes.push(Input::TargetOffline(id, offline));
            }
        }
        self.metadata = Some(metadata);
        self.unreachable = outgoing.changes_of_reach();
        self.partitions = core.partitions().len();
        changes
    }
}
