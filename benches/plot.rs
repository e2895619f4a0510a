//! Pictures of results: bars beside each other, with lines from the least to the most.

use std::path::Path;

use plotters::prelude::*;

use crate::machine::Machine;
use crate::spread::Spread;

pub(crate) use plotters::style::RGBColor;

const WIDTH: u32 = 900;
const BAR_HEIGHT: u32 = 34;
const FRAME_HEIGHT: u32 = 110;
const TEXT: RGBColor = RGBColor(40, 40, 40);
/// This project's own bars.
pub(crate) const OWN: RGBColor = RGBColor(46, 110, 180);

/// How long a bar is for its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As the value is; there is a line at 1.
    Linear,
    /// As its logarithm is.
    Logarithmic,
}

/// A bar for the median, and a line from the least to the most.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: Spread,
    pub(crate) color: RGBColor,
}

/// A picture, the first bar on top.
#[derive(Debug)]
pub(crate) struct Picture<'a> {
    pub(crate) caption: &'a str,
    /// What the bars are measured in.
    pub(crate) unit: &'a str,
    pub(crate) scale: Scale,
    pub(crate) machine: &'a Machine,
    pub(crate) bars: &'a [Bar],
}

impl Scale {
    /// Where a value stands on the axis.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
        }
    }

    fn value(self, place: f64) -> f64 {
        match self {
            Self::Linear => place,
            Self::Logarithmic => 10f64.powf(place),
        }
    }

    /// The axis that shows values from `least` to `most`.
    fn axis(self, least: f64, most: f64) -> (f64, f64) {
        match self {
            Self::Linear => (0.0, most.max(1.0) * 1.1),
            // So that the least has a bar, too, and the most has room for its number.
            Self::Logarithmic => {
                let (least, most) = (self.place(least), self.place(most));
                (least.floor(), most + ((most - least.floor()) * 0.1).max(0.1))
            }
        }
    }
}

impl Picture<'_> {
    /// Draws it into a file.
    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        self.draw(path).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn draw(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let values = || self.bars.iter().map(|bar| bar.value);
        let least = values().map(|value| value.min).filter(|least| *least > 0.0).fold(f64::INFINITY, f64::min);
        let most = values().map(|value| value.max).filter(|most| most.is_finite()).fold(0.0, f64::max);
        let (from, to) = self.scale.axis(least.min(most.max(f64::MIN_POSITIVE)), most);
        let count = self.bars.len() as f64;
        let height = FRAME_HEIGHT + BAR_HEIGHT * u32::try_from(self.bars.len())?;
        let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let machine = self.machine;
        let caption = format!("{}, {} ({})", self.caption, machine.date, machine.commit);
        let mut chart = ChartBuilder::on(&area)
            .caption(caption, ("sans-serif", 18).into_font().color(&TEXT))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(170)
            .build_cartesian_2d(from..to, 0.0..count)?;
        let words = format!("{}; {}, {} cores, Linux {}", self.unit, machine.cpu, machine.cores, machine.kernel);
        let mut mesh = chart.configure_mesh();
        mesh.disable_y_mesh().disable_y_axis().y_labels(0).x_desc(words);
        mesh.label_style(("sans-serif", 13).into_font().color(&TEXT));
        let show = |place: &f64| format_value(self.scale.value(*place));
        if self.scale == Scale::Logarithmic {
            mesh.x_label_formatter(&show);
        }
        mesh.draw()?;
        for (place, bar) in self.bars.iter().enumerate() {
            let middle = count - place as f64 - 0.5;
            let at = |value: f64| self.scale.place(value).max(from);
            let Spread { min, median, max } = bar.value;
            let body = [(from, middle - 0.3), (at(median), middle + 0.3)];
            chart.draw_series([Rectangle::new(body, bar.color.filled())])?;
            let spread = [(at(min), middle), (at(max), middle)];
            chart.draw_series([PathElement::new(spread, BLACK.stroke_width(2))])?;
            let style = ("sans-serif", 13).into_font().color(&TEXT);
            let label = format_value(median);
            let beside = (at(max) + (to - from) * 0.01, middle + 0.15);
            chart.draw_series([Text::new(label, beside, style.clone())])?;
            let (_, y) = chart.backend_coord(&(from, middle + 0.15));
            area.draw_text(&bar.label, &style, (16, y))?;
        }
        if self.scale == Scale::Linear {
            chart.draw_series([PathElement::new([(1.0, 0.0), (1.0, count)], RED.stroke_width(2))])?;
        }
        area.present()?;
        Ok(())
    }
}

/// Two digits behind the point, none where there are enough in front of it.
fn format_value(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_from_its_place_and_the_axis_holds_all() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            assert!((scale.value(scale.place(42.0)) - 42.0).abs() < 1e-9);
            let (from, to) = scale.axis(0.02, 300.0);
            assert!(from < scale.place(0.02) && scale.place(300.0) < to, "{from} {to}");
        }
    }

    #[test]
    fn a_number_has_no_more_digits_than_it_needs() {
        assert_eq!(
            ["0.13", "12.35", "1235"],
            [0.125_1, 12.345_6, 1_234.56].map(format_value).each_ref().map(|s| &s[..])
        );
    }
}
