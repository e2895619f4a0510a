//! What helps against a batch that was not stored.

use twinlog_wire::error_code::{ErrorCode, Retry};

use crate::io::Failure;

/// What to do about it.
pub(super) enum Remedy {
    /// Send the same bytes again. `certain`: it is known not to be on the target.
    Resend { certain: bool },
    /// Find out what the target has.
    Resolve,
    /// Nothing that the link can do.
    Halt,
}

/// How often a batch is sent again that arrived damaged: on a wire that passes, in memory or at the source it stays.
const DAMAGED_MAX: u32 = 3;

/// What to do after a failure, `attempt` failures in a row before it.
pub(super) fn remedy(failure: Failure, attempt: u32) -> Remedy {
    let code = match failure {
        Failure::NotSent => return Remedy::Resend { certain: true },
        Failure::Lost => return Remedy::Resend { certain: false },
        Failure::Code(code) => code,
    };
    match code {
        // Our sequences or our epoch are not what the broker has: the log knows why.
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
        | ErrorCode::DUPLICATE_SEQUENCE_NUMBER
        | ErrorCode::UNKNOWN_PRODUCER_ID
        | ErrorCode::INVALID_PRODUCER_ID_MAPPING
        | ErrorCode::INVALID_PRODUCER_EPOCH
        | ErrorCode::PRODUCER_FENCED => Remedy::Resolve,
        // Answered before anything is appended.
        ErrorCode::NOT_ENOUGH_REPLICAS
        | ErrorCode::TOPIC_AUTHORIZATION_FAILED
        | ErrorCode::CLUSTER_AUTHORIZATION_FAILED => Remedy::Resend { certain: true },
        ErrorCode::CORRUPT_MESSAGE if attempt < DAMAGED_MAX => Remedy::Resend { certain: true },
        ErrorCode::UNKNOWN_SERVER_ERROR => Remedy::Resend { certain: false },
        // All others that pass by themselves can come after the append, too: a leader that moved away while it
        // waited for its followers answers 6.
        code if code.retry() != Retry::Never => Remedy::Resend { certain: false },
        _ => Remedy::Halt,
    }
}
