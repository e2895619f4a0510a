//! InitProducerId: a new producer id, or the next epoch of a transactional id.

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, wait_ms};
use crate::txn::Producer;

/// Before this version "fenced" is told as an invalid epoch.
const FENCED_SINCE: i16 = 4;

impl Api for InitProducerIdRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<InitProducerIdResponse> {
        let version = context.version();
        Attempt::Done(match self.init(context) {
            Ok(producer) => InitProducerIdResponse::default()
                .with_producer_id(ProducerId(producer.id))
                .with_producer_epoch(producer.epoch),
            Err(code) => self.refusal(code, version),
        })
    }

    fn refusal(&self, code: ErrorCode, version: i16) -> InitProducerIdResponse {
        let code = fenced(code, version >= FENCED_SINCE);
        InitProducerIdResponse::default()
            .with_error_code(code.0)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    }
}

/// Old clients do not know the code for a fenced producer.
pub(super) fn fenced(code: ErrorCode, is_known: bool) -> ErrorCode {
    match code {
        ErrorCode::PRODUCER_FENCED if !is_known => ErrorCode::INVALID_PRODUCER_EPOCH,
        other => other,
    }
}

trait Inits {
    fn init(&self, context: &mut Context<'_>) -> Result<Producer, ErrorCode>;
}

impl Inits for InitProducerIdRequest {
    fn init(&self, context: &mut Context<'_>) -> Result<Producer, ErrorCode> {
        let Some(transactional_id) = &self.transactional_id else {
            return Ok(context.cluster.transactions.new_producer());
        };
        if transactional_id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        context.cluster.check_coordinator(transactional_id, context.exchange.node)?;
        let timeout_max = context.cluster.settings.number("transaction.max.timeout.ms");
        if !(1..=timeout_max).contains(&i64::from(self.transaction_timeout_ms)) {
            return Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
        }
        let expected = match (self.producer_id.0, self.producer_epoch) {
            (-1, -1) => None,
            (id, epoch) if id >= 0 && epoch >= 0 => Some(Producer { id, epoch }),
            _ => return Err(ErrorCode::INVALID_REQUEST),
        };
        let timeout_ms = wait_ms(self.transaction_timeout_ms);
        context.cluster.transactions.init(transactional_id, expected, timeout_ms, context.now.elapsed_ms)
    }
}
