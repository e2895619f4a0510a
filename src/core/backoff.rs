//! Pauses between attempts: doubling, bounded, spread.

/// The first pause, in ms.
const FIRST_MS: u64 = 20;
/// The longest pause, in ms.
const LONGEST_MS: u64 = 5_000;

/// The pause after failed attempt number `attempt` (from 0), in ms. `spread` picks a point in the upper half of it, so
/// that many partitions that failed at once do not come back at once.
pub fn pause_ms(attempt: u32, spread: u64) -> u64 {
    let full = FIRST_MS.saturating_mul(1 << attempt.min(16)).min(LONGEST_MS);
    let half = full / 2;
    // Fibonacci hashing: neighbouring numbers land far apart.
    half + (spread.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % (half + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_stay_in_their_upper_half() {
        for spread in 0..100 {
            assert!((10..=20).contains(&pause_ms(0, spread)));
            assert!((20..=40).contains(&pause_ms(1, spread)));
            assert!((2_500..=5_000).contains(&pause_ms(u32::MAX, spread)));
        }
        assert_ne!(pause_ms(3, 1), pause_ms(3, 2));
    }
}
