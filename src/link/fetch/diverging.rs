//! What brokers before Fetch v12 (Kafka before 2.7) do not look at: whether their log still has what was read before a
//! position. They are asked with OffsetForLeaderEpoch, as by consumers (KIP-320), wherever the records that came are of
//! another leader epoch than the one before them: within one epoch a log has one history.

use std::collections::HashMap;

use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::offset_for_leader_epoch_response::EpochEndOffset;
use kafka_protocol::messages::{BrokerId, OffsetForLeaderEpochRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use twinlog_client::{Connection, ErrorCode, Result};
use twinlog_wire::batch::{Batches, Entry};
use twinlog_wire::fetch_response::{EpochEnd, FetchPartition, FetchTopic};
use twinlog_wire::topic::Topic;

use super::Want;

/// Asks where it is needed, and puts into the answer what later brokers would have answered. Those name topics by id;
/// here they have their names.
pub(super) async fn look(connection: &Connection, wants: &[Want], answered: &mut [FetchTopic]) -> Result<()> {
    let wanted: HashMap<_, _> = wants.iter().map(|want| ((want.topic.as_str(), want.partition), want)).collect();
    let mut doubted: Vec<(&Want, &mut FetchPartition)> = Vec::new();
    for FetchTopic { topic, partitions } in answered {
        let Topic::Name(name) = topic else { continue };
        for partition in partitions {
            let want = wanted.get(&(name.as_str(), partition.index)).copied();
            if let Some(want) = want.filter(|want| begins_another_epoch(partition, want.last_epoch)) {
                doubted.push((want, partition));
            }
        }
    }
    if doubted.is_empty() {
        return Ok(());
    }
    let response = connection.call(request(doubted.iter().map(|(want, _)| *want))).await?;
    let ends: HashMap<_, _> = response
        .topics
        .iter()
        .flat_map(|of_topic| of_topic.partitions.iter().map(|end| ((of_topic.topic.as_str(), end.partition), end)))
        .collect();
    for (want, partition) in doubted {
        judge(partition, want, ends.get(&(want.topic.as_str(), want.partition)).copied());
    }
    Ok(())
}

/// Old messages have no epoch, nor does a log that holds them know any.
fn begins_another_epoch(partition: &FetchPartition, last_epoch: i32) -> bool {
    let first = Batches::new(partition.records.clone()).next();
    last_epoch >= 0 && matches!(first, Some(Ok(Entry::V2(meta, _))) if meta.leader_epoch != last_epoch)
}

fn request<'a>(wants: impl Iterator<Item = &'a Want>) -> OffsetForLeaderEpochRequest {
    let mut topics: Vec<OffsetForLeaderTopic> = Vec::new();
    for want in wants {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(want.partition)
            .with_current_leader_epoch(-1)
            .with_leader_epoch(want.last_epoch);
        if let Some(topic) = topics.last_mut().filter(|topic| topic.topic.as_str() == want.topic) {
            topic.partitions.push(partition);
            continue;
        }
        let name = TopicName(StrBytes::from_string(want.topic.clone()));
        topics.push(OffsetForLeaderTopic::default().with_topic(name).with_partitions(vec![partition]));
    }
    OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics)
}

/// As `Partition.readRecords` does in Kafka from 2.7 on.
fn judge(partition: &mut FetchPartition, want: &Want, end: Option<&EpochEndOffset>) {
    match end {
        None => partition.error = ErrorCode::UNKNOWN_SERVER_ERROR,
        Some(end) if end.error_code != 0 => partition.error = ErrorCode(end.error_code),
        Some(end) if end.leader_epoch < 0 || end.end_offset < 0 => partition.error = ErrorCode::OFFSET_OUT_OF_RANGE,
        Some(end) if end.leader_epoch < want.last_epoch || end.end_offset < want.from => {
            partition.diverging_epoch = Some(EpochEnd { epoch: end.leader_epoch, end_offset: end.end_offset });
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

    use super::*;

    fn answer(records: Bytes) -> FetchPartition {
        FetchPartition {
            index: 0,
            error: ErrorCode::NONE,
            high_watermark: 20,
            last_stable_offset: 20,
            log_start_offset: 0,
            diverging_epoch: None,
            current_leader: None,
            aborted: Vec::new(),
            preferred_read_replica: -1,
            records,
        }
    }

    fn batch(leader_epoch: i32) -> Bytes {
        let mut builder = BatchBuilder::new(BatchOptions { base_offset: 10, leader_epoch, ..Default::default() });
        builder.push(&NewRecord { timestamp: 0, key: None, value: Some(b"value"), headers: &[] });
        builder.finish().expect("a batch")
    }

    #[test]
    fn only_records_of_another_epoch_are_doubted() {
        assert!(begins_another_epoch(&answer(batch(4)), 3));
        assert!(!begins_another_epoch(&answer(batch(3)), 3));
        assert!(!begins_another_epoch(&answer(batch(4)), -1), "nothing is known of what was before");
        assert!(!begins_another_epoch(&answer(Bytes::new()), 3));
    }

    #[test]
    fn the_end_of_the_epoch_before_decides() {
        let want = Want { topic: "a".into(), topic_id: [0; 16], partition: 0, from: 10, last_epoch: 3 };
        let judged = |code: i16, epoch, end_offset| {
            let mut partition = answer(batch(4));
            let end = EpochEndOffset::default().with_error_code(code);
            judge(&mut partition, &want, Some(&end.with_leader_epoch(epoch).with_end_offset(end_offset)));
            (partition.error, partition.diverging_epoch.map(|end| (end.epoch, end.end_offset)))
        };
        assert_eq!(judged(0, 3, 10), (ErrorCode::NONE, None));
        assert_eq!(judged(0, 3, 12), (ErrorCode::NONE, None));
        assert_eq!(judged(0, 3, 9), (ErrorCode::NONE, Some((3, 9))));
        assert_eq!(judged(0, 2, 10), (ErrorCode::NONE, Some((2, 10))));
        assert_eq!(judged(0, -1, -1), (ErrorCode::OFFSET_OUT_OF_RANGE, None));
        assert_eq!(judged(6, -1, -1), (ErrorCode::NOT_LEADER_OR_FOLLOWER, None));
        let mut partition = answer(batch(4));
        judge(&mut partition, &want, None);
        assert_eq!(partition.error, ErrorCode::UNKNOWN_SERVER_ERROR);
    }
}
