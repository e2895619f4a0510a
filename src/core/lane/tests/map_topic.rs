//! Writes to the map topic that fail, and a map that must not be written to.

use twinlog_wire::error_code::ErrorCode;

use super::script::EXPIRATION_MS;
use super::{KEEP_ALIVE_MS, Script};
use crate::io::{Event, Failure, Input, Output, Over};
use crate::outbox::Answer;

/// A lane whose newest write to the map is not answered.
fn writing() -> (Script, Output) {
    let mut script = Script::running();
    script.keep(|output| matches!(output, Output::WriteMap(_) | Output::Probe { .. }));
    assert!(script.lane.add(script.now, super::script::spec("orders")).is_some());
    script.tell(Input::Forget(super::script::spec("other").key));
    let told = script.told();
    let [Output::Probe { partition, position }] = told[..] else { panic!("{told:?}") };
    script.answer(Output::Probe { partition, position });
    let [write] = &script.told()[..] else { panic!("its head is written") };
    (script, write.clone())
}

fn refused(code: ErrorCode) -> Answer {
    Answer::Refused(code, "no".into())
}

#[test]
fn what_cannot_be_written_now_is_written_again_as_it_is() {
    for (answer, failure) in [
        (Answer::Lost, Failure::Lost),
        (Answer::NotSent, Failure::NotSent),
        (refused(ErrorCode::NOT_LEADER_OR_FOLLOWER), Failure::Code(ErrorCode::NOT_LEADER_OR_FOLLOWER)),
        (refused(ErrorCode::UNKNOWN_SERVER_ERROR), Failure::Code(ErrorCode::UNKNOWN_SERVER_ERROR)),
    ] {
        let (mut script, write) = writing();
        script.tell(Input::MapWritten(answer.clone()));
        assert_eq!(script.told(), [Output::Event(Event::Retrying(None, failure, "writing to the map"))]);
        script.pass(20);
        assert_eq!(script.told_one(), write);
        script.tell(Input::MapWritten(answer));
        assert_eq!(script.told(), [], "it was told");
        script.pass(40);
        assert_eq!(script.told_one(), write);
    }
}

#[test]
fn a_map_that_refuses_is_read_anew_given_up_or_asked_for() {
    let over = |code| {
        let (mut script, _) = writing();
        script.tell(Input::MapWritten(refused(code)));
        match &script.told()[..] {
            [Output::Over(over)] => over.clone(),
            told => panic!("{code}: {told:?}"),
        }
    };
    for code in [ErrorCode::INVALID_PRODUCER_EPOCH, ErrorCode::PRODUCER_FENCED] {
        assert_eq!(over(code), Over::Lost);
    }
    for code in [ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorCode::CLUSTER_AUTHORIZATION_FAILED] {
        assert_eq!(over(code), Over::Forbidden(code, "writing to the map topic"));
    }
    let restarts = |code| match over(code) {
        Over::Restart(words) => words,
        over => panic!("{code}: {over:?}"),
    };
    assert!(restarts(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER).contains("lost its end"));
    assert!(restarts(ErrorCode::MESSAGE_TOO_LARGE).contains("refused a write"));
}

#[test]
fn a_write_as_old_as_half_of_what_a_broker_remembers_is_not_sent_again() {
    for (age_ms, answer, words) in [
        (EXPIRATION_MS / 2, Answer::Lost, None),
        (EXPIRATION_MS / 2 + 1, Answer::Lost, Some("could not be written for long")),
        (EXPIRATION_MS / 2 + 1, refused(ErrorCode::NOT_LEADER_OR_FOLLOWER), Some("refused a write")),
    ] {
        let (mut script, _) = writing();
        script.now.wall_ms += age_ms;
        script.tell(Input::MapWritten(answer));
        let over = script.told().into_iter().find_map(|output| match output {
            Output::Over(Over::Restart(words)) => Some(words),
            _ => None,
        });
        assert_eq!(over.is_some(), words.is_some(), "{over:?}");
        assert!(over.zip(words).is_none_or(|(over, words)| over.contains(words)), "{over:?}");
    }
}

#[test]
fn a_lane_that_the_target_may_have_forgotten_writes_nothing() {
    // What it wrote last is not answered, and not sent again before the coordinator has spoken.
    let (mut script, write) = writing();
    script.keep(|output| matches!(output, Output::WriteMap(_) | Output::Fence { .. } | Output::InitProducerId { .. }));
    script.now.wall_ms += 2 * KEEP_ALIVE_MS;
    script.tell(Input::MapWritten(Answer::Lost));
    script.pass(0);
    script.told();
    script.now.wall_ms += 1;
    script.pass(500);
    let told = script.told();
    assert!(!told.contains(&write), "{told:?}");
    assert!(
        told.iter().any(|output| matches!(output, Output::Fence { .. } | Output::InitProducerId { .. })),
        "{told:?}"
    );
}
