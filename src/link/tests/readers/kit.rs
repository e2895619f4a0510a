//! One broker for all tests here.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, sleep};
use twinlog_client::admin::{IsolationLevel, NewTopic, OffsetAt, ProducerId, TopicPartition};
use twinlog_client::{Address, Cluster, DialConfig, Purpose, Result, Side};
use twinlog_core::config::LinkConfig;
use twinlog_core::topics::TopicRules;
use twinlog_link::environment::Environment;
use twinlog_link::supervisor::LinkSetup;
use twinlog_testcontainers::ClusterSpec;

static BROKER: LazyLock<twinlog_testcontainers::Cluster> = LazyLock::new(|| ClusterSpec::new().start().unwrap());

pub(crate) fn addresses() -> Vec<Address> {
    BROKER.bootstrap().iter().map(|text| text.parse().unwrap()).collect()
}

/// Nobody listens there.
pub(crate) fn nowhere() -> Vec<Address> {
    vec!["127.0.0.1:1".parse().unwrap()]
}

pub(crate) fn cluster(side: Side, addresses: Vec<Address>) -> Cluster {
    Cluster::new(side, addresses, DialConfig::default()).unwrap()
}

/// A link that takes one topic and adds `.twin` to its name.
pub(crate) fn setup(link: &str, topic: &str) -> LinkSetup {
    let topics = TopicRules {
        include: vec![topic.parse().unwrap()],
        exclude: Vec::new(),
        rename: "{topic}.twin".parse().unwrap(),
    };
    let config = LinkConfig::new("a", "b", topics);
    let (source, target) = (cluster(Side::Source, addresses()), cluster(Side::Target, addresses()));
    LinkSetup { name: link.to_owned(), config, source, target, environment: Environment::default() }
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Creates a topic, waits until it can be written, and gives its id.
pub(crate) async fn create(cluster: &Cluster, name: &str, partitions: i32) -> [u8; 16] {
    let topic = NewTopic { name: name.into(), partitions, replication_factor: 1, configs: BTreeMap::new() };
    let created = cluster.create_topics(&[topic], false).await.unwrap();
    let id = created[name].as_ref().unwrap().id.unwrap();
    let asked = (0..partitions).map(|partition| (TopicPartition::new(name, partition), OffsetAt::Latest)).collect();
    let led = || async {
        let results = cluster.list_offsets(&asked, IsolationLevel::ReadUncommitted).await?;
        results.into_values().collect::<Result<Vec<_>>>()
    };
    cluster.retry(deadline(), led).await.unwrap();
    *id.as_bytes()
}

/// Writes a batch as it is; its base offset.
pub(crate) async fn produce(cluster: &Cluster, topic: &str, partition: i32, batch: Bytes, id: Option<&str>) -> i64 {
    let leader = cluster.refresh().await.unwrap().leader(topic, partition).unwrap();
    let connection = cluster.connection(leader, Purpose::Produce, 0).await.unwrap();
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let name = TopicName(StrBytes::from_string(topic.to_owned()));
    let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(id.map(|id| TransactionalId(StrBytes::from_string(id.to_owned()))))
        .with_acks(-1)
        .with_timeout_ms(5000)
        .with_topic_data(vec![topic]);
    // Topics are named by id from v13 on.
    let answer = connection.call_at(request, 9, None).await.unwrap();
    let answer = &answer.responses[0].partition_responses[0];
    assert_eq!(answer.error_code, 0, "{answer:?}");
    answer.base_offset
}

pub(crate) async fn init(cluster: &Cluster, transactional_id: &str) -> ProducerId {
    let init = || cluster.init_producer_id(0, transactional_id, Duration::from_secs(30), None);
    cluster.retry(deadline(), init).await.unwrap()
}

/// Opens a transaction on a partition.
pub(crate) async fn begin(cluster: &Cluster, transactional_id: &str, producer: ProducerId, at: &TopicPartition) {
    let partitions = [at.clone()].into();
    let add = || async {
        let codes = cluster.add_partitions_to_txn(0, transactional_id, producer, &partitions).await?;
        codes.into_values().collect::<Result<Vec<()>>>()
    };
    cluster.retry(deadline(), add).await.unwrap();
}

/// Ends a transaction, and waits for its marker to move the partition's end to `end`.
pub(crate) async fn finish(
    cluster: &Cluster,
    transactional_id: &str,
    producer: ProducerId,
    commit: bool,
    (at, end): (&TopicPartition, i64),
) {
    cluster.end_txn(0, transactional_id, producer, commit).await.unwrap();
    let deadline = deadline();
    loop {
        let asked = [(at.clone(), OffsetAt::Latest)].into();
        let listed = cluster.list_offsets(&asked, IsolationLevel::ReadCommitted).await.unwrap();
        let found = listed[at].as_ref().unwrap().offset;
        if found == Some(end) {
            return;
        }
        assert!(Instant::now() < deadline, "{at} ends at {found:?}, not at {end}");
        sleep(Duration::from_millis(10)).await;
    }
}
