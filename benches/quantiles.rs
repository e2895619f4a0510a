//! What of many times is told.

use serde::Serialize;

/// The times that half, 99 % and 99.9 % of the records were not slower than, and the slowest one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Quantiles {
    /// By the nearest rank, so each is a time that was measured; of at least one.
    pub(crate) fn of(mut times: Vec<f64>) -> Self {
        times.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| {
            let rank = (times.len() as f64 * part).ceil() as usize;
            times.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
        };
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_time_that_so_many_were_not_slower_than() {
        let times: Vec<f64> = (1..=1_000).rev().map(f64::from).collect();
        assert_eq!(Quantiles::of(times), Quantiles { p50: 500.0, p99: 990.0, p999: 999.0, max: 1_000.0 });
        assert_eq!(Quantiles::of(vec![3.0, 1.0, 2.0]), Quantiles { p50: 2.0, p99: 3.0, p999: 3.0, max: 3.0 });
        assert_eq!(Quantiles::of(vec![7.0]), Quantiles { p50: 7.0, p99: 7.0, p999: 7.0, max: 7.0 });
        assert!(Quantiles::of(Vec::new()).p50.is_nan());
    }
}
