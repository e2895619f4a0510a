//! ListGroups: those that this node coordinates.

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, text};

const STATES_SINCE: i16 = 4;
const TYPES_SINCE: i16 = 5;

impl Api for ListGroupsRequest {
    const READS_ONLY: bool = true;

    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<ListGroupsResponse> {
        let version = context.version();
        let wanted = |filter: &[StrBytes], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let here = context.cluster.groups.iter().filter(|(id, group)| {
            context.cluster.coordinator(id) == context.exchange.node
                && wanted(&self.states_filter, group.state.name())
                && wanted(&self.types_filter, "classic")
        });
        let groups = here.map(|(id, group)| {
            let mut listed =
                ListedGroup::default().with_group_id(GroupId(text(id))).with_protocol_type(text(&group.protocol_type));
            if version >= STATES_SINCE {
                listed.group_state = text(group.state.name());
            }
            if version >= TYPES_SINCE {
                listed.group_type = text("classic");
            }
            listed
        });
        Attempt::Done(ListGroupsResponse::default().with_groups(groups.collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> ListGroupsResponse {
        ListGroupsResponse::default().with_error_code(code.0)
    }
}
