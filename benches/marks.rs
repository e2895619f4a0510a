//! What a ratio of CPU does not show: what a link costs that has nothing to do, how soon it begins, how late it makes
//! records, and how much of a long line it fills.
//!
//! `cargo bench -p twinlog-benches --bench marks` runs the shipped binary between the stub peers of the link bench.

mod idle;
mod latency;
mod line;
mod soak;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use twinlog_testcontainers::{Folder, Program};

use crate::link::contender::twinlog;
use crate::link::stub::Stubs;
use crate::program;

/// How long a start may take.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mark {
    /// 10 000 partitions to which nothing is written: CPU, and how soon the first record is there after a start
    Idle,
    /// 1 000 records a second: how much later they come than from a producer at the target
    Latency,
    /// A source at the end of a line of 100 MB/s and 100 ms, with 32 MiB of budget: how much of the line is used
    Line,
    /// Ten minutes at full rate: memory, threads and open files must not grow. By name only
    Soak,
}

/// What a link costs and does where a ratio of CPU says nothing
#[derive(Debug, Parser)]
#[command(name = "marks")]
struct Arguments {
    /// Measure these [default: all but soak]
    #[arg(long = "mark", value_enum)]
    marks: Vec<Mark>,

    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// Runs the bench.
pub fn main() -> ExitCode {
    crate::exit(run(&Arguments::parse()).map(|()| ExitCode::SUCCESS))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let program = program::find()?;
    let marks = match arguments.marks.as_slice() {
        [] => &[Mark::Idle, Mark::Latency, Mark::Line],
        marks => marks,
    };
    for mark in marks {
        println!("{}", measure(*mark, &program)?);
    }
    Ok(())
}

fn measure(mark: Mark, program: &Path) -> Result<String, String> {
    match mark {
        Mark::Idle => idle::measure(program).map(|idle| idle.to_string()),
        Mark::Latency => latency::measure(program).map(|latency| latency.to_string()),
        Mark::Line => {
            let lines = [1, 16].map(|partitions| line::measure(program, partitions).map(|line| line.to_string()));
            lines.into_iter().collect::<Result<Vec<_>, _>>().map(|lines| lines.join("\n"))
        }
        Mark::Soak => soak::measure(program).map(|soak| soak.to_string()),
    }
}

/// A link between stubs, in a folder of its own.
struct Running {
    child: Program,
    _folder: Folder,
}

impl Running {
    fn start(program: &Path, stubs: &Stubs, settings: &str) -> Result<Self, String> {
        let folder = Folder::new("marks").map_err(|error| error.to_string())?;
        Ok(Self { child: twinlog(program, stubs, &folder, false, settings)?, _folder: folder })
    }

    /// Waits until it has asked for records of so many partitions.
    fn wait_until_it_reads(&self, stubs: &Stubs, partitions: usize) -> Result<(), String> {
        match stubs.source.wait_for_readers(partitions, START_PATIENCE) {
            true => Ok(()),
            false => Err(self.failed("it does not ask for all partitions")),
        }
    }

    /// What is not as it must be, with the link's own words.
    fn failed(&self, what: &str) -> String {
        format!("{what}\n{}", self.child.stderr())
    }

    fn end(mut self) -> Result<(), String> {
        self.child.kill().map_err(|error| error.to_string())
    }
}
