//! Heartbeat of a group's member.

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, number};

impl Api for HeartbeatRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<HeartbeatResponse> {
        let (node, now_ms) = (context.node(), context.now.elapsed_ms);
        let beat = context.cluster.check_coordinator(&self.group_id, node).and_then(|()| {
            let group = context.cluster.groups.get_mut(self.group_id.as_str()).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            group.heartbeat(&self.member_id, self.generation_id, now_ms)
        });
        Attempt::Done(HeartbeatResponse::default().with_error_code(number(beat)))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> HeartbeatResponse {
        HeartbeatResponse::default().with_error_code(code.0)
    }
}
