//! What the steps of the hot path cost in instructions, counted by valgrind: the figures do not depend on what else the
//! machine does. Each step is shown for small and for large batches: where its count is the same for both, no body is
//! read or copied.
//!
//! ```sh
//! cargo install gungraun-runner --version 0.20.0 --locked
//! cargo bench -p twinlog-benches --bench micro
//! ```
#![allow(missing_docs, unused_qualifications, reason = "the harness's macros make items without docs, by whole paths")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be run stops")]

use std::hint::black_box;

use bytes::{BufMut as _, Bytes, BytesMut};
use gungraun::{library_benchmark, library_benchmark_group, main};
use kafka_protocol::messages::FetchResponse as KafkaResponse;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::protocol::Encodable as _;
use twinlog_core::ids::{SourceOffset, TargetOffset};
use twinlog_core::offset_map::{Extent, OffsetMap, Range, Translation};
use twinlog_wire::batch::{BatchMeta, Batches, HEAD_LEN, split_head};
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};
use twinlog_wire::fetch_response::FetchResponse;
use twinlog_wire::frame::FrameCutter;
use twinlog_wire::patch::{Stamp, patch_head};
use twinlog_wire::produce_request::{ProduceHead, ProducePartition, ProduceTopic, Slices, encode};
use twinlog_wire::topic::Topic;
use uuid::Uuid;

const FETCH_VERSION: i16 = 17;
const PRODUCE_VERSION: i16 = 13;
/// In one answer or request: one a partition.
const BATCHES: i32 = 64;
const SMALL: usize = 200;
const LARGE: usize = 128 << 10;
const TOPIC: Uuid = Uuid::from_u128(7);
const STAMP: Stamp = Stamp { producer_id: 4_000, producer_epoch: 3, base_sequence: 17 };
/// Ranges of a map.
const RANGES: i64 = 10_000;

/// A batch of one record, of about so many bytes.
fn batch(bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value = vec![b'v'; bytes - HEAD_LEN];
    builder.push(&NewRecord { timestamp: 1_760_000_000_000, key: None, value: Some(&value), headers: &[] });
    builder.finish().unwrap()
}

/// The batches of one partition, one behind the other.
fn section(bytes: usize) -> Bytes {
    let batch = batch(bytes);
    (0..BATCHES).flat_map(|_| batch.clone()).collect()
}

/// The body of a Fetch answer with a batch of each partition.
fn answer(bytes: usize) -> Bytes {
    let batch = batch(bytes);
    let partition = |index| PartitionData::default().with_partition_index(index).with_records(Some(batch.clone()));
    let topic = FetchableTopicResponse::default().with_topic_id(TOPIC);
    let response =
        KafkaResponse::default().with_responses(vec![topic.with_partitions((0..BATCHES).map(partition).collect())]);
    let mut body = BytesMut::new();
    response.encode(&mut body, FETCH_VERSION).unwrap();
    body.freeze()
}

/// The same as it comes from a socket: with its length and correlation id.
fn stream(bytes: usize) -> BytesMut {
    let body = answer(bytes);
    let mut stream = BytesMut::new();
    stream.put_i32(i32::try_from(body.len() + 5).unwrap());
    stream.put_i32(1);
    stream.put_u8(0);
    stream.extend_from_slice(&body);
    stream
}

fn parts(bytes: usize) -> ([u8; HEAD_LEN], u32) {
    let (head, body) = split_head(&batch(bytes)).unwrap();
    (head, u32::try_from(body.len()).unwrap())
}

fn topics(bytes: usize) -> Vec<ProduceTopic> {
    let (head, body) = split_head(&batch(bytes)).unwrap();
    let partition = |index| ProducePartition { index, head, body: body.clone() };
    vec![ProduceTopic { topic: Topic::Id(TOPIC), partitions: (0..BATCHES).map(partition).collect() }]
}

/// A map of ranges with a hole behind each.
fn map(ranges: i64) -> OffsetMap {
    let mut map = OffsetMap::new();
    (0..ranges).for_each(|number| map.append(range(number)).unwrap());
    map
}

fn range(number: i64) -> Range {
    Range { source_start: SourceOffset(number * 10), target_start: TargetOffset(number * 9), len: 9 }
}

#[library_benchmark]
#[bench::small(stream(SMALL))]
#[bench::large(stream(LARGE))]
fn frame_split(mut stream: BytesMut) -> Option<Bytes> {
    black_box(FrameCutter::new(1 << 30).take(&mut stream).unwrap())
}

#[library_benchmark]
#[bench::small(answer(SMALL))]
#[bench::large(answer(LARGE))]
fn answer_decode(body: Bytes) -> FetchResponse {
    black_box(FetchResponse::decode(body, FETCH_VERSION).unwrap())
}

#[library_benchmark]
#[bench::small(section(SMALL))]
#[bench::large(section(LARGE))]
fn batch_walk(section: Bytes) -> usize {
    black_box(Batches::new(section).filter(Result::is_ok).count())
}

#[library_benchmark]
#[bench::small(batch(SMALL))]
#[bench::large(batch(LARGE))]
fn head_parse(batch: Bytes) -> BatchMeta {
    black_box(BatchMeta::parse(&batch).unwrap())
}

#[library_benchmark]
#[bench::small(parts(SMALL))]
#[bench::large(parts(LARGE))]
fn patch((head, body_len): ([u8; HEAD_LEN], u32)) -> [u8; HEAD_LEN] {
    black_box(patch_head(&head, body_len, STAMP))
}

#[library_benchmark]
#[bench::small(topics(SMALL))]
#[bench::large(topics(LARGE))]
fn request_encode(topics: Vec<ProduceTopic>) -> Slices {
    let head =
        ProduceHead { version: PRODUCE_VERSION, correlation_id: 1, client_id: "twinlog", acks: -1, timeout_ms: 1_000 };
    black_box(encode(&head, &topics).unwrap())
}

#[library_benchmark]
#[bench::ten_thousand(map(RANGES))]
fn map_append(mut map: OffsetMap) -> OffsetMap {
    map.append(range(RANGES)).unwrap();
    black_box(map)
}

#[library_benchmark]
#[bench::ten(map(10))]
#[bench::ten_thousand(map(RANGES))]
fn map_lookup(map: OffsetMap) -> Translation<TargetOffset, SourceOffset> {
    let (synced, next_target) = (SourceOffset(i64::MAX), TargetOffset(i64::MAX));
    black_box(map.translate(SourceOffset(47), Extent { synced, next_target }, TargetOffset(0)))
}

library_benchmark_group!(
    name = wire;
    benchmarks = frame_split, answer_decode, batch_walk, head_parse, patch, request_encode
);
library_benchmark_group!(name = offset_map; benchmarks = map_append, map_lookup);

main!(library_benchmark_groups = wire, offset_map);
