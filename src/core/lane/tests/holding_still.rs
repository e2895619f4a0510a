//! When a lane sends nothing, asks for nothing, and ends.

use twinlog_wire::error_code::ErrorCode;

use super::KEEP_ALIVE_MS;
use super::script::{EXPIRATION_MS, Script, spec};
use crate::io::{Event, Failure, FenceOutcome, Input, Output, Over};
use crate::outbox::Answer;

fn sends(told: &[Output]) -> usize {
    told.iter().filter(|output| matches!(output, Output::Send { .. })).count()
}

#[test]
fn a_lane_that_ends_sends_nothing_more_and_waits_for_what_is_in_flight() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    let told = script.told();
    assert_eq!(sends(&told), 1);
    assert!(script.lane.wants_fetch(script.now, id).is_some());
    script.tell(Input::Drain);
    assert_eq!(script.lane.wants_fetch(script.now, id), None);
    script.fetch(id, &[1]);
    assert_eq!(script.told(), []);
    script.store(&told[0], 1);
    let told = script.told();
    assert_eq!(sends(&told), 0, "{told:?}");
    assert_eq!(told.last(), Some(&Output::Over(Over::Drained)));
}

#[test]
fn a_lane_ends_when_its_last_write_to_the_map_and_its_last_transaction_are_answered() {
    let mut script = Script::running();
    script.keep(|output| matches!(output, Output::WriteMap(_) | Output::Fence { .. }));
    script.pass(KEEP_ALIVE_MS as u64);
    let told = script.told();
    let [fence @ Output::Fence { .. }] = &told[..] else { panic!("{told:?}") };
    script.tell(Input::Drain);
    assert_eq!(script.told(), [], "a transaction is under way");
    script.answer(fence.clone());
    assert_eq!(script.told(), [Output::Over(Over::Drained)]);

    let mut script = Script::running();
    script.keep(|output| matches!(output, Output::WriteMap(_) | Output::Probe { .. }));
    script.lane.add(script.now, spec("orders"));
    script.tell(Input::Drain);
    let told = script.told();
    assert_eq!(told.last(), Some(&Output::Over(Over::Drained)), "nothing was begun: {told:?}");

    let mut script = Script::running();
    script.keep(|output| matches!(output, Output::WriteMap(_)));
    script.lane.add(script.now, spec("orders"));
    script.tell(Input::Forget(spec("other").key));
    let told = script.told();
    let [write @ Output::WriteMap(_)] = &told[..] else { panic!("{told:?}") };
    script.tell(Input::Drain);
    assert_eq!(script.told(), [], "its head is on its way to the map");
    script.keep(|_| false);
    script.answer(write.clone());
    assert_eq!(script.told().last(), Some(&Output::Over(Over::Drained)));
}

#[test]
fn a_lane_that_is_taken_while_it_ends_says_that_and_nothing_more() {
    let mut script = Script::running();
    script.keep(|output| matches!(output, Output::Fence { .. }));
    script.pass(KEEP_ALIVE_MS as u64);
    script.told();
    script.tell(Input::Drain);
    script.tell(Input::Fenced(FenceOutcome::Failed(Failure::Code(ErrorCode::PRODUCER_FENCED))));
    assert_eq!(script.told(), [Output::Over(Over::Lost)]);
}

#[test]
fn a_lane_that_the_coordinator_was_silent_to_for_long_sends_nothing() {
    let (mut script, id) = Script::copying();
    script.keep(|output| matches!(output, Output::InitProducerId { .. }));
    script.now.wall_ms += 2 * KEEP_ALIVE_MS;
    assert!(script.lane.wants_fetch(script.now, id).is_some());
    script.now.wall_ms += 1;
    assert_eq!(script.lane.wants_fetch(script.now, id), None, "the target may have forgotten its transactional id");
    script.fetch(id, &[1]);
    script.pass(500);
    let told = script.told();
    assert_eq!(told, [Output::InitProducerId { current: Some(script.producer) }], "it asks, and sends nothing");
    script.answer(told[0].clone());
    assert_eq!(sends(&script.told()), 1, "it goes on");
}

#[test]
fn room_that_waits_is_shared_by_the_partitions() {
    let (mut script, id) = Script::copying();
    script.keep(|output| matches!(output, Output::WriteMap(_)));
    // Batches of 100 bytes wait for their plan; 1 000 may wait in all.
    script.fetch(id, &[1; 9]);
    assert!(script.lane.wants_fetch(script.now, id).is_some());
    script.fetch(id, &[1]);
    assert_eq!(script.lane.wants_fetch(script.now, id), None);
    let (mut script, id) = Script::copying();
    script.keep(|output| matches!(output, Output::WriteMap(_)));
    script.fetch(id, &[1; 9]);
    script.keep(|output| matches!(output, Output::Probe { .. } | Output::WriteMap(_)));
    script.lane.add(script.now, spec("other"));
    assert_eq!(script.lane.wants_fetch(script.now, id), None, "500 are its part by now");
}

#[test]
fn a_batch_that_is_old_goes_alone() {
    let (mut script, id) = Script::copying();
    script.now.wall_ms += 1;
    let old = script.now.wall_ms - EXPIRATION_MS / 2 - 1;
    script.fetch_stamped(id, &[old, old]);
    let told = script.told();
    assert_eq!(sends(&told), 1, "{told:?}");
    script.store(&told[0], 1);
    assert_eq!(sends(&script.told()), 1);

    let (mut script, id) = Script::copying();
    let young = script.now.wall_ms - EXPIRATION_MS / 2;
    script.fetch_stamped(id, &[young, young]);
    assert_eq!(sends(&script.told()), 2);
}

#[test]
fn an_old_batch_that_was_not_answered_is_looked_for_and_not_sent_again() {
    let (mut script, id) = Script::copying();
    let old = script.now.wall_ms - EXPIRATION_MS;
    script.fetch_stamped(id, &[old]);
    let told = script.told();
    let [Output::Send { slot, attempt, .. }] = told[..] else { panic!("{told:?}") };
    script.keep(|output| matches!(output, Output::InitProducerId { .. }));
    script.tell(Input::Produced { partition: id, slot, attempt, answer: Answer::Lost });
    script.pass(20);
    let told = script.told();
    assert_eq!(told[0], Output::Event(Event::Resolving(id)));
    assert_eq!(told[1..], [Output::InitProducerId { current: Some(script.producer) }]);
}

#[test]
fn an_idle_mirror_that_the_broker_may_forget_gets_a_new_marker() {
    // A broker goes by the time of a producer's newest record or marker.
    for (age_ms, asks) in [(EXPIRATION_MS / 4 * 3 - 10_000, false), (EXPIRATION_MS / 4 * 3 - 9_999, true)] {
        let (mut script, _) = Script::copying();
        script.now.wall_ms += age_ms;
        script.pass(500);
        script.keep(|output| matches!(output, Output::InitProducerId { .. }));
        script.pass(9_500);
        assert_eq!(script.told().len(), usize::from(asks), "{age_ms}");
    }
}
