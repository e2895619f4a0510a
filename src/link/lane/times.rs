//! What a lane's time goes into, from the first batch in flight to the last that is stored.

use tokio::time::Instant;

use crate::meter::{LaneTimes, Waits};

/// Counts a lane's time. Each moment is either work or a wait, and a wait is for what is under way then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// When the first request with batches was under way.
    begun: Option<Instant>,
    /// When the last wait or work began.
    since: Option<Instant>,
    /// What is waited for now: an answer of the source, of the target.
    waits_for: (bool, bool),
    waits: Waits,
    /// As of the last batch that was stored: what comes later is no part of the copy.
    measured: Option<LaneTimes>,
    stored_bytes: u64,
}

impl Times {
    /// The lane has done what there was to do, and waits for answers now, if any.
    pub(super) fn worked(&mut self, from_source: bool, from_target: bool, stored_bytes: u64) {
        let now = Instant::now();
        if from_target {
            self.begun.get_or_insert(now);
        }
        let Some(begun) = self.begun else { return };
        self.waits.working += now - self.since.unwrap_or(now);
        if stored_bytes > self.stored_bytes {
            self.stored_bytes = stored_bytes;
            self.measured = Some(LaneTimes { begun, ended: now, stored_bytes, waits: self.waits });
        }
        self.since = Some(now);
        self.waits_for = (from_source, from_target);
    }

    /// Something has arrived.
    pub(super) fn waited(&mut self) {
        let Some(since) = self.since else { return };
        let now = Instant::now();
        let wait = match self.waits_for {
            (true, false) => &mut self.waits.source,
            (false, true) => &mut self.waits.target,
            (true, true) => &mut self.waits.both,
            (false, false) => &mut self.waits.neither,
        };
        *wait += now - since;
        self.since = Some(now);
    }

    /// The lane's times, if it has stored anything.
    pub(super) fn measured(&self) -> Option<LaneTimes> {
        self.measured
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_moment_counts_once_and_the_end_is_the_last_stored_batch() {
        let (step, mut times) = (Duration::from_millis(10), Times::default());
        // Before anything is sent.
        times.worked(true, false, 0);
        advance(step).await;
        times.waited();
        let begun = Instant::now();
        for waits_for in [(true, true), (true, true), (true, false), (false, true)] {
            times.worked(waits_for.0, waits_for.1, 0);
            advance(step).await;
            times.waited();
        }
        advance(step).await;
        assert_eq!(times.measured().map(|times| times.stored_bytes), None);
        times.worked(true, false, 70);
        advance(step).await;
        // Behind the last one.
        times.waited();
        times.worked(true, false, 70);
        let waits = Waits { working: step, source: step, target: step, both: 2 * step, neither: Duration::ZERO };
        let wanted = LaneTimes { begun, ended: begun + 5 * step, stored_bytes: 70, waits };
        assert_eq!(times.measured(), Some(wanted));
    }
}
