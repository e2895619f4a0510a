//! Who leads each partition of the source, as the metadata say, and which partition of the lane an answer is about:
//! looked up once for all requests until there are new metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;
use rustc_hash::FxHashMap;
use twinlog_client::Metadata;
use twinlog_core::io::{LanePartition, PartitionSpec};
use twinlog_core::lane::Lane;
use twinlog_wire::topic::Topic;
use uuid::Uuid;

/// The partitions of the lane by their leader.
#[derive(Debug, Default)]
pub(super) struct SourceLeaders {
    metadata: Option<Arc<Metadata>>,
    by_node: BTreeMap<i32, Vec<LanePartition>>,
    without: Vec<LanePartition>,
    known: usize,
    /// By topic, under its id and its name, and by partition.
    named: FxHashMap<Topic, Vec<Option<LanePartition>>>,
}

impl SourceLeaders {
    /// Looks up what is new: all partitions in other metadata, or those that came to the lane. Whether any came.
    pub(super) fn look_up(&mut self, metadata: &Arc<Metadata>, core: &Lane) -> bool {
        let is_new = core.partitions().len() > self.known;
        if !self.metadata.as_ref().is_some_and(|before| Arc::ptr_eq(before, metadata)) {
            *self = Self { metadata: Some(Arc::clone(metadata)), ..Self::default() };
        }
        for (id, partition) in (0..).map(LanePartition).zip(core.partitions()).skip(self.known) {
            let key = &partition.spec().key;
            self.name(id, partition.spec());
            match metadata.leader(&key.topic, key.partition) {
                Some(node) => self.by_node.entry(node).or_default().push(id),
                None => self.without.push(id),
            }
        }
        self.known = core.partitions().len();
        is_new
    }

    /// Each broker that leads any, with what it leads.
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
