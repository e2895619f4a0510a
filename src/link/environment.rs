//! What a link has from outside: threads for its lanes, clocks, and who measures it. A simulation gives it others.

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::meter::Meter;

/// Where a link runs and by which clock. The default is what a program wants.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Where its lanes run.
    pub lanes: LanePlace,
    /// What time it is.
    pub clock: WallClock,
    /// What has passed, also while the machine slept.
    pub boot_clock: BootClock,
    /// How its requests to the source are cut.
    pub request_partitions: RequestPartitions,
    /// Who wants to know what its lanes spend their time on.
    pub meter: Option<Meter>,
}

/// Partitions with more to read in a request to a source broker that has more to say than fits an answer: others have
/// their turn next. So few are always named whole, too: for more there is a fetch session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestPartitions(pub usize);

impl Default for RequestPartitions {
    /// What names and bodies cost is about the same then.
    fn default() -> Self {
        Self(64)
    }
}

/// Where lanes run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LanePlace {
    /// On threads of their own, as many as there are cores, each with a runtime that its lanes share.
    #[default]
    OwnThreads,
    /// In the runtime that runs the link: under a clock that is paused all must be in one.
    SameRuntime,
}

/// How many threads so many lanes have: no more than there are cores.
pub fn lane_threads(lanes: usize) -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).min(lanes).max(1)
}

/// Where wall-clock time comes from. What has passed is measured by tokio's clock in any case.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl WallClock {
    /// A clock that asks a function for ms since 1970.
    pub fn new(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// Ms since 1970.
    pub fn now_ms(&self) -> i64 {
        (self.0)()
    }
}

impl Default for WallClock {
    /// The system's.
    fn default() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

/// A clock that never goes back and that goes on while the machine sleeps: leases are counted by it.
#[derive(Clone)]
pub struct BootClock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl BootClock {
    /// A clock that asks a function for ms since some moment.
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// Ms since some moment.
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

impl Default for BootClock {
    /// The system's, since its start.
    fn default() -> Self {
        Self::new(|| {
            let now = clock_gettime(ClockId::Boottime);
            let part = |number: i64| u64::try_from(number).unwrap_or_default();
            part(now.tv_sec) * 1_000 + part(now.tv_nsec) / 1_000_000
        })
    }
}

impl fmt::Debug for BootClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootClock")
    }
}
