//! Error codes that brokers answer and twinlog itself never meets: [`ErrorCode`] has the others.
//!
//! Source: `Errors` in Kafka's clients.

use twinlog_wire::error_code::ErrorCode;

pub(crate) const INVALID_REQUIRED_ACKS: ErrorCode = ErrorCode(21);
pub(crate) const ILLEGAL_GENERATION: ErrorCode = ErrorCode(22);
pub(crate) const INCONSISTENT_GROUP_PROTOCOL: ErrorCode = ErrorCode(23);
pub(crate) const INVALID_GROUP_ID: ErrorCode = ErrorCode(24);
pub(crate) const INVALID_SESSION_TIMEOUT: ErrorCode = ErrorCode(26);
pub(crate) const REBALANCE_IN_PROGRESS: ErrorCode = ErrorCode(27);
pub(crate) const INVALID_REPLICA_ASSIGNMENT: ErrorCode = ErrorCode(39);
pub(crate) const NON_EMPTY_GROUP: ErrorCode = ErrorCode(68);
pub(crate) const GROUP_ID_NOT_FOUND: ErrorCode = ErrorCode(69);
pub(crate) const MEMBER_ID_REQUIRED: ErrorCode = ErrorCode(79);
pub(crate) const FENCED_INSTANCE_ID: ErrorCode = ErrorCode(82);
