//! The simulation's second level: the true link and client against two sandboxes, over memory and under a paused
//! clock, hundreds of worlds in seconds; a failing one says how to replay it.
//!
//! A seed decides what befalls a world, the client's pauses and the order in which brokers are tried; each
//! `tokio::select!` of client, link and sandbox looks at its branches in their order. So a replay is the same world
//! (`a_seed_is_one_world`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(clippy::future_not_send, reason = "a world lives on one thread")]

mod ahead;
mod chaos;
mod faults;
mod instance;
mod judge;
mod moves;
mod network;
mod offline;
mod peer;
mod profile;
mod world;
mod writers;

use twinlog_protocol_tests::is_long;
use twinlog_protocol_tests::seeds::{Swept, Worlds};

use crate::profile::Mistake;
use crate::world::run;

const SEEDS: u64 = 300;
const SEEDS_LONG: u64 = 20_000;
/// Enough for each mistake to be found.
const SEEDS_MISTAKE: u64 = 200;

/// What must happen in some world, or the simulation tests less than it seems to.
const HAPPENS: [&str; 38] = [
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
    "fetches ahead",
    "fetches ahead in vain",
    "kills",
    "lanes shared by two",
    "leader moves",
    "links that stand still",
    "maps read beside their owner",
    "mirrors that lose their end",
    "moves to another lane",
    "old batches",
    "partitions without a leader",
    "pauses of a node",
    "records copied",
    "requests delayed",
    "requests lost",
    "resizes",
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

fn sweep(seeds: u64, mistake: Option<Mistake>, all: bool) -> Swept {
    Worlds { run: &|seed| run(seed, mistake), replay: &replay }.sweep(seeds, all)
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
        let swept = sweep(seeds.parse().unwrap(), None, true);
        println!("{:#?}", swept.coverage);
        for (seed, failure) in &swept.failures {
            println!("{seed}: {failure}");
        }
        assert!(swept.failures.is_empty(), "{} of {seeds} worlds do not end well", swept.failures.len());
        return;
    }
    let worlds = Worlds { run: &|seed| run(seed, None), replay: &replay };
    let swept = worlds.sweep(if is_long() { SEEDS_LONG } else { SEEDS }, false);
    worlds.judge(&swept, &HAPPENS, |seed| run(seed, None).trace);
}

/// A simulation that finds nothing wrong must show that it can.
#[test]
fn each_broken_promise_is_found() {
    for mistake in Mistake::ALL {
        let found = sweep(SEEDS_MISTAKE, Some(mistake), false).failures;
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
