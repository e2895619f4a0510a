//! The result: of many runs the least, the median and the most; as a table, and as JSON to be kept.

use std::fs;
use std::path::{Path, PathBuf};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::{Deserialize, Serialize};

use super::cells::Cell;
use super::contender::{Contender, Outcome};
use crate::machine::Machine;
use crate::spread::Spread;

const SCHEMA: &str = "twinlog.bench.link/1";

/// One contender in one cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) copy: String,
    pub(crate) cpu_s_per_gb: Spread,
    pub(crate) gb_per_s: Spread,
    /// The most that was resident at once, from the start on.
    pub(crate) resident_mib: Spread,
    /// CPU beside that of the bare loop in the same round.
    pub(crate) ratio_to_floor: Spread,
    /// CPU beside that of the relay in the same round.
    pub(crate) ratio_to_relay: Spread,
    /// In a run of its own; none where they could not be counted.
    pub(crate) calls_per_mb: Option<f64>,
    /// Batches of all rounds that the target refused: they came before those in front of them.
    pub(crate) refused_batches: u64,
}

/// One cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CellResult {
    pub(crate) name: String,
    pub(crate) what: String,
    /// Of one run.
    pub(crate) bytes: u64,
    pub(crate) rounds: usize,
    pub(crate) rows: Vec<Row>,
}

/// A whole run of the bench.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) schema: String,
    #[serde(flatten)]
    pub(crate) machine: Machine,
    pub(crate) cells: Vec<CellResult>,
}

impl CellResult {
    /// Of the outcomes of each contender, in the order of [`Contender::ALL`], and their system calls a MB.
    pub(crate) fn new(
        cell: &Cell,
        outcomes: &[Vec<Outcome>; Contender::ALL.len()],
        calls: [Option<f64>; Contender::ALL.len()],
    ) -> Self {
        let of = |contender: Contender| {
            let place = Contender::ALL.iter().position(|other| *other == contender);
            place.map_or(&[][..], |place| &outcomes[place])
        };
        let cpu = |outcome: &Outcome| outcome.cost.cpu.as_secs_f64();
        let rows = Contender::ALL.into_iter().zip(outcomes).zip(calls).map(|((contender, outcomes), calls)| {
            let beside =
                |other: Contender| Spread::of(outcomes.iter().zip(of(other)).map(|(own, other)| cpu(own) / cpu(other)));
            let gb = |outcome: &Outcome| outcome.bytes as f64 / 1e9;
            Row {
                copy: contender.name().to_owned(),
                cpu_s_per_gb: Spread::of(outcomes.iter().map(|outcome| cpu(outcome) / gb(outcome))),
                gb_per_s: Spread::of(outcomes.iter().map(|outcome| gb(outcome) / outcome.cost.wall.as_secs_f64())),
                resident_mib: Spread::of(
                    outcomes.iter().map(|outcome| outcome.cost.resident_bytes as f64 / f64::from(1 << 20)),
                ),
                ratio_to_floor: beside(Contender::Bare),
                ratio_to_relay: beside(Contender::Relay),
                calls_per_mb: calls,
                refused_batches: outcomes.iter().map(|outcome| outcome.refused).sum(),
            }
        });
        Self {
            name: cell.name.to_owned(),
            what: cell.what.to_owned(),
            bytes: outcomes[0].first().map_or(0, |outcome| outcome.bytes),
            rounds: outcomes[0].len(),
            rows: rows.collect(),
        }
    }

    /// The link's row.
    pub(crate) fn own(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.copy == Contender::Twinlog.name())
    }

    /// The link's ratio to the floor.
    pub(crate) fn ratio_to_floor(&self) -> Option<Spread> {
        self.own().map(|row| row.ratio_to_floor).filter(|ratio| ratio.min.is_finite() && ratio.median.is_finite())
    }
}

impl Report {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { schema: SCHEMA.to_owned(), machine, cells: Vec::new() }
    }

    /// Writes it as link-<date>.json, and tells where.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf, String> {
        let path = folder.join(format!("link-{}.json", self.machine.date));
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        fs::write(&path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// The newest one in a folder.
    pub(crate) fn newest(folder: &Path) -> Result<Self, String> {
        let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let is_one = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with("link-") && name.ends_with(".json")
        };
        let newest = entries.flatten().map(|entry| entry.path()).filter(is_one).max();
        let newest = newest.ok_or_else(|| format!("no link-<date>.json in {} to compare with", folder.display()))?;
        let text = fs::read_to_string(&newest).map_err(|error| format!("{}: {error}", newest.display()))?;
        let report: Self = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", newest.display()))?;
        match report.schema == SCHEMA {
            true => Ok(report),
            false => Err(format!("{}: schema {} is not {SCHEMA}", newest.display(), report.schema)),
        }
    }
}

/// The table of some cells.
pub(crate) fn table(cells: &[CellResult]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "CELL",
        "COPY",
        "CPU-S/GB: MIN, MEDIAN, MAX",
        "GB/S",
        "BESIDE THE FLOOR",
        "BESIDE THE RELAY",
        "MIB",
        "CALLS/MB",
    ]);
    for cell in cells {
        for row in &cell.rows {
            table.add_row([
                cell.name.clone(),
                row.copy.clone(),
                row.cpu_s_per_gb.show(3),
                row.gb_per_s.show(2),
                row.ratio_to_floor.show(2),
                row.ratio_to_relay.show(2),
                format!("{:.0}", row.resident_mib.median),
                row.calls_per_mb.map_or_else(|| "not counted".to_owned(), |calls| format!("{calls:.1}")),
            ]);
        }
    }
    for (place, column) in table.column_iter_mut().enumerate() {
        let alignment = if place < 2 { CellAlignment::Left } else { CellAlignment::Right };
        column.set_padding((0, 2)).set_cell_alignment(alignment);
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
