//! Transactions with mirrors in them.

use alloc::vec;
use alloc::vec::Vec;

use twinlog_wire::error_code::ErrorCode;

use super::script::{Script, asks_the_coordinator, spec};
use crate::halt::Halt;
use crate::ids::{Producer, TargetOffset};
use crate::io::{Event, Failure, FenceOutcome, Input, LanePartition, Member, Offline, Output, ReadResult};

/// Two partitions of which the first is about to be fenced, alone.
fn fencing() -> (Script, LanePartition, LanePartition) {
    let (mut script, second) = Script::copying();
    script.keep(asks_the_coordinator);
    let first = script.lane.add(script.now, spec("new")).expect("it runs");
    script.tell(Input::Forget(spec("other").key));
    let producer = script.producer;
    assert_eq!(script.told(), [Output::Fence { producer, members: vec![Member::Data(first)] }]);
    (script, first, second)
}

#[test]
fn a_mirror_that_cannot_be_fenced_waits_and_the_lane_does_not() {
    let (mut script, first, _) = fencing();
    let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    script.tell(Input::Fenced(FenceOutcome::NotAdded(vec![(Member::Data(first), code)])));
    assert_eq!(script.events(), [Event::Retrying(Some(first), Failure::Code(code), "writing the marker")]);
    assert_eq!(script.lane.transaction_failure(), None);
    let third = script.lane.add(script.now, spec("third")).expect("it runs");
    script.tell(Input::Forget(spec("other").key));
    let producer = script.producer;
    assert_eq!(script.told(), [Output::Fence { producer, members: vec![Member::Data(third)] }]);
    script.answer(Output::Fence { producer, members: vec![Member::Data(third)] });
    script.told();
    script.pass(500);
    assert_eq!(script.told(), [Output::Fence { producer, members: vec![Member::Data(first)] }]);
}

#[test]
fn a_mirror_that_held_up_nothing_is_tried_again_at_once() {
    let (mut script, first, second) = fencing();
    let codes =
        vec![(Member::Data(first), ErrorCode::OPERATION_NOT_ATTEMPTED), (Member::Data(second), ErrorCode::NONE)];
    script.tell(Input::Fenced(FenceOutcome::NotAdded(codes)));
    let producer = script.producer;
    assert_eq!(script.told(), [Output::Fence { producer, members: vec![Member::Data(first)] }]);
}

#[test]
fn what_may_be_open_is_committed_with_those_that_have_a_leader() {
    let (mut script, first, _) = fencing();
    script.tell(Input::Fenced(FenceOutcome::Unknown));
    assert_eq!(script.events(), [Event::Retrying(None, Failure::Lost, "writing markers")]);
    assert_eq!(script.lane.transaction_failure(), Some(Failure::Lost));
    script.pass(20);
    let producer = script.producer;
    let fence = Output::Fence { producer, members: vec![Member::Data(first)] };
    assert_eq!(script.told_one(), fence);
    // It has no leader now: if it is in the transaction the commit alone does as well.
    script.tell(Input::TargetOffline(first, Some(Offline::NoLeader)));
    script.tell(Input::Fenced(FenceOutcome::Unknown));
    script.pass(40);
    assert_eq!(script.told(), [Output::Fence { producer, members: vec![] }]);
    script.tell(Input::Fenced(FenceOutcome::Committed));
    assert_eq!(script.lane.transaction_failure(), None);
    script.tell(Input::TargetOffline(first, None));
    script.pass(500);
    assert_eq!(script.told_one(), fence);
}

#[test]
fn what_is_open_and_cannot_be_added_keeps_the_lane_waiting() {
    let (mut script, first, _) = fencing();
    script.tell(Input::Fenced(FenceOutcome::Unknown));
    script.pass(20);
    script.told();
    let failure = Failure::Code(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let codes = vec![(Member::Data(first), ErrorCode::NOT_LEADER_OR_FOLLOWER)];
    script.tell(Input::Fenced(FenceOutcome::NotAdded(codes)));
    assert_eq!(script.lane.transaction_failure(), Some(failure));
    script.pass(500);
    let producer = script.producer;
    assert_eq!(script.told().last(), Some(&Output::Fence { producer, members: vec![Member::Data(first)] }));
    // What is gone is not open any more.
    let codes = vec![(Member::Data(first), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)];
    script.tell(Input::Fenced(FenceOutcome::NotAdded(codes)));
    script.told();
    script.tell(Input::TargetOffline(first, Some(Offline::NoLeader)));
    script.pass(5_000);
    assert_eq!(script.told(), [Output::Event(Event::TargetOffline(first, Offline::NoLeader))]);
}

#[test]
fn a_commit_that_waits_for_its_markers_is_made_again() {
    let (mut script, first, _) = fencing();
    script.tell(Input::Fenced(FenceOutcome::Ending));
    let held_up = Failure::Code(ErrorCode::CONCURRENT_TRANSACTIONS);
    assert_eq!(script.events(), [Event::Retrying(None, held_up, "writing markers")]);
    script.pass(20);
    let producer = script.producer;
    assert_eq!(script.told(), [Output::Fence { producer, members: vec![Member::Data(first)] }]);
}

#[test]
fn a_fence_that_failed_as_a_whole_is_made_again_after_a_pause() {
    let (mut script, first, _) = fencing();
    let failure = Failure::Code(ErrorCode::NOT_COORDINATOR);
    script.tell(Input::Fenced(FenceOutcome::Failed(failure)));
    assert_eq!(script.events(), [Event::Retrying(None, failure, "writing markers")]);
    script.tell(Input::Forget(spec("other").key));
    assert_eq!(script.told(), [], "not before the pause is over");
    script.pass(20);
    let producer = script.producer;
    assert_eq!(script.told(), [Output::Fence { producer, members: vec![Member::Data(first)] }]);
}

#[test]
fn a_target_that_forgot_the_id_is_asked_which_it_is_now() {
    let (mut script, first, _) = fencing();
    let codes = vec![(Member::Data(first), ErrorCode::INVALID_PRODUCER_ID_MAPPING)];
    script.tell(Input::Fenced(FenceOutcome::NotAdded(codes)));
    let own = script.producer;
    assert_eq!(script.told(), [Output::InitProducerId { current: Some(own) }]);
    script.tell(Input::ProducerId(Ok(Producer { id: own.id, epoch: own.epoch + 1 })));
    let producer = Producer { id: own.id, epoch: own.epoch + 1 };
    assert_eq!(script.told(), [Output::Fence { producer, members: vec![Member::Data(first)] }]);
}

#[test]
fn a_new_epoch_is_asked_for_before_the_next_fence() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    script.told();
    script.keep(asks_the_coordinator);
    let answer = crate::outbox::Answer::Refused(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, "".into());
    script.tell(Input::Produced { partition: id, slot: crate::batch::Slot(1), attempt: 1, answer });
    assert_eq!(script.told_one(), Output::Event(Event::Resolving(id)), "nobody wants to be fenced yet");
    script.pass(20);
    let own = script.producer;
    let init = Output::InitProducerId { current: Some(own) };
    assert_eq!(script.told().last(), Some(&init));
    script.answer(init);
    let members = vec![Member::Data(id)];
    assert_eq!(script.told(), [Output::Fence { producer: script.producer, members }]);
    assert_ne!(script.producer, own);
}

#[test]
fn what_may_be_open_is_closed_before_a_new_epoch_is_asked_for() {
    let (mut script, first, second) = fencing();
    script.tell(Input::Fenced(FenceOutcome::Unknown));
    script.fetch(second, &[1]);
    let answer = crate::outbox::Answer::Refused(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, "".into());
    script.tell(Input::Produced { partition: second, slot: crate::batch::Slot(1), attempt: 1, answer });
    script.told();
    script.pass(20);
    let producer = script.producer;
    let close = Output::Fence { producer, members: vec![Member::Data(first)] };
    assert_eq!(script.told_one(), close);
    script.answer(close);
    script.pass(20);
    assert_eq!(script.told().last(), Some(&Output::InitProducerId { current: Some(producer) }));
}

#[test]
fn one_fence_has_a_hundred_topics_with_all_their_partitions() {
    let mut script = Script::running();
    script.keep(|output| asks_the_coordinator(output) || matches!(output, Output::WriteMap(_)));
    for number in 0..102 {
        let topic = alloc::format!("topic-{number}");
        script.lane.add(script.now, spec(&topic));
    }
    let mut another = spec("topic-0");
    another.key.partition = 1;
    let another = script.lane.add(script.now, another).expect("it runs");
    script.tell(Input::Forget(spec("other").key));
    // All heads are in the map before the first fence.
    let write = script.told_one();
    script.keep(|output| matches!(output, Output::Fence { .. }));
    script.answer(write);
    let mut members = Vec::new();
    while let Some(fence) = script.told().into_iter().find(asks_the_coordinator) {
        if let Output::Fence { members: added, .. } = &fence {
            members.push(added.clone());
        }
        script.answer(fence);
    }
    assert_eq!(members.iter().map(Vec::len).collect::<Vec<_>>(), [101, 2]);
    assert!(members[0].contains(&Member::Data(another)));
}

/// A partition that reads its mirror up to its marker, and from where.
fn scanning() -> (Script, LanePartition, TargetOffset) {
    let (mut script, id) = Script::copying();
    script.keep(|output| matches!(output, Output::ReadTarget { .. }));
    let id_of_new = script.lane.add(script.now, spec("new")).expect("it runs");
    script.tell(Input::Forget(spec("other").key));
    let told = script.told();
    let [Output::ReadTarget { partition, from, .. }] = told[..] else { panic!("{told:?}") };
    assert!((partition, from) == (id_of_new, TargetOffset(0)) && id != id_of_new);
    (script, partition, from)
}

#[test]
fn a_marker_that_a_mirror_lost_is_written_again_after_20_s() {
    for (waited_ms, is_written_again) in [(20_000, false), (20_001, true)] {
        let (mut script, id, from) = scanning();
        script.keep(|output| asks_the_coordinator(output) || matches!(output, Output::ReadTarget { .. }));
        script.jump(waited_ms);
        let result = ReadResult::Entries { entries: vec![], next: from };
        script.tell(Input::TargetRead { partition: id, from, result });
        script.pass(20);
        let producer = script.producer;
        assert_eq!(
            script.told(),
            [match is_written_again {
                true => Output::Fence { producer, members: vec![Member::Data(id)] },
                false => Output::ReadTarget { partition: id, from, epoch: -1 },
            }]
        );
    }
}

#[test]
fn a_tail_that_is_read_again_after_a_failure_and_one_that_begins_later() {
    let (mut script, id, from) = scanning();
    let failed = ReadResult::Failed(Failure::Lost);
    script.tell(Input::TargetRead { partition: id, from, result: failed });
    assert_eq!(script.events(), [Event::Retrying(Some(id), Failure::Lost, "reading the mirror's tail")]);
    script.pass(20);
    let again = Output::ReadTarget { partition: id, from, epoch: -1 };
    assert_eq!(script.told_one(), again);
    // In range, and refused: the epoch that was named may be older than the log's first.
    let result = ReadResult::OutOfRange { start: from, end: from };
    script.tell(Input::TargetRead { partition: id, from, result });
    assert_eq!(script.told(), []);
    script.pass(40);
    assert_eq!(script.told_one(), again);
    let result = ReadResult::OutOfRange { start: TargetOffset(3), end: TargetOffset(9) };
    script.tell(Input::TargetRead { partition: id, from, result });
    assert_eq!(script.told(), [Output::ReadTarget { partition: id, from: TargetOffset(3), epoch: -1 }]);
}

#[test]
fn what_somebody_else_wrote_stops_a_copy() {
    let (mut script, id) = Script::copying();
    let next = script.end(id);
    script.append(id, Producer { id: 99, epoch: 0 }, 0, 1);
    script.pass(10_500);
    let told = script.events();
    let [Event::Resolving(_), Event::Halted(_, Halt::Diverged { expected, .. })] = told[..] else { panic!("{told:?}") };
    assert_eq!(expected, next);
}
