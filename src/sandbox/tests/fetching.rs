//! What readers see, when, and how much of it.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::fetch_request::{FetchTopic, ForgottenTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest,
    TransactionalId,
};
use tokio::time::{Instant, sleep};
use twinlog_sandbox::{ErrorCode, SandboxSpec, TopicSpec};
use twinlog_wire::builder::BatchOptions;
use uuid::Uuid;

use crate::kit::{
    Client, START_MS, TOPIC, batch, batch_at, batches, fetch_request, plain, sandbox_of, simple, stamp, text,
    topic_name,
};

const ID: &str = "writer";

fn committed(from: i64) -> FetchRequest {
    fetch_request(from).with_isolation_level(1)
}

async fn begin(client: &mut Client, (id, epoch): (i64, i16)) {
    let topic = AddPartitionsToTxnTopic::default().with_name(topic_name(TOPIC)).with_partitions(vec![0]);
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(TransactionalId(text(ID)))
        .with_v3_and_below_producer_id(id.into())
        .with_v3_and_below_producer_epoch(epoch)
        .with_v3_and_below_topics(vec![topic]);
    client.call(&request, 3).await;
}

async fn write(client: &mut Client, owner: (i64, i16), sequence: i32, count: usize) {
    let data = batch(BatchOptions { transactional: true, ..stamp(owner, sequence) }, count);
    assert_eq!(client.produce_as(Some(ID), data, 9).await.error_code, 0);
}

async fn end(client: &mut Client, (id, epoch): (i64, i16), commit: bool) {
    let request = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(text(ID)))
        .with_producer_id(id.into())
        .with_producer_epoch(epoch)
        .with_committed(commit);
    assert_eq!(client.call(&request, 3).await.error_code, 0);
    sleep(Duration::from_millis(10)).await;
}

#[tokio::test(start_paused = true)]
async fn aborted_records_are_named_and_open_ones_are_not_shown() {
    let (_sandbox, _clock, mut client) = simple();
    client.append(plain(1)).await.unwrap();
    let owner = client.init(ID).await.unwrap();
    begin(&mut client, owner).await;
    write(&mut client, owner, 0, 2).await;
    client.append(plain(1)).await.unwrap();
    let open = client.fetch_with(&committed(0)).await;
    assert_eq!((open.high_watermark, open.last_stable_offset), (4, 1));
    assert_eq!(batches(open.records).len(), 1);
    assert_eq!(batches(client.fetch(0).await.records).len(), 3);

    end(&mut client, owner, false).await;
    let closed = client.fetch_with(&committed(0)).await;
    assert_eq!((closed.high_watermark, closed.last_stable_offset), (5, 5));
    assert_eq!(batches(closed.records).len(), 4);
    let aborted = closed.aborted_transactions.unwrap();
    assert_eq!((aborted.len(), aborted[0].producer_id.0, aborted[0].first_offset), (1, owner.0, 1));
    assert_eq!(client.fetch(0).await.aborted_transactions, None);

    begin(&mut client, owner).await;
    write(&mut client, owner, 2, 1).await;
    end(&mut client, owner, true).await;
    let after = client.fetch_with(&committed(5)).await;
    assert_eq!(after.aborted_transactions.unwrap(), [], "neither the committed one nor one before it");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_waits_for_bytes_until_its_time_is_over() {
    let (sandbox, _clock, mut reader) = simple();
    let mut writer = Client::new(&sandbox, 1);
    let began = Instant::now();
    reader.send(&fetch_request(0).with_max_wait_ms(500), 12).await;
    sleep(Duration::from_millis(100)).await;
    writer.append(plain(1)).await.unwrap();
    let answer = reader.receive::<FetchRequest>(12).await.unwrap();
    assert_eq!(batches(answer.responses[0].partitions[0].records.clone()).len(), 1);
    assert_eq!(began.elapsed().as_millis(), 100);

    let began = Instant::now();
    let much = reader.fetch_with(&fetch_request(0).with_max_wait_ms(500).with_min_bytes(10_000)).await;
    assert_eq!(batches(much.records).len(), 1, "what there is comes all the same");
    assert_eq!(began.elapsed().as_millis(), 500);

    let began = Instant::now();
    let beyond = reader.fetch_with(&fetch_request(9).with_max_wait_ms(500)).await;
    assert_eq!(ErrorCode(beyond.error_code), ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(began.elapsed().as_millis(), 0, "bad news do not wait");
}

#[tokio::test]
async fn the_first_batch_comes_whole_and_the_last_may_be_cut() {
    let (_sandbox, _clock, mut client) = simple();
    let len = plain(1).len();
    for _ in 0..3 {
        client.append(plain(1)).await.unwrap();
    }
    let limited = |bytes: usize| {
        let mut request = fetch_request(0);
        request.topics[0].partitions[0].partition_max_bytes = i32::try_from(bytes).unwrap();
        request
    };
    assert_eq!(client.fetch_with(&limited(1)).await.records.unwrap().len(), len);
    assert_eq!(client.fetch_with(&limited(len + 7)).await.records.unwrap().len(), len + 7);
    let small_answer = fetch_request(0).with_max_bytes(1);
    assert_eq!(client.fetch_with(&small_answer).await.records.unwrap().len(), len);
    // A second partition gets nothing when the first has filled the answer.
    let mut twice = fetch_request(0).with_max_bytes(1);
    let again = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(again);
    let answer = client.call(&twice, 12).await;
    assert_eq!(answer.responses[0].partitions[1].records.clone().unwrap(), Bytes::new());
}

#[tokio::test]
async fn a_batch_comes_whole_from_an_offset_inside_of_it() {
    let (_sandbox, _clock, mut client) = simple();
    client.append(plain(5)).await.unwrap();
    client.append(plain(5)).await.unwrap();
    let found = batches(client.fetch(7).await.records);
    assert_eq!((found.len(), found[0].0.base_offset), (1, 5));
    assert_eq!(client.fetch(10).await.error_code, 0, "the end is a place to wait at");
}

#[tokio::test]
async fn a_reader_of_another_history_is_told_where_to_go_back_to() {
    let (sandbox, _clock, mut client) = simple();
    for _ in 0..5 {
        client.append(plain(1)).await.unwrap();
    }
    sandbox.truncate(TOPIC, 0, 3, 1).unwrap();
    client.append(plain(4)).await.unwrap();
    let at = |from, last_epoch| {
        let mut request = fetch_request(from);
        request.topics[0].partitions[0].last_fetched_epoch = last_epoch;
        request
    };
    let diverged = client.fetch_with(&at(5, 0)).await;
    assert_eq!((diverged.error_code, diverged.records.unwrap().len()), (0, 0));
    assert_eq!((diverged.diverging_epoch.epoch, diverged.diverging_epoch.end_offset), (0, 3));
    let same = client.fetch_with(&at(3, 0)).await;
    assert_eq!((batches(same.records).len(), same.diverging_epoch.epoch), (1, -1));
    assert_eq!(batches(client.fetch_with(&at(3, 1)).await.records)[0].0.leader_epoch, 1);
    let unknown = client.fetch_with(&at(3, 9)).await;
    assert_eq!(ErrorCode(unknown.error_code), ErrorCode::OFFSET_OUT_OF_RANGE);

    let mut asked = OffsetForLeaderPartition::default().with_partition(0).with_current_leader_epoch(-1);
    asked.leader_epoch = 0;
    let topic = OffsetForLeaderTopic::default().with_topic(topic_name(TOPIC)).with_partitions(vec![asked]);
    let request = OffsetForLeaderEpochRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    let end = client.call(&request, 4).await.topics[0].partitions[0].clone();
    assert_eq!((end.leader_epoch, end.end_offset), (0, 3));
}

#[tokio::test]
async fn leader_epochs_of_readers_are_compared() {
    let (sandbox, _clock) = sandbox_of(SandboxSpec::new().nodes(2).topic(TopicSpec::new(TOPIC, 1)));
    sandbox.move_leader(TOPIC, 0, 2).unwrap();
    let knowing = |epoch| {
        let mut request = fetch_request(0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        request
    };
    let mut leader = Client::new(&sandbox, 2);
    let mut former = Client::new(&sandbox, 1);
    for (request, code) in [
        (knowing(-1), ErrorCode::NONE),
        (knowing(0), ErrorCode::FENCED_LEADER_EPOCH),
        (knowing(1), ErrorCode::NONE),
        (knowing(2), ErrorCode::UNKNOWN_LEADER_EPOCH),
    ] {
        assert_eq!(ErrorCode(leader.fetch_with(&request).await.error_code), code);
    }
    assert_eq!(ErrorCode(former.fetch(0).await.error_code), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let mut by_id = fetch_request(0);
    by_id.topics[0].topic_id = sandbox.topic_id(TOPIC).unwrap();
    let answer = former.call(&by_id, 16).await;
    assert_eq!(answer.responses[0].partitions[0].current_leader.leader_id.0, 2);
    assert_eq!(answer.node_endpoints[0].host, text("node-2.twinlog-sandbox"));
}

#[tokio::test]
async fn topics_have_ids_and_names_and_neither_may_be_wrong() {
    let (sandbox, _clock, mut client) = simple();
    client.append(plain(1)).await.unwrap();
    let mut request = fetch_request(0);
    let asked = request.topics.remove(0).partitions;
    let with_id = |id: Uuid| {
        let topic = FetchTopic::default().with_topic_id(id).with_partitions(asked.clone());
        fetch_request(0).with_topics(vec![topic])
    };
    let known = client.call(&with_id(sandbox.topic_id(TOPIC).unwrap()), 17).await;
    assert_eq!(batches(known.responses[0].partitions[0].records.clone()).len(), 1);
    let unknown = client.call(&with_id(Uuid::from_u128(7)), 17).await;
    let code = ErrorCode(unknown.responses[0].partitions[0].error_code);
    assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_ID);
    let mut nowhere = fetch_request(0);
    nowhere.topics[0].topic = topic_name("nowhere");
    let code = ErrorCode(client.fetch_with(&nowhere).await.error_code);
    assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test(start_paused = true)]
async fn a_session_answers_with_what_is_new_until_it_is_closed_or_the_node_restarts() {
    let (sandbox, _clock, mut client) = simple();
    let begin = fetch_request(0).with_session_epoch(0);
    let first = client.call(&begin, 12).await;
    assert!(first.session_id > 0);
    let mut next = begin.clone().with_session_id(first.session_id).with_session_epoch(1).with_topics(Vec::new());
    assert_eq!(client.call(&next, 12).await.responses, Vec::new(), "nothing is new");
    client.append(plain(1)).await.unwrap();
    for epoch in [2, 3] {
        next.session_epoch = epoch;
        let answer = client.call(&next, 12).await;
        let records = answer.responses[0].partitions[0].records.clone();
        assert_eq!(batches(records).len(), 1, "as long as the position is the same");
    }
    next.session_epoch = 3;
    let again = client.call(&next, 12).await;
    assert_eq!(ErrorCode(again.error_code), ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    next.session_epoch = 4;
    let by_id = ErrorCode(client.call(&next, 13).await.error_code);
    assert_eq!(by_id, ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
    let mut last = next.clone();
    let forgotten = fetch_request(0).topics.remove(0);
    last.forgotten_topics_data = vec![ForgottenTopic::default().with_topic(forgotten.topic).with_partitions(vec![0])];
    assert_eq!(client.call(&last, 12).await.session_id, 0, "nothing is left in it");
    let ended = client.call(&next.clone().with_session_epoch(5), 12).await;
    assert_eq!(ErrorCode(ended.error_code), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);

    let second = client.call(&begin, 12).await.session_id;
    assert_eq!(client.call(&begin.clone().with_session_id(second).with_session_epoch(-1), 12).await.session_id, 0);
    let closed = client.call(&next.clone().with_session_id(second).with_session_epoch(1), 12).await;
    assert_eq!(ErrorCode(closed.error_code), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);

    let third = client.call(&begin, 12).await.session_id;
    sandbox.restart(1).unwrap();
    let mut client = Client::new(&sandbox, 1);
    let lost = client.call(&next.with_session_id(third).with_session_epoch(1), 12).await;
    assert_eq!(ErrorCode(lost.error_code), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn offsets_are_found_by_end_and_by_time() {
    let (_sandbox, _clock, mut client) = simple();
    client.append(batch_at(BatchOptions::default(), 2, START_MS - 1000)).await.unwrap();
    client.append(batch_at(BatchOptions::default(), 2, START_MS - 500)).await.unwrap();
    let owner = client.init(ID).await.unwrap();
    begin(&mut client, owner).await;
    write(&mut client, owner, 0, 1).await;
    let find = async |client: &mut Client, timestamp: i64, isolation: i8| {
        let asked = ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(topic_name(TOPIC)).with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_isolation_level(isolation)
            .with_topics(vec![topic]);
        let found = client.call(&request, 8).await.topics[0].partitions[0].clone();
        (found.error_code, found.offset, found.timestamp)
    };
    assert_eq!(find(&mut client, -1, 0).await, (0, 5, -1));
    assert_eq!(find(&mut client, -1, 1).await, (0, 4, -1), "read committed: the last stable offset");
    assert_eq!(find(&mut client, -2, 0).await, (0, 0, -1));
    assert_eq!(find(&mut client, START_MS - 700, 0).await, (0, 2, START_MS - 500));
    assert_eq!(find(&mut client, START_MS - 2000, 0).await, (0, 0, START_MS - 1000));
    assert_eq!(find(&mut client, START_MS + 1, 0).await, (0, -1, -1));
    assert_eq!(find(&mut client, -3, 0).await, (0, 4, START_MS));
}
