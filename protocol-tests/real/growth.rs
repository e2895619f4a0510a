//! Topics and partitions that come while twinlog runs, its end in order, and a start that goes on where it was.

use std::fs;

use twinlog_testcontainers::{Produce, eventually};

use crate::ask::total;
use crate::pair::{LONG, Link, SHARED, assert_runs, drain};

/// Given a running link, when a topic and a partition appear, then both are mirrored; when it is ended by SIGTERM and
/// started again, then it does not read again what it has copied.
#[test]
fn new_topics_and_partitions_are_picked_up_and_a_restart_goes_on() {
    let link = Link::new(&SHARED, "growth", "{ include: ['growth\\..*'] }", &["intervals: { topics: 1s }"]);
    let source = link.source();
    source.create_topic("growth.old", 1, &[]).expect("the topic is created");
    source.produce(&Produce::new("growth.old", 2_000)).expect("produced");
    let mut twinlog = link.run("first");
    link.await_twins("growth.old", "growth.old");

    source.create_topic("growth.new", 2, &[]).expect("the topic is created");
    source.produce(&Produce::new("growth.new", 2_000)).expect("produced");
    source.add_partitions("growth.old", 3).expect("partitions are added");
    // The next records go to all three partitions. They are noise, so that they weigh what they say.
    source.produce(&Produce::new("growth.old", 30_000).first(2_000).value_bytes(1_000).noise()).expect("produced");

    link.await_twins("growth.old", "growth.old");
    link.await_twins("growth.new", "growth.new");
    assert_runs(&mut twinlog);
    drain(twinlog);
    for topic in ["growth.old", "growth.new"] {
        link.assert_twins(topic, topic);
    }

    let mut twinlog = link.run("second");
    source.produce(&Produce::new("growth.old", 300).first(32_000)).expect("produced");
    link.await_twins("growth.old", "growth.old");
    let read = bytes_read(twinlog.pid());
    assert!(read < 5_000_000, "{read} bytes were read anew: the topic has 30 MB");
    assert_runs(&mut twinlog);
    drain(twinlog);
    assert_eq!(link.assert_twins("growth.old", "growth.old"), 32_300);
    link.verify();
}

/// Given a link that idles, when it is told to end, then it ends at once, and what was copied stays.
#[test]
fn an_idle_link_ends_in_order_and_keeps_its_mirror_as_it_is() {
    let link = Link::new(&SHARED, "idle", "{ include: [idle] }", &[]);
    link.source().create_topic("idle", 1, &[]).expect("the topic is created");
    link.source().produce(&Produce::new("idle", 100)).expect("produced");
    let twinlog = link.run("run");
    link.await_twins("idle", "idle");
    let said = eventually("caught up is said", LONG, || {
        let said = twinlog.stderr();
        said.contains("idle idle:0 caught-up").then_some(said)
    });
    assert!(!said.contains("ERROR") && !said.contains("error:"), "{said}");
    let before = total(&link.target(), "idle");
    drain(twinlog);
    assert_eq!(total(&link.target(), "idle"), before);
}

/// What a process has read, sockets included.
fn bytes_read(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).expect("the process is there");
    let read = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.and_then(|read| read.parse().ok()).unwrap_or_else(|| panic!("no rchar in {text}"))
}
