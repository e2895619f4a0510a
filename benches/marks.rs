//! What a ratio of CPU does not show: what a link costs that has nothing to do, how soon it begins, how late a record
//! is, and how much of a long line it fills.
//!
//! `cargo bench -p twinlog-benches --bench marks` runs the shipped binary between the stub peers of the link bench.

mod idle;
mod line;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::program;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mark {
    /// 10 000 partitions to which nothing is written: CPU, and how soon the first record is there after a start
    Idle,
    /// A source at the end of a line of 100 MB/s and 100 ms, with 32 MiB of budget: how much of the line is used
    Line,
}

/// What a link costs and does where a ratio of CPU says nothing
#[derive(Debug, Parser)]
#[command(name = "marks")]
struct Arguments {
    /// Measure these [default: all]
    #[arg(long = "mark", value_enum)]
    marks: Vec<Mark>,

    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// Runs the bench.
pub fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("error: {words}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let program = program::find()?;
    let marks = match arguments.marks.as_slice() {
        [] => Mark::value_variants(),
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
        Mark::Line => {
            let lines = [1, 16].map(|partitions| line::measure(program, partitions).map(|line| line.to_string()));
            lines.into_iter().collect::<Result<Vec<_>, _>>().map(|lines| lines.join("\n"))
        }
    }
}
