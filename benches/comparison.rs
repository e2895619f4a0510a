//! The comparison: what a copy costs beside others on real Apache Kafka, in one run, on the same records.
//!
//! `cargo bench -p twinlog-benches --bench comparison` starts two clusters of one broker, fills the source with each
//! workload in turn, and lets each contender copy it to a mirror of its own, from nothing to the last record. CPU and
//! memory are the process's own. Then records are sent at steady rates, and each one's way to the target is timed.
//! Absolute figures are the machine's; the ratios are the result.

mod client;
mod clusters;
mod contender;
mod copying;
mod cost;
mod latency;
mod peers;
mod picture;
mod report;
mod workload;

use std::cell::Cell;
use std::process::ExitCode;

use clap::Parser;

use crate::bare::{self, BARE, Job};
use crate::machine::Machine;
use crate::results;
use clusters::Clusters;
use contender::{Contender, Programs};
use copying::Filled;
use report::{Outcome, Report, WorkloadResult};
use workload::Workload;

const ROUNDS: u16 = 3;
/// A quick run copies this part of the records.
const QUICK_PART: u64 = 100;

/// What a copy costs on real brokers: twinlog beside a bare loop, a copier on franz-go, and MirrorMaker 2
#[derive(Debug, Parser)]
#[command(
    name = "comparison",
    after_help = "\
It needs Java 17, Maven, and Go; where Go is missing, the copier on franz-go is named as not run. A full run takes
about half an hour on two cores, and writes comparison-<date>.json and its pictures to benches/results.
TWINLOG_BENCH_PROGRAM names a binary to be measured instead of the one that is built."
)]
struct Arguments {
    /// Measure this workload; may be given more than once [default: all]
    #[arg(long = "workload", value_name = "NAME")]
    workloads: Vec<String>,

    /// Measure this contender; may be given more than once [default: all]
    #[arg(long = "contender", value_name = "NAME")]
    contenders: Vec<String>,

    /// How often each contender copies a workload, in turns; MirrorMaker 2 does once
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,

    /// Name workloads and contenders, and end
    #[arg(long)]
    list: bool,

    /// Whether everything works: one round with few records, and nothing is kept
    #[arg(long, conflicts_with_all = ["rounds", "list"])]
    quick: bool,

    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// Runs the bench, or the bare loop as its child.
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.first().map(String::as_str) {
        Some(BARE) => Job::from_words(&words)
            .and_then(|(job, ca_file)| bare::copy(&job, ca_file).map_err(|error| error.to_string())),
        _ => bench(&Arguments::parse()),
    };
    crate::exit(done.map(|()| ExitCode::SUCCESS))
}

fn bench(arguments: &Arguments) -> Result<(), String> {
    if arguments.list {
        let workloads = workload::all().into_iter().map(|workload| (workload.name, workload.what));
        for (name, what) in workloads.chain([(latency::NAME, latency::WHAT)]) {
            println!("{name:<18}{what}");
        }
        for contender in Contender::ALL {
            println!("{:<18}{}", contender.name(), contender.title());
        }
        return Ok(());
    }
    let (workloads, with_latency) = chosen(&arguments.workloads)?;
    let contenders = contender::named(&arguments.contenders)?;
    let run = Run {
        programs: Programs::find(&contenders)?,
        clusters: Clusters::start().map_err(|error| error.to_string())?,
        contenders,
        rounds: if arguments.quick { 1 } else { usize::from(arguments.rounds) },
        is_quick: arguments.quick,
        copies: Cell::new(0),
    };
    let mut report = Report::new(Machine::here()?);
    for workload in &workloads {
        report.workloads.push(run.workload(workload)?);
    }
    if with_latency {
        report.latencies = run.latency()?;
    }
    println!("{}", report.tables());
    // A part is no result to be kept.
    if arguments.workloads.is_empty() && arguments.contenders.is_empty() && !arguments.quick {
        let written = report.write(&results())?;
        picture::write(&report, &results())?;
        println!("written to {}", written.display());
    }
    Ok(())
}

/// The workloads of these names in the order of [`workload::all`], and whether latency is one; all if there are none.
fn chosen(names: &[String]) -> Result<(Vec<Workload>, bool), String> {
    let all = workload::all().into_iter().map(Some).chain([None]);
    let chosen = crate::named("workload", all, |one| one.as_ref().map_or(latency::NAME, |one| one.name), names)?;
    let with_latency = chosen.iter().any(Option::is_none);
    Ok((chosen.into_iter().flatten().collect(), with_latency))
}

/// What is measured on what.
struct Run {
    clusters: Clusters,
    programs: Programs,
    contenders: Vec<Contender>,
    rounds: usize,
    is_quick: bool,
    /// How many copies were begun.
    copies: Cell<u32>,
}

impl Run {
    /// A name that no copy had before: groups and transactional ids of former ones are still known to the brokers.
    fn new_name(&self) -> String {
        self.copies.update(|copies| copies + 1);
        format!("c{}", self.copies.get())
    }

    /// All contenders in turns. The records of each one's first copy are compared with the source's.
    fn workload(&self, workload: &Workload) -> Result<WorkloadResult, String> {
        let Workload { name, what, records, .. } = workload;
        let records = if self.is_quick { records / QUICK_PART } else { *records };
        eprintln!("{name}: {what}: {records} records");
        let filled = Filled::new(&self.clusters, workload, records)?;
        let mut outcomes: Vec<Outcome> = Vec::new();
        for contender in &self.contenders {
            let why = self.programs.missing(*contender);
            if let Some(why) = why {
                eprintln!("  {} is not run: {why}", contender.title());
            }
            outcomes.push((*contender, why.map_or_else(|| Ok(Vec::new()), |why| Err(why.to_owned()))));
        }
        for round in 1..=self.rounds {
            for (contender, costs) in &mut outcomes {
                let Ok(costs) = costs else { continue };
                if round > contender.rounds(self.rounds) {
                    continue;
                }
                let cost = filled.copy(*contender, &self.programs, self.new_name(), round == 1)?;
                let (title, last, first) = (contender.title(), cost.last, cost.first);
                eprintln!(
                    "  round {round}, {title}: {:.2} CPU-s, {:.2} of it before the first record, {:.1} s, {:.0} MiB",
                    last.cpu_s, first.cpu_s, last.wall_s, last.resident_mib
                );
                costs.push(cost);
            }
        }
        self.clusters.clear(None)?;
        Ok(WorkloadResult::new(&filled, &outcomes))
    }

    /// The source alone, and each contender.
    fn latency(&self) -> Result<Vec<latency::Latency>, String> {
        eprintln!("{}: {}", latency::NAME, latency::WHAT);
        let mut latencies = Vec::new();
        let runs = self.contenders.iter().copied().filter(|contender| self.programs.missing(*contender).is_none());
        for contender in std::iter::once(None).chain(runs.map(Some)) {
            eprintln!("  {}", contender.map_or("the source alone", Contender::title));
            let name = self.new_name();
            latencies.extend(latency::measure(&self.clusters, &self.programs, contender, name, self.is_quick)?);
        }
        Ok(latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_found_by_name_and_latency_is_one_of_them() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let chosen = chosen(&names);
            chosen.map(|(found, latency)| (found.iter().map(|workload| workload.name).collect::<Vec<_>>(), latency))
        };
        assert_eq!(names(&["noise", "json"]), Ok((vec!["json", "noise"], false)));
        assert_eq!(names(&["latency"]), Ok((vec![], true)));
        assert_eq!(names(&[]).unwrap().0.len(), workload::all().len());
        assert!(names(&["jsno"]).unwrap_err().contains("`jsno`"));
    }
}
