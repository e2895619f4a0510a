//! The client against real brokers: metadata, admin calls, transactions, a broker that comes back.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test a panic is how it fails; clippy knows only functions marked as tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::{EndTxnRequest, MetadataRequest};
use tokio::time::Instant;
use twinlog_client::admin::{
    CommittedOffset, ConfigChange, ConfigOp, ConfigResource, ConfigSource, GroupJoin, GroupJoined, GroupMember,
    GroupMemberSeen, IsolationLevel, ListedOffset, NewPartitions, NewTopic, OffsetAt, Operation, TopicPartition,
};
use twinlog_client::{
    Address, Cause, Cluster, CoordinatorType, DialConfig, ErrorCode, Permit, Purpose, Result, Retry, Side,
};
use twinlog_testcontainers::{ClusterSpec, KafkaVersion};

fn client(broker: &twinlog_testcontainers::Cluster) -> Cluster {
    let bootstrap = broker.bootstrap().iter().map(|text| text.parse::<Address>().unwrap()).collect();
    Cluster::new(Side::Target, bootstrap, DialConfig::default()).unwrap()
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn topic(name: &str) -> NewTopic {
    let configs = BTreeMap::from([("retention.ms".into(), "1234567".into())]);
    NewTopic { name: name.into(), partitions: 3, replication_factor: -1, configs }
}

/// Creates a topic and waits until all its partitions have leaders.
async fn create(cluster: &Cluster, name: &str) {
    let created = cluster.create_topics(&[topic(name)], false).await.unwrap();
    let created = created[name].as_ref().unwrap();
    assert!(created.id.is_some());
    assert_eq!((created.partitions, created.replication_factor), (Some(3), Some(1)));
    let asked = (0..3).map(|partition| (TopicPartition::new(name, partition), OffsetAt::Latest)).collect();
    let led = || async {
        let results = cluster.list_offsets(&asked, IsolationLevel::ReadCommitted).await?;
        results.into_values().collect::<Result<Vec<_>>>()
    };
    let offsets = cluster.retry(deadline(), led).await.unwrap();
    assert!(offsets.iter().all(|listed| listed.offset == Some(0)), "{offsets:?}");
}

async fn topics(cluster: &Cluster) {
    let tried = cluster.create_topics(&[topic("tried")], true).await.unwrap();
    tried["tried"].as_ref().unwrap();
    create(cluster, "orders").await;
    let metadata = cluster.refresh().await.unwrap();
    assert!(!metadata.topics.contains_key("tried"));
    let orders = &metadata.topics["orders"];
    assert!(orders.id.is_some() && !orders.is_internal);
    assert_eq!(orders.partitions.len(), 3);
    for partition in &orders.partitions {
        assert_eq!(partition.leader.as_slice(), partition.replicas);
        assert_eq!(partition.replicas, partition.isr);
        assert!(partition.leader_epoch.is_some());
    }
    let again = cluster.create_topics(&[topic("orders"), topic("no/name")], false).await.unwrap();
    let taken = again["orders"].as_ref().unwrap_err();
    assert_eq!((taken.code(), taken.retry()), (Some(ErrorCode::TOPIC_ALREADY_EXISTS), Retry::Never));
    assert!(
        taken.to_string().contains("topic orders: 36 TOPIC_ALREADY_EXISTS (Topic 'orders' already exists"),
        "{taken}"
    );
    assert_eq!(again["no/name"].as_ref().unwrap_err().code(), Some(ErrorCode::INVALID_TOPIC_EXCEPTION));

    let more = |topic: &str, total| NewPartitions { topic: topic.into(), total };
    let grown = cluster.create_partitions(&[more("orders", 4), more("none", 4)], false).await.unwrap();
    grown["orders"].as_ref().unwrap();
    assert_eq!(grown["none"].as_ref().unwrap_err().code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    let shrunk = cluster.create_partitions(&[more("orders", 2)], false).await.unwrap();
    assert_eq!(shrunk["orders"].as_ref().unwrap_err().code(), Some(ErrorCode::INVALID_PARTITIONS));

    let deleted = cluster.delete_topics(&["none".into()]).await.unwrap();
    assert_eq!(deleted["none"].as_ref().unwrap_err().code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}

async fn configs(cluster: &Cluster) {
    let node = *cluster.metadata().await.unwrap().brokers.keys().next().unwrap();
    let (orders, broker) = (ConfigResource::Topic("orders".into()), ConfigResource::Broker(node));
    let (none, nobody) = (ConfigResource::Topic("none".into()), ConfigResource::Broker(99));
    let asked = [orders.clone(), broker.clone(), none.clone(), nobody.clone()];
    let results = cluster.describe_configs(&asked).await.unwrap();
    let settings = results[&orders].as_ref().unwrap();
    assert_eq!(settings["retention.ms"].value.as_deref(), Some("1234567"));
    assert_eq!(settings["retention.ms"].source, ConfigSource::Topic);
    assert_eq!(settings["cleanup.policy"].value.as_deref(), Some("delete"));
    assert_eq!(settings["cleanup.policy"].source, ConfigSource::Default);
    let settings = results[&broker].as_ref().unwrap();
    assert_eq!(settings["producer.id.expiration.ms"].value.as_deref(), Some("86400000"));
    assert_eq!(results[&none].as_ref().unwrap_err().code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    let unknown = results[&nobody].as_ref().unwrap_err();
    assert!(unknown.to_string().contains("broker 99 is not in the cluster's metadata"), "{unknown}");

    let change = |resource: &ConfigResource, name: &str, op| ConfigChange {
        resource: resource.clone(),
        ops: BTreeMap::from([(name.to_owned(), op)]),
    };
    let changes = [
        change(&orders, "cleanup.policy", ConfigOp::Set("compact".into())),
        change(&none, "retention.ms", ConfigOp::Delete),
    ];
    let changed = cluster.incremental_alter_configs(&changes, false).await.unwrap();
    changed[&orders].as_ref().unwrap();
    assert!(changed[&none].as_ref().unwrap_err().code().is_some());
    let settled = |name: &'static str, value: &'static str| {
        let orders = orders.clone();
        move || {
            let orders = orders.clone();
            async move {
                let results = cluster.describe_configs(std::slice::from_ref(&orders)).await?;
                Ok(results[&orders].as_ref().unwrap()[name].value.as_deref() == Some(value))
            }
        }
    };
    eventually(settled("cleanup.policy", "compact")).await;
    let back = [change(&orders, "cleanup.policy", ConfigOp::Delete)];
    cluster.incremental_alter_configs(&back, false).await.unwrap()[&orders].as_ref().unwrap();
    eventually(settled("cleanup.policy", "delete")).await;
}

/// Asks until it is so: what is answered and what is seen are not one moment in Kafka.
async fn eventually<F: Future<Output = Result<bool>>>(ask: impl Fn() -> F) {
    let deadline = deadline();
    while !ask().await.unwrap() {
        assert!(Instant::now() < deadline, "it did not become so in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn transactions(cluster: &Cluster) {
    let id = "twinlog.link.0";
    let timeout = Duration::from_secs(30);
    let init = || cluster.init_producer_id(7, id, timeout, None);
    let first = cluster.retry(deadline(), init).await.unwrap();
    let second = cluster.retry(deadline(), init).await.unwrap();
    assert_eq!((second.id, second.epoch), (first.id, first.epoch + 1));
    let fenced = cluster.init_producer_id(7, id, timeout, Some(first)).await.unwrap_err();
    assert!(matches!(fenced.code(), Some(ErrorCode::PRODUCER_FENCED | ErrorCode::INVALID_PRODUCER_EPOCH)), "{fenced}");
    let owner = cluster.init_producer_id(7, id, timeout, Some(second)).await.unwrap();
    assert_eq!((owner.id, owner.epoch), (second.id, second.epoch + 1));

    let at = |topic: &str, partition| TopicPartition::new(topic, partition);
    let one_unknown = BTreeSet::from([at("orders", 0), at("none", 0)]);
    let codes = cluster.add_partitions_to_txn(7, id, owner, &one_unknown).await.unwrap();
    assert_eq!(codes[&at("none", 0)].as_ref().unwrap_err().code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(codes[&at("orders", 0)].as_ref().unwrap_err().code(), Some(ErrorCode::OPERATION_NOT_ATTEMPTED));

    let both = BTreeSet::from([at("orders", 0), at("orders", 1)]);
    let add = || async {
        let codes = cluster.add_partitions_to_txn(7, id, owner, &both).await?;
        codes.into_values().collect::<Result<Vec<()>>>()
    };
    assert_eq!(cluster.retry(deadline(), add).await.unwrap().len(), 2);
    cluster.end_txn(7, id, owner, true).await.unwrap();
    // The answer comes before the markers: each takes one offset.
    for (partition, end) in [(0, 1), (1, 1), (2, 0)] {
        let asked = BTreeMap::from([(at("orders", partition), OffsetAt::Latest)]);
        let marked = || async {
            let listed = cluster.list_offsets(&asked, IsolationLevel::ReadUncommitted).await?;
            Ok(listed[&at("orders", partition)].as_ref().unwrap().offset == Some(end))
        };
        eventually(marked).await;
    }
    let stale = cluster.end_txn(7, id, first, true).await.unwrap_err();
    assert!(matches!(stale.code(), Some(ErrorCode::PRODUCER_FENCED | ErrorCode::INVALID_PRODUCER_EPOCH)), "{stale}");
    let coordinator = cluster.coordinator(id, CoordinatorType::Transaction, Purpose::Admin, 7).await.unwrap();
    assert!(coordinator.version_up_to::<EndTxnRequest>(4) >= Some(1));
}

async fn offsets(cluster: &Cluster) {
    let (known, none) = (TopicPartition::new("orders", 0), TopicPartition::new("none", 0));
    let at = |at| BTreeMap::from([(known.clone(), at), (none.clone(), at)]);
    let earliest = cluster.list_offsets(&at(OffsetAt::Earliest), IsolationLevel::ReadUncommitted).await.unwrap();
    let ListedOffset { offset, timestamp, leader_epoch } = *earliest[&known].as_ref().unwrap();
    assert_eq!((offset, timestamp), (Some(0), None));
    assert!(leader_epoch.is_some());
    assert_eq!(earliest[&none].as_ref().unwrap_err().retry(), Retry::AfterMetadata);
    let late = OffsetAt::Timestamp(i64::MAX);
    let late = cluster.list_offsets(&at(late), IsolationLevel::ReadUncommitted).await.unwrap();
    assert_eq!(late[&known].as_ref().unwrap().offset, None);

    let open = cluster.open_transactions(&BTreeMap::from([(known.clone(), ()), (none.clone(), ())])).await.unwrap();
    assert_eq!(open[&known].as_ref().unwrap(), &[], "its transaction has ended");
    assert_eq!(open[&none].as_ref().unwrap_err().retry(), Retry::AfterMetadata);

    let deleted = cluster.delete_records(&BTreeMap::from([(known.clone(), -1), (none.clone(), 0)])).await.unwrap();
    assert_eq!(*deleted[&known].as_ref().unwrap(), 1);
    assert!(deleted[&none].is_err());
    let beyond = cluster.delete_records(&BTreeMap::from([(known.clone(), 99)])).await.unwrap();
    assert_eq!(beyond[&known].as_ref().unwrap_err().code(), Some(ErrorCode::OFFSET_OUT_OF_RANGE));
}

async fn rights_and_room(cluster: &Cluster) {
    let metadata = cluster.metadata().await.unwrap();
    let rights = cluster.describe_cluster().await.unwrap();
    assert_eq!(Some(&rights.cluster_id), metadata.cluster_id.as_ref());
    assert!(rights.operations.unwrap().allows(Operation::Create));
    let topics = cluster.topic_operations(&["orders".into(), "none".into()]).await.unwrap();
    assert!(topics["orders"].as_ref().unwrap().unwrap().allows(Operation::Write));
    assert_eq!(topics["none"].as_ref().unwrap_err().code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    let dirs = cluster.describe_log_dirs(*metadata.brokers.keys().next().unwrap()).await.unwrap();
    let dir = dirs.first().unwrap();
    dir.result.as_ref().unwrap();
    assert!(dir.total_bytes > Some(0) && dir.usable_bytes <= dir.total_bytes);
    assert!(
        dir.replicas.iter().any(|replica| replica.at == TopicPartition::new("orders", 1) && replica.size_bytes > 0)
    );
}

async fn groups(cluster: &Cluster) {
    let (group, limit) = ("twinlog.link", Duration::from_secs(30));
    let join = |member_id: &str| {
        let member_id = member_id.to_owned();
        async move {
            let join = GroupJoin {
                group,
                member_id: &member_id,
                protocol_type: "twinlog",
                protocol: "lanes",
                metadata: "what I have".into(),
                session_timeout: Duration::from_secs(6),
                rebalance_timeout: Duration::from_secs(6),
            };
            cluster.join_group(&join, limit).await
        }
    };
    let GroupJoined::IdRequired(id) = cluster.retry(deadline(), || join("")).await.unwrap() else {
        panic!("a new member was taken in without an id");
    };
    let GroupJoined::Generation { generation, member_id, leader, members } = join(&id).await.unwrap() else {
        panic!("the id is not taken");
    };
    assert_eq!((&member_id, &leader), (&id, &id));
    assert_eq!(members, [(id.clone(), "what I have".into())]);
    let member = GroupMember { group, member_id: &id, generation };
    let plan = [(id.clone(), "what it gets".into())];
    let part = cluster.sync_group(member, "twinlog", "lanes", &plan, limit).await.unwrap();
    assert_eq!(part, "what it gets");
    cluster.heartbeat(member, limit).await.unwrap();
    let offsets = [(TopicPartition::new("orders", 0), CommittedOffset { offset: 0, metadata: String::new() })].into();
    for result in cluster.commit_group_offsets(group, &offsets, None).await.unwrap().into_values() {
        assert_eq!(result.unwrap_err().code(), Some(ErrorCode::UNKNOWN_MEMBER_ID), "it is in use");
    }
    let later = GroupMember { generation: generation + 1, ..member };
    assert_eq!(cluster.heartbeat(later, limit).await.unwrap_err().code(), Some(ErrorCode::ILLEGAL_GENERATION));
    assert!(cluster.group_operations(group).await.unwrap().unwrap().allows(Operation::Read));
    let seen = GroupMemberSeen {
        member_id: id.clone(),
        client_id: "twinlog".into(),
        client_host: "127.0.0.1".into(),
        part: "what it gets".into(),
    };
    assert_eq!(cluster.group_members(group).await.unwrap(), [seen]);
    assert_eq!(cluster.group_members("twinlog.none").await.unwrap(), []);
    cluster.leave_group(group, &id, limit).await.unwrap();
    let gone = cluster.heartbeat(member, limit).await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::UNKNOWN_MEMBER_ID));
    assert!(gone.to_string().contains("group twinlog.link: 25 UNKNOWN_MEMBER_ID"), "{gone}");
    let again = cluster.leave_group(group, &id, limit).await.unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::UNKNOWN_MEMBER_ID));
}

async fn group_offsets(cluster: &Cluster) {
    let at = |partition| TopicPartition::new("orders", partition);
    let offset = |offset, metadata: &str| CommittedOffset { offset, metadata: metadata.into() };
    let committed = BTreeMap::from([(at(0), offset(0, "")), (at(2), offset(17, "m"))]);
    let none = cluster.retry(deadline(), || cluster.group_offsets("shop")).await.unwrap();
    assert!(none.is_empty(), "a group that does not exist: {none:?}");
    let commit = || cluster.commit_group_offsets("shop", &committed, None);
    let results = cluster.retry(deadline(), commit).await.unwrap();
    assert!(results.len() == 2 && results.values().all(Result::is_ok), "{results:?}");
    let found = cluster.group_offsets("shop").await.unwrap();
    let found: BTreeMap<_, _> = found.into_iter().map(|(at, result)| (at, result.unwrap())).collect();
    assert_eq!(found, committed);
    assert!(cluster.list_groups().await.unwrap().contains("shop"));

    let unknown = BTreeMap::from([(TopicPartition::new("none", 0), offset(1, ""))]);
    let results = cluster.commit_group_offsets("shop", &unknown, None).await;
    let error = results.and_then(|results| results.into_values().collect::<Result<Vec<_>>>()).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), "{error}");
    assert!(error.to_string().contains("group shop, none-0"), "{error}");

    let ended = cluster.commit_group_offsets("shop", &committed, Some(Permit::new(|| false))).await.unwrap_err();
    assert!(matches!(ended.cause(), Cause::NotPermitted), "{ended}");
    // The connection was closed with it.
    cluster.retry(deadline(), || cluster.group_offsets("shop")).await.unwrap();
}

async fn every_call(version: KafkaVersion) {
    let kafka = ClusterSpec::new().version(version).start().unwrap();
    let cluster = client(&kafka);
    topics(&cluster).await;
    configs(&cluster).await;
    transactions(&cluster).await;
    offsets(&cluster).await;
    rights_and_room(&cluster).await;
    groups(&cluster).await;
    group_offsets(&cluster).await;
    let deleted = cluster.delete_topics(&["orders".into()]).await.unwrap();
    deleted["orders"].as_ref().unwrap();
}

#[tokio::test]
async fn every_call_works_on_the_newest_release() {
    every_call(KafkaVersion::default()).await;
}

#[tokio::test]
async fn every_call_works_on_the_last_release_before_4() {
    every_call(KafkaVersion::V3_9_1).await;
}

#[tokio::test]
async fn a_broker_that_was_killed_is_found_again() {
    let kafka = ClusterSpec::new().start().unwrap();
    let cluster = client(&kafka);
    let node = kafka.broker(0).id();
    let connection = cluster.connection(node, Purpose::Fetch, 1).await.unwrap();
    kafka.broker(0).kill().unwrap();
    let lost = connection.closed().await;
    assert_eq!(lost.retry(), Retry::AfterMetadata, "{lost}");
    let error = cluster.connection(node, Purpose::Fetch, 1).await.unwrap_err();
    let address = kafka.broker(0).address();
    assert_eq!(
        error.to_string(),
        format!(
            "target broker {node} ({address}): connection refused (Connect); is the broker up and the address right?"
        )
    );
    kafka.broker(0).start().unwrap();
    let again = cluster.connection(node, Purpose::Fetch, 1).await.unwrap();
    again.call(MetadataRequest::default()).await.unwrap();
}
