//! Many partitions to which nothing is written.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Running, START_PATIENCE};
use crate::child::Moment;
use crate::link::arena::Arena;
use crate::link::cells::{self, Cell};
use crate::link::stub::Stubs;

const PARTITIONS: usize = 10_000;
/// So long it is watched.
const WATCHED: Duration = Duration::from_secs(20);

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    /// Part of one core, of 1.
    cpu: f64,
    resident_bytes: u64,
    /// From the start until it waits for records of all partitions.
    all_read: Duration,
    /// From the start to the first record at the target, where the source is full of them.
    first_record: Duration,
}

pub(super) fn measure(program: &Path) -> Result<Idle, String> {
    let cell = Cell { partitions: PARTITIONS, batch_bytes: 1 << 10, ..cells::all().remove(0) };
    let arena = Arc::new(Arena::new(&cell));
    let bytes = (arena.batch_len() * arena.partitions()) as u64;
    let stubs = Stubs::start(&cell, &arena, bytes, None);
    let begun = Instant::now();
    let link = Running::start(program, &stubs, "")?;
    link.wait_until_it_reads(&stubs, PARTITIONS)?;
    let all_read = begun.elapsed();
    // What a start leaves behind is over by then.
    thread::sleep(WATCHED / 4);
    let pid = link.child.pid();
    let moment = Moment::of(pid).ok_or_else(|| link.failed("it has ended"))?;
    thread::sleep(WATCHED);
    let cost = moment.cost_until_now(pid).ok_or_else(|| link.failed("it has ended"))?;
    link.end()?;

    let stubs = Stubs::start(&cell, &arena, bytes, None);
    stubs.source.release();
    let begun = Instant::now();
    let link = Running::start(program, &stubs, "")?;
    if stubs.progress.wait_for(1, START_PATIENCE)? == 0 {
        return Err(link.failed("no record arrives"));
    }
    let first_record = begun.elapsed();
    link.end()?;
    let cpu = cost.cpu.as_secs_f64() / cost.wall.as_secs_f64();
    Ok(Idle { cpu, resident_bytes: cost.resident_bytes, all_read, first_record })
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{PARTITIONS} idle partitions: {:.2} % of a core, {:.0} MiB; all are read {:.1} s after the start, the \
             first record is there after {:.1} s",
            self.cpu * 100.0,
            self.resident_bytes as f64 / f64::from(1 << 20),
            self.all_read.as_secs_f64(),
            self.first_record.as_secs_f64(),
        )
    }
}
