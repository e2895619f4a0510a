//! A source that is far away, at the end of a line that carries so much.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use twinlog_testcontainers::peak_resident_bytes;

use super::Running;
use crate::link::arena::Arena;
use crate::link::cells::{self, Cell};
use crate::link::stub::Stubs;

const BYTES_PER_S: f64 = 100e6;
const DELAY: Duration = Duration::from_millis(100);
const BUDGET: &str = "32MiB";
/// How long a copy may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// About how many bytes are copied.
const BYTES: u64 = 1_000_000_000;

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    partitions: usize,
    bytes_per_s: f64,
    resident_bytes: u64,
}

pub(super) fn measure(program: &Path, partitions: usize) -> Result<Line, String> {
    let base = cells::all().remove(0);
    let cell = Cell { partitions, source_delay: DELAY, source_bytes_per_s: Some(BYTES_PER_S), ..base };
    let arena = Arc::new(Arena::new(&cell));
    let stubs = Stubs::start(&cell, &arena, BYTES, None);
    let link = Running::start(program, &stubs, &format!("    budget: {BUDGET}\n"))?;
    link.wait_until_it_reads(&stubs, partitions)?;
    let begun = Instant::now();
    stubs.source.release();
    if !stubs.wait(PATIENCE)? {
        return Err(link.failed("not all records arrive"));
    }
    let wall = begun.elapsed();
    let resident_bytes = peak_resident_bytes(link.child.pid()).ok_or_else(|| link.failed("it has ended"))?;
    link.end()?;
    let bytes = stubs.source.batches() * arena.batch_len() as u64;
    Ok(Line { partitions, bytes_per_s: bytes as f64 / wall.as_secs_f64(), resident_bytes })
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} MB/s and {} ms to the source, {} partitions, a budget of {BUDGET}: {:.0} % of the line, {:.0} MiB",
            BYTES_PER_S / 1e6,
            DELAY.as_millis(),
            self.partitions,
            self.bytes_per_s / BYTES_PER_S * 100.0,
            self.resident_bytes as f64 / f64::from(1 << 20),
        )
    }
}
