//! A target partition that nobody leads, and one whose follower stands still: the others go on.

use twinlog_testcontainers::{ClusterSpec, Produce, Program, eventually};

use crate::ask::Load;
use crate::pair::{LONG, Link, Pair, assert_runs, drain, turn};
use crate::segments::longest_copy;

/// Leader, and followers.
type Replicas<'a> = &'a [i32];

/// Longer than the test: what stands still must not leave the in-sync set meanwhile.
const NEVER_MS: &str = "600000";

/// Bytes that the others must copy meanwhile: some seconds of the load.
const MEANWHILE: u64 = 3_000_000;

/// A link of one lane over one topic of four partitions, whose mirrors lie where `replicas` says, what the link needs
/// besides where `own` says, and a load on it.
struct Scene<'a> {
    link: Link<'a>,
    load: Load,
}

impl<'a> Scene<'a> {
    fn begin(pair: &'a Pair, topic: &str, replicas: [Replicas<'_>; 4], own: Replicas<'_>) -> Self {
        let link = Link::new(pair, topic, &format!("{{ include: [{topic}] }}"), &["lanes: 1"]);
        link.source().create_topic(topic, 4, &[]).expect("the topic is created");
        link.source().produce(&Produce::new(topic, 400)).expect("produced");
        link.catch_up();
        let target = link.target();
        target.alter_config(topic, &[("min.insync.replicas", "1")], &[]).expect("altered");
        for (partition, replicas) in (0..).zip(replicas) {
            target.move_partition(topic, partition, replicas).expect("moved");
        }
        // What the whole link stands on; the brokers' own topics have one partition each here.
        let [map, state] = ["map", "state"].map(|what| format!("__twinlog.{topic}.{what}"));
        for name in [&map, &state, "__consumer_offsets", "__transaction_state"] {
            target.move_partition(name, 0, own).expect("moved");
        }
        let produce = Produce::endless(topic).first(400).value_bytes(1_000).noise().rate(1_000);
        let load = Load::start(pair.source.bootstrap_text(), topic, &produce);
        Self { link, load }
    }

    fn bytes(&self, partition: i32) -> u64 {
        longest_copy(&self.link.pair.target, &self.link.name, partition).expect("the partition is there")
    }

    /// Waits until each of these partitions has grown by so many bytes from now on.
    fn await_growth(&self, partitions: &[i32], bytes: u64) {
        let begins: Vec<_> = partitions.iter().map(|partition| (*partition, self.bytes(*partition))).collect();
        for (partition, begin) in begins {
            let what = format!("partition {partition} grows by {bytes} bytes from {begin}");
            eventually(&what, LONG, || (self.bytes(partition) >= begin + bytes).then_some(()));
        }
    }

    /// Ends both, and compares all there is.
    fn finish(self, twinlog: Program) {
        let Self { link, load } = self;
        drain(twinlog);
        let written = load.stop().acked_total();
        link.catch_up();
        assert_eq!(link.assert_twins(&link.name, &link.name), 400 + written);
        link.verify();
    }
}

/// Waits for a line of the program's log with all these words.
fn await_line(program: &Program, words: &[&str]) {
    eventually(&format!("a line with {words:?}"), LONG, || {
        program.stderr().lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
    });
}

/// Given a mirror of which one partition has one replica, when its broker is gone, then the others go on, another start
/// takes the lane over, and the partition goes on when the broker is back.
#[test]
fn a_partition_without_a_leader_holds_neither_the_others_nor_a_new_start() {
    let _turn = turn();
    let pair = Pair::onto(ClusterSpec::new().brokers(3));
    let scene = Scene::begin(&pair, "lone", [&[3], &[1, 2], &[2, 1], &[1, 2]], &[1, 2]);
    let mut first = scene.link.run("first");
    scene.await_growth(&[0, 1, 2, 3], 100_000);

    let broker = pair.target.node(3).expect("a broker");
    broker.kill().expect("killed");
    await_line(&first, &["target-offline", "partition=0"]);
    scene.await_growth(&[1, 2, 3], 300_000);
    first.kill().expect("killed");

    let mut second = scene.link.run("second");
    await_line(&second, &["Lane taken"]);
    await_line(&second, &["target-offline", "partition=0"]);
    let stopped = scene.bytes(0);
    scene.await_growth(&[1, 2, 3], 300_000);
    assert_runs(&mut second);
    assert_eq!(scene.bytes(0), stopped, "its only broker is gone");

    broker.start().expect("started");
    scene.await_growth(&[0, 1, 2, 3], 300_000);
    assert_runs(&mut second);
    scene.finish(second);
}

/// Given a mirror of which one partition has a follower that stands still and stays in sync, when all are written, then
/// that partition waits on a connection of its own, the others that the same broker leads go on, and it follows when
/// the follower does.
#[test]
fn a_follower_that_stands_still_holds_its_own_partition_alone() {
    let _turn = turn();
    let target = ClusterSpec::new().brokers(3);
    let target = target.config("replica.lag.time.max.ms", NEVER_MS).config("broker.session.timeout.ms", NEVER_MS);
    let pair = Pair::onto(target);
    let scene = Scene::begin(&pair, "still", [&[1, 3], &[1, 2], &[1, 2], &[1, 2]], &[1, 2]);
    let mut twinlog = scene.link.run("run");
    scene.await_growth(&[0, 1, 2, 3], 100_000);

    let follower = pair.target.node(3).expect("a broker");
    follower.pause().expect("stopped");
    await_line(&twinlog, &["Slow: on a connection of its own", "partition=0"]);
    let waiting = scene.bytes(0);
    scene.await_growth(&[1, 2, 3], MEANWHILE);
    let grown = scene.bytes(0) - waiting;
    assert!(grown < MEANWHILE / 4, "partition 0 waits for its follower, and has grown by {grown} bytes");
    assert_runs(&mut twinlog);

    follower.resume().expect("resumed");
    scene.await_growth(&[0], MEANWHILE);
    assert_runs(&mut twinlog);
    scene.finish(twinlog);
}
