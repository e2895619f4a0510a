//! Every API in every version that is offered: each is read, answered, and the answer is what that version says.

use kafka_protocol::messages::*;
use twinlog_sandbox::{APIS, ApiRange, ErrorCode, Fault};

use crate::kit::{Client, plain, produce_request, simple};

#[tokio::test]
async fn the_table_is_what_api_versions_says() {
    let (_sandbox, _clock, mut client) = simple();
    for version in 0..=4 {
        let answer = client.call(&ApiVersionsRequest::default(), version).await;
        let said: Vec<_> = answer.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        // Brokers say that they take Produce from v0 on, for old librdkafka, and do not (KAFKA-18659).
        let min = |range: &ApiRange| if range.api == ApiKey::Produce { 0 } else { range.min };
        let table: Vec<_> = APIS.iter().map(|range| (range.api as i16, min(range), range.max)).collect();
        assert_eq!(said, table);
    }
}

/// Calls an API in all its versions with what `$request` gives for a version, as it is and when it is refused.
macro_rules! all_versions {
    ($($api:ident: $request:expr,)*) => {
        #[tokio::test(start_paused = true)]
        async fn every_version_is_answered() {
            let mut tried = Vec::new();
            $(
                let range = APIS.iter().find(|range| range.api == ApiKey::$api).unwrap();
                for version in range.min..=range.max {
                    for refused in [false, true] {
                        let (sandbox, _clock) =
                            crate::kit::sandbox(twinlog_sandbox::TopicSpec::new(crate::kit::TOPIC, 2));
                        if refused {
                            sandbox.fault(Fault::refuse(ErrorCode::UNKNOWN_SERVER_ERROR));
                        }
                        let mut client = Client::new(&sandbox, 1);
                        let make = $request;
                        let answer = client.try_call(&make(version), version).await;
                        assert!(answer.is_some(), "{} v{version}, refused: {refused}", stringify!($api));
                    }
                }
                tried.push(ApiKey::$api);
            )*
            for range in APIS {
                assert!(tried.contains(&range.api), "{:?} is not tried", range.api);
            }
        }
    };
}

fn samples_topic() -> TopicName {
    crate::kit::topic_name(crate::kit::TOPIC)
}

fn txn() -> TransactionalId {
    TransactionalId(crate::kit::text("id"))
}

fn group() -> GroupId {
    GroupId(crate::kit::text("group"))
}

all_versions! {
    Produce: |version: i16| {
        let mut request = produce_request(None, plain(1));
        if version >= 13 {
            request.topic_data[0].name = TopicName::default();
        }
        request
    },
    Fetch: |version: i16| {
        let mut request = crate::kit::fetch_request(0).with_isolation_level(1);
        if version >= 13 {
            request.topics[0].topic = TopicName::default();
        }
        request
    },
    ListOffsets: |_| {
        let asked = list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1);
        let topic = list_offsets_request::ListOffsetsTopic::default().with_name(samples_topic());
        ListOffsetsRequest::default().with_topics(vec![topic.with_partitions(vec![asked])])
    },
    Metadata: |version: i16| {
        let known = metadata_request::MetadataRequestTopic::default().with_name(Some(samples_topic()));
        let unknown = known.clone().with_name(Some(crate::kit::topic_name("nowhere")));
        let request = MetadataRequest::default().with_topics(Some(vec![known, unknown]));
        if version >= 8 { request.with_include_topic_authorized_operations(true) } else { request }
    },
    OffsetCommit: |_| {
        let asked = offset_commit_request::OffsetCommitRequestPartition::default();
        let topic = offset_commit_request::OffsetCommitRequestTopic::default().with_name(samples_topic());
        OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic.with_partitions(vec![asked])])
    },
    OffsetFetch: |version: i16| {
        if version >= 8 {
            let topic = offset_fetch_request::OffsetFetchRequestTopics::default().with_name(samples_topic());
            let asked = offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(group());
            let topics = Some(vec![topic.with_partition_indexes(vec![0, 1])]);
            return OffsetFetchRequest::default().with_groups(vec![asked.with_topics(topics)]);
        }
        crate::groups::offset_fetch(false)
    },
    FindCoordinator: |version: i16| {
        let key = crate::kit::text("key");
        let request = FindCoordinatorRequest::default();
        if version >= 4 { request.with_coordinator_keys(vec![key]) } else { request.with_key(key) }
    },
    JoinGroup: |_| {
        let protocol = join_group_request::JoinGroupRequestProtocol::default().with_name(crate::kit::text("range"));
        JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(10_000)
            .with_protocol_type(crate::kit::text("consumer"))
            .with_protocols(vec![protocol])
    },
    Heartbeat: |_| HeartbeatRequest::default().with_group_id(group()),
    LeaveGroup: |version: i16| {
        let request = LeaveGroupRequest::default().with_group_id(group());
        let member = leave_group_request::MemberIdentity::default();
        if version >= 3 { request.with_members(vec![member]) } else { request }
    },
    SyncGroup: |_| SyncGroupRequest::default().with_group_id(group()),
    DescribeGroups: |_| DescribeGroupsRequest::default().with_groups(vec![group()]),
    ListGroups: |_| ListGroupsRequest::default(),
    DeleteGroups: |_| DeleteGroupsRequest::default().with_groups_names(vec![group()]),
    ApiVersions: |_| ApiVersionsRequest::default(),
    CreateTopics: |_| {
        let topic = create_topics_request::CreatableTopic::default().with_num_partitions(1).with_replication_factor(1);
        let good = topic.clone().with_name(crate::kit::topic_name("new"));
        CreateTopicsRequest::default().with_topics(vec![good, topic.with_name(samples_topic())])
    },
    DeleteTopics: |version: i16| {
        if version >= 6 {
            let by_name = delete_topics_request::DeleteTopicState::default().with_name(Some(samples_topic()));
            let by_id = delete_topics_request::DeleteTopicState::default().with_name(None);
            return DeleteTopicsRequest::default().with_topics(vec![by_name, by_id]);
        }
        DeleteTopicsRequest::default().with_topic_names(vec![samples_topic()])
    },
    DeleteRecords: |_| {
        let asked = delete_records_request::DeleteRecordsPartition::default();
        let topic = delete_records_request::DeleteRecordsTopic::default().with_name(samples_topic());
        DeleteRecordsRequest::default().with_topics(vec![topic.with_partitions(vec![asked])])
    },
    InitProducerId: |_| {
        InitProducerIdRequest::default()
            .with_transactional_id(Some(txn()))
            .with_transaction_timeout_ms(1000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
    },
    OffsetForLeaderEpoch: |_| {
        let asked = offset_for_leader_epoch_request::OffsetForLeaderPartition::default();
        let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default().with_topic(samples_topic());
        OffsetForLeaderEpochRequest::default().with_topics(vec![topic.with_partitions(vec![asked])])
    },
    AddPartitionsToTxn: |_| {
        let topic = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default().with_name(samples_topic());
        AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(txn())
            .with_v3_and_below_topics(vec![topic.with_partitions(vec![0])])
    },
    AddOffsetsToTxn: |_| AddOffsetsToTxnRequest::default().with_transactional_id(txn()).with_group_id(group()),
    EndTxn: |_| EndTxnRequest::default().with_transactional_id(txn()),
    TxnOffsetCommit: |_| crate::groups::txn_offset_commit("id", (1, 0), 5),
    DescribeConfigs: |_| {
        let topic = describe_configs_request::DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(crate::kit::text(crate::kit::TOPIC))
            .with_configuration_keys(None);
        let broker = topic.clone().with_resource_type(4).with_resource_name(crate::kit::text("1"));
        DescribeConfigsRequest::default().with_resources(vec![topic, broker]).with_include_synonyms(true)
    },
    AlterConfigs: |_| {
        let topic = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(crate::kit::text(crate::kit::TOPIC));
        AlterConfigsRequest::default().with_resources(vec![topic])
    },
    DescribeLogDirs: |_| DescribeLogDirsRequest::default().with_topics(None),
    CreatePartitions: |_| {
        let topic = create_partitions_request::CreatePartitionsTopic::default().with_name(samples_topic());
        CreatePartitionsRequest::default().with_topics(vec![topic.with_count(5).with_assignments(None)])
    },
    IncrementalAlterConfigs: |_| {
        let topic = incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(crate::kit::text(crate::kit::TOPIC));
        IncrementalAlterConfigsRequest::default().with_resources(vec![topic])
    },
    DescribeCluster: |_| DescribeClusterRequest::default(),
}
