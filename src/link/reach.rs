//! How long the looking verbs wait for a cluster, and what they say when it does not answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use twinlog_client::{Cause, Cluster, Error, ErrorCode, Metadata, Retry};
use twinlog_core::report::{Failure, FailureKind};

/// How long a read is tried again before its error is the answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// After it somebody who waits for a cluster hears of it.
const SILENCE: Duration = Duration::from_secs(3);

/// When a read that begins now gives up.
pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Asks a cluster for the first time; one that keeps silent is named while it is waited for.
pub(crate) async fn first_contact(link: &str, cluster: &Cluster, deadline: Instant) -> Result<Arc<Metadata>, Error> {
    let asked = cluster.retry(deadline, || cluster.refresh());
    tokio::pin!(asked);
    if let Ok(answer) = timeout(SILENCE, asked.as_mut()).await {
        return answer;
    }
    tracing::warn!(link, cluster = %cluster.peer(), "No broker has answered yet; trying again.");
    asked.await
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
