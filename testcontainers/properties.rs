//! The broker properties of a test cluster.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use crate::spec::ClusterSpec;

/// One node's place in the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// For clients and other brokers.
    pub(crate) broker: u16,
    /// For the controllers' quorum, or for ZooKeeper.
    pub(crate) controller: u16,
    /// For those who come by way of a relay, if the cluster has such a listener.
    pub(crate) relayed: Option<u16>,
    /// For those who come over a secured connection, if the cluster has such a listener.
    pub(crate) secured: Option<u16>,
}

/// The text of `server.properties` for the node of number `node` (counted from 1).
pub(crate) fn server(spec: &ClusterSpec, ports: &[Ports], node: usize, data: &str) -> String {
    let voters: Vec<String> = ports.iter().enumerate().map(voter).collect();
    let own = ports[node - 1];
    let brokers = ports.len();
    let in_sync_min = if brokers == 1 { 1 } else { 2 };
    let mut all = BTreeMap::new();
    let mut set = |key: &str, value: String| {
        all.insert(key.to_owned(), value);
    };
    if spec.version.has_kraft() {
        set("process.roles", "broker,controller".into());
        set("node.id", node.to_string());
        set("controller.quorum.voters", voters.join(","));
        set("controller.listener.names", "CONTROLLER".into());
    } else {
        set("broker.id", node.to_string());
        set("zookeeper.connect", format!("127.0.0.1:{}", ports[0].controller));
        if node == 1 {
            set("test.zookeeper.dir", format!("{data}-zookeeper"));
        }
        // As below, in the words of these releases.
        set("zookeeper.session.timeout.ms", "6000".into());
    }
    set("inter.broker.listener.name", "PLAINTEXT".into());
    let mut protocols = String::from("CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,RELAYED:PLAINTEXT");
    let plain = format!("PLAINTEXT://127.0.0.1:{}", own.broker);
    let mut listeners = plain.clone();
    let mut advertised = plain;
    if spec.version.has_kraft() {
        listeners.push_str(&format!(",CONTROLLER://127.0.0.1:{}", own.controller));
    }
    if let (Some(port), Some(relay)) = (own.relayed, spec.relays.get(node - 1)) {
        listeners.push_str(&format!(",RELAYED://127.0.0.1:{port}"));
        advertised.push_str(&format!(",RELAYED://127.0.0.1:{relay}"));
    }
    if let (Some(port), Some(secured)) = (own.secured, &spec.secured) {
        listeners.push_str(&format!(",SECURED://127.0.0.1:{port}"));
        advertised.push_str(&format!(",SECURED://localhost:{port}"));
        protocols.push_str(&format!(",SECURED:{}", secured.protocol));
        for (key, value) in &secured.properties {
            set(&format!("listener.name.secured.{key}"), value.clone());
        }
    }
    set("listener.security.protocol.map", protocols);
    set("listeners", listeners);
    set("advertised.listeners", advertised);
    if spec.racks {
        set("broker.rack", format!("rack-{node}"));
        set("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector".into());
    }
    set("log.dirs", data.to_owned());
    set("auto.create.topics.enable", "false".into());
    set("default.replication.factor", brokers.to_string());
    set("min.insync.replicas", in_sync_min.to_string());
    set("group.initial.rebalance.delay.ms", "0".into());
    // Instances that are killed are to be replaced soon: 6 seconds by default.
    set("group.min.session.timeout.ms", "1000".into());
    for (topic, in_sync) in [
        ("offsets.topic", None),
        ("transaction.state.log", Some("transaction.state.log.min.isr")),
        ("share.coordinator.state.topic", Some("share.coordinator.state.topic.min.isr")),
    ] {
        set(&format!("{topic}.num.partitions"), "1".into());
        set(&format!("{topic}.replication.factor"), brokers.to_string());
        if let Some(key) = in_sync {
            set(key, in_sync_min.to_string());
        }
    }
    // Small on purpose: several clusters share two cores, and the cleaner takes its buffer at once from the heap.
    set("log.cleaner.dedupe.buffer.size", (8 << 20).to_string());
    set("num.network.threads", "2".into());
    set("num.io.threads", "4".into());
    set("background.threads", "2".into());
    // After a kill, the controller takes the broker back only when its old session is over: 9 seconds by default.
    set("broker.session.timeout.ms", "4000".into());
    set("broker.heartbeat.interval.ms", "1000".into());
    for (key, value) in &spec.config {
        set(key, value.clone());
    }
    all.iter().map(|(key, value)| format!("{key}={}\n", escape(value))).collect()
}

/// The text of `meta.properties`, which marks a data folder as formatted.
pub(crate) fn meta(cluster_id: &str, node: usize) -> String {
    let directory_id = random_uuid();
    format!("version=1\ncluster.id={cluster_id}\nnode.id={node}\ndirectory.id={directory_id}\n")
}

/// A random identifier in Kafka's form: 16 bytes in base64, without padding.
pub(crate) fn random_uuid() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let high = RandomState::new().hash_one(1);
    let low = RandomState::new().hash_one(2);
    let mut bits = u128::from(high) << 64 | u128::from(low);
    let mut text = String::new();
    for _ in 0..21 {
        text.push(char::from(LETTERS[(bits & 31) as usize]));
        bits >>= 5;
    }
    // The last letter holds two bits and four zeros.
    text.push('A');
    text
}

fn voter((index, ports): (usize, &Ports)) -> String {
    format!("{}@127.0.0.1:{}", index + 1, ports.controller)
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: [Ports; 3] = [
        Ports { broker: 11, controller: 21, relayed: Some(31), secured: Some(41) },
        Ports { broker: 12, controller: 22, relayed: Some(32), secured: Some(42) },
        Ports { broker: 13, controller: 23, relayed: Some(33), secured: Some(43) },
    ];

    #[test]
    fn three_brokers_vote_and_keep_two_in_sync() {
        let text = server(&ClusterSpec::new().brokers(3), &PORTS, 2, "/data");
        for line in [
            "controller.quorum.voters=1@127.0.0.1:21,2@127.0.0.1:22,3@127.0.0.1:23",
            "listeners=PLAINTEXT://127.0.0.1:12,CONTROLLER://127.0.0.1:22",
            "min.insync.replicas=2",
            "transaction.state.log.min.isr=2",
            "offsets.topic.replication.factor=3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn whoever_comes_by_a_relay_is_told_the_relay_s_address() {
        let text = server(&ClusterSpec::new().brokers(3).relayed(&[41, 42, 43]), &PORTS, 2, "/data");
        for line in [
            "listeners=PLAINTEXT://127.0.0.1:12,CONTROLLER://127.0.0.1:22,RELAYED://127.0.0.1:32",
            "advertised.listeners=PLAINTEXT://127.0.0.1:12,RELAYED://127.0.0.1:42",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_secured_listener_has_properties_of_its_own() {
        let spec = ClusterSpec::new().brokers(3).secured(
            "SSL",
            [("ssl.keystore.type", "PEM"), ("x", "a\nb")].map(|(key, value)| (key.into(), value.into())),
        );
        let text = server(&spec, &PORTS, 2, "/data");
        for line in [
            "listeners=PLAINTEXT://127.0.0.1:12,CONTROLLER://127.0.0.1:22,SECURED://127.0.0.1:42",
            "advertised.listeners=PLAINTEXT://127.0.0.1:12,SECURED://localhost:42",
            "listener.name.secured.ssl.keystore.type=PEM",
            "listener.name.secured.x=a\\nb",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.contains(",SECURED:SSL\n"), "{text}");
    }

    #[test]
    fn a_property_of_the_test_wins_and_is_there_once() {
        let spec = ClusterSpec::new().config("num.io.threads", "9").config("x", "a\\b");
        let text = server(&spec, &PORTS[..1], 1, "/data");
        let lines: Vec<_> = text.lines().filter(|l| l.starts_with("num.io.threads")).collect();
        assert_eq!(lines, ["num.io.threads=9"]);
        assert!(text.contains("x=a\\\\b\n"));
        assert!(text.contains("min.insync.replicas=1\n"));
    }

    #[test]
    fn identifiers_have_kafka_s_length_and_differ() {
        assert_eq!(random_uuid().len(), 22);
        assert_ne!(random_uuid(), random_uuid());
    }
}
