//! From a fetch to the mirror: what is sent when, and what an answer means.

use alloc::vec;
use alloc::vec::Vec;

use twinlog_wire::error_code::ErrorCode;

use super::script::Script;
use crate::batch::{BatchKind, FetchedBatch, Repacked, Run, Slot};
use crate::halt::Halt;
use crate::ids::{SourceOffset, TargetOffset};
use crate::io::{Ends, Event, Failure, FetchResult, Input, LanePartition, Offline, Output};
use crate::map_record::MapRecord;
use crate::outbox::Answer;

/// Slot and attempt of each batch that was sent.
fn sends(told: &[Output]) -> Vec<(u64, u32)> {
    let send = |output: &Output| match output {
        Output::Send { slot, attempt, .. } => Some((slot.0, *attempt)),
        _ => None,
    };
    told.iter().filter_map(send).collect()
}

fn answered(script: &mut Script, id: LanePartition, slot: u64, attempt: u32, answer: Answer) {
    script.tell(Input::Produced { partition: id, slot: Slot(slot), attempt, answer });
}

fn refused(code: ErrorCode) -> Answer {
    Answer::Refused(code, "no".into())
}

#[test]
fn five_are_in_flight_at_most_and_after_a_failure_one() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1; 7]);
    assert_eq!(sends(&script.told()), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
    for slot in 1..5 {
        answered(&mut script, id, slot, 1, Answer::Lost);
        assert_eq!(script.told(), [], "the others may still come");
    }
    answered(&mut script, id, 5, 1, Answer::Lost);
    assert_eq!(script.told(), [Output::Event(Event::Retrying(Some(id), Failure::Lost, "writing to the mirror"))]);
    assert_eq!(
        script.lane.partition(id).and_then(|partition| partition.progress().retrying).map(|r| r.failure),
        Some(Failure::Lost)
    );
    script.pass(9);
    assert_eq!(script.told(), []);
    script.pass(11);
    let told = script.told();
    assert_eq!(sends(&told), [(1, 2)], "one finds out whether the others are worth the wait");
    script.store(&told[0], 1);
    assert_eq!(sends(&script.told()), [(2, 2), (3, 2), (4, 2), (5, 2), (6, 1)]);
    assert_eq!(script.lane.partition(id).and_then(|partition| partition.progress().retrying), None);
}

#[test]
fn what_is_said_of_a_failure_is_said_once_and_the_pauses_grow() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    script.told();
    for (row, upto_ms) in [20_u64, 40, 80, 160].into_iter().enumerate() {
        answered(&mut script, id, 1, row as u32 + 1, Answer::NotSent);
        assert_eq!(script.told().len(), usize::from(row == 0));
        script.pass(upto_ms / 2 - 1);
        assert_eq!(script.told(), []);
        script.pass(upto_ms / 2 + 1);
        assert_eq!(sends(&script.told()), [(1, row as u32 + 2)]);
    }
    answered(&mut script, id, 1, 5, refused(ErrorCode::NOT_ENOUGH_REPLICAS));
    assert_eq!(script.told().len(), 1, "another reason");
}

/// What becomes of a batch that was alone, after so many failures before.
fn becomes(answer: Answer) -> Event {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    script.told();
    script.keep(|output| matches!(output, Output::InitProducerId { .. }));
    answered(&mut script, id, 1, 1, answer);
    script.events().first().cloned().expect("something is said")
}

#[test]
fn what_helps_against_an_answer() {
    let id = LanePartition(0);
    for code in [
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::DUPLICATE_SEQUENCE_NUMBER,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::INVALID_PRODUCER_ID_MAPPING,
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::PRODUCER_FENCED,
    ] {
        assert_eq!(becomes(refused(code)), Event::Resolving(id), "{code}: the log knows why");
    }
    for code in [
        ErrorCode::NOT_ENOUGH_REPLICAS,
        ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
        ErrorCode::CORRUPT_MESSAGE,
        ErrorCode::UNKNOWN_SERVER_ERROR,
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
    ] {
        let retrying = Event::Retrying(Some(id), Failure::Code(code), "writing to the mirror");
        assert_eq!(becomes(refused(code)), retrying);
    }
    let (offset, next) = (SourceOffset(0), SourceOffset(1));
    for code in [ErrorCode::MESSAGE_TOO_LARGE, ErrorCode::RECORD_LIST_TOO_LARGE] {
        assert_eq!(becomes(refused(code)), Event::Halted(id, Halt::TooLarge { offset, next, bytes: 100, code }));
    }
    let code = ErrorCode::INVALID_RECORD;
    assert_eq!(becomes(refused(code)), Event::Halted(id, Halt::Refused { offset, next, code, message: "no".into() }));
}

#[test]
fn what_arrives_damaged_three_times_is_damaged() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    for attempt in 1..=3 {
        script.told();
        answered(&mut script, id, 1, attempt, refused(ErrorCode::CORRUPT_MESSAGE));
        script.pass(200);
        assert_eq!(sends(&script.told()), [(1, attempt + 1)]);
    }
    answered(&mut script, id, 1, 4, refused(ErrorCode::CORRUPT_MESSAGE));
    let told = script.events();
    assert!(matches!(told[..], [Event::Halted(_, Halt::Refused { .. })]), "{told:?}");
}

#[test]
fn an_answer_that_names_another_offset_is_looked_into() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    script.told();
    script.keep(|output| matches!(output, Output::InitProducerId { .. }));
    let stored = Answer::Stored { base: TargetOffset(17), log_start: TargetOffset(0) };
    answered(&mut script, id, 1, 1, stored);
    assert_eq!(script.events(), [Event::Resolving(id)]);
}

#[test]
fn nothing_is_sent_to_another_leader_before_its_end_was_looked_at() {
    let (mut script, id) = Script::copying();
    let synced = script.end(id);
    script.fetch(id, &[1, 1]);
    script.told();
    script.keep(|output| matches!(output, Output::LookAtEnds { .. }));
    let moved = |slot| Input::MirrorMoved { partition: id, slot: Slot(slot), attempt: 1 };
    script.tell(moved(2));
    assert_eq!(script.told(), [], "the first went to the former leader");
    script.tell(moved(1));
    let look = script.told();
    assert!(matches!(look[..], [Output::LookAtEnds { expected, look: 2, .. }] if expected == synced), "{look:?}");
    script.pass(999);
    assert_eq!(script.told(), []);
    script.pass(1);
    assert_eq!(script.told(), look, "it was not answered");
    let seen = |look, end| Input::TargetEnds { partition: id, expected: synced, look, start: TargetOffset(0), end };
    script.tell(seen(1, synced));
    assert_eq!(script.told(), [], "the answer of the leader before");
    script.tell(seen(2, synced));
    assert_eq!(sends(&script.told()), [(1, 2), (2, 2)]);
}

#[test]
fn a_leader_that_says_four_times_that_its_log_ends_too_early_is_looked_into() {
    let (mut script, id) = Script::copying();
    let synced = script.end(id);
    script.fetch(id, &[1]);
    script.told();
    script.keep(|output| matches!(output, Output::LookAtEnds { .. } | Output::InitProducerId { .. }));
    script.tell(Input::MirrorMoved { partition: id, slot: Slot(1), attempt: 1 });
    for row in 1..=4 {
        let told = script.told();
        assert!(matches!(told[..], [Output::LookAtEnds { .. }]), "{row}: {told:?}");
        let (start, end) = (TargetOffset(0), TargetOffset(synced.0 - 1));
        script.tell(Input::TargetEnds { partition: id, expected: synced, look: 1, start, end });
        if row < 4 {
            assert_eq!(script.told(), []);
            script.pass(160);
        }
    }
    assert_eq!(script.events(), [Event::Resolving(id)]);
}

#[test]
fn an_idle_mirror_whose_end_moved_is_looked_into() {
    for (moved, looked_into) in [(0, false), (1, true), (-1, true)] {
        let (mut script, id) = Script::copying();
        script.keep(|output| matches!(output, Output::LookAtEnds { .. } | Output::InitProducerId { .. }));
        script.pass(10_000);
        let told = script.told();
        let [Output::LookAtEnds { partition, expected, look }] = told[..] else { panic!("{told:?}") };
        let (start, end) = (TargetOffset(0), TargetOffset(expected.0 + moved));
        script.tell(Input::TargetEnds { partition, expected, look, start, end });
        assert_eq!(script.events(), if looked_into { vec![Event::Resolving(id)] } else { vec![] });
    }
    // It is not idle any more, or somewhere else.
    let (mut script, id) = Script::copying();
    script.keep(|output| matches!(output, Output::LookAtEnds { .. } | Output::InitProducerId { .. }));
    script.pass(10_000);
    let look = script.told();
    script.fetch(id, &[1]);
    let sent = script.told();
    let Output::LookAtEnds { partition, expected, look } = look[0] else { panic!("{look:?}") };
    let seen = Input::TargetEnds { partition, expected, look, start: TargetOffset(0), end: expected.plus(1) };
    script.tell(seen.clone());
    assert_eq!(script.told(), [], "that is what is in flight");
    script.store(&sent[0], 1);
    script.told();
    script.tell(seen);
    assert_eq!(script.told(), [], "that is what was expected then");
}

#[test]
fn a_fetch_that_fails_is_made_again_after_a_pause_that_grows() {
    let (mut script, id) = Script::copying();
    let failure = Failure::Code(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    for (row, upto_ms) in [20_u64, 40, 80].into_iter().enumerate() {
        let (position, result) = (SourceOffset(0), FetchResult::Failed(failure));
        script.tell(Input::Fetched { partition: id, position, result });
        let said = Event::Retrying(Some(id), failure, "fetching from the source");
        assert_eq!(script.events(), if row == 0 { vec![said] } else { vec![] });
        script.jump(upto_ms / 2 - 1);
        assert_eq!(script.lane.wants_fetch(script.now, id), None);
        script.jump(upto_ms / 2 + 1);
        assert!(script.lane.wants_fetch(script.now, id).is_some());
    }
    script.fetch(id, &[1]);
    assert_eq!(script.lane.partition(id).and_then(|partition| partition.progress().retrying), None);
    let (position, result) = (SourceOffset(1), FetchResult::Failed(failure));
    script.tell(Input::Fetched { partition: id, position, result });
    script.jump(20);
    assert!(script.lane.wants_fetch(script.now, id).is_some(), "the pauses begin anew");
}

#[test]
fn a_position_outside_of_the_source_is_asked_about() {
    let ends = |source_start, source_end| Ends {
        source_start: SourceOffset(source_start),
        source_end: SourceOffset(source_end),
        target_start: TargetOffset(0),
        target_end: TargetOffset(0),
    };
    let copied = SourceOffset(2);
    for (ends, expected) in [
        (ends(0, 2), None),
        (ends(2, 2), None),
        (ends(3, 9), Some(Halt::Gap { from: copied, to: SourceOffset(3) })),
        (ends(0, 1), Some(Halt::SourceTruncated { copied, end: SourceOffset(1) })),
    ] {
        let (mut script, id) = Script::copying();
        script.fetch(id, &[2]);
        let sent = script.told();
        script.store(&sent[0], 2);
        script.told();
        script.keep(|output| matches!(output, Output::Probe { .. }));
        script.tell(Input::Fetched { partition: id, position: copied, result: FetchResult::OutOfRange });
        assert_eq!(script.told(), [Output::Probe { partition: id, position: copied }]);
        assert_eq!(script.lane.wants_fetch(script.now, id), None, "not before the ends are known");
        script.tell(Input::Probed { partition: id, position: copied, ends: Ok(ends) });
        let halted = expected.clone().map(|halt| Event::Halted(id, halt));
        assert_eq!(script.events(), Vec::from_iter(halted));
        let without_epoch = (copied, -1);
        let wanted = script.lane.wants_fetch(script.now, id);
        assert_eq!(wanted, expected.is_none().then_some(without_epoch), "inside of it after all");
    }
}

#[test]
fn an_answer_that_nobody_waits_for_is_let_go_of() {
    let (mut script, id) = Script::copying();
    let slots = script.fetch(id, &[1]);
    let told = script.told();
    let position = SourceOffset(0);
    script.tell(Input::Fetched { partition: id, position, result: FetchResult::OutOfRange });
    script.tell(Input::Fetched { partition: id, position, result: FetchResult::Failed(Failure::Lost) });
    script.tell(Input::Fetched { partition: id, position, result: FetchResult::Diverging { end: position } });
    assert_eq!(script.told(), [], "the position is another one by now");
    script.store(&told[0], 1);
    assert_eq!(script.told(), [Output::Release(slots[0])]);
    let progress = script.lane.partition(id).map(|partition| partition.progress());
    assert_eq!(progress.map(|progress| (progress.records, progress.bytes)), Some((1, 100)));
}

#[test]
fn ends_that_cannot_be_had_are_asked_for_again() {
    let (mut script, id) = Script::copying();
    script.keep(|output| matches!(output, Output::Probe { .. }));
    let position = SourceOffset(0);
    script.tell(Input::Fetched { partition: id, position, result: FetchResult::OutOfRange });
    let probe = script.told_one();
    script.tell(Input::Probed { partition: id, position: SourceOffset(7), ends: Err(Failure::Lost) });
    let retrying = Event::Retrying(Some(id), Failure::Lost, "asking for the ends of both logs");
    assert_eq!(script.told_one(), Output::Event(retrying.clone()));
    assert_eq!(script.lane.wants_fetch(script.now, id), None);
    script.pass(20);
    assert!(script.lane.wants_fetch(script.now, id).is_some(), "the source says again that it has no such position");
    // Of one that is new nothing is known before.
    let new = script.lane.add(script.now, super::script::spec("new")).expect("it runs");
    script.tell(Input::Forget(super::script::spec("other").key));
    let Output::Probe { partition, position } = script.told_one() else { panic!("{probe:?}") };
    script.tell(Input::Probed { partition, position, ends: Err(Failure::Lost) });
    assert_eq!(script.events(), [Event::Retrying(Some(new), Failure::Lost, "asking for the ends of both logs")]);
    script.pass(20);
    assert_eq!(script.told_one(), Output::Probe { partition, position });
}

#[test]
fn ends_of_another_position_say_nothing() {
    let (mut script, id) = Script::copying();
    script.keep(|output| matches!(output, Output::Probe { .. }));
    script.tell(Input::Fetched { partition: id, position: SourceOffset(0), result: FetchResult::OutOfRange });
    script.told();
    let (source_start, source_end) = (SourceOffset(5), SourceOffset(9));
    let ends = Ends { source_start, source_end, target_start: TargetOffset(0), target_end: TargetOffset(0) };
    script.tell(Input::Probed { partition: id, position: SourceOffset(4), ends: Ok(ends) });
    assert_eq!(script.told(), []);
    assert!(script.lane.wants_fetch(script.now, id).is_some(), "the source may have grown since");
}

#[test]
fn what_the_source_has_more_is_known() {
    let (mut script, id) = Script::copying();
    let partition = |script: &Script| script.lane.partition(id).expect("it is there").clone();
    assert!(!partition(&script).is_behind());
    assert_eq!(partition(&script).fetch_position(), (SourceOffset(0), -1));
    let position = SourceOffset(0);
    let (high_watermark, last_stable, log_start) = (SourceOffset(9), SourceOffset(4), SourceOffset(0));
    let (batches, aborted) = (vec![], vec![]);
    let result = FetchResult::Batches { high_watermark, last_stable, log_start, batches, aborted };
    script.tell(Input::Fetched { partition: id, position, result });
    assert!(partition(&script).is_behind());
    assert!(partition(&script).has_more_from(SourceOffset(3)) && !partition(&script).has_more_from(last_stable));
    let send = {
        script.fetch(id, &[4]);
        script.told_one()
    };
    assert_eq!(partition(&script).fetch_position(), (SourceOffset(4), 0));
    assert!(!partition(&script).is_behind() && !partition(&script).is_halted());
    script.store(&send, 4);
    script.tell(Input::Stop(id, Halt::SourceDeleted));
    assert!(partition(&script).is_halted() && partition(&script).is_halt_said());
}

#[test]
fn whoever_waits_for_a_fetch_is_woken_when_it_may_be_made() {
    let (mut script, id) = Script::copying();
    script.pass(100);
    let result = FetchResult::Failed(Failure::Lost);
    script.tell(Input::Fetched { partition: id, position: SourceOffset(0), result });
    let at = script.lane.poll_timeout().expect("a timer");
    assert!((10..=20).contains(&(at - script.now.mono_ms)));
}

#[test]
fn messages_of_old_formats_have_no_leader_epoch() {
    let (mut script, id) = Script::copying();
    let (first, last) = (SourceOffset(0), SourceOffset(2));
    let (slot, kind) = (Slot(1), BatchKind::Legacy { first, last });
    let batches = vec![FetchedBatch { slot, kind }];
    let (end, log_start) = (SourceOffset(3), SourceOffset(0));
    let result = FetchResult::Batches { high_watermark: end, last_stable: end, log_start, batches, aborted: vec![] };
    script.tell(Input::Fetched { partition: id, position: SourceOffset(0), result });
    assert_eq!(script.told_one(), Output::Repack { partition: id, slot, from: SourceOffset(0) });
    assert_eq!(script.lane.wants_fetch(script.now, id), None, "it is being opened");
    let repacked = Repacked { bytes: 90, max_timestamp: 0, runs: vec![Run { start: SourceOffset(0), len: 3 }] };
    script.tell(Input::Repacked(id, Ok(repacked)));
    assert_eq!(script.lane.wants_fetch(script.now, id), Some((end, -1)));
    let send = script.told_one();
    script.store(&send, 3);
    script.pass(1_000);
    let record = script.in_map("head/").remove(0);
    assert!(matches!(record, MapRecord::Head(_, head) if (head.extent.synced, head.leader_epoch) == (end, -1)));
}

#[test]
fn what_was_sent_once_is_not_forgotten_by_an_attempt_that_never_left() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    answered(&mut script, id, 1, 1, Answer::Lost);
    script.pass(20);
    answered(&mut script, id, 1, 2, Answer::NotSent);
    script.told();
    // By now the broker may have forgotten the producer, and the batch may be there: it is looked for first.
    script.now.wall_ms += super::script::EXPIRATION_MS;
    script.pass(500);
    let told = script.told();
    let looked = told.iter().position(|output| *output == Output::Event(Event::Resolving(id)));
    let sent = told.iter().position(|output| matches!(output, Output::Send { .. }));
    assert!(looked.is_some_and(|looked| sent.is_none_or(|sent| looked < sent)), "{told:?}");
}

#[test]
fn what_a_read_of_the_log_finds_counts_as_copied() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1, 1]);
    let sent = script.told();
    let Output::Send { producer, sequence, .. } = sent[0] else { panic!("{sent:?}") };
    script.append(id, producer, sequence, 1);
    answered(&mut script, id, 1, 1, refused(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    answered(&mut script, id, 2, 1, refused(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    script.pass(100);
    let progress = script.lane.partition(id).expect("it is there").progress();
    assert_eq!((progress.records, progress.bytes), (1, 100));
    let told = script.told();
    assert!(matches!(told.last(), Some(Output::Send { slot: Slot(2), sequence: 0, .. })), "{told:?}");
}

#[test]
fn what_was_let_go_of_and_is_there_is_not_fetched_again() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1, 1]);
    let sent = script.told();
    let Output::Send { producer, sequence, .. } = sent[0] else { panic!("{sent:?}") };
    script.append(id, producer, sequence, 1);
    answered(&mut script, id, 1, 1, Answer::Lost);
    answered(&mut script, id, 2, 1, Answer::Lost);
    script.tell(Input::TargetOffline(id, Some(Offline::NoLeader)));
    script.pass(4_000);
    assert!(script.events().contains(&Event::GaveWay(id, SourceOffset(0))));
    script.tell(Input::TargetOffline(id, None));
    script.pass(500);
    assert_eq!(script.lane.wants_fetch(script.now, id).map(|(position, _)| position), Some(SourceOffset(1)));
}

#[test]
fn what_the_source_may_no_longer_have_does_not_give_way() {
    let gave_way = |script: &mut Script| script.events().iter().any(|event| matches!(event, Event::GaveWay(..)));
    let truncated = |id| Input::Fetched {
        partition: id,
        position: SourceOffset(7),
        result: FetchResult::Diverging { end: SourceOffset(7) },
    };
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1; 7]);
    script.tell(truncated(id));
    script.pass(4_000);
    assert!(!gave_way(&mut script), "it stops when this is copied");
    // Where its target is offline, too.
    let (mut script, id) = Script::copying();
    script.tell(Input::TargetOffline(id, Some(Offline::NoLeader)));
    script.fetch(id, &[1; 7]);
    script.tell(truncated(id));
    script.pass(5_000);
    assert!(!gave_way(&mut script));
    // What is in flight has its answer first.
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    script.tell(Input::TargetOffline(id, Some(Offline::NoLeader)));
    script.pass(5_000);
    assert!(!gave_way(&mut script));
    answered(&mut script, id, 1, 1, Answer::Lost);
    script.pass(500);
    assert!(gave_way(&mut script));
}

#[test]
fn that_a_partition_stopped_is_said_when_it_is_in_the_map() {
    let (mut script, id) = Script::copying();
    script.keep(|output| matches!(output, Output::WriteMap(_)));
    script.tell(Input::Stop(id, Halt::SourceDeleted));
    let is_said = |script: &Script| script.lane.partition(id).map(|partition| partition.is_halt_said());
    assert_eq!(is_said(&script), Some(false));
    let write = script.told_one();
    script.answer(write);
    assert_eq!((script.events(), is_said(&script)), (vec![Event::Halted(id, Halt::SourceDeleted)], Some(true)));
}
