//! What a process has used so far, from /proc.

use std::fmt;
use std::time::Instant;

use twinlog_testcontainers::peak_resident_bytes;

/// What a copy cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// User and system time, in seconds.
    pub(crate) cpu_s: f64,
    /// From the process's start to the last record.
    pub(crate) wall_s: f64,
    /// The largest resident set, in MiB.
    pub(crate) resident_mib: f64,
}

impl Cost {
    /// Of a running process, since `begun`.
    pub(crate) fn so_far(pid: u32, begun: Instant) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name in parentheses and may hold spaces; user and system time are fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field)?.parse::<f64>().ok();
        Some(Self {
            // Linux counts these in hundredths of a second on every architecture that it tells to user space.
            cpu_s: (ticks(11)? + ticks(12)?) / 100.0,
            wall_s: begun.elapsed().as_secs_f64(),
            resident_mib: peak_resident_bytes(pid)? as f64 / f64::from(1 << 20),
        })
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} CPU-s, {:.1} s, {:.0} MiB", self.cpu_s, self.wall_s, self.resident_mib)
    }
}
