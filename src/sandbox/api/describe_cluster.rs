//! DescribeCluster.

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
use twinlog_wire::error_code::ErrorCode;

use super::metadata::CLUSTER_OPERATIONS;
use super::{Api, Attempt, Context, text};

/// From here on brokers and controllers are told apart (KIP-919).
const ENDPOINT_TYPE_SINCE: i16 = 1;
const ENDPOINT_BROKERS: i8 = 1;
/// "Wrong kind of endpoint": controllers cannot be asked for here (`MISMATCHED_ENDPOINT_TYPE`).
const MISMATCHED_ENDPOINT_TYPE: ErrorCode = ErrorCode(114);

impl Api for DescribeClusterRequest {
    const READS_ONLY: bool = true;

    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<DescribeClusterResponse> {
        let version = context.version();
        if version >= ENDPOINT_TYPE_SINCE && self.endpoint_type != ENDPOINT_BROKERS {
            return Attempt::Done(self.refusal(MISMATCHED_ENDPOINT_TYPE, version));
        }
        let brokers = context.cluster.nodes.iter().map(|node| {
            let (host, port) = context.address(*node);
            DescribeClusterBroker::default().with_broker_id(BrokerId(*node)).with_host(host).with_port(port)
        });
        let mut response = DescribeClusterResponse::default()
            .with_cluster_id(text(&context.cluster.id))
            .with_controller_id(BrokerId(context.cluster.nodes.first().copied().unwrap_or(-1)))
            .with_brokers(brokers.collect());
        if self.include_cluster_authorized_operations {
            response.cluster_authorized_operations = CLUSTER_OPERATIONS;
        }
        Attempt::Done(response)
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> DescribeClusterResponse {
        DescribeClusterResponse::default().with_error_code(code.0).with_controller_id(BrokerId(-1))
    }
}
