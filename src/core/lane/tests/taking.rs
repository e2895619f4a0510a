//! The coordinator's word: epochs, markers, and who has the lane.

use alloc::vec;
use alloc::vec::Vec;

use twinlog_wire::error_code::ErrorCode;

use super::{KEEP_ALIVE_MS, Script};
use crate::ids::{Producer, TargetOffset};
use crate::io::{Event, Failure, FenceOutcome, Input, MapEntry, Member, Output, Over, ReadResult};
use crate::lane::EpochLimits;

const OWN: Producer = Producer { id: 7, epoch: 3 };
const OTHER: Producer = Producer { id: 7, epoch: 2 };

/// Nothing is answered; the lane has its epoch, and its marker is on its way.
fn fencing() -> Script {
    let mut script = Script::begun(EpochLimits::KAFKA, |_| true);
    script.told();
    script.tell(Input::ProducerId(Ok(OWN)));
    script
}

/// The same, and the marker was committed.
fn loading() -> Script {
    let mut script = fencing();
    script.tell(Input::Fenced(FenceOutcome::Committed));
    script.told();
    script
}

fn map_read(script: &mut Script, from: i64, result: ReadResult<MapEntry>) -> Vec<Output> {
    script.tell(Input::MapRead { from: TargetOffset(from), result });
    script.told()
}

fn entries(entries: Vec<MapEntry>, next: i64) -> ReadResult<MapEntry> {
    ReadResult::Entries { entries, next: TargetOffset(next) }
}

fn read_map(from: i64) -> Output {
    Output::ReadMap { from: TargetOffset(from) }
}

#[test]
fn a_lane_is_taken_by_an_epoch_a_marker_and_its_map_up_to_that() {
    let mut script = Script::begun(EpochLimits::KAFKA, |_| true);
    assert_eq!(script.told(), [Output::InitProducerId { current: None }]);
    script.tell(Input::ProducerId(Ok(OWN)));
    assert_eq!(script.told(), [Output::Fence { producer: OWN, members: vec![Member::Map] }]);
    script.tell(Input::Fenced(FenceOutcome::Committed));
    assert_eq!(script.told(), [read_map(0)]);
    assert_eq!(map_read(&mut script, 0, entries(vec![MapEntry::Marker(OTHER)], 1)), [read_map(1)], "not its own");
    assert_eq!(map_read(&mut script, 0, entries(vec![], 9)), [], "the answer to a question of before");
    assert_eq!(map_read(&mut script, 1, entries(vec![], 1)), [], "it is not there yet");
    script.pass(20);
    assert_eq!(script.told(), [read_map(1)]);
    let told = map_read(&mut script, 1, entries(vec![MapEntry::Marker(OWN)], 2));
    assert_eq!(told[0], Output::Event(Event::Taken { producer: OWN }));
    assert!(script.lane.is_running());
}

#[test]
fn a_map_that_begins_later_is_read_from_there() {
    let mut script = loading();
    let beginning_at = |start: i64| ReadResult::OutOfRange { start: TargetOffset(start), end: TargetOffset(9) };
    assert_eq!(map_read(&mut script, 0, beginning_at(5)), [read_map(5)]);
    assert_eq!(map_read(&mut script, 5, beginning_at(5)), [], "out of range, and in it: it is asked for again later");
    script.pass(20);
    assert_eq!(script.told(), [read_map(5)]);
    assert_eq!(map_read(&mut script, 5, beginning_at(4)), []);
}

#[test]
fn a_marker_that_the_map_lost_is_written_again_after_20_s() {
    let mut script = loading();
    script.jump(20_000);
    assert_eq!(map_read(&mut script, 0, entries(vec![], 0)), []);
    script.jump(1);
    let told = map_read(&mut script, 0, entries(vec![], 0));
    assert_eq!(told, [Output::Fence { producer: OWN, members: vec![Member::Map] }]);
}

#[test]
fn what_the_coordinator_says_to_who_asks_for_an_epoch() {
    let over = |code: ErrorCode| {
        let mut script = Script::begun(EpochLimits::KAFKA, |_| true);
        script.told();
        script.tell(Input::ProducerId(Err(Failure::Code(code))));
        script.told()
    };
    for code in [ErrorCode::INVALID_PRODUCER_EPOCH, ErrorCode::PRODUCER_FENCED] {
        assert_eq!(over(code), [Output::Over(Over::Lost)]);
    }
    for code in [
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ] {
        assert!(matches!(over(code)[..], [Output::Over(Over::Forbidden(said, _))] if said == code), "{code}");
    }
    assert!(matches!(over(ErrorCode::INVALID_PRODUCER_ID_MAPPING)[..], [Output::Over(Over::Restart(_))]));
    for code in [ErrorCode::UNKNOWN_SERVER_ERROR, ErrorCode::NOT_COORDINATOR] {
        let retrying = Event::Retrying(None, Failure::Code(code), "getting a producer id");
        assert_eq!(over(code), [Output::Event(retrying)]);
    }
}

#[test]
fn of_failures_in_a_row_the_first_is_told_and_the_pauses_grow() {
    let mut script = Script::begun(EpochLimits::KAFKA, |_| true);
    let init = Output::InitProducerId { current: None };
    assert_eq!(script.told_one(), init);
    let refused = Failure::Code(ErrorCode::NOT_COORDINATOR);
    for (row, upto_ms) in [20, 40, 80, 160, 320].into_iter().enumerate() {
        script.tell(Input::ProducerId(Err(refused)));
        let said = if row == 0 { 1 } else { 0 };
        assert_eq!((script.told().len(), script.lane.transaction_failure()), (said, Some(refused)));
        script.pass(upto_ms / 2 - 1);
        assert_eq!(script.told(), []);
        script.pass(upto_ms / 2 + 1);
        assert_eq!(script.told_one(), init, "attempt {row}");
    }
    script.tell(Input::ProducerId(Ok(OWN)));
    assert_eq!(script.lane.transaction_failure(), None);
    script.told();
    script.tell(Input::Fenced(FenceOutcome::Failed(refused)));
    assert_eq!(script.told().len(), 1, "it is told again after a success");
}

/// The next one, as soon as it is asked for.
fn keep_alive(script: &mut Script) -> Output {
    for _ in 0..=KEEP_ALIVE_MS / 500 {
        script.pass(500);
        if let Some(fence) = script.told().pop() {
            return fence;
        }
    }
    panic!("nothing keeps the lane alive")
}

/// How a lane ends that is refused after so many more keep-alives.
fn refused_after(script: &mut Script, keep_alives: u64) -> Over {
    for _ in 0..keep_alives {
        let fence = keep_alive(script);
        script.answer(fence);
    }
    keep_alive(script);
    script.tell(Input::Fenced(FenceOutcome::Failed(Failure::Code(ErrorCode::PRODUCER_FENCED))));
    match script.told_one() {
        Output::Over(over) => over,
        told => panic!("{told:?}"),
    }
}

/// The same of one whose keep-alive before them was answered so late.
fn refused_after_waiting(late_ms: u64, keep_alives: u64) -> Over {
    let mut script = Script::running();
    script.keep(|output| matches!(output, Output::Fence { .. }));
    let fence = keep_alive(&mut script);
    script.jump(late_ms);
    script.answer(fence);
    refused_after(&mut script, keep_alives)
}

#[test]
fn who_was_answered_late_may_have_taken_the_lane_from_itself() {
    assert_eq!(refused_after_waiting(50_000, 0), Over::Lost);
    let over = refused_after_waiting(50_001, 0);
    assert!(
        matches!(over, Over::Restart(_)),
        "its coordinator may have aborted it under an epoch of its own: {over:?}"
    );
    assert_eq!(refused_after_waiting(50_001, 1), Over::Lost, "ten minutes later it would have been carried out");
}

/// The same of one that had asked for something before them.
fn refused_after_asking(ask: fn(&mut Script), keep_alives: u64) -> Over {
    let mut script = Script::running();
    ask(&mut script);
    script.keep(|output| matches!(output, Output::Fence { .. } | Output::InitProducerId { .. }));
    script.told();
    refused_after(&mut script, keep_alives)
}

#[test]
fn a_question_that_was_not_answered_may_be_carried_out_for_ten_minutes() {
    let fence: fn(&mut Script) = |script| {
        script.keep(|output| matches!(output, Output::Fence { .. }));
        script.pass(KEEP_ALIVE_MS as u64);
        script.told_one();
        script.tell(Input::Fenced(FenceOutcome::Unknown));
        script.pass(20);
        let again = script.told().pop().expect("it is asked again");
        script.answer(again);
    };
    let init: fn(&mut Script) = |script| {
        script.keep(|output| matches!(output, Output::InitProducerId { .. }));
        script.now.wall_ms += 2 * KEEP_ALIVE_MS + 1;
        script.pass(500);
        script.told_one();
        script.tell(Input::ProducerId(Err(Failure::Lost)));
        script.pass(500);
        let again = script.told().pop().expect("it is asked again");
        script.answer(again);
    };
    for ask in [fence, init] {
        assert!(matches!(refused_after_asking(ask, 0), Over::Restart(_)));
        assert_eq!(refused_after_asking(ask, 1), Over::Lost);
    }
    let refused: fn(&mut Script) = |script| {
        script.keep(|output| matches!(output, Output::InitProducerId { .. }));
        script.now.wall_ms += 2 * KEEP_ALIVE_MS + 1;
        script.pass(500);
        script.told_one();
        script.tell(Input::ProducerId(Err(Failure::NotSent)));
        script.pass(500);
        let again = script.told().pop().expect("it is asked again");
        script.answer(again);
    };
    assert_eq!(refused_after_asking(refused, 0), Over::Lost, "it never left");
}

#[test]
fn a_transaction_that_is_forbidden_ends_the_lane() {
    let mut script = fencing();
    script.told();
    let code = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    script.tell(Input::Fenced(FenceOutcome::Failed(Failure::Code(code))));
    let told = script.told_one();
    assert!(matches!(told, Output::Over(Over::Forbidden(said, _)) if said == code), "{told:?}");
}

#[test]
fn a_keep_alive_of_which_nothing_is_known_is_asked_about_also_before_the_ids_are_in_the_map() {
    let mut script = Script::begun(EpochLimits::KAFKA, |output| matches!(output, Output::WriteMap(_)));
    script.keep(|output| matches!(output, Output::InitProducerId { .. } | Output::Fence { .. }));
    script.told();
    script.pass(1_000);
    assert_eq!(script.told(), [], "nothing is open");
    script.now.wall_ms += 2 * KEEP_ALIVE_MS + 1;
    script.pass(500);
    assert_eq!(script.told_one(), Output::InitProducerId { current: Some(script.producer) });
    // The coordinator waits for a marker; so it is asked for what shows that it knows the lane.
    script.tell(Input::ProducerId(Err(Failure::Code(ErrorCode::CONCURRENT_TRANSACTIONS))));
    script.pass(500);
    let keep_alive = Output::Fence { producer: script.producer, members: vec![Member::Map] };
    assert_eq!(script.told().last(), Some(&keep_alive));
    script.tell(Input::Fenced(FenceOutcome::Unknown));
    script.pass(500);
    assert_eq!(script.told().last(), Some(&keep_alive));
}

#[test]
fn a_lane_that_was_not_answered_asks_again_and_doubts() {
    let mut script = fencing();
    script.told();
    script.tell(Input::Fenced(FenceOutcome::Unknown));
    assert_eq!(script.told(), [Output::Event(Event::Retrying(None, Failure::Lost, "writing markers"))]);
    script.pass(20);
    assert_eq!(script.told(), [Output::Fence { producer: OWN, members: vec![Member::Map] }]);
    script.tell(Input::Fenced(FenceOutcome::Failed(Failure::Code(ErrorCode::INVALID_PRODUCER_EPOCH))));
    assert!(matches!(script.told()[..], [Output::Over(Over::Restart(_))]));
}

#[test]
fn a_target_that_forgot_the_id_of_a_lane_that_does_not_run_yet_is_asked_anew() {
    for outcome in [
        FenceOutcome::Failed(Failure::Code(ErrorCode::INVALID_PRODUCER_ID_MAPPING)),
        FenceOutcome::NotAdded(vec![(Member::Map, ErrorCode::INVALID_PRODUCER_ID_MAPPING)]),
    ] {
        let mut script = fencing();
        script.told();
        script.tell(Input::Fenced(outcome));
        assert!(matches!(script.told()[..], [Output::Over(Over::Restart(_))]));
    }
}

#[test]
fn a_map_that_takes_no_marker_is_told_of() {
    let not_added = |code| {
        let mut script = fencing();
        script.told();
        script.tell(Input::Fenced(FenceOutcome::NotAdded(vec![(Member::Map, code)])));
        script.told()
    };
    let code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    assert_eq!(not_added(code), [Output::Over(Over::Forbidden(code, "writing to the map topic"))]);
    let retrying = |code| [Output::Event(Event::Retrying(None, Failure::Code(code), "writing the map's marker"))];
    let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(not_added(code), retrying(code));
    let held_up = ErrorCode::CONCURRENT_TRANSACTIONS;
    let words = [Output::Event(Event::Retrying(None, Failure::Code(held_up), "writing markers"))];
    assert_eq!(not_added(held_up), words, "the transaction before it is not over");
}

#[test]
fn a_lane_is_kept_alive_by_a_marker_in_its_map() {
    let mut script = Script::running();
    script.keep(|output| matches!(output, Output::Fence { .. }));
    // It looks twice a second.
    let begun = script.now.wall_ms;
    while script.now.wall_ms - begun < KEEP_ALIVE_MS {
        assert_eq!(script.told(), []);
        script.pass(500);
    }
    let producer = script.producer;
    assert_eq!(script.told(), [Output::Fence { producer, members: vec![Member::Map] }]);
}
