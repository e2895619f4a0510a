//! `groups`: where each group stands, from the clusters alone, and how one that was taken over is brought again.

use std::collections::{BTreeMap, BTreeSet};

use twinlog_client::admin::{CommittedOffset, TopicPartition};
use twinlog_core::groups::{GroupMemories, GroupMemory, Seen, Step, step};
use twinlog_core::ids::{SourceOffset, TargetOffset};
use twinlog_core::map_record::PartitionKey;
use twinlog_core::offset_map::Translation;
use twinlog_core::report::{Failure, FailureKind, GroupRow, GroupState};

use super::memory::{self, Memory};
use super::{Answers, offsets, position};
use crate::lease::Lease;
use crate::map_reader::{PartitionMap, Wanted, snapshot};
use crate::reach::out_of_reach;
use crate::state::look::failure;
use crate::supervisor::LinkSetup;

/// What groups have committed, by group and partition of that side.
type Offsets = BTreeMap<String, BTreeMap<TopicPartition, CommittedOffset>>;

/// Where groups stand, and what somebody should know besides.
#[derive(Debug)]
pub struct Positions {
    /// One row for each group and partition.
    pub rows: Vec<GroupRow>,
    /// Plain sentences: what could not be had, and why.
    pub words: Vec<String>,
}

/// Where each group of a link stands, for these groups or for all if there is none. Only a target out of reach is a
/// failure.
pub async fn positions(setup: &LinkSetup, wanted: &[String]) -> Result<Positions, Failure> {
    let mut words = Vec::new();
    let known = match memory::open(setup).await.map_err(|error| failure(&error))? {
        Some(topic) => topic.read().await.map_err(|error| failure(&error))?,
        None => GroupMemories::default(),
    };
    let is_wanted = |group: &String| wanted.is_empty() || wanted.contains(group);
    let source = match setup.source.list_groups().await {
        Ok(groups) => {
            let names = groups.into_iter().filter(|group| setup.config.groups.take(group) && is_wanted(group));
            Some(committed(offsets(&setup.source, names.collect()).await, &mut words))
        }
        Err(error) => {
            words.push(format!("the source cannot be asked, so what is known is what was written last: {error}"));
            None
        }
    };
    let names = known.0.keys().filter(|group| is_wanted(group)).chain(source.iter().flat_map(BTreeMap::keys));
    let names: BTreeSet<String> = names.cloned().collect();
    let target = committed(offsets(&setup.target, names.iter().cloned().collect()).await, &mut words);
    let maps = snapshot(setup, Wanted { partitions: Box::new(|_| true), whole: true }).await?;
    let maps = maps.map(|snapshot| snapshot.partitions).unwrap_or_default();
    let maps: BTreeMap<PartitionKey, PartitionMap> = maps.into_iter().map(|map| (map.key.clone(), map)).collect();
    let mut rows = Vec::new();
    for group in names {
        let memory = known.0.get(&group);
        let there = source.as_ref().map(|source| source.get(&group).cloned().unwrap_or_default());
        let here = target.get(&group).cloned().unwrap_or_default();
        let key = |at: &TopicPartition| PartitionKey { topic: at.topic.clone(), partition: at.partition };
        let committed = there.iter().flatten().map(|(at, _)| key(at)).filter(|key| maps.contains_key(key));
        let keys: BTreeSet<PartitionKey> =
            committed.chain(memory.iter().flat_map(|memory| memory.written.keys().cloned())).collect();
        for key in keys {
            let Some(map) = maps.get(&key) else { continue };
            let at = TopicPartition::new(key.topic.as_str(), key.partition);
            let mirror = TopicPartition::new(map.target_topic.as_str(), key.partition);
            let source = there.as_ref().map(|there| there.get(&at).cloned());
            rows.push(row(setup, &group, memory, map, source, here.get(&mirror).cloned()));
        }
    }
    Ok(Positions { rows, words })
}

fn committed(answers: Answers, words: &mut Vec<String>) -> Offsets {
    let mut all = Offsets::new();
    for (group, answer) in answers {
        match answer {
            Ok(offsets) => {
                let told = offsets.into_iter().filter_map(|(at, committed)| Some((at, committed.ok()?)));
                all.insert(group, told.collect());
            }
            Err(error) => words.push(format!("group {group}: {error}")),
        }
    }
    all
}

/// `source` is none if it cannot be asked, and none in that if nothing is committed there.
fn row(
    setup: &LinkSetup,
    group: &str,
    memory: Option<&GroupMemory>,
    map: &PartitionMap,
    source: Option<Option<CommittedOffset>>,
    target: Option<CommittedOffset>,
) -> GroupRow {
    let last = memory.and_then(|memory| memory.written.get(&map.key));
    let start = map.target_start.unwrap_or(TargetOffset(0));
    let translate = |offset| map.map.translate(SourceOffset(offset), map.extent, start);
    let mut row = GroupRow {
        link: setup.name.clone(),
        group: group.to_owned(),
        topic: map.key.topic.clone(),
        target_topic: map.target_topic.clone(),
        partition: map.key.partition,
        source: source.clone().flatten().map(|committed| committed.offset),
        translated: None,
        target: target.as_ref().map(|committed| committed.offset),
        state: GroupState::Unknown,
        written_at_ms: memory.map(|memory| memory.at_ms),
        detail: None,
    };
    let taken_over = |row: GroupRow, detail: &str| {
        let detail = Some(detail.to_owned());
        GroupRow { state: GroupState::TakenOver, detail, ..row }
    };
    let found = row.source.map(translate);
    row.translated = found.and_then(|found| match found {
        Translation::Exact(at) | Translation::Next(at) | Translation::End(at) | Translation::Clamped(at) => Some(at.0),
        Translation::NotYet(_) => None,
    });
    if memory.is_some_and(|memory| memory.taken_over_at_ms.is_some()) {
        return taken_over(row, "somebody uses it on the target");
    }
    let source = match source {
        None => {
            let detail = last.map(|last| format!("written last for source offset {}", last.source));
            return GroupRow { detail, ..row };
        }
        Some(None) => return GroupRow { state: GroupState::Deleted, ..row },
        Some(Some(source)) => source,
    };
    let seen = Seen { source: position(source), mirror: found, target: target.map(position) };
    match step(&seen, last, false) {
        Step::Nothing => GroupRow { state: GroupState::Synced, ..row },
        Step::Commit(..) => GroupRow { state: GroupState::Due, ..row },
        Step::Wait(wait) => GroupRow { state: GroupState::Waiting, detail: Some(wait.to_string()), ..row },
        Step::TakenOver(_) => taken_over(row, "the link did not write what is on the target"),
    }
}

/// Has the positions of a group brought again that was taken over: what it has on the target now counts as written by
/// the link, so the next round replaces it.
pub async fn bring_again(setup: &LinkSetup, group: &str) -> Result<(), Failure> {
    let taken = Memory::take(setup).await.map_err(|error| failure(&error))?;
    let Some(mut memory) = taken else { return Err(busy()) };
    let Some(known) = memory.of(group).filter(|known| known.taken_over_at_ms.is_some()) else {
        let what = format!("group {group} was not taken over on the target");
        return Err(Failure::new(FailureKind::Difference, what).advise("see `twinlog groups`"));
    };
    let here = setup.target.group_offsets(group).await.map_err(|error| out_of_reach(&error))?;
    let maps = snapshot(setup, Wanted { partitions: Box::new(|_| true), whole: false }).await?;
    let mut brought = GroupMemory { taken_over_at_ms: None, ..known.clone() };
    brought.written.clear();
    for map in maps.into_iter().flat_map(|snapshot| snapshot.partitions) {
        let mirror = TopicPartition::new(map.target_topic.as_str(), map.key.partition);
        if let Some(Ok(committed)) = here.get(&mirror) {
            brought.written.insert(map.key, position(committed.clone()).given_up());
        }
    }
    let lease = Lease::for_ever();
    memory.write(&lease, BTreeMap::from([(group.to_owned(), brought)])).await.map_err(|error| failure(&error))
}

fn busy() -> Failure {
    Failure::new(FailureKind::Difference, "another instance writes to the link's topic of groups just now".to_owned())
        .advise("try again")
}
