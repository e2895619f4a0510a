//! What a broker takes, refuses and changes of a single batch.

use bytes::{Bytes, BytesMut};
use twinlog_wire::batch::{Codec, verify_crc};
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

use crate::ask::{accepted, produce_request, refused};
use crate::batch::{DAY_MS, Draft, HOUR_MS, field, meta, now, with, with_bits};
use crate::peer::{Peer, Verdict};

pub(super) async fn base_offset(peer: Peer) -> Verdict {
    peer.topic("base-offset", 1, &[]).await?;
    let draft = Draft::new(3).codec(Codec::Lz4);
    let fetched = draft.clone().fetched_at(42).build();
    peer.same("a compressed batch at 42", refused(87), peer.produce("base-offset", &fetched).await?)?;
    let set = with(&fetched, 0, &0i64.to_be_bytes());
    peer.same("the same at 0", accepted(0), peer.produce("base-offset", &set).await?)?;
    let plain = Draft::new(3).fetched_at(42).build();
    peer.same("an uncompressed batch at 42", refused(87), peer.produce("base-offset", &plain).await?)
}

pub(super) async fn stored_bytes(peer: Peer) -> Verdict {
    peer.topic("stored-bytes", 1, &[]).await?;
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for (codec, base_offset) in codecs.into_iter().zip((0..).step_by(3)) {
        let batch = Draft::new(3).codec(codec).build();
        peer.same("the answer", accepted(base_offset), peer.produce("stored-bytes", &batch).await?)?;
        let log = peer.log("stored-bytes", 0).await?;
        let (stored, bytes) = log.last().ok_or_else(|| crate::peer::Failed("an empty log".to_owned()))?;
        peer.same("the bytes from the checksum on", &batch[field::CRC..], &bytes[field::CRC..])?;
        let epoch = peer.partitions("stored-bytes").await?[&0].leader_epoch;
        peer.same("offset and epoch", (base_offset, epoch), (stored.base_offset, stored.leader_epoch))?;
    }
    Ok(())
}

pub(super) async fn two_batches(peer: Peer) -> Verdict {
    peer.topic("two-batches", 1, &[]).await?;
    let one = Draft::new(1).build();
    let both = Bytes::from([&one[..], &one[..]].concat());
    peer.same("two batches in one records section", refused(87), peer.produce("two-batches", &both).await?)?;
    peer.same("the end", 0, peer.end("two-batches", 0).await?)
}

pub(super) async fn partition_twice(peer: Peer) -> Verdict {
    peer.topic("partition-twice", 1, &[]).await?;
    let (one, two) = (Draft::new(1).build(), Draft::new(2).build());
    let request = produce_request(&[("partition-twice", 0, &one), ("partition-twice", 0, &two)]);
    let answer = peer.call(crate::ask::PRODUCE_VERSION, request).await?;
    let answers = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
    let codes: Vec<i16> = answers.map(|answer| answer.error_code).collect();
    peer.same("one answer for both entries", vec![0], codes)?;
    peer.same("only the last entry is stored: the end", 2, peer.end("partition-twice", 0).await?)
}

pub(super) async fn count(peer: Peer) -> Verdict {
    peer.topic("count", 1, &[]).await?;
    for codec in [Codec::None, Codec::Zstd] {
        let holes = Draft::new(2).holes(1).codec(codec).build();
        peer.same("two records over three offsets", refused(87), peer.produce("count", &holes).await?)?;
        let empty = Draft::new(0).holes(3).codec(codec).build();
        peer.same("no record over three offsets", refused(87), peer.produce("count", &empty).await?)?;
    }
    peer.same("the end", 0, peer.end("count", 0).await?)
}

pub(super) async fn control_bit(peer: Peer) -> Verdict {
    peer.topic("control-bit", 1, &[]).await?;
    let batch = with_bits(&Draft::new(1).build(), 0x20);
    peer.same("a control batch", refused(87), peer.produce("control-bit", &batch).await?)?;
    peer.same("the end", 0, peer.end("control-bit", 0).await?)
}

pub(super) async fn transactional_bit(peer: Peer) -> Verdict {
    peer.topic("transactional-bit", 1, &[]).await?;
    let producer = peer.producer().await?;
    let batch = with_bits(&producer.batch(0, 1), 0x10);
    peer.same("no transactional id in the request", refused(53), peer.produce("transactional-bit", &batch).await?)?;
    let cleared = producer.batch(0, 1);
    peer.same("with the bit cleared", accepted(0), peer.produce("transactional-bit", &cleared).await?)
}

pub(super) async fn damaged_body(peer: Peer) -> Verdict {
    peer.topic("damaged-body", 1, &[]).await?;
    for codec in [Codec::None, Codec::Zstd] {
        let mut batch = BytesMut::from(&Draft::new(3).codec(codec).build()[..]);
        let last = batch.len() - 1;
        batch[last] ^= 1;
        peer.same("one bit flipped", refused(2), peer.produce("damaged-body", &batch.freeze()).await?)?;
    }
    peer.same("the end", 0, peer.end("damaged-body", 0).await?)
}

pub(super) async fn wrong_max_timestamp(peer: Peer) -> Verdict {
    peer.topic("wrong-max", 1, &[]).await?;
    let at = now() - HOUR_MS;
    for (codec, offset) in [(Codec::None, 0), (Codec::Lz4, 3)] {
        let right = Draft::new(3).codec(codec).at(at).build();
        let wrong = with(&right, field::MAX_TIMESTAMP, &(at + 60_000).to_be_bytes());
        peer.same("the answer", accepted(offset), peer.produce("wrong-max", &wrong).await?)?;
        let log = peer.log("wrong-max", 0).await?;
        let (stored, bytes) = &log[log.len() - 1];
        peer.same("the stored maximum", at + 2, stored.max_timestamp)?;
        peer.same("the checksum is the right batch's", meta(&right)?.crc, stored.crc)?;
        peer.same("and fits", true, verify_crc(bytes))?;
    }
    Ok(())
}

pub(super) async fn append_time_bit(peer: Peer) -> Verdict {
    peer.topic("append-time-bit", 1, &[]).await?;
    let at = now() - DAY_MS;
    for (codec, offset) in [(Codec::None, 0), (Codec::Lz4, 3)] {
        let mut draft = Draft::new(3).codec(codec).at(at);
        draft.options.append_time = Some(at + HOUR_MS);
        let batch = draft.build();
        peer.same("the answer", accepted(offset), peer.produce("append-time-bit", &batch).await?)?;
        let log = peer.log("append-time-bit", 0).await?;
        let (stored, bytes) = &log[log.len() - 1];
        peer.same("the stored bit", false, stored.is_append_time())?;
        peer.same("the stored maximum", at + HOUR_MS, stored.max_timestamp)?;
        peer.same("the base timestamp", at, stored.base_timestamp)?;
        peer.same("a new checksum that fits", true, verify_crc(bytes))?;
    }
    Ok(())
}

pub(super) async fn append_time_topic(peer: Peer) -> Verdict {
    peer.topic("append-time-topic", 1, &[("message.timestamp.type", "LogAppendTime")]).await?;
    let before = now();
    let batch = Draft::new(3).at(before - DAY_MS).build();
    let answer = peer.produce_at(crate::ask::PRODUCE_VERSION, "append-time-topic", 0, &batch).await?;
    peer.same("the answer", (0, 0), (answer.error_code, answer.base_offset))?;
    peer.same("the answer tells the append time", true, answer.log_append_time_ms >= before)?;
    let log = peer.log("append-time-topic", 0).await?;
    let stored = log[0].0;
    peer.same("the stored bit", true, stored.is_append_time())?;
    peer.same("the stored maximum", answer.log_append_time_ms, stored.max_timestamp)
}

pub(super) async fn future(peer: Peer) -> Verdict {
    peer.topic("future", 1, &[]).await?;
    let batch = Draft::new(1).at(now() + 2 * HOUR_MS).build();
    let expected = peer.by_version(refused(32), accepted(0));
    peer.same("two hours ahead", expected, peer.produce("future", &batch).await?)?;
    peer.topic("future-open", 1, &[("message.timestamp.after.max.ms", "9223372036854775807")]).await?;
    peer.same("with the limit set away", accepted(0), peer.produce("future-open", &batch).await?)
}

pub(super) async fn no_keys(peer: Peer) -> Verdict {
    peer.topic("no-keys", 1, &[("cleanup.policy", "compact")]).await?;
    let batch = Draft::new(3).without_keys().build();
    peer.same("no keys", refused(87), peer.produce("no-keys", &batch).await?)?;
    // One record without a key among others.
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for key in [Some(&b"a"[..]), None, Some(&b"b"[..])] {
        builder.push(&NewRecord { timestamp: now(), key, value: Some(b"value"), headers: &[] });
    }
    let mixed = builder.finish()?;
    peer.same("one of three without a key", refused(87), peer.produce("no-keys", &mixed).await?)?;
    peer.same("the end", 0, peer.end("no-keys", 0).await?)
}

pub(super) async fn recompression(peer: Peer) -> Verdict {
    peer.topic("to-lz4", 1, &[("compression.type", "lz4")]).await?;
    peer.topic("to-producer", 1, &[("compression.type", "producer")]).await?;
    let batch = Draft::new(100).codec(Codec::Zstd).value_bytes(200).build();
    for (topic, codec) in [("to-lz4", Codec::Lz4), ("to-producer", Codec::Zstd)] {
        peer.same("the answer", accepted(0), peer.produce(topic, &batch).await?)?;
        let log = peer.log(topic, 0).await?;
        let (stored, bytes) = &log[0];
        peer.same(&format!("the codec in {topic}"), Some(codec), stored.codec())?;
        let same_body = batch[field::CRC..] == bytes[field::CRC..];
        peer.same(&format!("the body in {topic} is the one sent"), codec == Codec::Zstd, same_body)?;
    }
    Ok(())
}

pub(super) async fn million_records(peer: Peer) -> Verdict {
    peer.topic("million", 1, &[]).await?;
    let mut builder = BatchBuilder::new(BatchOptions { codec: Codec::Zstd, ..Default::default() });
    let record = NewRecord { timestamp: now(), ..Default::default() };
    for _ in 0..1_000_000 {
        builder.push(&record);
    }
    let batch = builder.finish()?;
    peer.same("the answer", accepted(0), peer.produce("million", &batch).await?)?;
    peer.same("the end", 1_000_000, peer.end("million", 0).await?)?;
    let moved = peer.delete_records("million", 0, 1_000_000).await?;
    peer.same("DeleteRecords to the end", (0, 1_000_000), moved)?;
    peer.same("the start", 1_000_000, peer.start("million", 0).await?)
}
