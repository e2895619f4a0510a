//! Two instances share the lanes of a link under load, and one of them goes.

use crate::kills::UnderLoad;
use crate::pair::{LONG, SHARED, assert_runs, drain};

/// Given two instances that share the lanes, when one is killed with -9, then the other takes all lanes, and no record
/// is lost, doubled or out of order. How long that takes is what the bench `takeover` measures.
#[test]
fn the_lanes_of_a_killed_instance_are_taken_over() {
    let scenario = UnderLoad::start_with(&SHARED, "members-killed", &["lanes: 4"]);
    let mut first = scenario.link.run("first");
    let mut second = scenario.link.run("second");
    scenario.link.await_lanes("first", 2);
    scenario.link.await_lanes("second", 2);
    scenario.link.await_growth(&scenario.plain, 200_000);

    first.kill().expect("killed");

    scenario.link.await_lanes("second", 4);
    scenario.link.await_growth(&scenario.plain, 200_000);
    assert_runs(&mut second);
    drain(second);
    scenario.finish();
}

/// Given two instances that share the lanes, when one is stopped for longer than the session and goes on after its
/// lanes were taken over, then it writes nothing of them any more, joins again, and gets its part back.
#[test]
fn an_instance_that_slept_writes_nothing_of_what_was_taken_over() {
    let scenario = UnderLoad::start_with(&SHARED, "members-slept", &["lanes: 4"]);
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
