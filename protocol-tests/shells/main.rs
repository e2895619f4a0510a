//! The simulation's second level: the true link and client against two sandboxes, over memory and under a paused
//! clock, hundreds of worlds in seconds; a failing one says how to replay it.
//!
//! A seed decides what befalls a world, the client's pauses and the order in which brokers are tried; each
//! `tokio::select!` of client, link and sandbox looks at its branches in their order. So a replay is the same world
//! (`a_seed_is_one_world`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(clippy::future_not_send, reason = "a world lives on one thread")]

mod chaos;
mod faults;
mod instance;
mod judge;
mod network;
mod peer;
mod profile;
mod world;
mod writers;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::profile::Mistake;
use crate::world::{Coverage, run};

const SEEDS: u64 = 300;
const SEEDS_LONG: u64 = 20_000;
/// Enough for each mistake to be found.
const SEEDS_MISTAKE: u64 = 60;

/// In real time; most worlds take less than a tenth of a second.
const STUCK: Duration = Duration::from_secs(60);

/// What must happen in some world, or the simulation tests less than it seems to.
const HAPPENS: [&str; 33] = [
    "AddPartitionsToTxn refused",
    "AddPartitionsToTxn refused after it",
    "EndTxn refused",
    "EndTxn refused after it",
    "Fetch refused",
    "FindCoordinator refused",
    "InitProducerId refused",
    "ListOffsets refused",
    "Produce refused",
    "Produce refused after the append",
    "answers lost",
    "cuts after a request",
    "cuts before a request",
    "ends in order",
    "kills",
    "leader moves",
    "links that stand still",
    "lost to a rival",
    "maps read beside their owner",
    "old batches",
    "partitions without a leader",
    "pauses of a node",
    "records copied",
    "requests delayed",
    "requests lost",
    "restarts of a node",
    "rivals",
    "stops under way",
    "topics made later",
    "transactions aborted",
    "transactions committed",
    "transactions cut off",
    "trims of the source",
];

fn replay(seed: u64) -> String {
    format!("TWINLOG_SHELLS_SEED={seed} cargo test -p twinlog-protocol-tests --test shells -- --nocapture")
}

/// Runs seeds on all cores; stops soon after the first that fails, unless all failures are wanted.
fn sweep(seeds: u64, mistake: Option<Mistake>, all: bool) -> (Vec<(u64, String)>, Coverage) {
    let next = AtomicU64::new(0);
    let found: Mutex<Vec<(u64, String)>> = Mutex::default();
    let total = Mutex::new(Coverage::new());
    let running: Mutex<BTreeMap<u64, Instant>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds || (!all && !found.lock().unwrap().is_empty()) {
                            break;
                        }
                        running.lock().unwrap().insert(seed, Instant::now());
                        let outcome = run(seed, mistake);
                        running.lock().unwrap().remove(&seed);
                        let mut total = total.lock().unwrap();
                        for (what, count) in outcome.coverage {
                            *total.entry(what).or_default() += count;
                        }
                        if let Some(failure) = outcome.failure {
                            found.lock().unwrap().push((seed, failure));
                        }
                    }
                })
            })
            .collect();
        // A world in which tasks wake each other for ever, in no time, cannot be ended from within.
        while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(20));
            let stuck =
                running.lock().unwrap().iter().find(|(_, begun)| begun.elapsed() > STUCK).map(|(seed, _)| *seed);
            if let Some(seed) = stuck {
                eprintln!("seed {seed}: no end after {STUCK:?}\nreplay: {}", replay(seed));
                std::process::exit(1);
            }
        }
    });
    (found.into_inner().unwrap(), total.into_inner().unwrap())
}

#[test]
fn every_world_ends_well() {
    if let Ok(seed) = std::env::var("TWINLOG_SHELLS_SEED") {
        // What the link says goes between what befalls it: TWINLOG_LOG=debug for more.
        let filter = std::env::var("TWINLOG_LOG").unwrap_or_else(|_| "info".to_owned());
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).init();
        let mistake = std::env::var("TWINLOG_SHELLS_MISTAKE").ok();
        let mistake = mistake.map(|name| Mistake::ALL.into_iter().find(|one| format!("{one:?}") == name).unwrap());
        let outcome = run(seed.parse().unwrap(), mistake);
        assert_eq!(outcome.failure, None);
        return;
    }
    if let Ok(seeds) = std::env::var("TWINLOG_SHELLS_SURVEY") {
        let (found, coverage) = sweep(seeds.parse().unwrap(), None, true);
        println!("{coverage:#?}");
        for (seed, failure) in found {
            println!("{seed}: {failure}");
        }
        return;
    }
    let long = std::env::var("TWINLOG_TEST").is_ok_and(|test| test == "long");
    let (found, coverage) = sweep(if long { SEEDS_LONG } else { SEEDS }, None, false);
    println!("{coverage:#?}");
    if let Some((seed, failure)) = found.first() {
        let trace = run(*seed, None).trace;
        let last = trace[trace.len().saturating_sub(40)..].join("\n");
        panic!("{last}\nseed {seed}: {failure}\nreplay: {}", replay(*seed));
    }
    let missing: Vec<_> = HAPPENS.iter().filter(|what| !coverage.contains_key(**what)).collect();
    assert!(missing.is_empty(), "in no world there was: {missing:?}");
}

/// A simulation that finds nothing wrong must show that it can.
#[test]
fn each_broken_promise_is_found() {
    for mistake in Mistake::ALL {
        let (found, _) = sweep(SEEDS_MISTAKE, Some(mistake), false);
        let Some((seed, failure)) = found.first() else { panic!("{mistake:?} is not found") };
        println!("{mistake:?}: seed {seed}: {failure}");
    }
}

/// What befell a world, the second time as the first.
#[test]
fn a_seed_is_one_world() {
    for seed in 0..10 {
        let (first, second) = (run(seed, None), run(seed, None));
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}
