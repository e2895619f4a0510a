//! The picture of a result: the link's CPU beside the floor's, by cell.

use std::path::Path;

use plotters::prelude::*;

use super::report::Report;

const WIDTH: u32 = 900;
const CELL_HEIGHT: u32 = 34;
const FRAME_HEIGHT: u32 = 110;
const TEXT: RGBColor = RGBColor(40, 40, 40);
const OWN: RGBColor = RGBColor(46, 110, 180);

/// Draws bars for the medians, lines from the least to the most, and the floor.
pub(crate) fn write(report: &Report, path: &Path) -> Result<(), String> {
    draw(report, path).map_err(|error| format!("{}: {error}", path.display()))
}

fn draw(report: &Report, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let rows: Vec<_> = report.cells.iter().filter_map(|cell| Some((cell, cell.own()?))).collect();
    let most = rows.iter().map(|(_, row)| row.ratio_to_floor.max).fold(1.0, f64::max) * 1.1;
    let count = rows.len() as f64;
    let height = FRAME_HEIGHT + CELL_HEIGHT * u32::try_from(rows.len())?;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let machine = &report.machine;
    let caption = format!("CPU beside the bare loop's, {} ({})", machine.date, machine.commit);
    let mut chart = ChartBuilder::on(&area)
        .caption(caption, ("sans-serif", 18).into_font().color(&TEXT))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(170)
        .build_cartesian_2d(0.0..most, 0.0..count)?;
    let words = format!("times; {}, {} cores, Linux {}", machine.cpu, machine.cores, machine.kernel);
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .x_desc(words)
        .label_style(("sans-serif", 13).into_font().color(&TEXT))
        .draw()?;
    for (place, (cell, row)) in rows.iter().enumerate() {
        // The first cell on top.
        let middle = count - place as f64 - 0.5;
        let ratio = row.ratio_to_floor;
        let bar = [(0.0, middle - 0.3), (ratio.median, middle + 0.3)];
        chart.draw_series([Rectangle::new(bar, OWN.filled())])?;
        let spread = [(ratio.min, middle), (ratio.max, middle)];
        chart.draw_series([PathElement::new(spread, BLACK.stroke_width(2))])?;
        let style = ("sans-serif", 13).into_font().color(&TEXT);
        let label = format!("{:.2}", ratio.median);
        chart.draw_series([Text::new(label, (ratio.max + most * 0.01, middle + 0.15), style.clone())])?;
        let (_, y) = chart.backend_coord(&(0.0, middle + 0.15));
        area.draw_text(&cell.what, &style, (16, y))?;
    }
    chart.draw_series([PathElement::new([(1.0, 0.0), (1.0, count)], RED.stroke_width(2))])?;
    area.present()?;
    Ok(())
}
