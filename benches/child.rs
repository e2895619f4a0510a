//! What a child process costs, as the system counts it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use twinlog_testcontainers::{Folder, Program, peak_resident_bytes};

/// What a child used of the machine between two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// User and system time of all threads.
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    /// The largest resident set so far, in bytes: the start counts.
    pub(crate) resident_bytes: u64,
}

/// A moment in a child's life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    cpu: Duration,
    at: Instant,
}

impl Moment {
    /// Now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Some(Self { cpu: living_cpu(pid)?, at: Instant::now() })
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }

    /// What was used since then, and at the most ever in memory.
    pub(crate) fn cost_until_now(self, pid: u32) -> Option<Cost> {
        let now = Self::of(pid)?;
        Some(Cost {
            cpu: now.cpu.saturating_sub(self.cpu),
            wall: now.at - self.at,
            resident_bytes: peak_resident_bytes(pid)?,
        })
    }
}

/// CPU time of all living threads, in nanoseconds, from /proc/<pid>/task/*/schedstat. /proc/<pid>/stat counts in
/// hundredths of a second; what a thread that has ended used is in that one alone.
pub(crate) fn living_cpu(pid: u32) -> Option<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // It may have ended since.
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanoseconds))
}

/// Counts system calls of a running child by strace.
#[derive(Debug)]
pub(crate) struct CallCounter {
    strace: Program,
    counts: &'static str,
    folder: Folder,
}

impl CallCounter {
    /// Attaches to a child and waits until that is done; an error where strace is not there or may not.
    pub(crate) fn attach(pid: u32, folder: &Folder) -> Result<Self, String> {
        let (counts, pid) = ("calls", pid.to_string());
        let words = ["-f", "-c", "-o", counts, "-p", &pid];
        let mut strace =
            Program::start("strace", Path::new("strace"), &words, &[], folder).map_err(|error| error.to_string())?;
        // It says for each thread that it has attached.
        let attached = format!("Process {pid} attached");
        loop {
            if strace.stderr().contains(&attached) {
                return Ok(Self { strace, counts, folder: folder.clone() });
            }
            if strace.wait(Duration::from_millis(10)).map_err(|error| error.to_string())?.is_some() {
                return Err(strace.stderr().trim().to_owned());
            }
        }
    }

    /// Detaches; how many calls there were.
    pub(crate) fn finish(mut self) -> Result<u64, String> {
        let words = |error: twinlog_testcontainers::Error| error.to_string();
        self.strace.terminate().map_err(words)?;
        self.strace.wait(Duration::from_secs(10)).map_err(words)?;
        let table = fs::read_to_string(self.folder.path().join(self.counts)).map_err(|error| error.to_string())?;
        total_calls(&table).ok_or_else(|| format!("strace's table has no total:\n{table}"))
    }
}

/// From the last line of strace's table: `100.00 0.012 3 1234 56 total`, the errors left out where there are none.
fn total_calls(table: &str) -> Option<u64> {
    let total = table.lines().find(|line| line.trim_end().ends_with(" total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_calls_is_found_with_and_without_errors() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n \
                     99.00    0.001000           2       500        12 read\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.001500           2       634        12 total\n";
        assert_eq!(total_calls(table), Some(634));
        assert_eq!(total_calls(&table.replace("       12 total", "           total")), Some(634));
        assert_eq!(total_calls(""), None);
    }

    #[test]
    fn a_process_knows_its_own_cost() {
        let pid = std::process::id();
        let begun = Moment::of(pid).expect("it is there");
        let cost = begun.cost_until_now(pid).expect("it still is");
        assert!(cost.resident_bytes > 1 << 16, "{cost:?}");
    }
}
