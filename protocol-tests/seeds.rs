//! Running seeds: each is a world of its own, and what happened in all of them is counted.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// In real time; most worlds take less than a tenth of a second.
const STUCK: Duration = Duration::from_secs(60);

/// How often something happened, over one or many worlds.
pub type Coverage = BTreeMap<&'static str, u64>;

/// What came of a world.
#[derive(Debug)]
pub struct Outcome {
    /// What was wrong, if anything was.
    pub failure: Option<String>,
    /// What happened in it.
    pub coverage: Coverage,
    /// What happened one after the other, if asked for.
    pub trace: Vec<String>,
}

/// What was wrong with a world, its panic included.
pub(crate) fn failure_of(run: impl FnOnce() -> Result<(), String>) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.err(),
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            Some(format!("panic: {}", words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
        }
    }
}

/// What came of many.
#[derive(Debug, Default)]
pub struct Swept {
    /// The seeds that failed, and what was wrong.
    pub failures: Vec<(u64, String)>,
    /// What happened in all of them.
    pub coverage: Coverage,
}

/// A kind of worlds.
pub struct Worlds<'a> {
    /// Runs the world of a seed.
    pub run: &'a (dyn Fn(u64) -> Outcome + Sync),
    /// The command that runs it again.
    pub replay: &'a (dyn Fn(u64) -> String + Sync),
}

impl std::fmt::Debug for Worlds<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Worlds")
    }
}

impl Worlds<'_> {
    /// Runs seeds on all cores; stops soon after the first that fails, unless all failures are wanted.
    pub fn sweep(&self, seeds: u64, all: bool) -> Swept {
        let next = AtomicU64::new(0);
        let swept: Mutex<Swept> = Mutex::default();
        let running: Mutex<BTreeMap<u64, Instant>> = Mutex::default();
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds || (!all && !swept.lock().unwrap().failures.is_empty()) {
                    break;
                }
                running.lock().unwrap().insert(seed, Instant::now());
                let outcome = (self.run)(seed);
                running.lock().unwrap().remove(&seed);
                let mut swept = swept.lock().unwrap();
                for (what, count) in outcome.coverage {
                    *swept.coverage.entry(what).or_default() += count;
                }
                swept.failures.extend(outcome.failure.map(|failure| (seed, failure)));
            }
        };
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            // A world in which tasks wake each other for ever, in no time, cannot be ended from within.
            while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                std::thread::sleep(Duration::from_millis(20));
                let stuck =
                    running.lock().unwrap().iter().find(|(_, begun)| begun.elapsed() > STUCK).map(|(seed, _)| *seed);
                if let Some(seed) = stuck {
                    eprintln!("seed {seed}: no end after {STUCK:?}\nreplay: {}", (self.replay)(seed));
                    std::process::exit(1);
                }
            }
        });
        swept.into_inner().unwrap()
    }

    /// Panics with the first seed that failed, the end of its trace (`trace` runs it again) and how to replay it; or
    /// with what must happen in some world and did not.
    pub fn judge(&self, swept: &Swept, happens: &[&str], trace: impl Fn(u64) -> Vec<String>) {
        println!("{:#?}", swept.coverage);
        if let Some((seed, failure)) = swept.failures.first() {
            let trace = trace(*seed);
            let last = trace[trace.len().saturating_sub(40)..].join("\n");
            panic!("{last}\nseed {seed}: {failure}\nreplay: {}", (self.replay)(*seed));
        }
        let missing: Vec<_> = happens.iter().filter(|what| !swept.coverage.contains_key(**what)).collect();
        assert!(missing.is_empty(), "in no world there was: {missing:?}");
    }
}
