//! How long the looking verbs wait for a cluster, and what they say when it does not answer.

use std::time::Duration;

use tokio::time::Instant;
use twinlog_client::{Error, Retry};
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
    match error.code() {
        Some(code) if code.retry() == Retry::Never => failure.advise("grant the right that the broker names"),
        _ => failure.advise("check the addresses in the configuration and whether the brokers are up"),
    }
}
