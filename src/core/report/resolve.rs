//! What `twinlog resolve` answers.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

use super::ChangeProgress;

/// What a decision about partitions that stopped is to do, or has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResolveReport {
    /// Name of the link.
    pub link: String,
    /// The way out: `retry`, `skip-gap`, `accept`, `resync`, `recreate`.
    pub by: String,
    /// How far it is.
    pub progress: ChangeProgress,
    /// The partitions that it is about.
    pub partitions: Vec<ResolveRow>,
}

/// One partition that stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResolveRow {
    /// Topic on the source.
    pub topic: String,
    /// Topic on the target.
    pub target_topic: String,
    /// Partition number, the same on both sides.
    pub partition: i32,
    /// Name of the state that it stopped in.
    pub state: String,
    /// What the state is about.
    pub detail: Option<String>,
    /// Which decision about the partition this is, counted from 1.
    pub number: u64,
    /// What is done, in plain words.
    pub doing: String,
    /// Whether it was carried out.
    pub carried_out: bool,
}
