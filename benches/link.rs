//! The link bench: what a copy costs where the peers cost nothing.
//!
//! `cargo bench -p twinlog-benches --bench link` runs the shipped binary as a child between two stub peers in this
//! process, and reads its CPU and memory from /proc. In the same run, with the same bytes and measured alike, run the
//! bare loop, which is the floor, and a relay, which is the limit. A run is measured from the moment at which
//! the source shows its records, to a link that waits for them, to the arrival of the last batch at the target: what
//! a start costs is no part of it.

pub(crate) mod arena;
pub(crate) mod cells;
pub(crate) mod contender;
mod plot;
mod relay;
mod report;
pub(crate) mod stub;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::bare::{self, BARE, Job};
use crate::spread::Spread;
use crate::{machine, program, results};
use arena::Arena;
use cells::Cell;
use contender::{Contender, RELAY, Run};
use report::{CellResult, Report};

/// Rounds of a quick run.
const QUICK_ROUNDS: usize = 2;
/// System calls are counted on this part of the bytes.
const COUNTED_PART: u64 = 4;
/// A quick run fails if a ratio to the floor is more than so many times the committed one.
const WORSE_MAX: f64 = 2.0;
const ROUNDS: u16 = 5;

/// What a copy costs between stub peers: twinlog beside a bare loop (the floor) and a relay (the limit)
#[derive(Debug, Parser)]
#[command(
    name = "link",
    after_help = "\
A full run writes link-<date>.json and .svg to benches/results. Where strace is there, system calls are counted in a
run of their own. TWINLOG_BENCH_PROGRAM names a binary to be measured instead of the one that is built."
)]
struct Arguments {
    /// Measure this cell; may be given more than once [default: all]
    #[arg(long = "cell", value_name = "NAME")]
    cells: Vec<String>,

    /// How often each contender copies, in turns
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,

    /// About how many bytes a run copies [default: by the cell]
    #[arg(long)]
    bytes: Option<u64>,

    /// Name the cells and end
    #[arg(long)]
    list: bool,

    /// Within a minute: some cells with fewer bytes, compared with the newest committed result. Fails if a ratio to
    /// the floor has more than doubled
    #[arg(long, conflicts_with_all = ["cells", "rounds", "bytes", "list"])]
    quick: bool,

    /// Measure another build of the program beside the first one, in turns, and nothing else
    #[arg(long, value_name = "PROGRAM", conflicts_with = "quick")]
    beside: Option<PathBuf>,

    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// Runs the bench, or one of its children.
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.first().map(String::as_str) {
        Some(RELAY | BARE) => child_main(&words),
        _ => bench(&Arguments::parse()),
    };
    crate::exit(done)
}

fn child_main(words: &[String]) -> Result<ExitCode, String> {
    let ended = if words[0] == RELAY {
        let word = |place: usize| words.get(place).ok_or_else(|| "too few words".to_owned());
        let address = |place| word(place)?.parse().map_err(|_| "not an address".to_owned());
        relay::relay(address(1)?, address(2)?, words.get(3).map(Path::new))
    } else {
        let (job, ca_file) = Job::from_words(words)?;
        bare::copy(&job, ca_file)
    };
    ended.map(|()| ExitCode::SUCCESS).map_err(|error: io::Error| error.to_string())
}

fn bench(arguments: &Arguments) -> Result<ExitCode, String> {
    if arguments.list {
        for Cell { name, what, .. } in cells::all() {
            println!("{name:<18}{what}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let program = program::find()?;
    if arguments.quick {
        return quick(&program);
    }
    let cells = cells::named(&arguments.cells)?;
    if let Some(other) = &arguments.beside {
        let other = other.canonicalize().map_err(|error| format!("{}: {error}", other.display()))?;
        for cell in &cells {
            let bytes = arguments.bytes.unwrap_or(cell.bytes);
            println!("{}", beside([&program, &other], cell, bytes, usize::from(arguments.rounds))?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::new(machine::Machine::here()?);
    for cell in &cells {
        let bytes = arguments.bytes.unwrap_or(cell.bytes);
        report.cells.push(measure(&program, cell, bytes, usize::from(arguments.rounds), true)?);
    }
    println!("{}", report::table(&report.cells));
    // A part of the cells is no result to be kept.
    if arguments.cells.is_empty() && arguments.bytes.is_none() {
        let written = report.write(&results())?;
        plot::write(&report, &written.with_extension("svg"))?;
        println!("written to {}", written.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Two builds of the program in turns, and what the second one takes beside the first.
fn beside(programs: [&Path; 2], cell: &Cell, bytes: u64, rounds: usize) -> Result<String, String> {
    let arena = Arc::new(Arena::new(cell));
    let mut taken = [const { Vec::new() }; 2];
    for round in 0..rounds {
        // What the machine does to the first of a round it does to each of them as often.
        for place in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let run = Run { program: programs[place], cell, arena: &arena, bytes, counts_calls: false };
            let outcome = run.measure(Contender::Twinlog)?;
            taken[place].push(outcome.cost.cpu.as_secs_f64() / (outcome.bytes as f64 / 1e9));
        }
    }
    let ratios = Spread::of(taken[0].iter().zip(&taken[1]).map(|(first, second)| second / first));
    let [first, second] = taken.map(|taken| Spread::of(taken.into_iter()));
    Ok(format!(
        "{}: CPU-s/GB {} and {}, of {rounds} rounds each (least, median, most); the second's median is {:.3} of the \
         first's, round by round {}",
        cell.name,
        first.show(3),
        second.show(3),
        second.median / first.median,
        ratios.show(3)
    ))
}

/// A short look at a few cells beside the committed result.
fn quick(program: &Path) -> Result<ExitCode, String> {
    let committed = Report::newest(&results())?;
    let mut measured = Vec::new();
    for cell in cells::all() {
        if let Some(bytes) = cell.quick_bytes {
            measured.push(measure(program, &cell, bytes, QUICK_ROUNDS, false)?);
        }
    }
    println!("{}", report::table(&measured));
    let worse = worse(&committed, &measured)?;
    for words in &worse {
        eprintln!("worse: {words}");
    }
    Ok(if worse.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The cells whose ratio to the floor has more than doubled, even in the best of the rounds: what else the machine does
/// makes some rounds worse.
fn worse(committed: &Report, measured: &[CellResult]) -> Result<Vec<String>, String> {
    let mut worse = Vec::new();
    for cell in measured {
        let name = &cell.name;
        let ratio = |cell: &CellResult| cell.ratio_to_floor().ok_or_else(|| format!("{name}: there is no ratio"));
        let before = committed.cells.iter().find(|other| other.name == cell.name);
        let before = ratio(before.ok_or_else(|| format!("the committed result has no cell {name}"))?)?.median;
        let now = ratio(cell)?.min;
        if now > before * WORSE_MAX {
            worse.push(format!("{name}: {now:.2} times the CPU of the floor, {before:.2} in the committed result"));
        }
    }
    Ok(worse)
}

/// All contenders in turns, and then once more each for the system calls.
fn measure(program: &Path, cell: &Cell, bytes: u64, rounds: usize, counts_calls: bool) -> Result<CellResult, String> {
    eprintln!("{}: {}", cell.name, cell.what);
    let arena = Arc::new(Arena::new(cell));
    let run = Run { program, cell, arena: &arena, bytes, counts_calls: false };
    let mut outcomes = [const { Vec::new() }; Contender::ALL.len()];
    for round in 1..=rounds {
        for (contender, outcomes) in Contender::ALL.into_iter().zip(&mut outcomes) {
            let outcome = run.measure(contender)?;
            let per_gb = outcome.cost.cpu.as_secs_f64() / (outcome.bytes as f64 / 1e9);
            let name = contender.name();
            eprintln!("  round {round}, {name}: {per_gb:.3} CPU-s/GB");
            if outcome.refused > 0 {
                eprintln!("  the target has refused {} batches of {name} that came too early", outcome.refused);
            }
            outcomes.push(outcome);
        }
    }
    let mut calls = [None; Contender::ALL.len()];
    if counts_calls {
        let run = Run { bytes: bytes / COUNTED_PART, counts_calls: true, ..run };
        for (contender, calls) in Contender::ALL.into_iter().zip(&mut calls) {
            match run.measure(contender) {
                Ok(outcome) => *calls = outcome.calls.map(|calls| calls as f64 / (outcome.bytes as f64 / 1e6)),
                Err(words) => eprintln!("  system calls of {} are not counted: {words}", contender.name()),
            }
        }
    }
    Ok(CellResult::new(cell, &outcomes, calls))
}
