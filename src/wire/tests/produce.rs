//! The Produce encoder and the view of its answers against kafka-protocol, every version.

use bytes::{Buf as _, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, BrokerId, ProduceRequest, ProduceResponse as KafkaResponse, RequestHeader, TopicName, produce_request,
    produce_response,
};
use kafka_protocol::protocol::{Encodable as _, StrBytes};
use proptest::prelude::*;
use std::io::IoSlice;
use twinlog_wire::batch::split_head;
use twinlog_wire::builder::BatchOptions;
use twinlog_wire::error::DecodeError;
use twinlog_wire::error_code::ErrorCode;
use twinlog_wire::produce_request::{EncodeError, ProduceHead, ProducePartition, ProduceTopic, Slices, encode};
use twinlog_wire::produce_response::{PartitionResponse, ProduceResponse, RecordError, TopicResponse};
use twinlog_wire::topic::Topic;

use crate::messages::{encoded, endpoints, leader, maybe_text, topic, torment};
use crate::samples::{build, golden, options, samples};

fn partition() -> impl Strategy<Value = ProducePartition> {
    (any::<i32>(), options(), samples(1)).prop_map(|(index, options, samples)| {
        let (head, body) = split_head(&build(options, &samples, 0)).unwrap();
        ProducePartition { index, head, body }
    })
}

fn topics(version: i16) -> impl Strategy<Value = Vec<ProduceTopic>> {
    let topic = (topic(version >= 13), proptest::collection::vec(partition(), 0..4))
        .prop_map(|(topic, partitions)| ProduceTopic { topic, partitions });
    proptest::collection::vec(topic, 0..4)
}

fn kafka_frame(head: &ProduceHead<'_>, topics: &[ProduceTopic]) -> Bytes {
    let topics = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let records = Bytes::from([&partition.head[..], &partition.body].concat());
            produce_request::PartitionProduceData::default().with_index(partition.index).with_records(Some(records))
        });
        let message = produce_request::TopicProduceData::default().with_partition_data(partitions.collect());
        match &topic.topic {
            Topic::Name(name) => message.with_name(TopicName(name.clone())),
            Topic::Id(id) => message.with_topic_id(*id),
        }
    });
    let request = ProduceRequest::default()
        .with_acks(head.acks)
        .with_timeout_ms(head.timeout_ms)
        .with_topic_data(topics.collect());
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::Produce as i16)
        .with_request_api_version(head.version)
        .with_correlation_id(head.correlation_id)
        .with_client_id(Some(StrBytes::from_string(head.client_id.into())));
    let mut out = BytesMut::from(&[0; 4][..]);
    header.encode(&mut out, ApiKey::Produce.request_header_version(head.version)).unwrap();
    request.encode(&mut out, head.version).unwrap();
    let len = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&len.to_be_bytes());
    out.freeze()
}

/// Writes in steps of `step` bytes over at most three slices, as a slow socket would.
fn drain(mut slices: Slices, step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while slices.has_remaining() {
        let mut view = [IoSlice::new(&[]); 3];
        let filled = slices.chunks_vectored(&mut view);
        assert!(filled > 0 && view[..filled].iter().all(|slice| !slice.is_empty()));
        let offered: Vec<u8> = view[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
        let written = step.min(offered.len());
        out.extend_from_slice(&offered[..written]);
        slices.advance(written);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_slices_joined_are_what_kafka_protocol_writes(
        (version, topics) in (3i16..=13).prop_flat_map(|version| (Just(version), topics(version))),
        correlation_id in any::<i32>(), client_id in "[a-zü]{0,9}", acks in -1i16..2, timeout_ms in any::<i32>(),
        step in 1..3000usize,
    ) {
        let head = ProduceHead { version, correlation_id, client_id: &client_id, acks, timeout_ms };

        let slices = encode(&head, &topics).unwrap();

        let expected = kafka_frame(&head, &topics);
        prop_assert_eq!(slices.remaining(), expected.len());
        let bodies: Vec<_> = topics.iter().flat_map(|topic| &topic.partitions).map(|part| &part.body).collect();
        for body in bodies {
            prop_assert!(slices.parts().any(|part| part.as_ptr() == body.as_ptr() && part.len() == body.len()));
        }
        prop_assert_eq!(drain(slices, step), expected);
    }

    #[test]
    fn what_kafka_protocol_answers_is_read((version, response) in any_response()) {
        let body = encoded(&as_kafka(&response), version);
        prop_assert_eq!(ProduceResponse::decode(body, version).unwrap(), response);
    }

    #[test]
    fn cut_and_garbled_answers_are_errors_or_answers(
        (version, response) in any_response(), at in any::<usize>(), bits in any::<u8>(),
    ) {
        let body = encoded(&as_kafka(&response), version);
        torment(&body, at, bits, |body| ProduceResponse::decode(body, version));
    }
}

fn any_response() -> impl Strategy<Value = (i16, ProduceResponse)> {
    (3i16..=13).prop_flat_map(|version| (Just(version), response(version)))
}

fn response(version: i16) -> impl Strategy<Value = ProduceResponse> {
    let record = (any::<i32>(), maybe_text()).prop_map(|(index, message)| RecordError { index, message });
    let numbers = (any::<i32>(), any::<i16>(), any::<i64>(), any::<i64>(), any::<i64>());
    let partition = (numbers, proptest::collection::vec(record, 0..3), maybe_text(), proptest::option::of(leader()))
        .prop_map(move |(numbers, record_errors, message, leader)| PartitionResponse {
            index: numbers.0,
            error: ErrorCode(numbers.1),
            base_offset: numbers.2,
            log_append_time: numbers.3,
            log_start_offset: if version >= 5 { numbers.4 } else { -1 },
            record_errors: if version >= 8 { record_errors } else { vec![] },
            error_message: message.filter(|_| version >= 8),
            current_leader: leader.filter(|_| version >= 10),
        });
    let topic = (topic(version >= 13), proptest::collection::vec(partition, 0..4))
        .prop_map(|(topic, partitions)| TopicResponse { topic, partitions });
    (proptest::collection::vec(topic, 0..4), any::<i32>(), endpoints()).prop_map(
        move |(topics, throttle_ms, endpoints)| ProduceResponse {
            topics,
            throttle_ms,
            node_endpoints: if version >= 10 { endpoints } else { vec![] },
        },
    )
}

fn as_kafka(response: &ProduceResponse) -> KafkaResponse {
    let topics = response.topics.iter().map(|topic| {
        let message = produce_response::TopicProduceResponse::default()
            .with_partition_responses(topic.partitions.iter().map(partition_as_kafka).collect());
        match &topic.topic {
            Topic::Name(name) => message.with_name(TopicName(name.clone())),
            Topic::Id(id) => message.with_topic_id(*id),
        }
    });
    let endpoints = response.node_endpoints.iter().map(|endpoint| {
        produce_response::NodeEndpoint::default()
            .with_node_id(BrokerId(endpoint.id))
            .with_host(endpoint.host.clone())
            .with_port(endpoint.port)
            .with_rack(endpoint.rack.clone())
    });
    KafkaResponse::default()
        .with_throttle_time_ms(response.throttle_ms)
        .with_responses(topics.collect())
        .with_node_endpoints(endpoints.collect())
}

fn partition_as_kafka(partition: &PartitionResponse) -> produce_response::PartitionProduceResponse {
    let errors = partition.record_errors.iter().map(|error| {
        produce_response::BatchIndexAndErrorMessage::default()
            .with_batch_index(error.index)
            .with_batch_index_error_message(error.message.clone())
    });
    let message = produce_response::PartitionProduceResponse::default()
        .with_index(partition.index)
        .with_error_code(partition.error.0)
        .with_base_offset(partition.base_offset)
        .with_log_append_time_ms(partition.log_append_time)
        .with_log_start_offset(partition.log_start_offset)
        .with_record_errors(errors.collect())
        .with_error_message(partition.error_message.clone());
    match partition.current_leader {
        Some(leader) => message.with_current_leader(
            produce_response::LeaderIdAndEpoch::default()
                .with_leader_id(BrokerId(leader.id))
                .with_leader_epoch(leader.epoch),
        ),
        None => message,
    }
}

#[test]
fn what_cannot_be_encoded_is_named() {
    let head = ProduceHead { version: 9, correlation_id: 1, client_id: "twinlog", acks: -1, timeout_ms: 1000 };
    let (batch_head, body) = split_head(&build(BatchOptions::default(), &golden(), 0)).unwrap();
    let topics = |topic: Topic, body: Bytes| {
        vec![ProduceTopic { topic, partitions: vec![ProducePartition { index: 5, head: batch_head, body }] }]
    };
    let by_name = topics(Topic::Name(StrBytes::from_static_str("orders")), body.clone());
    let encoded = |version, topics: &[ProduceTopic]| encode(&ProduceHead { version, ..head }, topics).map(|_| ());

    assert_eq!(encoded(9, &by_name), Ok(()));
    assert_eq!(encoded(2, &by_name), Err(EncodeError::UnsupportedVersion(2)));
    assert_eq!(encoded(14, &by_name), Err(EncodeError::UnsupportedVersion(14)));
    assert_eq!(encoded(13, &by_name), Err(EncodeError::WrongTopicKind(13)));
    assert_eq!(encoded(12, &topics(Topic::Id(uuid::Uuid::nil()), body.clone())), Err(EncodeError::WrongTopicKind(12)));
    let long = Topic::Name(StrBytes::from_string("x".repeat(40_000)));
    assert_eq!(encoded(9, &topics(long, body.clone())), Err(EncodeError::TextTooLong(40_000)));
    let cut = topics(Topic::Name(StrBytes::from_static_str("orders")), body.slice(1..));
    assert_eq!(encoded(9, &cut), Err(EncodeError::HeadMismatch(5)));
}

#[test]
fn more_written_than_there_is_ends_the_request() {
    let head = ProduceHead { version: 3, correlation_id: 1, client_id: "", acks: -1, timeout_ms: 1000 };
    let mut slices = encode(&head, &[]).unwrap();
    slices.advance(usize::MAX);
    assert_eq!((slices.remaining(), slices.chunk().len()), (0, 0));
}

proptest! {
    #[test]
    fn noise_never_panics(
        version in 3i16..=13, noise in proptest::collection::vec(any::<u8>(), 0..200)
    ) {
        drop(ProduceResponse::decode(noise.into(), version));
    }
}

#[test]
fn bytes_behind_the_answer_are_an_error() {
    let longer = [&encoded(&KafkaResponse::default(), 9)[..], &[0, 0]].concat();
    assert_eq!(ProduceResponse::decode(longer.into(), 9), Err(DecodeError::Trailing(2)));
}
