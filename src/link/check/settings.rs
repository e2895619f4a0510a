//! Settings that would change bytes, refuse records or lose them.

use twinlog_client::Metadata;
use twinlog_core::mirror_settings::{Effect, Settings, harmful_settings};
use twinlog_core::report::Side;

use super::topics::{Present, Selected};
use super::{About, BrokerSettings, Checks, count, numbers, thousands};
use crate::mirrors::present::describe;
use crate::names;
use crate::supervisor::LinkSetup;

const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
/// No request above this is taken, whatever a topic allows.
const REQUEST_BYTES_MAX: &str = "socket.request.max.bytes";
/// With so many replicas two can be asked to be in sync, and one broker may be down.
const REPLICAS_SAFE: i64 = 3;

/// Looks at the settings of mirrors that are there and at what the ones to be made must take.
pub(super) async fn look(
    checks: &mut Checks,
    setup: &LinkSetup,
    selected: &Selected,
    present: &Present,
    metadata: &Metadata,
    brokers: &BrokerSettings,
) {
    let names = selected.mirrors.iter().map(|mirror| mirror.source_topic.as_str());
    let sources = describe(&setup.source, names).await;
    let own = [names::map_topic(&setup.name), names::state_topic(&setup.name)];
    let own: Vec<&str> = own.iter().map(String::as_str).filter(|name| metadata.topics.contains_key(*name)).collect();
    let named = present.topics.iter().map(String::as_str).chain(own.iter().copied());
    let targets = describe(&setup.target, named).await;
    let about = About(Some(Side::Target), "settings");
    let (mut looked_at, mut harmless) = (0, 0);
    for mirror in &selected.mirrors {
        let source = match sources.get(&mirror.source_topic) {
            Some(Ok(source)) => Some(source),
            Some(Err(error)) => {
                let to_do = "grant DescribeConfigs on it: a mirror gets the source's effective settings";
                checks.fail(About(Some(Side::Source), "settings"), error.to_string(), to_do);
                None
            }
            None => None,
        };
        match targets.get(&mirror.target_topic) {
            Some(Ok(target)) => {
                looked_at += 1;
                let replicas = replicas_of(metadata, &mirror.target_topic);
                harmless += usize::from(harmless_topic(checks, &mirror.target_topic, source, target, replicas));
            }
            Some(Err(error)) => checks.fail(about, error.to_string(), "grant DescribeConfigs on it"),
            None => {}
        }
    }
    if looked_at > 0 && harmless == looked_at {
        let mirrors = count(looked_at, "present mirror");
        checks.ok(about, format!("{mirrors}: nothing changes bytes, refuses records or drops them early"));
    }
    for name in own {
        match targets.get(name) {
            Some(Ok(settings)) => {
                harmless_topic(checks, name, None, settings, replicas_of(metadata, name));
            }
            Some(Err(error)) => checks.warn(about, error.to_string(), "grant DescribeConfigs on it"),
            None => {}
        }
    }
    batch_size(checks, selected, &sources, brokers);
}

fn replicas_of(metadata: &Metadata, topic: &str) -> Option<i16> {
    let partitions = &metadata.topics.get(topic)?.partitions;
    i16::try_from(partitions.iter().map(|partition| partition.replicas.len()).min()?).ok()
}

/// Whether nothing was found.
fn harmless_topic(
    checks: &mut Checks,
    topic: &str,
    source: Option<&Settings>,
    target: &Settings,
    replicas: Option<i16>,
) -> bool {
    let found = harmful_settings(source, target, replicas);
    for setting in &found {
        let subject = if setting.setting == MAX_MESSAGE_BYTES { "batch size" } else { "settings" };
        let (about, finding) = (About(Some(Side::Target), subject), format!("topic {topic} has {setting}"));
        match setting.effect {
            Effect::ChangesBytes => checks.fail(about, finding, setting.to_do()),
            _ => checks.warn(about, finding, setting.to_do()),
        }
    }
    found.is_empty()
}

/// Mirrors take the source's limit when they are made; what is left is the brokers' limit for a whole request.
fn batch_size(
    checks: &mut Checks,
    selected: &Selected,
    sources: &std::collections::BTreeMap<String, twinlog_client::Result<Settings>>,
    brokers: &BrokerSettings,
) {
    let about = About(Some(Side::Target), "batch size");
    let limit =
        |topic: &str| -> Option<i64> { sources.get(topic)?.as_ref().ok()?.get(MAX_MESSAGE_BYTES)?.parse().ok() };
    let limits = selected.mirrors.iter().map(|mirror| (limit(&mirror.source_topic), mirror.source_topic.as_str()));
    let Some((Some(largest), topic)) = limits.max() else { return };
    let request = numbers(brokers, REQUEST_BYTES_MAX).into_iter().min();
    let compared = format!("the source takes batches up to {} bytes ({topic})", thousands(largest));
    match request {
        Some(request) if request < largest => {
            let finding = format!("{compared}, the target's brokers requests up to {}", thousands(request));
            checks.fail(about, finding, format!("raise {REQUEST_BYTES_MAX} on the target's brokers above it"));
        }
        _ => checks.ok(about, format!("{compared}, and new mirrors, too; settings were compared, not stored batches")),
    }
}

/// How many replicas mirrors get.
pub(super) fn replicas(checks: &mut Checks, setup: &LinkSetup, target: &Metadata, brokers: &BrokerSettings) {
    let about = About(Some(Side::Target), "replicas");
    let asked = setup.config.replication_factor.map(i64::from);
    let Some(replicas) = effective_replicas(setup, brokers) else {
        let to_do = "set `replication_factor` of the link, or grant DescribeConfigs on the cluster";
        return checks.warn(about, "how many replicas mirrors get cannot be known", to_do);
    };
    let from = if asked.is_some() { "the link's `replication_factor`" } else { "the brokers' default" };
    let there = target.brokers.len();
    if usize::try_from(replicas).unwrap_or_default() > there {
        let finding = format!("{replicas} by {from}, and only {} there", count(there, "broker"));
        checks.fail(about, finding, "start the other brokers, or set a smaller `replication_factor`");
    } else if replicas < REPLICAS_SAFE {
        let finding = format!("{replicas} by {from}: min.insync.replicas stays 1, so a lost broker can lose records");
        checks.warn(about, finding, "set `replication_factor: 3` where there are three brokers");
    } else {
        checks.ok(about, format!("{replicas} by {from}, two of them in sync for each record"));
    }
}

pub(super) fn effective_replicas(setup: &LinkSetup, brokers: &BrokerSettings) -> Option<i64> {
    let asked = setup.config.replication_factor.map(i64::from);
    asked.or_else(|| numbers(brokers, "default.replication.factor").into_iter().max())
}
