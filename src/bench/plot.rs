//! The picture of a bench: what each setting copied a second, with all its runs.

use plotters::prelude::*;

use super::{BenchReport, SettingReport};

/// Of the bars.
const WIDTH: u32 = 560;
const ROW_HEIGHT: u32 = 34;
const FRAME_HEIGHT: u32 = 100;
/// Of a character of a label, about.
const CHARACTER_WIDTH: u32 = 7;
const TEXT: RGBColor = RGBColor(40, 40, 40);
const PRESENT: RGBColor = RGBColor(110, 110, 110);
const OTHER: RGBColor = RGBColor(46, 110, 180);
const BETTER: RGBColor = RGBColor(40, 140, 70);

/// Bars for the medians, lines from the slowest run to the fastest, as an SVG document. The error is in words.
pub(crate) fn draw(report: &BenchReport) -> Result<String, String> {
    let mut text = String::new();
    draw_into(&mut text, report).map_err(|error| error.to_string())?;
    Ok(text)
}

fn draw_into(text: &mut String, report: &BenchReport) -> Result<(), Box<dyn std::error::Error>> {
    let rows = &report.settings;
    let most = rows.iter().map(|row| row.bytes_per_s_max).fold(1.0, f64::max) / 1e6 * 1.15;
    let count = rows.len().max(1) as f64;
    let height = FRAME_HEIGHT + ROW_HEIGHT * u32::try_from(rows.len().max(1))?;
    let longest = rows.iter().map(|row| row.words.chars().count()).max().unwrap_or_default();
    let label_width = CHARACTER_WIDTH * u32::try_from(longest)? + 16;
    let area = SVGBackend::with_string(text, (label_width + WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let caption = format!("twinlog bench, link {}: {}", report.link, report.verdict);
    let mut chart = ChartBuilder::on(&area)
        .caption(caption, ("sans-serif", 16).into_font().color(&TEXT))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(label_width)
        .build_cartesian_2d(0.0..most, 0.0..count)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .x_desc("MB/s: median, slowest and fastest run")
        .label_style(("sans-serif", 13).into_font().color(&TEXT))
        .draw()?;
    for (place, row) in rows.iter().enumerate() {
        // The first row on top.
        let middle = count - place as f64 - 0.5;
        let mb = |bytes: f64| bytes / 1e6;
        let bar = [(0.0, middle - 0.3), (mb(row.bytes_per_s_median), middle + 0.3)];
        chart.draw_series([Rectangle::new(bar, colour(row).filled())])?;
        let spread = [(mb(row.bytes_per_s_min), middle), (mb(row.bytes_per_s_max), middle)];
        chart.draw_series([PathElement::new(spread, BLACK.stroke_width(2))])?;
        let style = ("sans-serif", 13).into_font().color(&TEXT);
        let plural = if row.runs == 1 { "" } else { "s" };
        let label = format!("{:.1} ({} run{plural})", mb(row.bytes_per_s_median), row.runs);
        let at = (mb(row.bytes_per_s_max) + most * 0.01, middle + 0.15);
        chart.draw_series([Text::new(label, at, style.clone())])?;
        let (_, y) = chart.backend_coord(&(0.0, middle + 0.15));
        area.draw_text(&row.words, &style, (16, y))?;
    }
    area.present()?;
    Ok(())
}

fn colour(row: &SettingReport) -> RGBColor {
    match (row.is_present, row.is_recommended) {
        (_, true) => BETTER,
        (true, _) => PRESENT,
        _ => OTHER,
    }
}
