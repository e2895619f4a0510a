//! FindCoordinator: which node keeps a group or a transactional id.

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context};

/// From here on several keys can be asked for (KIP-699).
const KEYS_SINCE: i16 = 4;
/// Share groups and whatever else comes: not here.
const KIND_MAX: i8 = 1;

impl Api for FindCoordinatorRequest {
    const READS_ONLY: bool = true;

    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<FindCoordinatorResponse> {
        let version = context.version();
        if !(0..=KIND_MAX).contains(&self.key_type) {
            return Attempt::Done(self.refusal(ErrorCode::INVALID_REQUEST, version));
        }
        let find = |key: &StrBytes| {
            let node = context.cluster.coordinator(key);
            let (host, port) = context.address(node);
            (node, host, port)
        };
        if version < KEYS_SINCE {
            let (node, host, port) = find(&self.key);
            let response = FindCoordinatorResponse::default().with_node_id(BrokerId(node));
            return Attempt::Done(response.with_host(host).with_port(port));
        }
        let coordinators = self.coordinator_keys.iter().map(|key| {
            let (node, host, port) = find(key);
            Coordinator::default().with_key(key.clone()).with_node_id(BrokerId(node)).with_host(host).with_port(port)
        });
        Attempt::Done(FindCoordinatorResponse::default().with_coordinators(coordinators.collect()))
    }

    fn refusal(&self, code: ErrorCode, version: i16) -> FindCoordinatorResponse {
        if version < KEYS_SINCE {
            let response = FindCoordinatorResponse::default().with_error_code(code.0);
            return response.with_node_id(BrokerId(-1)).with_port(-1);
        }
        let coordinators = self.coordinator_keys.iter().map(|key| {
            Coordinator::default()
                .with_key(key.clone())
                .with_node_id(BrokerId(-1))
                .with_port(-1)
                .with_error_code(code.0)
        });
        FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
    }
}
