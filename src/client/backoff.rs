//! Pauses between attempts, as a pure function of the attempt and a random number.

use std::time::Duration;

/// Exponential pauses with jitter: the pause is between half and all of `base * 2^attempt`, and
/// never above `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first pause.
    pub base: Duration,
    /// The longest pause of all.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(100), max: Duration::from_secs(10) }
    }
}

impl Backoff {
    /// The pause after `attempt` (the first is 0), where `random` is any random number.
    pub fn pause(&self, attempt: u32, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(attempt).unwrap_or(u32::MAX);
        let full = self.base.saturating_mul(factor).min(self.max);
        let half = full / 2;
        let spread = u64::try_from((full - half).as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(random % spread.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(1) };
        for (attempt, full_ms) in [(0, 100), (1, 200), (3, 800), (4, 1000), (31, 1000), (99, 1000)] {
            let full = Duration::from_millis(full_ms);
            assert_eq!(backoff.pause(attempt, 0), full / 2, "attempt {attempt}");
            for random in [1, 77, 1 << 40, u64::MAX] {
                let pause = backoff.pause(attempt, random);
                assert!(pause >= full / 2 && pause <= full, "attempt {attempt}: {pause:?}");
            }
        }
    }

    #[test]
    fn no_base_is_no_pause() {
        let backoff = Backoff { base: Duration::ZERO, max: Duration::ZERO };
        assert_eq!(backoff.pause(5, u64::MAX), Duration::ZERO);
    }
}
