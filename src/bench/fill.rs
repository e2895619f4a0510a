//! The topic that every trial copies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use twinlog_client::admin::NewTopic;
use twinlog_client::{Cluster, ErrorCode, Purpose};
use twinlog_core::report::{Failure, FailureKind};
use twinlog_link::reach::out_of_reach;
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

/// The last version of Produce that names topics.
const PRODUCE_VERSION: i16 = 9;
/// Batches of a partition on their way at once.
const IN_FLIGHT: u64 = 4;
/// How long a new topic may have no leaders.
const PATIENCE: Duration = Duration::from_secs(15);
/// Should nobody be able to remove the topic, its records go by themselves.
const RETENTION: &str = "21600000";

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) partitions: u16,
    pub(crate) record_bytes: u32,
    pub(crate) batch_bytes: u32,
}

/// What a record is more than its value, at the most.
const RECORD_HEAD: u32 = 16;
/// What a batch is more than its records, at the most.
const BATCH_HEAD: u32 = 128;

impl Load {
    /// No topic is smaller: a batch in each partition.
    pub(crate) fn bytes_min(self) -> u64 {
        let batch = self.batch_bytes.max(self.record_bytes + RECORD_HEAD) + BATCH_HEAD;
        u64::from(batch) * u64::from(self.partitions)
    }
}

/// A topic is made and filled with batches of random bytes, at most so many (but [`Load::bytes_min`]) and not for long
/// beyond a moment. The bytes that are there.
pub(crate) async fn fill(
    cluster: &Cluster,
    topic: &str,
    load: Load,
    bytes_max: u64,
    until: Instant,
) -> Result<u64, Failure> {
    create(cluster, topic, load.partitions).await?;
    let batch = batch(load)?;
    let size = batch.len() as u64;
    // Each writer brings its first batch, whatever the time is: so no partition stays empty.
    let batches = (bytes_max / size).max(load.partitions.into());
    let writers = (u64::from(load.partitions) * IN_FLIGHT).min(batches);
    let written = Arc::new(AtomicU64::new(0));
    let mut running = JoinSet::new();
    for writer in 0..writers {
        let partition = i32::try_from(writer % u64::from(load.partitions)).unwrap_or(0);
        let (cluster, topic, batch) = (cluster.clone(), topic.to_owned(), batch.clone());
        let written = Arc::clone(&written);
        running.spawn(async move {
            for number in (writer..batches).step_by(usize::try_from(writers).unwrap_or(usize::MAX)) {
                if number >= writers && Instant::now() >= until {
                    break;
                }
                produce(&cluster, &topic, partition, batch.clone()).await?;
                written.fetch_add(size, Ordering::Relaxed);
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = running.join_next().await {
        done.map_err(|error| Failure::new(FailureKind::Difference, format!("a writer broke off: {error}")))??;
    }
    Ok(written.load(Ordering::Relaxed))
}

async fn create(cluster: &Cluster, topic: &str, partitions: u16) -> Result<(), Failure> {
    let (partitions, deadline) = (i32::from(partitions), Instant::now() + PATIENCE);
    let configs = [("cleanup.policy", "delete"), ("retention.ms", RETENTION), ("retention.bytes", "-1")];
    let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let new = NewTopic { name: topic.to_owned(), partitions, replication_factor: -1, configs };
    let attempt = || async {
        let made = cluster.create_topics(std::slice::from_ref(&new), false).await?;
        match made.into_values().next() {
            Some(Err(error)) if error.code() != Some(ErrorCode::TOPIC_ALREADY_EXISTS) => Err(error),
            _ => Ok(()),
        }
    };
    cluster.retry(deadline, attempt).await.map_err(|error| out_of_reach(&error))?;
    loop {
        let metadata = cluster.refresh().await.map_err(|error| out_of_reach(&error))?;
        if (0..partitions).all(|partition| metadata.leader(topic, partition).is_some()) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let what = format!("source topic {topic} has partitions without a leader");
            return Err(Failure::new(FailureKind::OutOfReach, what).advise("look at the source's brokers"));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// A batch of about the size that is wished for: random bytes, which nothing on the way makes smaller.
fn batch(load: Load) -> Result<Bytes, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let timestamp = i64::try_from(now).unwrap_or_default();
    let mut batch = BatchBuilder::new(BatchOptions::default());
    for _ in 0..(load.batch_bytes / (load.record_bytes + RECORD_HEAD)).max(1) {
        let value: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(load.record_bytes as usize).collect();
        batch.push(&NewRecord { timestamp, value: Some(&value), ..Default::default() });
    }
    batch.finish().map_err(|error| Failure::new(FailureKind::Usage, format!("no batch can be made: {error}")))
}

/// Writes a batch, again if that may help: a batch that is there twice does no harm here.
async fn produce(cluster: &Cluster, topic: &str, partition: i32, batch: Bytes) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let code = attempt(cluster, topic, partition, batch.clone()).await?;
        if code.is_ok() {
            return Ok(());
        }
        let what = format!("source topic {topic}, partition {partition}: a batch was refused: {code}");
        if code.retry() == twinlog_client::Retry::Never || Instant::now() >= deadline {
            return Err(Failure::new(FailureKind::Refused, what)
                .advise("if it is too large, set --batch-bytes and --record-bytes to what the source takes"));
        }
        sleep(Duration::from_millis(100)).await;
        cluster.refresh().await.map_err(|error| out_of_reach(&error))?;
    }
}

async fn attempt(cluster: &Cluster, topic: &str, partition: i32, batch: Bytes) -> Result<ErrorCode, Failure> {
    let failed = |error: twinlog_client::Error| out_of_reach(&error);
    let metadata = cluster.metadata().await.map_err(failed)?;
    let Some(leader) = metadata.leader(topic, partition) else { return Ok(ErrorCode::LEADER_NOT_AVAILABLE) };
    let lane = u32::try_from(partition).unwrap_or_default();
    let connection = cluster.connection(leader, Purpose::Produce, lane).await.map_err(failed)?;
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let name = TopicName(StrBytes::from_string(topic.to_owned()));
    let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    let answer = connection.call_at(request, PRODUCE_VERSION, None).await.map_err(failed)?;
    let answer = answer.responses.first().and_then(|topic| topic.partition_responses.first());
    Ok(answer.map_or(ErrorCode::UNKNOWN_SERVER_ERROR, |answer| ErrorCode(answer.error_code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_as_large_as_it_may_be_and_not_larger() {
        for (record_bytes, batch_bytes) in [(1 << 10, 64 << 10), (1, 1 << 10), (100, 100), (700 << 10, 1 << 10)] {
            let load = Load { partitions: 3, record_bytes, batch_bytes };
            let size = batch(load).expect("a batch").len() as u64;
            let least = u64::from(batch_bytes.min(record_bytes)) * 3 / 4;
            assert!((least..=load.bytes_min() / 3).contains(&size), "{load:?}: {size}");
        }
    }
}
