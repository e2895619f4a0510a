//! Offsets of groups that somebody else may use.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, ConsumerGroupHeartbeatRequest, GroupId, JoinGroupRequest, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, ProducerId, SyncGroupRequest, TransactionalId, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;
use twinlog_wire::batch::BatchMeta;

use crate::ask::{topic_name, words};
use crate::batch::Producer;
use crate::peer::{Failed, Peer, Verdict, until, within};

const MEMBER_ID_REQUIRED: i16 = 79;
/// Nobody of this id is in the group.
const UNKNOWN_MEMBER_ID: i16 = 25;

fn group_id(text: &str) -> GroupId {
    GroupId(words(text))
}

/// An OffsetCommit for partition 0 of `topic` from somebody who is no member; with a retention it is v2.
async fn commit(peer: &Peer, group: &str, topic: &str, offset: i64, retention_ms: Option<i64>) -> Verdict<i16> {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(words("")));
    let topic = OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(-1)
        .with_retention_time_ms(retention_ms.unwrap_or(-1))
        .with_topics(vec![topic]);
    let coordinator = peer.coordinator(group, 0).await?;
    let version = if retention_ms.is_some() { 2 } else { 7 };
    until("the group's coordinator is ready", async || {
        let answer = coordinator.call(version, request.clone()).await?;
        let answered = answer.topics.first().and_then(|topic| topic.partitions.first());
        let code = answered.ok_or_else(|| Failed("an OffsetCommit answer without a partition".to_owned()))?;
        Ok(Some(code.error_code).filter(|code| ![14, 15, 16].contains(code)))
    })
    .await
}

/// The committed offset of partition 0 of `topic`.
async fn committed(peer: &Peer, group: &str, topic: &str) -> Verdict<i64> {
    let topic = OffsetFetchRequestTopic::default().with_name(topic_name(topic)).with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(Some(vec![topic]));
    let coordinator = peer.coordinator(group, 0).await?;
    let answer = coordinator.call(5, request).await?;
    let answered = answer.topics.first().and_then(|topic| topic.partitions.first());
    let partition = answered.ok_or_else(|| Failed("an OffsetFetch answer without a partition".to_owned()))?;
    match (answer.error_code, partition.error_code) {
        (0, 0) => Ok(partition.committed_offset),
        codes => Err(Failed(format!("OffsetFetch: {codes:?}"))),
    }
}

/// Makes a classic group with one member that is alive for half a minute. Gives the member's id.
async fn join(peer: &Peer, group: &str) -> Verdict<StrBytes> {
    let coordinator = peer.coordinator(group, 0).await?;
    let protocol = JoinGroupRequestProtocol::default().with_name(words("range")).with_metadata(Bytes::new());
    let request = JoinGroupRequest::default()
        .with_group_id(group_id(group))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(words("consumer"))
        .with_protocols(vec![protocol]);
    let joined = until("the group's coordinator is ready and knows the member", async || {
        let first = coordinator.call(5, request.clone()).await?;
        if [14, 15, 16].contains(&first.error_code) {
            return Ok(None);
        }
        peer.same("the first JoinGroup", MEMBER_ID_REQUIRED, first.error_code)?;
        // A group of which only ids were given out is empty to Kafka 3.9, and removed when it looks for expired
        // offsets.
        let joined = coordinator.call(5, request.clone().with_member_id(first.member_id)).await?;
        Ok((joined.error_code != UNKNOWN_MEMBER_ID).then_some(joined))
    })
    .await?;
    peer.same("JoinGroup", 0, joined.error_code)?;
    let assignment = SyncGroupRequestAssignment::default().with_member_id(joined.member_id.clone());
    let request = SyncGroupRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assignment]);
    let synced = coordinator.call(3, request).await?;
    peer.same("SyncGroup", 0, synced.error_code)?;
    Ok(joined.member_id)
}

pub(super) async fn commit_for_unused(peer: Peer) -> Verdict {
    peer.topic("unused-group", 1, &[]).await?;
    peer.same("an unknown group", 0, commit(&peer, "unused-group", "unused-group", 7, None).await?)?;
    peer.same("a group without members", 0, commit(&peer, "unused-group", "unused-group", 8, None).await?)?;
    peer.same("its offset", 8, committed(&peer, "unused-group", "unused-group").await?)
}

pub(super) async fn commit_for_classic(peer: Peer) -> Verdict {
    peer.topic("classic-group", 1, &[]).await?;
    peer.same("before", 0, commit(&peer, "classic-group", "classic-group", 7, None).await?)?;
    let member = join(&peer, "classic-group").await?;
    peer.same("a group in use", 25, commit(&peer, "classic-group", "classic-group", 8, None).await?)?;
    peer.same("its offset", 7, committed(&peer, "classic-group", "classic-group").await?)?;
    let leave = LeaveGroupRequest::default().with_group_id(group_id("classic-group")).with_member_id(member);
    let left = peer.coordinator("classic-group", 0).await?.call(1, leave).await?;
    peer.same("LeaveGroup", 0, left.error_code)?;
    peer.same("an empty group", 0, commit(&peer, "classic-group", "classic-group", 9, None).await?)
}

pub(super) async fn commit_for_kip_848(peer: Peer) -> Verdict {
    let group = "new-group";
    peer.topic(group, 1, &[]).await?;
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(group))
        .with_member_epoch(0)
        .with_rebalance_timeout_ms(30_000)
        .with_subscribed_topic_names(Some(vec![topic_name(group)]))
        .with_topic_partitions(Some(Vec::new()));
    let coordinator = peer.coordinator(group, 0).await?;
    let joined = until("the group's coordinator is ready", async || {
        let answer = coordinator.call(0, request.clone()).await?;
        Ok((![14, 15, 16].contains(&answer.error_code)).then_some(answer))
    })
    .await?;
    peer.same("ConsumerGroupHeartbeat", 0, joined.error_code)?;
    peer.same("a group in use", 25, commit(&peer, group, group, 8, None).await?)?;
    peer.same("its offset", -1, committed(&peer, group, group).await?)?;
    let leave = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(group))
        .with_member_id(joined.member_id.unwrap_or_default())
        .with_member_epoch(-1);
    peer.same("leaving", 0, coordinator.call(0, leave).await?.error_code)?;
    peer.same("an empty group", 0, commit(&peer, group, group, 9, None).await?)
}

/// Puts an offset for partition 0 of `topic` into a transaction.
async fn commit_in_transaction(
    peer: &Peer,
    (id, owner): (&str, Producer),
    group: &str,
    topic: &str,
    offset: i64,
) -> Verdict<i16> {
    let request = AddOffsetsToTxnRequest::default()
        .with_transactional_id(TransactionalId(words(id)))
        .with_producer_id(ProducerId(owner.id))
        .with_producer_epoch(owner.epoch)
        .with_group_id(group_id(group));
    let added = peer.coordinator(id, 1).await?.call(0, request).await?.error_code;
    peer.same("AddOffsetsToTxn", 0, added)?;
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(words("")));
    let topic = TxnOffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(TransactionalId(words(id)))
        .with_group_id(group_id(group))
        .with_producer_id(ProducerId(owner.id))
        .with_producer_epoch(owner.epoch)
        .with_generation_id(-1)
        .with_topics(vec![topic]);
    let coordinator = peer.coordinator(group, 0).await?;
    until("the group's coordinator is ready", async || {
        let answer = coordinator.call(3, request.clone()).await?;
        let answered = answer.topics.first().and_then(|topic| topic.partitions.first());
        let code = answered.ok_or_else(|| Failed("a TxnOffsetCommit answer without a partition".to_owned()))?;
        Ok(Some(code.error_code).filter(|code| ![14, 15, 16].contains(code)))
    })
    .await
}

pub(super) async fn transactional_commit(peer: Peer) -> Verdict {
    let name = "transactional-commit";
    peer.topic(name, 1, &[]).await?;
    peer.same("before", 0, commit(&peer, name, name, 7, None).await?)?;
    join(&peer, name).await?;
    let owner = peer.init(Some(name)).await?;
    let code = commit_in_transaction(&peer, (name, owner), name, name, 3).await?;
    peer.same("for a group in use", 0, code)?;
    let ended = peer.coordinator(name, 1).await?.end_txn(name, owner, true).await?;
    peer.same("EndTxn", 0, ended)?;
    let moved = until("the offset moves", async || {
        let offset = committed(&peer, name, name).await?;
        Ok((offset != 7).then_some(offset))
    })
    .await?;
    peer.same("the group's offset", 3, moved)
}

pub(super) async fn aborted_commit(peer: Peer) -> Verdict {
    let name = "aborted-commit";
    let offsets = "__consumer_offsets";
    peer.topic(name, 1, &[]).await?;
    peer.coordinator(name, 0).await?;
    let owner = peer.init(Some(name)).await?;
    let code = commit_in_transaction(&peer, (name, owner), name, name, 3).await?;
    peer.same("TxnOffsetCommit", 0, code)?;
    let ended = peer.coordinator(name, 1).await?.end_txn(name, owner, false).await?;
    peer.same("EndTxn", 0, ended)?;
    let ours = |batches: Vec<(BatchMeta, Bytes)>| -> Vec<i16> {
        let ours = batches.iter().filter(|(meta, _)| meta.producer_id == owner.id);
        ours.map(|(meta, _)| meta.attributes).collect()
    };
    let partition = until("the partition of the group", async || {
        for partition in peer.partitions(offsets).await?.into_keys() {
            if ours(peer.log(offsets, partition).await?).len() == 2 {
                return Ok(Some(partition));
            }
        }
        Ok(None)
    })
    .await?;
    let attributes = ours(peer.log(offsets, partition).await?);
    peer.same("the attributes of the record and the marker", vec![0x10, 0x30], attributes)?;
    peer.same("the group's offset", -1, committed(&peer, name, name).await?)
}

pub(super) async fn offsets_expire(peer: Peer) -> Verdict {
    let name = "offsets-expire";
    peer.topic(name, 1, &[]).await?;
    peer.same("to be kept", 0, commit(&peer, "offsets-stay", name, 7, None).await?)?;
    peer.same("for a second", 0, commit(&peer, name, name, 7, Some(1_000)).await?)?;
    peer.same("at first", 7, committed(&peer, name, name).await?)?;
    let gone = until("the offset expires", async || {
        let offset = committed(&peer, name, name).await?;
        Ok((offset != 7).then_some(offset))
    })
    .await?;
    peer.same("later", -1, gone)?;
    peer.same("the one to be kept", 7, committed(&peer, "offsets-stay", name).await?)
}

pub(super) async fn offsets_expire_by_setting(peer: Peer) -> Verdict {
    let name = "offsets-retention";
    peer.topic(name, 1, &[]).await?;
    peer.same("an offset", 0, commit(&peer, name, name, 7, None).await?)?;
    peer.same("at first", 7, committed(&peer, name, name).await?)?;
    let started = tokio::time::Instant::now();
    // The broker's setting is one minute, the smallest it takes.
    let gone = within(std::time::Duration::from_secs(120), "the offset expires", async || {
        let offset = committed(&peer, name, name).await?;
        Ok((offset != 7).then_some(offset))
    })
    .await?;
    peer.same("later", -1, gone)?;
    peer.same("not before its minute", true, started.elapsed().as_secs() >= 59)
}
