//! A second instance of a link, by mistake or on purpose.

use crate::kills::UnderLoad;
use crate::pair::{SHARED, assert_runs, drain};

/// Given an instance that copies under load, when a second one is started, then they share the lanes: both go on, and
/// when the first is stopped in order the second copies everything, at once and with no record twice.
#[test]
fn a_second_instance_shares_the_lanes_and_takes_over_from_the_first() {
    let scenario = UnderLoad::start_with(&SHARED, "owners", &["lanes: 4"]);
    let mut first = scenario.link.run("first");
    scenario.link.await_growth(&scenario.plain, 200_000);

    let mut second = scenario.link.run("second");

    scenario.link.await_lanes("second", 2);
    scenario.link.await_growth(&scenario.plain, 400_000);
    assert_runs(&mut first);
    drain(first);
    scenario.link.await_lanes("second", 4);
    scenario.link.await_growth(&scenario.plain, 200_000);
    assert_runs(&mut second);
    drain(second);
    scenario.finish();
}
