//! Who writes to the source: a shop with orders, and with payments in transactions of which each third is aborted.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use twinlog_client::admin::{IsolationLevel, NewTopic, OffsetAt, ProducerId, TopicPartition};
use twinlog_client::{Cluster, ErrorCode, Purpose};
use twinlog_core::report::{Failure, FailureKind};
use twinlog_core::sequence;
use twinlog_link::reach::out_of_reach;
use twinlog_wire::batch::Codec;
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};
use twinlog_wire::patch::Stamp;

/// Topics and their partitions.
pub(super) const TOPICS: [(&str, i32); 2] = [("orders", 4), ("payments", 2)];
/// Records in a batch of orders.
const ORDERS: u64 = 200;
/// Records in a batch of payments, which is a transaction.
const PAYMENTS: u64 = 1_000;
/// Of so many transactions one is aborted.
const ABORTED_OF: u64 = 3;
/// The last version of Produce that names topics.
const PRODUCE_VERSION: i16 = 9;
/// How long a cluster that has just begun may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many partitions the shop writes to.
pub(super) fn partitions() -> usize {
    TOPICS.iter().map(|(_, partitions)| *partitions as usize).sum()
}

/// The ends of all its partitions on a cluster, together.
pub(super) async fn ends(cluster: &Cluster) -> Option<u64> {
    let asked = TOPICS.iter().flat_map(|(topic, partitions)| {
        (0..*partitions).map(|partition| (TopicPartition::new(*topic, partition), OffsetAt::Latest))
    });
    let listed = cluster.list_offsets(&asked.collect(), IsolationLevel::ReadUncommitted).await.ok()?;
    let ends = listed.into_values().map(|listed| listed.ok()?.offset);
    Some(ends.sum::<Option<i64>>()?.unsigned_abs())
}

/// A shop with its topics made.
#[derive(Debug)]
pub(super) struct Shop {
    cluster: Cluster,
    /// Records for each partition.
    records: u64,
    within: Duration,
    written: watch::Sender<u64>,
}

/// What the shop has written.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Each partition's committed records by their numbers, in order.
    pub(super) partitions: Vec<(TopicPartition, Vec<Range<u64>>)>,
    /// Records of aborted transactions.
    pub(super) aborted: u64,
    /// Bytes of the batches.
    pub(super) bytes: u64,
    /// An offset of a committed payment in the middle.
    middle: Option<(TopicPartition, i64)>,
}

impl Written {
    /// Committed records.
    pub(super) fn committed(&self) -> u64 {
        self.partitions.iter().flat_map(|(_, runs)| runs).map(|run| run.end - run.start).sum()
    }

    /// A partition, and an offset of a record in its middle.
    pub(super) fn an_offset(&self) -> Option<(String, i32, i64)> {
        let (at, offset) = self.middle.as_ref()?;
        Some((at.topic.to_string(), at.partition, *offset))
    }

    fn add(&mut self, other: Self) {
        self.partitions.extend(other.partitions);
        self.aborted += other.aborted;
        self.bytes += other.bytes;
        self.middle = self.middle.take().or(other.middle);
    }
}

impl Shop {
    /// Makes the topics. `records` is rounded up to whole batches in each partition; they are written `within` a time.
    pub(super) async fn open(cluster: Cluster, records: u64, within: Duration) -> Result<Self, Failure> {
        let topics = TOPICS.map(|(name, partitions)| NewTopic {
            name: name.into(),
            partitions,
            replication_factor: -1,
            configs: [("retention.ms".into(), "-1".into())].into(),
        });
        let deadline = Instant::now() + PATIENCE;
        let made = cluster.retry(deadline, || cluster.create_topics(&topics, false)).await;
        for (_, result) in made.map_err(|error| out_of_reach(&error))? {
            match result {
                Err(error) if error.code() != Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {
                    return Err(out_of_reach(&error));
                }
                _ => {}
            }
        }
        while ends(&cluster).await.is_none() {
            if Instant::now() > deadline {
                return Err(Failure::new(FailureKind::OutOfReach, "source: its new topics have no leaders yet"));
            }
            cluster.refresh().await.map_err(|error| out_of_reach(&error))?;
            sleep(Duration::from_millis(50)).await;
        }
        let records = records.div_ceil(PAYMENTS * partitions() as u64).max(1) * PAYMENTS;
        Ok(Self { cluster, records, within, written: watch::Sender::new(0) })
    }

    /// How many records it will write.
    pub(super) fn wanted(&self) -> u64 {
        self.records * partitions() as u64
    }

    /// How many records it has written so far.
    pub(super) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Writes to all partitions at once, at a steady pace.
    pub(super) fn write(self) -> JoinHandle<Result<Written, Failure>> {
        let mut writers = JoinSet::new();
        for (topic, partitions) in TOPICS {
            for partition in 0..partitions {
                let writer = Writer {
                    cluster: self.cluster.clone(),
                    at: TopicPartition::new(topic, partition),
                    transactional_id: (topic == "payments").then(|| format!("demo-shop-{partition}")),
                    batch: if topic == "payments" { PAYMENTS } else { ORDERS },
                    total: self.written.clone(),
                };
                let batches = self.records / writer.batch;
                let pause = self.within.div_f64(batches as f64);
                writers.spawn(async move { writer.write(batches, pause).await });
            }
        }
        tokio::spawn(async move {
            let mut all = Written::default();
            while let Some(written) = writers.join_next().await {
                let broken = |error| Failure::new(FailureKind::Difference, format!("the shop broke off: {error}"));
                all.add(written.map_err(broken)??);
            }
            Ok(all)
        })
    }
}

/// Who writes to one partition.
struct Writer {
    cluster: Cluster,
    at: TopicPartition,
    transactional_id: Option<String>,
    /// Records in a batch.
    batch: u64,
    total: watch::Sender<u64>,
}

impl Writer {
    async fn write(self, batches: u64, pause: Duration) -> Result<Written, Failure> {
        let failed = |error: twinlog_client::Error| out_of_reach(&error);
        let producer = match &self.transactional_id {
            Some(id) => {
                let init = || self.cluster.init_producer_id(0, id, Duration::from_secs(60), None);
                Some(self.cluster.retry(Instant::now() + PATIENCE, init).await.map_err(failed)?)
            }
            None => None,
        };
        let begun = Instant::now();
        let (mut committed, mut sequence) = (Vec::<Range<u64>>::new(), 0);
        let mut written = Written::default();
        for batch in 0..batches {
            sleep_until(begun + pause.mul_f64(batch as f64)).await;
            let numbers = batch * self.batch..(batch + 1) * self.batch;
            let bytes = self.encode(&numbers, producer, sequence)?;
            sequence = sequence::advance(sequence, self.batch);
            written.bytes += bytes.len() as u64;
            let is_kept = producer.is_none() || batch % ABORTED_OF != 1;
            let base = match (&self.transactional_id, producer) {
                (Some(id), Some(producer)) => {
                    self.begin(id, producer).await?;
                    let base = self.produce(bytes, Some(id)).await?;
                    let end = || self.cluster.end_txn(0, id, producer, is_kept);
                    self.cluster.retry(Instant::now() + PATIENCE, end).await.map_err(failed)?;
                    base
                }
                _ => self.produce(bytes, None).await?,
            };
            if is_kept {
                if producer.is_some() && batch >= batches / 2 && written.middle.is_none() {
                    written.middle = Some((self.at.clone(), base + 7));
                }
                match committed.last_mut() {
                    Some(run) if run.end == numbers.start => run.end = numbers.end,
                    _ => committed.push(numbers),
                }
            } else {
                written.aborted += self.batch;
            }
            self.total.send_modify(|total| *total += self.batch);
        }
        written.partitions.push((self.at, committed));
        Ok(written)
    }

    async fn begin(&self, id: &str, producer: ProducerId) -> Result<(), Failure> {
        let partitions = [self.at.clone()].into();
        let add = || async {
            let results = self.cluster.add_partitions_to_txn(0, id, producer, &partitions).await?;
            results.into_values().collect::<Result<(), _>>()
        };
        self.cluster.retry(Instant::now() + PATIENCE, add).await.map_err(|error| out_of_reach(&error))
    }

    fn encode(
        &self,
        numbers: &Range<u64>,
        producer: Option<ProducerId>,
        sequence: i32,
    ) -> Result<bytes::Bytes, Failure> {
        let stamp = producer.map_or(Stamp::NONE, |producer| Stamp {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: sequence,
        });
        let transactional = producer.is_some();
        let options = BatchOptions { codec: Codec::Zstd, stamp, transactional, ..Default::default() };
        let mut batch = BatchBuilder::new(options);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        for number in numbers.clone() {
            let key = format!("{}-{number}", self.at.partition);
            let value = record(&self.at.topic, number);
            batch.push(&NewRecord {
                timestamp: i64::try_from(now).unwrap_or_default(),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: &[("origin", Some(b"demo"))],
            });
        }
        batch.finish().map_err(|error| Failure::new(FailureKind::Difference, error.to_string()))
    }

    /// The offset of the batch's first record.
    async fn produce(&self, batch: bytes::Bytes, transactional_id: Option<&str>) -> Result<i64, Failure> {
        let failed = |error: twinlog_client::Error| out_of_reach(&error);
        let metadata = self.cluster.metadata().await.map_err(failed)?;
        let broken = |what: String| Failure::new(FailureKind::OutOfReach, format!("source {}: {what}", self.at));
        let Some(leader) = metadata.leader(&self.at.topic, self.at.partition) else {
            return Err(broken("no leader".to_owned()));
        };
        let connection = self.cluster.connection(leader, Purpose::Produce, 0).await.map_err(failed)?;
        let data = PartitionProduceData::default().with_index(self.at.partition).with_records(Some(batch));
        let name = TopicName(StrBytes::from_string(self.at.topic.to_string()));
        let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![data]);
        let id = transactional_id.map(|id| TransactionalId(StrBytes::from_string(id.to_owned())));
        let request = ProduceRequest::default().with_transactional_id(id).with_acks(-1).with_timeout_ms(30_000);
        let request = request.with_topic_data(vec![topic]);
        let answer = connection.call_at(request, PRODUCE_VERSION, None).await.map_err(failed)?;
        let answer = answer.responses.first().and_then(|topic| topic.partition_responses.first());
        match answer.map(|answer| (ErrorCode(answer.error_code), answer.base_offset)) {
            Some((ErrorCode::NONE, base)) => Ok(base),
            Some((code, _)) => Err(broken(format!("a batch was refused: {code}"))),
            None => Err(broken("no answer about a batch".to_owned())),
        }
    }
}

/// What a shop would write down about an order or a payment.
fn record(topic: &str, number: u64) -> String {
    let customer = number.wrapping_mul(2_654_435_761) % 9_973;
    let cents = 199 + number.wrapping_mul(48_271) % 90_000;
    match topic {
        "payments" => format!(
            concat!(
                r#"{{"payment":{},"customer":"c-{:05}","amount":{{"value":"{}.{:02}","currency":"EUR"}},"#,
                r#""method":"card","state":"authorised"}}"#
            ),
            number,
            customer,
            cents / 100,
            cents % 100
        ),
        _ => format!(
            concat!(
                r#"{{"order":{},"customer":"c-{:05}","items":[{{"sku":"s-{:04}","quantity":{},"#,
                r#""price":"{}.{:02}"}}],"channel":"web","note":null}}"#
            ),
            number,
            customer,
            number % 1_999,
            1 + number % 4,
            cents / 100,
            cents % 100
        ),
    }
}
