//! Which settings are tried next, and what follows from what they did. Nothing here waits, measures or writes.
//!
//! ```text
//!  for each axis:  the present settings and each neighbour once ──none is faster──► next axis
//!                       │ the fastest neighbour
//!                       ▼
//!                  in turn with the present ones, until it has 3 runs ──not better──► next axis
//!                       │ better
//!                       ▼
//!                  it is the present one now: the same axis again
//! ```
//!
//! **Better** is: three runs each or more, the slowest run of the one is faster than the fastest of the other, and its
//! median is more than 5 % above the other's. The spread of a setting is the range of its runs.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use twinlog_core::config::{PRODUCE_IN_FLIGHT_MAX, SOCKET_BUFFER_MAX, SOCKET_BUFFER_MIN};

use super::settings::Settings;

/// So many runs of a setting count as much as its spread is worth.
pub(crate) const REPEATS: usize = 3;
/// The median of a better setting is above the other's by more than this factor.
const GAIN: f64 = 1.05;
/// Lanes beyond this many a core share threads that are busy already.
const LANES_A_CORE: u16 = 4;
/// Sizes go up and down by this factor.
const SIZE_STEP: i32 = 4;
/// Below these a request for each answer costs more than it brings.
const ANSWER_BYTES_MIN: i32 = 256 << 10;
const PARTITION_BYTES_MIN: i32 = 64 << 10;
/// What is tried where the kernel sizes the buffers.
const SOCKET_BUFFERS: [u32; 2] = [1 << 20, 8 << 20];

/// What is varied, in this order: what usually matters most comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Axis {
    Lanes,
    FetchSize,
    InFlight,
    SocketBuffers,
}

impl Axis {
    pub(crate) const ALL: [Self; 4] = [Self::Lanes, Self::FetchSize, Self::InFlight, Self::SocketBuffers];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lanes => "lanes",
            Self::FetchSize => "fetch size",
            Self::InFlight => "requests in flight",
            Self::SocketBuffers => "socket buffers",
        }
    }

    /// The neighbours of these settings, more first.
    fn neighbours(self, at: Settings, bounds: Bounds) -> Vec<Settings> {
        match self {
            Self::Lanes => {
                let most = bounds.partitions.min(bounds.cores.saturating_mul(LANES_A_CORE)).max(1);
                let lanes = [at.lanes.saturating_mul(2), at.lanes / 2];
                let fits = |lanes: &u16| (1..=most.max(at.lanes)).contains(lanes);
                lanes.into_iter().filter(fits).map(|lanes| Settings { lanes, ..at }).collect()
            }
            Self::FetchSize => fetch_sizes(at, bounds),
            Self::InFlight => {
                let fits = |in_flight: &u16| (1..=PRODUCE_IN_FLIGHT_MAX).contains(in_flight);
                let counts = [at.in_flight.saturating_mul(2), at.in_flight / 2];
                counts.into_iter().filter(fits).map(|in_flight| Settings { in_flight, ..at }).collect()
            }
            Self::SocketBuffers => {
                let sizes = match at.receive_buffer.max(at.send_buffer) {
                    None => SOCKET_BUFFERS,
                    Some(bytes) => [bytes.saturating_mul(4), bytes / 4],
                };
                let fits = |bytes: &u32| (SOCKET_BUFFER_MIN..=SOCKET_BUFFER_MAX).contains(bytes);
                let with = |bytes| Settings { receive_buffer: Some(bytes), send_buffer: Some(bytes), ..at };
                sizes.into_iter().filter(fits).map(with).collect()
            }
        }
    }
}

/// An answer is never larger than a quarter of its lane's part of the budget: more would be the same.
fn fetch_sizes(at: Settings, bounds: Bounds) -> Vec<Settings> {
    let room = bounds.budget_bytes / u64::from(at.lanes.max(1)) / 4;
    let room = i32::try_from(room).unwrap_or(i32::MAX);
    let mut sizes = Vec::new();
    if at.max_bytes.min(at.partition_max_bytes) < room {
        let budget = i32::try_from(bounds.budget_bytes).unwrap_or(i32::MAX).min(1 << 30);
        let max_bytes = at.max_bytes.saturating_mul(SIZE_STEP).min(budget);
        let partition_max_bytes = at.partition_max_bytes.saturating_mul(SIZE_STEP).min(max_bytes);
        sizes.push(Settings { max_bytes, partition_max_bytes, ..at });
    }
    let max_bytes = at.max_bytes.min(room.max(ANSWER_BYTES_MIN)) / SIZE_STEP;
    if max_bytes >= ANSWER_BYTES_MIN {
        let partition_max_bytes = (at.partition_max_bytes / SIZE_STEP).max(PARTITION_BYTES_MIN).min(max_bytes);
        sizes.push(Settings { max_bytes, partition_max_bytes, ..at });
    }
    sizes.retain(|sizes| *sizes != at);
    sizes
}

/// What settings must stay within.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Partitions of the topic that is copied: a lane without one does nothing.
    pub(crate) partitions: u16,
    /// Cores of this machine.
    pub(crate) cores: u16,
    /// The link's `budget`.
    pub(crate) budget_bytes: u64,
}

/// What came of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Conclusion {
    /// These settings are better than the link's.
    Better(Settings),
    /// Nothing that was tried is better than what the link has.
    Fine,
    /// What the link has was not measured often enough to say anything.
    TooFew,
}

#[derive(Debug)]
enum Stage {
    /// An axis begins.
    Begin,
    /// These had one run each.
    Screened(Vec<Settings>),
    /// This one had all its runs.
    Repeated(Settings),
}

/// A search from what a link has.
#[derive(Debug)]
pub(crate) struct Search {
    start: Settings,
    present: Settings,
    bounds: Bounds,
    axes: VecDeque<Axis>,
    stage: Stage,
    queue: VecDeque<Settings>,
    runs: BTreeMap<Settings, Vec<f64>>,
}

impl Search {
    pub(crate) fn new(start: Settings, bounds: Bounds) -> Self {
        Self {
            start,
            present: start,
            bounds,
            axes: Axis::ALL.into(),
            stage: Stage::Begin,
            queue: VecDeque::new(),
            runs: BTreeMap::new(),
        }
    }

    /// What is to be run next; none if the search is over. Its outcome goes to [`Search::ran`].
    pub(crate) fn next(&mut self) -> Option<Settings> {
        loop {
            if let Some(settings) = self.queue.pop_front() {
                return Some(settings);
            }
            let axis = *self.axes.front()?;
            match std::mem::replace(&mut self.stage, Stage::Begin) {
                Stage::Begin => {
                    let mut fresh = axis.neighbours(self.present, self.bounds);
                    fresh.retain(|settings| !self.runs.contains_key(settings));
                    if fresh.is_empty() {
                        self.axes.pop_front();
                        continue;
                    }
                    self.queue = [self.present].into_iter().chain(fresh.iter().copied()).collect();
                    self.stage = Stage::Screened(fresh);
                }
                Stage::Screened(fresh) => {
                    let best = fresh.into_iter().max_by(|a, b| self.median(*a).total_cmp(&self.median(*b)));
                    match best.filter(|best| self.median(*best) > self.median(self.present)) {
                        Some(best) => {
                            self.queue = std::iter::repeat_n([self.present, best], REPEATS - 1).flatten().collect();
                            self.stage = Stage::Repeated(best);
                        }
                        None => drop(self.axes.pop_front()),
                    }
                }
                Stage::Repeated(best) => match self.is_better(best, self.present) {
                    true => self.present = best,
                    false => drop(self.axes.pop_front()),
                },
            }
        }
    }

    /// A run of these settings copied so many bytes a second.
    pub(crate) fn ran(&mut self, settings: Settings, bytes_per_s: f64) {
        self.runs.entry(settings).or_default().push(bytes_per_s);
    }

    /// What follows from all runs so far.
    pub(crate) fn conclusion(&self) -> Conclusion {
        if self.runs_of(self.start).len() < REPEATS {
            return Conclusion::TooFew;
        }
        match self.is_better(self.present, self.start) {
            true => Conclusion::Better(self.present),
            false => Conclusion::Fine,
        }
    }

    /// What was not tried to its end.
    pub(crate) fn untried(&self) -> Vec<Axis> {
        self.axes.iter().copied().collect()
    }

    /// Whether all axes were tried, and no run of any was outside of the spread of what the link has by more than 5 %.
    pub(crate) fn made_no_difference(&self) -> bool {
        let Some((low, high)) = range(self.runs_of(self.start)) else { return false };
        let is_alike = |rate: &f64| (low / GAIN..=high * GAIN).contains(rate);
        self.axes.is_empty() && self.runs.len() > 1 && self.runs.values().flatten().all(is_alike)
    }

    /// By which factor the fastest run of what the link has is faster than its slowest.
    pub(crate) fn spread(&self) -> f64 {
        range(self.runs_of(self.start)).map_or(1.0, |(low, high)| high / low.max(f64::MIN_POSITIVE))
    }

    fn runs_of(&self, settings: Settings) -> &[f64] {
        self.runs.get(&settings).map_or(&[], Vec::as_slice)
    }

    fn median(&self, settings: Settings) -> f64 {
        median(self.runs_of(settings))
    }

    fn is_better(&self, one: Settings, other: Settings) -> bool {
        let (one, other) = (self.runs_of(one), self.runs_of(other));
        let (Some((slowest, _)), Some((_, fastest))) = (range(one), range(other)) else { return false };
        one.len().min(other.len()) >= REPEATS && slowest > fastest && median(one) > median(other) * GAIN
    }
}

/// The slowest and the fastest.
pub(crate) fn range(rates: &[f64]) -> Option<(f64, f64)> {
    let low = rates.iter().copied().reduce(f64::min)?;
    Some((low, rates.iter().copied().reduce(f64::max)?))
}

/// The middle one, or the mean of the two in the middle; 0 of nothing.
pub(crate) fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (1, _, Some(rate)) => *rate,
        (0, Some(low), Some(high)) => (low + high) / 2.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests;
