//! Clusters start, keep their data, and survive a leader.

use twinlog_testcontainers::{
    At, Cluster, ClusterSpec, ConsoleConsumer, Headers, Isolation, KafkaTool, KafkaVersion, Oracle, Produce, eventually,
};

use crate::LONG;

fn numbers(count: u32) -> String {
    (1..=count).map(|n| format!("{n}\n")).collect()
}

fn read_all(tool: &KafkaTool, topic: &str, count: u64) -> String {
    let consumer = ConsoleConsumer::new(topic).from_beginning().max_messages(count);
    tool.console_consume(&consumer.timeout(LONG)).unwrap()
}

fn with_seq(spec: ClusterSpec, count: u32) -> (Cluster, KafkaTool) {
    let cluster = spec.start().unwrap();
    let tool = KafkaTool::new(&cluster).unwrap();
    tool.topics(&["--create", "--topic", "seq", "--partitions", "1"]).unwrap();
    tool.console_produce("seq", &numbers(count), &["--producer-property", "acks=all"]).unwrap();
    (cluster, tool)
}

#[test]
fn one_broker_keeps_its_data_over_kill_stop_and_pause() {
    let (cluster, tool) = with_seq(ClusterSpec::new(), 1000);
    let broker = cluster.broker(0);
    let (address, pid) = (broker.address(), broker.pid().unwrap());

    broker.kill().unwrap();
    assert!(!std::fs::exists(format!("/proc/{pid}")).unwrap());
    broker.start().unwrap();
    broker.restart().unwrap();
    broker.pause().unwrap();
    broker.resume().unwrap();

    assert_eq!(broker.address(), address);
    assert_ne!(broker.pid(), Some(pid));
    assert_eq!(read_all(&tool, "seq", 1000), numbers(1000));
    let log = broker.data_path().unwrap().join("seq-0/00000000000000000000.log");
    let dump = tool.dump_log(&log, &["--print-data-log"]).unwrap();
    assert!(dump.contains("payload: 1000"), "{dump}");
}

#[test]
fn a_paused_broker_answers_nothing_until_it_is_resumed() {
    let cluster = ClusterSpec::new().start().unwrap();
    let oracle = Oracle::start().unwrap();
    let at = oracle.at(cluster.bootstrap_text());
    at.create_topic("paused", 1, &[]).unwrap();
    let endless = Produce::endless("paused").rate(500);
    at.produce_start("p", &endless).unwrap();
    let acked = || at.produce_progress("p").unwrap().acked_total();
    eventually("records are acknowledged", LONG, || (acked() > 0).then_some(()));

    cluster.broker(0).pause().unwrap();
    // What was on its way when it stopped may still come: twice the same count is the rest.
    let held = eventually("no more acknowledgements", LONG, || {
        let before = acked();
        let sent = at.produce_progress("p").unwrap().sent;
        eventually("more is sent", LONG, || (at.produce_progress("p").unwrap().sent > sent + 50).then_some(()));
        (acked() == before).then_some(before)
    });
    cluster.broker(0).resume().unwrap();

    eventually("it goes on", LONG, || (acked() > held).then_some(()));
    let produced = at.produce_stop("p").unwrap();
    assert_eq!((produced.failed, produced.acked_total()), (0, produced.sent));
}

#[test]
fn three_brokers_survive_the_kill_of_a_leader() {
    let cluster = ClusterSpec::new().brokers(3).start().unwrap();
    let oracle = Oracle::start().unwrap();
    let at = oracle.at(cluster.bootstrap_text());
    at.create_topic("moved", 1, &[]).unwrap();
    at.move_partition("moved", 0, &[2, 3, 1]).unwrap();
    let placement = at.placement("moved").unwrap().remove(&0).unwrap();
    assert_eq!((placement.leader, placement.replicas), (2, vec![2, 3, 1]));
    at.produce_start("p", &Produce::endless("moved").rate(500)).unwrap();
    let acked = || at.produce_progress("p").unwrap().acked_total();
    eventually("records are acknowledged", LONG, || (acked() > 100).then_some(()));

    cluster.node(2).unwrap().kill().unwrap();

    let before = acked();
    eventually("the next leader goes on", LONG, || (acked() > before + 500).then_some(()));
    let produced = at.produce_stop("p").unwrap();
    assert_eq!((produced.failed, &produced.error), (0, &None));
    // Kafka's own client may still turn to the dead broker, until its time for that is over.
    let ends = eventually("the ends can be asked for", LONG, || at.offsets("moved", At::End).ok());
    assert_eq!(ends[&0], produced.acked[&0] as i64);
    let digest = at.digest("moved", Isolation::ReadCommitted).unwrap();
    assert_eq!(digest[&0].count, produced.sent);

    cluster.node(2).unwrap().start().unwrap();
    cluster.await_ready().unwrap();
    eventually("it is in sync again", LONG, || (at.placement("moved").unwrap()[&0].in_sync.len() == 3).then_some(()));
}

#[test]
fn kafka_3_9_starts_and_its_own_tools_work() {
    let (cluster, tool) = with_seq(ClusterSpec::new().version(KafkaVersion::V3_9_1), 100);
    assert!(cluster.log().contains("Kafka version: 3.9.1"), "{}", cluster.log());
    assert_eq!(read_all(&tool, "seq", 100), numbers(100));
    let offsets = tool.get_offsets(&["--topic", "seq"]).unwrap();
    assert_eq!(offsets.trim(), "seq:0:100");
}

#[test]
fn kafka_2_8_starts_with_its_zookeeper_and_keeps_what_it_has_over_a_kill() {
    let cluster = ClusterSpec::new().version(KafkaVersion::V2_8_2).start().unwrap();
    assert!(cluster.log().contains("Kafka version: 2.8.2"), "{}", cluster.log());
    let oracle = Oracle::start().unwrap();
    let at = oracle.at(cluster.bootstrap_text());
    at.create_topic("old", 1, &[("message.format.version", "0.9.0")]).unwrap();
    at.produce(&Produce::new("old", 100).headers(Headers::None).not_idempotent()).unwrap();
    cluster.broker(0).kill().unwrap();
    cluster.broker(0).start().unwrap();
    cluster.await_ready().unwrap();
    // It hears of its topics only after it is there.
    let end = eventually("the topic is there again", LONG, || at.offsets("old", At::End).ok()?.get(&0).copied());
    assert_eq!(end, 100);
}

#[test]
fn a_property_of_the_test_reaches_the_broker_and_a_bad_one_is_told() {
    let spec = ClusterSpec::new().config("process.roles", "nonsense");
    let error = spec.start().unwrap_err().to_string();
    assert!(error.contains("broker 1 ended") && error.contains("nonsense"), "{error}");
}
