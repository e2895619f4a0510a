//! JoinGroup: waits until all members are there, or the time for it is over.

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, text, wait_ms};
use crate::group::{Group, Joining};

/// From here on a new member must come back with the id that it is given (KIP-394).
const MEMBER_ID_REQUIRED_SINCE: i16 = 4;
/// From here on the names of type and protocol may be null.
const NULLABLE_SINCE: i16 = 7;
const INSTANCE_SINCE: i16 = 5;
/// The rebalance time-out is in the request from here on; before, the session's stands for it.
const REBALANCE_TIMEOUT_SINCE: i16 = 1;
/// Nothing is due: something else must change.
const LOOK_AGAIN_MS: u64 = 100;
const GENERATION_NONE: i32 = -1;

impl Api for JoinGroupRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<JoinGroupResponse> {
        let version = context.version();
        if context.is_first
            && let Err(code) = join(self, context)
        {
            return Attempt::Done(self.refusal(code, version));
        }
        let Some(group) = context.cluster.groups.get(self.group_id.as_str()) else {
            return Attempt::Done(self.refusal(ErrorCode::UNKNOWN_MEMBER_ID, version));
        };
        match group.joined(&self.member_id) {
            Err(code) => Attempt::Done(self.refusal(code, version)),
            Ok(true) => Attempt::Done(joined(group, &self.member_id, version)),
            Ok(false) => {
                Attempt::Wait { until_ms: group.next_due_ms().unwrap_or(context.now.elapsed_ms + LOOK_AGAIN_MS) }
            }
        }
    }

    fn refusal(&self, code: ErrorCode, version: i16) -> JoinGroupResponse {
        JoinGroupResponse::default()
            .with_error_code(code.0)
            .with_generation_id(GENERATION_NONE)
            .with_protocol_name((version < NULLABLE_SINCE).then(|| text("")))
            .with_member_id(self.member_id.clone())
    }
}

/// Takes the member in; a new one's id is noted in the request.
fn join(request: &mut JoinGroupRequest, context: &mut Context<'_>) -> Result<(), ErrorCode> {
    let (version, node, now_ms) = (context.version(), context.node(), context.now.elapsed_ms);
    if request.group_id.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    context.cluster.check_coordinator(&request.group_id, node)?;
    let settings = &context.cluster.settings;
    let shortest = settings.number("group.min.session.timeout.ms");
    let longest = settings.number("group.max.session.timeout.ms");
    let initial_delay_ms = u64::try_from(settings.number("group.initial.rebalance.delay.ms")).unwrap_or_default();
    if !(shortest..=longest).contains(&i64::from(request.session_timeout_ms)) {
        return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
    }
    if request.protocols.is_empty() {
        return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    let client_id = context.exchange.client_id;
    let new_member = request.member_id.is_empty().then(|| context.cluster.new_member(client_id));
    let group = context.cluster.groups.entry(request.group_id.to_string()).or_default();
    let instance = request.group_instance_id.as_ref().map(|instance| instance.to_string());
    if let Some(member_id) = new_member {
        let member_id = StrBytes::from_string(member_id);
        if version >= MEMBER_ID_REQUIRED_SINCE && instance.is_none() {
            group.promise(&member_id);
            request.member_id = member_id;
            return Err(ErrorCode::MEMBER_ID_REQUIRED);
        }
        request.member_id = member_id;
    } else if !group.knows(&request.member_id) {
        return Err(ErrorCode::UNKNOWN_MEMBER_ID);
    }
    let session_timeout_ms = wait_ms(request.session_timeout_ms);
    let joining = Joining {
        instance,
        client_id: client_id.to_owned(),
        session_timeout_ms,
        rebalance_timeout_ms: match version >= REBALANCE_TIMEOUT_SINCE {
            true => wait_ms(request.rebalance_timeout_ms),
            false => session_timeout_ms,
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.iter().map(|p| (p.name.to_string(), p.metadata.clone())).collect(),
    };
    group.join(&request.member_id, joining, initial_delay_ms, now_ms)?;
    group.tick(now_ms);
    Ok(())
}

fn joined(group: &Group, member_id: &StrBytes, version: i16) -> JoinGroupResponse {
    let is_leader = group.leader == member_id.as_str();
    let members = group.members.iter().filter(|_| is_leader).map(|(id, member)| {
        let described =
            JoinGroupResponseMember::default().with_member_id(text(id)).with_metadata(member.metadata(&group.protocol));
        let instance = member.instance.as_deref().map(text).filter(|_| version >= INSTANCE_SINCE);
        described.with_group_instance_id(instance)
    });
    let response = JoinGroupResponse::default()
        .with_generation_id(group.generation)
        .with_protocol_name(Some(text(&group.protocol)))
        .with_leader(text(&group.leader))
        .with_member_id(member_id.clone())
        .with_members(members.collect());
    if version >= NULLABLE_SINCE { response.with_protocol_type(Some(text(&group.protocol_type))) } else { response }
}
