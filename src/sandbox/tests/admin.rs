//! Topics, settings, deleted records, retention.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, IncrementalAlterConfigsRequest, MetadataRequest,
};
use twinlog_sandbox::{ErrorCode, Sandbox, SandboxError, SandboxSpec, TopicSpec};
use twinlog_wire::builder::BatchOptions;

use crate::kit::{Client, START_MS, TOPIC, batch_at, plain, sandbox, sandbox_of, simple, text, topic_name};

const DAY_MS: i64 = 86_400_000;

async fn create(client: &mut Client, name: &str, partitions: i32, config: Option<(&str, &str)>) -> ErrorCode {
    let config =
        config.map(|(name, value)| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value))));
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(config.into_iter().collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
    ErrorCode(client.call(&request, 7).await.topics[0].error_code)
}

/// Value and source of a setting of the topic.
async fn setting(client: &mut Client, kind: i8, resource: &str, name: &str) -> (String, i8) {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configuration_keys(Some(vec![text(name)]));
    let answer = client.call(&DescribeConfigsRequest::default().with_resources(vec![resource]), 4).await;
    let found = &answer.results[0].configs[0];
    (found.value.as_ref().unwrap().to_string(), found.config_source)
}

#[tokio::test]
async fn leaders_go_round_the_nodes() {
    let (sandbox, _clock) = sandbox_of(SandboxSpec::new().nodes(3).topic(TopicSpec::new(TOPIC, 6)));
    let metadata = Client::new(&sandbox, 2).call(&MetadataRequest::default().with_topics(None), 12).await;
    assert_eq!(metadata.brokers.len(), 3);
    assert_eq!(metadata.cluster_id, Some(text("twinlog-sandbox")));
    let leaders: Vec<i32> = metadata.topics[0].partitions.iter().map(|partition| partition.leader_id.0).collect();
    assert_eq!(leaders, [1, 2, 3, 1, 2, 3]);
    assert_eq!(metadata.topics[0].topic_id, sandbox.topic_id(TOPIC).unwrap());
}

#[tokio::test]
async fn topics_are_made_checked_and_deleted() {
    let (_sandbox, _clock, mut client) = simple();
    assert_eq!(create(&mut client, "new", 4, Some(("retention.ms", "5"))).await, ErrorCode::NONE);
    assert_eq!(create(&mut client, "new", 4, None).await, ErrorCode::TOPIC_ALREADY_EXISTS);
    assert_eq!(create(&mut client, "a b", 1, None).await, ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert_eq!(create(&mut client, "none", 0, None).await, ErrorCode::INVALID_PARTITIONS);
    assert_eq!(create(&mut client, "odd", 1, Some(("no.such", "1"))).await, ErrorCode::INVALID_CONFIG);
    assert_eq!(create(&mut client, "odd", 1, Some(("retention.ms", "x"))).await, ErrorCode::INVALID_CONFIG);

    let delete = |name: &str| {
        let topic = DeleteTopicState::default().with_name(Some(topic_name(name)));
        DeleteTopicsRequest::default().with_topics(vec![topic])
    };
    assert_eq!(client.call(&delete("new"), 6).await.responses[0].error_code, 0);
    let again = ErrorCode(client.call(&delete("new"), 6).await.responses[0].error_code);
    assert_eq!(again, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
async fn asking_makes_a_topic_only_where_that_is_on() {
    let asked = MetadataRequestTopic::default().with_name(Some(topic_name("asked")));
    let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(true);
    let (_sandbox, _clock, mut client) = simple();
    let code = ErrorCode(client.call(&request, 9).await.topics[0].error_code);
    assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);

    let spec = SandboxSpec::new().setting("auto.create.topics.enable", "true").setting("num.partitions", "4");
    let (sandbox, _clock) = sandbox_of(spec);
    let mut client = Client::new(&sandbox, 1);
    let careful = request.clone().with_allow_auto_topic_creation(false);
    assert_eq!(client.call(&careful, 9).await.topics[0].error_code, 3);
    assert_eq!(client.call(&request, 9).await.topics[0].partitions.len(), 4);
}

#[tokio::test]
async fn settings_are_effective_ones_with_their_source() {
    let spec = SandboxSpec::new()
        .setting("producer.id.expiration.ms", "1000")
        .setting("log.retention.ms", "7000")
        .topic(TopicSpec::new(TOPIC, 1).config("max.message.bytes", "5000"));
    let (sandbox, _clock) = sandbox_of(spec);
    let mut client = Client::new(&sandbox, 1);
    assert_eq!(setting(&mut client, 2, TOPIC, "max.message.bytes").await, ("5000".to_owned(), 1));
    assert_eq!(setting(&mut client, 2, TOPIC, "retention.ms").await, ("7000".to_owned(), 4));
    assert_eq!(setting(&mut client, 2, TOPIC, "cleanup.policy").await, ("delete".to_owned(), 5));
    assert_eq!(setting(&mut client, 4, "1", "producer.id.expiration.ms").await, ("1000".to_owned(), 4));
    assert_eq!(setting(&mut client, 4, "1", "transaction.max.timeout.ms").await, ("900000".to_owned(), 5));

    let alter = |operation: i8, value: Option<&str>| {
        let config = AlterableConfig::default()
            .with_name(text("cleanup.policy"))
            .with_config_operation(operation)
            .with_value(value.map(text));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(TOPIC))
            .with_configs(vec![config]);
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
    };
    for (operation, value, effective, source) in [
        (2, Some("compact"), "delete,compact", 1),
        (3, Some("delete"), "compact", 1),
        (0, Some("delete"), "delete", 1),
        (1, None, "delete", 5),
    ] {
        assert_eq!(client.call(&alter(operation, value), 1).await.responses[0].error_code, 0);
        assert_eq!(setting(&mut client, 2, TOPIC, "cleanup.policy").await, (effective.to_owned(), source));
    }
    let refused = ErrorCode(client.call(&alter(0, Some("burn")), 1).await.responses[0].error_code);
    assert_eq!(refused, ErrorCode::INVALID_CONFIG);
}

#[tokio::test]
async fn partitions_are_added_and_never_taken_away() {
    let (sandbox, _clock, mut client) = simple();
    let grow = |count| {
        let topic = CreatePartitionsTopic::default().with_name(topic_name(TOPIC)).with_count(count);
        CreatePartitionsRequest::default().with_topics(vec![topic.with_assignments(None)])
    };
    assert_eq!(client.call(&grow(3), 3).await.results[0].error_code, 0);
    assert_eq!(sandbox.offsets(TOPIC, 2).unwrap(), (0, 0));
    let fewer = ErrorCode(client.call(&grow(2), 3).await.results[0].error_code);
    assert_eq!(fewer, ErrorCode::INVALID_PARTITIONS);
}

#[tokio::test]
async fn deleted_records_move_the_start() {
    let (_sandbox, _clock, mut client) = simple();
    for _ in 0..3 {
        client.append(plain(2)).await.unwrap();
    }
    let before = |offset| {
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(topic_name(TOPIC)).with_partitions(vec![partition]);
        DeleteRecordsRequest::default().with_topics(vec![topic])
    };
    let answer = client.call(&before(3), 2).await.topics[0].partitions[0].clone();
    assert_eq!((answer.error_code, answer.low_watermark), (0, 3));
    assert_eq!(ErrorCode(client.fetch(2).await.error_code), ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(client.fetch(3).await.log_start_offset, 3);
    let beyond = ErrorCode(client.call(&before(7), 2).await.topics[0].partitions[0].error_code);
    assert_eq!(beyond, ErrorCode::OFFSET_OUT_OF_RANGE);
    let all = client.call(&before(-1), 2).await.topics[0].partitions[0].low_watermark;
    assert_eq!(all, 6);
    assert_eq!(client.append(plain(1)).await, Ok(6));
}

#[tokio::test]
async fn retention_takes_old_batches_when_it_is_asked_to() {
    let (sandbox, clock, mut client) = simple();
    client.append(batch_at(BatchOptions::default(), 3, START_MS - 8 * DAY_MS)).await.unwrap();
    client.append(plain(2)).await.unwrap();
    assert_eq!(sandbox.offsets(TOPIC, 0).unwrap(), (0, 5));
    sandbox.retain();
    assert_eq!(sandbox.offsets(TOPIC, 0).unwrap(), (3, 5));
    clock.advance(8 * DAY_MS);
    sandbox.retain();
    assert_eq!(sandbox.offsets(TOPIC, 0).unwrap(), (5, 5));
}

#[tokio::test]
async fn retention_by_size_keeps_at_least_that_much() {
    let keep = plain(1).len() * 2;
    let (sandbox, _clock) = sandbox(TopicSpec::new(TOPIC, 1).config("retention.bytes", keep.to_string()));
    let mut client = Client::new(&sandbox, 1);
    for _ in 0..5 {
        client.append(plain(1)).await.unwrap();
    }
    sandbox.retain();
    assert_eq!(sandbox.offsets(TOPIC, 0).unwrap(), (3, 5));
    let dirs = client.call(&DescribeLogDirsRequest::default().with_topics(None), 4).await;
    assert_eq!(dirs.results[0].topics[0].partitions[0].partition_size, i64::try_from(keep).unwrap());
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_is_refused() {
    assert!(matches!(Sandbox::new(SandboxSpec::new().nodes(0)), Err(SandboxError::Nodes(0))));
    assert!(matches!(Sandbox::new(SandboxSpec::new().setting("a", "b")), Err(SandboxError::Setting(_))));
    let topic = TopicSpec::new("a b", 1);
    assert!(matches!(Sandbox::new(SandboxSpec::new().topic(topic)), Err(SandboxError::Topic { .. })));
    let sandbox = Sandbox::new(SandboxSpec::new()).unwrap();
    assert!(matches!(sandbox.connect(2), Err(SandboxError::UnknownNode(2))));
    let unknown = sandbox.forget_producers("nowhere", 0, None);
    assert!(matches!(unknown, Err(SandboxError::UnknownPartition { .. })));
}

#[tokio::test]
async fn in_memory_nodes_are_found_by_the_address_that_metadata_gives() {
    let (sandbox, _clock) = sandbox_of(SandboxSpec::new().nodes(2));
    let metadata = Client::new(&sandbox, 1).call(&MetadataRequest::default(), 9).await;
    let second = &metadata.brokers[1];
    let port = u16::try_from(second.port).unwrap();
    assert_eq!((second.host.to_string(), port), sandbox.memory_address(2));
    assert_eq!(sandbox.connect_to(&second.host, port).unwrap().node, 2);
    assert!(matches!(sandbox.connect_to(&second.host, 1), Err(SandboxError::UnknownAddress { .. })));
}
