//! What is appended, what is refused, and what a partition remembers of producers.

use bytes::{Bytes, BytesMut};
use tokio::time::{Duration, advance};
use twinlog_sandbox::{ErrorCode, TopicSpec};
use twinlog_wire::batch::{BatchMeta, Codec, ControlType, HEAD_LEN, verify_crc};
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

use crate::kit::{Client, START_MS, TOPIC, batch, batch_at, batches, plain, sandbox, simple, stamp, zstd};

const DAY_MS: i64 = 86_400_000;

#[tokio::test]
async fn a_batch_is_stored_as_it_came_but_for_its_offset_and_leader_epoch() {
    let (_sandbox, _clock, mut client) = simple();
    assert_eq!(client.append(plain(2)).await, Ok(0));
    let sent = zstd(3);
    assert_eq!(client.append(sent.clone()).await, Ok(2));
    let stored = batches(client.fetch(2).await.records);
    let (meta, bytes) = &stored[0];
    assert_eq!((meta.base_offset, meta.leader_epoch), (2, 0));
    assert_eq!(bytes[16..], sent[16..]);
}

#[tokio::test]
async fn a_fetched_batch_is_refused_until_its_base_offset_is_zero() {
    let (_sandbox, _clock, mut client) = simple();
    client.append(plain(1)).await.unwrap();
    client.append(zstd(2)).await.unwrap();
    let (_, fetched) = batches(client.fetch(1).await.records).remove(0);
    assert_eq!(client.append(fetched.clone()).await, Err(ErrorCode::INVALID_RECORD));
    let mut zeroed = BytesMut::from(&fetched[..]);
    zeroed[..8].fill(0);
    assert_eq!(client.append(zeroed.freeze()).await, Ok(3));
}

#[tokio::test]
async fn one_batch_a_partition_no_more_and_no_less() {
    let (_sandbox, _clock, mut client) = simple();
    let two = [plain(1), plain(1)].concat();
    assert_eq!(client.append(two.into()).await, Err(ErrorCode::INVALID_RECORD));
    assert_eq!(client.append(Bytes::new()).await, Err(ErrorCode::INVALID_RECORD));
    let cut = plain(1).slice(..70);
    assert_eq!(client.append(cut).await, Err(ErrorCode::CORRUPT_MESSAGE));
}

#[tokio::test]
async fn the_count_must_fit_the_offsets() {
    let (_sandbox, _clock, mut client) = simple();
    let record = NewRecord { timestamp: START_MS, key: None, value: Some(b"v"), headers: &[] };
    let mut hole = BatchBuilder::new(BatchOptions::default());
    hole.push(&record).skip(1).push(&record);
    assert_eq!(client.append(hole.finish().unwrap()).await, Err(ErrorCode::INVALID_RECORD));
    let mut empty = BatchBuilder::new(BatchOptions::default());
    empty.skip(3);
    assert_eq!(client.append(empty.finish().unwrap()).await, Err(ErrorCode::INVALID_RECORD));
}

#[tokio::test]
async fn markers_and_transactions_without_a_name_are_refused() {
    let (_sandbox, _clock, mut client) = simple();
    let marker = BatchBuilder::marker(stamp((9, 0), -1), ControlType::Commit, 0, START_MS).unwrap();
    let code = client.append(marker).await;
    // The marker is transactional, too, which is looked at first.
    assert_eq!(code, Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
    let transactional = batch(BatchOptions { transactional: true, ..stamp((9, 0), 0) }, 1);
    let code = client.append(transactional).await;
    assert_eq!(code, Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
    let mut control = BytesMut::from(&plain(1)[..]);
    control[22] |= 0x20;
    seal(&mut control);
    assert_eq!(client.append(control.freeze()).await, Err(ErrorCode::INVALID_RECORD));
}

fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

#[tokio::test]
async fn a_damaged_byte_is_found() {
    let (_sandbox, _clock, mut client) = simple();
    for place in [HEAD_LEN + 3, 21, 40, 60] {
        let mut damaged = BytesMut::from(&plain(3)[..]);
        damaged[place] ^= 0x10;
        assert_eq!(client.append(damaged.freeze()).await, Err(ErrorCode::CORRUPT_MESSAGE), "byte {place}");
    }
}

#[tokio::test]
async fn the_stored_maximum_is_the_records_own() {
    let (_sandbox, _clock, mut client) = simple();
    let mut wrong = BytesMut::from(&plain(2)[..]);
    wrong[35..43].copy_from_slice(&(START_MS - 50_000).to_be_bytes());
    seal(&mut wrong);
    assert_eq!(client.append(wrong.freeze()).await, Ok(0));
    let (meta, bytes) = batches(client.fetch(0).await.records).remove(0);
    assert_eq!(meta.max_timestamp, START_MS);
    assert!(verify_crc(&bytes));
}

#[tokio::test]
async fn an_append_time_batch_loses_its_bit_and_keeps_its_maximum() {
    let (_sandbox, _clock, mut client) = simple();
    let options = BatchOptions { append_time: Some(START_MS - 7), ..BatchOptions::default() };
    client.append(batch(options, 1)).await.unwrap();
    let (meta, bytes) = batches(client.fetch(0).await.records).remove(0);
    assert!(!meta.is_append_time());
    assert_eq!((meta.max_timestamp, meta.base_timestamp), (START_MS - 7, START_MS));
    assert!(verify_crc(&bytes));
}

#[tokio::test]
async fn a_topic_with_append_times_stamps_what_it_takes() {
    let topic = TopicSpec::new(TOPIC, 1).config("message.timestamp.type", "LogAppendTime");
    let (sandbox, clock) = sandbox(topic);
    let mut client = Client::new(&sandbox, 1);
    clock.advance(5);
    let answer = client.produce(batch_at(BatchOptions::default(), 1, START_MS + DAY_MS)).await;
    assert_eq!((answer.error_code, answer.log_append_time_ms), (0, START_MS + 5));
    let (meta, bytes) = batches(client.fetch(0).await.records).remove(0);
    assert!(meta.is_append_time() && verify_crc(&bytes));
    assert_eq!(meta.max_timestamp, START_MS + 5);
}

#[tokio::test]
async fn timestamps_far_ahead_are_refused_unless_the_topic_allows_them() {
    let (_sandbox, _clock, mut client) = simple();
    let at = |ms| batch_at(BatchOptions::default(), 1, START_MS + ms);
    assert_eq!(client.append(at(3_600_000)).await, Ok(0));
    let answer = client.produce(at(3_600_001)).await;
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::INVALID_TIMESTAMP);
    assert_eq!(answer.record_errors[0].batch_index, 0);

    let topic = TopicSpec::new(TOPIC, 1).config("message.timestamp.after.max.ms", i64::MAX.to_string());
    let (sandbox, _clock) = sandbox(topic);
    assert_eq!(Client::new(&sandbox, 1).append(at(400 * DAY_MS)).await, Ok(0));
}

#[tokio::test]
async fn a_compacted_topic_wants_keys() {
    let (sandbox, _clock) = sandbox(TopicSpec::new(TOPIC, 1).config("cleanup.policy", "compact"));
    let mut client = Client::new(&sandbox, 1);
    let mut keyless = BatchBuilder::new(BatchOptions::default());
    keyless.push(&NewRecord { timestamp: START_MS, key: Some(b"k"), value: None, headers: &[] });
    keyless.push(&NewRecord { timestamp: START_MS, key: None, value: Some(b"v"), headers: &[] });
    let answer = client.produce(keyless.finish().unwrap()).await;
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::INVALID_RECORD);
    assert_eq!(answer.record_errors[0].batch_index, 1);
    assert_eq!(client.append(plain(1)).await, Ok(0));
}

#[tokio::test]
async fn a_batch_above_the_limit_is_too_large() {
    let sent = plain(20);
    let limit = sent.len() - 1;
    let (sandbox, _clock) = sandbox(TopicSpec::new(TOPIC, 1).config("max.message.bytes", limit.to_string()));
    let mut client = Client::new(&sandbox, 1);
    assert_eq!(client.append(sent).await, Err(ErrorCode::MESSAGE_TOO_LARGE));
    assert_eq!(client.append(plain(2)).await, Ok(0));
}

#[tokio::test]
async fn a_topic_with_a_codec_of_its_own_packs_anew() {
    let (sandbox, _clock) = sandbox(TopicSpec::new(TOPIC, 1).config("compression.type", "lz4"));
    let mut client = Client::new(&sandbox, 1);
    client.append(zstd(50)).await.unwrap();
    let (meta, bytes) = batches(client.fetch(0).await.records).remove(0);
    assert_eq!(meta.codec(), Some(Codec::Lz4));
    assert!(verify_crc(&bytes));
    assert_eq!(meta.record_count, 50);
}

#[tokio::test]
async fn a_resend_is_answered_with_the_first_offset_for_five_batches_back() {
    let (_sandbox, _clock, mut client) = simple();
    let own = (77, 3);
    for number in 0..10 {
        assert_eq!(client.append(batch(stamp(own, number * 2), 2)).await, Ok(i64::from(number) * 2));
    }
    for number in 5..10 {
        assert_eq!(client.append(batch(stamp(own, number * 2), 2)).await, Ok(i64::from(number) * 2));
    }
    let ten_back = client.append(batch(stamp(own, 8), 2)).await;
    assert_eq!(ten_back, Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    let gap = client.append(batch(stamp(own, 21), 2)).await;
    assert_eq!(gap, Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_eq!(client.append(batch(stamp(own, 20), 2)).await, Ok(20));
}

#[tokio::test]
async fn sequences_are_compared_and_not_bytes() {
    let (_sandbox, _clock, mut client) = simple();
    client.append(batch(stamp((77, 0), 0), 2)).await.unwrap();
    let others = batch(BatchOptions { codec: Codec::Gzip, ..stamp((77, 0), 0) }, 2);
    assert_eq!(client.append(others).await, Ok(0));
    let stored = batches(client.fetch(0).await.records);
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].0.codec(), Some(Codec::None));
    // Another range that begins at the same sequence is none of the five.
    let longer = client.append(batch(stamp((77, 0), 0), 3)).await;
    assert_eq!(longer, Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
}

#[tokio::test]
async fn epochs_begin_at_sequence_zero_and_never_go_back() {
    let (_sandbox, _clock, mut client) = simple();
    assert_eq!(client.append(batch(stamp((77, 5), 100_000), 1)).await, Ok(0));
    let newer = client.append(batch(stamp((77, 6), 100_001), 1)).await;
    assert_eq!(newer, Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_eq!(client.append(batch(stamp((77, 6), 0), 1)).await, Ok(1));
    let older = client.append(batch(stamp((77, 5), 100_001), 1)).await;
    assert_eq!(older, Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(client.append(batch(stamp((78, 0), 0), 1)).await, Ok(2), "another id is not fenced");
}

#[tokio::test]
async fn after_a_clean_restart_the_last_batch_alone_is_known() {
    let (sandbox, _clock, mut client) = simple();
    for sequence in 0..5 {
        client.append(batch(stamp((77, 0), sequence), 1)).await.unwrap();
    }
    sandbox.restart(1).unwrap();
    assert!(client.try_call(&crate::kit::fetch_request(0), 12).await.is_none(), "connections are cut");
    let mut client = Client::new(&sandbox, 1);
    let third = client.append(batch(stamp((77, 0), 2), 1)).await;
    assert_eq!(third, Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_eq!(client.append(batch(stamp((77, 0), 4), 1)).await, Ok(4));
    assert_eq!(client.append(batch(stamp((77, 0), 5), 1)).await, Ok(5));
    assert_eq!(sandbox.leader(TOPIC, 0).unwrap(), (Some(1), 1));
}

#[tokio::test]
async fn old_timestamps_make_a_broker_forget() {
    let (sandbox, _clock, mut client) = simple();
    let old = batch_at(stamp((77, 0), 0), 1, START_MS - 3 * DAY_MS);
    assert_eq!(client.append(old.clone()).await, Ok(0));
    assert_eq!(client.append(old.clone()).await, Ok(0), "until the next check it is known");
    sandbox.restart(1).unwrap();
    let mut client = Client::new(&sandbox, 1);
    assert_eq!(client.append(old).await, Ok(1), "twice on the log");
    sandbox.expire_producers();
    // A batch behind a failed one is taken, and then the failed one is refused for ever.
    let behind = batch_at(stamp((77, 0), 2), 1, START_MS - 3 * DAY_MS);
    assert_eq!(client.append(behind).await, Ok(2));
    let failed = client.append(batch_at(stamp((77, 0), 1), 1, START_MS - 3 * DAY_MS)).await;
    assert_eq!(failed, Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
}

#[tokio::test(start_paused = true)]
async fn the_check_comes_every_ten_minutes() {
    let (_sandbox, _clock, mut client) = simple();
    let old = batch_at(stamp((77, 0), 0), 1, START_MS - 3 * DAY_MS);
    client.append(old.clone()).await.unwrap();
    advance(Duration::from_secs(599)).await;
    assert_eq!(client.append(old.clone()).await, Ok(0));
    advance(Duration::from_secs(1)).await;
    assert_eq!(client.append(old).await, Ok(1));
}

#[tokio::test]
async fn forgetting_a_producer_opens_the_door_to_any_sequence() {
    let (sandbox, _clock, mut client) = simple();
    client.append(batch(stamp((77, 4), 0), 1)).await.unwrap();
    client.append(batch(stamp((78, 4), 0), 1)).await.unwrap();
    sandbox.forget_producers(TOPIC, 0, Some(77)).unwrap();
    assert_eq!(client.append(batch(stamp((77, 1), 9), 1)).await, Ok(2));
    let known = client.append(batch(stamp((78, 1), 9), 1)).await;
    assert_eq!(known, Err(ErrorCode::INVALID_PRODUCER_EPOCH));
}

#[tokio::test]
async fn the_delete_horizon_bit_is_stored_as_it_came() {
    let (_sandbox, _clock, mut client) = simple();
    let options = BatchOptions { delete_horizon: Some(START_MS), ..BatchOptions::default() };
    client.append(batch(options, 1)).await.unwrap();
    let (_, bytes) = batches(client.fetch(0).await.records).remove(0);
    assert!(BatchMeta::parse(&bytes).unwrap().has_delete_horizon());
}

#[tokio::test]
async fn unknown_partitions_and_other_leaders_are_told_apart() {
    let (sandbox, _clock) =
        crate::kit::sandbox_of(twinlog_sandbox::SandboxSpec::new().nodes(2).topic(TopicSpec::new(TOPIC, 1)));
    let (leader, _) = sandbox.leader(TOPIC, 0).unwrap();
    let other = 3 - leader.unwrap();
    let answer = Client::new(&sandbox, other).produce_as(None, plain(1), 12).await;
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(answer.current_leader.leader_id.0, leader.unwrap());
    sandbox.delete_topic(TOPIC);
    let code = Client::new(&sandbox, other).append(plain(1)).await;
    assert_eq!(code, Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}

#[tokio::test]
async fn a_mirror_made_anew_begins_at_zero_under_another_id() {
    let (sandbox, _clock, mut client) = simple();
    client.append(batch(stamp((77, 0), 0), 1)).await.unwrap();
    let former = sandbox.topic_id(TOPIC).unwrap();
    assert!(sandbox.delete_topic(TOPIC));
    sandbox.create_topic(&TopicSpec::new(TOPIC, 1)).unwrap();
    assert_ne!(sandbox.topic_id(TOPIC).unwrap(), former);
    assert_eq!(client.append(batch(stamp((77, 0), 1), 1)).await, Ok(0));
}

#[tokio::test]
async fn a_truncated_tail_takes_its_sequences_along() {
    let (sandbox, _clock, mut client) = simple();
    for sequence in 0..4 {
        client.append(batch(stamp((77, 0), sequence), 1)).await.unwrap();
    }
    sandbox.truncate(TOPIC, 0, 2, 1).unwrap();
    assert_eq!(sandbox.offsets(TOPIC, 0).unwrap(), (0, 2));
    for sequence in [3, 4] {
        let lost = client.append(batch(stamp((77, 0), sequence), 1)).await;
        assert_eq!(lost, Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER), "{sequence}");
    }
    assert_eq!(client.append(batch(stamp((77, 0), 2), 1)).await, Ok(2));
}

#[tokio::test]
async fn acks_zero_is_not_answered_and_processed_all_the_same() {
    let (sandbox, _clock, mut client) = simple();
    client.send(&crate::kit::produce_request(None, plain(1)).with_acks(0), 9).await;
    assert_eq!(client.append(plain(1)).await, Ok(1));
    assert_eq!(sandbox.offsets(TOPIC, 0).unwrap(), (0, 2));
}
