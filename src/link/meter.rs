//! What the lanes of a link spent their time on: for who compares settings. A link that nobody measures does not count.

use std::ops::AddAssign;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Hears from each lane, when it ends in order, what its time went into. Clones share what was heard.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Vec<LaneTimes>>>);

/// A lane's time from its first request with batches to the last batch that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneTimes {
    /// When its first request with batches was under way.
    pub begun: Instant,
    /// When it heard that the last batch was stored.
    pub ended: Instant,
    /// Bytes of the batches that were stored.
    pub stored_bytes: u64,
    /// What the time between went into.
    pub waits: Waits,
}

/// What time went into. Each moment counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// The lane worked, or was ready to and had no core.
    pub working: Duration,
    /// It waited for answers of the source, and nothing was in flight to the target.
    pub source: Duration,
    /// It waited for answers of the target, and asked the source for nothing meanwhile.
    pub target: Duration,
    /// It waited for both.
    pub both: Duration,
    /// It waited for neither: for the map, a fence, or for nothing.
    pub neither: Duration,
}

impl AddAssign for Waits {
    fn add_assign(&mut self, other: Self) {
        self.working += other.working;
        self.source += other.source;
        self.target += other.target;
        self.both += other.both;
        self.neither += other.neither;
    }
}

impl Meter {
    /// What was heard so far, in no order.
    pub fn lanes(&self) -> Vec<LaneTimes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A lane has ended.
    pub(crate) fn tell(&self, lane: Option<LaneTimes>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(lane);
    }
}
