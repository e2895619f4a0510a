//! How many bytes a Fetch answer may have. Small answers stay in the processor's caches from the socket to the socket;
//! large ones make up for a long way to the broker, since the next one is asked for when the last one has come.

use core::time::Duration;

/// Below this the cost of a request counts.
const BYTES_MIN: u64 = 512 << 10;
/// Full answers that come more slowly, in bytes a millisecond, are mostly waited for.
const SLOW: u64 = 128 << 10;
/// So much larger is the next answer then.
const STEP: u64 = 4;
/// Those that come faster are large enough.
const FAST: u64 = 512 << 10;
/// A broker is far away if none of its answers came within this time: one that is near and has much to do is not.
const FAR: Duration = Duration::from_millis(5);
/// An answer with this part of what it may have, in quarters, is full.
const FULL_QUARTERS: u64 = 3;

/// The limit for the answers of one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerSize {
    bytes: u64,
    full: bool,
    slow: bool,
    /// What the fastest answer took.
    fastest: Duration,
}

impl Default for AnswerSize {
    fn default() -> Self {
        Self { bytes: BYTES_MIN, full: false, slow: false, fastest: Duration::MAX }
    }
}

impl AnswerSize {
    /// The limit of the next answer in bytes; never above `bytes_max`.
    pub fn bytes(&self, bytes_max: u64) -> u64 {
        self.bytes.min(bytes_max)
    }

    /// Whether the last answer left nothing of its limit, so that there was more to say.
    pub fn was_full(&self) -> bool {
        self.full
    }

    /// Whether full answers of a broker that is far away are mostly waited for.
    pub fn is_waited_for(&self) -> bool {
        self.full && self.slow && self.fastest >= FAR
    }

    /// Whether that is so although they are as large as they may be.
    pub fn is_too_small(&self, bytes_max: u64) -> bool {
        self.is_waited_for() && self.bytes >= bytes_max
    }

    /// An answer of `got` bytes came `took` after it was asked for; it might have had `limit`.
    pub fn answered(&mut self, got: u64, limit: u64, took: Duration) {
        self.fastest = self.fastest.min(took);
        self.full = got.saturating_mul(4) >= limit.saturating_mul(FULL_QUARTERS);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let rate = got.saturating_mul(1_000) / took_us;
        self.slow = rate < SLOW;
        if self.is_waited_for() {
            self.bytes = limit.saturating_mul(STEP).max(BYTES_MIN);
        } else if rate > FAST {
            self.bytes = (limit / 2).max(BYTES_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 8 << 20;

    /// The limit after so many full answers of a broker so far away, over a network without a limit.
    fn after(answers: u32, way: Duration) -> u64 {
        let mut size = AnswerSize::default();
        for _ in 0..answers {
            let limit = size.bytes(MAX);
            size.answered(limit, limit, way);
        }
        size.bytes(MAX)
    }

    #[test]
    fn a_long_way_makes_answers_larger_up_to_the_limit_and_a_short_one_keeps_them_small() {
        let (long, short) = (Duration::from_millis(100), Duration::from_micros(500));
        assert_eq!(after(0, long), BYTES_MIN);
        assert_eq!(after(1, long), STEP * BYTES_MIN);
        assert_eq!(after(20, long), MAX);
        assert_eq!(after(20, short), BYTES_MIN);
        assert_eq!(AnswerSize::default().bytes(1_000), 1_000);
    }

    #[test]
    fn answers_are_too_small_where_the_largest_are_mostly_waited_for() {
        let mut size = AnswerSize::default();
        let slow = Duration::from_millis(100);
        size.answered(BYTES_MIN, BYTES_MIN, slow);
        assert!(!size.is_too_small(MAX), "they may be larger");
        assert!(size.is_too_small(BYTES_MIN));
        size.answered(BYTES_MIN / 2, BYTES_MIN, slow);
        assert!(!size.is_too_small(BYTES_MIN), "there is no more");
        size.answered(BYTES_MIN, BYTES_MIN, slow);
        assert!(size.is_too_small(BYTES_MIN));
        size.answered(BYTES_MIN, BYTES_MIN, Duration::from_millis(1));
        assert!(!size.is_too_small(BYTES_MIN), "it came fast");
        size.answered(BYTES_MIN, BYTES_MIN, slow);
        assert!(!size.is_too_small(BYTES_MIN), "it is near, and has much to do");
    }

    #[test]
    fn answers_are_as_large_as_makes_up_for_the_way() {
        assert_eq!(after(20, Duration::from_millis(10)), 2 << 20, "more than 128 KiB a millisecond");
    }

    #[test]
    fn an_answer_that_is_not_full_makes_none_larger() {
        let mut size = AnswerSize::default();
        size.answered(BYTES_MIN / 2, BYTES_MIN, Duration::from_secs(1));
        assert!(!size.was_full());
        assert_eq!(size.bytes(MAX), BYTES_MIN);
    }

    #[test]
    fn answers_get_smaller_again_when_they_come_fast() {
        let mut size = AnswerSize { bytes: MAX, full: true, ..AnswerSize::default() };
        size.answered(MAX, MAX, Duration::from_millis(10));
        assert_eq!(size.bytes(MAX), MAX / 2);
        assert!(size.was_full());
    }
}
