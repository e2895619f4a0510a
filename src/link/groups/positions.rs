//! Where source positions are on the mirrors: the lanes of this instance know it as of now, the map as of its last
//! mark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use twinlog_core::ids::{SourceOffset, TargetOffset};
use twinlog_core::map_record::PartitionKey;
use twinlog_core::offset_map::{OffsetMap, Translation};
use twinlog_core::report::Failure;

use crate::map_reader::MapReader;
use crate::own_lanes::Doors;
use crate::supervisor::LinkSetup;

/// How long a lane may take to answer: one that just begins does not.
const PATIENCE: Duration = Duration::from_millis(500);

/// A position that is asked about.
pub(super) type Asked = (PartitionKey, SourceOffset);
/// Where it is.
pub(super) type Found = Translation<TargetOffset, SourceOffset>;

/// Who knows where positions are.
pub(super) struct Positions {
    setup: LinkSetup,
    doors: Doors,
    /// The map, with the older ranges of these partitions.
    map: Option<(MapReader, Arc<BTreeSet<PartitionKey>>)>,
}

impl Positions {
    pub(super) fn new(setup: LinkSetup, doors: Doors) -> Self {
        Self { setup, doors, map: None }
    }

    /// Where they are, of all that are known.
    pub(super) async fn find(&mut self, asked: BTreeSet<Asked>) -> BTreeMap<Asked, Found> {
        let lanes = timeout(PATIENCE, self.doors.translate(asked.iter().cloned().collect())).await.unwrap_or_default();
        let mut found: BTreeMap<_, _> =
            lanes.into_iter().map(|(key, position, found)| ((key, position), found)).collect();
        let rest: Vec<Asked> = asked.into_iter().filter(|asked| !found.contains_key(asked)).collect();
        if !rest.is_empty() {
            match self.look_into_the_map(&rest).await {
                Ok(more) => found.extend(more),
                Err(failure) => {
                    tracing::debug!(link = self.setup.name, what = failure.what, "The map cannot be read.");
                    self.map = None;
                }
            }
        }
        found
    }

    async fn look_into_the_map(&mut self, asked: &[Asked]) -> Result<BTreeMap<Asked, Found>, Failure> {
        let wanted: BTreeSet<PartitionKey> = asked.iter().map(|(key, _)| key.clone()).collect();
        // Chunks that were passed over are not read again.
        let (mut reader, kept) = match self.map.take() {
            Some((reader, kept)) if wanted.is_subset(&kept) => (reader, kept),
            former => {
                let former = former.map(|(_, kept)| kept).unwrap_or_default();
                let kept: Arc<BTreeSet<_>> = Arc::new(wanted.union(&former).cloned().collect());
                let keep = Arc::clone(&kept);
                let Some(reader) = MapReader::open(&self.setup, Box::new(move |key| keep.contains(key))).await? else {
                    return Ok(BTreeMap::new());
                };
                (reader, kept)
            }
        };
        reader.read().await?;
        let maps = reader.maps(&wanted)?;
        self.map = Some((reader, kept));
        let translate = |asked: &Asked| {
            let map = maps.get(&asked.0)?;
            Some((asked.clone(), OffsetMap::translate(&map.map, asked.1, map.extent, TargetOffset(0))))
        };
        Ok(asked.iter().filter_map(translate).collect())
    }
}
