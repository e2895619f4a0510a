//! The faults of single requests that a profile asks for.

use std::time::Duration;

use fastrand::Rng;
use twinlog_sandbox::{ApiKey, ErrorCode, Fault, FaultId, Sandbox};

use crate::instance::LINK;
use crate::profile::Profile;

/// Passing refusals that leave no trace.
const REFUSALS: [(&str, ApiKey, ErrorCode); 11] = [
    ("Produce refused", ApiKey::Produce, ErrorCode::NOT_LEADER_OR_FOLLOWER),
    ("Produce refused", ApiKey::Produce, ErrorCode::NOT_ENOUGH_REPLICAS),
    ("Fetch refused", ApiKey::Fetch, ErrorCode::NOT_LEADER_OR_FOLLOWER),
    ("Fetch refused", ApiKey::Fetch, ErrorCode::UNKNOWN_LEADER_EPOCH),
    ("Fetch session forgotten", ApiKey::Fetch, ErrorCode::FETCH_SESSION_ID_NOT_FOUND),
    ("InitProducerId refused", ApiKey::InitProducerId, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
    ("InitProducerId refused", ApiKey::InitProducerId, ErrorCode::CONCURRENT_TRANSACTIONS),
    ("AddPartitionsToTxn refused", ApiKey::AddPartitionsToTxn, ErrorCode::CONCURRENT_TRANSACTIONS),
    ("EndTxn refused", ApiKey::EndTxn, ErrorCode::NOT_COORDINATOR),
    ("ListOffsets refused", ApiKey::ListOffsets, ErrorCode::NOT_LEADER_OR_FOLLOWER),
    ("FindCoordinator refused", ApiKey::FindCoordinator, ErrorCode::COORDINATOR_NOT_AVAILABLE),
];

/// Refusals of what was done all the same.
const REFUSALS_AFTER: [(&str, ApiKey, ErrorCode); 6] = [
    ("Produce refused after the append", ApiKey::Produce, ErrorCode::NOT_LEADER_OR_FOLLOWER),
    ("Produce refused after the append", ApiKey::Produce, ErrorCode::REQUEST_TIMED_OUT),
    ("Produce refused after the append", ApiKey::Produce, ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND),
    ("AddPartitionsToTxn refused after it", ApiKey::AddPartitionsToTxn, ErrorCode::NOT_COORDINATOR),
    ("EndTxn refused after it", ApiKey::EndTxn, ErrorCode::REQUEST_TIMED_OUT),
    ("EndTxn refused after it", ApiKey::EndTxn, ErrorCode::UNKNOWN_SERVER_ERROR),
];

/// Adds the faults to a side; what they are called. A request that is processed twice is none of them: on a connection
/// bytes come once.
pub(crate) fn arm(sandbox: &Sandbox, profile: &Profile, rng: &mut Rng) -> Vec<(&'static str, FaultId)> {
    let mut armed = Vec::new();
    let mut add = |name, fault: Fault, chance: u32| {
        if chance > 0 {
            armed.push((name, sandbox.fault(fault.from_client(LINK).chance(chance))));
        }
    };
    let long_ms = rng.u64(300..=1_500);
    for time_ms in [3, 40, if profile.late { long_ms } else { 10 }] {
        add("requests delayed", Fault::delay(Duration::from_millis(time_ms)), profile.delays / 2);
    }
    add("requests lost", Fault::lose_request(), profile.lost_requests);
    add("answers lost", Fault::lose_answer(), profile.lost_answers);
    add("cuts before a request", Fault::cut_before(), profile.cuts_before);
    add("cuts after a request", Fault::cut_after(), profile.cuts_after);
    // What takes part in few requests is hit more often, or it would be hit in no world.
    for api in [ApiKey::InitProducerId, ApiKey::AddPartitionsToTxn, ApiKey::EndTxn] {
        add("transactions cut off", Fault::cut_after().on(api), profile.cuts_after * 4);
        add("transactions cut off", Fault::cut_before().on(api), profile.cuts_before * 4);
    }
    for (name, api, code) in REFUSALS {
        let often = if matches!(api, ApiKey::Produce | ApiKey::Fetch) { 1 } else { 4 };
        add(name, Fault::refuse(code).on(api), profile.refusals * often);
    }
    for (name, api, code) in REFUSALS_AFTER {
        add(name, Fault::refuse_after(code).on(api), profile.refusals_after);
    }
    armed
}
