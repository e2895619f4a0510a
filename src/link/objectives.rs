//! Watches how far behind partitions are, against the link's objectives, and tells when one is breached and when it is
//! met again: one line for each objective, however many partitions there are.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use twinlog_core::objectives::{Objective, behind_ms, is_breached, objective_of};
use twinlog_core::status::PartitionStatus;

use crate::environment::WallClock;
use crate::supervisor::LinkSetup;

/// How often partitions are looked at though none of them has changed: one that stands still falls behind.
const PAUSE: Duration = Duration::from_secs(1);

/// The objectives of a link at work.
#[derive(Debug)]
pub(crate) struct Objectives {
    link: String,
    all: Vec<Objective>,
    /// Whether each was breached the last time.
    breached: Vec<bool>,
    clock: WallClock,
    begun_ms: i64,
    judged: Instant,
}

/// The partitions that breach one objective.
#[derive(Clone, Debug, Default)]
struct Breach {
    count: usize,
    /// The one that is furthest behind, and by how much, in ms.
    worst: Option<(Arc<PartitionStatus>, u64)>,
}

impl Objectives {
    pub(crate) fn new(setup: &LinkSetup) -> Self {
        let (all, clock) = (setup.config.objectives.clone(), setup.environment.clock.clone());
        let breached = vec![false; all.len()];
        Self { link: setup.name.clone(), all, breached, begun_ms: clock.now_ms(), clock, judged: Instant::now() }
    }

    /// Watches others from now on. What is breached by them is told anew.
    pub(crate) fn replace(&mut self, objectives: &[Objective]) {
        if self.all != objectives {
            self.breached = vec![false; objectives.len()];
            self.all = objectives.to_vec();
        }
    }

    /// Whether it is time to look, though nothing has changed.
    pub(crate) fn are_due(&self) -> bool {
        !self.all.is_empty() && self.judged.elapsed() >= PAUSE
    }

    /// Says of each partition whether it is too far behind, and tells what has changed.
    pub(crate) fn judge(&mut self, mut rows: Vec<Arc<PartitionStatus>>) -> Vec<Arc<PartitionStatus>> {
        if self.all.is_empty() {
            return rows;
        }
        self.judged = Instant::now();
        let now_ms = self.clock.now_ms();
        let mut breaches = vec![Breach::default(); self.all.len()];
        for row in &mut rows {
            let breached = is_breached(&self.all, row, self.begun_ms, now_ms);
            if row.breached != breached {
                Arc::make_mut(row).breached = breached;
            }
            let breach = objective_of(&self.all, &row.topic).and_then(|place| breaches.get_mut(place));
            if let Some(breach) = breach.filter(|_| breached == Some(true)) {
                let behind = behind_ms(row, self.begun_ms, now_ms);
                breach.count += 1;
                if breach.worst.as_ref().is_none_or(|(_, worst)| behind > *worst) {
                    breach.worst = Some((Arc::clone(row), behind));
                }
            }
        }
        for ((objective, before), breach) in self.all.iter().zip(&mut self.breached).zip(breaches) {
            let (link, rpo) = (&self.link, objective.rpo);
            let topics = objective.topics.iter().map(|pattern| pattern.as_str()).collect::<Vec<_>>().join(", ");
            match (std::mem::replace(before, breach.count > 0), breach.worst) {
                (false, Some((row, behind_ms))) => tracing::warn!(
                    link,
                    topics,
                    ?rpo,
                    partitions = breach.count,
                    worst_topic = row.topic,
                    worst_partition = row.partition,
                    behind_ms,
                    state = row.state,
                    "The objective is breached: partitions are further behind than they may."
                ),
                (true, None) => tracing::info!(link, topics, ?rpo, "The objective is met again."),
                _ => {}
            }
        }
        rows
    }
}
