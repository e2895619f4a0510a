//! AddOffsetsToTxn: a group whose offsets the transaction will commit.

use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use twinlog_wire::error_code::ErrorCode;

use super::init_producer_id::fenced;
use super::{Api, Attempt, Context, number};
use crate::txn::Producer;

/// Before this version "fenced" is told as an invalid epoch.
const FENCED_SINCE: i16 = 2;

impl Api for AddOffsetsToTxnRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<AddOffsetsToTxnResponse> {
        let producer = Producer { id: self.producer_id.0, epoch: self.producer_epoch };
        let (node, now_ms) = (context.node(), context.now.elapsed_ms);
        let added = context.cluster.check_coordinator(&self.transactional_id, node).and_then(|()| {
            let transactions = &mut context.cluster.transactions;
            transactions.add_group(&self.transactional_id, producer, &self.group_id, now_ms)
        });
        let added = added.map_err(|code| fenced(code, context.version() >= FENCED_SINCE));
        Attempt::Done(AddOffsetsToTxnResponse::default().with_error_code(number(added)))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> AddOffsetsToTxnResponse {
        AddOffsetsToTxnResponse::default().with_error_code(code.0)
    }
}
