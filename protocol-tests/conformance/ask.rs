//! The requests that cases send, each in a version that both releases take.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition as AskedPartition, FetchTopic as AskedTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, BrokerId, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, EndTxnRequest,
    FetchRequest, FindCoordinatorRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest,
    ProducerId, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use twinlog_wire::batch::{BatchMeta, Batches, Entry};
use twinlog_wire::fetch_response::{FetchPartition, FetchResponse};
use uuid::Uuid;

use crate::batch::Producer;
use crate::peer::{Failed, Peer, Verdict, until};

pub(crate) const PRODUCE_VERSION: i16 = 9;
pub(crate) const FETCH_VERSION: i16 = 12;

const NOT_COORDINATOR_YET: [i16; 3] = [14, 15, 16];
const CONCURRENT_TRANSACTIONS: i16 = 51;

pub(crate) fn words(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name(text: &str) -> TopicName {
    TopicName(words(text))
}

/// What a case looks at of a Produce answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) code: i16,
    pub(crate) offset: i64,
}

/// Accepted, with this offset for the first record.
pub(crate) fn accepted(offset: i64) -> Answered {
    Answered { code: 0, offset }
}

/// Refused with this code.
pub(crate) fn refused(code: i16) -> Answered {
    Answered { code, offset: -1 }
}

/// A batch for one partition in a Produce request.
pub(crate) fn produce_request(sent: &[(&str, i32, &Bytes)]) -> ProduceRequest {
    let mut topics: Vec<TopicProduceData> = Vec::new();
    for (topic, partition, records) in sent {
        let data = PartitionProduceData::default().with_index(*partition).with_records(Some(Bytes::clone(records)));
        match topics.iter_mut().find(|known| &*known.name.0 == *topic) {
            Some(known) => known.partition_data.push(data),
            None => {
                topics.push(TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]))
            }
        }
    }
    ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(topics)
}

pub(crate) fn fetch_request(topic: &str, asked: AskedPartition, isolation: i8) -> FetchRequest {
    let topic = AskedTopic::default().with_topic(topic_name(topic)).with_partitions(vec![asked]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(64 << 20)
        .with_isolation_level(isolation)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

pub(crate) fn asked_partition(partition: i32, offset: i64) -> AskedPartition {
    AskedPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_fetch_offset(offset)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(64 << 20)
}

impl Peer {
    /// Creates a topic and waits until its leaders take requests.
    pub(crate) async fn topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Verdict {
        let topic = CreatableTopic::default().with_num_partitions(partitions).with_replication_factor(1);
        self.create(name, topic, configs).await
    }

    /// The same with these replicas for each partition, the first of them the leader.
    pub(crate) async fn topic_on(&self, name: &str, replicas: &[&[i32]], configs: &[(&str, &str)]) -> Verdict {
        let mut assignments = Vec::new();
        for (index, nodes) in (0..).zip(replicas) {
            let nodes = nodes.iter().map(|node| BrokerId(*node)).collect();
            assignments.push(CreatableReplicaAssignment::default().with_partition_index(index).with_broker_ids(nodes));
        }
        let topic =
            CreatableTopic::default().with_num_partitions(-1).with_replication_factor(-1).with_assignments(assignments);
        self.create(name, topic, configs).await
    }

    async fn create(&self, name: &str, topic: CreatableTopic, configs: &[(&str, &str)]) -> Verdict {
        let config = |(key, value): &(&str, &str)| {
            CreatableTopicConfig::default().with_name(words(key)).with_value(Some(words(value)))
        };
        let configs = configs.iter().map(config).collect();
        let topic = topic.with_name(topic_name(name)).with_configs(configs);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = self.call(5, request).await?;
        for created in &answer.topics {
            if created.error_code != 0 {
                let why = created.error_message.as_deref().unwrap_or_default();
                return Err(Failed(format!("topic {name} is not created: {} {why}", created.error_code)));
            }
        }
        let partitions = answer.topics.first().map_or(0, |created| created.num_partitions);
        until(&format!("all partitions of {name} have a leader"), async || {
            let known = self.partitions(name).await?;
            let led = known.values().filter(|partition| partition.error_code == 0).count();
            Ok((led == partitions as usize).then_some(()))
        })
        .await?;
        // The metadata is ahead of the leader itself for a moment.
        until(&format!("the leaders of {name} answer"), async || {
            let mut ready = true;
            for index in [0, partitions - 1] {
                let leader = self.leader(name, index).await?;
                ready &= leader.list(name, index, -1).await?.0 == 0;
            }
            Ok(ready.then_some(()))
        })
        .await
    }

    /// Deletes a topic and waits until it is gone.
    pub(crate) async fn delete_topic(&self, name: &str) -> Verdict {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(name)]).with_timeout_ms(30_000);
        self.call(5, request).await?;
        until(&format!("{name} is gone"), async || Ok(self.partitions(name).await?.is_empty().then_some(()))).await
    }

    /// A topic's partitions, as this broker knows them.
    pub(crate) async fn partitions(&self, name: &str) -> Verdict<BTreeMap<i32, MetadataResponsePartition>> {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
        let answer = self.call(8, request).await?;
        let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
        Ok(partitions.map(|partition| (partition.partition_index, partition)).collect())
    }

    /// A topic's id.
    pub(crate) async fn topic_id(&self, name: &str) -> Verdict<Uuid> {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let answer = self.call(12, MetadataRequest::default().with_topics(Some(vec![topic]))).await?;
        let id = answer.topics.first().map(|topic| topic.topic_id);
        id.ok_or_else(|| Failed(format!("no topic {name} in the metadata")))
    }

    /// A handle to a partition's leader.
    pub(crate) async fn leader(&self, topic: &str, partition: i32) -> Verdict<Self> {
        let known = self.partitions(topic).await?;
        let leader = known.get(&partition).map_or(-1, |partition| partition.leader_id.0);
        Ok(if leader == self.node() { self.clone() } else { self.at(leader) })
    }

    /// Waits until this broker answers as a partition's leader.
    pub(crate) async fn await_leader(&self, topic: &str, partition: i32) -> Verdict {
        until(&format!("broker {} leads {topic}-{partition}", self.node()), async || {
            // It may refuse connections at first.
            let Ok((code, _)) = self.list(topic, partition, -1).await else { return Ok(None) };
            Ok((code == 0).then_some(()))
        })
        .await
    }

    /// Sends records for partition 0.
    pub(crate) async fn produce(&self, topic: &str, records: &Bytes) -> Verdict<Answered> {
        self.produce_to(topic, 0, records).await
    }

    /// Sends records for a partition.
    pub(crate) async fn produce_to(&self, topic: &str, partition: i32, records: &Bytes) -> Verdict<Answered> {
        let answer = self.produce_at(PRODUCE_VERSION, topic, partition, records).await?;
        Ok(Answered { code: answer.error_code, offset: answer.base_offset })
    }

    /// The same in this version, with the whole answer.
    pub(crate) async fn produce_at(
        &self,
        version: i16,
        topic: &str,
        partition: i32,
        records: &Bytes,
    ) -> Verdict<PartitionProduceResponse> {
        let answer = self.call(version, produce_request(&[(topic, partition, records)])).await?;
        let partitions = answer.responses.into_iter().flat_map(|topic| topic.partition_responses);
        partitions.last().ok_or_else(|| Failed("a Produce answer without a partition".to_owned()))
    }

    /// One fetch, not in a session.
    pub(crate) async fn fetch(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        isolation: i8,
    ) -> Verdict<FetchPartition> {
        self.fetch_asked(topic, asked_partition(partition, offset), isolation).await
    }

    pub(crate) async fn fetch_asked(
        &self,
        topic: &str,
        asked: AskedPartition,
        isolation: i8,
    ) -> Verdict<FetchPartition> {
        let answer = self.fetch_whole(FETCH_VERSION, fetch_request(topic, asked, isolation)).await?;
        let partition = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
        partition.ok_or_else(|| Failed(format!("a Fetch answer without a partition: {}", answer.error)))
    }

    pub(crate) async fn fetch_whole(&self, version: i16, request: FetchRequest) -> Verdict<FetchResponse> {
        let body = self.connection().await?.call_for_body(&request, version, None).await?;
        Ok(FetchResponse::decode(body, version)?)
    }

    /// All batches of a partition up to its high watermark, as they are stored.
    pub(crate) async fn log(&self, topic: &str, partition: i32) -> Verdict<Vec<(BatchMeta, Bytes)>> {
        let mut batches: Vec<(BatchMeta, Bytes)> = Vec::new();
        let mut next = self.list(topic, partition, -2).await?.1;
        loop {
            let fetched = self.fetch(topic, partition, next, 0).await?;
            if !fetched.error.is_ok() {
                return Err(Failed(format!("fetch from {topic}-{partition}: {}", fetched.error)));
            }
            let before = next;
            for entry in Batches::new(fetched.records) {
                if let Entry::V2(meta, bytes) = entry? {
                    next = meta.next_offset();
                    batches.push((meta, bytes));
                }
            }
            if next >= fetched.high_watermark || next == before {
                return Ok(batches);
            }
        }
    }

    /// Code and offset for a time: -1 the end, -2 the start.
    pub(crate) async fn list(&self, topic: &str, partition: i32, timestamp: i64) -> Verdict<(i16, i64)> {
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let answer = self.call(4, request).await?;
        let listed = answer.topics.first().and_then(|topic| topic.partitions.first());
        let listed = listed.ok_or_else(|| Failed("a ListOffsets answer without a partition".to_owned()))?;
        Ok((listed.error_code, listed.offset))
    }

    /// The offset behind the last record.
    pub(crate) async fn end(&self, topic: &str, partition: i32) -> Verdict<i64> {
        self.offset(topic, partition, -1).await
    }

    /// The first offset.
    pub(crate) async fn start(&self, topic: &str, partition: i32) -> Verdict<i64> {
        self.offset(topic, partition, -2).await
    }

    async fn offset(&self, topic: &str, partition: i32, timestamp: i64) -> Verdict<i64> {
        match self.list(topic, partition, timestamp).await? {
            (0, offset) => Ok(offset),
            (code, _) => Err(Failed(format!("the offset of {topic}-{partition}: {code}"))),
        }
    }

    /// Waits until a partition's end is at least this.
    pub(crate) async fn await_end(&self, topic: &str, partition: i32, end: i64) -> Verdict<i64> {
        until(&format!("{topic}-{partition} ends at {end}"), async || {
            let found = self.end(topic, partition).await?;
            Ok((found >= end).then_some(found))
        })
        .await
    }

    /// Moves a log's start; gives code and new start.
    pub(crate) async fn delete_records(&self, topic: &str, partition: i32, offset: i64) -> Verdict<(i16, i64)> {
        let asked = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = self.call(1, request).await?;
        let done = answer.topics.first().and_then(|topic| topic.partitions.first());
        let done = done.ok_or_else(|| Failed("a DeleteRecords answer without a partition".to_owned()))?;
        Ok((done.error_code, done.low_watermark))
    }

    /// A handle to the coordinator of a group (0) or a transactional id (1).
    pub(crate) async fn coordinator(&self, key: &str, kind: i8) -> Verdict<Self> {
        let node = until(&format!("{key} has a coordinator"), async || {
            let request = FindCoordinatorRequest::default().with_key(words(key)).with_key_type(kind);
            let answer = self.call(2, request).await?;
            Ok((answer.error_code == 0).then_some(answer.node_id.0))
        })
        .await?;
        Ok(if node == self.node() { self.clone() } else { self.at(node) })
    }

    /// A producer id without a transactional id.
    pub(crate) async fn producer(&self) -> Verdict<Producer> {
        self.init(None).await
    }

    /// Takes the producer id of a transactional id, or a new one; waits while the coordinator is not ready.
    pub(crate) async fn init(&self, id: Option<&str>) -> Verdict<Producer> {
        let coordinator = match id {
            Some(id) => self.coordinator(id, 1).await?,
            None => self.clone(),
        };
        until("a producer id", async || {
            let (code, producer) = coordinator.init_once(id).await?;
            match code {
                0 => Ok(Some(producer)),
                CONCURRENT_TRANSACTIONS => Ok(None),
                code if NOT_COORDINATOR_YET.contains(&code) => Ok(None),
                code => Err(Failed(format!("InitProducerId: {code}"))),
            }
        })
        .await
    }

    /// One InitProducerId v0.
    pub(crate) async fn init_once(&self, id: Option<&str>) -> Verdict<(i16, Producer)> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(id.map(|id| TransactionalId(words(id))))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let answer = self.call(0, request).await?;
        Ok((answer.error_code, Producer { id: answer.producer_id.0, epoch: answer.producer_epoch }))
    }

    /// One InitProducerId v3, at the coordinator, of who holds this producer.
    pub(crate) async fn init_as(&self, id: &str, present: Producer) -> Verdict<(i16, Producer)> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(words(id))))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(present.id))
            .with_producer_epoch(present.epoch);
        let answer = self.call(3, request).await?;
        Ok((answer.error_code, Producer { id: answer.producer_id.0, epoch: answer.producer_epoch }))
    }

    /// One AddPartitionsToTxn v0, at the coordinator: a code a topic and partition.
    pub(crate) async fn add_once(
        &self,
        id: &str,
        producer: Producer,
        topics: &[(&str, i32)],
    ) -> Verdict<Vec<(String, i32, i16)>> {
        let topics = topics.iter().map(|(name, partitions)| {
            AddPartitionsToTxnTopic::default().with_name(topic_name(name)).with_partitions((0..*partitions).collect())
        });
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(words(id)))
            .with_v3_and_below_producer_id(ProducerId(producer.id))
            .with_v3_and_below_producer_epoch(producer.epoch)
            .with_v3_and_below_topics(topics.collect());
        let answer = self.call(0, request).await?;
        let mut codes = Vec::new();
        for topic in answer.results_by_topic_v3_and_below {
            for partition in topic.results_by_partition {
                codes.push((topic.name.0.to_string(), partition.partition_index, partition.partition_error_code));
            }
        }
        codes.sort();
        Ok(codes)
    }

    /// Begins or goes on with a transaction in these topics; waits while the one before is being ended.
    pub(crate) async fn add(&self, id: &str, producer: Producer, topics: &[(&str, i32)]) -> Verdict {
        until("partitions are added", async || {
            let codes = self.add_once(id, producer, topics).await?;
            match codes.iter().find(|(_, _, code)| *code != 0) {
                None => Ok(Some(())),
                Some((_, _, CONCURRENT_TRANSACTIONS)) => Ok(None),
                Some(other) => Err(Failed(format!("AddPartitionsToTxn: {other:?}"))),
            }
        })
        .await
    }

    /// One EndTxn v0, at the coordinator.
    pub(crate) async fn end_txn(&self, id: &str, producer: Producer, commit: bool) -> Verdict<i16> {
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(words(id)))
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_committed(commit);
        Ok(self.call(0, request).await?.error_code)
    }

    /// An empty transaction in a topic of one partition; waits for its marker. Gives the marker's offset.
    pub(crate) async fn fence(&self, id: &str, producer: Producer, topic: &str) -> Verdict<i64> {
        let before = self.end(topic, 0).await?;
        let coordinator = self.coordinator(id, 1).await?;
        coordinator.add(id, producer, &[(topic, 1)]).await?;
        match coordinator.end_txn(id, producer, true).await? {
            0 => Ok(self.await_end(topic, 0, before + 1).await? - 1),
            code => Err(Failed(format!("EndTxn: {code}"))),
        }
    }

    /// Sends a batch of a transaction, with the transactional id in the request.
    pub(crate) async fn produce_in(&self, id: &str, topic: &str, batch: &Bytes) -> Verdict<Answered> {
        let request = produce_request(&[(topic, 0, batch)]).with_transactional_id(Some(TransactionalId(words(id))));
        let answer = self.call(PRODUCE_VERSION, request).await?;
        let partition = answer.responses.first().and_then(|topic| topic.partition_responses.first());
        let partition = partition.ok_or_else(|| Failed("a Produce answer without a partition".to_owned()))?;
        Ok(Answered { code: partition.error_code, offset: partition.base_offset })
    }
}
