//! Watching the ends of mirrors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use twinlog_testcontainers::{At, OracleAt};

/// The longest time for which an end did not move.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stalls {
    /// Of the partitions that the ended instance had.
    pub(crate) moved: Duration,
    /// Of all others.
    pub(crate) stayed: Duration,
}

impl fmt::Display for Stalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its partitions {:.2} s, the others {:.2} s", self.moved.as_secs_f64(), self.stayed.as_secs_f64())
    }
}

/// Watches a topic's ends for so long, and goes on until each of them has moved after that.
pub(crate) fn watch(
    at: &OracleAt<'_>,
    topic: &str,
    moved: &BTreeSet<i32>,
    watched: Duration,
    most: Duration,
) -> Stalls {
    let begun = Instant::now();
    let mut ends: BTreeMap<i32, (i64, Instant)> = BTreeMap::new();
    let mut stalls = Stalls::default();
    loop {
        let found = at.offsets(topic, At::End).expect("the mirror's ends");
        let now = Instant::now();
        for (partition, end) in found {
            let (last, since) = ends.entry(partition).or_insert((end, begun));
            if *last != end {
                let stall = if moved.contains(&partition) { &mut stalls.moved } else { &mut stalls.stayed };
                *stall = (*stall).max(now - *since);
                (*last, *since) = (end, now);
            }
        }
        if begun.elapsed() > watched && ends.values().all(|(_, since)| *since > begun + watched) {
            return stalls;
        }
        assert!(begun.elapsed() < most, "an end still stands still after {most:?}");
    }
}
