//! The result: as tables to be put into docs/performance.md, and as JSON to be kept.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::contender::Contender;
use super::copying::{Cost, Filled};
use super::latency::Latency;
use crate::machine::Machine;
use crate::quantiles::Quantiles;
use crate::spread::Spread;

const SCHEMA: &str = "twinlog.bench.comparison/1";

/// What one contender's copies of one workload cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) rounds: usize,
    /// User and system time from the process's start to the last record.
    pub(crate) cpu_s: Spread,
    /// That of it until the mirror had its first record.
    pub(crate) start_cpu_s: Spread,
    /// What came after the first record, for a GB of the source's log.
    pub(crate) cpu_s_per_gb: Spread,
    /// From the process's start.
    pub(crate) wall_s: Spread,
    pub(crate) first_record_s: Spread,
    /// From the first record on.
    pub(crate) records_per_s: Spread,
    /// The most that was resident at once.
    pub(crate) resident_mib: Spread,
    /// CPU after the first record beside the bare loop's, and beside twinlog's, in the same round.
    pub(crate) ratio_to_floor: Spread,
    pub(crate) ratio_to_twinlog: Spread,
}

/// One contender on one workload.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) copy: String,
    pub(crate) figures: Option<Figures>,
    /// Why there are none.
    pub(crate) not_run: Option<String>,
}

/// One workload, as it is on the source.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WorkloadResult {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) partitions: u32,
    pub(crate) records: u64,
    pub(crate) batches: u64,
    pub(crate) bytes: u64,
    pub(crate) rows: Vec<Row>,
}

/// What became of a contender's copies: their costs, round by round, or why there are none.
pub(crate) type Outcome = (Contender, Result<Vec<Cost>, String>);

/// A whole run of the bench.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: String,
    #[serde(flatten)]
    pub(crate) machine: Machine,
    pub(crate) workloads: Vec<WorkloadResult>,
    pub(crate) latencies: Vec<Latency>,
}

impl Cost {
    /// What the copy itself took; a copy that was over at the first look took nothing that could be told apart.
    fn steady_cpu_s(&self) -> f64 {
        self.last.cpu_s - self.first.cpu_s
    }
}

impl WorkloadResult {
    pub(crate) fn new(filled: &Filled<'_>, outcomes: &[Outcome]) -> Self {
        let costs_of = |contender: Contender| {
            let found = outcomes.iter().find(|(other, _)| *other == contender);
            found.and_then(|(_, costs)| costs.as_deref().ok()).unwrap_or_default()
        };
        let (floor, own) = (costs_of(Contender::Bare), costs_of(Contender::Twinlog));
        let rows = outcomes.iter().map(|(contender, costs)| {
            let figures = costs.as_ref().map(|costs| figures(costs, floor, own, filled));
            Row {
                copy: contender.title().to_owned(),
                not_run: figures.as_ref().err().map(|why| (*why).clone()),
                figures: figures.ok(),
            }
        });
        Self {
            name: filled.workload.name.to_owned(),
            what: filled.workload.what.to_owned(),
            partitions: filled.workload.partitions,
            records: filled.content.records,
            batches: filled.content.batches,
            bytes: filled.content.bytes,
            rows: rows.collect(),
        }
    }
}

fn figures(costs: &[Cost], floor: &[Cost], own: &[Cost], filled: &Filled<'_>) -> Figures {
    let (records, gb) = (filled.content.records as f64, filled.content.bytes as f64 / 1e9);
    let spread = |value: &dyn Fn(&Cost) -> f64| Spread::of(costs.iter().map(value));
    let beside = |others: &[Cost]| {
        Spread::of(costs.iter().zip(others).map(|(cost, other)| cost.steady_cpu_s() / other.steady_cpu_s()))
    };
    Figures {
        rounds: costs.len(),
        cpu_s: spread(&|cost| cost.last.cpu_s),
        start_cpu_s: spread(&|cost| cost.first.cpu_s),
        cpu_s_per_gb: spread(&|cost| cost.steady_cpu_s() / gb),
        wall_s: spread(&|cost| cost.last.wall_s),
        first_record_s: spread(&|cost| cost.first.wall_s),
        records_per_s: spread(&|cost| records / (cost.last.wall_s - cost.first.wall_s)),
        resident_mib: spread(&|cost| cost.last.resident_mib),
        ratio_to_floor: beside(floor),
        ratio_to_twinlog: beside(own),
    }
}

impl Report {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { schema: SCHEMA.to_owned(), machine, workloads: Vec::new(), latencies: Vec::new() }
    }

    /// Writes it as comparison-<date>.json, and tells where.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf, String> {
        let path = folder.join(format!("comparison-{}.json", self.machine.date));
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        fs::write(&path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// All tables, as Markdown.
    pub(crate) fn tables(&self) -> String {
        let Machine { date, commit, cpu, cores, kernel } = &self.machine;
        let mut text = format!("{date}, {cpu}, {cores} cores, Linux {kernel}, commit {commit}.\n");
        for workload in &self.workloads {
            text.push_str(&workload_table(workload));
        }
        if !self.latencies.is_empty() {
            text.push_str(&latency_table(&self.latencies));
        }
        text
    }
}

/// The median, and in parentheses the least and the most where there is more than one round.
fn shown(spread: Spread, rounds: usize, decimals: usize) -> String {
    let Spread { min, median, max } = spread;
    match median.is_finite() {
        true if rounds > 1 => format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})"),
        true => format!("{median:.decimals$}"),
        false => "–".to_owned(),
    }
}

fn workload_table(workload: &WorkloadResult) -> String {
    let WorkloadResult { name, what, partitions, records, batches, bytes, rows } = workload;
    let (gb, a_batch) = (*bytes as f64 / 1e9, *bytes / (*batches).max(1));
    let mut text = format!(
        "\n**{name}**: {what}; {records} records, {gb:.3} GB in {batches} batches of {a_batch} B on average, \
         {partitions} partitions.\n\n\
         | copy | rounds | CPU, s | of it before the first record | CPU-s/GB after it | beside the bare loop | \
         beside twinlog | wall, s | first record, s | records/s | resident, MiB |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for Row { copy, figures, not_run } in rows {
        text.push_str(&match figures {
            Some(figures) => {
                let show = |spread, decimals| shown(spread, figures.rounds, decimals);
                let median = |spread: Spread, decimals| shown(spread, 1, decimals);
                format!(
                    "| {copy} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
                    figures.rounds,
                    median(figures.cpu_s, 2),
                    median(figures.start_cpu_s, 2),
                    show(figures.cpu_s_per_gb, 2),
                    show(figures.ratio_to_floor, 2),
                    show(figures.ratio_to_twinlog, 2),
                    median(figures.wall_s, 1),
                    median(figures.first_record_s, 2),
                    median(figures.records_per_s, 0),
                    median(figures.resident_mib, 0),
                )
            }
            None => {
                let why = not_run.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
                format!("| {copy} | not run: {why} |\n")
            }
        });
    }
    text
}

fn latency_table(latencies: &[Latency]) -> String {
    let mut text = "\n**latency**: milliseconds, p50 / p99 / p99.9; the last column is in cores.\n\n\
                    | records/s | copy | records | sent to acknowledged on the source | acknowledged to seen on the \
                    source | acknowledged on the source to seen on the target | added by the copy | \
                    the bench's client |\n\
                    |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let show = |Quantiles { p50, p99, p999, .. }: &Quantiles| format!("{p50:.2} / {p99:.2} / {p999:.2}");
    let mut rows: Vec<&Latency> = latencies.iter().collect();
    rows.sort_by_key(|latency| latency.records_per_s);
    for latency in rows {
        let optional = |quantiles: &Option<Quantiles>| quantiles.as_ref().map_or_else(|| "–".to_owned(), show);
        let copy = latency.copy.as_deref().unwrap_or("none");
        let Latency { records_per_s, records, append_ms, source_ms, target_ms, added_ms, client_cores, .. } = latency;
        let (append, source) = (show(append_ms), show(source_ms));
        let (target, added) = (optional(target_ms), optional(added_ms));
        writeln!(
            text,
            "| {records_per_s} | {copy} | {records} | {append} | {source} | {target} | {added} | {client_cores:.2} |"
        )
        .expect("a string takes what is written");
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread { min: median / 2.0, median, max: median * 2.0 }
    }

    pub(in crate::comparison) fn report() -> Report {
        let figures = |rounds, ratio| Figures {
            rounds,
            cpu_s: spread(1.0),
            start_cpu_s: spread(0.2),
            cpu_s_per_gb: spread(3.0),
            wall_s: spread(4.0),
            first_record_s: spread(0.5),
            records_per_s: spread(6_000.0),
            resident_mib: spread(7.0),
            ratio_to_floor: spread(ratio),
            ratio_to_twinlog: spread(1.0),
        };
        let row = |copy: &str, figures, not_run: Option<&str>| Row {
            copy: copy.to_owned(),
            figures,
            not_run: not_run.map(str::to_owned),
        };
        let machine = Machine {
            date: "2026-01-02".to_owned(),
            commit: "abc".to_owned(),
            cpu: "a processor".to_owned(),
            cores: 2,
            kernel: "6".to_owned(),
        };
        let rows = vec![
            row("twinlog", Some(figures(3, 2.0)), None),
            row("MirrorMaker 2, defaults", Some(figures(1, f64::NAN)), None),
            row("franz-go copier", None, Some("Go is missing\nmore")),
        ];
        let (name, what) = ("json".to_owned(), "JSON".to_owned());
        let workload = WorkloadResult { name, what, partitions: 4, records: 100, batches: 10, bytes: 2_000_000, rows };
        let quantiles = Quantiles { p50: 1.0, p99: 2.0, p999: 3.0, max: 4.0 };
        let latency = |records_per_s, copy: Option<&str>| Latency {
            records_per_s,
            copy: copy.map(str::to_owned),
            records: 9,
            append_ms: quantiles,
            source_ms: quantiles,
            target_ms: copy.map(|_| quantiles),
            added_ms: copy.map(|_| quantiles),
            client_cores: 0.1,
        };
        let latencies = vec![latency(1_000, None), latency(1, Some("twinlog"))];
        Report { workloads: vec![workload], latencies, ..Report::new(machine) }
    }

    #[test]
    fn the_tables_show_rounds_what_is_missing_and_why() {
        let text = report().tables();
        for line in [
            "| twinlog | 3 | 1.00 | 0.20 | 3.00 (1.50–6.00) | 2.00 (1.00–4.00) | 1.00 (0.50–2.00) | 4.0 | 0.50 | 6000 \
             | 7 |",
            "| MirrorMaker 2, defaults | 1 | 1.00 | 0.20 | 3.00 | – | 1.00 | 4.0 | 0.50 | 6000 | 7 |",
            "| franz-go copier | not run: Go is missing |",
            "| 1000 | none | 9 | 1.00 / 2.00 / 3.00 | 1.00 / 2.00 / 3.00 | – | – | 0.10 |",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        assert!(text.find("| 1 | twinlog").unwrap() < text.find("| 1000 | none").unwrap(), "{text}");
    }
}
