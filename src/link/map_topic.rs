//! The map topic: made when it is not there, looked at when it is.
//!
//! What is in it cannot be had again, so it is made with the same care as a mirror, and compacted. It has a partition
//! for each lane at the least. It grows with the number of lanes, and never shrinks: records are written to the
//! partition of their lane, whatever their keys are.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use twinlog_client::admin::{ConfigEntry, ConfigResource, CreatedTopic, NewPartitions, NewTopic};
use twinlog_client::metadata::Topic;
use twinlog_client::{Cause, Cluster, Error, ErrorCode, Metadata, Outcome, Peer, Step};
use twinlog_core::ids::TopicId;
use twinlog_core::mirror_settings::{Settings, map_topic_settings};

use crate::mirrors::create::{await_shown, shows};
use crate::names;

/// How long the first calls to the target are tried again.
const PATIENCE: Duration = Duration::from_secs(20);
/// What its records live by. The other settings are those of whoever made it, and harmless.
const VITAL: [&str; 3] = ["cleanup.policy", "compression.type", "message.timestamp.type"];
/// Settings whose names every target knows.
const SETTINGS: [&str; 4] =
    ["compression.type", "message.timestamp.type", "min.insync.replicas", "unclean.leader.election.enable"];
/// Those that came (3.6) and went (4.0).
const BOUNDS: [&[&str]; 3] = [
    &["message.timestamp.after.max.ms", "message.timestamp.before.max.ms"],
    &["message.timestamp.difference.max.ms"],
    &[],
];
/// Before Kafka 3.4 the second one counts for plain producers, too.
const EXPIRATION: [&str; 2] = ["producer.id.expiration.ms", "transactional.id.expiration.ms"];

const OFFSETS_RETENTION: &str = "offsets.retention.minutes";
/// Kafka's default, where the brokers do not tell.
const OFFSETS_RETENTION_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);

/// After so long without a transaction a lane makes one, in ms, if its transactional id lives for long enough.
const KEEP_ALIVE_MS: i64 = 3_600_000;

/// Why the map topic cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapTopicError {
    /// The target could not be asked, or said no.
    #[error(transparent)]
    Client(#[from] Error),
    /// A setting would lose or change what is in it, or in the topic of claims.
    #[error(
        "the topic {topic} has {setting}={value}, which would lose or change what the link keeps in it; \
         set {setting}={wanted}"
    )]
    Setting {
        /// The map topic.
        topic: String,
        /// Name of the setting.
        setting: String,
        /// Its value.
        value: String,
        /// What it must be.
        wanted: String,
    },
    /// It, or partitions of it, were created and the brokers do not show them.
    #[error(
        "the topic {topic} was created or grown and does not appear with leaders on the target; are its brokers up?"
    )]
    NotShown {
        /// The map topic.
        topic: String,
    },
}

/// The map topic's id, after creating the topic if it is not there, or after checking it if it is. It is grown if it
/// has no room for so many lanes.
pub async fn ensure_map_topic(
    target: &Cluster,
    link: &str,
    lanes: u32,
    replication_factor: Option<i16>,
) -> Result<TopicId, MapTopicError> {
    let name = names::map_topic(link);
    let topic = ensure_topic(target, &name, lanes, replication_factor).await?;
    check_kept_settings(target, &name).await?;
    if !has_room(&topic, lanes) {
        grow_map_topic(target, link, lanes).await?;
    }
    Ok(topic.id_bytes())
}

/// Gives the map topic a partition for each of so many lanes, and waits until all of them have leaders. One that has
/// as many or more stays as it is.
pub(crate) async fn grow_map_topic(target: &Cluster, link: &str, lanes: u32) -> Result<(), MapTopicError> {
    let name = names::map_topic(link);
    let deadline = Instant::now() + PATIENCE;
    let there = target.retry(deadline, || target.refresh()).await?;
    let Some(topic) = find(target, &there, &name)? else { return Err(MapTopicError::NotShown { topic: name }) };
    if !has_room(topic, lanes) {
        target.retry(deadline, || grow(target, &name, lanes)).await?;
    }
    let wanted = usize::try_from(lanes).unwrap_or(usize::MAX);
    let metadata = await_shown(target, &BTreeMap::from([(name.clone(), wanted)])).await;
    let is_shown = metadata.is_some_and(|metadata| shows(&metadata, &name, wanted));
    if is_shown { Ok(()) } else { Err(MapTopicError::NotShown { topic: name }) }
}

fn has_room(topic: &Topic, lanes: u32) -> bool {
    usize::try_from(lanes).is_ok_and(|lanes| topic.partitions.len() >= lanes)
}

async fn grow(target: &Cluster, name: &str, lanes: u32) -> Result<(), Error> {
    let total = i32::try_from(lanes).unwrap_or(i32::MAX);
    let topics = [NewPartitions { topic: name.to_owned(), total }];
    match target.create_partitions(&topics, false).await?.remove(name) {
        Some(Ok(())) => {
            tracing::info!(topic = name, partitions = total, "Partitions added to the map.");
            Ok(())
        }
        // Grown by another instance, or by an earlier attempt whose answer was lost: what the brokers show decides.
        Some(Err(error)) if error.code() == Some(ErrorCode::INVALID_PARTITIONS) => Ok(()),
        Some(Err(error)) => Err(error),
        None => Err(error(target, Cause::Missing(name.to_owned()))),
    }
}

/// Makes the topic in which links claim their mirrors, if it is not there, and checks it.
pub(crate) async fn ensure_claims_topic(
    target: &Cluster,
    replication_factor: Option<i16>,
) -> Result<(), MapTopicError> {
    ensure_topic(target, names::CLAIMS_TOPIC, 1, replication_factor).await?;
    check_kept_settings(target, names::CLAIMS_TOPIC).await
}

/// A topic in which links keep something, as the brokers show it, after creating it if it is not there.
pub(crate) async fn ensure_topic(
    target: &Cluster,
    name: &str,
    partitions: u32,
    replication_factor: Option<i16>,
) -> Result<Topic, MapTopicError> {
    let deadline = Instant::now() + PATIENCE;
    let metadata = target.retry(deadline, || target.refresh()).await?;
    if find(target, &metadata, name)?.is_none() {
        target.retry(deadline, || create(target, name, partitions, replication_factor)).await?;
    }
    let metadata = match await_shown(target, &BTreeMap::from([(name.to_owned(), 1)])).await {
        Some(metadata) => metadata,
        None => target.refresh().await?,
    };
    let topic = find(target, &metadata, name)?.cloned();
    topic.ok_or_else(|| MapTopicError::NotShown { topic: name.to_owned() })
}

pub(crate) async fn check_kept_settings(target: &Cluster, name: &str) -> Result<(), MapTopicError> {
    let deadline = Instant::now() + PATIENCE;
    check_settings(name, &target.retry(deadline, || settings(target, name)).await?)
}

/// How long the target's brokers remember what a lane writes by: the smallest values of all brokers that answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// After so long they forget a producer, in ms.
    pub producer_expiration_ms: i64,
    /// After so long without a transaction a lane makes an empty one, in ms: every hour, or four times in the time
    /// after which they forget a transactional id.
    pub keep_alive_ms: i64,
    /// How long the positions of a group are kept that nobody is a member of.
    pub offsets_retention: Duration,
}

/// Asks all brokers of the target.
pub async fn memory(target: &Cluster) -> Result<Memory, Error> {
    let metadata = target.metadata().await?;
    let brokers: Vec<_> = metadata.brokers.keys().map(|node| ConfigResource::Broker(*node)).collect();
    let (mut answers, mut failure) = (Vec::new(), None);
    for (_, settings) in target.describe_configs(&brokers).await? {
        match settings {
            Ok(settings) => answers.push(settings),
            Err(error) => failure = Some(error),
        }
    }
    // Of the first of these settings that a broker knows.
    let smallest = |names: &[&str]| {
        let of = |settings: &BTreeMap<String, ConfigEntry>| {
            names.iter().find_map(|name| settings.get(*name)?.value.as_ref()?.parse::<i64>().ok())
        };
        answers.iter().filter_map(of).min()
    };
    let [_, transactional_id] = EXPIRATION;
    match (smallest(&EXPIRATION), smallest(&[transactional_id])) {
        (Some(producer_expiration_ms), Some(expiration_ms)) => {
            let minutes = smallest(&[OFFSETS_RETENTION]).and_then(|minutes| u64::try_from(minutes).ok());
            Ok(Memory {
                producer_expiration_ms,
                keep_alive_ms: KEEP_ALIVE_MS.min(expiration_ms / 4),
                offsets_retention: minutes
                    .map_or(OFFSETS_RETENTION_DEFAULT, |minutes| Duration::from_secs(minutes * 60)),
            })
        }
        (producer, _) => {
            let name = EXPIRATION[usize::from(producer.is_some())];
            Err(failure.unwrap_or_else(|| error(target, Cause::Missing(name.to_owned()))))
        }
    }
}

/// The topic, if it is there and can be described.
fn find<'a>(target: &Cluster, metadata: &'a Metadata, name: &str) -> Result<Option<&'a Topic>, Error> {
    match metadata.topics.get(name) {
        Some(topic) if topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => Ok(None),
        Some(topic) if !topic.error.is_ok() => {
            let item = Some(format!("topic {name}"));
            Err(error(target, Cause::Code { code: topic.error, item, message: None }))
        }
        found => Ok(found),
    }
}

async fn create(target: &Cluster, name: &str, partitions: u32, replication_factor: Option<i16>) -> Result<(), Error> {
    let topic = |bounds: &[&str], replicas| {
        let known = SETTINGS.iter().chain(bounds).map(|name| (*name).to_owned()).collect();
        NewTopic {
            name: name.to_owned(),
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            replication_factor: replication_factor.unwrap_or(-1),
            configs: map_topic_settings(&known, replicas),
        }
    };
    // A trial tells which names the target knows, since no topic is there to be asked, and how many replicas it gives.
    let mut bounds = &BOUNDS[..];
    let tried = loop {
        let tried = created(target, name, topic(bounds[0], replication_factor), true).await;
        match tried {
            Err(error) if error.code() == Some(ErrorCode::INVALID_CONFIG) && bounds.len() > 1 => bounds = &bounds[1..],
            tried => break tried?,
        }
    };
    let replicas = replication_factor.or_else(|| tried?.replication_factor);
    if created(target, name, topic(bounds[0], replicas), false).await?.is_some() {
        tracing::info!(topic = name, partitions, "Topic for the link's state created.");
    }
    Ok(())
}

/// Creates the topic, or tries to; none where it is there: made by another instance, or by an earlier attempt whose
/// answer was lost.
async fn created(target: &Cluster, name: &str, topic: NewTopic, is_trial: bool) -> Result<Option<CreatedTopic>, Error> {
    match target.create_topics(&[topic], is_trial).await?.remove(name) {
        Some(Ok(created)) => Ok(Some(created)),
        Some(Err(error)) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => Ok(None),
        Some(Err(error)) => Err(error),
        None => Err(error(target, Cause::Missing(name.to_owned()))),
    }
}

async fn settings(target: &Cluster, name: &str) -> Result<Settings, Error> {
    let resource = ConfigResource::Topic(name.to_owned());
    let mut results = target.describe_configs(std::slice::from_ref(&resource)).await?;
    let entries = results.remove(&resource).unwrap_or_else(|| Ok(BTreeMap::new()))?;
    Ok(entries.into_iter().map(|(name, entry)| (name, entry.value.unwrap_or_default())).collect())
}

fn check_settings(topic: &str, found: &Settings) -> Result<(), MapTopicError> {
    let wanted = map_topic_settings(&found.keys().cloned().collect(), None);
    for name in VITAL {
        let (Some(value), Some(wanted)) = (found.get(name), wanted.get(name)) else { continue };
        if value != wanted {
            let (setting, value, wanted) = (name.to_owned(), value.clone(), wanted.clone());
            return Err(MapTopicError::Setting { topic: topic.to_owned(), setting, value, wanted });
        }
    }
    Ok(())
}

fn error(target: &Cluster, cause: Cause) -> Error {
    let peer = Peer { side: target.side(), node: None, address: "".into() };
    Error::new(peer, Step::Api(32), Outcome::Answered, cause)
}
