//! Thousands of worlds; a failing one says how to replay it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::collections::BTreeMap;

use twinlog_protocol_tests::is_long;
use twinlog_protocol_tests::seeds::{Swept, Worlds};
use twinlog_protocol_tests::sim::{Mistake, run};

const SEEDS: u64 = 5_000;
const SEEDS_LONG: u64 = 1_000_000;

/// What must happen in some world, or the simulator tests less than it seems to.
const HAPPENS: [&str; 80] = [
    "45 to a Produce",
    "47 to a Produce",
    "aborted transactions",
    "answers twice or late",
    "batches with the broker's time",
    "chunks read again",
    "chunks taken out",
    "chunks written",
    "clean restarts",
    "cleaned batches",
    "commits of what lost its leader",
    "compactions of the map",
    "connections broken",
    "copies cut back",
    "copies cut back that were in another lane",
    "crashes",
    "diverged",
    "drains under way",
    "duplicates answered from memory",
    "fences held up by a lost leader",
    "fences not begun for want of a leader",
    "fetches out of range",
    "fetches that diverge",
    "gap",
    "keep-alives",
    "lanes taken",
    "leader moves",
    "looks before a batch goes to another place",
    "batches that wait for a connection that is lost",
    "markers twice",
    "messages of old formats",
    "moves",
    "moves that end",
    "old batches",
    "others complete beside a lost leader",
    "partitions adopted",
    "partitions forgotten",
    "partitions let go of",
    "partitions taken in to fence a used-up id",
    "partitions that give way",
    "partitions without a leader",
    "pauses",
    "plans taken out",
    "producer ids used up",
    "producers forgotten",
    "reads without ownership",
    "records behind a lost end",
    "recreated",
    "refused",
    "refused after the append",
    "refused before the append",
    "repacks",
    "requests lost",
    "requests that outlive their connection",
    "resends",
    "resolved by accept",
    "resolved by recreate",
    "resolved by resync",
    "resolved by retry",
    "resolved by skip-gap",
    "resolves",
    "restarts of a lane",
    "rivals",
    "source-truncated",
    "stalled",
    "starts",
    "target-not-empty",
    "target-offline",
    "target-recreated",
    "target-trimmed",
    "target-truncated",
    "time jumps",
    "too-large",
    "transactional ids forgotten",
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

fn sweep(seeds: u64, mistake: Option<Mistake>, all: bool) -> Swept {
    Worlds { run: &|seed| run(seed, mistake, false), replay: &replay }.sweep(seeds, all)
}

/// For work on the core: all failing seeds, those with the same words together.
fn survey(seeds: u64) {
    let mut groups: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (seed, failure) in sweep(seeds, None, true).failures {
        let kind: String =
            failure.chars().filter(|c| !c.is_ascii_digit()).take(90).collect::<String>().replace('\n', " ");
        groups.entry(kind).or_default().push(seed);
    }
    for (kind, seeds) in groups {
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
    let worlds = Worlds { run: &|seed| run(seed, None, false), replay: &replay };
    let swept = worlds.sweep(if is_long() { SEEDS_LONG } else { SEEDS }, false);
    worlds.judge(&swept, &HAPPENS, |seed| run(seed, None, true).trace);
}

/// A simulator that finds nothing wrong must show that it can.
#[test]
fn each_seeded_mistake_is_found() {
    for mistake in Mistake::ALL {
        let found = sweep(SEEDS, Some(mistake), false).failures;
        let Some((seed, failure)) = found.first() else { panic!("{mistake:?} is not found") };
        println!("{mistake:?}: seed {seed}: {failure}");
    }
}
