//! Of many runs the least, the median and the most.

use serde::{Deserialize, Serialize};

/// Least, median and most of some runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        let middle = values.len() / 2;
        let median =
            if values.len().is_multiple_of(2) { (at(middle.max(1) - 1) + at(middle)) / 2.0 } else { at(middle) };
        Self { min: at(0), median, max: at(values.len().max(1) - 1) }
    }

    pub(crate) fn show(&self, decimals: usize) -> String {
        let Self { min, median, max } = self;
        format!("{min:.decimals$}  {median:.decimals$}  {max:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_of_the_runs() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0].into_iter()), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0].into_iter()), Spread { min: 1.0, median: 2.5, max: 4.0 });
        assert!(Spread::of(std::iter::empty()).median.is_nan());
    }
}
