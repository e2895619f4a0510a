//! What `twinlog lanes` answers.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

/// What `twinlog lanes` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LanesReport {
    /// One entry a link.
    pub links: Vec<LinkLanes>,
}

/// The lanes of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkLanes {
    /// Name of the link.
    pub link: String,
    /// How many lanes there are to be; others are being emptied.
    pub wanted: u32,
    /// Those that there are, from 0 on.
    pub lanes: Vec<LaneReport>,
    /// Partitions that are on their way.
    pub moves: Vec<LaneMove>,
}

/// A lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneReport {
    /// Its number.
    pub lane: u32,
    /// Partitions that are in it or on their way to it.
    pub partitions: u64,
    /// Those of them that are on their way to it.
    pub coming: u64,
    /// Partitions that it has not let go of yet, on their way to others.
    pub going: u64,
    /// Bytes of the mirrors of its partitions, as their leaders have them; none if the target does not tell.
    pub bytes: Option<u64>,
    /// The instance that has it: client id and host; none if nobody has it, or the target does not tell.
    pub owner: Option<String>,
    /// Whether it goes when it is empty.
    pub closing: bool,
}

/// A partition on its way from one lane to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneMove {
    /// Topic on the source.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// The lane that it is in.
    pub from: u32,
    /// The lane that it goes to.
    pub to: u32,
    /// Bytes of its mirror; none if the target does not tell.
    pub bytes: Option<u64>,
}

/// What a change of a link's lanes is to do, or has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LanesChange {
    /// Name of the link.
    pub link: String,
    /// How far it is.
    pub progress: ChangeProgress,
    /// How many lanes there were to be before.
    pub lanes_before: u32,
    /// How many there are to be.
    pub lanes_after: u32,
    /// What is moved.
    pub moves: Vec<LaneMove>,
    /// How many partitions are still on their way for it.
    pub moving: u64,
}

/// How far a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeProgress {
    /// There is nothing to change.
    Nothing,
    /// Nothing is written yet.
    Planned,
    /// It is written, and not over yet.
    UnderWay,
    /// It is over.
    Done,
}
