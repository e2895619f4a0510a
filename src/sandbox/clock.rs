//! The two times that a cluster lives by: the wall clock, which stamps records and expires them, and the time that
//! passes, which ends waits. Both come from outside, so that a test can hold them.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Where wall-clock timestamps come from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    /// A clock that begins at `start_ms` (ms since 1970) and goes with tokio's time: it stands while that is paused.
    /// Make it inside of the runtime.
    pub fn with_tokio(start_ms: i64) -> Self {
        let begun = Instant::now();
        Self::new(move || start_ms.saturating_add(i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX)))
    }

    /// A clock that asks a function for ms since 1970.
    pub fn new(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// The moment in which something happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Ms since 1970, as records are stamped.
    pub(crate) wall_ms: i64,
    /// Ms since the cluster was made; never goes back.
    pub(crate) elapsed_ms: u64,
}
