//! A target that loses acknowledged records, and one whose mirror is not the one that was made.

use serde_json::Value;
use twinlog_testcontainers::{ClusterSpec, OracleAt, Produce, eventually};

use crate::ask::end;
use crate::map::assert_map;
use crate::pair::{LONG, Link, Pair, SHARED, assert_runs, days_ago, drain, turn};
use crate::refusals::stop_line;

/// For so long a broker remembers a producer.
const DAY_MS: &str = "86400000";

/// The line on standard error that names what is gone.
fn cut_line(said: &str, topic: &str) -> Option<String> {
    let words = ["copied again", "state=\"target-truncated\"", &format!("topic=\"{topic}\"")];
    said.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
}

/// Up to where the link has copied partition 0, by `status` of a second process.
fn synced(link: &Link<'_>) -> Option<i64> {
    let status = link.finish("status", &["status", "-o", "json"]);
    // Runs of one name write to one file.
    let reports = serde_json::Deserializer::from_str(&status.stdout).into_iter::<Value>();
    let report = reports.last()?.ok()?;
    report["links"][0]["partitions"][0]["synced"].as_i64()
}

fn number(line: &str, name: &str) -> i64 {
    let value = line.split(&format!("{name}=")).nth(1).and_then(|rest| rest.split_whitespace().next());
    value.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{name} is not in {line}"))
}

/// Mirrors on three brokers are made so that they do not lose acknowledged records.
fn assert_made_safe(target: &OracleAt<'_>, topic: &str) {
    let settings = target.topic_config(topic).expect("described");
    let of = |name: &str| settings.get(name).map(String::as_str);
    assert_eq!(
        (of("min.insync.replicas"), of("unclean.leader.election.enable")),
        (Some("2"), Some("false")),
        "{topic}"
    );
    assert_eq!(target.placement(topic).expect("described")[&0].replicas.len(), 3, "{topic}");
}

/// The leader of the mirror is killed when it alone has the newest records: the other replica leads on without them.
fn loses_its_end(name: &str, timestamps: Option<(i64, i64)>) {
    let _turn = turn();
    let target = ClusterSpec::new()
        .brokers(3)
        // The age of the records counts, by their own timestamps. After half of this time without a write of the map a
        // lane is begun again, and knows of the mirror only what the map says: too short a time names too little.
        .config("producer.id.expiration.ms", DAY_MS)
        .config("producer.id.expiration.check.interval.ms", "1000");
    let pair = Pair::onto(target);
    let more = ["lanes: 1", "intervals: { mark: 500ms }"];
    let link = Link::new(&pair, name, &format!("{{ include: [{name}] }}"), &more);
    link.source().create_topic(name, 1, &[("retention.ms", "-1")]).expect("the topic is created");
    let mut produced = 0;
    let mut produce = |count: u64| {
        let more = Produce::new(name, count).first(produced).batches(2_048, 5);
        let more = match timestamps {
            Some((base, step)) => more.timestamps(base, step),
            None => more,
        };
        link.source().produce(&more).expect("produced");
        produced += count;
        i64::try_from(produced).expect("a count")
    };
    produce(2_000);
    let mut twinlog = link.run("run");
    link.await_twins(name, name);
    let target = link.target();
    assert_made_safe(&target, name);
    let map = format!("__twinlog.{name}.map");
    assert_made_safe(&target, &map);

    // As somebody may have set it: two replicas, and one is enough.
    let unsafe_settings = [("min.insync.replicas", "1"), ("unclean.leader.election.enable", "true")];
    for topic in [name, &map] {
        target.alter_config(topic, &unsafe_settings, &[]).expect("altered");
    }
    let check = link.finish("check", &["check"]);
    for (topic, (setting, value)) in unsafe_settings.iter().flat_map(|one| [(name, one), (&*map, one)]) {
        assert!(check.stdout.contains(&format!("topic {topic} has {setting}={value}")), "{topic} in {check:#?}");
    }
    target
        .alter_config(&map, &[("min.insync.replicas", "2"), ("unclean.leader.election.enable", "false")], &[])
        .expect("altered");
    target.move_partition(name, 0, &[1, 2]).expect("moved");
    let (leader, follower) = (pair.target.broker(0), pair.target.broker(1));
    follower.stop().expect("stopped");
    eventually("the leader is alone", LONG, || {
        let placement = target.placement(name).ok()?;
        (placement[&0].in_sync == [1] && placement[&0].leader == 1).then_some(())
    });
    let acknowledged = produce(1_500);
    eventually("the leader alone acknowledges", LONG, || synced(&link).filter(|synced| *synced >= acknowledged));
    leader.kill().expect("killed");
    follower.launch().expect("started");
    produce(300);

    let line = eventually("the loss is named", LONG, || cut_line(&twinlog.stderr(), name));
    assert_eq!((number(&line, "source_from"), number(&line, "source_to")), (2_000, acknowledged), "{line}");
    assert!(number(&line, "target_from") < number(&line, "target_to"), "{line}");
    assert_runs(&mut twinlog);
    leader.start().expect("started");
    pair.target.await_ready().expect("three brokers again");
    link.await_twins(name, name);
    drain(twinlog);
    link.catch_up();
    assert_eq!(i64::try_from(link.assert_twins(name, name)).expect("a count"), acknowledged + 300);
    assert_map(&link, name, name);
    link.verify();
}

/// Given a mirror that was made to lose records, when it loses acknowledged ones, then that is named with both ranges,
/// they are copied again, and map and records are whole.
#[test]
fn a_mirror_that_loses_its_end_is_cut_back_and_copied_again() {
    loses_its_end("young", None);
}

/// Given the same with records that brokers forget the producer of, then the same: a broker takes such a batch at any
/// place, so it is not sent before the end was looked at.
#[test]
fn a_mirror_of_old_records_that_loses_its_end_is_cut_back_and_copied_again() {
    loses_its_end("aged", Some((days_ago(3), 1)));
}

/// Given a mirror under a running link, when somebody deletes it and makes it anew, then that is named, and nothing is
/// written to the new one.
#[test]
fn a_mirror_deleted_and_made_again_is_named_and_left_alone() {
    let link = Link::new(&SHARED, "remade", "{ include: [remade, bystands] }", &["lanes: 1"]);
    for topic in ["remade", "bystands"] {
        link.source().create_topic(topic, 1, &[]).expect("the topic is created");
        link.source().produce(&Produce::new(topic, 200)).expect("produced");
    }
    let mut twinlog = link.run("run");
    for topic in ["remade", "bystands"] {
        link.await_twins(topic, topic);
    }
    link.target().delete_topic("remade").expect("deleted");
    link.target().create_topic("remade", 1, &[]).expect("the topic is created");
    link.source().produce(&Produce::new("remade", 200).first(200)).expect("produced");

    eventually("it is named", LONG, || stop_line(&twinlog.stderr(), "remade", 0, "target-recreated"));
    link.source().produce(&Produce::new("bystands", 200).first(200)).expect("produced");
    link.await_twins("bystands", "bystands");
    assert_runs(&mut twinlog);
    drain(twinlog);
    assert_eq!(end(&link.target(), "remade", 0), 0, "the new topic was written to");
}
