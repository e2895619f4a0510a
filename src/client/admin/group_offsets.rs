//! Groups and their committed offsets: ListGroups, OffsetFetch, OffsetCommit. Offsets are committed as by a consumer
//! that assigns partitions to itself (generation -1): a broker refuses that for a group that is in use.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest};

use tokio::task::JoinSet;
use twinlog_wire::error_code::ErrorCode;

use super::{TopicPartition, by_topic, check, fill_missing, str_bytes, topic_name};
use crate::cluster::{Cluster, Purpose};
use crate::connection::{Connection, Permit};
use crate::error::{Cause, Error, Outcome, Result, Step};

/// From v2 on all partitions of a group can be asked for, from v8 on several groups (KIP-709); v10 names topics by id.
const FETCH_ALL_SINCE: i16 = 2;
const FETCH_GROUPS_SINCE: i16 = 8;
const FETCH_VERSION_MAX: i16 = 9;
/// v10 names topics by id.
const COMMIT_VERSION_MAX: i16 = 9;
/// The retention is the broker's.
const RETENTION_OF_BROKER: i64 = -1;
/// It is not the group's coordinator, or not yet.
const OF_COORDINATOR: [ErrorCode; 3] =
    [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS];
/// Nobody's generation.
const NO_GENERATION: i32 = -1;

/// A position that a group has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset that is to be read next.
    pub offset: i64,
    /// What the consumer wrote beside it.
    pub metadata: String,
}

impl Cluster {
    /// All groups that may be described, asked of every broker. An error if one does not answer: its groups would seem
    /// to be gone.
    pub async fn list_groups(&self) -> Result<BTreeSet<String>> {
        let mut lists = JoinSet::new();
        for node in self.metadata().await?.brokers.keys().copied() {
            let cluster = self.clone();
            lists.spawn(async move { cluster.groups_of(node).await });
        }
        let mut all = BTreeSet::new();
        for list in lists.join_all().await {
            all.extend(list?);
        }
        Ok(all)
    }

    async fn groups_of(&self, node: i32) -> Result<Vec<String>> {
        let connection = self.connection(node, Purpose::Admin, 0).await?;
        let answer = connection.call(ListGroupsRequest::default()).await?;
        check::<ListGroupsRequest>(&connection, answer.error_code, None, None)?;
        Ok(answer.groups.into_iter().map(|group| group.group_id.to_string()).collect())
    }

    /// All offsets that a group has committed; none for a group that does not exist. What an open transaction brings
    /// is not among them yet.
    pub async fn group_offsets(&self, group: &str) -> Result<BTreeMap<TopicPartition, Result<CommittedOffset>>> {
        let answer = async {
            let connection = self.group_coordinator(group, Purpose::Admin).await?;
            let version = connection.require_version::<OffsetFetchRequest>(FETCH_ALL_SINCE, FETCH_VERSION_MAX)?;
            let id = GroupId(str_bytes(group));
            let request = match version >= FETCH_GROUPS_SINCE {
                true => {
                    let group = OffsetFetchRequestGroup::default().with_group_id(id).with_topics(None);
                    OffsetFetchRequest::default().with_groups(vec![group.with_member_epoch(-1)])
                }
                false => OffsetFetchRequest::default().with_group_id(id).with_topics(None),
            };
            let answer = connection.call_at(request, version, None).await?;
            let refused = |code| check::<OffsetFetchRequest>(&connection, code, Some(&item(group)), None);
            let mut found = BTreeMap::new();
            let mut take = |topic: &str, partition: i32, offset: i64, metadata: Option<String>, code: i16| {
                let at = TopicPartition::new(topic, partition);
                let committed = CommittedOffset { offset, metadata: metadata.unwrap_or_default() };
                let result = check::<OffsetFetchRequest>(&connection, code, Some(&at), None).map(|()| committed);
                // Nothing is committed where the offset is -1.
                if offset >= 0 || result.is_err() {
                    found.insert(at, result);
                }
            };
            if version < FETCH_GROUPS_SINCE {
                refused(answer.error_code)?;
                for topic in &answer.topics {
                    for it in &topic.partitions {
                        let metadata = it.metadata.as_ref().map(ToString::to_string);
                        take(&topic.name, it.partition_index, it.committed_offset, metadata, it.error_code);
                    }
                }
                return Ok(found);
            }
            let Some(answered) = answer.groups.iter().find(|answered| answered.group_id.as_str() == group) else {
                let cause = Cause::Missing(item(group));
                return Err(connection.error(Step::of::<OffsetFetchRequest>(), Outcome::Unknown, cause));
            };
            refused(answered.error_code)?;
            for topic in &answered.topics {
                for it in &topic.partitions {
                    let metadata = it.metadata.as_ref().map(ToString::to_string);
                    take(&topic.name, it.partition_index, it.committed_offset, metadata, it.error_code);
                }
            }
            Ok(found)
        };
        self.note_group_coordinator(group, answer.await)
    }

    /// Commits offsets of a group that nobody is a member of, which need not exist; with a permit only while that
    /// holds. A group that is in use is refused as a whole (25 UNKNOWN_MEMBER_ID).
    pub async fn commit_group_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
        permit: Option<Permit>,
    ) -> Result<BTreeMap<TopicPartition, Result<()>>> {
        let answer = async {
            let connection = self.group_coordinator(group, Purpose::Admin).await?;
            let version = connection.require_version::<OffsetCommitRequest>(i16::MIN, COMMIT_VERSION_MAX)?;
            let request = OffsetCommitRequest::default()
                .with_group_id(GroupId(str_bytes(group)))
                .with_generation_id_or_member_epoch(NO_GENERATION)
                .with_retention_time_ms(RETENTION_OF_BROKER)
                .with_topics(by_topic(offsets).into_iter().map(topic).collect());
            let answer = connection.call_while(request, version, permit).await?;
            let mut results = BTreeMap::new();
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let at = TopicPartition::new(topic.name.to_string(), partition.partition_index);
                    let result = refused(&connection, group, &at, partition.error_code);
                    results.insert(at, result);
                }
            }
            fill_missing::<OffsetCommitRequest, _, _>(&connection, offsets.keys().cloned(), &mut results);
            // What a broker says of itself it says of each partition.
            let of_broker = |error: &&Error| error.code().is_some_and(|code| OF_COORDINATOR.contains(&code));
            match results.values().find_map(|result| result.as_ref().err().filter(of_broker)) {
                Some(error) => Err(error.clone()),
                None => Ok(results),
            }
        };
        self.note_group_coordinator(group, answer.await)
    }
}

fn refused(connection: &Connection, group: &str, at: &TopicPartition, code: i16) -> Result<()> {
    let item = format!("group {group}, {at}");
    check::<OffsetCommitRequest>(connection, code, Some(&item), None)
}

fn topic((name, partitions): (&str, Vec<(i32, &CommittedOffset)>)) -> OffsetCommitRequestTopic {
    let partition = |(index, committed): (i32, &CommittedOffset)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(committed.offset)
            .with_committed_metadata(Some(str_bytes(&committed.metadata)))
    };
    OffsetCommitRequestTopic::default()
        .with_name(topic_name(name))
        .with_partitions(partitions.into_iter().map(partition).collect())
}

fn item(group: &str) -> String {
    format!("group {group}")
}
