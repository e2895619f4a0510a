//! The classic group protocol, as a member speaks it (KIP-62, KIP-394). Each call is one attempt at the coordinator;
//! what to do next is the caller's decision.
//!
//! A broker answers the requests of a connection one by one, and JoinGroup and SyncGroup wait for other members: so
//! heartbeats have a connection of their own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use twinlog_wire::error_code::{ErrorCode, Retry};

use super::{Operations, check, str_bytes};
use crate::cluster::{Cluster, CoordinatorType, Purpose};
use crate::connection::Connection;
use crate::error::{Cause, Outcome, Result, Step};

/// The rebalance time-out is in the request from here on.
const JOIN_VERSION_MIN: i16 = 1;
/// From here on the answer names the protocol's type, which brokers compare if it is named in SyncGroup.
const SYNC_NAMES_SINCE: i16 = 5;
/// From here on an answer can hold what is allowed (KIP-430).
const OPERATIONS_SINCE: i16 = 3;
/// From v6 on a group that does not exist is an error.
const DESCRIBE_VERSION_MAX: i16 = 5;
/// From here on a list of members leaves (KIP-345).
const LEAVE_LIST_SINCE: i16 = 3;

/// How a member joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupJoin<'a> {
    /// The group.
    pub group: &'a str,
    /// The member's id; empty for a new one.
    pub member_id: &'a str,
    /// What kind of group it is. All members must name the same.
    pub protocol_type: &'a str,
    /// The one protocol that the member speaks.
    pub protocol: &'a str,
    /// What the leader is to know of the member.
    pub metadata: Bytes,
    /// After this time without a sign of life the member is out.
    pub session_timeout: Duration,
    /// How long the others wait for a member that does not join again.
    pub rebalance_timeout: Duration,
}

/// The answer to JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupJoined {
    /// A new member must join again under this id (79 MEMBER_ID_REQUIRED).
    IdRequired(String),
    /// The member is part of a new generation.
    Generation {
        /// The generation's number.
        generation: i32,
        /// The member's id.
        member_id: String,
        /// Whose plan counts.
        leader: String,
        /// All members and what they say of themselves; empty for all but the leader.
        members: Vec<(String, Bytes)>,
    },
}

/// A member of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMember<'a> {
    /// The group.
    pub group: &'a str,
    /// The member's id.
    pub member_id: &'a str,
    /// The generation's number.
    pub generation: i32,
}

/// A member of a group as it is seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMemberSeen {
    /// The member's id.
    pub member_id: String,
    /// The client's name for itself.
    pub client_id: String,
    /// The address that it calls from.
    pub client_host: String,
    /// Its part of the leader's plan; empty while the group has none.
    pub part: Bytes,
}

impl Cluster {
    /// Joins, and waits until all members have. The broker may take up to the rebalance time-out of any member, so
    /// `limit` must be longer.
    pub async fn join_group(&self, join: &GroupJoin<'_>, limit: Duration) -> Result<GroupJoined> {
        let answer = async {
            let connection = self.group_coordinator(join.group, Purpose::Group).await?;
            let version = connection.require_version::<JoinGroupRequest>(JOIN_VERSION_MIN, i16::MAX)?;
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(str_bytes(join.protocol))
                .with_metadata(join.metadata.clone());
            let request = JoinGroupRequest::default()
                .with_group_id(GroupId(str_bytes(join.group)))
                .with_member_id(str_bytes(join.member_id))
                .with_protocol_type(str_bytes(join.protocol_type))
                .with_session_timeout_ms(ms(join.session_timeout))
                .with_rebalance_timeout_ms(ms(join.rebalance_timeout))
                .with_protocols(vec![protocol]);
            let held_up = HeldUp(Some(&connection));
            let answer = connection.call_at(request, version, Some(limit)).await?;
            held_up.answered();
            if ErrorCode(answer.error_code) == ErrorCode::MEMBER_ID_REQUIRED {
                return Ok(GroupJoined::IdRequired(answer.member_id.to_string()));
            }
            check::<JoinGroupRequest>(&connection, answer.error_code, Some(&item(join.group)), None)?;
            let members = answer.members.into_iter().map(|member| (member.member_id.to_string(), member.metadata));
            Ok(GroupJoined::Generation {
                generation: answer.generation_id,
                member_id: answer.member_id.to_string(),
                leader: answer.leader.to_string(),
                members: members.collect(),
            })
        };
        self.note_group_coordinator(join.group, answer.await)
    }

    /// Brings the leader's plan, empty for all but the leader, and waits for the member's part of it.
    pub async fn sync_group(
        &self,
        member: GroupMember<'_>,
        protocol_type: &str,
        protocol: &str,
        plan: &[(String, Bytes)],
        limit: Duration,
    ) -> Result<Bytes> {
        let answer = async {
            let connection = self.group_coordinator(member.group, Purpose::Group).await?;
            let version = connection.require_version::<SyncGroupRequest>(i16::MIN, i16::MAX)?;
            let assignments = plan.iter().map(|(member_id, part)| {
                SyncGroupRequestAssignment::default().with_member_id(str_bytes(member_id)).with_assignment(part.clone())
            });
            let mut request = SyncGroupRequest::default()
                .with_group_id(GroupId(str_bytes(member.group)))
                .with_generation_id(member.generation)
                .with_member_id(str_bytes(member.member_id))
                .with_assignments(assignments.collect());
            if version >= SYNC_NAMES_SINCE {
                request = request
                    .with_protocol_type(Some(str_bytes(protocol_type)))
                    .with_protocol_name(Some(str_bytes(protocol)));
            }
            let held_up = HeldUp(Some(&connection));
            let answer = connection.call_at(request, version, Some(limit)).await?;
            held_up.answered();
            check::<SyncGroupRequest>(&connection, answer.error_code, Some(&item(member.group)), None)?;
            Ok(answer.assignment)
        };
        self.note_group_coordinator(member.group, answer.await)
    }

    /// Says that the member lives.
    pub async fn heartbeat(&self, member: GroupMember<'_>, limit: Duration) -> Result<()> {
        let answer = async {
            let connection = self.group_coordinator(member.group, Purpose::Heartbeat).await?;
            let version = connection.require_version::<HeartbeatRequest>(i16::MIN, i16::MAX)?;
            let request = HeartbeatRequest::default()
                .with_group_id(GroupId(str_bytes(member.group)))
                .with_generation_id(member.generation)
                .with_member_id(str_bytes(member.member_id));
            let answer = connection.call_at(request, version, Some(limit)).await?;
            check::<HeartbeatRequest>(&connection, answer.error_code, Some(&item(member.group)), None)
        };
        self.note_group_coordinator(member.group, answer.await)
    }

    /// Leaves, so that others need not wait for the end of the session.
    pub async fn leave_group(&self, group: &str, member_id: &str, limit: Duration) -> Result<()> {
        let answer = async {
            let connection = self.group_coordinator(group, Purpose::Heartbeat).await?;
            let version = connection.require_version::<LeaveGroupRequest>(i16::MIN, i16::MAX)?;
            let request = LeaveGroupRequest::default().with_group_id(GroupId(str_bytes(group)));
            let request = match version >= LEAVE_LIST_SINCE {
                true => request.with_members(vec![MemberIdentity::default().with_member_id(str_bytes(member_id))]),
                false => request.with_member_id(str_bytes(member_id)),
            };
            let answer = connection.call_at(request, version, Some(limit)).await?;
            check::<LeaveGroupRequest>(&connection, answer.error_code, Some(&item(group)), None)?;
            let refused = answer.members.iter().map(|member| member.error_code).find(|code| *code != 0);
            check::<LeaveGroupRequest>(&connection, refused.unwrap_or_default(), Some(&item(group)), None)
        };
        self.note_group_coordinator(group, answer.await)
    }

    /// The members of a group; one that does not exist has none.
    pub async fn group_members(&self, group: &str) -> Result<Vec<GroupMemberSeen>> {
        let answer = async {
            let found = self.describe_group(group, i16::MIN, DescribeGroupsRequest::default()).await?;
            let seen = |member: DescribedGroupMember| GroupMemberSeen {
                member_id: member.member_id.to_string(),
                client_id: member.client_id.to_string(),
                client_host: member.client_host.trim_start_matches('/').to_owned(),
                part: member.member_assignment,
            };
            Ok(found.members.into_iter().map(seen).collect())
        };
        self.note_group_coordinator(group, answer.await)
    }

    /// What may be done with a group, which need not exist; none where the broker does not tell.
    pub async fn group_operations(&self, group: &str) -> Result<Option<Operations>> {
        let answer = async {
            let request = DescribeGroupsRequest::default().with_include_authorized_operations(true);
            let found = self.describe_group(group, OPERATIONS_SINCE, request).await?;
            Ok(Operations::read(found.authorized_operations))
        };
        self.note_group_coordinator(group, answer.await)
    }

    async fn describe_group(
        &self,
        group: &str,
        version_min: i16,
        request: DescribeGroupsRequest,
    ) -> Result<DescribedGroup> {
        let connection = self.group_coordinator(group, Purpose::Admin).await?;
        let version = connection.require_version::<DescribeGroupsRequest>(version_min, DESCRIBE_VERSION_MAX)?;
        let request = request.with_groups(vec![GroupId(str_bytes(group))]);
        let answer = connection.call_at(request, version, None).await?;
        let Some(found) = answer.groups.into_iter().next() else {
            let cause = Cause::Missing(item(group));
            return Err(connection.error(Step::of::<DescribeGroupsRequest>(), Outcome::Unknown, cause));
        };
        check::<DescribeGroupsRequest>(&connection, found.error_code, Some(&item(group)), None)?;
        Ok(found)
    }

    pub(super) async fn group_coordinator(&self, group: &str, purpose: Purpose) -> Result<Arc<Connection>> {
        self.coordinator(group, CoordinatorType::Group, purpose, 0).await
    }

    /// After an answer that says "not here", or a connection that failed, the next call looks for the coordinator anew.
    pub(super) fn note_group_coordinator<T>(&self, group: &str, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && error.retry() == Retry::AfterMetadata
        {
            self.forget_coordinator(group, CoordinatorType::Group);
        }
        result
    }
}

/// A connection on which a broker looks at nothing else before it answers a request that waits for other members. Who
/// gives the request up closes it.
struct HeldUp<'a>(Option<&'a Connection>);

impl HeldUp<'_> {
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for HeldUp<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.0 {
            connection.close();
        }
    }
}

fn ms(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn item(group: &str) -> String {
    format!("group {group}")
}
