//! Until when this instance may write its lanes: looked at before each write of data, map and fences, and again before
//! their bytes go to the socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use twinlog_client::Permit;

use crate::environment::BootClock;

/// The lease of an instance. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    until_ms: Arc<AtomicU64>,
    clock: BootClock,
}

impl Lease {
    /// A lease that has not begun.
    pub(crate) fn new(clock: BootClock) -> Self {
        Self { until_ms: Arc::default(), clock }
    }

    /// One that does not end: of a command that writes once.
    pub(crate) fn for_ever() -> Self {
        Self { until_ms: Arc::new(AtomicU64::new(u64::MAX)), clock: BootClock::default() }
    }

    /// It holds until then, by the boot clock; a time in the past ends it.
    pub(crate) fn set(&self, until_ms: u64) {
        self.until_ms.store(until_ms, Ordering::Release);
    }

    /// Whether it holds now.
    pub(crate) fn holds(&self) -> bool {
        self.clock.now_ms() < self.until_ms.load(Ordering::Acquire)
    }

    /// For requests that must not leave after its end.
    pub(crate) fn permit(&self) -> Permit {
        let lease = self.clone();
        Permit::new(move || lease.holds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_by_the_clock_and_goes_on_when_it_is_proved_again() {
        let now = Arc::new(AtomicU64::new(10));
        let clock = Arc::clone(&now);
        let lease = Lease::new(BootClock::new(move || clock.load(Ordering::Relaxed)));
        assert!(!lease.holds());
        lease.set(20);
        assert!(lease.holds() && lease.clone().holds());
        now.store(20, Ordering::Relaxed);
        assert!(!lease.holds());
        lease.set(30);
        assert!(lease.holds());
        lease.set(0);
        assert!(!lease.holds());
    }
}
