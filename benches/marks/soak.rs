//! Ten minutes at full rate: whether something grows that should not.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use twinlog_testcontainers::status_number;

use super::Running;
use crate::link::arena::Arena;
use crate::link::cells;
use crate::link::stub::Stubs;

/// So long it copies.
const COPIES: Duration = Duration::from_mins(10);
/// What a start takes is no growth.
const BEGINNING: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_secs(5);
/// More than anybody copies in that time.
const BYTES: u64 = 100_000_000_000_000;
/// The second half may show so much more than the first: an allocator does not give back at once what is free.
const GROWTH_MAX: f64 = 1.05;
const GROWTH_MIN_KB: u64 = 1024;

/// What the process has at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    resident_kb: u64,
    threads: u64,
    files: u64,
}

/// What came of it: the most that it had in the first half and in the second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Soak {
    bytes: u64,
    wall: Duration,
    halves: [Held; 2],
}

pub(super) fn measure(program: &Path) -> Result<Soak, String> {
    let cell = cells::all().remove(0);
    let arena = Arc::new(Arena::new(&cell));
    let stubs = Stubs::start(&cell, &arena, BYTES, None);
    let link = Running::start(program, &stubs, "")?;
    link.wait_until_it_reads(&stubs, cell.partitions)?;
    stubs.source.release();
    let begun = Instant::now();
    let (mut halves, mut copied) = ([Held::default(); 2], 0);
    while begun.elapsed() < COPIES {
        thread::sleep(LOOK);
        copied = stubs.progress.wait_for(0, Duration::ZERO).map_err(|words| link.failed(&words))?;
        let held = Held::of(link.child.pid()).ok_or_else(|| link.failed("it has ended"))?;
        if begun.elapsed() > BEGINNING {
            let half = usize::from(begun.elapsed() > BEGINNING + (COPIES - BEGINNING) / 2);
            halves[half] = halves[half].most(held);
        }
    }
    let (wall, bytes) = (begun.elapsed(), copied * arena.batch_len() as u64);
    link.end()?;
    let soak = Soak { bytes, wall, halves };
    if bytes == 0 || soak.has_grown() {
        return Err(format!("it has grown: {soak}"));
    }
    Ok(soak)
}

impl Held {
    fn of(pid: u32) -> Option<Self> {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        let (resident_kb, threads) = (status_number(pid, "VmRSS")?, status_number(pid, "Threads")?);
        Some(Self { resident_kb, threads, files: files as u64 })
    }

    fn most(self, other: Self) -> Self {
        Self {
            resident_kb: self.resident_kb.max(other.resident_kb),
            threads: self.threads.max(other.threads),
            files: self.files.max(other.files),
        }
    }
}

impl Soak {
    fn has_grown(&self) -> bool {
        let [first, second] = self.halves;
        let resident_max = (first.resident_kb as f64 * GROWTH_MAX) as u64 + GROWTH_MIN_KB;
        second.resident_kb > resident_max || second.threads > first.threads || second.files > first.files
    }
}

impl fmt::Display for Soak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.wall.as_secs_f64();
        write!(f, "{seconds:.0} s at {:.0} MB/s: at most", self.bytes as f64 / 1e6 / seconds)?;
        for (held, when) in self.halves.iter().zip(["first half", "second half"]) {
            let Held { resident_kb, threads, files } = held;
            let resident = *resident_kb as f64 / 1024.0;
            write!(f, " {resident:.1} MiB, {threads} threads, {files} open files in the {when};")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_found() {
        let held = |resident_kb, threads, files| Held { resident_kb, threads, files };
        let grown = |second| Soak { bytes: 1, wall: COPIES, halves: [held(40_000, 5, 20), second] }.has_grown();
        assert!(!grown(held(42_000, 5, 20)));
        assert!(grown(held(44_000, 5, 20)) && grown(held(40_000, 6, 20)) && grown(held(40_000, 5, 21)));
    }
}
