//! ListOffsets: the ends of partitions, or the first offset at or after a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};

use super::leaders::by_leader;
use super::{TopicPartition, by_topic, check, fill_missing, timeout_ms, topic_name};
use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::error::{Result, Step};

/// Isolation levels exist since v2; the time-out since v10.
const ISOLATION_SINCE: i16 = 2;
const TIMEOUT_SINCE: i16 = 10;

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OffsetAt {
    /// The first one that is kept.
    Earliest,
    /// The one that the next record will get; read-committed: the last stable offset.
    Latest,
    /// The first one whose timestamp, in ms since 1970, is this or later.
    Timestamp(i64),
}

impl OffsetAt {
    fn number(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
            Self::Timestamp(ms) => ms,
        }
    }
}

/// Which end counts as the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum IsolationLevel {
    /// The high watermark.
    ReadUncommitted = 0,
    /// The last stable offset.
    ReadCommitted = 1,
}

/// What a leader said of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; none where no record is as late as the time asked for.
    pub offset: Option<i64>,
    /// The record's timestamp, where a time was asked for.
    pub timestamp: Option<i64>,
    /// The leader's epoch at that offset, where the broker says (since 2.1).
    pub leader_epoch: Option<i32>,
}

impl Cluster {
    /// Offsets of partitions, asked at their leaders as the metadata has them. One result a partition.
    pub async fn list_offsets(
        &self,
        partitions: &BTreeMap<TopicPartition, OffsetAt>,
        isolation: IsolationLevel,
    ) -> Result<BTreeMap<TopicPartition, Result<ListedOffset>>> {
        let step = Step::of::<ListOffsetsRequest>();
        by_leader(self, step, partitions, move |connection, asked| list(connection, asked, isolation)).await
    }
}

async fn list(
    connection: Arc<Connection>,
    asked: BTreeMap<TopicPartition, OffsetAt>,
    isolation: IsolationLevel,
) -> Result<BTreeMap<TopicPartition, Result<ListedOffset>>> {
    let version_min = match isolation {
        IsolationLevel::ReadUncommitted => i16::MIN,
        IsolationLevel::ReadCommitted => ISOLATION_SINCE,
    };
    let version = connection.require_version::<ListOffsetsRequest>(version_min, i16::MAX)?;
    let mut request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(isolation as i8)
        .with_topics(by_topic(&asked).into_iter().map(topic).collect());
    if version >= TIMEOUT_SINCE {
        request = request.with_timeout_ms(timeout_ms(&connection));
    }
    let answer = connection.call_at(request, version, None).await?;
    let mut results = BTreeMap::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let at = TopicPartition::new(topic.name.to_string(), partition.partition_index);
            let result = listed(&connection, &at, partition);
            results.insert(at, result);
        }
    }
    fill_missing::<ListOffsetsRequest, _, _>(&connection, asked.into_keys(), &mut results);
    Ok(results)
}

fn topic((name, partitions): (&str, Vec<(i32, &OffsetAt)>)) -> ListOffsetsTopic {
    let partition = |(index, at): (i32, &OffsetAt)| {
        ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_current_leader_epoch(-1)
            .with_timestamp(at.number())
    };
    ListOffsetsTopic::default()
        .with_name(topic_name(name))
        .with_partitions(partitions.into_iter().map(partition).collect())
}

fn listed(
    connection: &Connection,
    at: &TopicPartition,
    partition: &ListOffsetsPartitionResponse,
) -> Result<ListedOffset> {
    check::<ListOffsetsRequest>(connection, partition.error_code, Some(at), None)?;
    Ok(ListedOffset {
        offset: (partition.offset >= 0).then_some(partition.offset),
        timestamp: (partition.timestamp >= 0).then_some(partition.timestamp),
        leader_epoch: (partition.leader_epoch >= 0).then_some(partition.leader_epoch),
    })
}
