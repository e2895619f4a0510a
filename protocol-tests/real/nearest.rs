//! A source in several racks (KIP-392).

use twinlog_testcontainers::{ClusterSpec, Produce};

use crate::pair::{Link, Pair, assert_runs, drain};
use crate::relay::Relay;

/// Given a source of three racks, when a link is in one whose broker leads nothing, then nearly all that it reads comes
/// from that broker; when the broker is lost, then the leaders go on, and each record is there once and in order.
#[test]
fn records_are_read_from_the_replica_in_the_same_rack() {
    let relays: Vec<Relay> = (0..3).map(|_| Relay::listen()).collect();
    let ports: Vec<u16> = relays.iter().map(Relay::port).collect();
    let source = ClusterSpec::new().brokers(3).racks().relayed(&ports);
    let pair = Pair::start(source, ClusterSpec::new());
    for (relay, broker) in relays.iter().zip(pair.source.brokers()) {
        relay.lead_to(broker.relayed_address().expect("a listener for the relay"));
    }
    let bootstrap: Vec<_> = relays.iter().map(Relay::address).collect();
    let clusters = [&bootstrap, &pair.target.bootstrap()].map(|at| format!("{{ bootstrap: {at:?} }}"));
    let link = Link::by(&pair, &clusters, "nearest", "{ include: [nearest] }", &["rack: rack-3"]);
    link.source().create_topic("nearest", 2, &[]).expect("the topic is created");
    for partition in 0..2 {
        link.source().move_partition("nearest", partition, &[1, 2, 3]).expect("the partition is moved");
    }
    let produce = Produce::new("nearest", 20_000).value_bytes(1_000).noise();
    link.source().produce(&produce).expect("produced");
    let mut run = link.run("nearest");
    link.await_twins("nearest", "nearest");
    let [first, second, third] = [0, 1, 2].map(|broker: usize| relays[broker].answered());
    assert!(third > 20_000_000, "{first}, {second} and {third} bytes from the three brokers");
    assert!(first + second < third / 50, "{first}, {second} and {third} bytes from the three brokers");

    pair.source.broker(2).kill().expect("killed");
    link.source().produce(&produce.first(20_000)).expect("produced");
    link.await_twins("nearest", "nearest");
    assert!(relays[0].answered() > first + 20_000_000, "the leader has sent the rest");
    assert_runs(&mut run);
    drain(run);
    assert_eq!(link.assert_twins("nearest", "nearest"), 40_000);
}
