//! What is said of a partition that does not move, and how it gives way to others.

use super::Script;
use crate::ids::SourceOffset;
use crate::io::{Event, FetchResult, Input, Offline, Output, WaitsFor};

const OFFLINE: Offline = Offline::Unreachable(1);

#[test]
fn a_target_that_is_offline_for_two_seconds_is_worth_a_word_and_so_is_its_return() {
    let (mut script, id) = Script::copying();
    script.tell(Input::TargetOffline(id, Some(OFFLINE)));
    script.pass(1_000);
    // The reason may change, the time counts from the first.
    script.tell(Input::TargetOffline(id, Some(Offline::NoLeader)));
    assert_eq!(script.lane.partition(id).and_then(|partition| partition.offline()), Some(Offline::NoLeader));
    script.pass(999);
    assert_eq!(script.events(), []);
    script.pass(501);
    assert_eq!(script.events(), [Event::TargetOffline(id, Offline::NoLeader)]);
    script.pass(10_000);
    script.tell(Input::TargetOffline(id, Some(OFFLINE)));
    assert_eq!(script.events(), [], "once");
    script.tell(Input::TargetOffline(id, None));
    assert_eq!(script.events(), [Event::GoesOn(id, SourceOffset(0))]);
    script.tell(Input::TargetOffline(id, Some(OFFLINE)));
    script.pass(1_500);
    script.tell(Input::TargetOffline(id, None));
    assert_eq!(script.events(), [], "a leader that moves is not worth a word");
}

#[test]
fn nobody_looks_after_a_mirror_that_is_offline() {
    let (mut script, id) = Script::copying();
    script.keep(|output| matches!(output, Output::LookAtEnds { .. }));
    script.tell(Input::TargetOffline(id, Some(OFFLINE)));
    script.pass(20_000);
    assert_eq!(script.told_one(), Output::Event(Event::TargetOffline(id, OFFLINE)));
}

#[test]
fn batches_of_a_target_that_is_offline_are_held_for_three_seconds() {
    let (mut script, id) = Script::copying();
    script.tell(Input::TargetOffline(id, Some(OFFLINE)));
    let slots = script.fetch(id, &[1, 1]);
    assert_eq!(script.told(), [], "nothing is sent");
    script.pass(2_999);
    let released = |told: &[Output]| told.iter().filter(|output| matches!(output, Output::Release(_))).count();
    // The oldest stays: what was never sent behind it gives way earlier.
    let told = script.told();
    assert_eq!(released(&told), 1, "{told:?}");
    script.pass(501);
    let told = script.told();
    assert!(told.contains(&Output::Release(slots[0])), "{told:?}");
    assert!(told.contains(&Output::Event(Event::GaveWay(id, SourceOffset(0)))), "{told:?}");
    script.tell(Input::TargetOffline(id, None));
    script.fetch(id, &[1]);
    let told = script.told();
    let sends = told.iter().filter(|output| matches!(output, Output::Send { .. })).count();
    assert_eq!(sends, 1, "{told:?}");
}

#[test]
fn a_copy_that_does_not_move_for_thirty_seconds_is_stalled_and_says_what_it_waits_for() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    let told = script.told();
    let [Output::Send { .. }] = told[..] else { panic!("{told:?}") };
    script.pass(29_000);
    assert!(!script.lane.partition(id).is_some_and(|partition| partition.is_stalled()));
    assert_eq!(script.events(), []);
    script.pass(1_500);
    assert_eq!(script.events(), [Event::Stalled(id, WaitsFor::Answer)]);
    assert!(script.lane.partition(id).is_some_and(|partition| partition.is_stalled()));
    script.pass(60_000);
    assert_eq!(script.events(), [], "once");
    script.store(&told[0], 1);
    script.pass(500);
    assert_eq!(script.events(), [Event::GoesOn(id, SourceOffset(1))]);
}

#[test]
fn a_copy_that_has_all_is_not_stalled() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    let told = script.told();
    script.store(&told[0], 1);
    script.told();
    script.pass(120_000);
    assert_eq!(script.events(), []);
}

#[test]
fn where_the_target_takes_nothing_for_two_seconds_what_was_never_sent_gives_way() {
    let (mut script, id) = Script::copying();
    let slots = script.fetch(id, &[1; 7]);
    let told = script.told();
    assert_eq!(told.len(), 5, "five are in flight: {told:?}");
    script.pass(1_500);
    assert_eq!(script.told(), []);
    script.pass(1_000);
    let gave_way = Output::Event(Event::GaveWay(id, SourceOffset(5)));
    assert_eq!(script.told(), [Output::Release(slots[6]), Output::Release(slots[5]), gave_way]);
    assert_eq!(script.lane.wants_fetch(script.now, id), None, "nothing is fetched for it meanwhile");
    script.store(&told[0], 1);
    assert_eq!(script.lane.wants_fetch(script.now, id), Some((SourceOffset(5), 0)));
}

#[test]
fn one_that_was_stalled_and_then_offline_goes_on_once() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    script.pass(31_000);
    script.tell(Input::TargetOffline(id, Some(OFFLINE)));
    script.pass(3_000);
    assert_eq!(script.events(), [Event::Stalled(id, WaitsFor::Answer), Event::TargetOffline(id, OFFLINE)]);
    script.tell(Input::TargetOffline(id, None));
    assert_eq!(script.events(), [Event::GoesOn(id, SourceOffset(0))]);
}

#[test]
fn what_a_stalled_copy_waits_for() {
    // The source says that it has more, and does not send it.
    let (mut script, id) = Script::copying();
    let (end, log_start) = (SourceOffset(9), SourceOffset(0));
    let (batches, aborted) = (alloc::vec![], alloc::vec![]);
    let result = FetchResult::Batches { high_watermark: end, last_stable: end, log_start, batches, aborted };
    script.tell(Input::Fetched { partition: id, position: SourceOffset(0), result });
    script.pass(31_000);
    assert_eq!(script.events(), [Event::Stalled(id, WaitsFor::Source)]);
    // The map topic does not answer.
    let (mut script, id) = Script::copying();
    script.keep(|output| matches!(output, Output::WriteMap(_)));
    script.fetch(id, &[1]);
    script.pass(31_000);
    assert_eq!(script.events(), [Event::Stalled(id, WaitsFor::Map)]);
}
