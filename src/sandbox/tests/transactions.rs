//! Producer ids, epochs, markers, fencing.

use std::time::Duration;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, GroupId, InitProducerIdRequest,
    OffsetFetchRequest, TransactionalId, TxnOffsetCommitRequest,
};
use tokio::time::{advance, sleep};
use twinlog_sandbox::{ErrorCode, Sandbox, SandboxSpec, TopicSpec};
use twinlog_wire::batch::{ControlType, control_type};
use twinlog_wire::builder::BatchOptions;

use crate::kit::{Client, TOPIC, batch, batches, sandbox_of, simple, stamp, text, topic_name};

const ID: &str = "twinlog.link.0";

async fn add(client: &mut Client, (id, epoch): (i64, i16), partitions: &[(&str, i32)]) -> Vec<ErrorCode> {
    let topics = partitions.iter().map(|(topic, index)| {
        AddPartitionsToTxnTopic::default().with_name(topic_name(topic)).with_partitions(vec![*index])
    });
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(TransactionalId(text(ID)))
        .with_v3_and_below_producer_id(id.into())
        .with_v3_and_below_producer_epoch(epoch)
        .with_v3_and_below_topics(topics.collect());
    let answer = client.call(&request, 3).await;
    let topics = answer.results_by_topic_v3_and_below;
    topics.iter().map(|topic| ErrorCode(topic.results_by_partition[0].partition_error_code)).collect()
}

async fn end(client: &mut Client, (id, epoch): (i64, i16), commit: bool) -> ErrorCode {
    let request = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(text(ID)))
        .with_producer_id(id.into())
        .with_producer_epoch(epoch)
        .with_committed(commit);
    ErrorCode(client.call(&request, 3).await.error_code)
}

/// An empty transaction over the topic's first partition, its marker included.
async fn fence(client: &mut Client, owner: (i64, i16)) {
    assert_eq!(add(client, owner, &[(TOPIC, 0)]).await, [ErrorCode::NONE]);
    assert_eq!(end(client, owner, true).await, ErrorCode::NONE);
    sleep(Duration::from_millis(10)).await;
}

fn log_end(sandbox: &Sandbox) -> i64 {
    sandbox.offsets(TOPIC, 0).unwrap().1
}

#[tokio::test(start_paused = true)]
async fn an_id_alone_fences_nothing_and_its_marker_does() {
    let (sandbox, _clock, mut client) = simple();
    let zombie = client.init(ID).await.unwrap();
    assert_eq!(client.append(batch(stamp(zombie, 0), 1)).await, Ok(0));
    let owner = client.init(ID).await.unwrap();
    assert_eq!((owner.0, owner.1), (zombie.0, zombie.1 + 1));
    assert_eq!(client.append(batch(stamp(zombie, 1), 1)).await, Ok(1), "still accepted");

    assert_eq!(add(&mut client, owner, &[(TOPIC, 0)]).await, [ErrorCode::NONE]);
    assert_eq!(end(&mut client, owner, true).await, ErrorCode::NONE);
    assert_eq!(log_end(&sandbox), 2, "the answer comes before the marker");
    assert_eq!(end(&mut client, owner, true).await, ErrorCode::CONCURRENT_TRANSACTIONS);
    assert_eq!(add(&mut client, owner, &[(TOPIC, 0)]).await, [ErrorCode::CONCURRENT_TRANSACTIONS]);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(log_end(&sandbox), 3, "one marker is one offset");
    let late = client.append(batch(stamp(zombie, 2), 1)).await;
    assert_eq!(late, Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(client.append(batch(stamp(owner, 0), 1)).await, Ok(3), "without a transaction");
    assert_eq!(end(&mut client, owner, true).await, ErrorCode::NONE, "a repeated commit");
    assert_eq!(end(&mut client, owner, false).await, ErrorCode::INVALID_TXN_STATE);
}

#[tokio::test(start_paused = true)]
async fn data_of_the_new_epoch_fences_as_well_and_other_ids_do_not() {
    let (_sandbox, _clock, mut client) = simple();
    let zombie = client.init(ID).await.unwrap();
    client.append(batch(stamp(zombie, 0), 1)).await.unwrap();
    let owner = client.init(ID).await.unwrap();
    let other = client.init("another lane").await.unwrap();
    assert_ne!(other.0, owner.0);
    assert_eq!(client.append(batch(stamp(owner, 0), 1)).await, Ok(1));
    let late = client.append(batch(stamp(zombie, 1), 1)).await;
    assert_eq!(late, Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(client.append(batch(stamp(other, 0), 1)).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn sequences_go_on_over_a_marker_of_the_same_epoch() {
    let (_sandbox, _clock, mut client) = simple();
    let owner = client.init(ID).await.unwrap();
    fence(&mut client, owner).await;
    let first = client.append(batch(stamp(owner, 5), 1)).await;
    assert_eq!(first, Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER), "a marker is state: it begins at 0");
    assert_eq!(client.append(batch(stamp(owner, 0), 2)).await, Ok(1));
    fence(&mut client, owner).await;
    assert_eq!(client.append(batch(stamp(owner, 2), 1)).await, Ok(4));
}

#[tokio::test(start_paused = true)]
async fn who_names_a_former_epoch_is_fenced_and_a_lost_answer_can_be_had_again() {
    let (_sandbox, _clock, mut client) = simple();
    let first = client.init(ID).await.unwrap();
    let second = client.init_as(ID, Some(first)).await.unwrap();
    assert_eq!(second.1, first.1 + 1);
    assert_eq!(client.init_as(ID, Some(first)).await, Ok(second), "the same request again");
    let third = client.init(ID).await.unwrap();
    assert_eq!(client.init_as(ID, Some(second)).await, Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(client.init_as(ID, Some((third.0 + 1, third.1))).await, Err(ErrorCode::PRODUCER_FENCED));
    let old_version = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(ID))))
        .with_transaction_timeout_ms(1000)
        .with_producer_id(second.0.into())
        .with_producer_epoch(second.1);
    let answer = client.call(&old_version, 3).await;
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::INVALID_PRODUCER_EPOCH);
}

#[tokio::test(start_paused = true)]
async fn an_open_transaction_is_aborted_by_the_next_owner() {
    let (sandbox, _clock, mut client) = simple();
    let zombie = client.init(ID).await.unwrap();
    add(&mut client, zombie, &[(TOPIC, 0)]).await;
    let data = batch(BatchOptions { transactional: true, ..stamp(zombie, 0) }, 2);
    let answer = client.produce_as(Some(ID), data, 9).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 0));

    assert_eq!(client.init(ID).await, Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    assert_eq!(log_end(&sandbox), 2);
    sleep(Duration::from_millis(10)).await;
    let (meta, bytes) = batches(client.fetch(2).await.records).remove(0);
    assert_eq!(control_type(&bytes), Ok(ControlType::Abort));
    assert_eq!(meta.producer_epoch, zombie.1 + 1, "an epoch that nobody gets");
    assert_eq!(end(&mut client, zombie, true).await, ErrorCode::PRODUCER_FENCED);
    assert_eq!(client.init(ID).await, Ok((zombie.0, zombie.1 + 2)));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_takes_too_long_is_aborted() {
    let (sandbox, _clock, mut client) = simple();
    let owner = client.init(ID).await.unwrap();
    add(&mut client, owner, &[(TOPIC, 0)]).await;
    advance(Duration::from_millis(59_999)).await;
    assert_eq!(log_end(&sandbox), 0);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(log_end(&sandbox), 1);
    assert_eq!(end(&mut client, owner, true).await, ErrorCode::PRODUCER_FENCED);
}

#[tokio::test(start_paused = true)]
async fn one_unknown_topic_keeps_the_others_out() {
    let (sandbox, _clock, mut client) = simple();
    let owner = client.init(ID).await.unwrap();
    let codes = add(&mut client, owner, &[(TOPIC, 0), ("nowhere", 0), (TOPIC, 9)]).await;
    let (unknown, not_attempted) = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::OPERATION_NOT_ATTEMPTED);
    assert_eq!(codes, [not_attempted, unknown, unknown]);
    assert_eq!(end(&mut client, owner, true).await, ErrorCode::INVALID_TXN_STATE, "nothing was begun");
    assert_eq!(log_end(&sandbox), 0);
}

#[tokio::test(start_paused = true)]
async fn a_partition_without_a_leader_keeps_the_transaction_open() {
    let spec = SandboxSpec::new().topic(TopicSpec::new(TOPIC, 2));
    let (sandbox, _clock) = sandbox_of(spec);
    let mut client = Client::new(&sandbox, 1);
    let owner = client.init(ID).await.unwrap();
    add(&mut client, owner, &[(TOPIC, 0), (TOPIC, 1)]).await;
    sandbox.take_leader_away(TOPIC, 1).unwrap();
    assert_eq!(end(&mut client, owner, true).await, ErrorCode::NONE);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(log_end(&sandbox), 1, "markers reach the others");
    assert_eq!(add(&mut client, owner, &[(TOPIC, 0)]).await, [ErrorCode::CONCURRENT_TRANSACTIONS]);
    assert_eq!(client.init(ID).await, Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    sandbox.move_leader(TOPIC, 1, 1).unwrap();
    assert_eq!(client.init(ID).await, Ok((owner.0, owner.1 + 1)));
    assert_eq!(sandbox.offsets(TOPIC, 1).unwrap().1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_marker_outlives_old_data_only_until_the_next_batch() {
    let (sandbox, _clock, mut client) = simple();
    let old_data =
        |owner, sequence| crate::kit::batch_at(stamp(owner, sequence), 1, crate::kit::START_MS - 3 * 86_400_000);
    let zombie = client.init(ID).await.unwrap();
    fence(&mut client, zombie).await;
    let owner = client.init(ID).await.unwrap();
    fence(&mut client, owner).await;
    sandbox.expire_producers();
    let late = client.append(old_data(zombie, 0)).await;
    assert_eq!(late, Err(ErrorCode::INVALID_PRODUCER_EPOCH), "a marker counts as now");
    client.append(old_data(owner, 0)).await.unwrap();
    sandbox.restart(1).unwrap();
    let mut client = Client::new(&sandbox, 1);
    assert_eq!(client.append(old_data(zombie, 7)).await, Ok(3), "the zombie is back");
}

#[tokio::test(start_paused = true)]
async fn transactional_data_needs_its_partition_in_the_transaction() {
    let (_sandbox, _clock, mut client) = simple();
    let owner = client.init(ID).await.unwrap();
    let data = |sequence| batch(BatchOptions { transactional: true, ..stamp(owner, sequence) }, 1);
    let answer = client.produce_as(Some(ID), data(0), 11).await;
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::INVALID_TXN_STATE);
    let answer = client.produce_as(Some(ID), data(0), 12).await;
    assert_eq!(answer.error_code, 0, "from v12 on the broker adds it");
    let bare = client.append(batch(stamp(owner, 1), 1)).await;
    assert_eq!(bare, Err(ErrorCode::INVALID_TXN_STATE));
}

#[tokio::test(start_paused = true)]
async fn epochs_run_out_after_32_767_and_the_next_owner_gets_another_id() {
    let (_sandbox, _clock, mut client) = simple();
    let first = client.init(ID).await.unwrap();
    let mut last = first;
    for _ in 1..32_767 {
        last = client.init(ID).await.unwrap();
    }
    assert_eq!(last, (first.0, 32_766));
    client.append(batch(stamp(last, 0), 1)).await.unwrap();
    let next = client.init(ID).await.unwrap();
    assert!(next.0 != first.0 && next.1 == 0);
    fence(&mut client, next).await;
    assert_eq!(client.append(batch(stamp(last, 1), 1)).await, Ok(2), "the former id is not fenced");
}

#[tokio::test(start_paused = true)]
async fn time_outs_have_a_limit_and_requests_their_coordinator() {
    let spec = SandboxSpec::new().nodes(3).setting("transaction.max.timeout.ms", "5000");
    let (sandbox, _clock) = sandbox_of(spec);
    let coordinator = sandbox.coordinator(ID);
    let init = |ms| {
        InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(ID))))
            .with_transaction_timeout_ms(ms)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
    };
    let mut client = Client::new(&sandbox, coordinator);
    let code = ErrorCode(client.call(&init(5001), 4).await.error_code);
    assert_eq!(code, ErrorCode::INVALID_TRANSACTION_TIMEOUT);
    assert_eq!(client.call(&init(5000), 4).await.error_code, 0);
    let mut elsewhere = Client::new(&sandbox, coordinator % 3 + 1);
    let code = ErrorCode(elsewhere.call(&init(5000), 4).await.error_code);
    assert_eq!(code, ErrorCode::NOT_COORDINATOR);
}

#[tokio::test(start_paused = true)]
async fn offsets_of_a_transaction_count_when_it_is_committed() {
    let (_sandbox, _clock, mut client) = simple();
    let owner = client.init(ID).await.unwrap();
    for commit in [false, true] {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(TransactionalId(text(ID)))
            .with_producer_id(owner.0.into())
            .with_producer_epoch(owner.1)
            .with_group_id(GroupId(text("group")));
        assert_eq!(client.call(&request, 3).await.error_code, 0);
        let request = crate::groups::txn_offset_commit(ID, owner, 42);
        let answer: <TxnOffsetCommitRequest as kafka_protocol::protocol::Request>::Response =
            client.call(&request, 3).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        let fetch = crate::groups::offset_fetch(true);
        let unstable = client.call::<OffsetFetchRequest>(&fetch, 7).await.topics[0].partitions[0].error_code;
        assert_eq!(ErrorCode(unstable), ErrorCode::UNSTABLE_OFFSET_COMMIT);
        end(&mut client, owner, commit).await;
        sleep(Duration::from_millis(10)).await;
        let answer = client.call(&fetch, 7).await;
        assert_eq!(answer.topics[0].partitions[0].committed_offset, if commit { 42 } else { -1 });
    }
}
