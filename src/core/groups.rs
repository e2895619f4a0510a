//! Positions of consumer groups: what is committed on the target for what a group has committed on the source.
//!
//! The link keeps in mind what it wrote of each group ([`GroupMemory`]), before it writes it. A position on the target
//! that it did not write is somebody's who uses the group there: from then on the group is `taken-over` and is not
//! touched, since nobody could tell whose position is the right one.
//!
//! ```text
//!  committed on the source ──► translated ──past the synced position──► waits
//!                                  │
//!  committed on the target ──not what was written last──► taken over
//!                                  │ the same ──► nothing to do
//!                                  ▼
//!                       kept in mind, then committed ──the group is in use──► taken over
//! ```

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::codec::{BadRecord, Reader, Writer};
use crate::ids::{SourceOffset, TargetOffset};
use crate::map_record::PartitionKey;
use crate::offset_map::Translation;

/// A position that a group has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The offset that is to be read next.
    pub offset: i64,
    /// What the consumer wrote beside it.
    pub metadata: String,
}

impl Position {
    /// As if the link had written it, and for something far ahead: whatever the group has on the source replaces it.
    pub fn given_up(&self) -> Written {
        Written { source: i64::MAX, target: self.stamp(), before: None }
    }

    fn stamp(&self) -> Stamp {
        Stamp { offset: self.offset, metadata: fingerprint(&self.metadata) }
    }
}

/// By what a position is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The offset.
    pub offset: i64,
    /// A fingerprint of what stands beside it; 0 for nothing.
    pub metadata: u64,
}

/// FNV-1a.
fn fingerprint(metadata: &str) -> u64 {
    if metadata.is_empty() {
        return 0;
    }
    metadata.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What was written last of a group in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The position on the source that it stands for.
    pub source: i64,
    /// What was written on the target.
    pub target: Stamp,
    /// What stood there before: the write may not have been carried out.
    pub before: Option<Stamp>,
}

/// What the link knows of a group on the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMemory {
    /// Since when somebody else uses it there, in ms since 1970.
    pub taken_over_at_ms: Option<i64>,
    /// When it was last written, in ms since 1970.
    pub at_ms: i64,
    /// By source partition.
    pub written: BTreeMap<PartitionKey, Written>,
}

/// What a look at a group found in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it has committed on the source.
    pub source: Position,
    /// Where that is on the mirror; none while it cannot be known.
    pub mirror: Option<Translation<TargetOffset, SourceOffset>>,
    /// What it has on the target.
    pub target: Option<Position>,
}

/// What is to be done with a group in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The target has the position already.
    Nothing,
    /// The position is to be committed; to be kept in mind first.
    Commit(Position, Written),
    /// It cannot be committed yet.
    Wait(Wait),
    /// The target has this position, which the link did not write.
    TakenOver(i64),
}

/// Why a position is not on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The records before it are not all on the target: those before this position are.
    NotSynced(SourceOffset),
    /// The map does not say where it is now: the partition is on its way from a start, or was never begun.
    NoMap,
    /// It would go back on the target, and the group went on.
    GoesBack(TargetOffset),
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSynced(synced) => write!(f, "its records are on the target only up to source offset {synced}"),
            Self::NoMap => f.write_str("the map does not say where it is yet"),
            Self::GoesBack(to) => {
                write!(f, "it would go back to {to} on the target, which the group has passed; see `twinlog status`")
            }
        }
    }
}

/// What to do with a group in one partition; `again` says that a position is to be committed that is there already,
/// so that the target does not let it expire.
pub fn step(seen: &Seen, last: Option<&Written>, again: bool) -> Step {
    let found = seen.target.as_ref().map(Position::stamp);
    let is_ours = |found: Stamp| last.is_some_and(|last| found == last.target || Some(found) == last.before);
    let target = match seen.mirror {
        None => Err(Wait::NoMap),
        Some(Translation::NotYet(synced)) => Err(Wait::NotSynced(synced)),
        Some(Translation::Exact(at) | Translation::Next(at) | Translation::End(at) | Translation::Clamped(at)) => {
            Ok(Position { offset: at.0, metadata: seen.source.metadata.clone() })
        }
    };
    // What is right already may have been written before anybody kept it in mind.
    let is_right = |found: Stamp| target.as_ref().is_ok_and(|target| target.stamp() == found);
    if let Some(found) = found.filter(|found| !is_ours(*found) && !is_right(*found)) {
        // Without a map it cannot be known whether it is right.
        return match (target, last) {
            (Err(wait), None) => Step::Wait(wait),
            _ => Step::TakenOver(found.offset),
        };
    }
    let target = match target {
        Ok(target) => target,
        Err(wait) => return Step::Wait(wait),
    };
    let stamp = target.stamp();
    let written = Written { source: seen.source.offset, target: stamp, before: found };
    if found == Some(stamp) && !again && last.is_some_and(|last| last.target == stamp) {
        return Step::Nothing;
    }
    let is_back = |last: &Written| stamp.offset < last.target.offset && written.source >= last.source;
    if found.is_some() && last.is_some_and(is_back) {
        return Step::Wait(Wait::GoesBack(TargetOffset(stamp.offset)));
    }
    Step::Commit(target, written)
}

/// All groups that the link knows on the target, by name: what the topic `__twinlog.<link>.groups` adds up to.
///
/// | key | value |
/// |---|---|
/// | `group/<name>` | [`GroupMemory`] |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMemories(pub BTreeMap<String, GroupMemory>);

const KEY: &str = "group/";

impl GroupMemories {
    /// Takes the next record of the log.
    pub fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), BadRecord> {
        let key = core::str::from_utf8(key).map_err(|_| BadRecord { reason: "key is not text" })?;
        let name = key.strip_prefix(KEY);
        let name = name.ok_or(BadRecord { reason: "unknown kind of key, perhaps of a newer twinlog" })?;
        match value {
            Some(value) => drop(self.0.insert(name.to_string(), GroupMemory::decode(value)?)),
            None => drop(self.0.remove(name)),
        }
        Ok(())
    }

    /// The key of a group's record.
    pub fn key(group: &str) -> Vec<u8> {
        format!("{KEY}{group}").into_bytes()
    }
}

impl GroupMemory {
    /// The value of its record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.signed(self.taken_over_at_ms.unwrap_or(-1));
        out.signed(self.at_ms);
        let mut topics: BTreeMap<&str, Vec<(i32, &Written)>> = BTreeMap::new();
        for (key, written) in &self.written {
            topics.entry(&key.topic).or_default().push((key.partition, written));
        }
        out.unsigned(topics.len() as u64);
        for (topic, partitions) in topics {
            out.text(topic);
            out.unsigned(partitions.len() as u64);
            for (partition, Written { source, target, before }) in partitions {
                out.signed(partition.into());
                out.signed(*source);
                out.stamp(*target);
                out.unsigned(before.is_some().into());
                if let Some(before) = before {
                    out.stamp(*before);
                }
            }
        }
        out.bytes
    }

    fn decode(value: &[u8]) -> Result<Self, BadRecord> {
        let mut input = Reader::new(value)?;
        let taken_over = input.signed()?;
        let mut memory = Self {
            taken_over_at_ms: (taken_over >= 0).then_some(taken_over),
            at_ms: input.signed()?,
            ..Self::default()
        };
        for _ in 0..input.unsigned()? {
            let topic = input.text()?;
            for _ in 0..input.unsigned()? {
                let key = PartitionKey { topic: topic.clone(), partition: input.int()? };
                let (source, target) = (input.signed()?, input.stamp()?);
                let before = if input.flag()? { Some(input.stamp()?) } else { None };
                memory.written.insert(key, Written { source, target, before });
            }
        }
        if input.rest.is_empty() { Ok(memory) } else { Err(BadRecord { reason: "bytes left over" }) }
    }
}

impl Writer {
    fn stamp(&mut self, stamp: Stamp) {
        self.signed(stamp.offset);
        self.unsigned(stamp.metadata);
    }
}

impl Reader<'_> {
    fn stamp(&mut self) -> Result<Stamp, BadRecord> {
        Ok(Stamp { offset: self.signed()?, metadata: self.unsigned()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn at(offset: i64) -> Position {
        Position { offset, metadata: String::new() }
    }

    fn seen(source: i64, mirror: Option<Translation<TargetOffset, SourceOffset>>, target: Option<i64>) -> Seen {
        Seen { source: at(source), mirror, target: target.map(at) }
    }

    fn exact(offset: i64) -> Option<Translation<TargetOffset, SourceOffset>> {
        Some(Translation::Exact(TargetOffset(offset)))
    }

    fn written(source: i64, target: i64, before: Option<i64>) -> Written {
        Written { source, target: at(target).stamp(), before: before.map(|before| at(before).stamp()) }
    }

    #[test]
    fn a_new_position_is_committed_with_what_stands_beside_it() {
        let source = Position { offset: 10, metadata: "m".into() };
        let first = Seen { source: source.clone(), mirror: exact(8), target: None };
        let Step::Commit(position, kept) = step(&first, None, false) else { panic!("it is new") };
        assert_eq!(position, Position { offset: 8, metadata: "m".into() });
        assert_eq!((kept.source, kept.target, kept.before), (10, position.stamp(), None));
        let there = Seen { target: Some(position.clone()), ..first.clone() };
        assert_eq!(step(&there, Some(&kept), false), Step::Nothing);
        assert!(matches!(step(&there, Some(&kept), true), Step::Commit(..)), "so that it does not expire");
        assert!(matches!(step(&first, Some(&kept), false), Step::Commit(..)), "it expired");
        // The same offset with other words is another position.
        let other = Seen { target: Some(Position { metadata: "n".into(), ..position }), ..first };
        assert_eq!(step(&other, Some(&kept), false), Step::TakenOver(8));
    }

    #[test]
    fn a_position_that_is_not_synced_waits_and_nothing_is_guessed() {
        let not_yet = Some(Translation::NotYet(SourceOffset(9)));
        assert_eq!(step(&seen(10, not_yet, None), None, false), Step::Wait(Wait::NotSynced(SourceOffset(9))));
        assert_eq!(step(&seen(10, None, Some(3)), Some(&written(4, 3, None)), false), Step::Wait(Wait::NoMap));
        // Whose it is cannot be known before the map is.
        assert_eq!(step(&seen(10, None, Some(3)), None, false), Step::Wait(Wait::NoMap));
        assert_eq!(step(&seen(10, not_yet, Some(2)), Some(&written(4, 3, None)), false), Step::TakenOver(2));
    }

    #[test]
    fn ours_is_what_was_written_last_or_stood_there_before() {
        let last = written(20, 16, Some(8));
        for (found, ours) in [(Some(16), true), (Some(8), true), (None, true), (Some(12), false), (Some(17), false)] {
            let step = step(&seen(30, exact(24), found), Some(&last), false);
            let wanted = match found {
                Some(found) if !ours => Step::TakenOver(found),
                _ => Step::Commit(at(24), written(30, 24, found)),
            };
            assert_eq!(step, wanted, "{found:?}");
        }
    }

    #[test]
    fn a_group_that_was_on_the_target_before_is_left_alone_unless_it_is_where_it_should_be() {
        assert_eq!(step(&seen(10, exact(8), Some(5)), None, false), Step::TakenOver(5));
        assert_eq!(
            step(&seen(10, exact(8), Some(8)), None, false),
            Step::Commit(at(8), written(10, 8, Some(8))),
            "kept in mind from now on"
        );
    }

    #[test]
    fn it_goes_back_only_with_the_group() {
        let last = written(20, 16, None);
        assert_eq!(
            step(&seen(20, exact(12), Some(16)), Some(&last), false),
            Step::Wait(Wait::GoesBack(TargetOffset(12)))
        );
        assert_eq!(
            step(&seen(15, exact(12), Some(16)), Some(&last), false),
            Step::Commit(at(12), written(15, 12, Some(16))),
            "the group was reset on the source"
        );
        assert_eq!(
            step(&seen(20, exact(0), None), Some(&last), false),
            Step::Commit(at(0), written(20, 0, None)),
            "the mirror was made anew, and its groups' positions went with the old one"
        );
    }

    #[test]
    fn what_was_given_up_is_replaced_by_whatever_the_group_has() {
        let last = at(77).given_up();
        assert_eq!(
            step(&seen(10, exact(8), Some(77)), Some(&last), false),
            Step::Commit(at(8), written(10, 8, Some(77)))
        );
        assert_eq!(step(&seen(10, exact(8), Some(78)), Some(&last), false), Step::TakenOver(78));
    }

    #[test]
    fn every_memory_comes_back_and_none_that_is_cut() {
        let key = |topic: &str, partition| PartitionKey { topic: topic.into(), partition };
        let stamp = |offset, metadata| Stamp { offset, metadata };
        let memory = GroupMemory {
            taken_over_at_ms: Some(1_700_000_000_000),
            at_ms: 1_700_000_000_001,
            written: BTreeMap::from([
                (key("a", 0), Written { source: 0, target: stamp(0, 0), before: None }),
                (key("a", 7), Written { source: 1 << 40, target: stamp(5, u64::MAX), before: Some(stamp(4, 1)) }),
                (key("b/c", 1), Written { source: 3, target: stamp(2, 9), before: None }),
            ]),
        };
        let mut all = GroupMemories::default();
        for (name, memory) in [("g/1", &memory), ("", &GroupMemory::default())] {
            all.apply(&GroupMemories::key(name), Some(&memory.encode())).expect("it is right");
            assert_eq!(all.0.get(name), Some(memory));
        }
        let value = memory.encode();
        for len in 0..value.len() {
            assert!(GroupMemory::decode(&value[..len]).is_err(), "cut to {len}");
        }
        assert!(GroupMemory::decode(&[value, vec![0]].concat()).is_err());
        all.apply(&GroupMemories::key("g/1"), None).expect("a tombstone");
        assert_eq!(all.0.keys().collect::<Vec<_>>(), [""]);
        assert!(all.apply(b"lanes", Some(&[1])).is_err());
    }
}
