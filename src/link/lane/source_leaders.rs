//! Who leads each partition of the source, as the metadata say, or which replica is read instead, and which partition
//! of the lane an answer is about: looked up once for all requests until there are new metadata.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::StrBytes;
use rustc_hash::FxHashMap;
use tokio::time::Instant;
use twinlog_client::Metadata;
use twinlog_core::io::{LanePartition, PartitionSpec};
use twinlog_core::lane::Lane;
use twinlog_wire::topic::Topic;
use uuid::Uuid;

/// How long a replica is read before the leader is asked again for one, as by Kafka's own consumer.
const NEARER_FOR: Duration = Duration::from_secs(300);

/// The partitions of the lane by the broker that is asked for them.
#[derive(Debug, Default)]
pub(super) struct SourceLeaders {
    metadata: Option<Arc<Metadata>>,
    by_node: BTreeMap<i32, Vec<LanePartition>>,
    without: Vec<LanePartition>,
    known: usize,
    /// Partitions that are read from another replica than the leader, since it is nearer.
    nearer: FxHashMap<LanePartition, Nearer>,
    /// Some of those are new or gone.
    moved: bool,
    /// By topic, under its id and its name, and by partition.
    named: FxHashMap<Topic, Vec<Option<LanePartition>>>,
}

/// A replica that is read instead of the leader.
#[derive(Clone, Copy, Debug)]
struct Nearer {
    node: i32,
    /// The leader that named it: another one is asked itself.
    leader: i32,
    until: Instant,
}

impl SourceLeaders {
    /// Looks up what is new: all partitions in other metadata, or those that came to the lane. Whether any came.
    pub(super) fn look_up(&mut self, metadata: &Arc<Metadata>, core: &Lane) -> bool {
        let is_new = core.partitions().len() > self.known;
        if self.moved || !self.metadata.as_ref().is_some_and(|before| Arc::ptr_eq(before, metadata)) {
            let now = Instant::now();
            let mut nearer = core::mem::take(&mut self.nearer);
            nearer.retain(|_, nearer| nearer.until > now && metadata.brokers.contains_key(&nearer.node));
            *self = Self { metadata: Some(Arc::clone(metadata)), nearer, ..Self::default() };
        }
        for (id, partition) in (0..).map(LanePartition).zip(core.partitions()).skip(self.known) {
            let key = &partition.spec().key;
            self.name(id, partition.spec());
            match metadata.leader(&key.topic, key.partition) {
                Some(leader) => {
                    let nearer = self.nearer.get(&id).filter(|nearer| nearer.leader == leader);
                    self.by_node.entry(nearer.map_or(leader, |nearer| nearer.node)).or_default().push(id);
                }
                None => self.without.push(id),
            }
        }
        self.known = core.partitions().len();
        is_new
    }

    /// The leader says that a partition is better read from this broker.
    pub(super) fn read_from(&mut self, id: LanePartition, node: i32, core: &Lane) {
        let key = core.partition(id).map(|partition| &partition.spec().key);
        let leader = key.zip(self.metadata.as_ref()).and_then(|(key, known)| known.leader(&key.topic, key.partition));
        let Some(leader) = leader.filter(|leader| *leader != node) else { return };
        self.moved = true;
        self.nearer.insert(id, Nearer { node, leader, until: Instant::now() + NEARER_FOR });
    }

    /// Whether a partition is read from this broker though another one leads it.
    pub(super) fn is_nearer(&self, id: LanePartition, node: i32) -> bool {
        self.nearer.get(&id).is_some_and(|nearer| nearer.node == node)
    }

    /// A broker failed to send a partition: if it is not the leader, the leader is asked next.
    pub(super) fn back_to_leader(&mut self, id: LanePartition, node: i32) {
        if self.is_nearer(id, node) {
            self.nearer.remove(&id);
            self.moved = true;
        }
    }

    /// Each broker that is asked for any, with what it is asked for.
    pub(super) fn of_each(&self) -> impl Iterator<Item = (i32, &[LanePartition])> {
        self.by_node.iter().map(|(node, led)| (*node, led.as_slice()))
    }

    fn name(&mut self, id: LanePartition, spec: &PartitionSpec) {
        let Ok(place) = usize::try_from(spec.key.partition) else { return };
        let topic_id = Topic::Id(Uuid::from_bytes(spec.source_topic_id));
        for topic in [topic_id, Topic::Name(StrBytes::from_string(spec.key.topic.clone()))] {
            let partitions = self.named.entry(topic).or_default();
            partitions.resize(partitions.len().max(place + 1), None);
            partitions[place] = Some(id);
        }
    }

    /// The partitions of a topic, by their numbers.
    pub(super) fn of_topic(&self, topic: &Topic) -> &[Option<LanePartition>] {
        self.named.get(topic).map(Vec::as_slice).unwrap_or_default()
    }

    /// Partitions without a leader.
    pub(super) fn without(&self) -> &[LanePartition] {
        &self.without
    }
}
