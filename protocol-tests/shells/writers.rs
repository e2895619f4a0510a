//! Who writes to the source: batches without a producer, idempotent ones, and transactions of which some are aborted.
//!
//! A batch whose fate is unknown is given up, and each attempt has numbers of its own: what was written is read from
//! the source's log (`judge`), not remembered here.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProduceRequest, TransactionalId,
};
use tokio::sync::watch;
use tokio::time::sleep;
use twinlog_sandbox::Sandbox;
use twinlog_wire::batch::Codec;
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};
use twinlog_wire::patch::Stamp;

use crate::peer::{Peer, text, topic_name};
use crate::profile::Ages;
use crate::world::Shared;

/// How a writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Idempotent,
    Transactional,
}

/// Older than the records of any other world: more than half of every `producer.id.expiration.ms`.
const OLD_MS: i64 = 30 * 3_600_000;

/// Writes to all partitions of a topic.
pub(crate) struct Writer {
    pub(crate) shared: Rc<Shared>,
    pub(crate) source: Sandbox,
    pub(crate) topic: String,
    pub(crate) partitions: i32,
    pub(crate) kind: Kind,
    pub(crate) ages: Ages,
    pub(crate) number: u32,
    pub(crate) rng: Rng,
    /// The mean pause between batches.
    pub(crate) pause_ms: u64,
    pub(crate) records_max: u64,
    pub(crate) value_bytes_max: usize,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Its producer id, and the next sequence in each partition.
struct Producer {
    id: i64,
    epoch: i16,
    sequences: Vec<i32>,
}

impl Writer {
    /// Writes until it is told to stop. Its last transaction is over then.
    pub(crate) async fn run(mut self) {
        let mut producer: Option<Producer> = None;
        while !*self.stop.borrow() {
            sleep(Duration::from_millis(self.rng.u64(1..=2 * self.pause_ms))).await;
            if self.kind != Kind::Plain && producer.is_none() {
                producer = self.init().await;
                if producer.is_none() {
                    continue;
                }
            }
            let written = match (&mut producer, self.kind) {
                (Some(producer), Kind::Transactional) => self.transaction(producer).await,
                (producer, _) => {
                    let partition = self.rng.i32(0..self.partitions);
                    self.batch(partition, producer.as_mut()).await
                }
            };
            if written.is_none() {
                producer = None;
            }
        }
        // A new epoch ends what is open.
        while self.kind == Kind::Transactional && self.init().await.is_none() {
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn transactional_id(&self) -> Option<TransactionalId> {
        let id = format!("writer-{}", self.number);
        (self.kind == Kind::Transactional).then(|| TransactionalId(text(&id)))
    }

    fn coordinator(&self) -> Peer {
        Peer::new(&self.source, self.source.coordinator(&format!("writer-{}", self.number)))
    }

    async fn init(&self) -> Option<Producer> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_transaction_timeout_ms(10_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answer = self.coordinator().call(&request, 4).await?;
        let sequences = vec![0; usize::try_from(self.partitions).unwrap()];
        let (id, epoch) = (answer.producer_id.0, answer.producer_epoch);
        (answer.error_code == 0).then_some(Producer { id, epoch, sequences })
    }

    async fn transaction(&mut self, producer: &mut Producer) -> Option<()> {
        let id = self.transactional_id()?;
        for _ in 0..self.rng.u32(1..=3) {
            let partition = self.rng.i32(0..self.partitions);
            let topic =
                AddPartitionsToTxnTopic::default().with_name(topic_name(&self.topic)).with_partitions(vec![partition]);
            let request = AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(id.clone())
                .with_v3_and_below_producer_id(producer.id.into())
                .with_v3_and_below_producer_epoch(producer.epoch)
                .with_v3_and_below_topics(vec![topic]);
            let answer = self.coordinator().call(&request, 3).await?;
            let result = answer.results_by_topic_v3_and_below.first()?.results_by_partition.first()?;
            if result.partition_error_code != 0 {
                return None;
            }
            self.batch(partition, Some(producer)).await?;
            sleep(Duration::from_millis(self.rng.u64(0..=self.pause_ms))).await;
        }
        let committed = self.rng.u32(0..3) > 0;
        if self.rng.u32(0..20) == 0 {
            // It forgets about the transaction for a while.
            sleep(Duration::from_millis(self.rng.u64(0..=4_000))).await;
        }
        let request = EndTxnRequest::default()
            .with_transactional_id(id)
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_committed(committed);
        let answer = self.coordinator().call(&request, 3).await?;
        self.shared.happened(if committed { "transactions committed" } else { "transactions aborted" });
        (answer.error_code == 0).then_some(())
    }

    async fn batch(&mut self, partition: i32, producer: Option<&mut Producer>) -> Option<()> {
        let place = usize::try_from(partition).unwrap();
        let count = self.rng.u64(1..=self.records_max);
        let stamp = producer.as_ref().map_or(Stamp::NONE, |producer| Stamp {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: producer.sequences[place],
        });
        let batch = self.encode(stamp, count);
        let leader = self.source.leader(&self.topic, partition).unwrap().0?;
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topic = TopicProduceData::default().with_name(topic_name(&self.topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_acks(-1)
            .with_timeout_ms(1_000)
            .with_topic_data(vec![topic]);
        let answer = Peer::new(&self.source, leader).call(&request, 9).await?;
        if answer.responses.first()?.partition_responses.first()?.error_code != 0 {
            return None;
        }
        if let Some(producer) = producer {
            producer.sequences[place] += i32::try_from(count).unwrap();
        }
        Some(())
    }

    fn encode(&mut self, stamp: Stamp, count: u64) -> Bytes {
        let codecs = [Codec::None, Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
        let codec = codecs[self.rng.usize(0..codecs.len())];
        let transactional = self.kind == Kind::Transactional;
        let options = BatchOptions { codec, stamp, transactional, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        let is_old = match self.ages {
            Ages::Young => false,
            Ages::Old => true,
            Ages::Mixed => self.rng.bool(),
        };
        if is_old {
            self.shared.happened("old batches");
        }
        let timestamp = if is_old { self.shared.wall_ms() - OLD_MS } else { self.shared.wall_ms() };
        for _ in 0..count {
            let number = self.shared.number();
            let mut value = format!("{number}:").into_bytes();
            value.resize(value.len() + self.rng.usize(0..=self.value_bytes_max), b'a' + (number % 26) as u8);
            let key = number.to_be_bytes();
            let key = (!number.is_multiple_of(5)).then_some(&key[..]);
            let headers = [("n", Some(&b"1"[..]))];
            let headers = &headers[..usize::from(number.is_multiple_of(7))];
            builder.push(&NewRecord { timestamp, key, value: Some(&value), headers });
        }
        builder.finish().unwrap()
    }
}
