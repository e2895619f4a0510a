//! Groups of the classic protocol, and offsets.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest, TransactionalId,
    TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::sleep;
use twinlog_sandbox::ErrorCode;

use crate::kit::{Client, TOPIC, simple, text, topic_name};

const REBALANCE_IN_PROGRESS: ErrorCode = ErrorCode(27);
const MEMBER_ID_REQUIRED: ErrorCode = ErrorCode(79);
const NON_EMPTY_GROUP: ErrorCode = ErrorCode(68);
const GROUP_ID_NOT_FOUND: ErrorCode = ErrorCode(69);
const ILLEGAL_GENERATION: ErrorCode = ErrorCode(22);

fn group() -> GroupId {
    GroupId(text("group"))
}

pub(crate) fn txn_offset_commit(id: &str, producer: (i64, i16), offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = TxnOffsetCommitRequestTopic::default().with_name(topic_name(TOPIC)).with_partitions(vec![partition]);
    TxnOffsetCommitRequest::default()
        .with_transactional_id(TransactionalId(text(id)))
        .with_group_id(group())
        .with_producer_id(producer.0.into())
        .with_producer_epoch(producer.1)
        .with_generation_id(-1)
        .with_topics(vec![topic])
}

pub(crate) fn offset_fetch(require_stable: bool) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopic::default().with_name(topic_name(TOPIC)).with_partition_indexes(vec![0]);
    OffsetFetchRequest::default()
        .with_group_id(group())
        .with_topics(Some(vec![topic]))
        .with_require_stable(require_stable)
}

async fn commit(client: &mut Client, member: &str, generation: i32, offset: i64) -> ErrorCode {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("here")));
    let topic = OffsetCommitRequestTopic::default().with_name(topic_name(TOPIC)).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(vec![topic]);
    ErrorCode(client.call(&request, 8).await.topics[0].partitions[0].error_code)
}

fn join(member: &StrBytes) -> JoinGroupRequest {
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(b"topics"));
    JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(5_000)
        .with_member_id(member.clone())
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins as a client does: first for an id, then with it.
async fn join_anew(client: &mut Client) -> JoinGroupResponse {
    let first = client.call(&join(&text("")), 7).await;
    assert_eq!(ErrorCode(first.error_code), MEMBER_ID_REQUIRED);
    client.call(&join(&first.member_id), 7).await
}

fn sync(joined: &JoinGroupResponse, plan: &[(&StrBytes, &'static str)]) -> SyncGroupRequest {
    let plan = plan.iter().map(|(member, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id((*member).clone())
            .with_assignment(Bytes::from_static(assignment.as_bytes()))
    });
    SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(plan.collect())
}

async fn heartbeat(client: &mut Client, joined: &JoinGroupResponse) -> ErrorCode {
    let request = HeartbeatRequest::default()
        .with_group_id(group())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone());
    ErrorCode(client.call(&request, 3).await.error_code)
}

#[tokio::test(start_paused = true)]
async fn two_members_share_and_a_leaver_leaves_all_to_the_other() {
    let (sandbox, _clock, mut one) = simple();
    let mut two = Client::new(&sandbox, 1);
    let alone = join_anew(&mut one).await;
    assert_eq!((alone.error_code, alone.leader.clone()), (0, alone.member_id.clone()));
    let answer = one.call(&sync(&alone, &[(&alone.member_id, "all")]), 4).await;
    assert_eq!(answer.assignment, "all");
    assert_eq!(heartbeat(&mut one, &alone).await, ErrorCode::NONE);

    let first = two.call(&join(&text("")), 7).await;
    two.send(&join(&first.member_id), 7).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(heartbeat(&mut one, &alone).await, REBALANCE_IN_PROGRESS);
    let leader = one.call(&join(&alone.member_id), 7).await;
    let follower = two.receive::<JoinGroupRequest>(7).await.unwrap();
    assert_eq!((leader.generation_id, follower.generation_id), (2, 2));
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    two.send(&sync(&follower, &[]), 4).await;
    sleep(Duration::from_millis(1)).await;
    let plan = [(&leader.member_id, "left"), (&follower.member_id, "right")];
    assert_eq!(one.call(&sync(&leader, &plan), 4).await.assignment, "left");
    assert_eq!(two.receive::<SyncGroupRequest>(4).await.unwrap().assignment, "right");

    let leaving = MemberIdentity::default().with_member_id(leader.member_id.clone());
    let request = LeaveGroupRequest::default().with_group_id(group()).with_members(vec![leaving]);
    assert_eq!(one.call(&request, 4).await.members[0].error_code, 0);
    assert_eq!(heartbeat(&mut two, &follower).await, REBALANCE_IN_PROGRESS);
    let alone = two.call(&join(&follower.member_id), 7).await;
    assert_eq!((alone.generation_id, alone.leader), (3, follower.member_id));
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_is_left_behind() {
    let (sandbox, _clock, mut one) = simple();
    let joined = join_anew(&mut one).await;
    one.call(&sync(&joined, &[(&joined.member_id, "all")]), 4).await;
    sleep(Duration::from_millis(9_000)).await;
    assert_eq!(heartbeat(&mut one, &joined).await, ErrorCode::NONE);
    sleep(Duration::from_millis(10_001)).await;
    let described =
        one.call(&DescribeGroupsRequest::default().with_groups(vec![group()]), 5).await.groups[0].group_state.clone();
    assert_eq!(described, text("Empty"));
    assert_eq!(heartbeat(&mut one, &joined).await, ErrorCode::UNKNOWN_MEMBER_ID);
    let listed = Client::new(&sandbox, 1).call(&ListGroupsRequest::default(), 4).await;
    assert_eq!(listed.groups[0].group_id, group());
}

#[tokio::test(start_paused = true)]
async fn a_group_is_deleted_with_its_offsets_once_nobody_is_in_it() {
    async fn delete(client: &mut Client) -> ErrorCode {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
        ErrorCode(client.call(&request, 2).await.results[0].error_code)
    }
    let (_sandbox, _clock, mut client) = simple();
    assert_eq!(delete(&mut client).await, GROUP_ID_NOT_FOUND);
    assert_eq!(commit(&mut client, "", -1, 7).await, ErrorCode::NONE);
    let joined = join_anew(&mut client).await;
    assert_eq!(delete(&mut client).await, NON_EMPTY_GROUP);
    let leaving = MemberIdentity::default().with_member_id(joined.member_id.clone());
    client.call(&LeaveGroupRequest::default().with_group_id(group()).with_members(vec![leaving]), 4).await;
    assert_eq!(delete(&mut client).await, ErrorCode::NONE);
    let found = client.call(&offset_fetch(false), 7).await.topics[0].partitions[0].committed_offset;
    assert_eq!(found, -1);
    assert_eq!(delete(&mut client).await, GROUP_ID_NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn nobody_commits_for_a_group_in_use() {
    let (_sandbox, _clock, mut client) = simple();
    assert_eq!(commit(&mut client, "", -1, 7).await, ErrorCode::NONE);
    let joined = join_anew(&mut client).await;
    let member = joined.member_id.clone();
    assert_eq!(commit(&mut client, &member, 1, 8).await, REBALANCE_IN_PROGRESS);
    client.call(&sync(&joined, &[]), 4).await;
    assert_eq!(commit(&mut client, "", -1, 9).await, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(commit(&mut client, &member, 2, 9).await, ILLEGAL_GENERATION);
    assert_eq!(commit(&mut client, &member, 1, 10).await, ErrorCode::NONE);
    let found = client.call(&offset_fetch(false), 7).await.topics[0].partitions[0].clone();
    assert_eq!((found.committed_offset, found.metadata), (10, Some(text("here"))));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_join_in_time_is_out() {
    let (sandbox, _clock, mut one) = simple();
    let joined = join_anew(&mut one).await;
    one.call(&sync(&joined, &[]), 4).await;
    let mut two = Client::new(&sandbox, 1);
    let second = join_anew(&mut two).await;
    assert_eq!((second.generation_id, second.members.len()), (2, 1));
    assert_eq!(heartbeat(&mut one, &joined).await, ErrorCode::UNKNOWN_MEMBER_ID);
}
