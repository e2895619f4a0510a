//! One Fetch request to one broker: the hot path of the source, and every other log that is read.

mod diverging;

use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition as Wanted, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use twinlog_client::admin::IsolationLevel;
use twinlog_client::{Cause, Connection, Error, Outcome, Result, Step};
use twinlog_core::ids::TopicId;
use twinlog_wire::fetch_response::{FetchPartition, FetchResponse, FetchTopic as Answered};
use twinlog_wire::topic::Topic;
use uuid::Uuid;

use crate::in_order::InOrder;

/// The last version whose answers [`FetchResponse`] reads.
const VERSION_MAX: i16 = 17;
/// From here on topics are named by id (KIP-516).
const TOPIC_ID_SINCE: i16 = 13;
/// From here on the epoch before the position can be given (KIP-595).
pub(crate) const LAST_EPOCH_SINCE: i16 = 12;

/// From here on the reader's rack can be given (KIP-392).
const RACK_SINCE: i16 = 11;

/// A partition to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    /// Topic.
    pub(crate) topic: String,
    /// Its id, all zero where the broker has none.
    pub(crate) topic_id: TopicId,
    /// Partition.
    pub(crate) partition: i32,
    /// Offset to fetch from.
    pub(crate) from: i64,
    /// Leader epoch of the batch before it, or -1.
    pub(crate) last_epoch: i32,
}

/// Limits of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of the whole answer; the first batch comes whole all the same.
    pub(crate) max_bytes: i32,
    /// Bytes of one partition.
    pub(crate) partition_max_bytes: i32,
    /// How long the broker may wait for the first byte.
    pub(crate) max_wait: Duration,
    /// Which records are seen.
    pub(crate) isolation: IsolationLevel,
}

/// A request's fetch session (KIP-227).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Its id, or 0.
    pub(crate) id: i32,
    /// Its epoch: -1 for none, 0 for a new one.
    pub(crate) epoch: i32,
    /// What the broker is to leave out from now on; the positions say nothing.
    pub(crate) forgotten: Vec<Want>,
}

impl Session {
    /// None.
    pub(crate) const NONE: Self = Self { id: 0, epoch: -1, forgotten: Vec::new() };
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The session that the broker keeps, or 0.
    pub(crate) session_id: i32,
    /// What the broker answered, in its order.
    pub(crate) topics: Vec<Answered>,
    /// The bytes of the frame that all records are slices of.
    pub(crate) frame_bytes: usize,
    /// Whether the broker itself looks if its log has what was read before. If not, it is known only of partitions
    /// that the request named.
    pub(crate) takes_last_epoch: bool,
}

/// Fetches without a session; one result for each wanted partition that the broker answered, by its place in `wants`.
pub(crate) async fn fetch(
    connection: &Connection,
    wants: &[Want],
    limits: Limits,
) -> Result<Vec<(usize, FetchPartition)>> {
    let answer = fetch_in(connection, wants, &Session::NONE, limits, "").await?;
    let by_id = answer.topics.first().is_some_and(|answered| matches!(answered.topic, Topic::Id(_)));
    let mut places = InOrder::new(wants.iter().map(|want| (topic(want, by_id), want.partition)).collect());
    let mut found = Vec::with_capacity(wants.len());
    for of_topic in answer.topics {
        for partition in of_topic.partitions {
            if let Some(place) = places.place(&(of_topic.topic.clone(), partition.index)) {
                found.push((place, partition));
            }
        }
    }
    Ok(found)
}

/// Fetches in a session, or without one. A leader that knows a replica in the named rack (empty: none) may name it
/// instead of sending records (KIP-392).
pub(crate) async fn fetch_in(
    connection: &Connection,
    wants: &[Want],
    session: &Session,
    limits: Limits,
    rack: &str,
) -> Result<Fetched> {
    let by_id = wants.iter().chain(&session.forgotten).all(|want| want.topic_id != TopicId::default());
    let version_max = if by_id { VERSION_MAX } else { TOPIC_ID_SINCE - 1 };
    let version = connection.require_version::<FetchRequest>(4, version_max)?;
    let rack = if version >= RACK_SINCE { rack } else { "" };
    let request = request(wants, session, limits, version).with_rack_id(StrBytes::from_string(rack.to_owned()));
    let timeout = limits.max_wait + connection.request_timeout();
    let body = connection.call_for_body(&request, version, Some(timeout)).await?;
    let frame_bytes = body.len();
    let error = |cause| Error::new(connection.peer().clone(), Step::of::<FetchRequest>(), Outcome::Answered, cause);
    let mut answer = FetchResponse::decode(body, version).map_err(|e| error(Cause::Decode(e.to_string())))?;
    if !answer.error.is_ok() {
        return Err(error(Cause::Code { code: answer.error, item: None, message: None }));
    }
    let takes_last_epoch = version >= LAST_EPOCH_SINCE;
    if !takes_last_epoch {
        diverging::look(connection, wants, &mut answer.topics).await?;
    }
    Ok(Fetched { session_id: answer.session_id, topics: answer.topics, frame_bytes, takes_last_epoch })
}

/// A topic as requests and answers name it: by id, or by name.
fn topic(want: &Want, by_id: bool) -> Topic {
    match by_id {
        true => Topic::Id(Uuid::from_bytes(want.topic_id)),
        false => Topic::Name(StrBytes::from_string(want.topic.clone())),
    }
}

fn request(wants: &[Want], session: &Session, limits: Limits, version: i16) -> FetchRequest {
    let by_id = version >= TOPIC_ID_SINCE;
    let mut topics: Vec<FetchTopic> = Vec::new();
    for want in wants {
        let partition = Wanted::default()
            .with_partition(want.partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(want.from)
            .with_last_fetched_epoch(if version >= LAST_EPOCH_SINCE { want.last_epoch } else { -1 })
            .with_log_start_offset(-1)
            .with_partition_max_bytes(limits.partition_max_bytes);
        let same = |topic: &FetchTopic| match by_id {
            true => topic.topic_id.as_bytes() == &want.topic_id,
            false => topic.topic.as_str() == want.topic,
        };
        if let Some(topic) = topics.last_mut().filter(|topic| same(topic)) {
            topic.partitions.push(partition);
            continue;
        }
        let topic = match topic(want, by_id) {
            Topic::Id(id) => FetchTopic::default().with_topic_id(id),
            Topic::Name(name) => FetchTopic::default().with_topic(TopicName(name)),
        };
        topics.push(topic.with_partitions(vec![partition]));
    }
    let forgotten = session.forgotten.iter().map(|want| {
        let topic = match topic(want, by_id) {
            Topic::Id(id) => ForgottenTopic::default().with_topic_id(id),
            Topic::Name(name) => ForgottenTopic::default().with_topic(TopicName(name)),
        };
        topic.with_partitions(vec![want.partition])
    });
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(i32::try_from(limits.max_wait.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(1)
        .with_max_bytes(limits.max_bytes)
        .with_isolation_level(limits.isolation as i8)
        .with_session_id(session.id)
        .with_session_epoch(session.epoch)
        .with_topics(topics)
        .with_forgotten_topics_data(forgotten.collect())
}
