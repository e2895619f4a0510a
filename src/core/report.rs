//! What the looking verbs answer: plain data, gathered by the shells, shown as a table or as JSON.
//!
//! The JSON form is these types as they stand, so a field's name here is part of the interface.

mod failure;
mod groups;
mod lanes;
mod resolve;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::Serialize;

pub use self::failure::{Failure, FailureKind, Failures};
pub use self::groups::{GroupRow, GroupState, GroupsReport};
pub use self::lanes::{ChangeProgress, LaneMove, LaneReport, LanesChange, LanesReport, LinkLanes};
pub use self::resolve::{ResolveReport, ResolveRow};
use crate::status::LinkStatus;

/// One of the two clusters of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The cluster that is read.
    Source,
    /// The cluster that is written.
    Target,
}

impl Side {
    /// The name as shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What `twinlog check` found for a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Name of the link.
    pub link: String,
    /// One entry a check, in the order in which they were made.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The cluster that it is about; none for one about both.
    pub side: Option<Side>,
    /// What was looked at, in a word or two: `reachable`, `rights`, `batch size`.
    pub subject: String,
    /// How it went.
    pub verdict: Verdict,
    /// What was found, with figures and names.
    pub finding: String,
    /// What to do about it.
    pub what_to_do: Option<String>,
}

/// How a check went, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// The link would run, but somebody should know.
    Warning,
    /// The link would not run, or would not keep its promises.
    Failed,
}

impl Verdict {
    /// The name as shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// What `twinlog status` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusReport {
    /// One entry a link.
    pub links: Vec<LinkStatus>,
}

/// What `twinlog translate` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TranslateAnswer {
    /// Name of the link whose map answered.
    pub link: String,
    /// The side that the question's offset is on.
    pub asked_side: Side,
    /// Topic asked about, on that side.
    pub asked_topic: String,
    /// Partition, the same on both sides.
    pub partition: i32,
    /// Offset asked about.
    pub asked_offset: i64,
    /// The topic on the other side.
    pub topic: String,
    /// Where the offset is there.
    #[serde(flatten)]
    pub answer: Translation,
}

/// Where an offset is on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Translation {
    /// The record at the offset asked about is the record at this one.
    Exact {
        /// Offset on the other side.
        offset: i64,
    },
    /// The offset asked about has no record on the other side (a marker, aborted, compacted away, or another
    /// writer's): the next record that has one is at this offset.
    NextRange {
        /// Offset on the other side.
        offset: i64,
    },
    /// The offset asked about is the end of what was copied: the next record to come gets this offset.
    AtEnd {
        /// Offset on the other side.
        offset: i64,
    },
    /// Not copied yet.
    NotYet {
        /// Position up to which everything is copied, on the side asked about.
        synced: i64,
    },
    /// The record is no longer there: the log on the other side begins at this offset.
    Clamped {
        /// Log start on the other side.
        offset: i64,
    },
}

/// What `twinlog verify` found for a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Name of the link.
    pub link: String,
    /// One entry a partition, by source topic and number.
    pub partitions: Vec<PartitionVerdict>,
}

/// What was compared in a partition, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionVerdict {
    /// Topic on the source.
    pub topic: String,
    /// Topic on the target.
    pub target_topic: String,
    /// Partition number.
    pub partition: i32,
    /// First source offset that was compared.
    pub from: i64,
    /// Source offset before which everything was compared.
    pub to: i64,
    /// Batches whose bodies were compared by their checksums.
    pub batches_by_checksum: u64,
    /// Batches that were packed anew, compared record by record.
    pub batches_by_record: u64,
    /// Records in both.
    pub records: u64,
    /// The first difference, or none.
    pub difference: Option<Difference>,
}

/// The first place where the two sides are not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Offset on the source.
    pub source_offset: i64,
    /// Offset on the target that the map names for it.
    pub target_offset: i64,
    /// What differs, with both values.
    pub what: String,
}

/// How far a running `verify` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Topic on the source that is being compared.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Offsets compared, all partitions together.
    pub done: u64,
    /// Offsets to compare, all partitions together.
    pub total: u64,
}

/// How a `run` ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunEnd {
    /// How many partitions `--until-caught-up` wanted on the target; 0 after a plain stop.
    pub wanted: usize,
    /// What `--until-caught-up` wanted on the target and did not get there; empty after a plain stop.
    pub missing: Vec<Missing>,
}

/// A partition that ended before everything was on the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Name of the link.
    pub link: String,
    /// Topic on the source.
    pub topic: String,
    /// Partition number; none for a topic of which nothing can be copied yet.
    pub partition: Option<i32>,
    /// Source position up to which everything is on the target, if it is known.
    pub synced: Option<i64>,
    /// Source position that was to be reached, if it is known.
    pub wanted: Option<i64>,
    /// Name of the state that the partition ended in.
    pub state: String,
    /// What the state is about, and what to do.
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_and_verdicts_are_shown_as_json_spells_them() {
        assert_eq!([Side::Source.name(), Side::Target.name()], ["source", "target"]);
        let verdicts = [Verdict::Ok, Verdict::Warning, Verdict::Failed];
        assert_eq!(verdicts.map(Verdict::name), ["ok", "warning", "failed"]);
    }
}
