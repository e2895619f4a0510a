//! What is measured: one base cell, and one axis moved at a time.

use std::time::Duration;

use super::stub::front::Way;

/// What one row of the result is about.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// What `--cell` names it.
    pub(crate) name: &'static str,
    /// The axis and where it is moved to.
    pub(crate) what: &'static str,
    /// About how long a batch is, with its head.
    pub(crate) batch_bytes: usize,
    pub(crate) partitions: usize,
    /// How old the records are.
    pub(crate) age: Duration,
    pub(crate) tls: bool,
    /// Round trips that the stubs add.
    pub(crate) source_delay: Duration,
    pub(crate) target_delay: Duration,
    /// What the source's side carries, if there is a limit.
    pub(crate) source_bytes_per_s: Option<f64>,
    /// About how many bytes a run copies, so that it takes a second or some.
    pub(crate) bytes: u64,
    /// And in a quick run, of which the cell is a part only if there is such a number.
    pub(crate) quick_bytes: Option<u64>,
}

impl Cell {
    /// The way from the source.
    pub(super) fn source_way(&self) -> Way {
        Way { delay: self.source_delay, bytes_per_s: self.source_bytes_per_s }
    }
}

const MB: u64 = 1_000_000;

/// 16 KB batches, 16 partitions, no TLS, no delay, records of now.
const BASE: Cell = Cell {
    name: "base",
    what: "16 KB batches, 16 partitions",
    batch_bytes: 16 << 10,
    partitions: 16,
    age: Duration::ZERO,
    tls: false,
    source_delay: Duration::ZERO,
    target_delay: Duration::ZERO,
    source_bytes_per_s: None,
    bytes: 2_000 * MB,
    quick_bytes: Some(1_000 * MB),
};

/// All cells in the order of the result.
pub(crate) fn all() -> Vec<Cell> {
    let base = || Cell { quick_bytes: None, ..BASE };
    let source_delay = |name, what, ms, megabytes| Cell {
        name,
        what,
        source_delay: Duration::from_millis(ms),
        bytes: megabytes * MB,
        ..base()
    };
    let target_delay = |name, what, ms, megabytes| Cell {
        name,
        what,
        target_delay: Duration::from_millis(ms),
        bytes: megabytes * MB,
        ..base()
    };
    vec![
        BASE,
        Cell {
            name: "batch-200b",
            what: "batches of 200 B",
            batch_bytes: 200,
            bytes: 100 * MB,
            quick_bytes: Some(30 * MB),
            ..BASE
        },
        Cell { name: "batch-1k", what: "batches of 1 KB", batch_bytes: 1 << 10, bytes: 400 * MB, ..base() },
        Cell { name: "batch-128k", what: "batches of 128 KB", batch_bytes: 128 << 10, ..base() },
        Cell { name: "batch-1m", what: "batches of 1 MB", batch_bytes: 1 << 20, ..base() },
        Cell { name: "partitions-1", what: "1 partition", partitions: 1, ..base() },
        Cell { name: "partitions-256", what: "256 partitions", partitions: 256, quick_bytes: Some(500 * MB), ..BASE },
        Cell { name: "partitions-4096", what: "4096 partitions", partitions: 4096, ..base() },
        Cell {
            name: "old",
            what: "records three days old",
            age: Duration::from_secs(3 * 24 * 3600),
            bytes: 1_000 * MB,
            ..base()
        },
        Cell { name: "tls", what: "TLS on both sides", tls: true, ..base() },
        source_delay("source-1ms", "1 ms to the source", 1, 2_000),
        source_delay("source-20ms", "20 ms to the source", 20, 1_000),
        source_delay("source-100ms", "100 ms to the source", 100, 400),
        target_delay("target-1ms", "1 ms to the target", 1, 500),
        target_delay("target-20ms", "20 ms to the target", 20, 100),
        target_delay("target-100ms", "100 ms to the target", 100, 30),
    ]
}

/// The cells of these names, in the order of [`all`]; all if there are none. An unknown name is given back.
pub(crate) fn named(names: &[String]) -> Result<Vec<Cell>, String> {
    crate::named("cell", all(), |cell| cell.name, names)
}
