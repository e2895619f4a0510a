//! twinlog's own client against the sandbox over TCP.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::{FetchRequest, ProduceRequest};
use tokio::time::{Instant, sleep};
use twinlog_client::admin::{ConfigResource, IsolationLevel, NewTopic, OffsetAt, TopicPartition};
use twinlog_client::{Address, Cluster, DialConfig, Purpose, Side};
use twinlog_sandbox::{ErrorCode, Fault, Sandbox, SandboxSpec};

use crate::kit::{TOPIC, batch, batches, fetch_request, plain, produce_request, stamp};

async fn start(spec: SandboxSpec) -> (Sandbox, Cluster) {
    let sandbox = Sandbox::new(spec).unwrap();
    let addresses = sandbox.listen(&[]).await.unwrap();
    let bootstrap: Vec<Address> = addresses[..1].iter().map(|address| address.to_string().parse().unwrap()).collect();
    (sandbox, Cluster::new(Side::Target, bootstrap, DialConfig::default()).unwrap())
}

#[tokio::test]
async fn twinlogs_client_finds_its_way_around() {
    let (sandbox, cluster) = start(SandboxSpec::new().nodes(3)).await;
    let new = NewTopic {
        name: TOPIC.to_owned(),
        partitions: 6,
        replication_factor: -1,
        configs: BTreeMap::from([("cleanup.policy".to_owned(), "delete".to_owned())]),
    };
    let created = cluster.create_topics(&[new], false).await.unwrap().remove(TOPIC).unwrap().unwrap();
    assert_eq!(created.id, sandbox.topic_id(TOPIC));

    let metadata = cluster.refresh().await.unwrap();
    assert_eq!(metadata.brokers.len(), 3);
    let leader = metadata.leader(TOPIC, 0).unwrap();
    let connection = cluster.connection(leader, Purpose::Admin, 0).await.unwrap();
    let answer = connection.call_at::<ProduceRequest>(produce_request(None, plain(3)), 9, None).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);

    let lane = "twinlog.link.0";
    let owner = cluster.init_producer_id(0, lane, Duration::from_secs(20), None).await.unwrap();
    let all: BTreeSet<_> = (0..6).map(|index| TopicPartition::new(TOPIC, index)).collect();
    let added = cluster.add_partitions_to_txn(0, lane, owner, &all).await.unwrap();
    assert!(added.values().all(Result::is_ok));
    cluster.end_txn(0, lane, owner, true).await.unwrap();
    let again = cluster
        .retry(Instant::now() + Duration::from_secs(5), || {
            cluster.init_producer_id(0, lane, Duration::from_secs(20), Some(owner))
        })
        .await
        .unwrap();
    assert_eq!((again.id, again.epoch), (owner.id, owner.epoch + 1));
    sleep(Duration::from_millis(20)).await;

    let ends = all.iter().map(|at| (at.clone(), OffsetAt::Latest)).collect();
    let ends = cluster.list_offsets(&ends, IsolationLevel::ReadCommitted).await.unwrap();
    let ends: Vec<_> = ends.into_values().map(|end| end.unwrap().offset.unwrap()).collect();
    assert_eq!(ends, [4, 1, 1, 1, 1, 1], "three records, and a marker in each partition");

    let zombie = batch(stamp((owner.id, owner.epoch), 0), 1);
    let answer = connection.call_at::<ProduceRequest>(produce_request(None, zombie), 9, None).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "its epoch is in the partition");
    let answer = connection.call_at::<FetchRequest>(fetch_request(0), 12, None).await.unwrap();
    assert_eq!(batches(answer.responses[0].partitions[0].records.clone()).len(), 3);

    let topic = ConfigResource::Topic(TOPIC.to_owned());
    let broker = ConfigResource::Broker(3);
    let mut configs = cluster.describe_configs(&[topic.clone(), broker.clone()]).await.unwrap();
    let topic = configs.remove(&topic).unwrap().unwrap();
    assert_eq!(topic["cleanup.policy"].value.as_deref(), Some("delete"));
    let broker = configs.remove(&broker).unwrap().unwrap();
    assert_eq!(broker["producer.id.expiration.ms"].value.as_deref(), Some("86400000"));

    let start = cluster.delete_records(&BTreeMap::from([(TopicPartition::new(TOPIC, 0), 2)])).await.unwrap();
    assert_eq!(*start[&TopicPartition::new(TOPIC, 0)].as_ref().unwrap(), 2);
    assert_eq!(cluster.describe_log_dirs(leader).await.unwrap()[0].path, "/memory");
}

#[tokio::test]
async fn twinlogs_client_goes_on_after_a_cut_and_a_refusal() {
    let (sandbox, cluster) = start(SandboxSpec::new().nodes(2)).await;
    cluster.refresh().await.unwrap();
    sandbox.fault(
        Fault::refuse(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS).on(twinlog_sandbox::ApiKey::InitProducerId).times(2),
    );
    sandbox.fault(Fault::cut_before().on(twinlog_sandbox::ApiKey::InitProducerId).nth(3));
    let owner = cluster
        .retry(Instant::now() + Duration::from_secs(10), || {
            cluster.init_producer_id(0, "lane", Duration::from_secs(20), None)
        })
        .await
        .unwrap();
    assert_eq!(owner.epoch, 0);
}

#[tokio::test]
async fn clients_are_told_the_addresses_of_proxies_in_front() {
    let sandbox = Sandbox::new(SandboxSpec::new().nodes(2)).unwrap();
    let advertised = ["127.0.0.1:11".parse().unwrap(), "127.0.0.1:12".parse().unwrap()];
    let own = sandbox.listen_behind(&advertised).await.unwrap();
    let bootstrap = vec![own[1].to_string().parse().unwrap()];
    let cluster = Cluster::new(Side::Target, bootstrap, DialConfig::default()).unwrap();
    let metadata = cluster.refresh().await.unwrap();
    let told: Vec<String> = metadata.brokers.values().map(|broker| broker.address.to_string()).collect();
    assert_eq!(told, ["127.0.0.1:11", "127.0.0.1:12"]);
}
