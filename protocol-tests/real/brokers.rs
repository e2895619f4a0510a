//! Brokers that die, stand still and lose their leadership, while records flow: nothing is lost, nothing is there
//! twice, and twinlog goes on in the same process.

use std::thread;
use std::time::Duration;

use twinlog_testcontainers::{ClusterSpec, Produce, eventually};

use crate::chance::Chance;
use crate::kills::UnderLoad;
use crate::pair::{LONG, Link, Pair, assert_runs, drain, scaled, turn};
use crate::segments::longest_copy;

/// How long a stopped broker stands still.
const STILL: Duration = Duration::from_secs(20);

/// Given a link under load, when its source and then its target is killed and started again, and the source stands
/// still for 20 seconds, then the copy goes on and is complete.
#[test]
fn source_and_target_are_killed_and_one_stands_still_under_load() {
    let _turn = turn();
    let pair = Pair::start(ClusterSpec::new(), ClusterSpec::new());
    let scenario = UnderLoad::start(&pair, "brokers");
    let mut twinlog = scenario.link.run("run");
    scenario.link.await_growth(&scenario.plain, 100_000);
    for _ in 0..scaled(1, 10) {
        for cluster in [&pair.source, &pair.target] {
            cluster.broker(0).kill().expect("killed");
            cluster.broker(0).start().expect("started");
            scenario.link.await_growth(&scenario.plain, 200_000);
            assert_runs(&mut twinlog);
        }
        pair.source.broker(0).pause().expect("stopped");
        // The pause is the scenario.
        thread::sleep(STILL);
        pair.source.broker(0).resume().expect("resumed");
        scenario.link.await_growth(&scenario.plain, 200_000);
        assert_runs(&mut twinlog);
    }
    drain(twinlog);
    scenario.finish();
}

/// Given a source of three brokers of which two have nothing new, and a budget that one answer fills, when the third
/// has records, then they are copied: brokers with nothing to say do not keep the budget.
#[test]
fn a_small_budget_goes_round_all_source_brokers() {
    let _turn = turn();
    let pair = Pair::start(ClusterSpec::new().brokers(3), ClusterSpec::new());
    let link = Link::new(&pair, "round", "{ include: [round] }", &["lanes: 1", "budget: 8MiB"]);
    let source = link.source();
    source.create_topic("round", 3, &[]).expect("the topic is created");
    for (partition, leader, others) in [(0, 3, [1, 2]), (1, 1, [2, 3]), (2, 2, [1, 3])] {
        let replicas = [leader, others[0], others[1]];
        source.move_partition("round", partition, &replicas).expect("the leader is moved");
    }
    source.produce(&Produce::new("round", 1_000).partitions(1)).expect("produced");
    link.catch_up();
    link.assert_twins("round", "round");
}

/// Given a target of three brokers, when twinlog is killed, leaders are moved, a broker is killed and brought back and
/// another stands still for 20 seconds, all under load, then the copy is complete.
#[test]
fn three_brokers_lose_leaders_and_members_under_load() {
    let _turn = turn();
    let mut chance = Chance::new("three brokers");
    let pair = Pair::onto(ClusterSpec::new().brokers(3));
    let scenario = UnderLoad::start(&pair, "three");
    let topic = scenario.plain.clone();
    scenario.kill_at_random_moments(&mut chance, scaled(3, 50));

    let mut twinlog = scenario.link.run("run");
    scenario.link.await_growth(&topic, 100_000);
    let target = scenario.link.target();
    for _ in 0..scaled(1, 10) {
        for partition in 0..4 {
            let placement = target.placement(&topic).expect("described");
            let mut replicas = placement[&partition].replicas.clone();
            replicas.rotate_left(1);
            target.move_partition(&topic, partition, &replicas).expect("moved");
        }
        scenario.link.await_growth(&topic, 200_000);
        assert_runs(&mut twinlog);

        let leader = target.placement(&topic).expect("described")[&0].leader;
        let broker = pair.target.node(leader).expect("the leader is a broker");
        broker.kill().expect("killed");
        // The others go on without it.
        scenario.link.await_growth(&topic, 200_000);
        broker.start().expect("started");
        pair.target.await_ready().expect("three brokers again");
        scenario.link.await_growth(&topic, 200_000);
        assert_runs(&mut twinlog);

        let leader = target.placement(&topic).expect("described")[&1].leader;
        let broker = pair.target.node(leader).expect("the leader is a broker");
        let longest = || longest_copy(&pair.target, &topic, 1).expect("partition 1 is there");
        let before = longest();
        broker.pause().expect("stopped");
        // The pause is the scenario.
        thread::sleep(STILL);
        broker.resume().expect("resumed");
        let what = format!("partition 1 goes on from {before} bytes");
        eventually(&what, LONG, || (longest() > before + 50_000).then_some(()));
        scenario.link.await_growth(&topic, 200_000);
        assert_runs(&mut twinlog);
    }
    drain(twinlog);
    scenario.finish();
}
