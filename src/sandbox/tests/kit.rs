//! A client with one connection, and batches to send.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    BrokerId, FetchRequest, InitProducerIdRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
    TransactionalId,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use twinlog_sandbox::{Clock, ErrorCode, Sandbox, SandboxSpec, TopicSpec};
use twinlog_wire::batch::{BatchMeta, Batches, Codec, Entry};
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};
use twinlog_wire::patch::Stamp;

pub(crate) const TOPIC: &str = "orders";

/// Ms since 1970 at which each test begins.
pub(crate) const START_MS: i64 = 1_700_000_000_000;

/// A wall clock that a test sets.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START_MS)))
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Clock::new(move || time.load(Ordering::Relaxed))
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

pub(crate) fn sandbox(topic: TopicSpec) -> (Sandbox, TestClock) {
    sandbox_of(SandboxSpec::new().topic(topic))
}

pub(crate) fn sandbox_of(spec: SandboxSpec) -> (Sandbox, TestClock) {
    let clock = TestClock::new();
    (Sandbox::new(spec.clock(clock.clock())).unwrap(), clock)
}

/// A sandbox with one topic of one partition, and a client of it.
pub(crate) fn simple() -> (Sandbox, TestClock, Client) {
    let (sandbox, clock) = sandbox(TopicSpec::new(TOPIC, 1));
    let client = Client::new(&sandbox, 1);
    (sandbox, clock, client)
}

pub(crate) struct Client {
    pub(crate) stream: DuplexStream,
    correlation_id: i32,
}

impl Client {
    pub(crate) fn new(sandbox: &Sandbox, node: i32) -> Self {
        Self { stream: sandbox.connect(node).unwrap().stream, correlation_id: 0 }
    }

    pub(crate) async fn send<R: Request + Sync>(&mut self, request: &R, version: i16) {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(text("test")));
        let mut frame = BytesMut::new();
        header.encode(&mut frame, R::header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        self.stream.write_u32(u32::try_from(frame.len()).unwrap()).await.unwrap();
        self.stream.write_all(&frame).await.unwrap();
    }

    /// None when the connection is closed.
    pub(crate) async fn receive<R: Request>(&mut self, version: i16) -> Option<R::Response> {
        let length = self.stream.read_u32().await.ok()?;
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut frame).await.ok()?;
        let mut frame = Bytes::from(frame);
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.correlation_id);
        let answer = R::Response::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty(), "{} bytes are left", frame.len());
        Some(answer)
    }

    pub(crate) async fn try_call<R: Request + Sync>(&mut self, request: &R, version: i16) -> Option<R::Response> {
        self.send(request, version).await;
        self.receive::<R>(version).await
    }

    pub(crate) async fn call<R: Request + Sync>(&mut self, request: &R, version: i16) -> R::Response {
        self.try_call(request, version).await.expect("an answer")
    }

    /// Sends records to the topic's first partition.
    pub(crate) async fn produce(&mut self, records: Bytes) -> PartitionProduceResponse {
        self.produce_as(None, records, 9).await
    }

    pub(crate) async fn produce_as(
        &mut self,
        transactional_id: Option<&str>,
        records: Bytes,
        version: i16,
    ) -> PartitionProduceResponse {
        let answer = self.call(&produce_request(transactional_id, records), version).await;
        answer.responses[0].partition_responses[0].clone()
    }

    /// The code and, if there is none, the offset.
    pub(crate) async fn append(&mut self, records: Bytes) -> Result<i64, ErrorCode> {
        let answer = self.produce(records).await;
        if answer.error_code == 0 { Ok(answer.base_offset) } else { Err(ErrorCode(answer.error_code)) }
    }

    pub(crate) async fn fetch(&mut self, from: i64) -> PartitionData {
        self.fetch_with(&fetch_request(from)).await
    }

    pub(crate) async fn fetch_with(&mut self, request: &FetchRequest) -> PartitionData {
        self.call(request, 12).await.responses[0].partitions[0].clone()
    }

    pub(crate) async fn init(&mut self, transactional_id: &str) -> Result<(i64, i16), ErrorCode> {
        self.init_as(transactional_id, None).await
    }

    /// InitProducerId by who has, or had, this id and epoch.
    pub(crate) async fn init_as(
        &mut self,
        transactional_id: &str,
        current: Option<(i64, i16)>,
    ) -> Result<(i64, i16), ErrorCode> {
        let (id, epoch) = current.unwrap_or((-1, -1));
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(transactional_id))))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(id.into())
            .with_producer_epoch(epoch);
        let answer = self.call(&request, 4).await;
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => Ok((answer.producer_id.0, answer.producer_epoch)),
            code => Err(code),
        }
    }
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(crate) fn produce_request(transactional_id: Option<&str>, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(topic_name(TOPIC)).with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_transactional_id(transactional_id.map(|id| TransactionalId(text(id))))
        .with_acks(-1)
        .with_timeout_ms(1000)
        .with_topic_data(vec![topic])
}

/// A Fetch of the topic's first partition that does not wait.
pub(crate) fn fetch_request(from: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_fetch_offset(from)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name(TOPIC)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_topics(vec![topic])
}

/// Producer id, epoch, sequence.
pub(crate) fn stamp((producer_id, producer_epoch): (i64, i16), base_sequence: i32) -> BatchOptions {
    BatchOptions { stamp: Stamp { producer_id, producer_epoch, base_sequence }, ..BatchOptions::default() }
}

/// A batch of so many records with keys and the present time.
pub(crate) fn batch(options: BatchOptions, count: usize) -> Bytes {
    batch_at(options, count, START_MS)
}

pub(crate) fn batch_at(options: BatchOptions, count: usize, timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for number in 0..count {
        let value = format!("value {number}");
        let record = NewRecord { timestamp, key: Some(b"k"), value: Some(value.as_bytes()), headers: &[] };
        builder.push(&record);
    }
    builder.finish().unwrap()
}

/// A batch without a producer.
pub(crate) fn plain(count: usize) -> Bytes {
    batch(BatchOptions::default(), count)
}

pub(crate) fn zstd(count: usize) -> Bytes {
    batch(BatchOptions { codec: Codec::Zstd, ..BatchOptions::default() }, count)
}

/// The batches of a records section, which must be whole.
pub(crate) fn batches(records: Option<Bytes>) -> Vec<(BatchMeta, Bytes)> {
    let entries = Batches::new(records.unwrap()).map(|entry| match entry.unwrap() {
        Entry::V2(meta, bytes) => (meta, bytes),
        Entry::Legacy { .. } => panic!("a message of an old format"),
    });
    entries.collect()
}
