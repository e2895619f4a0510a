//! The picture of a result: the link's CPU beside the floor's, by cell.

use std::path::Path;

use super::report::Report;
use crate::plot::{Bar, OWN, Picture, Scale};

/// Draws bars for the medians, lines from the least to the most, and the floor.
pub(crate) fn write(report: &Report, path: &Path) -> Result<(), String> {
    let bar = |label: &str, value| Bar { label: label.to_owned(), value, color: OWN };
    let rows = report.cells.iter().filter_map(|cell| Some(bar(&cell.what, cell.own()?.ratio_to_floor)));
    let bars: Vec<Bar> = rows.collect();
    let (caption, unit) = ("CPU beside the bare loop's", "times");
    Picture { caption, unit, scale: Scale::Linear, machine: &report.machine, bars: &bars }.write(path)
}
