//! When the records of a partition were somewhere.

use std::time::Duration;

/// Moments, and how many records were there by then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    steps: Vec<(u64, Duration)>,
}

impl Timeline {
    /// Of a partition that has so many records already, whose moments nobody knows.
    pub(crate) fn behind(count: u64) -> Self {
        Self { steps: vec![(count, Duration::MAX)] }
    }

    pub(crate) fn count(&self) -> u64 {
        self.steps.last().map_or(0, |(count, _)| *count)
    }

    /// So many more have come, at least one.
    pub(crate) fn add(&mut self, more: u64, at: Duration) {
        self.steps.push((self.count() + more, at));
    }

    /// When the record of this number came, counted from 0.
    pub(crate) fn at(&self, record: u64) -> Option<Duration> {
        let place = self.steps.partition_point(|(count, _)| *count <= record);
        self.steps.get(place).map(|(_, at)| *at).filter(|at| *at != Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_has_the_moment_at_which_it_came() {
        let at = Duration::from_millis;
        let mut timeline = Timeline::behind(5);
        timeline.add(2, at(10));
        timeline.add(1, at(20));
        assert_eq!(timeline.count(), 8);
        assert_eq!(
            [4, 5, 6, 7, 8].map(|record| timeline.at(record)),
            [None, Some(at(10)), Some(at(10)), Some(at(20)), None]
        );
        assert_eq!(Timeline::default().at(0), None);
    }
}
