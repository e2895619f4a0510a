//! The ways out of the states in which a partition stops, with and without a link that runs.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use twinlog_testcontainers::{Isolation, Produce, eventually};

use crate::map::assert_map;
use crate::pair::{Ended, LONG, Link, SHARED, assert_runs, drain};
use crate::refusals::{assert_not_caught_up, stop_line};

/// `resolve`, which is to end with 0.
pub(crate) fn resolve(link: &Link<'_>, what: &str, by: &str) -> Ended {
    let ended =
        link.finish(&format!("resolve-{what}-{by}"), &["resolve", &link.name, what, "--by", by, "--yes", "-o", "json"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    ended
}

/// The row of a partition in `status`.
pub(crate) fn row(link: &Link<'_>, topic: &str, partition: i32) -> Value {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    let name = format!("status-{}", LOOKS.fetch_add(1, Ordering::Relaxed));
    let ended = link.finish(&name, &["status", "-o", "json"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    let status: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    let rows = status["links"][0]["partitions"].as_array().unwrap_or_else(|| panic!("{status}"));
    let found = rows.iter().find(|row| row["topic"] == topic && row["partition"] == partition);
    found.unwrap_or_else(|| panic!("{topic}:{partition} is not in {status}")).clone()
}

fn counts(at: &twinlog_testcontainers::OracleAt<'_>, topic: &str) -> Vec<u64> {
    let digests = at.digest(topic, Isolation::ReadCommitted).expect("the topic is read");
    digests.values().map(|digest| digest.count).collect()
}

/// Given a partition that stopped as a gap and no link that runs, when somebody decides to skip it, then the next run
/// goes on behind it, the map is true, and what is lost is told.
#[test]
fn a_gap_that_is_skipped_is_noted_as_lost() {
    let link = Link::new(&SHARED, "skipped", "{ include: [skipped] }", &[]);
    let source = link.source();
    source.create_topic("skipped", 2, &[]).expect("the topic is created");
    source.produce(&Produce::new("skipped", 1_000)).expect("produced");
    link.catch_up();
    source.produce(&Produce::new("skipped", 1_000).first(1_000)).expect("produced");
    source.delete_records("skipped", 0, 700).expect("records are deleted");
    assert_not_caught_up(&link, "skipped", 0, "gap");

    let unsaid = link.finish("unsaid", &["resolve", "skipped", "skipped:0", "--by", "skip-gap"]);
    assert_eq!(unsaid.code, 2, "{unsaid:#?}");
    let wrong = link.finish("wrong", &["resolve", "skipped", "skipped:0", "--by", "accept", "--yes"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("skip-gap, resync"), "{wrong:#?}");
    let running = link.finish("running", &["resolve", "skipped", "skipped:1", "--by", "retry", "--yes"]);
    assert!(running.code == 1 && running.stderr.contains("has not stopped"), "{running:#?}");
    assert_eq!(row(&link, "skipped", 0)["state"], "gap");

    let said = resolve(&link, "skipped:0", "skip-gap");
    assert!(said.stderr.contains("no instance of the link runs"), "{said:#?}");
    link.catch_up();
    assert_eq!(counts(&link.target(), "skipped"), [800, 1_000]);
    let seen = row(&link, "skipped", 0);
    assert_eq!((&seen["lost"], &seen["decision"]["carried_out"]), (&200.into(), &true.into()), "{seen}");
    assert_eq!(seen["detail"], "it was gap and was resolved by skip-gap; 200 source offsets were left out", "{seen}");
    link.verify();
}

/// Given `gap: skip`, when the source deletes what is not copied, then nothing stops, and what is lost is told.
#[test]
fn a_link_that_skips_gaps_goes_on_and_tells_of_them() {
    let link = Link::new(&SHARED, "skips", "{ include: [skips] }", &["gap: skip"]);
    let source = link.source();
    source.create_topic("skips", 1, &[]).expect("the topic is created");
    source.produce(&Produce::new("skips", 500)).expect("produced");
    link.catch_up();
    source.produce(&Produce::new("skips", 500).first(500)).expect("produced");
    source.delete_records("skips", 0, 600).expect("records are deleted");
    link.catch_up();
    assert_eq!(counts(&link.target(), "skips"), [900]);
    assert_eq!(row(&link, "skips", 0)["lost"], 100);
}

/// Given mirrors that somebody else wrote to, and a link that runs, then accepting goes on behind the foreign records,
/// and emptying copies everything again.
#[test]
fn a_mirror_that_somebody_wrote_to_is_accepted_or_emptied() {
    let link = Link::new(&SHARED, "foreign-resolved", "{ include: [kept, emptied] }", &[]);
    for topic in ["kept", "emptied"] {
        link.source().create_topic(topic, 1, &[]).expect("the topic is created");
        link.source().produce(&Produce::new(topic, 200)).expect("produced");
    }
    let mut twinlog = link.run("run");
    for topic in ["kept", "emptied"] {
        link.await_twins(topic, topic);
        link.target().produce(&Produce::new(topic, 3).first(10_000)).expect("produced");
        eventually("it stops", LONG, || stop_line(&twinlog.stderr(), topic, 0, "diverged"));
        link.source().produce(&Produce::new(topic, 100).first(200)).expect("produced");
    }

    resolve(&link, "kept", "accept");
    resolve(&link, "emptied:0", "resync");
    eventually("it goes on", LONG, || (counts(&link.target(), "kept") == [303]).then_some(()));
    eventually("it is copied again", LONG, || (counts(&link.target(), "emptied") == [300]).then_some(()));
    assert_runs(&mut twinlog);
    drain(twinlog);
    link.assert_twins("emptied", "emptied");
    assert_map(&link, "emptied", "emptied");
    let hashes = |at: twinlog_testcontainers::OracleAt<'_>| -> Vec<String> {
        let all = at.index("kept", Isolation::ReadUncommitted).expect("the topic is read");
        all.into_iter().map(|entry| entry.sha256).collect()
    };
    let (wanted, found) = (hashes(link.source()), hashes(link.target()));
    let own: Vec<_> = found.iter().filter(|hash| wanted.contains(hash)).cloned().collect();
    assert_eq!((own, found.len()), (wanted, 303));
    link.catch_up();
    assert_eq!(row(&link, "kept", 0)["state"], "caught-up");
}

/// Given source topics that were deleted and made again with fewer partitions, then one mirror is made anew, and the
/// other one keeps what it holds, with a link that runs.
#[test]
fn a_topic_that_was_made_again_is_copied_anew_or_behind() {
    let link = Link::new(&SHARED, "made-again", "{ include: [anew, behind] }", &["intervals: { topics: 1s }"]);
    let source = link.source();
    for topic in ["anew", "behind"] {
        source.create_topic(topic, 2, &[]).expect("the topic is created");
        source.produce(&Produce::new(topic, 200)).expect("produced");
    }
    link.catch_up();
    for topic in ["anew", "behind"] {
        source.delete_topic(topic).expect("deleted");
        let partitions = if topic == "anew" { 1 } else { 2 };
        eventually("it is made again", LONG, || source.create_topic(topic, partitions, &[]).ok());
        source.produce(&Produce::new(topic, 300).seed(9)).expect("produced");
    }
    let mut twinlog = link.run("run");
    eventually("it stops", LONG, || stop_line(&twinlog.stderr(), "anew", 0, "recreated"));
    eventually("it stops", LONG, || stop_line(&twinlog.stderr(), "behind", 1, "recreated"));

    resolve(&link, "anew", "recreate");
    resolve(&link, "behind", "accept");
    eventually("it is copied anew", LONG, || (counts(&link.target(), "anew") == [300]).then_some(()));
    eventually("it goes on", LONG, || (counts(&link.target(), "behind").iter().sum::<u64>() == 500).then_some(()));
    assert_runs(&mut twinlog);
    drain(twinlog);
    link.assert_twins("anew", "anew");
    assert_map(&link, "anew", "anew");
    link.catch_up();
}

/// Given mirrors that were there before, with records or with a setting that changes bytes, and a batch that the target
/// does not take, then each goes on, with a link that runs.
#[test]
fn what_was_put_right_goes_on_without_a_restart() {
    let topics = "{ include: [filled, packed, heavy] }";
    let link = Link::new(&SHARED, "put-right", topics, &["intervals: { topics: 1s }"]);
    for topic in ["filled", "packed", "heavy"] {
        link.source().create_topic(topic, 1, &[("max.message.bytes", "2000000")]).expect("the topic is created");
        link.source().produce(&Produce::new(topic, 100)).expect("produced");
    }
    let target = link.target();
    let small = [("max.message.bytes", "100000")];
    for (topic, setting) in [("filled", &[][..]), ("packed", &[("compression.type", "gzip")]), ("heavy", &small)] {
        target.create_topic(topic, 1, setting).expect("the topic is created");
    }
    target.produce(&Produce::new("filled", 7).first(10_000)).expect("produced");
    let mut twinlog = link.run("run");
    eventually("it stops", LONG, || stop_line(&twinlog.stderr(), "filled", 0, "target-not-empty"));
    eventually("it stops", LONG, || stop_line(&twinlog.stderr(), "packed", 0, "mirror-settings"));
    link.await_twins("heavy", "heavy");
    let heavy = |first| Produce::new("heavy", 1).first(first).value_bytes(300_000).noise();
    link.source().produce(&heavy(100)).expect("produced");
    eventually("it stops", LONG, || stop_line(&twinlog.stderr(), "heavy", 0, "too-large"));

    target.alter_config("packed", &[("compression.type", "producer")], &[]).expect("altered");
    target.alter_config("heavy", &[("max.message.bytes", "2000000")], &[]).expect("altered");
    resolve(&link, "filled", "accept");
    resolve(&link, "heavy:0", "retry");
    eventually("it goes on", LONG, || (counts(&target, "filled") == [107]).then_some(()));
    link.await_twins("packed", "packed");
    link.await_twins("heavy", "heavy");

    target.alter_config("heavy", &small, &[]).expect("altered");
    link.source().produce(&heavy(101)).expect("produced");
    link.source().produce(&Produce::new("heavy", 50).first(102)).expect("produced");
    eventually("it stops again", LONG, || (row(&link, "heavy", 0)["state"] == "too-large").then_some(()));
    resolve(&link, "heavy", "skip-gap");
    eventually("it goes on", LONG, || (counts(&target, "heavy") == [151]).then_some(()));
    assert_runs(&mut twinlog);
    drain(twinlog);
    assert_eq!(row(&link, "heavy", 0)["lost"], 1);
    link.assert_twins("packed", "packed");
    link.catch_up();
}
