//! What a link shows of itself: plain snapshots, taken by the link, drawn and served by others.
//!
//! A snapshot is complete in itself and holds totals only. Rates come from two snapshots and the time between
//! them, and the clock is the reader's.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::Serialize;

use crate::map_record::PartitionKey;

/// The state of a partition whose mirror cannot be written to now.
pub const TARGET_OFFLINE: &str = "target-offline";
/// The state of a partition that has everything up to the last stable offset, and nothing of what follows.
pub const WAITING_FOR_TRANSACTIONS: &str = "waiting-for-transactions";

/// A link at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkStatus {
    /// Name of the link.
    pub link: String,
    /// Name of the source cluster in the configuration.
    pub source: String,
    /// Name of the target cluster in the configuration.
    pub target: String,
    /// Number of lanes that the link's partitions are shared among.
    pub lanes: u16,
    /// What the instance that shows this has; none if it is told from the clusters alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    /// Every mirrored partition, by source topic and number. What has not changed since the last snapshot is the same.
    pub partitions: Vec<Arc<PartitionStatus>>,
}

/// An instance of a link at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// Whether both clusters were reached and the link's group has said which lanes are this instance's, if any. Once
    /// it is so it stays so.
    pub ready: bool,
    /// How many lanes it has.
    pub lanes: u16,
}

/// A mirrored partition at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// Topic on the source.
    pub topic: String,
    /// Topic on the target.
    pub target_topic: String,
    /// Partition number, the same on both sides.
    pub partition: i32,
    /// Lane that owns the partition.
    pub lane: u16,
    /// How the partition stands, in one of five ways.
    pub standing: Standing,
    /// Name of the state: `copying`, `caught-up`, `diverged`, `too-large`, …
    pub state: String,
    /// What the state is about: offsets expected and found, what to do.
    pub detail: Option<String>,
    /// Source offset that will be read next; unknown while nothing runs.
    pub position: Option<i64>,
    /// Source position up to which everything is on the target and in the map.
    pub synced: Option<i64>,
    /// The source's high watermark, unknown while the source is out of reach.
    pub high_watermark: Option<i64>,
    /// The source's last stable offset: what lies above waits for open transactions.
    pub last_stable_offset: Option<i64>,
    /// Records written to the target since the link was started.
    pub records: u64,
    /// Bytes of batches written to the target since the link was started.
    pub bytes: u64,
    /// Source offsets that were left out because they could not be had or copied, as somebody decided or the link's
    /// policy says.
    pub lost: u64,
    /// Bytes of batches that lag behind, estimated by the mean of what was copied since the start.
    pub lag_bytes: Option<u64>,
    /// As of when it is current, in ms since 1970: then the source had no more for consumers than what is on the target
    /// now. The lag in time is from then on.
    pub current_as_of_ms: Option<i64>,
    /// Whether it is further behind than the link's objective for its topic; none where there is no objective, or
    /// nobody is there to tell.
    pub breached: Option<bool>,
    /// The last decision about how the partition goes on after it stopped; only `twinlog status` looks it up.
    pub decision: Option<Decision>,
}

/// What somebody decided about a partition that stopped, by `twinlog resolve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Which decision about the partition it is, counted from 1.
    pub number: u64,
    /// The way out: `retry`, `skip-gap`, `accept`, `resync`, `recreate`.
    pub by: String,
    /// Name of the state that it was in.
    pub state: String,
    /// When it was decided, in ms since 1970.
    pub at_ms: i64,
    /// Whether it was carried out.
    pub carried_out: bool,
}

impl PartitionStatus {
    /// A partition of which nothing more is known.
    pub fn new(key: PartitionKey, target_topic: String, lane: u16, standing: Standing, state: &str) -> Self {
        Self {
            topic: key.topic,
            target_topic,
            partition: key.partition,
            lane,
            standing,
            state: state.into(),
            detail: None,
            position: None,
            synced: None,
            high_watermark: None,
            last_stable_offset: None,
            records: 0,
            bytes: 0,
            lost: 0,
            lag_bytes: None,
            current_as_of_ms: None,
            breached: None,
            decision: None,
        }
    }

    /// Offsets between the synced position and the high watermark. Markers and compacted offsets count, since
    /// nobody can know without reading them.
    pub fn lag(&self) -> Option<u64> {
        let (synced, end) = (self.synced?, self.high_watermark?);
        Some(u64::try_from(end.saturating_sub(synced)).unwrap_or(0))
    }
}

/// How a partition stands, whatever its state's name is. The order is by how much it wants to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Another instance of the link copies it.
    Elsewhere,
    /// Everything up to the high watermark is on the target.
    CaughtUp,
    /// Records are on their way.
    Copying,
    /// Waits for something that comes by itself: a leader, a fence, a connection.
    Waiting,
    /// Stopped by a named state until somebody decides.
    Halted,
}

impl Standing {
    /// The name as shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Elsewhere => "elsewhere",
            Self::CaughtUp => "caught-up",
            Self::Copying => "copying",
            Self::Waiting => "waiting",
            Self::Halted => "halted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standings_are_shown_as_json_spells_them() {
        for (standing, name) in [(Standing::Elsewhere, "elsewhere"), (Standing::CaughtUp, "caught-up")] {
            assert_eq!(standing.name(), name);
        }
    }

    #[test]
    fn lag_is_known_only_with_both_ends_and_never_negative() {
        let key = PartitionKey { topic: "t".into(), partition: 0 };
        let mut partition = PartitionStatus::new(key, "t".into(), 0, Standing::Copying, "copying");
        partition.synced = Some(3);
        assert_eq!(partition.lag(), None);
        partition.high_watermark = Some(10);
        assert_eq!(partition.lag(), Some(7));
        // The watermark is asked for now and then: a snapshot can hold one older than the synced position.
        partition.high_watermark = Some(1);
        assert_eq!(partition.lag(), Some(0));
    }
}
