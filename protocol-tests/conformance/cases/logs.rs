//! What happens to a log when nobody writes: retention, the cleaner, a crash; and the protocol around it.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::FetchTopic;
use kafka_protocol::messages::{FetchRequest, ProduceRequest};
use kafka_protocol::protocol::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};
use twinlog_wire::records::Records;
use twinlog_wire::topic::Topic;

use crate::ask::{accepted, asked_partition, fetch_request, topic_name};
use crate::batch::{DAY_MS, Draft, now};
use crate::peer::{LONG, Peer, Verdict, until};

pub(super) async fn start_after_kill(peer: Peer) -> Verdict {
    peer.topic("start-after-kill", 1, &[]).await?;
    peer.same("20 records", accepted(0), peer.produce("start-after-kill", &Draft::new(20).build()).await?)?;
    peer.same("DeleteRecords", (0, 11), peer.delete_records("start-after-kill", 0, 11).await?)?;
    peer.same("the start", 11, peer.start("start-after-kill", 0).await?)?;
    peer.kill_and_start().await?;
    peer.await_leader("start-after-kill", 0).await?;
    let start = peer.start("start-after-kill", 0).await?;
    peer.same("the start after a kill", 0, start)
}

pub(super) async fn retention(peer: Peer) -> Verdict {
    peer.topic("retention", 1, &[("retention.ms", &(7 * DAY_MS).to_string())]).await?;
    peer.topic("retention-off", 1, &[("retention.ms", "-1")]).await?;
    let old = Draft::new(3).at(now() - 8 * DAY_MS).build();
    for topic in ["retention", "retention-off"] {
        peer.same("8 days old", accepted(0), peer.produce(topic, &old).await?)?;
    }
    let start = until("old records are deleted", async || {
        let start = peer.start("retention", 0).await?;
        Ok((start > 0).then_some(start))
    })
    .await?;
    peer.same("the start with a retention of 7 days", 3, start)?;
    peer.same("the start without retention", 0, peer.start("retention-off", 0).await?)
}

/// A batch of one record.
fn one(options: BatchOptions, timestamp: i64, key: &[u8], value: Option<&[u8]>) -> Verdict<Bytes> {
    let mut builder = BatchBuilder::new(options);
    builder.push(&NewRecord { timestamp, key: Some(key), value, headers: &[] });
    Ok(builder.finish()?)
}

/// Offset, key, and whether there is a value, of each record of an uncompressed log.
async fn contents(peer: &Peer, topic: &str) -> Verdict<Vec<(i64, String, bool)>> {
    let mut contents = Vec::new();
    for (meta, bytes) in peer.log(topic, 0).await? {
        for record in Records::new(&bytes[twinlog_wire::batch::HEAD_LEN..], meta.record_count) {
            let record = record?;
            let key = String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned();
            contents.push((meta.base_offset + i64::from(record.offset_delta), key, record.value.is_some()));
        }
    }
    Ok(contents)
}

pub(super) async fn delete_horizon(peer: Peer) -> Verdict {
    let topic = "delete-horizon";
    let configs = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.001"), ("segment.ms", "60000")];
    peer.topic(topic, 1, &configs).await?;
    let at = now() - DAY_MS;
    let plain = BatchOptions::default();
    // The source's cleaner would have dropped the tombstone an hour ago.
    let horizon = BatchOptions { delete_horizon: Some(now() - 3_600_000), ..plain };
    let sent = [
        one(plain, at, b"a", Some(b"1"))?,
        one(plain, at, b"b", Some(b"1"))?,
        one(horizon, at, b"a", None)?,
        one(plain, at, b"b", None)?,
    ];
    for (offset, batch) in (0..).zip(&sent) {
        peer.same("the answer", accepted(offset), peer.produce(topic, batch).await?)?;
    }
    let log = peer.log(topic, 0).await?;
    peer.same("stored as sent", &sent[2][17..], &log[2].1[17..])?;
    // Much later by the records' own time: a new segment, so that the cleaner may touch the first.
    let later = one(plain, at + 3_600_000, b"c", Some(b"1"))?;
    peer.same("the answer", accepted(4), peer.produce(topic, &later).await?)?;
    let cleaned = until("the cleaner has passed", async || {
        let contents = contents(&peer, topic).await?;
        Ok((!contents.contains(&(0, "a".to_owned(), true))).then_some(contents))
    })
    .await?;
    let left = vec![(3, "b".to_owned(), false), (4, "c".to_owned(), true)];
    peer.same("left after the first pass: only the tombstone without the bit", left, cleaned)
}

/// A frame with a request that this build cannot encode: version, and the body behind the header of version 1.
fn old_frame(api_key: i16, version: i16, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(i32::try_from(body.len() + 10).unwrap_or_default());
    frame.put_i16(api_key);
    frame.put_i16(version);
    frame.put_i32(1);
    frame.put_i16(-1);
    frame.put_slice(body);
    frame.freeze()
}

/// What comes back for a frame: an answer, or the connection's end.
async fn sent_raw(peer: &Peer, frame: &[u8]) -> Verdict<&'static str> {
    let address = peer.address()?;
    let mut stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.write_all(frame).await?;
    let mut first = [0; 4];
    match tokio::time::timeout(LONG, stream.read_exact(&mut first)).await? {
        Ok(_) => Ok("answered"),
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => Ok("closed"),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn oldest_versions(peer: Peer) -> Verdict {
    let connection = peer.connection().await?;
    let oldest = |api_key| connection.versions().range(api_key).map(|range| range.min);
    peer.same("the oldest Produce by ApiVersions", Some(0), oldest(ProduceRequest::KEY))?;
    peer.same("the oldest Fetch by ApiVersions", Some(peer.by_version(4, 0)), oldest(FetchRequest::KEY))?;
    // acks, timeout, no topics.
    let produce = old_frame(ProduceRequest::KEY, 2, &[0, 1, 0, 0, 0x10, 0, 0, 0, 0, 0]);
    let expected = peer.by_version("closed", "answered");
    peer.same("Produce v2", expected, sent_raw(&peer, &produce).await?)?;
    // replica, longest wait, least and most bytes, no topics.
    let fetch = [&[0xff; 4][..], &[0; 4], &[0; 4], &[0, 1, 0, 0], &[0; 4]].concat();
    let fetch = old_frame(FetchRequest::KEY, 3, &fetch);
    peer.same("Fetch v3", expected, sent_raw(&peer, &fetch).await?)
}

pub(super) async fn topic_ids(peer: Peer) -> Verdict {
    let topic = "topic-ids";
    peer.topic(topic, 1, &[]).await?;
    peer.same("a batch", accepted(0), peer.produce(topic, &Draft::new(2).build()).await?)?;
    let id = peer.topic_id(topic).await?;
    let asked = FetchTopic::default().with_topic_id(id).with_partitions(vec![asked_partition(0, 0)]);
    let request = fetch_request(topic, asked_partition(0, 0), 0).with_topics(vec![asked]);
    let answer = peer.fetch_whole(13, request).await?;
    let found = answer.topics.first().map(|answered| (answered.topic == Topic::Id(id), answered.partitions.len()));
    peer.same("Fetch v13 by id", Some((true, 1)), found)?;
    peer.same("and its high watermark", 2, answer.topics[0].partitions[0].high_watermark)?;
    let newest = peer.connection().await?.versions().range(ProduceRequest::KEY).map(|range| range.max);
    peer.same("the newest Produce (from v13 on by id)", Some(peer.by_version(13, 11)), newest)
}

pub(super) async fn fetch_session(peer: Peer) -> Verdict {
    let topic = "fetch-session";
    peer.topic(topic, 2, &[]).await?;
    peer.same("a batch", accepted(0), peer.produce(topic, &Draft::new(2).build()).await?)?;
    let both = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(vec![asked_partition(0, 0), asked_partition(1, 0)]);
    let full = fetch_request(topic, asked_partition(0, 0), 0).with_session_epoch(0).with_topics(vec![both]);
    let first = peer.fetch_whole(12, full.clone()).await?;
    let partitions = |answer: &twinlog_wire::fetch_response::FetchResponse| -> Vec<i32> {
        answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.index).collect()
    };
    peer.same("a session", (true, vec![0, 1]), (first.session_id > 0, partitions(&first)))?;
    let moved = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![asked_partition(0, 2)]);
    let next = full.clone().with_session_id(first.session_id).with_session_epoch(1).with_topics(vec![moved]);
    let second = peer.fetch_whole(12, next).await?;
    peer.same("nothing new", Vec::<i32>::new(), partitions(&second))?;
    peer.same("a batch", accepted(0), peer.produce_to(topic, 1, &Draft::new(1).build()).await?)?;
    let next = full.with_session_id(first.session_id).with_topics(Vec::new());
    let third = peer.fetch_whole(12, next.clone().with_session_epoch(2)).await?;
    peer.same("only what is new, and nothing was named", vec![1], partitions(&third))?;
    let wrong = peer.fetch_whole(12, next.clone().with_session_epoch(9)).await?;
    peer.same("a wrong epoch", 71, wrong.error.0)?;
    let unknown = peer.fetch_whole(12, next.with_session_id(1 << 30).with_session_epoch(1)).await?;
    peer.same("an unknown session", 70, unknown.error.0)
}

pub(super) async fn idle(peer: Peer) -> Verdict {
    let connection = peer.connection().await?;
    peer.same("open at first", false, connection.is_closed())?;
    let closed = tokio::time::timeout(Duration::from_secs(30), connection.closed()).await;
    peer.same("closed by the broker when idle", true, closed.is_ok())
}
