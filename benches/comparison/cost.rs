//! What a process has used so far, from /proc.

use std::fs;
use std::time::{Duration, Instant};

use twinlog_testcontainers::peak_resident_bytes;

use crate::child::living_cpu;

/// Linux counts in hundredths of a second what it tells of a process, on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// From a process's start to some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time, in seconds.
    pub(crate) cpu_s: f64,
    pub(crate) wall_s: f64,
    /// The largest resident set so far, in MiB.
    pub(crate) resident_mib: f64,
}

impl Usage {
    /// Of a running process that was started at `begun`.
    pub(crate) fn so_far(pid: u32, begun: Instant) -> Option<Self> {
        Some(Self {
            cpu_s: cpu(pid)?.as_secs_f64(),
            wall_s: begun.elapsed().as_secs_f64(),
            resident_mib: peak_resident_bytes(pid)? as f64 / f64::from(1 << 20),
        })
    }
}

/// User and system time of all threads. Those that have ended are in the whole process's count alone, which is in
/// ticks; of a process whose threads live on, their own counts are exact.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some((TICK * ticks(&stat)?).max(living_cpu(pid)?))
}

/// User and system time are fields 14 and 15; the second one is the name in parentheses and may hold spaces.
fn ticks(stat: &str) -> Option<u32> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |place: usize| fields.get(place)?.parse::<u32>().ok();
    field(11)?.checked_add(field(12)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a b) c)) S 1 7 7 0 -1 4194560 109 0 0 0 12 30 0 0 20 0 1 0 100 200 300";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn a_process_knows_its_own_usage() {
        let usage = Usage::so_far(std::process::id(), Instant::now()).unwrap();
        assert!(usage.resident_mib > 0.1, "{usage:?}");
    }
}
