//! Error codes that brokers answer and twinlog itself never meets: [`ErrorCode`] has the others.
//!
//! Source: `Errors` in Kafka's clients.

use twinlog_wire::error_code::ErrorCode;

pub(crate) const INVALID_REQUIRED_ACKS: ErrorCode = ErrorCode(21);
pub(crate) const INVALID_REPLICA_ASSIGNMENT: ErrorCode = ErrorCode(39);
pub(crate) const NON_EMPTY_GROUP: ErrorCode = ErrorCode(68);
pub(crate) const GROUP_ID_NOT_FOUND: ErrorCode = ErrorCode(69);
