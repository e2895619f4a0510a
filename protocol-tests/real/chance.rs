//! Chance with a seed that is printed, so that a failure can be had again (as far as real brokers let it).

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The environment variable that gives a seed.
const SEED: &str = "TWINLOG_SEED";

/// SplitMix64.
pub(crate) struct Chance(u64);

impl Chance {
    /// From `TWINLOG_SEED`, or from a random seed. Prints it: cargo shows it when the test fails.
    pub(crate) fn new(test: &str) -> Self {
        let seed = match std::env::var(SEED) {
            Ok(text) => text.parse().expect("TWINLOG_SEED is a number"),
            Err(_) => RandomState::new().hash_one(test),
        };
        println!("{test}: {SEED}={seed}");
        Self(seed)
    }

    /// Below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }

    /// A moment up to `most` from now.
    pub(crate) fn moment(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.below(most.max(1)))
    }
}
