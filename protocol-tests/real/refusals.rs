//! What twinlog must not do, and how it says so: nothing silent, nothing changed, and one bad partition holds no other.

use std::collections::BTreeSet;

use serde_json::Value;
use twinlog_testcontainers::{Cluster, Isolation, KafkaTool, Produce, eventually};

use crate::ask::{Load, end};
use crate::pair::{Ended, LONG, Link, Pair, SHARED, assert_runs, drain};

/// The line on standard error in which a partition stops.
pub(crate) fn stop_line(said: &str, topic: &str, partition: i32, state: &str) -> Option<String> {
    let words = [format!("topic=\"{topic}\""), format!("partition={partition}"), format!("state=\"{state}\"")];
    let line = said.lines().find(|line| line.contains("Partition stopped.") && words.iter().all(|w| line.contains(w)));
    line.map(str::to_owned)
}

/// `run --until-caught-up` ends with 1 and lists this partition alone.
pub(crate) fn assert_not_caught_up(link: &Link<'_>, topic: &str, partition: i32, state: &str) -> Value {
    let ended = link.finish(&format!("not-caught-up-{state}"), &["run", "--until-caught-up", "-o", "json"]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    let end: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    let missing = end["missing"].as_array().unwrap_or_else(|| panic!("{end}"));
    assert_eq!(missing.len(), 1, "{end}");
    assert_eq!(missing[0]["topic"], topic, "{end}");
    assert_eq!(missing[0]["partition"], partition, "{end}");
    assert_eq!(missing[0]["state"], state, "{end}");
    missing[0].clone()
}

/// Given a mirror that is idle, when somebody else writes to one partition, then that one stops as diverged, by both
/// offsets, and the other goes on.
#[test]
fn a_foreign_write_to_an_idle_mirror_stops_its_partition_alone() {
    let link = Link::new(&SHARED, "foreign-idle", "{ include: [foreign] }", &[]);
    link.source().create_topic("foreign", 2, &[]).expect("the topic is created");
    link.source().produce(&Produce::new("foreign", 200)).expect("produced");
    let mut twinlog = link.run("run");
    link.await_twins("foreign", "foreign");
    let expected = end(&link.target(), "foreign", 0);

    link.target().produce(&Produce::new("foreign", 3).first(10_000).partitions(1)).expect("produced");

    let line = eventually("partition 0 stops", LONG, || stop_line(&twinlog.stderr(), "foreign", 0, "diverged"));
    assert_foreign(&link, &line, "foreign", 0);
    assert!(line.contains(&expected.to_string()), "expected offset {expected} is not in: {line}");
    let before = end(&link.target(), "foreign", 1);
    let stopped = end(&link.target(), "foreign", 0);
    link.source().produce(&Produce::new("foreign", 200).first(200)).expect("produced");
    eventually("partition 1 goes on", LONG, || (end(&link.target(), "foreign", 1) >= before + 100).then_some(()));
    assert_runs(&mut twinlog);
    drain(twinlog);
    assert!(end(&link.target(), "foreign", 0) <= stopped + 1, "the diverged partition was written to");

    let missing = assert_not_caught_up(&link, "foreign", 0, "diverged");
    assert_foreign(&link, &missing["detail"].to_string(), "foreign", 0);
    let verify = link.finish("verify", &["verify"]);
    assert_eq!(verify.code, 1, "{verify:#?}");
}

/// Given a mirror that is being written, when somebody else writes to one partition, then the same.
#[test]
fn a_foreign_write_under_load_stops_its_partition_alone() {
    let link = Link::new(&SHARED, "foreign-busy", "{ include: [busy] }", &[]);
    link.source().create_topic("busy", 2, &[]).expect("the topic is created");
    let produce = Produce::endless("busy").rate(1_000);
    let load = Load::start(SHARED.source.bootstrap_text(), "busy", &produce);
    let mut twinlog = link.run("run");
    link.await_growth("busy", 100_000);

    link.target().produce(&Produce::new("busy", 1).first(1 << 40).partitions(1)).expect("produced");

    let line = eventually("partition 0 stops", LONG, || stop_line(&twinlog.stderr(), "busy", 0, "diverged"));
    assert_foreign(&link, &line, "busy", 0);
    let before = end(&link.target(), "busy", 1);
    eventually("partition 1 goes on", LONG, || (end(&link.target(), "busy", 1) >= before + 500).then_some(()));
    assert_runs(&mut twinlog);
    drain(twinlog);
    load.stop();
    assert_not_caught_up(&link, "busy", 0, "diverged");
    // What stands before and behind the foreign record is each once and in order; partition 1 is whole.
    let digests = |at: twinlog_testcontainers::OracleAt<'_>| at.digest("busy", Isolation::ReadCommitted).expect("read");
    assert_eq!(digests(link.source())[&1].body(), digests(link.target())[&1].body());
}

/// The words name the offset of the foreign record as the one found or the one expected.
fn assert_foreign(link: &Link<'_>, words: &str, topic: &str, partition: i32) {
    let source: BTreeSet<String> = index(link.source(), topic, partition).into_iter().map(|(_, hash)| hash).collect();
    let target = index(link.target(), topic, partition);
    let foreign = target.iter().find(|(_, hash)| !source.contains(hash)).expect("a foreign record");
    let numbers: Vec<i64> = words.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    assert!(words.contains("expect") && words.contains("found"), "{words}");
    assert!(numbers.contains(&foreign.0), "the foreign record is at {}: {words}", foreign.0);
}

fn index(at: twinlog_testcontainers::OracleAt<'_>, topic: &str, partition: i32) -> Vec<(i64, String)> {
    let all = at.index(topic, Isolation::ReadUncommitted).expect("the topic is read");
    let own = all.into_iter().filter(|entry| entry.partition == partition);
    own.map(|entry| (entry.offset, entry.sha256)).collect()
}

/// Given a mirror that takes less than the source, when too large a batch comes, then its partition stops as too large
/// and the other goes on; when the mirror takes more, then a new start goes on without a loss.
#[test]
fn too_large_a_batch_stops_its_partition_alone() {
    let link = Link::new(&SHARED, "large", "{ include: [large] }", &[]);
    link.source().create_topic("large", 2, &[("max.message.bytes", "2000000")]).expect("the topic is created");
    let config = [("max.message.bytes", "100000"), ("compression.type", "producer")];
    link.target().create_topic("large", 2, &config).expect("the topic is created");
    link.source().produce(&Produce::new("large", 200)).expect("produced");
    let mut twinlog = link.run("run");
    link.await_twins("large", "large");

    let large = Produce::new("large", 1).first(200).partitions(1).value_bytes(300_000).noise();
    link.source().produce(&large).expect("produced");

    let line = eventually("partition 0 stops", LONG, || stop_line(&twinlog.stderr(), "large", 0, "too-large"));
    assert!(line.contains("max.message.bytes") && line.contains("100"), "{line}");
    let before = end(&link.target(), "large", 1);
    link.source().produce(&Produce::new("large", 200).first(1_000)).expect("produced");
    eventually("partition 1 goes on", LONG, || (end(&link.target(), "large", 1) >= before + 100).then_some(()));
    assert_runs(&mut twinlog);
    drain(twinlog);
    let missing = assert_not_caught_up(&link, "large", 0, "too-large");
    assert_eq!(missing["synced"], 100, "{missing}");

    link.target().alter_config("large", &[("max.message.bytes", "2000000")], &[]).expect("altered");
    link.catch_up();
    link.assert_twins("large", "large");
    link.verify();
}

/// Given a target topic with records of its own, when a link is to mirror into it, then it refuses, or appends where
/// that is asked for.
#[test]
fn a_target_topic_with_records_is_refused_or_appended_to() {
    for (side, at) in [("source", &SHARED.source), ("target", &SHARED.target)] {
        let at = crate::pair::ORACLE.at(at.bootstrap_text());
        at.create_topic("existing", 1, &[]).expect("the topic is created");
        at.produce(&Produce::new("existing", 50).seed(side.len() as u64).first(1)).expect("produced");
    }
    let target = crate::pair::ORACLE.at(SHARED.target.bootstrap_text());
    let before = target.digest("existing", Isolation::ReadUncommitted).expect("read");

    let link = Link::new(&SHARED, "existing", "{ include: [existing] }", &["existing: refuse"]);
    let missing = assert_not_caught_up(&link, "existing", 0, "target-not-empty");
    assert!(missing["detail"].to_string().contains("existing: append"), "{missing}");
    assert_eq!(target.digest("existing", Isolation::ReadUncommitted).expect("read"), before);

    let link = Link::new(&SHARED, "appending", "{ include: [existing] }", &["existing: append"]);
    link.catch_up();
    let copied = index(link.source(), "existing", 0);
    let found = index(link.target(), "existing", 0);
    assert_eq!(found.len(), 100);
    let hashes = |entries: &[(i64, String)]| entries.iter().map(|(_, hash)| hash.clone()).collect::<Vec<_>>();
    assert_eq!(hashes(&found[50..]), hashes(&copied));
    let first = link.finish("translate", &["translate", "existing:0@0", "-o", "json"]);
    let first: Value = serde_json::from_str(&first.stdout).unwrap_or_else(|error| panic!("{error}: {first:#?}"));
    assert_eq!((&first["answer"], first["offset"].as_i64()), (&"exact".into(), Some(found[50].0)), "{first}");
    link.verify();
}

/// All topics with their settings and sizes, as Kafka's own tools see them.
fn inventory(cluster: &Cluster) -> String {
    let tool = KafkaTool::new(cluster).expect("Kafka's tools");
    let mut topics = tool.topics(&["--describe"]).expect("described");
    topics.push_str(&tool.get_offsets(&["--time", "-1"]).expect("ends"));
    let mut lines: Vec<&str> = topics.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// One clear line and the right code.
fn assert_refused(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, code, "{ended:#?}");
    let errors: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{ended:#?}");
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is not in {ended:#?}");
    }
    assert_eq!(ended.stdout, "", "{ended:#?}");
}

/// Given a wrong configuration or address, when twinlog runs, then it says so in one line with the right code, and both
/// clusters are as before.
#[test]
fn what_is_wrong_at_the_start_is_one_line_and_changes_nothing() {
    let _turn = crate::pair::turn();
    let pair = Pair { source: std::sync::Arc::clone(&SHARED.source), target: std::sync::Arc::clone(&SHARED.target) };
    let own = Pair::onto(twinlog_testcontainers::ClusterSpec::new());
    let target = crate::pair::ORACLE.at(own.target.bootstrap_text());
    target.create_topic("bystander", 2, &[]).expect("the topic is created");
    target.produce(&Produce::new("bystander", 10)).expect("produced");
    let before = inventory(&own.target);
    let until = ["run", "--until-caught-up"];

    let nobody = ["127.0.0.1:1".to_owned()];
    let link = Link::to(&own, &nobody, "reach", "{ include: [seq] }", &[]);
    assert_refused(&link.finish("run", &until), 3, &["target", "127.0.0.1:1"]);

    let link = Link::new(&own, "key", "{ include: [seq] }", &["budgte: 64MiB"]);
    assert_refused(&link.finish("run", &until), 2, &["budgte", "budget", "twinlog.yaml:10:5"]);

    let link = Link::new(&own, "regex", "{ include: ['seq('] }", &[]);
    assert_refused(&link.finish("run", &until), 2, &["seq(", "twinlog.yaml:8"]);

    std::fs::remove_file(link.folder.path().join("twinlog.yaml")).expect("removed");
    assert_refused(&link.finish("no-file", &until), 2, &["twinlog.yaml"]);

    let one = Link::to(&pair, &pair.source.bootstrap(), "one", "{ include: [seq] }", &[]);
    assert_refused(&one.finish("run", &until), 2, &["one cluster"]);
    // The same cluster by another name: found out when it is connected to.
    let other_name = [format!("localhost:{}", own.target.broker(0).address().port())];
    let itself = Pair { source: std::sync::Arc::clone(&own.target), target: std::sync::Arc::clone(&own.target) };
    let link = Link::to(&itself, &other_name, "itself", "{ include: [seq] }", &[]);
    assert_refused(&link.finish("run", &until), 5, &["cluster"]);

    assert_eq!(inventory(&own.target), before);
}
