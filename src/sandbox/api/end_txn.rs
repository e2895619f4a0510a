//! EndTxn: commits or aborts. The markers follow after the answer.

use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse};
use twinlog_wire::error_code::ErrorCode;

use super::init_producer_id::fenced;
use super::{Api, Attempt, Context, number};
use crate::txn::Producer;

/// Before this version "fenced" is told as an invalid epoch.
const FENCED_SINCE: i16 = 2;

impl Api for EndTxnRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<EndTxnResponse> {
        let producer = Producer { id: self.producer_id.0, epoch: self.producer_epoch };
        let (node, now_ms) = (context.node(), context.now.elapsed_ms);
        let ended = context
            .cluster
            .check_coordinator(&self.transactional_id, node)
            .and_then(|()| context.cluster.transactions.end(&self.transactional_id, producer, self.committed, now_ms));
        let ended = ended.map_err(|code| fenced(code, context.version() >= FENCED_SINCE));
        Attempt::Done(EndTxnResponse::default().with_error_code(number(ended)))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> EndTxnResponse {
        EndTxnResponse::default().with_error_code(code.0)
    }
}
