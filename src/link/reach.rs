//! How long the looking verbs wait for a cluster, and what they say when it does not answer.

use std::time::Duration;

use tokio::time::Instant;
use twinlog_client::{Cause, Error, ErrorCode, Retry};
use twinlog_core::report::{Failure, FailureKind};

/// How long a read is tried again before its error is the answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// When a read that begins now gives up.
pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// What the client could not do, as a verb's end.
pub fn out_of_reach(error: &Error) -> Failure {
    let failure = Failure::new(FailureKind::OutOfReach, error.to_string());
    if let Some(to_do) = remedy(error) {
        return failure.advise(to_do);
    }
    match error.code() {
        Some(code) if code.retry() == Retry::Never => failure.advise("grant the right that the broker names"),
        _ => failure.advise("check the addresses in the configuration and whether the brokers are up"),
    }
}

/// What to do where a broker cannot be talked to for how it is talked to.
pub(crate) fn remedy(error: &Error) -> Option<&'static str> {
    match error.cause() {
        Cause::Tls(_) | Cause::FrameTooLarge { .. } => Some("correct `tls` of this cluster in the configuration"),
        Cause::ClosedAtFirstRequest
        | Cause::Sasl(_)
        | Cause::Code {
            code:
                ErrorCode::SASL_AUTHENTICATION_FAILED
                | ErrorCode::UNSUPPORTED_SASL_MECHANISM
                | ErrorCode::ILLEGAL_SASL_STATE,
            ..
        } => Some("correct `sasl` of this cluster in the configuration, or the user on the brokers"),
        Cause::Token(_) => Some("see to the token's endpoint or file, or correct `sasl` of this cluster"),
        _ => None,
    }
}
