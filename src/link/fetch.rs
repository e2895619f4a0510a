//! One Fetch request to one broker: the hot path of the source, and every other log that is read.

use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition as Wanted, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use twinlog_client::admin::IsolationLevel;
use twinlog_client::{Cause, Connection, Error, Outcome, Result, Step};
use twinlog_core::ids::TopicId;
use twinlog_wire::fetch_response::{FetchPartition, FetchResponse};
use twinlog_wire::topic::Topic;
use uuid::Uuid;

use crate::in_order::InOrder;

/// The last version whose answers [`FetchResponse`] reads.
const VERSION_MAX: i16 = 17;
/// From here on topics are named by id (KIP-516).
const TOPIC_ID_SINCE: i16 = 13;
/// From here on the epoch before the position can be given (KIP-595).
const LAST_EPOCH_SINCE: i16 = 12;

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

/// Fetches; one result for each wanted partition that the broker answered, by its place in `wants`, and the bytes of
/// the frame that all records are slices of.
pub(crate) async fn fetch(
    connection: &Connection,
    wants: &[Want],
    limits: Limits,
) -> Result<(Vec<(usize, FetchPartition)>, usize)> {
    let by_id = wants.iter().all(|want| want.topic_id != TopicId::default());
    let version_max = if by_id { VERSION_MAX } else { TOPIC_ID_SINCE - 1 };
    let version = connection.require_version::<FetchRequest>(4, version_max)?;
    let request = request(wants, limits, version);
    let timeout = limits.max_wait + connection.request_timeout();
    let body = connection.call_for_body(&request, version, Some(timeout)).await?;
    let frame = body.len();
    let error = |cause| Error::new(connection.peer().clone(), Step::of::<FetchRequest>(), Outcome::Answered, cause);
    let answer = FetchResponse::decode(body, version).map_err(|e| error(Cause::Decode(e.to_string())))?;
    if !answer.error.is_ok() {
        return Err(error(Cause::Code { code: answer.error, item: None, message: None }));
    }
    let mut places = InOrder::new(wants.iter().map(|want| (topic(want, version), want.partition)).collect());
    let mut found = Vec::with_capacity(wants.len());
    for of_topic in answer.topics {
        for partition in of_topic.partitions {
            if let Some(place) = places.place(&(of_topic.topic.clone(), partition.index)) {
                found.push((place, partition));
            }
        }
    }
    Ok((found, frame))
}

/// A topic as it is named in this version.
fn topic(want: &Want, version: i16) -> Topic {
    match version >= TOPIC_ID_SINCE {
        true => Topic::Id(Uuid::from_bytes(want.topic_id)),
        false => Topic::Name(StrBytes::from_string(want.topic.clone())),
    }
}

fn request(wants: &[Want], limits: Limits, version: i16) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for want in wants {
        let partition = Wanted::default()
            .with_partition(want.partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(want.from)
            .with_last_fetched_epoch(if version >= LAST_EPOCH_SINCE { want.last_epoch } else { -1 })
            .with_log_start_offset(-1)
            .with_partition_max_bytes(limits.partition_max_bytes);
        let same = |topic: &FetchTopic| match version >= TOPIC_ID_SINCE {
            true => topic.topic_id.as_bytes() == &want.topic_id,
            false => topic.topic.as_str() == want.topic,
        };
        if let Some(topic) = topics.last_mut().filter(|topic| same(topic)) {
            topic.partitions.push(partition);
            continue;
        }
        let topic = if version >= TOPIC_ID_SINCE {
            FetchTopic::default().with_topic_id(Uuid::from_bytes(want.topic_id))
        } else {
            FetchTopic::default().with_topic(TopicName(StrBytes::from_string(want.topic.clone())))
        };
        topics.push(topic.with_partitions(vec![partition]));
    }
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(i32::try_from(limits.max_wait.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(1)
        .with_max_bytes(limits.max_bytes)
        .with_isolation_level(limits.isolation as i8)
        .with_session_epoch(-1)
        .with_topics(topics)
}
