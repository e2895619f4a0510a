//! The lane's partition of the map topic: reading it up to the marker, writing batches of records.

use std::time::Duration;

use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::protocol::StrBytes;
use tokio::sync::mpsc;
use twinlog_client::admin::{IsolationLevel, TopicPartition};
use twinlog_client::{Cause, Cluster, Error, Outcome, Permit, Purpose, Result, Step};
use twinlog_core::ids::TargetOffset;
use twinlog_core::io::{Failure, Input, MapBatch, MapEntry, ReadResult};
use twinlog_core::outbox::Answer;
use twinlog_wire::batch::{Entry, split_head};
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};
use twinlog_wire::patch::Stamp;
use twinlog_wire::produce_request::{ProducePartition, ProduceTopic};
use twinlog_wire::topic::Topic;

use super::outgoing::{PRODUCE, answer, raw, read as read_answer};
use super::{LaneSetup, Message, failure, refresh, tell};
use crate::failpoint;
use crate::log::{LogRead, LogReader};
use crate::map_log::map_entries;
use crate::names::map_topic;

/// How long the broker may wait for the marker to come.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// The last version of Produce that names topics by name.
const BY_NAME_MAX: i16 = 12;

pub(super) fn read(setup: &LaneSetup, sender: &mpsc::UnboundedSender<Message>, from: TargetOffset) {
    let reader = LogReader {
        cluster: setup.target.clone(),
        lane: setup.lane,
        at: TopicPartition::new(map_topic(&setup.link), setup.lane.cast_signed()),
        topic_id: setup.map_topic_id,
        isolation: IsolationLevel::ReadUncommitted,
        max_wait: MAX_WAIT,
    };
    let sender = sender.clone();
    tokio::spawn(async move {
        let result = match reader.read(from.0).await {
            Ok(LogRead::Part(part)) => entries(from.0, &part.entries),
            Ok(LogRead::OutOfRange { start, end }) => {
                Ok(ReadResult::OutOfRange { start: TargetOffset(start), end: TargetOffset(end) })
            }
            Err(error) => {
                tracing::debug!(%error, "The map cannot be read.");
                refresh(&reader.cluster);
                Ok(ReadResult::Failed(failure(&error)))
            }
        };
        let result = result.unwrap_or_else(|words: String| {
            tracing::warn!(error = %words, "The map holds a batch that cannot be read.");
            ReadResult::Failed(Failure::Code(twinlog_client::ErrorCode::CORRUPT_MESSAGE))
        });
        tell(&sender, Message::Core(Input::MapRead { from, result }));
    });
}

fn entries(from: i64, log: &[Entry]) -> Result<ReadResult<MapEntry>, String> {
    let mut entries = Vec::new();
    let mut next = from;
    for entry in log {
        entries.append(&mut map_entries(entry)?);
        if let Entry::V2(meta, _) = entry {
            next = next.max(meta.next_offset());
        }
    }
    Ok(ReadResult::Entries { entries, next: TargetOffset(next) })
}

pub(super) fn write(setup: &LaneSetup, sender: &mpsc::UnboundedSender<Message>, batch: MapBatch) {
    failpoint::hit(failpoint::BEFORE_MAP_WRITE);
    if !setup.lease.holds() {
        return tell(sender, Message::Core(Input::MapWritten(Answer::NotSent)));
    }
    let (target, lane) = (setup.target.clone(), setup.lane);
    let at = TopicPartition::new(map_topic(&setup.link), lane.cast_signed());
    let (sender, lease) = (sender.clone(), setup.lease.clone());
    tokio::spawn(async move {
        let answer = match produce(&target, lane, &at, &batch, Some(lease.permit())).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "The map cannot be written.");
                match (error.code(), error.is_outcome_unknown()) {
                    (None, false) => Answer::NotSent,
                    (Some(code), _) => Answer::Refused(code, String::new()),
                    _ => Answer::Lost,
                }
            }
        };
        if !matches!(answer, Answer::Stored { .. }) {
            refresh(&target);
        }
        tell(&sender, Message::Core(Input::MapWritten(answer)));
    });
}

/// Writes a batch of records to a topic of the link's own; with a permit only while that holds.
pub(crate) async fn produce(
    target: &Cluster,
    lane: u32,
    at: &TopicPartition,
    batch: &MapBatch,
    permit: Option<Permit>,
) -> Result<Answer> {
    let stamp =
        Stamp { producer_id: batch.producer.id, producer_epoch: batch.producer.epoch, base_sequence: batch.sequence };
    let mut builder = BatchBuilder::new(BatchOptions { stamp, ..BatchOptions::default() });
    for (key, value) in &batch.records {
        let (timestamp, value) = (batch.timestamp_ms, value.as_deref());
        builder.push(&NewRecord { timestamp, key: Some(key), value, headers: &[] });
    }
    let metadata = target.metadata().await?;
    let index = at.partition;
    let Some(leader) = metadata.leader(&at.topic, index) else { return Ok(Answer::NotSent) };
    let connection = target.connection(leader, Purpose::Admin, lane).await?;
    let error = |words: String| {
        Error::new(connection.peer().clone(), Step::Api(PRODUCE), Outcome::NotSent, Cause::Encode(words))
    };
    let bytes = builder.finish().map_err(|e| error(e.to_string()))?;
    let (head, body) = split_head(&bytes).map_err(|e| error(e.to_string()))?;
    let version = connection.require_version::<ProduceRequest>(3, BY_NAME_MAX)?;
    let name = Topic::Name(StrBytes::from_string(at.topic.clone()));
    let topics = [ProduceTopic { topic: name.clone(), partitions: vec![ProducePartition { index, head, body }] }];
    let request = raw(&connection, version, &topics, connection.request_timeout() / 2, permit)?;
    let frame = connection.send_raw(request).await?;
    Ok(read_answer(frame, version).of(&(name, index)).map_or(Answer::Lost, answer))
}
