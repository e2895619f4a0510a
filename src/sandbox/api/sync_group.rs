//! SyncGroup: the leader brings everybody's assignment, the others wait for it.

use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, text};

/// The answer names type and protocol from here on.
const NAMES_SINCE: i16 = 5;
/// Nothing is due: something else must change.
const LOOK_AGAIN_MS: u64 = 100;

impl Api for SyncGroupRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<SyncGroupResponse> {
        let (version, now_ms) = (context.version(), context.now.elapsed_ms);
        if let Err(code) = context.cluster.check_coordinator(&self.group_id, context.exchange.node) {
            return Attempt::Done(self.refusal(code, version));
        }
        let Some(group) = context.cluster.groups.get_mut(self.group_id.as_str()) else {
            return Attempt::Done(self.refusal(ErrorCode::UNKNOWN_MEMBER_ID, version));
        };
        if context.is_first {
            let plan = self.assignments.iter();
            let plan = plan.map(|one| (one.member_id.to_string(), one.assignment.clone())).collect();
            if let Err(code) = group.sync(&self.member_id, self.generation_id, plan, now_ms) {
                return Attempt::Done(self.refusal(code, version));
            }
        }
        match group.synced(&self.member_id, self.generation_id) {
            Err(code) => Attempt::Done(self.refusal(code, version)),
            Ok(None) => Attempt::Wait { until_ms: group.next_due_ms().unwrap_or(now_ms + LOOK_AGAIN_MS) },
            Ok(Some(assignment)) => {
                let response = SyncGroupResponse::default().with_assignment(assignment);
                Attempt::Done(match version >= NAMES_SINCE {
                    true => response
                        .with_protocol_type(Some(text(&group.protocol_type)))
                        .with_protocol_name(Some(text(&group.protocol))),
                    false => response,
                })
            }
        }
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> SyncGroupResponse {
        SyncGroupResponse::default().with_error_code(code.0)
    }
}
