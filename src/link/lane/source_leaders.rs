//! Who leads each partition of the source, as the metadata say: looked up once for all requests until there are new
//! metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use twinlog_client::Metadata;
use twinlog_core::io::LanePartition;
use twinlog_core::lane::Lane;

/// The partitions of the lane by their leader.
#[derive(Debug, Default)]
pub(super) struct SourceLeaders {
    metadata: Option<Arc<Metadata>>,
    by_node: BTreeMap<i32, Vec<LanePartition>>,
    without: Vec<LanePartition>,
    known: usize,
}

impl SourceLeaders {
    /// Looks up what is new: all partitions in other metadata, or those that came to the lane.
    pub(super) fn look_up(&mut self, metadata: &Arc<Metadata>, core: &Lane) {
        if !self.metadata.as_ref().is_some_and(|before| Arc::ptr_eq(before, metadata)) {
            *self = Self { metadata: Some(Arc::clone(metadata)), ..Self::default() };
        }
        for (id, partition) in (0..).map(LanePartition).zip(core.partitions()).skip(self.known) {
            let key = &partition.spec().key;
            match metadata.leader(&key.topic, key.partition) {
                Some(node) => self.by_node.entry(node).or_default().push(id),
                None => self.without.push(id),
            }
        }
        self.known = core.partitions().len();
    }

    /// Each broker that leads any, with what it leads.
    pub(super) fn of_each(&self) -> impl Iterator<Item = (i32, &[LanePartition])> {
        self.by_node.iter().map(|(node, led)| (*node, led.as_slice()))
    }

    /// Partitions without a leader.
    pub(super) fn without(&self) -> &[LanePartition] {
        &self.without
    }
}
