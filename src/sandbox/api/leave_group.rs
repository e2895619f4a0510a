//! LeaveGroup: one member, or several from v3 on.

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, number};
use crate::group::Group;

/// From here on there is a list of members (KIP-345).
const MEMBERS_SINCE: i16 = 3;

impl Api for LeaveGroupRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<LeaveGroupResponse> {
        let (version, now_ms) = (context.version(), context.now.elapsed_ms);
        if let Err(code) = context.cluster.check_coordinator(&self.group_id, context.exchange.node) {
            return Attempt::Done(self.refusal(code, version));
        }
        let mut group = context.cluster.groups.get_mut(self.group_id.as_str());
        let mut leave = |member: &str, instance: Option<&str>| -> Result<(), ErrorCode> {
            let group: &mut Group = group.as_deref_mut().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            group.leave(member, instance, now_ms).map(drop)
        };
        if version < MEMBERS_SINCE {
            let left = leave(&self.member_id, None);
            return Attempt::Done(LeaveGroupResponse::default().with_error_code(number(left)));
        }
        let members = self.members.iter().map(|member| {
            let instance = member.group_instance_id.as_ref().map(|instance| instance.as_str());
            let left = leave(&member.member_id, instance);
            MemberResponse::default()
                .with_member_id(member.member_id.clone())
                .with_group_instance_id(member.group_instance_id.clone())
                .with_error_code(number(left))
        });
        Attempt::Done(LeaveGroupResponse::default().with_members(members.collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> LeaveGroupResponse {
        LeaveGroupResponse::default().with_error_code(code.0)
    }
}
