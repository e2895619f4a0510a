//! What every test of a copy asserts, whatever made the copy: the simulator's model, the sandbox or real brokers.
//!
//! It takes plain data, so that nothing of the copying code can make a wrong copy look right.

use std::collections::{BTreeMap, BTreeSet};

use twinlog_core::report::Translation;

/// Whether a source record must be on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Committed: once, and in order.
    Required,
    /// It may be there, once and in order: taken out of the source while it was copied.
    Optional,
    /// Aborted, or of a transaction that is open.
    Forbidden,
}

/// A record of the source, in log order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRecord {
    /// Its offset.
    pub offset: i64,
    /// What is in it: equal numbers are equal key, value, headers and timestamp.
    pub identity: u64,
    /// Whether it must be copied.
    pub expect: Expect,
}

/// A record of the target, in log order, as one kind of reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetRecord {
    /// Its offset.
    pub offset: i64,
    /// What is in it.
    pub identity: u64,
}

/// A record on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Its source offset.
    pub source: i64,
    /// Its target offset.
    pub target: i64,
}

/// Where a position lies on the other side; see [`twinlog_core::offset_map::Translation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translated {
    /// The record at the position.
    Exact(i64),
    /// The next record that is on the other side.
    Next(i64),
    /// The position that the next record will get.
    End(i64),
    /// The other side's log starts here.
    Clamped(i64),
    /// Everything before this position is on the other side, and no more.
    NotYet(i64),
}

impl From<Translation> for Translated {
    fn from(answer: Translation) -> Self {
        match answer {
            Translation::Exact { offset } => Self::Exact(offset),
            Translation::NextRange { offset } => Self::Next(offset),
            Translation::AtEnd { offset } => Self::End(offset),
            Translation::Clamped { offset } => Self::Clamped(offset),
            Translation::NotYet { synced } => Self::NotYet(synced),
        }
    }
}

/// Pairs the records of a copy, or says what is wrong with it. `complete`: nothing may be missing at the end.
pub fn check_copy(source: &[SourceRecord], target: &[TargetRecord], complete: bool) -> Result<Vec<Pair>, String> {
    let mut pairs = Vec::with_capacity(target.len());
    let mut rest = source.iter();
    for record in target {
        let found = loop {
            match rest.next() {
                Some(next) if next.identity == record.identity && next.expect != Expect::Forbidden => break next,
                Some(next) if next.expect == Expect::Required => {
                    return Err(explain(source, target, &pairs, record, next));
                }
                Some(_) => {}
                None => return Err(explain_extra(source, &pairs, record)),
            }
        };
        pairs.push(Pair { source: found.offset, target: record.offset });
    }
    match rest.find(|record| record.expect == Expect::Required) {
        Some(missing) if complete => Err(format!("source record {} is missing at the end", missing.offset)),
        _ => Ok(pairs),
    }
}

fn explain(
    source: &[SourceRecord],
    target: &[TargetRecord],
    pairs: &[Pair],
    found: &TargetRecord,
    expected: &SourceRecord,
) -> String {
    let later = target.iter().any(|record| record.identity == expected.identity && record.offset > found.offset);
    let what = if later { "is out of order" } else { "is missing" };
    format!("source record {} {what}; instead {}", expected.offset, explain_extra(source, pairs, found))
}

fn explain_extra(source: &[SourceRecord], pairs: &[Pair], record: &TargetRecord) -> String {
    let known = source.iter().find(|other| other.identity == record.identity);
    match known {
        Some(known) => match pairs.iter().find(|pair| pair.source == known.offset) {
            Some(first) => format!(
                "target record {} is source record {} again, which is at {} already",
                record.offset, known.offset, first.target
            ),
            None => format!("target record {} is source record {} ({:?})", record.offset, known.offset, known.expect),
        },
        None => format!("target record {} is none of the source's", record.offset),
    }
}

/// What is known of a copy and its map, to compare every translation with.
#[derive(Clone, Copy, Debug)]
pub struct MapTruth<'a> {
    /// All records that are on the target, in order.
    pub pairs: &'a [Pair],
    /// Source positions that are asked for: from here,
    pub source_start: i64,
    /// up to where the map says that the copy is.
    pub synced: i64,
    /// Target positions that are asked for: from here,
    pub target_start: i64,
    /// up to the position that the next record gets, as the map says.
    pub next_target: i64,
}

/// Asks for every position in both directions: the map must be total, increasing and true.
pub fn check_map(
    truth: MapTruth<'_>,
    translate: impl Fn(i64) -> Translated,
    translate_back: impl Fn(i64) -> Translated,
) -> Result<(), String> {
    let MapTruth { pairs, synced, next_target, .. } = truth;
    if let Some(beyond) = pairs.iter().find(|pair| (pair.source < synced) != (pair.target < next_target)) {
        return Err(format!("{beyond:?} lies on two sides of the map's end {synced} -> {next_target}"));
    }
    let known = pairs.iter().filter(|pair| pair.source < synced);
    let forward: BTreeMap<i64, i64> = known.clone().map(|pair| (pair.source, pair.target)).collect();
    let backward: BTreeMap<i64, i64> = known.map(|pair| (pair.target, pair.source)).collect();
    check_one_way(&forward, (truth.source_start, synced), next_target, translate)
        .map_err(|wrong| format!("source position {wrong}"))?;
    check_one_way(&backward, (truth.target_start, next_target), synced, translate_back)
        .map_err(|wrong| format!("target position {wrong}"))
}

fn check_one_way(
    pairs: &BTreeMap<i64, i64>,
    (start, end): (i64, i64),
    other_end: i64,
    translate: impl Fn(i64) -> Translated,
) -> Result<(), String> {
    // Every record, its neighbours, and the ends: what lies between is of one kind.
    let mut positions: BTreeSet<i64> = [start, end - 1, end, end + 1].into();
    positions.extend(pairs.keys().flat_map(|at| [at - 1, *at, at + 1]));
    for position in positions.into_iter().filter(|position| *position >= start) {
        let expected = if position > end {
            Translated::NotYet(end)
        } else if let Some(exact) = pairs.get(&position) {
            Translated::Exact(*exact)
        } else if let Some((_, next)) = pairs.range(position..).next() {
            Translated::Next(*next)
        } else {
            Translated::End(other_end)
        };
        let found = translate(position);
        if found != expected {
            return Err(format!("{position} translates to {found:?}, not to {expected:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(expect: &[Expect]) -> Vec<SourceRecord> {
        let one = |(at, expect): (usize, &Expect)| SourceRecord {
            offset: at as i64,
            identity: 100 + at as u64,
            expect: *expect,
        };
        expect.iter().enumerate().map(one).collect()
    }

    fn target(identities: &[u64]) -> Vec<TargetRecord> {
        let one = |(at, identity): (usize, &u64)| TargetRecord { offset: 1 + at as i64, identity: *identity };
        identities.iter().enumerate().map(one).collect()
    }

    #[test]
    fn a_good_copy_is_paired() {
        use Expect::{Forbidden, Optional, Required};
        let source = source(&[Required, Forbidden, Optional, Required, Optional]);
        let pairs = check_copy(&source, &target(&[100, 102, 103]), true).unwrap();
        assert_eq!(pairs.iter().map(|pair| (pair.source, pair.target)).collect::<Vec<_>>(), [(0, 1), (2, 2), (3, 3)]);
        assert!(check_copy(&source, &target(&[100, 103]), true).is_ok());
    }

    #[test]
    fn each_way_to_be_wrong_is_found() {
        use Expect::{Forbidden, Required};
        let source = source(&[Required, Forbidden, Required, Required]);
        for (bad, words) in [
            (&[100, 100][..], "again"),
            (&[100, 101, 102][..], "Forbidden"),
            (&[100, 103][..], "missing"),
            (&[102, 100][..], "out of order"),
            (&[100, 102, 103, 7][..], "none of the source's"),
            (&[100, 102][..], "missing at the end"),
        ] {
            let wrong = check_copy(&source, &target(bad), true).unwrap_err();
            assert!(wrong.contains(words), "{bad:?}: {wrong}");
        }
    }

    #[test]
    fn a_map_is_asked_for_each_position() {
        let pairs = [Pair { source: 3, target: 1 }, Pair { source: 5, target: 2 }];
        let truth = MapTruth { pairs: &pairs, source_start: 0, synced: 6, target_start: 0, next_target: 4 };
        let forward = |position: i64| match position {
            ..=2 | 4 => Translated::Next(if position < 3 { 1 } else { 2 }),
            3 => Translated::Exact(1),
            5 => Translated::Exact(2),
            6 => Translated::End(4),
            _ => Translated::NotYet(6),
        };
        let backward = |position: i64| match position {
            0 => Translated::Next(3),
            1 => Translated::Exact(3),
            2 => Translated::Exact(5),
            3 | 4 => Translated::End(6),
            _ => Translated::NotYet(4),
        };
        check_map(truth, forward, backward).unwrap();
        let off_by_one = |position| if position == 4 { Translated::Exact(1) } else { forward(position) };
        assert!(check_map(truth, off_by_one, backward).unwrap_err().contains("source position 4"));
        assert!(check_map(MapTruth { synced: 5, ..truth }, forward, backward).is_err());
    }
}
