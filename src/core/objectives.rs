//! How far behind a partition may be (recovery point objectives), and which are further.

use alloc::vec::Vec;
use core::time::Duration;

use crate::status::{PartitionStatus, Standing};
use crate::topics::Pattern;

/// What is asked of some topics.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Source topics that it is for; of several objectives for a topic the first counts. None: all.
    pub topics: Vec<Pattern>,
    /// How long ago each partition may have been current at most.
    pub rpo: Duration,
}

/// The first objective of a topic, by its place.
pub fn objective_of(objectives: &[Objective], topic: &str) -> Option<usize> {
    let is_for = |objective: &Objective| {
        objective.topics.is_empty() || objective.topics.iter().any(|pattern| pattern.matches(topic))
    };
    objectives.iter().position(is_for)
}

/// How long ago a partition was current, in ms; one that was not yet counts from the start on.
pub fn behind_ms(row: &PartitionStatus, begun_ms: i64, now_ms: i64) -> u64 {
    u64::try_from(now_ms.saturating_sub(row.current_as_of_ms.unwrap_or(begun_ms))).unwrap_or(0)
}

/// Whether a partition is further behind than it may; none where nothing is asked of it, or another instance has it.
pub fn is_breached(objectives: &[Objective], row: &PartitionStatus, begun_ms: i64, now_ms: i64) -> Option<bool> {
    let objective = objectives.get(objective_of(objectives, &row.topic)?)?;
    let behind = u128::from(behind_ms(row, begun_ms, now_ms));
    (row.standing != Standing::Elsewhere).then_some(behind > objective.rpo.as_millis())
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::map_record::PartitionKey;

    fn row(topic: &str, current_as_of_ms: Option<i64>, standing: Standing) -> PartitionStatus {
        let key = PartitionKey { topic: topic.into(), partition: 0 };
        PartitionStatus { current_as_of_ms, ..PartitionStatus::new(key, topic.into(), 0, standing, "copying") }
    }

    #[test]
    fn the_first_objective_of_a_topic_counts_from_when_it_was_current() {
        let objectives = [
            Objective { topics: vec!["pay-.*".parse().unwrap()], rpo: Duration::from_secs(5) },
            Objective { topics: Vec::new(), rpo: Duration::from_secs(60) },
        ];
        let breached = |row: &PartitionStatus| is_breached(&objectives, row, 100_000, 110_000);
        assert_eq!(breached(&row("pay-1", Some(105_000), Standing::Copying)), Some(false));
        assert_eq!(breached(&row("pay-1", Some(104_999), Standing::Halted)), Some(true));
        assert_eq!(breached(&row("pay-1", None, Standing::Waiting)), Some(true), "not yet: since the start");
        assert_eq!(breached(&row("orders", Some(60_000), Standing::Copying)), Some(false));
        assert_eq!(breached(&row("orders", Some(49_999), Standing::Copying)), Some(true));
        assert_eq!(breached(&row("orders", Some(0), Standing::Elsewhere)), None);
        assert_eq!(is_breached(&objectives[..1], &row("orders", Some(0), Standing::Copying), 0, 110_000), None);
    }
}
