//! What befalls a world while faults go on, besides those of single requests.

use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{DeleteRecordsRequest, ProduceRequest};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use twinlog_sandbox::Sandbox;
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

use crate::instance::{LINK, mirror};
use crate::peer::{Peer, topic_name};
use crate::profile::Mistake;
use crate::world::World;

impl World {
    /// The time in which things go wrong.
    pub(crate) async fn faulty_time(&mut self) -> Result<(), String> {
        let end = Instant::now() + Duration::from_millis(self.profile.fault_ms);
        let profile = self.profile.clone();
        // They go on by themselves: what befalls the world may have to wait for a node that is to be resumed.
        let mut healers: JoinSet<()> = JoinSet::new();
        let mut late_topic = profile.late_topic;
        while Instant::now() < end {
            let step = self.rng.u64(1..=60);
            sleep(Duration::from_millis(step)).await;
            self.look_after(false).await?;
            if self.instances.is_empty() && self.rng.u32(0..8) == 0 {
                self.start(false);
            }
            if late_topic && self.rng.u32(0..60) == 0 {
                late_topic = false;
                self.add_topic();
                self.shared.happened("topics made later");
            }
            if self.is_time(step, profile.leaders_ms) {
                let (sandbox, topic, partition) = self.some_partition();
                let nodes = sandbox.nodes();
                let node = nodes[self.rng.usize(0..nodes.len())];
                sandbox.move_leader(&topic, partition, node).unwrap();
                self.shared.trace(format!("{topic}:{partition} is led by {node}"));
                self.shared.happened("leader moves");
            }
            if self.is_time(step, profile.leaderless_ms) {
                let (sandbox, topic, partition) = self.some_partition();
                sandbox.take_leader_away(&topic, partition).unwrap();
                self.shared.trace(format!("{topic}:{partition} has no leader"));
                self.shared.happened("partitions without a leader");
                let (nodes, shared) = (sandbox.nodes(), Rc::clone(&self.shared));
                let (node, until) = (nodes[self.rng.usize(0..nodes.len())], self.soon(2_000));
                healers.spawn_local(async move {
                    sleep_until(until).await;
                    if sandbox.leader(&topic, partition).unwrap().0.is_none() {
                        sandbox.move_leader(&topic, partition, node).unwrap();
                        shared.trace(format!("{topic}:{partition} is led by {node} again"));
                    }
                });
            }
            if self.is_time(step, profile.restarts_ms) {
                let (sandbox, node) = self.some_node();
                sandbox.restart(node).unwrap();
                self.shared.trace(format!("a restart of node {node}"));
                self.shared.happened("restarts of a node");
            }
            if self.is_time(step, profile.pauses_ms) {
                let (sandbox, node) = self.some_node();
                sandbox.pause(node).unwrap();
                self.shared.trace(format!("node {node} pauses"));
                self.shared.happened("pauses of a node");
                let until = self.soon(4_000);
                healers.spawn_local(async move {
                    sleep_until(until).await;
                    sandbox.resume(node).unwrap();
                });
            }
            if self.is_time(step, profile.trims_ms) {
                self.trim(false).await;
            }
            if self.is_time(step, profile.losses_ms) {
                self.lose_an_end();
            }
            if self.is_time(step, profile.kills_ms) && !self.instances.is_empty() {
                self.kill();
            }
            if self.is_time(step, profile.rivals_ms) && self.instances.len() == 1 {
                self.start(false);
                self.shared.happened("rivals");
            }
            if self.is_time(step, profile.stops_ms)
                && let Some(instance) = self.instances.last_mut()
            {
                instance.stop();
                self.shared.trace("a stop");
                self.shared.happened("stops under way");
            }
            if self.is_time(step, profile.stands_ms)
                && let Some(instance) = self.instances.first()
            {
                let network = instance.network.clone();
                network.stand(true);
                self.shared.trace(format!("instance {} stands still", instance.number));
                self.shared.happened("links that stand still");
                let until = self.soon(3_000);
                healers.spawn_local(async move {
                    sleep_until(until).await;
                    network.stand(false);
                });
            }
            if self.is_time(step, profile.moves_ms) {
                self.change_lanes(&mut healers);
            }
            if self.rng.u32(0..10) == 0 {
                self.target.expire_producers();
            }
            self.make_mistake().await;
        }
        while healers.join_next().await.is_some() {}
        Ok(())
    }

    /// Whether something that happens once in `mean_ms` happens in this step.
    fn is_time(&mut self, step_ms: u64, mean_ms: u64) -> bool {
        mean_ms > 0 && self.rng.u64(0..mean_ms) < step_ms
    }

    fn soon(&mut self, max_ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(self.rng.u64(50..=max_ms))
    }

    /// A partition of the source, of a mirror that is there, of the map, or of the link's state.
    fn some_partition(&mut self) -> (Sandbox, String, i32) {
        let (topic, partitions) = self.topics[self.rng.usize(0..self.topics.len())].clone();
        let partition = self.rng.i32(0..partitions);
        let map = format!("__twinlog.{LINK}.map");
        let lane = self.rng.i32(0..self.profile.lanes.into());
        let state = format!("__twinlog.{LINK}.state");
        let mirrored = (mirror(&topic), partition);
        let candidates = [mirrored.clone(), mirrored, (map, lane), (state, 0)];
        let (name, number) = candidates[self.rng.usize(0..4)].clone();
        if self.rng.u32(0..3) > 0 && self.target.leader(&name, number).is_ok() {
            return (self.target.clone(), name, number);
        }
        (self.source.clone(), topic, partition)
    }

    fn some_node(&mut self) -> (Sandbox, i32) {
        let sandbox = if self.rng.bool() { &self.source } else { &self.target };
        let nodes = sandbox.nodes();
        (sandbox.clone(), nodes[self.rng.usize(0..nodes.len())])
    }

    fn kill(&mut self) {
        let index = self.rng.usize(0..self.instances.len());
        let instance = self.instances.remove(index);
        self.shared.trace(format!("instance {} is killed", instance.number));
        self.shared.happened("kills");
        instance.kill();
        // What it had sent may still be carried out.
        if self.rng.bool() {
            self.target.cut_client(LINK);
        }
    }

    /// Deletes source records that a link says are on the target; or, as a mistake, any.
    async fn trim(&mut self, ahead: bool) {
        let (topic, partitions) = self.topics[self.rng.usize(0..self.topics.len())].clone();
        let partition = self.rng.i32(0..partitions);
        let synced = self.instances.iter().filter_map(|instance| instance.synced(&topic, partition)).max();
        let (start, end) = self.source.offsets(&topic, partition).unwrap();
        // What is deleted is known before.
        let audit = self.audits.get_mut(&(topic.clone(), partition)).unwrap();
        audit.read_on(&self.source, (&topic, partition)).await;
        let limit = if ahead { end } else { audit.copied_before(synced.unwrap_or(0)) };
        if limit <= start {
            return;
        }
        let before = if self.rng.bool() || ahead { limit } else { self.rng.i64(start..limit) };
        let Some(leader) = self.source.leader(&topic, partition).unwrap().0 else { return };
        let asked = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(before);
        let topics = DeleteRecordsTopic::default().with_name(topic_name(&topic)).with_partitions(vec![asked]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topics]).with_timeout_ms(1_000);
        if Peer::new(&self.source, leader).call(&request, 2).await.is_some() {
            self.shared.trace(format!("{topic}:{partition} is trimmed to {before}"));
            self.shared.happened("trims of the source");
        }
    }

    /// An unclean election: what is lost must be copied again.
    fn lose_an_end(&mut self) {
        let (topic, partitions) = self.topics[self.rng.usize(0..self.topics.len())].clone();
        let (twin, partition) = (mirror(&topic), self.rng.i32(0..partitions));
        let Ok((start, end)) = self.target.offsets(&twin, partition) else { return };
        let (kept, nodes) = (end - self.rng.i64(1..=20), self.target.nodes());
        if kept > start {
            let node = nodes[self.rng.usize(0..nodes.len())];
            if self.target.leader(&twin, partition).unwrap().0 == Some(node) {
                // It lost it in a crash. (By rule: a leader that follows another one for a moment and leads again, on
                // the same connections, could take a batch in the place of a lost one before anybody looks.)
                self.target.restart(node).unwrap();
            }
            self.target.truncate(&twin, partition, kept, node).unwrap();
            self.shared.trace(format!("{twin}:{partition} loses what is above {kept} of {end}"));
            self.shared.happened("mirrors that lose their end");
        }
    }

    async fn make_mistake(&mut self) {
        let Some(mistake) = self.mistake.filter(|_| self.rng.u32(0..4) == 0) else { return };
        let (topic, partitions) = self.topics[self.rng.usize(0..self.topics.len())].clone();
        let (twin, partition) = (mirror(&topic), self.rng.i32(0..partitions));
        if self.target.offsets(&twin, partition).is_err() {
            // It is not made yet.
            return;
        }
        match mistake {
            Mistake::BrokersForget => self.target.forget_producers(&twin, partition, None).unwrap(),
            Mistake::ClockBehind => self.target.expire_producers(),
            Mistake::TrimmedAhead => self.trim(true).await,
            Mistake::ForeignWrite => {
                let mut batch = BatchBuilder::new(BatchOptions::default());
                let timestamp = self.shared.wall_ms();
                batch.push(&NewRecord { timestamp, key: None, value: Some(b"not ours"), headers: &[] });
                let records = Some(batch.finish().unwrap());
                let data = PartitionProduceData::default().with_index(partition).with_records(records);
                let data = TopicProduceData::default().with_name(topic_name(&twin)).with_partition_data(vec![data]);
                let request =
                    ProduceRequest::default().with_acks(-1).with_timeout_ms(1_000).with_topic_data(vec![data]);
                if let Some(leader) = self.target.leader(&twin, partition).unwrap().0 {
                    Peer::new(&self.target, leader).call(&request, 9).await;
                }
            }
        }
    }
}
