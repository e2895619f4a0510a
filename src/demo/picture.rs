//! A picture of both logs over time, in characters.

use serde::Serialize;

/// How far both sides were at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Sample {
    /// Since the first write, in ms.
    pub(crate) ms: u64,
    /// Offsets on the source, all partitions together.
    pub(crate) source: u64,
    /// Those of them that are on the target.
    pub(crate) target: u64,
    /// Whether a link was running.
    pub(crate) running: bool,
}

/// Draws what is on the target as full blocks, what only the source has as light ones, and the time without a link
/// below.
pub(crate) fn draw(samples: &[Sample], width: usize, height: usize) -> String {
    let (Some(last), true) = (samples.last(), width > 0 && height > 0) else { return String::new() };
    let span = last.ms.max(1);
    let most = samples.iter().map(|sample| sample.source).max().unwrap_or(0).max(1);
    let columns: Vec<Sample> = (0..width)
        .map(|column| {
            let until = span * (column as u64 + 1) / width as u64;
            let known = samples.iter().take_while(|sample| sample.ms <= until).last();
            known.copied().unwrap_or(Sample { ms: 0, source: 0, target: 0, running: true })
        })
        .collect();
    let mut picture = String::new();
    for row in (0..height).rev() {
        // A block stands if at least half of its height is reached.
        let level = (2 * row as u64 + 1) * most / (2 * height as u64);
        picture.push_str("  ");
        let line: String = columns.iter().map(|column| block(column, level)).collect();
        picture.push_str(line.trim_end());
        picture.push('\n');
    }
    picture.push_str("  ");
    let down: String = columns.iter().map(|column| if column.running { '─' } else { '×' }).collect();
    picture.push_str(&down);
    picture.push('\n');
    let seconds = format!("{:.1} s", span as f64 / 1000.0);
    picture.push_str(&format!("  0 s{seconds:>rest$}\n", rest = width.saturating_sub(3)));
    picture
}

fn block(column: &Sample, level: u64) -> char {
    match () {
        () if column.target > level => '█',
        () if column.source > level => '░',
        () => ' ',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_and_the_time_without_a_link_are_seen() {
        let sample = |ms, source, target, running| Sample { ms, source, target, running };
        let samples = [
            sample(1_000, 25, 25, true),
            sample(2_000, 50, 50, true),
            sample(3_000, 75, 50, false),
            sample(4_000, 100, 100, true),
        ];
        let wanted = "     █\n    ░█\n   ███\n  ████\n  ──×─\n  0 s4.0 s\n";
        assert_eq!(draw(&samples, 4, 4), wanted);
    }

    #[test]
    fn nothing_to_draw_is_an_empty_picture() {
        assert_eq!(draw(&[], 10, 5), "");
    }
}
