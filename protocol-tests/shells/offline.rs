//! Hundreds of partitions of a target broker that is gone, and a budget that they would fill: the others go on, nobody
//! is asked in vain all the time, and all is copied once when the broker is back.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest};
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};
use twinlog_core::status::PartitionStatus;
use twinlog_sandbox::{Clock, Fault, Sandbox, SandboxSpec, TopicSpec};
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

use crate::instance::{Instance, LINK, mirror, setup};
use crate::judge::{Audit, judge};
use crate::network::Network;
use crate::peer::{Peer, topic_name};
use crate::profile::Profile;
use crate::world::environment;

pub(crate) const START_MS: i64 = 1_700_000_000_000;
/// The mirror of this topic is led by the broker that goes away.
const DEAD: (&str, i32) = ("topic-dead", 300);
const ALIVE: (&str, i32) = ("topic-alive", 3);
/// Of the target.
const DEAD_NODE: i32 = 2;
const ALIVE_NODE: i32 = 1;
/// All dead partitions together hold more than twice the budget, each living one half of it.
const DEAD_BATCH: usize = 60_000;
const ALIVE_BATCH: usize = 100_000;
const ALIVE_BATCHES: usize = 40;
/// Far longer than anything here takes, in the world's time.
const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    source: Sandbox,
    target: Sandbox,
    network: Network,
    profile: Profile,
    begun: Instant,
    link: Instance,
}

impl Scene {
    /// Both sandboxes, and a link that has made its mirrors.
    async fn begin() -> Self {
        let begun = Instant::now();
        let (source, target) = (sandbox("source", 1), sandbox("target", 2));
        for (topic, partitions) in [DEAD, ALIVE] {
            source.create_topic(&TopicSpec::new(topic, partitions)).unwrap();
        }
        let profile = Profile {
            lanes: 1,
            fetch_bytes: 1 << 20,
            fetch_wait_ms: 100,
            mark_ms: 500,
            request_timeout_ms: 3_000,
            ..Profile::of(&mut Rng::with_seed(0), None)
        };
        let network = Network::default();
        let setup = setup(&profile, &network, (&source, &target), environment(begun, START_MS));
        let link = Instance::start(0, setup, network.clone(), false);
        let scene = Self { source, target, network, profile, begun, link };
        scene.caught_up(&[DEAD, ALIVE]).await;
        let map = (format!("__twinlog.{LINK}.map"), 1);
        for ((topic, partitions), node) in
            [((mirror(DEAD.0), DEAD.1), DEAD_NODE), ((mirror(ALIVE.0), ALIVE.1), ALIVE_NODE), (map, ALIVE_NODE)]
        {
            for partition in 0..partitions {
                scene.target.move_leader(&topic, partition, node).unwrap();
            }
        }
        scene
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut(&[Arc<PartitionStatus>]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = self.link.rows();
            if is_so(&rows) {
                return;
            }
            let waiting: Vec<_> = rows.iter().filter(|row| row.state != "caught-up").take(4).collect();
            assert!(!self.link.task.is_finished(), "not {what}, and the link has ended");
            assert!(Instant::now() < deadline, "not {what}: {waiting:#?}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until all of these topics is on the target.
    async fn caught_up(&self, topics: &[(&str, i32)]) {
        for (topic, partitions) in topics {
            self.until(&format!("{topic} is copied"), |rows| {
                let end = |row: &PartitionStatus| self.source.offsets(topic, row.partition).unwrap().1;
                let copied = rows.iter().filter(|row| row.topic == *topic && row.synced == Some(end(row)));
                copied.count() == usize::try_from(*partitions).unwrap()
            })
            .await;
        }
    }

    /// Records for every partition of the source.
    async fn write(&self) {
        let mut number = 0;
        for ((topic, partitions), bytes, batches) in [(DEAD, DEAD_BATCH, 1), (ALIVE, ALIVE_BATCH, ALIVE_BATCHES)] {
            let mut peer = Peer::new(&self.source, 1);
            for partition in 0..partitions {
                for _ in 0..batches {
                    number += 1;
                    let timestamp = START_MS + i64::try_from(self.begun.elapsed().as_millis()).unwrap();
                    let mut batch = BatchBuilder::new(BatchOptions::default());
                    let value = vec![b'a' + (number % 26) as u8; bytes];
                    let key = i64::to_be_bytes(number);
                    batch.push(&NewRecord { timestamp, key: Some(&key), value: Some(&value), headers: &[] });
                    let records = Some(batch.finish().unwrap());
                    let data = PartitionProduceData::default().with_index(partition).with_records(records);
                    let data = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
                    let request =
                        ProduceRequest::default().with_acks(-1).with_timeout_ms(1_000).with_topic_data(vec![data]);
                    peer.call(&request, 9).await.unwrap();
                }
            }
        }
    }

    /// Says of all partitions of the dead broker that they wait for it.
    async fn all_dead_are_offline(&self) {
        self.until("said of all 300", |rows| {
            rows.iter().filter(|row| row.topic == DEAD.0).all(|row| row.state == "target-offline")
        })
        .await;
    }

    /// Each record is on the target once, and the map is true.
    async fn judge(&mut self) {
        self.caught_up(&[DEAD, ALIVE]).await;
        // Of markers at the end the map hears with the next progress mark.
        sleep(Duration::from_secs(2)).await;
        let setup =
            setup(&self.profile, &Network::default(), (&self.source, &self.target), environment(self.begun, START_MS));
        for (topic, partition) in (0..3).map(|at| (ALIVE.0, at)).chain((0..300).step_by(29).map(|at| (DEAD.0, at))) {
            let mut audit = Audit::default();
            audit.read_on(&self.source, (topic, partition)).await;
            let copied = judge((&self.source, &self.target), &audit, (topic, partition), &setup).await.unwrap();
            assert_eq!(copied, if topic == ALIVE.0 { ALIVE_BATCHES } else { 1 }, "{topic}:{partition}");
        }
        self.network.kill();
    }
}

/// A cluster that takes sessions as short as the link's are here.
pub(crate) fn sandbox(name: &str, nodes: i32) -> Sandbox {
    let spec = SandboxSpec::new()
        .nodes(nodes)
        .cluster_id(name)
        // Clusters of one seed give their topics the same ids, and the link takes them for one.
        .seed(name.bytes().map(u64::from).sum())
        .clock(Clock::with_tokio(START_MS))
        .setting("group.min.session.timeout.ms", "1000");
    Sandbox::new(spec).unwrap()
}

pub(crate) fn in_paused_time(scene: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, scene);
}

/// Given 300 mirrors whose partitions have no leader, and a budget that a batch of each would fill, when all topics get
/// records, then the others are copied, metadata is asked for now and then only, and the 300 follow when they have
/// leaders again.
#[test]
fn partitions_without_leaders_leave_the_budget_to_the_others() {
    in_paused_time(async {
        let mut scene = Scene::begin().await;
        let twin = mirror(DEAD.0);
        (0..DEAD.1).for_each(|partition| scene.target.take_leader_away(&twin, partition).unwrap());

        scene.write().await;

        scene.caught_up(&[ALIVE]).await;
        scene.all_dead_are_offline().await;
        let asked = scene.target.fault(Fault::delay(Duration::ZERO).on(ApiKey::Metadata));
        sleep(Duration::from_secs(60)).await;
        let hits = scene.target.hits(asked);
        // One look a second, and the rounds over the topics, which are one a second here.
        assert!((50..=150).contains(&hits), "metadata was asked for {hits} times in a minute");

        (0..DEAD.1).for_each(|partition| scene.target.move_leader(&twin, partition, DEAD_NODE).unwrap());
        scene.judge().await;
    });
}

/// Given a target of two brokers that is being written, when one of them is gone from one moment to the next, with
/// answers missing, then the partitions of the other are copied, and those of the first when it is back.
#[test]
fn a_broker_that_is_gone_does_not_hold_the_budget() {
    in_paused_time(async {
        let mut scene = Scene::begin().await;
        // Answers that do not come before the broker goes.
        let slow = scene.target.fault(Fault::delay(Duration::from_secs(2)).on(ApiKey::Produce).at_node(DEAD_NODE));
        let begun = |rows: &[Arc<PartitionStatus>]| rows.iter().any(|row| row.topic == ALIVE.0 && row.synced > Some(0));
        scene.write().await;
        scene.until("under way", begun).await;

        scene.network.unplug(&scene.target, DEAD_NODE, true);

        scene.caught_up(&[ALIVE]).await;
        scene.all_dead_are_offline().await;
        scene.target.remove_fault(slow);
        scene.network.unplug(&scene.target, DEAD_NODE, false);
        scene.judge().await;
    });
}
