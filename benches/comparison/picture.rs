//! The pictures of a result.

use std::path::Path;

use super::contender::Contender;
use super::report::Report;
use crate::plot::{Bar, Picture, RGBColor, Scale};
use crate::spread::Spread;

/// Of the source alone.
const NOBODY: RGBColor = RGBColor(150, 150, 150);

/// Draws the CPU of all copies into comparison-<date>-cpu.svg, and how long records were on their way into
/// comparison-<date>-latency.svg.
pub(crate) fn write(report: &Report, folder: &Path) -> Result<(), String> {
    let path = |what: &str| folder.join(format!("comparison-{}-{what}.svg", report.machine.date));
    let picture = |caption, unit, bars: &[Bar], path: &Path| {
        Picture { caption, unit, scale: Scale::Logarithmic, machine: &report.machine, bars }.write(path)
    };
    let caption = "CPU of a copy after its first record";
    picture(caption, "CPU-s/GB, logarithmic", &cpu(report), &path("cpu"))?;
    let caption = "From the source's acknowledgement to the target: p50, p99 (bar), p99.9";
    picture(caption, "ms, logarithmic", &latency(report), &path("latency"))
}

fn cpu(report: &Report) -> Vec<Bar> {
    let workloads = report.workloads.iter();
    let rows = workloads.flat_map(|workload| workload.rows.iter().map(|row| (&workload.name, row)));
    let bars = rows.filter_map(|(workload, row)| {
        Some(Bar {
            label: format!("{workload}: {}", short(&row.copy)),
            value: row.figures.as_ref()?.cpu_s_per_gb,
            color: color(Some(&row.copy)),
        })
    });
    bars.collect()
}

fn latency(report: &Report) -> Vec<Bar> {
    let mut latencies: Vec<_> = report.latencies.iter().collect();
    latencies.sort_by_key(|latency| latency.records_per_s);
    let bars = latencies.into_iter().map(|latency| {
        let times = latency.target_ms.as_ref().unwrap_or(&latency.source_ms);
        let copy = latency.copy.as_deref();
        Bar {
            label: format!("{}/s: {}", latency.records_per_s, copy.map_or("source alone", short)),
            value: Spread { min: times.p50, median: times.p99, max: times.p999 },
            color: color(copy),
        }
    });
    bars.collect()
}

/// As much of a title as has room beside a bar.
fn short(title: &str) -> &str {
    let found = Contender::ALL.into_iter().find(|contender| contender.title() == title);
    found.map_or(title, |contender| contender.name())
}

fn color(copy: Option<&str>) -> RGBColor {
    let found = Contender::ALL.into_iter().find(|contender| Some(contender.title()) == copy);
    found.map_or(NOBODY, Contender::color)
}

#[cfg(test)]
mod tests {
    use twinlog_testcontainers::Folder;

    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn both_pictures_have_a_bar_for_each_figure_and_none_for_what_was_not_run() {
        let folder = Folder::new("picture").unwrap();
        write(&report(), folder.path()).unwrap();
        let text = |what: &str| {
            let path = folder.path().join(format!("comparison-2026-01-02-{what}.svg"));
            std::fs::read_to_string(path).unwrap()
        };
        let (cpu, latency) = (text("cpu"), text("latency"));
        assert!(cpu.contains("json: twinlog") && cpu.contains("json: mm2"), "{cpu}");
        assert!(!cpu.contains("franz-go"), "{cpu}");
        assert!(latency.contains("1000/s: source alone") && latency.contains("1/s: twinlog"), "{latency}");
    }
}
