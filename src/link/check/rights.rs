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

    let about = About(Some(Side::Target), "rights");
    let missing = selected.missing(present).count() + to_be_made.len();
    match setup.target.describe_cluster().await.map(|rights| rights.operations) {
        Ok(Some(operations)) => {
            if missing > 0 && !operations.allows(Operation::Create) {
                let topics = count(missing, "topic");
                let finding = format!("{topics} must be created, and Create is not allowed on the cluster");
                let to_do = "grant Create on the cluster, or on these topics, of which no broker tells beforehand";
                checks.warn(about, finding, to_do);
            } else {
                checks.ok(about, "topics may be created");
            }
            if !operations.allows(Operation::DescribeConfigs) {
                let to_do = "grant DescribeConfigs on the cluster: producer.id.expiration.ms must be known";
                checks.fail(about, "the brokers' settings may not be read", to_do);
            }
        }
        Ok(None) => checks.warn(about, "the cluster does not tell what is allowed on it", UNKNOWN),
        Err(error) => checks.warn(about, format!("what is allowed cannot be known: {error}"), UNKNOWN),
    }
}

/// Where brokers keep groups. It is made when somebody first looks for a coordinator, which must not be us.
const GROUPS: &str = "__consumer_offsets";

/// Instances of a link are members of a group.
async fn on_group(checks: &mut Checks, setup: &LinkSetup, target: &Metadata) {
    let about = About(Some(Side::Target), "group");
    let group = names::group(&setup.name);
    if !target.topics.contains_key(GROUPS) {
        let finding = format!("whether Read is allowed on group {group} cannot be known before the target has a group");
        return checks.warn(about, finding, UNKNOWN);
    }
    let to_do = format!("grant Read on group {group}: by it the link's instances share the lanes");
    match setup.target.group_operations(&group).await {
        Ok(Some(operations)) if operations.allows(Operation::Read) => {
            checks.ok(about, format!("Read on group {group}"))
        }
        Ok(Some(_)) => checks.fail(about, format!("Read is not allowed on group {group}"), to_do),
        Err(error) if error.code() == Some(ErrorCode::GROUP_AUTHORIZATION_FAILED) => {
            checks.fail(about, format!("group {group} may not be seen"), to_do);
        }
        Ok(None) => checks.warn(about, format!("the target does not tell what is allowed on group {group}"), UNKNOWN),
        Err(error) => {
            checks.warn(about, format!("what is allowed on group {group} cannot be known: {error}"), UNKNOWN);
        }
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
    let mut lacking: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (topic, answer) in answers {
        match answer {
            Ok(Some(operations)) => {
                for (operation, name) in wanted {
                    if !operations.allows(*operation) {
                        lacking.entry(name).or_default().push(topic);
                    }
                }
            }
            Err(error) if error.code() == Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED) => {
                lacking.entry("Describe").or_default().push(topic);
            }
            Ok(None) | Err(_) => unknown.push(topic.as_str()),
        }
    }
    let right = wanted.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    if lacking.is_empty() && unknown.is_empty() {
        checks.ok(about, format!("{right} on {}", count(answers.len(), "topic")));
    }
    if !unknown.is_empty() {
        let topics = some_of(unknown.into_iter());
        checks.warn(about, format!("what is allowed cannot be known: {topics}"), UNKNOWN);
    }
    for (name, topics) in lacking {
        let topics = some_of(topics.into_iter());
        checks.fail(about, format!("{name} is not allowed: {topics}"), format!("grant {name} on them"));
    }
}
