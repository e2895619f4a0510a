//! MirrorMaker 2 mirrors, and stops.

use std::collections::BTreeMap;

use twinlog_testcontainers::{ClusterSpec, Isolation, KafkaVersion, Kit, MirrorMaker, Oracle, Produce, eventually};

use crate::LONG;

#[test]
fn mirror_maker_copies_a_topic_and_stops() {
    let (source, target) = std::thread::scope(|threads| {
        let source = threads.spawn(|| ClusterSpec::new().start().unwrap());
        let target = ClusterSpec::new().start().unwrap();
        (source.join().unwrap(), target)
    });
    let oracle = Oracle::start().unwrap();
    let (from, to) = (oracle.at(source.bootstrap_text()), oracle.at(target.bootstrap_text()));
    from.create_topic("t", 1, &[]).unwrap();
    from.produce(&Produce::new("t", 100)).unwrap();
    let mut properties: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |key: &str, value: &str| properties.insert(key.to_owned(), value.to_owned());
    set("clusters", "A, B");
    set("A.bootstrap.servers", &source.bootstrap_text());
    set("B.bootstrap.servers", &target.bootstrap_text());
    set("A->B.enabled", "true");
    set("A->B.topics", "t");
    set("replication.factor", "1");
    for topic in ["checkpoints", "heartbeats", "offset-syncs"] {
        set(&format!("{topic}.topic.replication.factor"), "1");
    }
    for topic in ["offset", "status", "config"] {
        set(&format!("{topic}.storage.replication.factor"), "1");
    }

    let kit = Kit::install(KafkaVersion::V4_1_1).unwrap();
    let mut mirror = MirrorMaker::start(&kit, &properties, 384).unwrap();

    let copy = eventually("the topic is mirrored", LONG, || {
        assert!(mirror.is_running().unwrap(), "{}", mirror.log());
        let digest = to.digest("A.t", Isolation::ReadCommitted).ok()?.remove(&0)?;
        (digest.count == 100).then_some(digest)
    });
    let original = from.digest("t", Isolation::ReadCommitted).unwrap();
    assert_eq!(copy.body(), original[&0].body());
    mirror.stop().unwrap();
    assert!(!mirror.is_running().unwrap());
}
