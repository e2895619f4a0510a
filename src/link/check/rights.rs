//! What the brokers' authorizers say that twinlog may do. Where they do not tell, it is called unknown.

use std::collections::BTreeMap;

use twinlog_client::admin::{Operation, Operations};
use twinlog_client::{Cluster, Error, ErrorCode, Metadata};
use twinlog_core::report::Side;

use super::topics::{Present, Selected};
use super::{About, Checks, count, some_of};
use crate::names;
use crate::supervisor::LinkSetup;

/// Rights with their names in ACLs.
type Wanted = &'static [(Operation, &'static str)];

/// Topics by the name of the right that is not there.
type Lacking = BTreeMap<&'static str, Vec<String>>;

/// On each source topic.
const SOURCE: Wanted =
    &[(Operation::Read, "Read"), (Operation::Describe, "Describe"), (Operation::DescribeConfigs, "DescribeConfigs")];
/// On each mirror, on the link's own topics and on the topic of claims. Read, since the mirror's own log says how far
/// the copy is.
const TARGET: Wanted = &[
    (Operation::Read, "Read"),
    (Operation::Write, "Write"),
    (Operation::Describe, "Describe"),
    (Operation::DescribeConfigs, "DescribeConfigs"),
    (Operation::Alter, "Alter"),
];

pub(super) async fn source(checks: &mut Checks, setup: &LinkSetup, selected: &Selected) {
    let topics: Vec<String> = selected.mirrors.iter().map(|mirror| mirror.source_topic.clone()).collect();
    on_topics(checks, Side::Source, &setup.source, &topics, SOURCE).await;
}

pub(super) async fn target(
    checks: &mut Checks,
    setup: &LinkSetup,
    selected: &Selected,
    present: &Present,
    target: &Metadata,
) {
    let mut topics: Vec<String> = present.topics.iter().cloned().collect();
    let own = [names::map_topic(&setup.name), names::state_topic(&setup.name), names::CLAIMS_TOPIC.to_owned()];
    let (there, to_be_made): (Vec<_>, Vec<_>) = own.into_iter().partition(|name| target.topics.contains_key(name));
    topics.extend(there);
    on_topics(checks, Side::Target, &setup.target, &topics, TARGET).await;
    on_group(checks, setup, target).await;

    let missing = selected.missing(present).map(|mirror| mirror.target_topic.clone()).chain(to_be_made).collect();
    on_missing(checks, &setup.target, missing).await;
}

/// Topics that do not exist yet, each of which is to be made and written to.
async fn on_missing(checks: &mut Checks, target: &Cluster, topics: Vec<String>) {
    let about = About(Some(Side::Target), "rights");
    if topics.is_empty() {
        return;
    }
    let mut lacking = Lacking::new();
    let wanted = TARGET.iter().chain(&[(Operation::Create, "Create")]);
    for (operation, name) in wanted.clone() {
        match target.denied(*operation, &topics).await {
            Ok(denied) if denied.is_empty() => {}
            Ok(denied) => {
                lacking.insert(name, denied.into_iter().collect());
            }
            Err(error) => {
                let finding = format!("whether {name} is allowed on topics to be made cannot be known: {error}");
                checks.warn(about, finding, UNKNOWN);
            }
        }
    }
    if lacking.is_empty() {
        checks.ok(about, format!("{} on {} to be made", names_of(wanted), count(topics.len(), "topic")));
    }
    name_lacking(checks, about, lacking);
}

/// Where brokers keep groups. It is made when somebody first looks for a coordinator, which must not be us.
const GROUPS: &str = "__consumer_offsets";

/// Instances of a link are members of a group.
async fn on_group(checks: &mut Checks, setup: &LinkSetup, target: &Metadata) {
    let about = About(Some(Side::Target), "group");
    let group = names::group(&setup.name);
    if !target.topics.contains_key(GROUPS) {
        let finding = format!(
            "whether Read is allowed on group {group} cannot be known before the target has a group, or without \
             Describe on topic {GROUPS}"
        );
        return checks.warn(about, finding, UNKNOWN);
    }
    let to_do = format!("grant Read on group {group}: by it the link's instances share the lanes");
    match setup.target.group_operations(&group).await {
        Ok(Some(operations)) if operations.allows(Operation::Read) => {
            checks.ok(about, format!("Read on group {group}"))
        }
        Ok(Some(_)) => checks.fail(about, format!("Read is not allowed on group {group}"), to_do),
        Err(error) if error.code() == Some(ErrorCode::GROUP_AUTHORIZATION_FAILED) => {
            checks.fail(about, format!("Read is not allowed on group {group}"), to_do);
        }
        Ok(None) => checks.warn(about, format!("the target does not tell what is allowed on group {group}"), UNKNOWN),
        Err(error) => {
            checks.warn(about, format!("what is allowed on group {group} cannot be known: {error}"), UNKNOWN);
        }
    }
}

/// Groups whose rights are looked at: each is a question of its own.
const GROUPS_MAX: usize = 100;

/// Groups whose positions are to be brought to the target.
pub(super) async fn on_groups(checks: &mut Checks, setup: &LinkSetup, target: &Metadata) {
    if setup.config.groups.are_off() {
        return;
    }
    let about = About(Some(Side::Source), "groups");
    let groups: Vec<String> = match setup.source.list_groups().await {
        Ok(groups) => groups.into_iter().filter(|group| setup.config.groups.take(group)).collect(),
        Err(error) => {
            let to_do = "start its brokers; until then no group's position is brought to the target";
            return checks.warn(about, format!("groups cannot be listed: {error}"), to_do);
        }
    };
    if groups.is_empty() {
        let to_do = "nothing, if no position is to be brought to the target; else grant Describe on the groups";
        checks.warn(about, "there is no consumer group, or none that may be described", to_do);
    } else {
        checks.ok(about, format!("{} whose positions are brought to the target", count(groups.len(), "group")));
    }
    let groups: Vec<&str> = groups.iter().map(String::as_str).take(GROUPS_MAX).collect();
    // Who may describe the cluster has them listed, and may not read their positions for that.
    let lacking = forbidden(&setup.source, &groups, Operation::Describe).await;
    name_groups(checks, Side::Source, "Describe", lacking);
    // Without that topic nobody has committed anything there, and to ask would make it.
    if target.topics.contains_key(GROUPS) {
        let lacking = forbidden(&setup.target, &groups, Operation::Read).await;
        name_groups(checks, Side::Target, "Read", lacking);
    }
}

/// The groups with which this may not be done.
async fn forbidden<'a>(cluster: &Cluster, groups: &[&'a str], operation: Operation) -> Vec<&'a str> {
    let mut lacking = Vec::new();
    for group in groups {
        let is_forbidden = match cluster.group_operations(group).await {
            Ok(operations) => operations.is_some_and(|operations| !operations.allows(operation)),
            Err(error) => error.code() == Some(ErrorCode::GROUP_AUTHORIZATION_FAILED),
        };
        if is_forbidden {
            lacking.push(*group);
        }
    }
    lacking
}

fn name_groups(checks: &mut Checks, side: Side, right: &str, groups: Vec<&str>) {
    if !groups.is_empty() {
        let finding = format!("{right} is not allowed on groups: {}", some_of(groups.into_iter()));
        let to_do = format!("grant {right} on them, or leave them out by `groups.exclude`");
        checks.fail(About(Some(side), "groups"), finding, to_do);
    }
}

const UNKNOWN: &str = "nothing: if a right is missing, `run` names it";

async fn on_topics(checks: &mut Checks, side: Side, cluster: &Cluster, topics: &[String], wanted: Wanted) {
    let about = About(Some(side), "rights");
    if topics.is_empty() {
        return;
    }
    match cluster.topic_operations(topics).await {
        Ok(answers) => judge(checks, about, &answers, wanted),
        Err(error) => checks.warn(about, format!("what is allowed on topics cannot be known: {error}"), UNKNOWN),
    }
}

fn judge(
    checks: &mut Checks,
    about: About,
    answers: &BTreeMap<String, Result<Option<Operations>, Error>>,
    wanted: Wanted,
) {
    let mut unknown = Vec::new();
    let mut lacking = Lacking::new();
    let mut lacks = |name, topic: &str| lacking.entry(name).or_default().push(topic.to_owned());
    for (topic, answer) in answers {
        match answer {
            Ok(Some(operations)) => {
                for (operation, name) in wanted {
                    if !operations.allows(*operation) {
                        lacks(name, topic);
                    }
                }
            }
            Err(error) if error.code() == Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED) => lacks("Describe", topic),
            Ok(None) | Err(_) => unknown.push(topic.as_str()),
        }
    }
    if lacking.is_empty() && unknown.is_empty() {
        checks.ok(about, format!("{} on {}", names_of(wanted.iter()), count(answers.len(), "topic")));
    }
    if !unknown.is_empty() {
        let topics = some_of(unknown.into_iter());
        checks.warn(about, format!("what is allowed cannot be known: {topics}"), UNKNOWN);
    }
    name_lacking(checks, about, lacking);
}

fn name_lacking(checks: &mut Checks, about: About, lacking: Lacking) {
    for (name, topics) in lacking {
        let topics = some_of(topics.iter().map(String::as_str));
        checks.fail(about, format!("{name} is not allowed: {topics}"), format!("grant {name} on them"));
    }
}

fn names_of<'a>(wanted: impl Iterator<Item = &'a (Operation, &'static str)>) -> String {
    wanted.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}
