//! Memberships in thousands of worlds; a failing one says how to replay it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use twinlog_core::members::MembersConfig;
use twinlog_protocol_tests::is_long;
use twinlog_protocol_tests::members::{Mistake, World, run};
use twinlog_protocol_tests::seeds::Worlds;

const SEEDS: u64 = 2_000;
const SEEDS_LONG: u64 = 200_000;

/// What must happen in some world, or the simulation tests less than it seems to.
const HAPPENS: [&str; 19] = [
    "22",
    "25",
    "27",
    "answers lost",
    "changes of the number of lanes",
    "coordinator elsewhere",
    "crashes",
    "cuts",
    "faults stop",
    "groups forgotten",
    "lanes let go",
    "lanes lost",
    "members that left",
    "moves of the coordinator",
    "requests carried out twice",
    "requests lost",
    "sleeps longer than the session",
    "starts",
    "unlike lanes shared",
];

const CONFIG: MembersConfig = MembersConfig { session_ms: 10_000, settle_ms: 30_000 };

fn replay(seed: u64) -> String {
    format!("TWINLOG_MEMBERS_SEED={seed} cargo test -p twinlog-protocol-tests --test members -- --nocapture")
}

#[test]
fn no_two_members_own_a_lane_and_all_lanes_are_owned_in_the_end() {
    if let Ok(seed) = std::env::var("TWINLOG_MEMBERS_SEED") {
        let outcome = run(seed.parse().unwrap(), None, true);
        for line in &outcome.trace {
            println!("{line}");
        }
        assert_eq!(outcome.failure, None);
        return;
    }
    let worlds = Worlds { run: &|seed| run(seed, None, false), replay: &replay };
    let swept = worlds.sweep(if is_long() { SEEDS_LONG } else { SEEDS }, false);
    worlds.judge(&swept, &HAPPENS, |seed| run(seed, None, true).trace);
}

/// A simulation that finds nothing wrong must show that it can.
#[test]
fn each_mistake_is_found() {
    for mistake in Mistake::ALL {
        let worlds = Worlds { run: &|seed| run(seed, Some(mistake), false), replay: &replay };
        let found = worlds.sweep(SEEDS, false).failures;
        let Some((seed, failure)) = found.first() else { panic!("{mistake:?} is not found") };
        println!("{mistake:?}: seed {seed}: {failure}");
    }
}

/// Two members that live; a third begins again every 700 ms, far too soon to be trusted with anything.
#[test]
fn an_instance_in_a_restart_loop_moves_no_lane() {
    let mut world = World::calm(CONFIG, 8);
    let (a, b) = (world.start(), world.start());
    world.pass(60_000).unwrap();
    assert_eq!((world.lanes_of(a).len(), world.lanes_of(b).len()), (4, 4));
    world.changes();
    for _ in 0..100 {
        let looping = world.start();
        world.pass(700).unwrap();
        assert_eq!(world.lanes_of(looping), Vec::<u32>::new());
        world.crash(looping);
    }
    world.pass(60_000).unwrap();
    assert_eq!(world.changes(), 0);
}

/// One after the other is stopped in order and started again: only its own lanes move, and once all have settled each
/// has its part.
#[test]
fn a_rolling_restart_moves_only_the_lanes_of_the_one_that_restarts() {
    let mut world = World::calm(CONFIG, 9);
    let mut members = [world.start(), world.start(), world.start()];
    world.pass(60_000).unwrap();
    for place in 0..3 {
        let others: Vec<(usize, Vec<u32>)> = (0..3)
            .filter(|other| *other != place)
            .map(|other| (members[other], world.lanes_of(members[other])))
            .collect();
        world.leave(members[place]);
        world.pass(1_000).unwrap();
        members[place] = world.start();
        world.pass(1_000).unwrap();
        for (other, before) in others {
            let after = world.lanes_of(other);
            assert!(before.iter().all(|lane| after.contains(lane)), "{before:?} became {after:?}");
        }
        world.pass(60_000).unwrap();
        assert_eq!(members.map(|member| world.lanes_of(member).len()), [3, 3, 3]);
    }
}

/// Nobody comes or goes, and all that is written goes through the lanes of one member: within some minutes both have
/// their part of it.
#[test]
fn lanes_are_shared_out_anew_when_their_rates_have_changed() {
    let mut world = World::calm(CONFIG, 8);
    let members = [world.start(), world.start()];
    world.pass(60_000).unwrap();
    let busy = world.lanes_of(members[0]);
    assert_eq!(busy.len(), 4);
    world.changes();
    world.set_rates((0..8).map(|lane| if busy.contains(&lane) { 1_000_000 } else { 0 }).collect());
    world.pass(11 * 60_000).unwrap();
    let parts = members.map(|member| world.lanes_of(member).iter().filter(|lane| busy.contains(lane)).count());
    assert_eq!(parts, [2, 2]);
    world.changes();
    world.pass(60 * 60_000).unwrap();
    assert_eq!(world.changes(), 0);
}

/// The lanes of a member that dies are another's within the session and two seconds.
#[test]
fn lanes_of_a_dead_member_are_taken_over_within_the_session_and_two_seconds() {
    let mut world = World::calm(CONFIG, 4);
    let (a, b) = (world.start(), world.start());
    world.pass(60_000).unwrap();
    world.crash(a);
    world.pass(CONFIG.session_ms + 2_000).unwrap();
    assert_eq!(world.lanes_of(b), [0, 1, 2, 3]);
}
