//! Two instances of one link, started by mistake.

use crate::kills::UnderLoad;
use crate::pair::{SHARED, assert_runs, drain, ended};

/// Given an instance that copies under load, when a second one is started, then the first ends with code 4 and says
/// why, the second goes on, and no record is there twice.
#[test]
fn a_second_instance_takes_over_and_the_first_ends_with_4() {
    let scenario = UnderLoad::start(&SHARED, "owners");
    let first = scenario.link.run("first");
    scenario.link.await_growth(&scenario.plain, 200_000);

    let mut second = scenario.link.run("second");

    let first = ended(first);
    assert_eq!(first.code, 4, "{first:#?}");
    let said: Vec<&str> = first.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(said.len(), 1, "{}", first.stderr);
    assert!(said[0].contains("taken over by another instance"), "{}", first.stderr);
    assert!(said[0].contains("link owners"), "{}", first.stderr);
    scenario.link.await_growth(&scenario.plain, 400_000);
    assert_runs(&mut second);
    drain(second);
    scenario.finish();
}
