//! What an operator decides about a partition that stopped, and what that cost.
//!
//! A decision stands in the link's state under a number that grows by one each. The partition's head names the last one
//! that was carried out, in the same write as what came of it: so it is carried out once, also across crashes.

use alloc::string::String;
use alloc::vec::Vec;

use crate::halt::Halt;
use crate::ids::SourceOffset;

/// So many lost stretches are kept by their offsets; of older ones the total is.
const LOST_MAX: usize = 16;

/// A way out of a state in which a partition stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Go on where it stopped: what was wrong has been put right.
    Retry,
    /// Leave out the source offsets that cannot be had or copied, and note them as lost.
    SkipGap,
    /// Take things as they are: what is on the mirror stays there, and the copy goes on behind it.
    Accept,
    /// Empty the mirror's partition and copy it again from the source's start.
    Resync,
    /// Delete the mirror and copy the topic anew.
    Recreate,
}

impl Exit {
    /// All of them, as they are spelled.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("retry", Self::Retry),
        ("skip-gap", Self::SkipGap),
        ("accept", Self::Accept),
        ("resync", Self::Resync),
        ("recreate", Self::Recreate),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, exit)| *exit == self).map_or("", |(name, _)| name)
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(other, _)| *other == name).map(|(_, exit)| *exit)
    }

    /// The exits of a state, by the name of the state: the one to try first is the first.
    pub fn of(state: &str) -> &'static [Self] {
        match state {
            "gap" => &[Self::SkipGap, Self::Resync],
            "source-truncated" => &[Self::Accept, Self::Resync, Self::Retry],
            "source-deleted" => &[Self::Accept, Self::Retry],
            "recreated" => &[Self::Recreate, Self::Accept],
            "diverged" => &[Self::Resync, Self::Accept, Self::Retry],
            "target-truncated" | "target-trimmed" => &[Self::Resync, Self::Retry],
            "target-recreated" => &[Self::Recreate, Self::Accept],
            "target-not-empty" => &[Self::Accept, Self::Retry],
            "too-large" | "refused" | "unsupported" | "unreadable" => &[Self::Retry, Self::SkipGap],
            "claimed" | "mirror-settings" => &[Self::Retry],
            _ => &[],
        }
    }

    /// Whether it begins a mirror anew, with an empty map.
    pub fn begins_anew(self, state: &str) -> bool {
        match self {
            Self::Resync | Self::Recreate => true,
            Self::Accept => matches!(state, "recreated" | "target-recreated"),
            Self::Retry | Self::SkipGap => false,
        }
    }

    /// Whether the state is one of whole topics.
    pub fn is_of_topics(state: &str) -> bool {
        matches!(
            state,
            "source-deleted" | "recreated" | "target-recreated" | "target-not-empty" | "claimed" | "mirror-settings"
        )
    }
}

/// A decision about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Which decision about this partition it is, counted from 1.
    pub number: u64,
    /// The way out.
    pub exit: Exit,
    /// The name of the state that it was in.
    pub state: String,
    /// When it was decided, in ms since 1970.
    pub at_ms: i64,
}

/// Source offsets that were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// The first of them.
    pub from: SourceOffset,
    /// The first behind them.
    pub to: SourceOffset,
    /// When they were left out, in ms since 1970.
    pub at_ms: i64,
}

/// All source offsets of a partition that were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many there are. Markers and offsets that were compacted away count: nobody could know any more.
    pub offsets: u64,
    /// The newest stretches, oldest first.
    pub ranges: Vec<LostRange>,
}

impl Lost {
    /// Notes a stretch.
    pub fn push(&mut self, range: LostRange) {
        self.offsets += u64::try_from(range.to.0.saturating_sub(range.from.0)).unwrap_or(0);
        self.ranges.push(range);
        if self.ranges.len() > LOST_MAX {
            self.ranges.remove(0);
        }
    }
}

impl Halt {
    /// The ways out of the state.
    pub fn exits(&self) -> &'static [Exit] {
        Exit::of(self.name())
    }

    /// The source offsets that have to be left out to go on: the first, and the first behind them.
    pub fn gap(&self) -> Option<(SourceOffset, SourceOffset)> {
        match self {
            Self::Gap { from, to } => Some((*from, *to)),
            Self::TooLarge { offset, next, .. }
            | Self::Refused { offset, next, .. }
            | Self::Unsupported { offset, next }
            | Self::Unreadable { offset, next, .. } => Some((*offset, *next)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lost_stretches_are_kept_and_all_are_counted() {
        let mut lost = Lost::default();
        for from in 0..20 {
            lost.push(LostRange { from: SourceOffset(10 * from), to: SourceOffset(10 * from + 3), at_ms: from });
        }
        assert_eq!(lost.offsets, 60);
        assert_eq!(lost.ranges.len(), LOST_MAX);
        assert_eq!(lost.ranges.last().map(|range| range.from), Some(SourceOffset(190)));
    }

    #[test]
    fn each_state_has_a_way_out_and_those_of_topics_are_known() {
        let of_partitions = [
            ("gap", Exit::SkipGap),
            ("source-truncated", Exit::Accept),
            ("diverged", Exit::Resync),
            ("target-truncated", Exit::Resync),
            ("target-trimmed", Exit::Resync),
            ("too-large", Exit::Retry),
            ("refused", Exit::Retry),
            ("unsupported", Exit::Retry),
            ("unreadable", Exit::Retry),
        ];
        let of_topics = [
            ("source-deleted", Exit::Accept),
            ("recreated", Exit::Recreate),
            ("target-recreated", Exit::Recreate),
            ("target-not-empty", Exit::Accept),
            ("claimed", Exit::Retry),
            ("mirror-settings", Exit::Retry),
        ];
        for (states, is_of_topics) in [(&of_partitions[..], false), (&of_topics[..], true)] {
            for (state, first) in states {
                assert_eq!(
                    (Exit::of(state).first(), Exit::is_of_topics(state)),
                    (Some(first), is_of_topics),
                    "{state}"
                );
            }
        }
        assert_eq!(Exit::of("copying"), []);
    }

    #[test]
    fn each_exit_has_a_name_of_its_own() {
        for (name, exit) in Exit::NAMES {
            assert_eq!((exit.name(), Exit::named(name)), (name, Some(exit)));
        }
    }
}
