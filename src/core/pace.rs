//! Which partitions of the target are slow, and so must not share a connection with others.
//!
//! A broker works on the requests of a connection one by one, and a Produce request is answered when its slowest
//! partition is. So one partition that waits for a follower holds all that share its request, and all requests behind
//! it. Who is to blame is said by the codes 7, 19 and 20 (KIP-19), which stand at each partition; by the time that an
//! answer took only where the request held one partition.

use alloc::collections::BTreeMap;

use twinlog_wire::error_code::ErrorCode;

use crate::io::LanePartition;
use crate::outbox::Answer;

/// An answer that takes longer, in ms, is slow: so long may one partition hold others. It is also what a broker is told
/// to wait for followers at most, so that it says in time whose followers are missing.
pub const SLOW_MS: u64 = 1_000;

/// How long a partition counts as slow after its last slow answer, in ms.
const HOLD_MS: u64 = 30_000;

/// The slow partitions of a lane, each with the time of its last slow answer.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    slow: BTreeMap<LanePartition, u64>,
}

impl Pace {
    /// Takes an answer. `took_ms`: for how long the broker had nothing else of this connection to work on; `alone`:
    /// whether the request held no other partition. True if the partition was not slow before, and is from now on.
    pub fn answered(
        &mut self,
        now_ms: u64,
        partition: LanePartition,
        answer: &Answer,
        took_ms: u64,
        alone: bool,
    ) -> bool {
        let blamed = match answer {
            Answer::Refused(code, _) => matches!(
                *code,
                ErrorCode::REQUEST_TIMED_OUT
                    | ErrorCode::NOT_ENOUGH_REPLICAS
                    | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
            ),
            Answer::Stored { .. } => alone && took_ms > SLOW_MS,
            // That is about the connection.
            Answer::Lost | Answer::NotSent => false,
        };
        let before = self.is_slow(now_ms, partition);
        if blamed {
            self.slow.insert(partition, now_ms);
        } else if !before {
            self.slow.remove(&partition);
        }
        blamed && !before
    }

    /// Whether a partition belongs on a slow connection.
    pub fn is_slow(&self, now_ms: u64, partition: LanePartition) -> bool {
        self.slow.get(&partition).is_some_and(|at| now_ms < at + HOLD_MS)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;
    use crate::ids::TargetOffset;

    const STORED: Answer = Answer::Stored { base: TargetOffset(0), log_start: TargetOffset(0) };
    const ONE: LanePartition = LanePartition(1);
    const TWO: LanePartition = LanePartition(2);

    fn refused(code: ErrorCode) -> Answer {
        Answer::Refused(code, String::new())
    }

    #[test]
    fn who_answers_7_19_or_20_is_slow_and_its_neighbours_in_the_request_are_not() {
        for code in
            [ErrorCode::REQUEST_TIMED_OUT, ErrorCode::NOT_ENOUGH_REPLICAS, ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND]
        {
            let mut pace = Pace::default();
            assert!(pace.answered(100, ONE, &refused(code), 1_200, false));
            assert!(!pace.answered(100, TWO, &STORED, 1_200, false));
            assert!(pace.is_slow(100, ONE) && !pace.is_slow(100, TWO), "{code}");
            assert!(!pace.answered(200, ONE, &refused(code), 1_200, true), "it was slow before");
        }
    }

    #[test]
    fn time_alone_blames_only_who_was_alone_and_no_lost_answer() {
        let mut pace = Pace::default();
        assert!(!pace.answered(100, ONE, &STORED, SLOW_MS, true));
        assert!(!pace.answered(100, ONE, &Answer::Lost, 30_000, true));
        assert!(!pace.answered(100, ONE, &refused(ErrorCode::NOT_LEADER_OR_FOLLOWER), 30_000, true));
        assert!(!pace.is_slow(100, ONE));
        assert!(pace.answered(100, ONE, &STORED, SLOW_MS + 1, true));
        assert!(pace.is_slow(100, ONE));
    }

    #[test]
    fn a_slow_partition_comes_back_a_while_after_its_last_slow_answer() {
        let mut pace = Pace::default();
        pace.answered(0, ONE, &refused(ErrorCode::REQUEST_TIMED_OUT), 0, false);
        pace.answered(20_000, ONE, &STORED, 5, true);
        assert!(pace.is_slow(HOLD_MS - 1, ONE));
        assert!(!pace.is_slow(HOLD_MS, ONE));
        pace.answered(20_000, ONE, &STORED, 2_000, true);
        assert!(pace.is_slow(20_000 + HOLD_MS - 1, ONE), "each slow answer begins the time anew");
        pace.answered(60_000, ONE, &STORED, 5, false);
        assert!(pace.slow.is_empty(), "what came back is forgotten");
    }
}
