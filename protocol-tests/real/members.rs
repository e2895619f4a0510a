//! Two instances share the lanes of a link under load, and terrible things happen to one of them.

use std::time::{Duration, Instant};

use crate::kills::UnderLoad;
use crate::pair::{LONG, SESSION, SHARED, assert_runs, drain};

/// What a take-over may take beyond the session: hearing of it, a plan, the lane's first batch.
const TAKE_OVER: Duration = Duration::from_secs(2);

/// Given two instances that share the lanes, when one is killed with -9, then the other has all lanes within the
/// session and two seconds, and no record is lost, doubled or out of order.
#[test]
fn the_lanes_of_a_killed_instance_are_taken_over() {
    let scenario = UnderLoad::start(&SHARED, "members-killed");
    let mut first = scenario.link.run("first");
    let mut second = scenario.link.run("second");
    scenario.link.await_lanes("first", 2);
    scenario.link.await_lanes("second", 2);
    scenario.link.await_growth(&scenario.plain, 200_000);

    first.kill().expect("killed");
    let killed = Instant::now();

    scenario.link.await_lanes("second", 4);
    let taken = killed.elapsed();
    println!("taken over after {taken:?}");
    assert!(taken < SESSION + TAKE_OVER, "it took {taken:?}");
    scenario.link.await_growth(&scenario.plain, 200_000);
    assert_runs(&mut second);
    drain(second);
    scenario.finish();
}

/// Given two instances that share the lanes, when one is stopped for longer than the session and goes on after its
/// lanes were taken over, then it writes nothing of them any more, joins again, and gets its part back.
#[test]
fn an_instance_that_slept_writes_nothing_of_what_was_taken_over() {
    let scenario = UnderLoad::start(&SHARED, "members-slept");
    let mut first = scenario.link.run("first");
    let mut second = scenario.link.run("second");
    scenario.link.await_lanes("first", 2);
    scenario.link.await_lanes("second", 2);
    scenario.link.await_growth(&scenario.plain, 200_000);

    assert!(first.pause().expect("it is stopped"));
    scenario.link.await_lanes("second", 4);
    scenario.link.await_growth(&scenario.plain, 200_000);
    assert!(first.resume().expect("it goes on"));

    scenario.link.await_said("first", "joins again", LONG);
    scenario.link.await_lanes("first", 2);
    scenario.link.await_lanes("second", 2);
    scenario.link.await_growth(&scenario.plain, 200_000);
    assert_runs(&mut first);
    assert_runs(&mut second);
    drain(first);
    drain(second);
    scenario.finish();
}
