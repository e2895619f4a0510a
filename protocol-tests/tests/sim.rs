//! Thousands of worlds; a failing one says how to replay it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use twinlog_protocol_tests::sim::{Coverage, Mistake, run};

const SEEDS: u64 = 2_000;
const SEEDS_LONG: u64 = 200_000;

/// What must happen in some world, or the simulator tests less than it seems to.
const HAPPENS: [&str; 51] = [
    "45 to a Produce",
    "47 to a Produce",
    "aborted transactions",
    "answers twice or late",
    "chunks taken out",
    "chunks written",
    "clean restarts",
    "cleaned batches",
    "compactions of the map",
    "connections broken",
    "crashes",
    "diverged",
    "drains under way",
    "duplicates answered from memory",
    "fetches out of range",
    "fetches that diverge",
    "gap",
    "lanes taken",
    "leader moves",
    "markers twice",
    "old batches",
    "partitions that give way",
    "pauses",
    "plans taken out",
    "producers forgotten",
    "reads without ownership",
    "recreated",
    "refused",
    "refused after the append",
    "refused before the append",
    "repacks",
    "requests lost",
    "requests that outlive their connection",
    "resends",
    "resolves",
    "restarts of a lane",
    "rivals",
    "source-truncated",
    "starts",
    "target-not-empty",
    "target-recreated",
    "target-trimmed",
    "target-truncated",
    "time jumps",
    "too-large",
    "transactions timed out",
    "trims",
    "trims of a mirror",
    "unreadable",
    "unsupported",
    "zombies refused",
];

fn replay(seed: u64) -> String {
    format!("TWINLOG_SIM_SEED={seed} cargo test -p twinlog-protocol-tests --test sim -- --nocapture")
}

/// Runs seeds on all cores; stops soon after the first that fails.
fn sweep(seeds: u64, mistake: Option<Mistake>) -> (Option<(u64, String)>, Coverage) {
    let next = AtomicU64::new(0);
    let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let total = Mutex::new(Coverage::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut coverage = Coverage::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || found.lock().unwrap().is_some() {
                        break;
                    }
                    let outcome = run(seed, mistake, false);
                    for (what, count) in outcome.coverage {
                        *coverage.entry(what).or_default() += count;
                    }
                    if let Some(failure) = outcome.failure {
                        found.lock().unwrap().get_or_insert((seed, failure));
                    }
                }
                for (what, count) in coverage {
                    *total.lock().unwrap().entry(what).or_default() += count;
                }
            });
        }
    });
    (found.into_inner().unwrap(), total.into_inner().unwrap())
}

/// For work on the core: all failing seeds, those with the same words together.
fn survey(seeds: u64) {
    let next = AtomicU64::new(0);
    let groups: Mutex<std::collections::BTreeMap<String, Vec<u64>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    if let Some(failure) = run(seed, None, false).failure {
                        let kind: String = failure
                            .chars()
                            .filter(|c| !c.is_ascii_digit())
                            .take(90)
                            .collect::<String>()
                            .replace('\n', " ");
                        groups.lock().unwrap().entry(kind).or_default().push(seed);
                    }
                }
            });
        }
    });
    for (kind, seeds) in groups.into_inner().unwrap() {
        println!("{:>5}  {kind}  {:?}", seeds.len(), seeds.iter().take(6).collect::<Vec<_>>());
    }
}

#[test]
fn every_world_ends_well() {
    if let Ok(seed) = std::env::var("TWINLOG_SIM_SEED") {
        let outcome = run(seed.parse().unwrap(), None, true);
        for line in &outcome.trace {
            println!("{line}");
        }
        assert_eq!(outcome.failure, None);
        return;
    }
    if let Ok(seeds) = std::env::var("TWINLOG_SIM_SURVEY") {
        return survey(seeds.parse().unwrap());
    }
    let long = std::env::var("TWINLOG_TEST").is_ok_and(|test| test == "long");
    let (failure, coverage) = sweep(if long { SEEDS_LONG } else { SEEDS }, None);
    println!("{coverage:#?}");
    if let Some((seed, failure)) = failure {
        let trace = run(seed, None, true).trace;
        let last = trace[trace.len().saturating_sub(40)..].join("\n");
        panic!("{last}\nseed {seed}: {failure}\nreplay: {}", replay(seed));
    }
    let missing: Vec<_> = HAPPENS.iter().filter(|what| !coverage.contains_key(**what)).collect();
    assert!(missing.is_empty(), "in no world there was: {missing:?}");
}

/// A simulator that finds nothing wrong must show that it can.
#[test]
fn each_seeded_mistake_is_found() {
    for mistake in Mistake::ALL {
        let (found, _) = sweep(SEEDS, Some(mistake));
        let Some((seed, failure)) = found else { panic!("{mistake:?} is not found") };
        println!("{mistake:?}: seed {seed}: {failure}");
    }
}
