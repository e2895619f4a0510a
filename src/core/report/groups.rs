//! What `twinlog groups` answers.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

/// What `twinlog groups` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupsReport {
    /// One entry for each group and partition, by link, group, topic and number.
    pub positions: Vec<GroupRow>,
}

/// Where a group is in a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupRow {
    /// Name of the link.
    pub link: String,
    /// Name of the group.
    pub group: String,
    /// Topic on the source.
    pub topic: String,
    /// Topic on the target.
    pub target_topic: String,
    /// Partition number.
    pub partition: i32,
    /// What it has committed on the source; none if that cannot be asked, or it has committed nothing.
    pub source: Option<i64>,
    /// Where that is on the target; none while it cannot be known.
    pub translated: Option<i64>,
    /// What it has on the target.
    pub target: Option<i64>,
    /// How it stands.
    pub state: GroupState,
    /// When the link last wrote a position of the group, in ms since 1970.
    pub written_at_ms: Option<i64>,
    /// Why it is not on the target.
    pub detail: Option<String>,
}

/// How a group's position stands on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupState {
    /// It is where it should be.
    Synced,
    /// It is to be written: with an instance up, in about a second.
    Due,
    /// The records before it are not all on the target.
    Waiting,
    /// Somebody uses the group on the target: it is left alone.
    TakenOver,
    /// The source has no such group or position any more.
    Deleted,
    /// The source cannot be asked.
    Unknown,
}

impl GroupState {
    /// The name as shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Due => "due",
            Self::Waiting => "waiting",
            Self::TakenOver => "taken-over",
            Self::Deleted => "deleted",
            Self::Unknown => "unknown",
        }
    }
}
