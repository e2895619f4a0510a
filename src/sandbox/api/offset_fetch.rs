//! OffsetFetch: what groups have committed.

use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use kafka_protocol::protocol::StrBytes;
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, text, topic_name};
use crate::group::At;

/// From here on several groups can be asked for (KIP-709), in other lists.
const GROUPS_SINCE: i16 = 8;
/// The answer has an error and leader epochs from here on.
const ERROR_SINCE: i16 = 2;
const LEADER_EPOCH_SINCE: i16 = 5;

impl Api for OffsetFetchRequest {
    const READS_ONLY: bool = true;

    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<OffsetFetchResponse> {
        let version = context.version();
        if version < GROUPS_SINCE {
            let asked = self.topics.as_ref().map(|topics| {
                let topics = topics.iter();
                topics.flat_map(|topic| at(&topic.name, &topic.partition_indexes)).collect()
            });
            return Attempt::Done(match look_up(context, &self.group_id, asked, self.require_stable) {
                Ok(found) => one_group(found, version),
                Err(code) => self.refusal(code, version),
            });
        }
        let groups = self.groups.iter().map(|group| {
            let asked = group.topics.as_ref().map(|topics| {
                let topics = topics.iter();
                topics.flat_map(|topic| at(&topic.name, &topic.partition_indexes)).collect()
            });
            let answer = OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
            match look_up(context, &group.group_id, asked, self.require_stable) {
                Ok(found) => answer.with_topics(by_topic(found)),
                Err(code) => answer.with_error_code(code.0),
            }
        });
        Attempt::Done(OffsetFetchResponse::default().with_groups(groups.collect()))
    }

    fn refusal(&self, code: ErrorCode, version: i16) -> OffsetFetchResponse {
        if version >= GROUPS_SINCE {
            let groups = self.groups.iter().map(|group| {
                OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_error_code(code.0)
            });
            return OffsetFetchResponse::default().with_groups(groups.collect());
        }
        if version >= ERROR_SINCE {
            return OffsetFetchResponse::default().with_error_code(code.0);
        }
        let all = self.topics.iter().flatten().flat_map(|topic| at(&topic.name, &topic.partition_indexes));
        one_group(all.map(|at| Offset { code, ..Offset::none(at) }).collect(), version)
    }
}

struct Offset {
    at: At,
    offset: i64,
    leader_epoch: i32,
    metadata: StrBytes,
    code: ErrorCode,
}

impl Offset {
    fn none(at: At) -> Self {
        Self { at, offset: -1, leader_epoch: -1, metadata: text(""), code: ErrorCode::NONE }
    }
}

fn at<'a>(topic: &'a str, partitions: &'a [i32]) -> impl Iterator<Item = At> + 'a {
    partitions.iter().map(|index| (topic.to_owned(), *index))
}

/// The offsets of some partitions, or of all.
fn look_up(
    context: &Context<'_>,
    group: &str,
    asked: Option<Vec<At>>,
    require_stable: bool,
) -> Result<Vec<Offset>, ErrorCode> {
    context.cluster.check_coordinator(group, context.node())?;
    let group = context.cluster.groups.get(group);
    let all = || group.into_iter().flat_map(|group| group.all_committed().map(|(at, _)| at.clone())).collect();
    let one = |at: At| {
        if require_stable && group.is_some_and(|group| group.is_pending(&at)) {
            return Offset { code: ErrorCode::UNSTABLE_OFFSET_COMMIT, ..Offset::none(at) };
        }
        match group.and_then(|group| group.committed(&at)) {
            Some(committed) => Offset {
                offset: committed.offset,
                leader_epoch: committed.leader_epoch,
                metadata: text(&committed.metadata),
                ..Offset::none(at)
            },
            None => Offset::none(at),
        }
    };
    Ok(asked.unwrap_or_else(all).into_iter().map(one).collect())
}

fn one_group(found: Vec<Offset>, version: i16) -> OffsetFetchResponse {
    let mut topics: Vec<OffsetFetchResponseTopic> = Vec::new();
    for Offset { at: (topic, index), offset, leader_epoch, metadata, code } in found {
        let mut answer = OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_metadata(Some(metadata))
            .with_error_code(code.0);
        if version >= LEADER_EPOCH_SINCE {
            answer.committed_leader_epoch = leader_epoch;
        }
        match topics.last_mut().filter(|last| last.name.as_str() == topic) {
            Some(last) => last.partitions.push(answer),
            None => {
                let name = topic_name(&topic);
                topics.push(OffsetFetchResponseTopic::default().with_name(name).with_partitions(vec![answer]));
            }
        }
    }
    OffsetFetchResponse::default().with_topics(topics)
}

fn by_topic(found: Vec<Offset>) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    for Offset { at: (topic, index), offset, leader_epoch, metadata, code } in found {
        let answer = OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(leader_epoch)
            .with_metadata(Some(metadata))
            .with_error_code(code.0);
        match topics.last_mut().filter(|last| last.name.as_str() == topic) {
            Some(last) => last.partitions.push(answer),
            None => {
                let name = topic_name(&topic);
                topics.push(OffsetFetchResponseTopics::default().with_name(name).with_partitions(vec![answer]));
            }
        }
    }
    topics
}
