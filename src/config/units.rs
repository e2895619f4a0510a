//! Sizes and durations as people write them: `64MiB`, `500ms`.

use std::time::Duration;

const SIZES: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];
const DURATIONS_MS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Bytes, from a bare number or one with a unit.
///
/// # Errors
///
/// What to write, if it is none, or above `u64::MAX`.
pub fn size(text: &str) -> Result<u64, String> {
    with_unit(text, &SIZES).ok_or_else(|| format!("`{text}` is no size: write 67108864 or 64MiB"))
}

/// A duration. A bare number is refused: half of its readers would take it for milliseconds.
///
/// # Errors
///
/// What to write, if it is none, or above `u64::MAX` milliseconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bare = text.bytes().all(|c| c.is_ascii_digit());
    let ms = if bare { None } else { with_unit(text, &DURATIONS_MS) };
    ms.map(Duration::from_millis).ok_or_else(|| format!("`{text}` is no duration: write 500ms, 10s, 5m or 1h"))
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "" => 1,
        unit => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The shortest exact way to write a duration.
pub(super) fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    let fits = |factor: u64| ms > 0 && ms.is_multiple_of(u128::from(factor));
    let fitting = DURATIONS_MS.iter().rev().find(|(_, factor)| fits(*factor));
    fitting.map_or_else(|| format!("{ms}ms"), |(name, factor)| format!("{}{name}", ms / u128::from(*factor)))
}

/// The shortest exact way to write a size.
pub fn show_size(bytes: u64) -> String {
    let binary = SIZES[..3].iter().rev().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    binary.map_or_else(|| bytes.to_string(), |(name, factor)| format!("{}{name}", bytes / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("0", 0), ("1", 1), ("512B", 512), ("64MiB", 64 << 20), ("64 MiB", 64 << 20), ("1GB", 1_000_000_000)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "64mib", "64M", "99999999999GiB", "1 2"] {
            size(text).expect_err(text);
        }
        assert_eq!(show_size(64 << 20), "64MiB");
        assert_eq!(show_size((1 << 20) + 1), "1048577");
    }

    #[test]
    fn durations() {
        for (text, ms) in [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "10", "s", "1d", "-1s", "1.5s", "99999999999999999h"] {
            duration(text).expect_err(text);
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_duration(Duration::from_secs(3600)), "1h");
        assert_eq!(show_duration(Duration::from_millis(1500)), "1500ms");
    }
}
