use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, DescribeClusterRequest, DescribeClusterResponse, EndTxnRequest,
    EndTxnResponse, FetchRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;
use twinlog_wire::error_code::{ErrorCode, Retry};

use super::*;
use crate::testing::{Script, connect, peer, start, versions};
use twinlog_core::report::Side;

const PIPE_BYTES: usize = 1 << 16;

fn raw(connection: &Connection, payload: &[Bytes]) -> RawRequest {
    let correlation_id = connection.next_correlation_id();
    let mut head = BytesMut::new();
    let length = 8 + payload.iter().map(Bytes::len).sum::<usize>();
    head.put_u32(u32::try_from(length).unwrap());
    head.put_i16(ApiKey::Produce as i16);
    head.put_i16(9);
    head.put_i32(correlation_id);
    let mut slices = vec![head.freeze()];
    slices.extend_from_slice(payload);
    RawRequest { api_key: ApiKey::Produce as i16, correlation_id, timeout: None, permit: None, slices }
}

async fn default() -> (Connection, Script<DuplexStream>) {
    connect(PIPE_BYTES, ConnectionConfig::default()).await
}

fn id_of(frame: &Bytes) -> i32 {
    i32::from_be_bytes(*frame[4..].first_chunk().unwrap())
}

#[tokio::test]
async fn requests_are_pipelined_and_answers_matched_in_order() {
    let (connection, mut script) = default().await;
    let answers: Vec<Answer> = (0..5).map(|_| connection.send_raw(raw(&connection, &[]))).collect();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(id_of(&script.frame().await.unwrap()));
    }
    assert!(ids.is_sorted(), "{ids:?}");
    for (place, id) in ids.iter().enumerate() {
        let mut frame = id.to_be_bytes().to_vec();
        frame.resize(4 + place * 3000, place as u8);
        script.write(&frame).await;
    }
    for (place, (answer, id)) in answers.into_iter().zip(ids).enumerate() {
        let frame = answer.await.unwrap();
        assert_eq!(i32::from_be_bytes(*frame.first_chunk().unwrap()), id);
        assert_eq!(frame.len(), 4 + place * 3000);
        assert!(frame[4..].iter().all(|byte| *byte == place as u8));
    }
}

#[tokio::test]
async fn calls_use_the_highest_common_version_and_its_headers() {
    let (connection, mut script) = default().await;
    assert_eq!(connection.version::<EndTxnRequest>(), Some(5));
    assert_eq!(connection.version_up_to::<EndTxnRequest>(4), Some(4));
    assert_eq!(connection.version::<InitProducerIdRequest>(), Some(5));
    assert_eq!(connection.version_up_to::<FetchRequest>(3), None);
    for version in [2, 4] {
        let broker = async {
            let seen = script.request().await.unwrap();
            assert_eq!((seen.api, seen.version), (ApiKey::EndTxn, version));
            script.answer(&seen, &EndTxnResponse::default().with_error_code(48)).await;
        };
        let (answer, ()) = tokio::join!(connection.call_at(EndTxnRequest::default(), version, None), broker);
        assert_eq!(answer.unwrap().error_code, 48);
    }
    let broker = async {
        let seen = script.request().await.unwrap();
        assert_eq!((seen.api, seen.version), (ApiKey::DescribeCluster, 2));
        let answer = DescribeClusterResponse::default().with_controller_id(BrokerId(7));
        script.answer(&seen, &answer).await;
    };
    let (answer, ()) = tokio::join!(connection.call(DescribeClusterRequest::default()), broker);
    assert_eq!(answer.unwrap().controller_id, BrokerId(7));
}

#[tokio::test]
async fn an_api_that_the_broker_lacks_is_named() {
    let (near, far) = duplex(PIPE_BYTES);
    let mut script = Script { stream: far };
    let broker = async {
        let hello = script.request().await.unwrap();
        let produce = ApiVersion::default().with_api_key(0).with_min_version(3).with_max_version(9);
        script.answer(&hello, &ApiVersionsResponse::default().with_api_keys(vec![produce])).await;
    };
    let (connection, ()) = tokio::join!(start(near), broker);
    let connection = connection.unwrap();
    assert_eq!(connection.version::<ProduceRequest>(), Some(9));
    let error = connection.call(MetadataRequest::default()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert_eq!(error.retry(), Retry::Never);
    assert_eq!(
        error.to_string(),
        "target broker 1 (broker.test:9092): the broker has no version of this API that twinlog can use (Metadata)"
    );
}

#[tokio::test]
async fn an_old_broker_that_refuses_api_versions_v3_is_asked_again() {
    for (named, asked_again) in [(Some(2), 2), (None, 0)] {
        let (near, far) = duplex(PIPE_BYTES);
        let mut script = Script { stream: far };
        let broker = async {
            let first = script.request().await.unwrap();
            assert_eq!((first.api, first.version), (ApiKey::ApiVersions, 3));
            let api = |max| ApiVersion::default().with_api_key(ApiKey::ApiVersions as i16).with_max_version(max);
            let refusal = ApiVersionsResponse::default()
                .with_error_code(ErrorCode::UNSUPPORTED_VERSION.0)
                .with_api_keys(named.map(api).into_iter().collect());
            script.answer_at(&first, 0, &refusal).await;
            let second = script.request().await.unwrap();
            assert_eq!((second.api, second.version), (ApiKey::ApiVersions, asked_again));
            script.answer(&second, &versions()).await;
        };
        let (connection, ()) = tokio::join!(start(near), broker);
        assert_eq!(connection.unwrap().version::<EndTxnRequest>(), Some(5));
    }
}

#[tokio::test]
async fn a_wrong_correlation_id_closes_the_connection() {
    let (connection, mut script) = default().await;
    let first = connection.send_raw(raw(&connection, &[]));
    let second = connection.send_raw(raw(&connection, &[]));
    let id = id_of(&script.frame().await.unwrap());
    let other = id_of(&script.frame().await.unwrap());
    script.write(&other.to_be_bytes()).await;
    for answer in [first, second] {
        let error = answer.await.unwrap_err();
        assert!(
            matches!(error.cause(), Cause::Correlation { got, expected } if *got == other && *expected == Some(id)),
            "{error}"
        );
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
    assert!(connection.is_closed());
    assert_eq!(script.stream.read(&mut [0; 8]).await.unwrap(), 0, "the socket is closed, too");
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_closes_the_connection() {
    let (connection, mut script) = default().await;
    script.write(&77_i32.to_be_bytes()).await;
    let error = connection.closed().await;
    assert!(matches!(error.cause(), Cause::Correlation { got: 77, expected: None }), "{error}");
}

#[tokio::test]
async fn a_cut_inside_an_answer_fails_all_waiters_and_tells_the_sent_from_the_unsent() {
    let (connection, mut script) = connect(4096, ConnectionConfig::default()).await;
    let body = Bytes::from(vec![7; 3000]);
    // The pipe holds 4 096 bytes: the first request and a part of the second.
    let mut answers: Vec<Answer> =
        (0..4).map(|_| connection.send_raw(raw(&connection, std::slice::from_ref(&body)))).collect();
    let first_byte = script.stream.read_u8().await.unwrap();
    assert_eq!(first_byte, 0);
    // An answer of 100 bytes is announced, 10 come.
    script.stream.write_all(&[0, 0, 0, 100]).await.unwrap();
    script.stream.write_all(&[1; 10]).await.unwrap();
    drop(script);
    let outcomes = [Outcome::Unknown, Outcome::NotSent, Outcome::NotSent, Outcome::NotSent];
    for (answer, outcome) in answers.iter_mut().zip(outcomes) {
        let error = answer.await.unwrap_err();
        assert!(matches!(error.cause(), Cause::Cut { got: 10, expected: 100 }), "{error}");
        assert_eq!(error.outcome(), outcome);
        assert_eq!(error.side(), Side::Target);
        assert_eq!(error.retry(), Retry::AfterMetadata);
    }
}

/// Given requests that may leave only for a while, when that is over in the middle of one, then the rest of it is never
/// written, and what has not left as a whole counts as not sent.
#[tokio::test]
async fn a_request_whose_time_is_over_is_not_written() {
    let (connection, mut script) = connect(4096, ConnectionConfig::default()).await;
    let body = Bytes::from(vec![7; 3000]);
    let may = Arc::new(AtomicBool::new(true));
    let permit = || {
        let may = Arc::clone(&may);
        Some(Permit::new(move || may.load(Ordering::Relaxed)))
    };
    let request = || RawRequest { permit: permit(), ..raw(&connection, std::slice::from_ref(&body)) };
    // The pipe holds 4 096 bytes: the first request and a part of the second.
    let mut answers: Vec<Answer> = (0..3).map(|_| connection.send_raw(request())).collect();
    let first_byte = script.stream.read_u8().await.unwrap();
    assert_eq!(first_byte, 0);
    may.store(false, Ordering::Relaxed);
    let mut rest = Vec::new();
    script.stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() < 2 * 3000, "{} bytes came", rest.len());
    for (answer, outcome) in answers.iter_mut().zip([Outcome::Unknown, Outcome::NotSent, Outcome::NotSent]) {
        let error = answer.await.unwrap_err();
        assert!(matches!(error.cause(), Cause::NotPermitted), "{error}");
        assert_eq!(error.outcome(), outcome);
    }
    assert!(connection.is_closed());
}

#[tokio::test]
async fn an_idle_connection_that_the_broker_closes_fails_the_next_call_cleanly() {
    let (connection, script) = default().await;
    drop(script);
    let closed = connection.closed().await;
    assert!(matches!(closed.cause(), Cause::ClosedByPeer), "{closed}");
    let error = connection.call(MetadataRequest::default()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert_eq!(error.retry(), Retry::AfterMetadata);
    assert_eq!(error.step(), Step::of::<MetadataRequest>());
    let error = connection.send_raw(raw(&connection, &[])).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent);
}

#[tokio::test]
async fn answers_that_came_before_the_end_are_delivered() {
    let (connection, mut script) = default().await;
    let answered = connection.send_raw(raw(&connection, &[]));
    let lost = connection.send_raw(raw(&connection, &[]));
    let id = id_of(&script.frame().await.unwrap());
    script.frame().await.unwrap();
    script.write(&id.to_be_bytes()).await;
    drop(script);
    assert_eq!(answered.await.unwrap(), id.to_be_bytes().to_vec());
    let error = lost.await.unwrap_err();
    assert!(matches!(error.cause(), Cause::ClosedByPeer), "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown);
}

#[tokio::test]
async fn slices_arrive_joined_through_a_pipe_that_takes_a_few_bytes_at_a_time() {
    // ApiVersions answers do not fit a pipe this small at once, which reads partial frames as well.
    let (connection, mut script) = connect(7, ConnectionConfig::default()).await;
    let mut expected = Vec::new();
    let mut answers = Vec::new();
    for request in 0..20_u8 {
        let slices: Vec<Bytes> =
            (0..request).map(|slice| Bytes::from(vec![slice; usize::from(slice) * 13 % 50])).collect();
        let raw = raw(&connection, &slices);
        expected.push(raw.slices.concat()[4..].to_vec());
        answers.push(connection.send_raw(raw));
    }
    for expected in expected {
        let frame = script.frame().await.unwrap();
        assert_eq!(frame, expected);
        script.write(&frame[4..8]).await;
    }
    for answer in answers {
        answer.await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_above_the_limit_is_refused() {
    let config = ConnectionConfig { frame_bytes_max: 100_000, ..Default::default() };
    for (length, words) in [(100_001_i32, "100001 bytes"), (-1, "-1 bytes"), (i32::MAX, "2147483647 bytes")] {
        let (connection, mut script) = connect(PIPE_BYTES, config.clone()).await;
        let answer = connection.send_raw(raw(&connection, &[]));
        script.frame().await.unwrap();
        script.stream.write_i32(length).await.unwrap();
        let error = answer.await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.retry(), Retry::Never);
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
}

#[tokio::test]
async fn a_port_that_wants_tls_is_named() {
    let (near, far) = duplex(PIPE_BYTES);
    let mut script = Script { stream: far };
    let broker = async {
        script.request().await.unwrap();
        script.stream.write_all(&[0x15, 3, 3, 0, 2, 2, 10]).await.unwrap();
    };
    let (connection, ()) = tokio::join!(start(near), broker);
    let error = connection.unwrap_err();
    assert!(error.to_string().ends_with("(ApiVersions); does this port want TLS?"), "{error}");
}

#[tokio::test]
async fn an_answer_without_a_correlation_id_is_refused() {
    let (connection, mut script) = default().await;
    let answer = connection.send_raw(raw(&connection, &[]));
    script.frame().await.unwrap();
    script.write(&[1, 2]).await;
    let error = answer.await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Decode(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_closes_the_connection_for_all() {
    let (connection, mut script) = default().await;
    let begun = Instant::now();
    let patient = connection.send_raw(raw(&connection, &[]));
    let hasty = RawRequest { timeout: Some(Duration::from_secs(2)), ..raw(&connection, &[]) };
    let hasty = connection.send_raw(hasty);
    script.frame().await.unwrap();
    script.frame().await.unwrap();
    for answer in [patient, hasty] {
        let error = answer.await.unwrap_err();
        assert!(matches!(error.cause(), Cause::Timeout(limit) if *limit == Duration::from_secs(2)), "{error}");
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
    assert_eq!(begun.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_alarm_follows_the_requests() {
    let (connection, mut script) = default().await;
    // Answered requests leave no alarm that could hit later ones.
    for _ in 0..3 {
        let answer = connection.send_raw(raw(&connection, &[]));
        let id = id_of(&script.frame().await.unwrap());
        tokio::time::advance(Duration::from_secs(20)).await;
        script.write(&id.to_be_bytes()).await;
        answer.await.unwrap();
    }
    let begun = Instant::now();
    let late = connection.send_raw(raw(&connection, &[]));
    let error = late.await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Timeout(_)), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn requests_in_flight_are_limited() {
    let config = ConnectionConfig { in_flight_max: 2, ..Default::default() };
    let (connection, mut script) = connect(PIPE_BYTES, config).await;
    let first = connection.send_raw(raw(&connection, &[]));
    let second = connection.send_raw(raw(&connection, &[]));
    let error = connection.send_raw(raw(&connection, &[])).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Full(2)), "{error}");
    assert_eq!((error.outcome(), error.retry()), (Outcome::NotSent, Retry::Backoff));
    let id = id_of(&script.frame().await.unwrap());
    let waiting = async {
        let slot = connection.slot().await.unwrap();
        Some(slot.send(raw(&connection, &[])))
    };
    let (third, ()) = tokio::join!(waiting, async { script.write(&id.to_be_bytes()).await });
    first.await.unwrap();
    for answer in [second, third.unwrap()] {
        let id = id_of(&script.frame().await.unwrap());
        script.write(&id.to_be_bytes()).await;
        answer.await.unwrap();
    }
}

#[tokio::test]
async fn a_closed_connection_fails_those_who_wait_for_a_slot() {
    let config = ConnectionConfig { in_flight_max: 1, ..Default::default() };
    let (connection, _script) = connect(PIPE_BYTES, config).await;
    let sent = connection.send_raw(raw(&connection, &[]));
    let call = connection.call(MetadataRequest::default());
    let (sent, call, ()) = tokio::join!(sent, call, async {
        tokio::task::yield_now().await;
        connection.close();
    });
    assert!(matches!(sent.unwrap_err().cause(), Cause::ClosedHere));
    let error = call.unwrap_err();
    assert!(matches!(error.cause(), Cause::ClosedHere), "{error}");
    assert_eq!((error.outcome(), error.step()), (Outcome::NotSent, Step::of::<MetadataRequest>()));
}

#[tokio::test]
async fn a_slot_that_is_never_used_keeps_nobody_waiting_on_a_closed_connection() {
    let config = ConnectionConfig { in_flight_max: 1, ..Default::default() };
    let (connection, _script) = connect(PIPE_BYTES, config).await;
    let unused = connection.slot().await.unwrap();
    connection.close();
    let error = connection.slot().await.unwrap_err();
    assert!(matches!(error.cause(), Cause::ClosedHere), "{error}");
    let error = unused.send(raw(&connection, &[])).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent);
}

#[tokio::test]
async fn a_length_that_comes_in_two_parts_is_read() {
    let (connection, mut script) = default().await;
    let answers: Vec<Answer> = (0..3).map(|_| connection.send_raw(raw(&connection, &[]))).collect();
    let lengths = [0x104, 0x1_0004, 0x104_u32];
    let mut stream = Vec::new();
    for length in lengths {
        let id = id_of(&script.frame().await.unwrap());
        stream.extend_from_slice(&length.to_be_bytes());
        stream.extend_from_slice(&id.to_be_bytes());
        stream.resize(stream.len() + length as usize - 4, 7);
    }
    // The first part ends inside the second answer's length, behind a byte that the first one's does not have.
    let write = async {
        for part in [&stream[..0x10a], &stream[0x10a..0x10b], &stream[0x10b..]] {
            script.stream.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let read = async {
        for (answer, length) in answers.into_iter().zip(lengths) {
            let frame = answer.await.unwrap();
            assert_eq!(frame.len(), length as usize);
            assert!(frame[4..].iter().all(|byte| *byte == 7));
        }
    };
    tokio::join!(write, read);
}

#[tokio::test]
async fn answers_that_are_due_outlive_the_handle() {
    let (connection, mut script) = default().await;
    let answer = connection.send_raw(raw(&connection, &[]));
    drop(connection);
    let id = id_of(&script.frame().await.unwrap());
    script.write(&id.to_be_bytes()).await;
    answer.await.unwrap();
    assert_eq!(script.stream.read(&mut [0; 8]).await.unwrap(), 0, "then the socket is closed");
}

#[test]
fn a_runtime_that_goes_away_fails_its_connections() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (dialler, user) = (runtime(), runtime());
    let (connection, mut script) = dialler.block_on(default());
    let answer = connection.send_raw(raw(&connection, &[]));
    dialler.block_on(script.frame()).unwrap();
    drop(dialler);
    user.block_on(async {
        assert_eq!(answer.await.unwrap_err().outcome(), Outcome::Unknown);
        assert!(matches!(connection.closed().await.cause(), Cause::ClosedHere));
        let error = connection.call(MetadataRequest::default()).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert_eq!(error.peer(), &peer());
    });
}
