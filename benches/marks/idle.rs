//! Many partitions to which nothing is written.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use twinlog_testcontainers::Folder;

use crate::child::Moment;
use crate::link::arena::Arena;
use crate::link::cells::{self, Cell};
use crate::link::contender::twinlog;
use crate::link::stub::Stubs;

const PARTITIONS: usize = 10_000;
/// So long it is watched.
const WATCHED: Duration = Duration::from_secs(20);
/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(120);

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
    let words = |error: twinlog_testcontainers::Error| error.to_string();

    let stubs = Stubs::start(&cell, &arena, bytes, None);
    let folder = Folder::new("idle").map_err(words)?;
    let begun = Instant::now();
    let mut child = twinlog(program, &stubs, &folder, false, "")?;
    let failed = |what: &str, stderr: String| format!("idle: {what}\n{stderr}");
    if !stubs.source.wait_for_readers(PARTITIONS, PATIENCE) {
        return Err(failed("it does not ask for all partitions", child.stderr()));
    }
    let all_read = begun.elapsed();
    // What a start leaves behind is over by then.
    thread::sleep(WATCHED / 4);
    let moment = Moment::of(child.pid()).ok_or_else(|| failed("it has ended", child.stderr()))?;
    thread::sleep(WATCHED);
    let cost = moment.cost_until_now(child.pid()).ok_or_else(|| failed("it has ended", child.stderr()))?;
    child.kill().map_err(words)?;

    let stubs = Stubs::start(&cell, &arena, bytes, None);
    stubs.source.release();
    let begun = Instant::now();
    let mut child = twinlog(program, &stubs, &folder, false, "")?;
    if stubs.progress.wait_for(1, PATIENCE)? == 0 {
        return Err(failed("no record arrives", child.stderr()));
    }
    let first_record = begun.elapsed();
    child.kill().map_err(words)?;
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
