//! Why a partition stopped. Each reason has a name that metrics, `status` and the docs share.

use alloc::string::String;
use core::fmt;

use twinlog_wire::error_code::ErrorCode;

use crate::ids::{SourceOffset, TargetOffset};

/// A state in which a partition is not copied until somebody acts. Others go on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Halt {
    /// The target holds something at an offset that was to be ours: somebody else wrote to the mirror.
    Diverged {
        /// Where our next record was to be.
        expected: TargetOffset,
        /// Where it came to be, or where the foreign batch begins.
        found: TargetOffset,
    },
    /// The target lost records that it had acknowledged.
    TargetTruncated {
        /// The end that had been acknowledged.
        acknowledged: TargetOffset,
        /// The end or offset that was found.
        found: TargetOffset,
    },
    /// The target deleted the mirror's last records before the map knew which they are: it cannot be told how far the
    /// copy was.
    TargetTrimmed {
        /// The target position up to which the map knows them.
        copied: TargetOffset,
        /// The target's log start.
        start: TargetOffset,
    },
    /// The target topic has another topic id than the one that was mirrored to.
    TargetRecreated,
    /// The target topic held records before the first run and `existing: refuse` is set.
    TargetNotEmpty {
        /// Records between the log's start and end, markers included.
        records: u64,
    },
    /// A batch is larger than the target takes.
    TooLarge {
        /// First source offset of the batch.
        offset: SourceOffset,
        /// The source offset behind it.
        next: SourceOffset,
        /// Its length in bytes.
        bytes: u32,
        /// The target's answer.
        code: ErrorCode,
    },
    /// The target refuses a batch for another reason.
    Refused {
        /// First source offset of the batch.
        offset: SourceOffset,
        /// The source offset behind it.
        next: SourceOffset,
        /// The target's answer.
        code: ErrorCode,
        /// The broker's own words, if it gave any.
        message: String,
    },
    /// The source deleted records before they were copied.
    Gap {
        /// First lost offset.
        from: SourceOffset,
        /// The source's log start: the first offset that is still there.
        to: SourceOffset,
    },
    /// The source's log ends below what was copied.
    SourceTruncated {
        /// The position up to which was copied.
        copied: SourceOffset,
        /// The end that the source has now, or where its history parts from ours.
        end: SourceOffset,
    },
    /// The source topic was deleted and made again: another topic id.
    Recreated,
    /// The source topic is gone.
    SourceDeleted,
    /// A batch has a compression codec that the message format does not know.
    Unsupported {
        /// First source offset of the batch.
        offset: SourceOffset,
        /// The source offset behind it.
        next: SourceOffset,
    },
    /// A batch could not be opened to leave records out: damaged, or too large when unpacked.
    Unreadable {
        /// First source offset of the batch.
        offset: SourceOffset,
        /// The source offset behind it.
        next: SourceOffset,
        /// What was wrong.
        message: String,
    },
    /// Another link has claimed the mirror.
    Claimed {
        /// Its name.
        owner: String,
    },
    /// A setting of the mirror makes the target change the bytes of what is written to it.
    MirrorSettings {
        /// Name of the setting.
        setting: String,
        /// Its value on the target.
        value: String,
        /// What it must be.
        wanted: String,
    },
}

impl Halt {
    /// The name by which docs, metrics and `status` know the state.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Diverged { .. } => "diverged",
            Self::TargetTruncated { .. } => "target-truncated",
            Self::TargetTrimmed { .. } => "target-trimmed",
            Self::TargetRecreated => "target-recreated",
            Self::TargetNotEmpty { .. } => "target-not-empty",
            Self::TooLarge { .. } => "too-large",
            Self::Refused { .. } => "refused",
            Self::Gap { .. } => "gap",
            Self::SourceTruncated { .. } => "source-truncated",
            Self::Recreated => "recreated",
            Self::SourceDeleted => "source-deleted",
            Self::Unsupported { .. } => "unsupported",
            Self::Unreadable { .. } => "unreadable",
            Self::Claimed { .. } => "claimed",
            Self::MirrorSettings { .. } => "mirror-settings",
        }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diverged { expected, found } => write!(
                f,
                "the target has something else than this link wrote: expected offset {expected}, found {found}; \
                 find out who writes to the mirror, then `twinlog resolve` it by resync to copy it anew, or by accept \
                 to go on behind what is there"
            ),
            Self::TargetTruncated { acknowledged, found } => write!(
                f,
                "the target lost acknowledged records: its log reached {acknowledged}, now {found}; \
                 `twinlog resolve` it by resync to copy it anew"
            ),
            Self::TargetTrimmed { copied, start } => write!(
                f,
                "the target deleted everything up to {start} while the map knows the mirror only up to {copied}, so \
                 how far the copy is cannot be told; give the mirror a longer retention, then `twinlog resolve` it by \
                 resync to copy it anew"
            ),
            Self::TargetRecreated => f.write_str(
                "the target topic was deleted and made again by somebody else; `twinlog resolve` it by recreate to \
                 copy it anew, or by accept to copy behind what it holds",
            ),
            Self::TargetNotEmpty { records } => write!(
                f,
                "the target topic already holds {records} records; rename the mirror, or `twinlog resolve` it by \
                 accept to copy behind them; with `existing: append` the link does so for all"
            ),
            Self::TooLarge { offset, bytes, code, .. } => write!(
                f,
                "the target refuses the batch of {bytes} bytes at source offset {offset} ({code}); \
                 raise max.message.bytes of the target topic, then `twinlog resolve` it by retry"
            ),
            Self::Refused { offset, code, message, .. } => {
                write!(f, "the target refuses the batch at source offset {offset} ({code}")?;
                if !message.is_empty() {
                    write!(f, ": {message}")?;
                }
                f.write_str("); change the target topic's settings, then `twinlog resolve` it by retry")
            }
            Self::Gap { from, to } => write!(
                f,
                "the source deleted offsets {from} up to {to} before they were copied; \
                 they cannot be had any more; `twinlog resolve` it by skip-gap to go on behind them"
            ),
            Self::SourceTruncated { copied, end } => write!(
                f,
                "the source's log ends or parts at {end}, below the copied position {copied}: \
                 an unclean leader election took records back that the target has; `twinlog resolve` it by accept to \
                 keep them and go on from there, or by resync to copy it anew"
            ),
            Self::Recreated => f.write_str(
                "the source topic was deleted and made again; its offsets start anew; `twinlog resolve` it by recreate \
                 to delete the mirror and copy it anew, or by accept to copy behind what the mirror holds",
            ),
            Self::SourceDeleted => f.write_str(
                "the source topic is gone; the mirror keeps what was copied; `twinlog resolve` it by accept to leave \
                 it so",
            ),
            Self::Unsupported { offset, .. } => write!(
                f,
                "the batch at source offset {offset} has an unknown compression codec, which this version does not \
                 copy; `twinlog resolve` it by skip-gap to leave it out"
            ),
            Self::Unreadable { offset, message, .. } => write!(
                f,
                "the batch at source offset {offset} must be opened and cannot be: {message}; \
                 `twinlog resolve` it by skip-gap to leave it out"
            ),
            Self::Claimed { owner } => write!(
                f,
                "the target topic is a mirror of link {owner}; rename this link's mirror or exclude the topic, or \
                 delete the map topic __twinlog.{owner}.map if that link is no longer used"
            ),
            Self::MirrorSettings { setting, value, wanted } => write!(
                f,
                "the target topic has {setting}={value}, with which the target changes what is written to it; \
                 set {setting}={wanted}, then `twinlog resolve` it by retry"
            ),
        }
    }
}
