//! The change to another producer id, while the epochs of the present one last.

use alloc::vec;
use alloc::vec::Vec;

use twinlog_wire::error_code::ErrorCode;

use super::script::{Script, asks_the_coordinator, spec};
use crate::halt::Halt;
use crate::ids::Producer;
use crate::io::{Event, Failure, FenceOutcome, Input, LanePartition, Member, Offline, Output, Over};
use crate::lane::EpochLimits;

/// The id is changed from epoch 1 on, and nothing is sent from epoch 4 on.
const EPOCHS: EpochLimits = EpochLimits { change_from: 1, hold_from: 4 };

/// A lane with two partitions and epoch 0.
fn copying() -> (Script, LanePartition, LanePartition) {
    let mut script = Script::begun(EPOCHS, |_| false);
    let (first, second) = (script.add("a"), script.add("b"));
    assert_eq!((script.producer.epoch, script.lane.is_changing_id()), (0, false));
    script.told();
    (script, first, second)
}

/// A partition wants a new epoch, with which the change is due.
fn due(script: &mut Script, id: LanePartition) {
    script.mark_twice(id);
    script.pass(10_000);
}

#[test]
fn when_it_is_due_all_is_answered_then_all_mirrors_are_fenced_then_the_id_is_used_up() {
    let (mut script, first, second) = copying();
    script.fetch(first, &[1]);
    let sent = script.told();
    due(&mut script, second);
    script.pass(500);
    assert!(script.lane.is_changing_id());
    assert_eq!(script.lane.wants_fetch(script.now, first), None);
    script.fetch(first, &[1]);
    let told = script.told();
    assert!(!told.iter().any(|output| matches!(output, Output::Send { .. })), "{told:?}");
    script.keep(asks_the_coordinator);
    script.store(&sent[0], 1);
    let own = script.producer;
    let told: Vec<_> = script.told().into_iter().filter(asks_the_coordinator).collect();
    assert_eq!(told, [Output::InitProducerId { current: Some(own) }], "for one that nothing was sent under");
    script.answer(Output::InitProducerId { current: Some(own) });
    let members = vec![Member::Data(first), Member::Data(second)];
    let producer = script.producer;
    let fence = Output::Fence { producer, members };
    assert_eq!(script.told_one(), fence);
    script.answer(fence);
    let told: Vec<_> = script.told().into_iter().filter(asks_the_coordinator).collect();
    assert_eq!(told, [Output::InitProducerId { current: Some(producer) }]);
    let another = Producer { id: producer.id + 1, epoch: 0 };
    script.tell(Input::ProducerId(Ok(another)));
    assert_eq!(script.told(), [Output::Over(Over::Restart("it goes on under a new producer id"))]);
}

#[test]
fn what_is_not_answered_within_ten_seconds_puts_it_off_for_ten_seconds() {
    let (mut script, first, second) = copying();
    script.fetch(first, &[1]);
    script.told();
    due(&mut script, second);
    script.pass(500);
    assert!(script.lane.is_changing_id());
    // It looks twice a second, and from here on not when the ten seconds are just over.
    script.jump(600);
    script.pass(8_900);
    assert!(script.lane.is_changing_id());
    script.pass(1_000);
    assert!(!script.lane.is_changing_id());
    script.told();
    script.fetch(first, &[1]);
    assert_eq!(script.told().len(), 1, "it copies meanwhile");
    script.pass(9_000);
    assert!(!script.lane.is_changing_id());
    script.pass(1_500);
    assert!(script.lane.is_changing_id());
}

#[test]
fn a_mirror_without_a_leader_keeps_it_from_beginning() {
    let (mut script, first, second) = copying();
    script.tell(Input::TargetOffline(first, Some(Offline::NoLeader)));
    due(&mut script, second);
    script.pass(20_000);
    assert!(!script.lane.is_changing_id());
    script.keep(asks_the_coordinator);
    script.tell(Input::TargetOffline(first, None));
    script.pass(500);
    assert!(script.lane.is_changing_id());
}

#[test]
fn a_mirror_that_cannot_be_fenced_puts_it_off_and_all_are_fenced_anew() {
    let (mut script, first, second) = copying();
    script.keep(|output| matches!(output, Output::Fence { members, .. } if members.len() == 2));
    due(&mut script, second);
    script.pass(500);
    let told = script.told();
    assert!(told.iter().any(|output| matches!(output, Output::Fence { .. })), "{told:?}");
    script.keep(|_| false);
    let codes = vec![
        (Member::Data(first), ErrorCode::NOT_LEADER_OR_FOLLOWER),
        (Member::Data(second), ErrorCode::OPERATION_NOT_ATTEMPTED),
    ];
    script.tell(Input::Fenced(FenceOutcome::NotAdded(codes)));
    assert!(!script.lane.is_changing_id());
    script.pass(1_000);
    script.told();
    script.fetch(first, &[1]);
    let told = script.told();
    assert!(told.iter().any(|output| matches!(output, Output::Send { .. })), "{told:?}");
}

#[test]
fn a_lane_that_begins_among_the_last_epochs_only_fences_what_its_map_names() {
    let (mut script, _, _) = copying();
    let map = core::mem::take(&mut script.map);
    let mirrors = core::mem::take(&mut script.mirrors);
    let last = EpochLimits { change_from: 0, hold_from: 0 };
    let mut script = Script::begun(last, |_| true);
    (script.map, script.mirrors) = (map, mirrors);
    script.keep(asks_the_coordinator);
    script.producer.epoch = 5;
    script.answer(Output::InitProducerId { current: None });
    let told = script.told();
    let fence = told.last().cloned().expect("its marker in the map");
    script.answer(fence);
    assert!(script.lane.is_running());
    let told: Vec<_> = script.told().into_iter().filter(asks_the_coordinator).collect();
    let members = vec![Member::Data(LanePartition(0)), Member::Data(LanePartition(1))];
    let producer = script.producer;
    assert_eq!(told, [Output::Fence { producer, members: members.clone() }]);
    // Nothing is copied, and nothing is written to the map.
    let id = script.lane.add(script.now, spec("a")).expect("it runs");
    assert_eq!(script.lane.wants_fetch(script.now, id), None);
    // One of them cannot be fenced: after a minute it is left out.
    let refused = |code| {
        vec![
            (Member::Data(LanePartition(0)), code),
            (Member::Data(LanePartition(1)), ErrorCode::OPERATION_NOT_ATTEMPTED),
        ]
    };
    script.tell(Input::Fenced(FenceOutcome::NotAdded(refused(ErrorCode::NOT_LEADER_OR_FOLLOWER))));
    script.pass(20);
    let told: Vec<_> = script.told().into_iter().filter(asks_the_coordinator).collect();
    assert_eq!(told, [Output::Fence { producer, members }]);
    script.jump(59_980);
    script.tell(Input::Fenced(FenceOutcome::NotAdded(refused(ErrorCode::NOT_LEADER_OR_FOLLOWER))));
    script.pass(40);
    let told: Vec<_> = script.told().into_iter().filter(asks_the_coordinator).collect();
    assert_eq!(
        told,
        [Output::Fence { producer, members: vec![Member::Data(LanePartition(0)), Member::Data(LanePartition(1))] }]
    );
    script.tell(Input::Fenced(FenceOutcome::NotAdded(refused(ErrorCode::NOT_LEADER_OR_FOLLOWER))));
    script.pass(500);
    let told: Vec<_> = script.told().into_iter().filter(asks_the_coordinator).collect();
    assert_eq!(told, [Output::Fence { producer, members: vec![Member::Data(LanePartition(1))] }]);
    script.answer(told[0].clone());
    let told: Vec<_> = script.told().into_iter().filter(asks_the_coordinator).collect();
    assert_eq!(told, [Output::InitProducerId { current: Some(producer) }], "the rest of its epochs is used up");
}

/// A lane that changes its id, of which the first fence of the old one is to be answered.
fn fencing() -> (Script, LanePartition, LanePartition) {
    let (mut script, first, second) = copying();
    script.keep(|output| matches!(output, Output::Fence { members, .. } if members.len() == 2));
    due(&mut script, second);
    script.pass(500);
    script.keep(|output| asks_the_coordinator(output) || matches!(output, Output::WriteMap(_)));
    assert!(matches!(script.told().last(), Some(Output::Fence { .. })));
    (script, first, second)
}

#[test]
fn a_fence_of_the_old_id_that_was_not_answered_is_made_again() {
    let (mut script, first, second) = fencing();
    script.tell(Input::Fenced(FenceOutcome::Unknown));
    // Without a leader, too: it may be in the transaction.
    script.tell(Input::TargetOffline(first, Some(Offline::NoLeader)));
    script.pass(500);
    let members = vec![Member::Data(first), Member::Data(second)];
    let fence = Output::Fence { producer: script.producer, members };
    assert_eq!(script.told().last(), Some(&fence));
    assert!(script.lane.is_changing_id());
}

#[test]
fn a_mirror_that_may_be_open_and_is_forbidden_is_not_waited_for() {
    for code in [ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION] {
        let (mut script, first, second) = fencing();
        script.tell(Input::Fenced(FenceOutcome::Unknown));
        script.pass(500);
        let refused = vec![(Member::Data(first), code), (Member::Data(second), code)];
        script.tell(Input::Fenced(FenceOutcome::NotAdded(refused)));
        script.told();
        script.pass(500);
        let told: Vec<_> = script.told().into_iter().filter(asks_the_coordinator).collect();
        assert!(matches!(told[..], [Output::InitProducerId { .. }]), "{code}: {told:?}");
    }
}

#[test]
fn a_mirror_that_is_gone_is_left_out_where_its_copy_stopped() {
    let gone = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    for (stopped, refused, code, goes_on) in
        [(0, 0, gone, true), (1, 1, gone, true), (0, 1, gone, false), (0, 0, ErrorCode::NOT_LEADER_OR_FOLLOWER, false)]
    {
        let (mut script, first, second) = copying();
        let ids = [first, second];
        script.tell(Input::Stop(ids[stopped], Halt::SourceDeleted));
        script.keep(|output| matches!(output, Output::Fence { members, .. } if members.len() == 2));
        due(&mut script, ids[1 - stopped]);
        script.pass(500);
        script.keep(asks_the_coordinator);
        assert!(matches!(script.told().last(), Some(Output::Fence { .. })));
        let of = |place: usize| if place == refused { code } else { ErrorCode::OPERATION_NOT_ATTEMPTED };
        let codes = vec![(Member::Data(first), of(0)), (Member::Data(second), of(1))];
        script.tell(Input::Fenced(FenceOutcome::NotAdded(codes)));
        assert_eq!(script.lane.is_changing_id(), goes_on, "{stopped} {refused} {code}");
    }
}

#[test]
fn a_mirror_that_was_never_written_to_is_not_fenced() {
    let (mut script, first, second) = copying();
    let third = LanePartition(2);
    script.append(third, Producer { id: 99, epoch: 0 }, 0, 4);
    assert_eq!(script.lane.add(script.now, spec("c")), Some(third));
    script.tell(Input::Forget(spec("other").key));
    assert_eq!(script.events(), [Event::Halted(third, Halt::TargetNotEmpty { records: 4 })]);
    script.keep(|output| matches!(output, Output::Fence { producer, .. } if producer.epoch == 2));
    due(&mut script, second);
    script.pass(500);
    let members = vec![Member::Data(first), Member::Data(second)];
    assert_eq!(script.told().pop(), Some(Output::Fence { producer: script.producer, members }));
}

#[test]
fn a_hundred_topics_are_fenced_at_once() {
    let mut script = Script::begun(EPOCHS, |_| false);
    let ids: Vec<_> = (0..101).map(|number| script.add(&alloc::format!("topic-{number}"))).collect();
    let mut second = spec("topic-0");
    second.key.partition = 1;
    script.lane.add(script.now, second);
    script.tell(Input::Forget(spec("other").key));
    script.keep(|output| matches!(output, Output::Fence { producer, .. } if producer.epoch == 2));
    due(&mut script, ids[0]);
    script.pass(500);
    for count in [101, 1] {
        let Some(Output::Fence { producer, members }) = script.told().pop() else { panic!("a fence") };
        assert_eq!(members.len(), count);
        script.keep(asks_the_coordinator);
        script.answer(Output::Fence { producer, members });
    }
}

#[test]
fn behind_the_last_fence_nothing_is_written_to_the_map() {
    let (mut script, _, _) = fencing();
    script.tell(Input::Release { key: spec("other").key, to: 1, number: 1 });
    assert_eq!(script.told(), []);
}

#[test]
fn the_last_epoch_whose_answer_was_lost_is_not_known_to_the_coordinator() {
    let (mut script, _, _) = fencing();
    script.producer.epoch = EPOCHS.hold_from - 1;
    let last = Output::Fence { producer: script.producer, members: vec![] };
    script.answer(last);
    let init = script.told().pop().expect("the rest of its epochs is used up");
    script.answer(init);
    // From the last epochs on.
    let init = script.told().pop().expect("and the next one");
    assert!(matches!(init, Output::InitProducerId { .. }), "{init:?}");
    script.tell(Input::ProducerId(Err(Failure::Code(ErrorCode::UNKNOWN_SERVER_ERROR))));
    assert_eq!(script.told().pop(), Some(Output::Over(Over::Restart("the epochs of its producer id are used up"))));
}

#[test]
fn a_partition_that_was_let_go_of_is_no_concern_of_the_change() {
    let (mut script, _, second) = copying();
    script.tell(Input::Release { key: spec("a").key, to: 1, number: 1 });
    script.told();
    script.keep(|output| matches!(output, Output::Fence { producer, .. } if producer.epoch == 2));
    due(&mut script, second);
    script.pass(500);
    assert!(script.lane.is_changing_id());
    let members = vec![Member::Data(second)];
    assert_eq!(script.told().pop(), Some(Output::Fence { producer: script.producer, members }));
}

#[test]
fn a_mirror_that_loses_its_leader_meanwhile_keeps_it_from_going_on() {
    let (mut script, first, second) = copying();
    script.fetch(first, &[1]);
    let send = script.told_one();
    due(&mut script, second);
    script.pass(500);
    assert!(script.lane.is_changing_id());
    script.tell(Input::TargetOffline(second, Some(Offline::NoLeader)));
    script.keep(asks_the_coordinator);
    script.store(&send, 1);
    script.pass(1_000);
    assert!(!script.told().iter().any(asks_the_coordinator));
}
