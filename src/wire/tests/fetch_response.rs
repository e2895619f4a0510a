//! The Fetch view against kafka-protocol's encoder, every version.

use bytes::Bytes;
use kafka_protocol::messages::fetch_response as kafka;
use kafka_protocol::messages::{BrokerId, FetchResponse as KafkaResponse, ProducerId, TopicName};
use proptest::prelude::*;
use twinlog_wire::error::DecodeError;
use twinlog_wire::error_code::ErrorCode;
use twinlog_wire::fetch_response::{AbortedTransaction, EpochEnd, FetchPartition, FetchResponse, FetchTopic};
use twinlog_wire::topic::Topic;

use crate::messages::{encoded, endpoints, leader, topic, torment};

fn since<T: std::fmt::Debug + Clone + 'static>(
    here: bool,
    default: T,
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    if here { strategy.boxed() } else { Just(default).boxed() }
}

fn partition(version: i16) -> impl Strategy<Value = FetchPartition> {
    let aborted = (any::<i64>(), any::<i64>())
        .prop_map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset });
    let epoch_end = (0..i32::MAX, any::<i64>()).prop_map(|(epoch, end_offset)| EpochEnd { epoch, end_offset });
    let tail = (
        since(version >= 5, -1, any::<i64>()),
        since(version >= 12, None, proptest::option::of(epoch_end)),
        since(version >= 12, None, proptest::option::of(leader())),
        since(version >= 11, -1, any::<i32>()),
    );
    let records = proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    let front = (any::<i32>(), any::<i16>(), any::<i64>(), any::<i64>());
    (front, tail, proptest::collection::vec(aborted, 0..3), records).prop_map(|(front, tail, aborted, records)| {
        FetchPartition {
            index: front.0,
            error: ErrorCode(front.1),
            high_watermark: front.2,
            last_stable_offset: front.3,
            log_start_offset: tail.0,
            diverging_epoch: tail.1,
            current_leader: tail.2,
            aborted,
            preferred_read_replica: tail.3,
            records,
        }
    })
}

fn response(version: i16) -> impl Strategy<Value = FetchResponse> {
    let partitions = proptest::collection::vec(partition(version), 0..4);
    let topics = (topic(version >= 13), partitions).prop_map(|(topic, partitions)| FetchTopic { topic, partitions });
    (
        any::<i32>(),
        since(version >= 7, 0, any::<i16>()),
        since(version >= 7, 0, any::<i32>()),
        proptest::collection::vec(topics, 0..4),
        since(version >= 16, vec![], endpoints()),
    )
        .prop_map(|(throttle_ms, error, session_id, topics, node_endpoints)| FetchResponse {
            throttle_ms,
            error: ErrorCode(error),
            session_id,
            topics,
            node_endpoints,
        })
}

fn any_version() -> impl Strategy<Value = (i16, FetchResponse)> {
    (4i16..=18).prop_flat_map(|version| (Just(version), response(version)))
}

fn as_kafka(response: &FetchResponse) -> KafkaResponse {
    let topics = response.topics.iter().map(|topic| {
        let message = kafka::FetchableTopicResponse::default()
            .with_partitions(topic.partitions.iter().map(partition_as_kafka).collect());
        match &topic.topic {
            Topic::Name(name) => message.with_topic(TopicName(name.clone())),
            Topic::Id(id) => message.with_topic_id(*id),
        }
    });
    let endpoints = response.node_endpoints.iter().map(|endpoint| {
        kafka::NodeEndpoint::default()
            .with_node_id(BrokerId(endpoint.id))
            .with_host(endpoint.host.clone())
            .with_port(endpoint.port)
            .with_rack(endpoint.rack.clone())
    });
    KafkaResponse::default()
        .with_throttle_time_ms(response.throttle_ms)
        .with_error_code(response.error.0)
        .with_session_id(response.session_id)
        .with_responses(topics.collect())
        .with_node_endpoints(endpoints.collect())
}

fn partition_as_kafka(partition: &FetchPartition) -> kafka::PartitionData {
    let aborted = partition.aborted.iter().map(|aborted| {
        kafka::AbortedTransaction::default()
            .with_producer_id(ProducerId(aborted.producer_id))
            .with_first_offset(aborted.first_offset)
    });
    let mut message = kafka::PartitionData::default()
        .with_partition_index(partition.index)
        .with_error_code(partition.error.0)
        .with_high_watermark(partition.high_watermark)
        .with_last_stable_offset(partition.last_stable_offset)
        .with_log_start_offset(partition.log_start_offset)
        .with_aborted_transactions(Some(aborted.collect()))
        .with_preferred_read_replica(BrokerId(partition.preferred_read_replica))
        .with_records(Some(partition.records.clone()));
    if let Some(end) = partition.diverging_epoch {
        let end = kafka::EpochEndOffset::default().with_epoch(end.epoch).with_end_offset(end.end_offset);
        message = message.with_diverging_epoch(end);
    }
    if let Some(leader) = partition.current_leader {
        let leader =
            kafka::LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader.id)).with_leader_epoch(leader.epoch);
        message = message.with_current_leader(leader);
    }
    message
}

proptest! {
    #[test]
    fn what_kafka_protocol_writes_is_read_without_a_copy((version, response) in any_version()) {
        let body = encoded(&as_kafka(&response), version);
        let decoded = FetchResponse::decode(body.clone(), version).unwrap();
        prop_assert_eq!(&decoded, &response);
        let frame = body.as_ptr_range();
        for partition in decoded.topics.iter().flat_map(|topic| &topic.partitions) {
            prop_assert!(partition.records.is_empty() || frame.contains(&partition.records.as_ptr()));
        }
    }

    #[test]
    fn cut_and_garbled_answers_are_errors_or_answers(
        (version, response) in any_version(), at in any::<usize>(), bits in any::<u8>(),
    ) {
        let body = encoded(&as_kafka(&response), version);
        torment(&body, at, bits, |body| FetchResponse::decode(body, version));
    }

    #[test]
    fn noise_never_panics(version in 4i16..=18, noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(FetchResponse::decode(noise.into(), version));
    }
}

#[test]
fn counts_that_lie_are_refused_before_anything_is_allocated() {
    let two_billion_topics = [0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
    let error = FetchResponse::decode(Bytes::copy_from_slice(&two_billion_topics), 4);
    assert_eq!(error, Err(DecodeError::BadLength(i64::from(i32::MAX))));
    // A topic has more than a byte.
    let five_topics_in_eight_bytes = [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
    let error = FetchResponse::decode(Bytes::copy_from_slice(&five_topics_in_eight_bytes), 4);
    assert_eq!(error, Err(DecodeError::BadLength(5)));
}

#[test]
fn a_null_records_field_is_empty_and_unknown_versions_are_refused() {
    let partition = kafka::PartitionData::default().with_records(None).with_aborted_transactions(None);
    let topic = kafka::FetchableTopicResponse::default().with_partitions(vec![partition]);
    let body = encoded(&KafkaResponse::default().with_responses(vec![topic]), 11);
    let response = FetchResponse::decode(body, 11).unwrap();
    assert!(response.topics[0].partitions[0].records.is_empty());
    for version in [3, 19] {
        let error = FetchResponse::decode(Bytes::new(), version);
        assert_eq!(error, Err(DecodeError::UnsupportedVersion(version)));
    }
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let unknown = || Bytes::from_static(b"what later versions add");
    let partition = kafka::PartitionData::default().with_partition_index(3).with_unknown_tagged_field(9, unknown());
    let topic = kafka::FetchableTopicResponse::default()
        .with_partitions(vec![partition])
        .with_unknown_tagged_field(4, unknown());
    let message = KafkaResponse::default().with_responses(vec![topic]).with_unknown_tagged_field(5, unknown());
    let response = FetchResponse::decode(encoded(&message, 17), 17).unwrap();
    assert_eq!(response.topics[0].partitions[0].index, 3);
}

#[test]
fn bytes_behind_the_answer_are_an_error() {
    let longer = [&encoded(&KafkaResponse::default(), 12)[..], &[0, 0]].concat();
    assert_eq!(FetchResponse::decode(longer.into(), 12), Err(DecodeError::Trailing(2)));
}
