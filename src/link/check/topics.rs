//! What the configuration takes from the source, and what is on the target under those names already.

use std::collections::{BTreeMap, BTreeSet};

use twinlog_client::admin::{IsolationLevel, OffsetAt, TopicPartition};
use twinlog_client::{Cluster, Error, ErrorCode, Metadata};
use twinlog_core::claims::ClaimedTopic;
use twinlog_core::config::ExistingTopics;
use twinlog_core::halt::Halt;
use twinlog_core::report::Side;
use twinlog_core::topics::{Mirror, NameRefusal};

use super::{About, Checks, count, some_of};
use crate::claims;
use crate::map_reader::MapReader;
use crate::names;
use crate::state::look::look;
use crate::supervisor::LinkSetup;

/// What is to be mirrored.
#[derive(Debug, Default)]
pub(super) struct Selected {
    pub(super) mirrors: Vec<Mirror>,
}

impl Selected {
    /// The mirrors that are not on the target, given those that are.
    pub(super) fn missing<'a>(&'a self, present: &'a Present) -> impl Iterator<Item = &'a Mirror> {
        self.mirrors.iter().filter(|mirror| !present.topics.contains(&mirror.target_topic))
    }
}

/// What is on the target already.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// Target topics of the selected mirrors.
    pub(super) topics: BTreeSet<String>,
}

/// Applies the rules to the source's topics.
pub(super) fn select(checks: &mut Checks, setup: &LinkSetup, source: &Metadata) -> Selected {
    let selection = setup.config.topics.select(&setup.config.source, source.topics.keys().map(String::as_str));
    let about = About(Some(Side::Source), "include");
    for include in &selection.unmatched {
        let finding = format!("`{include}` matches no topic that may be described");
        checks.warn(about, finding, "create the topic, correct the include, or grant Read and DescribeConfigs on it");
    }
    for refused in &selection.refused {
        let to_do = match refused.why {
            NameRefusal::Collision { .. } => "exclude all but one, or change `rename` so that the names differ",
            _ => "change `rename`, or exclude the topic",
        };
        checks.fail(About(None, "names"), refused.to_string(), to_do);
    }
    let of = |mirror: &Mirror| source.topics.get(&mirror.source_topic).map_or(0, |topic| topic.partitions.len());
    let partitions = selection.mirrors.iter().map(of).sum();
    let topics = count(selection.mirrors.len(), "topic");
    let finding = format!("{topics} with {} selected", count(partitions, "partition"));
    match (selection.mirrors.is_empty(), selection.refused.is_empty()) {
        (true, true) => checks.warn(about, finding, "nothing is copied before a topic matches"),
        (true, false) => {}
        (false, _) => checks.ok(about, finding),
    }
    let leaderless = |mirror: &&Mirror| {
        let topic = source.topics.get(&mirror.source_topic);
        topic.is_some_and(|topic| topic.partitions.iter().any(|partition| partition.leader.is_none()))
    };
    for mirror in selection.mirrors.iter().filter(leaderless) {
        let finding = format!("topic {} has partitions without a leader", mirror.source_topic);
        checks.warn(About(Some(Side::Source), "leaders"), finding, "start the brokers that hold them");
    }
    Selected { mirrors: selection.mirrors }
}

/// Looks at target topics that are there, and whether this link may write to them.
pub(super) async fn present(
    checks: &mut Checks,
    setup: &LinkSetup,
    siblings: &[LinkSetup],
    selected: &Selected,
    source: Option<&Metadata>,
    target: &Metadata,
) -> Present {
    let about = About(Some(Side::Target), "existing");
    let is_there =
        |name: &str| target.topics.get(name).is_some_and(|topic| topic.error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let names = selected.mirrors.iter().map(|mirror| mirror.target_topic.clone());
    let topics: BTreeSet<String> = names.filter(|name| is_there(name)).collect();
    let present = Present { topics };
    claimed(checks, setup, siblings, selected, target).await;
    let Some(own) = own(checks, setup, source, target).await else { return present };
    let records = records(&setup.target, target, &present.topics).await;
    let (mut mirrors, mut empty) = (0, 0);
    for Mirror { source_topic, target_topic } in &selected.mirrors {
        let there = target.topics.get(target_topic).filter(|_| present.topics.contains(target_topic));
        let (Some(there), own) = (there, own.get(source_topic).filter(|(name, _)| name == target_topic)) else {
            if own.get(source_topic).is_some_and(|(name, _)| name == target_topic) {
                let finding = format!("topic {target_topic} was a mirror of this link and is gone");
                let to_do = "bring back its brokers; if it was deleted on purpose, delete the link's map topic, too";
                checks.fail(about, finding, to_do);
            }
            continue;
        };
        let id = there.id_bytes();
        match (own, records.get(target_topic)) {
            (Some((_, own)), _) if *own == id => mirrors += 1,
            (Some(_), _) => {
                let finding = format!("topic {target_topic}: {}", Halt::TargetRecreated);
                checks.fail(about, finding, "see there");
            }
            (None, Some(Ok(0)) | None) => empty += 1,
            (None, Some(Ok(records))) => foreign(checks, setup, target_topic, *records),
            (None, Some(Err(error))) => {
                let finding = format!("topic {target_topic} is there, and whether it is empty is not known: {error}");
                checks.warn(about, finding, "grant Describe on it");
            }
        }
        let partitions = |metadata: &Metadata, name: &str| metadata.topics.get(name).map(|t| t.partitions.len());
        let there = source.and_then(|source| partitions(source, source_topic));
        let here = partitions(target, target_topic);
        if here > there && there.is_some() {
            let numbers = (here.unwrap_or_default(), there.unwrap_or_default());
            let finding = format!("topic {target_topic} has {} partitions, the source's {}", numbers.0, numbers.1);
            let to_do = "nothing for the copy; but clients that choose partitions by key would choose others here";
            checks.warn(about, finding, to_do);
        }
    }
    let finding = format!("{} of this link, {} to begin with", count(mirrors, "mirror"), count(empty, "empty topic"));
    checks.ok(about, finding);
    present
}

/// Mirrors that other links have claimed, or would claim.
async fn claimed(
    checks: &mut Checks,
    setup: &LinkSetup,
    siblings: &[LinkSetup],
    selected: &Selected,
    target: &Metadata,
) {
    let about = About(Some(Side::Target), "claims");
    let topic = |mirror: &Mirror| {
        let found = target.topics.get(&mirror.target_topic)?;
        Some(ClaimedTopic::new(&mirror.target_topic, found.id_bytes()))
    };
    let topics: BTreeMap<&str, ClaimedTopic> =
        selected.mirrors.iter().filter_map(|mirror| Some((mirror.target_topic.as_str(), topic(mirror)?))).collect();
    match claims::owners(&setup.target, &setup.name, &topics).await {
        Ok(owners) => {
            let others: Vec<_> = owners.iter().filter(|(_, owner)| **owner != setup.name).collect();
            if others.is_empty() {
                checks.ok(about, "no other link has claimed a mirror of this one");
            }
            for (name, owner) in others {
                let to_do = "rename this link's mirror, or exclude the topic";
                checks.fail(about, format!("topic {name} is a mirror of link {owner}"), to_do);
            }
            let unclaimed = selected.mirrors.iter().map(|mirror| mirror.target_topic.as_str());
            let unclaimed: BTreeSet<&str> = unclaimed.filter(|name| !owners.contains_key(name)).collect();
            contested(checks, setup, siblings, &unclaimed, target).await;
        }
        Err(error) => {
            let finding = format!("topic {} cannot be read: {error}", names::CLAIMS_TOPIC);
            checks.fail(about, finding, "grant Read, Write and Describe on it, or start its brokers");
        }
    }
}

/// Mirrors that nobody has claimed, and that other links of the same configuration would have, too.
async fn contested(
    checks: &mut Checks,
    setup: &LinkSetup,
    siblings: &[LinkSetup],
    unclaimed: &BTreeSet<&str>,
    target: &Metadata,
) {
    let about = About(Some(Side::Target), "claims");
    for sibling in siblings.iter().filter(|sibling| sibling.name != setup.name) {
        let (theirs, source) = tokio::join!(sibling.target.refresh(), sibling.source.refresh());
        let theirs = theirs.map(|theirs| theirs.cluster_id.is_some() && theirs.cluster_id == target.cluster_id);
        let of_both: BTreeSet<String> = match (theirs, source) {
            (Ok(false), _) => continue,
            (Ok(true), Ok(source)) => {
                let (topics, cluster) = (&sibling.config.topics, &sibling.config.source);
                let mirrors = topics.select(cluster, source.topics.keys().map(String::as_str)).mirrors.into_iter();
                let names = mirrors.map(|mirror| mirror.target_topic);
                names.filter(|name| unclaimed.contains(name.as_str())).collect()
            }
            (Err(error), _) | (_, Err(error)) => {
                let finding = format!("whether link {} has mirrors in common cannot be known: {error}", sibling.name);
                checks.warn(about, finding, "make its clusters reachable and check again");
                continue;
            }
        };
        if !of_both.is_empty() {
            let names = some_of(of_both.iter().map(String::as_str));
            let finding = format!("link {} has the same mirrors: {names}", sibling.name);
            let to_do = "let one of the two exclude or rename them: the link that is started first gets them";
            checks.fail(about, finding, to_do);
        }
    }
}

fn foreign(checks: &mut Checks, setup: &LinkSetup, topic: &str, records: u64) {
    let about = About(Some(Side::Target), "existing");
    match setup.config.existing {
        ExistingTopics::Append => {
            let finding = format!("topic {topic} holds {records} records that are not this link's");
            checks.warn(about, finding, "nothing, if the copy is to come behind them (`existing: append`)");
        }
        ExistingTopics::Refuse => {
            let finding = format!("topic {topic} holds {records} records that are not this link's");
            let to_do = "set `existing: append` to copy behind them, or rename the mirror";
            checks.fail(about, finding, to_do);
        }
    }
}

/// Name and topic id of each mirror that the map knows, by source topic; none if the map cannot be read or used.
async fn own(
    checks: &mut Checks,
    setup: &LinkSetup,
    source: Option<&Metadata>,
    target: &Metadata,
) -> Option<BTreeMap<String, (String, [u8; 16])>> {
    let about = About(Some(Side::Target), "map");
    let name = names::map_topic(&setup.name);
    let reader = async {
        let Some(mut reader) = MapReader::open(setup, Box::new(|_| false)).await? else { return Ok(None) };
        reader.read().await?;
        Ok(Some(reader))
    };
    let reader = match reader.await {
        Ok(Some(reader)) => reader,
        Ok(None) => {
            checks.ok(about, format!("the link has never run: topic {name} will be created"));
            return Some(BTreeMap::new());
        }
        Err(failure) => {
            let failure: twinlog_core::report::Failure = failure;
            let to_do = failure.advice.first().cloned().unwrap_or_default();
            checks.fail(about, failure.what, to_do);
            return None;
        }
    };
    lanes(checks, setup).await;
    if let Some(link) = reader.link() {
        let cluster = |metadata: Option<&Metadata>| metadata.and_then(|metadata| metadata.cluster_id.clone());
        for (side, recorded, now) in
            [("source", &link.source_cluster, cluster(source)), ("target", &link.target_cluster, cluster(Some(target)))]
        {
            if let Some(now) = now.filter(|now| now != recorded) {
                let finding =
                    format!("topic {name} belongs to a link whose {side} is cluster {recorded}, this is {now}");
                checks.fail(about, finding, "give the link another name, or correct the addresses");
            }
        }
    }
    let mirrors =
        reader.heads().map(|(key, head)| (key.topic.clone(), (head.target_topic.clone(), head.target_topic_id)));
    Some(mirrors.collect())
}

/// Of a link that has run, its state says how many lanes it has.
async fn lanes(checks: &mut Checks, setup: &LinkSetup) {
    let about = About(Some(Side::Target), "lanes");
    match look(setup).await {
        Ok(state) => {
            let configured = u32::from(setup.config.lanes);
            let found = state.and_then(|state| state.lanes()).map(|lanes| lanes.wanted);
            if let Some(found) = found.filter(|found| *found != configured) {
                let finding = format!("the link has {found}; `lanes: {configured}` counts only for a new link");
                checks.ok(about, finding);
            }
        }
        Err(failure) => checks.fail(about, failure.what, failure.advice.first().cloned().unwrap_or_default()),
    }
}

/// How many records each topic holds, markers included.
async fn records(
    target: &Cluster,
    metadata: &Metadata,
    topics: &BTreeSet<String>,
) -> BTreeMap<String, Result<u64, Error>> {
    let partitions = |topic: &String| {
        let found = metadata.topics.get(topic).map_or(&[][..], |found| &found.partitions);
        found.iter().map(|partition| TopicPartition::new(topic.as_str(), partition.index)).collect::<Vec<_>>()
    };
    let all: Vec<TopicPartition> = topics.iter().flat_map(partitions).collect();
    let list = async |at: OffsetAt| {
        let asked = all.iter().map(|partition| (partition.clone(), at)).collect();
        target.list_offsets(&asked, IsolationLevel::ReadUncommitted).await
    };
    let (starts, ends) = match (list(OffsetAt::Earliest).await, list(OffsetAt::Latest).await) {
        (Ok(starts), Ok(ends)) => (starts, ends),
        (Err(error), _) | (_, Err(error)) => {
            return topics.iter().map(|topic| (topic.clone(), Err(error.clone()))).collect();
        }
    };
    let mut records: BTreeMap<String, Result<u64, Error>> = BTreeMap::new();
    for partition in all {
        let total = records.entry(partition.topic.clone()).or_insert(Ok(0));
        match (starts.get(&partition), ends.get(&partition)) {
            (Some(Ok(start)), Some(Ok(end))) => {
                let len = end.offset.unwrap_or_default() - start.offset.unwrap_or_default();
                if let Ok(total) = total {
                    *total += u64::try_from(len).unwrap_or_default();
                }
            }
            (Some(Err(error)), _) | (_, Some(Err(error))) => *total = Err(error.clone()),
            _ => {}
        }
    }
    records
}
