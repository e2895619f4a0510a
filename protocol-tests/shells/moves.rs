//! Partitions that are sent from lane to lane, and lanes that come and go, as `twinlog lanes` does it, while everything
//! else goes on.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use twinlog_core::link_state::LinkState;
use twinlog_core::report::ChangeProgress;
use twinlog_core::status::PartitionStatus;
use twinlog_link::lanes::{Change, plan};
use twinlog_link::state::StateTopic;
use twinlog_sandbox::TopicSpec;

use crate::instance::{Instance, LINK, mirror, setup};
use crate::network::Network;
use crate::offline::{START_MS, in_paused_time, sandbox};
use crate::profile::Profile;
use crate::world::{World, environment};

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

async fn until(what: &str, link: &mut Instance, is_so: impl Fn(&[Arc<PartitionStatus>]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let rows = link.rows();
        if is_so(&rows) {
            return;
        }
        if link.task.is_finished() {
            panic!("not {what}, and the link has ended: {:?}", (&mut link.task).await);
        }
        assert!(Instant::now() < deadline, "not {what}: {rows:#?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Given a link with two lanes, of which a topic was deleted on both sides, when the lanes become one, also where the
/// link was begun again since, then nothing waits for the mirror that is not there.
#[test]
fn a_mirror_that_is_gone_holds_up_no_change_of_lanes() {
    for is_begun_again in [false, true] {
        in_paused_time(async {
            let begun = Instant::now();
            let (source, target) = (sandbox("source", 1), sandbox("target", 1));
            source.create_topic(&TopicSpec::new("topic-gone", 4)).unwrap();
            source.create_topic(&TopicSpec::new("topic-kept", 4)).unwrap();
            let profile = Profile { lanes: 2, request_timeout_ms: 3_000, ..Profile::of(&mut Rng::with_seed(0), None) };
            let start = |number| {
                let network = Network::default();
                let setup = setup(&profile, &network, (&source, &target), environment(begun, START_MS));
                Instance::start(number, setup, network, false)
            };
            let mut link = start(0);
            let is_copied = |row: &&Arc<PartitionStatus>| row.state == "caught-up";
            until("all is copied", &mut link, |rows| rows.iter().filter(is_copied).count() == 8).await;

            assert!(source.delete_topic("topic-gone") && target.delete_topic(&mirror("topic-gone")));
            if is_begun_again {
                link.kill();
                link = start(1);
            }
            let is_kept = |row: &&Arc<PartitionStatus>| row.topic == "topic-kept" && is_copied(row);
            until("the others are copied", &mut link, |rows| rows.iter().filter(is_kept).count() == 4).await;
            let asks = setup(&profile, &Network::default(), (&source, &target), environment(begun, START_MS));
            let planned = plan(&asks, &Change::Resize(1)).await.unwrap();
            let waited = planned.carry_out(&asks, Duration::from_secs(300), &|_| {}).await.unwrap();

            assert_eq!(waited.change.progress, ChangeProgress::Done, "{waited:?}");
            link.kill();
        });
    }
}
