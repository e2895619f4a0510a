//! DeleteGroups: groups without members, with all that they have committed.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, number};
use crate::cluster::Cluster;
use crate::codes;
use crate::group::State;

impl Api for DeleteGroupsRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<DeleteGroupsResponse> {
        let node = context.node();
        let results = self.groups_names.iter().map(|id| result(id, delete(context.cluster, id, node)));
        Attempt::Done(DeleteGroupsResponse::default().with_results(results.collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> DeleteGroupsResponse {
        let results = self.groups_names.iter().map(|id| result(id, Err(code)));
        DeleteGroupsResponse::default().with_results(results.collect())
    }
}

fn delete(cluster: &mut Cluster, id: &GroupId, node: i32) -> Result<(), ErrorCode> {
    cluster.check_coordinator(id, node)?;
    let group = cluster.groups.get(id.as_str()).ok_or(codes::GROUP_ID_NOT_FOUND)?;
    if group.state != State::Empty {
        return Err(codes::NON_EMPTY_GROUP);
    }
    cluster.groups.remove(id.as_str());
    Ok(())
}

fn result(id: &GroupId, result: Result<(), ErrorCode>) -> DeletableGroupResult {
    DeletableGroupResult::default().with_group_id(id.clone()).with_error_code(number(result))
}
