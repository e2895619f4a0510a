//! The map of one lane, read by the owner of another: what it takes over from there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use twinlog_client::Cluster;
use twinlog_client::admin::{IsolationLevel, TopicPartition};
use twinlog_core::ids::TopicId;
use twinlog_core::map_record::PartitionKey;
use twinlog_core::moves::Adoption;
use twinlog_core::report::Failure;

use super::{Contents, Keep, Lane};
use crate::log::LogReader;
use crate::names;

/// Another lane's map, as far as it was read.
pub(crate) struct OtherLane {
    lane: Lane,
    keep: Keep,
    keys: Arc<BTreeSet<PartitionKey>>,
}

impl OtherLane {
    /// To be read for these partitions, on the connections of the lane `reader`.
    pub(crate) fn new(
        target: &Cluster,
        link: &str,
        topic_id: TopicId,
        number: u32,
        reader: u32,
        keys: BTreeSet<PartitionKey>,
    ) -> Self {
        let log = LogReader {
            cluster: target.clone(),
            lane: reader,
            at: TopicPartition::new(names::map_topic(link), i32::try_from(number).unwrap_or(i32::MAX)),
            topic_id,
            isolation: IsolationLevel::ReadUncommitted,
            max_wait: Duration::ZERO,
        };
        let keys = Arc::new(keys);
        let kept = Arc::clone(&keys);
        Self {
            lane: Lane { log, next: None, contents: Contents::default() },
            keep: Box::new(move |key| kept.contains(key)),
            keys,
        }
    }

    /// Whether it is read for all of these.
    pub(crate) fn reads_for<'a>(&self, mut keys: impl Iterator<Item = &'a PartitionKey>) -> bool {
        keys.all(|key| self.keys.contains(key))
    }

    /// Reads on to the high watermark as of now.
    pub(crate) async fn read(&mut self) -> Result<(), Failure> {
        self.lane.read_on(&self.keep).await
    }

    /// What there is to take over, once the lane has let go of the partition by this move.
    pub(crate) fn adoption(&self, key: &PartitionKey, number: u64) -> Option<Adoption> {
        let Contents { state, .. } = &self.lane.contents;
        let chunks = self.lane.contents.chunks(key);
        let chunks = chunks.into_iter().map(|(number, chunk)| (number, chunk.clone())).collect();
        Adoption::of(state.partitions.get(key)?, &state.producer_ids, chunks, number)
    }
}
