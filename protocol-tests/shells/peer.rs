//! A client of a sandbox that has nothing in common with the one that is tested.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, RequestHeader, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{sleep, timeout};
use twinlog_sandbox::Sandbox;
use twinlog_wire::batch::{BatchMeta, Batches, Entry};

/// Longer than any fault lasts.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to one node; every call may end without an answer, after which it is of no use.
pub(crate) struct Peer {
    stream: DuplexStream,
    correlation_id: i32,
}

impl Peer {
    pub(crate) fn new(sandbox: &Sandbox, node: i32) -> Self {
        Self { stream: sandbox.connect(node).unwrap().stream, correlation_id: 0 }
    }

    pub(crate) async fn call<R: Request>(&mut self, request: &R, version: i16) -> Option<R::Response> {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(text("peer")));
        let mut frame = BytesMut::zeroed(4);
        header.encode(&mut frame, R::header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        let length = u32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        let answer = async {
            self.stream.write_all(&frame).await.ok()?;
            let length = self.stream.read_u32().await.ok()?;
            let mut answer = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut answer).await.ok()?;
            Some(Bytes::from(answer))
        };
        let mut answer = timeout(PATIENCE, answer).await.ok()??;
        ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
        Some(R::Response::decode(&mut answer, version).unwrap())
    }
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Who reads: 0 sees everything, 1 what is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Uncommitted = 0,
    Committed = 1,
}

/// Reads a partition's batches from an offset to its end, whatever happens to its leader.
pub(crate) async fn read(
    sandbox: &Sandbox,
    (topic, partition): (&str, i32),
    mut from: i64,
    reader: Reader,
) -> Vec<(BatchMeta, Bytes)> {
    let mut batches = Vec::new();
    loop {
        let (start, end) = sandbox.offsets(topic, partition).unwrap();
        from = from.max(start);
        if from >= end {
            return batches;
        }
        let fetched = match sandbox.leader(topic, partition).unwrap().0 {
            Some(leader) => fetch(&mut Peer::new(sandbox, leader), (topic, partition), from, reader).await,
            None => None,
        };
        match fetched {
            Some(section) if section.is_empty() => return batches,
            Some(section) => {
                for entry in Batches::new(section) {
                    let Entry::V2(meta, bytes) = entry.unwrap() else { panic!("a message of an old format") };
                    if meta.next_offset() > from {
                        from = meta.next_offset();
                        batches.push((meta, bytes));
                    }
                }
            }
            None => sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn fetch(peer: &mut Peer, (topic, partition): (&str, i32), from: i64, reader: Reader) -> Option<Bytes> {
    let asked = FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_fetch_offset(from)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![asked]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(50 << 20)
        .with_isolation_level(reader as i8)
        .with_topics(vec![topic]);
    let answer = peer.call(&request, 12).await?;
    let found = answer.responses.into_iter().next()?.partitions.into_iter().next()?;
    (found.error_code == 0).then(|| found.records.unwrap_or_default())
}
