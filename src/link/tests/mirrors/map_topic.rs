//! The map topic, and what is looked at before it is made.

use std::collections::BTreeMap;

use std::time::Duration;

use twinlog_client::Side;
use twinlog_client::admin::NewTopic;
use twinlog_link::map_topic::{MapTopicError, Memory, ensure_map_topic, memory};
use twinlog_link::same_cluster::{SameCluster, refuse_same_cluster};

use crate::kit::{KIT, settings};

const MAX: &str = "9223372036854775807";

#[tokio::test]
async fn the_map_topic_is_made_once_and_grows_with_the_lanes() {
    let target = KIT.client(Side::Target);
    let id = ensure_map_topic(&target, "map-new", 3, None).await.unwrap();
    assert_eq!(
        KIT.target().topic_config("__twinlog.map-new.map").unwrap(),
        settings(&[
            ("cleanup.policy", "compact"),
            ("compression.type", "producer"),
            ("max.message.bytes", "16777216"),
            ("message.timestamp.after.max.ms", MAX),
            ("message.timestamp.before.max.ms", MAX),
            ("message.timestamp.type", "CreateTime"),
            ("unclean.leader.election.enable", "false"),
        ])
    );
    assert_eq!(KIT.target().placement("__twinlog.map-new.map").unwrap().len(), 3);
    assert_eq!(id, *target.refresh().await.unwrap().topics["__twinlog.map-new.map"].id.unwrap().as_bytes());
    assert_eq!(ensure_map_topic(&target, "map-new", 3, None).await.unwrap(), id);

    assert_eq!(ensure_map_topic(&target, "map-new", 5, None).await.unwrap(), id);
    assert_eq!(KIT.target().placement("__twinlog.map-new.map").unwrap().len(), 5);
    assert_eq!(ensure_map_topic(&target, "map-new", 2, None).await.unwrap(), id);
    assert_eq!(KIT.target().placement("__twinlog.map-new.map").unwrap().len(), 5, "lanes that are gone leave room");
}

#[tokio::test]
async fn a_map_topic_that_would_forget_is_refused() {
    KIT.target().create_topic("__twinlog.map-bad.map", 1, &[]).unwrap();
    let target = KIT.client(Side::Target);
    let error = ensure_map_topic(&target, "map-bad", 1, None).await.unwrap_err();
    assert!(matches!(&error, MapTopicError::Setting { setting, .. } if setting == "cleanup.policy"), "{error}");
    assert!(error.to_string().ends_with("set cleanup.policy=compact"), "{error}");
}

#[tokio::test]
async fn the_old_release_knows_the_bounds_too() {
    // The source plays the target here.
    let old = KIT.client(Side::Source);
    ensure_map_topic(&old, "map-old", 1, None).await.unwrap();
    let made = KIT.source().topic_config("__twinlog.map-old.map").unwrap();
    assert_eq!(made["message.timestamp.after.max.ms"], MAX);
}

#[tokio::test]
async fn more_replicas_than_brokers_are_the_targets_own_error() {
    let error = ensure_map_topic(&KIT.client(Side::Target), "map-wide", 1, Some(3)).await.unwrap_err();
    assert!(error.to_string().contains("INVALID_REPLICATION_FACTOR"), "{error}");
}

#[tokio::test]
async fn a_trial_tells_how_many_replicas_the_target_gives() {
    // On this the choice of min.insync.replicas stands where the configuration names no replication factor.
    for side in [Side::Source, Side::Target] {
        let topic = NewTopic { name: "trial".into(), partitions: 1, replication_factor: -1, configs: BTreeMap::new() };
        let tried = KIT.client(side).create_topics(&[topic], true).await.unwrap();
        assert_eq!(tried["trial"].as_ref().unwrap().replication_factor, Some(1), "{side}");
    }
}

#[tokio::test]
async fn brokers_tell_when_they_forget_a_producer() {
    for side in [Side::Source, Side::Target] {
        let told = memory(&KIT.client(side)).await.unwrap();
        assert_eq!(
            told,
            Memory {
                producer_expiration_ms: 86_400_000,
                keep_alive_ms: 3_600_000,
                offsets_retention: Duration::from_secs(7 * 86_400)
            },
            "{side}"
        );
    }
}

#[tokio::test]
async fn a_link_between_a_cluster_and_itself_is_refused() {
    KIT.source().create_topic("same", 1, &[]).unwrap();
    let source = KIT.client(Side::Source).refresh().await.unwrap();
    let target = KIT.client(Side::Target).refresh().await.unwrap();
    let warning = refuse_same_cluster(&source, &target).unwrap();
    assert_eq!(warning, None);
    let error = refuse_same_cluster(&source, &source).unwrap_err();
    assert!(matches!(error, SameCluster::TopicId { .. }), "{error}");
}
