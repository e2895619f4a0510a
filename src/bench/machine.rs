//! How busy the processor is: this process, and the whole machine where it says so (`/proc/stat`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What was used up at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    at: Instant,
    /// CPU of this process.
    process: Duration,
    /// Ticks of all cores in which anything ran, and all ticks.
    machine: Option<(u64, u64)>,
}

impl Sample {
    fn now() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let part = |number: i64| u64::try_from(number).unwrap_or_default();
        let process = Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec));
        let machine = std::fs::read_to_string("/proc/stat").ok().and_then(|text| ticks(&text));
        Self { at: Instant::now(), process, machine }
    }
}

/// Busy and all ticks, from `cpu user nice system idle iowait irq softirq steal …`: what was stolen was wanted.
fn ticks(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_whitespace().take(8).map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let all: u64 = fields.iter().sum();
    Some((all - fields.get(3)? - fields.get(4)?, all))
}

/// What was used between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Used {
    /// CPU of this process.
    pub(crate) process: Duration,
    /// The same, by how long it took: 1 is one core.
    pub(crate) cores: f64,
    /// Of all cores of the machine, by all its processes; from 0 to 1.
    pub(crate) machine: Option<f64>,
}

/// Looks at it now and then, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch(JoinHandle<()>, Arc<Mutex<Vec<Sample>>>);

impl Watch {
    pub(crate) fn begin() -> Self {
        let samples = Arc::new(Mutex::new(vec![Sample::now()]));
        let kept = Arc::clone(&samples);
        let task = tokio::spawn(async move {
            let mut ticks = interval(LOOK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(Sample::now());
            }
        });
        Self(task, samples)
    }

    /// What was used in this time and a moment around it.
    pub(crate) fn between(&self, begun: Instant, ended: Instant) -> Used {
        let mut samples = self.1.lock().unwrap_or_else(PoisonError::into_inner).clone();
        samples.push(Sample::now());
        used(&samples, begun, ended)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn used(samples: &[Sample], begun: Instant, ended: Instant) -> Used {
    let first = samples.iter().rfind(|sample| sample.at <= begun).or_else(|| samples.first());
    let last = samples.iter().find(|sample| sample.at >= ended).or_else(|| samples.last());
    let (Some(first), Some(last)) = (first, last) else { return Used::default() };
    let process = last.process.saturating_sub(first.process);
    let took = last.at.saturating_duration_since(first.at).as_secs_f64();
    let cores = if took > 0.0 { process.as_secs_f64() / took } else { 0.0 };
    let part = |((busy, all), (busy_later, all_later)): ((u64, u64), (u64, u64))| {
        let all = all_later.saturating_sub(all);
        (all > 0).then(|| busy_later.saturating_sub(busy) as f64 / all as f64)
    };
    Used { process, cores, machine: first.machine.zip(last.machine).and_then(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_ticks_and_waits_for_disks_are_not_busy() {
        assert_eq!(ticks("cpu  10 1 5 80 4 0 0 2 50 0\ncpu0 1 1 1 1\n"), Some((18, 102)));
        assert_eq!(ticks("intr 1 2 3\n"), None);
        assert_eq!(ticks("cpu a b\n"), None);
    }

    #[test]
    fn what_counts_is_the_time_asked_for_and_what_lies_around_it() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let sample =
            |ms, cpu_ms, busy| Sample { at: at(ms), process: Duration::from_millis(cpu_ms), machine: Some((busy, ms)) };
        // Nothing is done but from 100 to 200 ms.
        let samples = [sample(0, 0, 0), sample(100, 0, 0), sample(200, 50, 90), sample(300, 50, 90)];
        let used_between = |from, to| used(&samples, at(from), at(to));
        let wanted = Used { process: Duration::from_millis(50), cores: 0.5, machine: Some(0.9) };
        assert_eq!(used_between(100, 200), wanted);
        assert_eq!(used_between(120, 180), wanted);
        assert_eq!(used_between(90, 110).cores, 0.25);
        assert_eq!(used(&[], begun, begun), Used::default());
    }
}
