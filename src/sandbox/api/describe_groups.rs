//! DescribeGroups.

use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, text};
use crate::codes;
use crate::group::Group;

/// From here on an unknown group is an error (KIP-1043); before, it is a dead one.
const UNKNOWN_SINCE: i16 = 6;
const INSTANCE_SINCE: i16 = 4;
/// Read, Delete and Describe, as bits; there are no ACLs here.
const OPERATIONS: i32 = 0b1_0100_1000;

impl Api for DescribeGroupsRequest {
    const READS_ONLY: bool = true;

    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<DescribeGroupsResponse> {
        let version = context.version();
        let groups = self.groups.iter().map(|id| {
            if let Err(code) = context.cluster.check_coordinator(id, context.node()) {
                return refused(id, code);
            }
            match context.cluster.groups.get(id.as_str()) {
                Some(group) => describe(id, group, version),
                None if version >= UNKNOWN_SINCE => refused(id, codes::GROUP_ID_NOT_FOUND),
                None => refused(id, ErrorCode::NONE).with_group_state(text("Dead")),
            }
        });
        let allowed = |group: DescribedGroup| match self.include_authorized_operations && group.error_code == 0 {
            true => group.with_authorized_operations(OPERATIONS),
            false => group,
        };
        Attempt::Done(DescribeGroupsResponse::default().with_groups(groups.map(allowed).collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> DescribeGroupsResponse {
        let groups = self.groups.iter().map(|id| refused(id, code));
        DescribeGroupsResponse::default().with_groups(groups.collect())
    }
}

fn refused(id: &GroupId, code: ErrorCode) -> DescribedGroup {
    DescribedGroup::default().with_group_id(id.clone()).with_error_code(code.0)
}

fn describe(id: &GroupId, group: &Group, version: i16) -> DescribedGroup {
    let members = group.members.iter().map(|(id, member)| {
        let instance = member.instance.as_deref().map(text).filter(|_| version >= INSTANCE_SINCE);
        DescribedGroupMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(instance)
            .with_client_id(text(&member.client_id))
            .with_client_host(text("/127.0.0.1"))
            .with_member_metadata(member.metadata(&group.protocol))
            .with_member_assignment(member.assignment.clone())
    });
    DescribedGroup::default()
        .with_group_id(id.clone())
        .with_group_state(text(group.state.name()))
        .with_protocol_type(text(&group.protocol_type))
        .with_protocol_data(text(&group.protocol))
        .with_members(members.collect())
}
