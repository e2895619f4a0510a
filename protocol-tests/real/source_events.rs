//! What can happen to the source: what is not copied yet is deleted, a topic is deleted and made again, acknowledged
//! records are taken back. The partition stops in a state that says so, and the others go on.

use std::sync::Arc;

use twinlog_testcontainers::{At, ClusterSpec, Isolation, KafkaVersion, Produce, eventually};

use crate::ask::end;
use crate::map::assert_map;
use crate::pair::{LONG, Link, Pair, SHARED, assert_runs, drain, turn};
use crate::refusals::{assert_not_caught_up, stop_line};
use crate::resolving::{resolve, row};

/// Given a link that is down, when the source deletes records of one partition that were not copied, then that one
/// stops as a gap by both offsets, the other catches up, and nothing is written behind the gap.
#[test]
fn records_deleted_before_they_were_copied_are_a_gap() {
    let link = Link::new(&SHARED, "gap", "{ include: [gap] }", &[]);
    let source = link.source();
    source.create_topic("gap", 2, &[]).expect("the topic is created");
    source.produce(&Produce::new("gap", 1_000)).expect("produced");
    link.catch_up();
    let before = link.target().digest("gap", Isolation::ReadCommitted).expect("read");
    source.produce(&Produce::new("gap", 1_000).first(1_000)).expect("produced");
    // What was copied may go.
    source.delete_records("gap", 1, 400).expect("records are deleted");
    source.delete_records("gap", 0, 700).expect("records are deleted");

    let missing = assert_not_caught_up(&link, "gap", 0, "gap");
    let detail = missing["detail"].to_string();
    assert!(detail.contains("500") && detail.contains("700"), "{missing}");
    let after = link.target().digest("gap", Isolation::ReadCommitted).expect("read");
    assert_eq!(before[&0].body(), after[&0].body());
    assert_eq!(after[&1].count, 1_000);
}

/// Given a link that is down and skips gaps, when the source's retention takes what was not copied, then the next run
/// goes on behind it and tells how much is lost.
#[test]
fn retention_that_passes_a_link_is_a_gap() {
    let _turn = turn();
    let source =
        ClusterSpec::new().config("log.retention.check.interval.ms", "500").start().expect("the source starts");
    let pair = Pair { source: Arc::new(source), target: Arc::clone(&SHARED.target) };
    let link = Link::new(&pair, "retention", "{ include: [retention] }", &["gap: skip"]);
    let source = link.source();
    source.create_topic("retention", 1, &[]).expect("the topic is created");
    source.produce(&Produce::new("retention", 500)).expect("produced");
    link.catch_up();
    source.produce(&Produce::new("retention", 300).first(500)).expect("produced");
    source.alter_config("retention", &[("retention.ms", "1000")], &[]).expect("altered");
    eventually("retention takes all of it", LONG, || {
        (source.offsets("retention", At::Begin).ok()?[&0] == 800).then_some(())
    });
    source.alter_config("retention", &[], &["retention.ms"]).expect("altered");
    source.produce(&Produce::new("retention", 100).first(800)).expect("produced");
    link.catch_up();
    let copied = link.target().digest("retention", Isolation::ReadCommitted).expect("read");
    assert_eq!(copied[&0].count, 600);
    assert_eq!(row(&link, "retention", 0)["lost"], 300);
}

/// Given a running link, when a source topic is deleted, then its partitions stop as deleted and the mirror stays as it
/// is; when a topic of that name is made again, then that is told apart, and nothing of it is copied.
#[test]
fn a_topic_that_is_deleted_and_made_again_is_told_apart() {
    let link = Link::new(&SHARED, "gone", "{ include: [gone, stays] }", &["intervals: { topics: 1s }"]);
    let source = link.source();
    for topic in ["gone", "stays"] {
        source.create_topic(topic, 1, &[]).expect("the topic is created");
        source.produce(&Produce::new(topic, 200)).expect("produced");
    }
    let mut twinlog = link.run("run");
    for topic in ["gone", "stays"] {
        link.await_twins(topic, topic);
    }
    let before = link.target().digest("gone", Isolation::ReadCommitted).expect("read");

    source.delete_topic("gone").expect("deleted");
    eventually("it is named", LONG, || stop_line(&twinlog.stderr(), "gone", 0, "source-deleted"));
    source.produce(&Produce::new("stays", 200).first(200)).expect("produced");
    link.await_twins("stays", "stays");
    assert_runs(&mut twinlog);
    drain(twinlog);

    source.create_topic("gone", 1, &[]).expect("the topic is created");
    source.produce(&Produce::new("gone", 500).seed(9)).expect("produced");
    assert_not_caught_up(&link, "gone", 0, "recreated");
    let after = link.target().digest("gone", Isolation::ReadCommitted).expect("read");
    assert_eq!(before[&0].body(), after[&0].body());
}

/// The leader of the source is killed when it alone has the newest records, which are copied: the other replica leads
/// on without them and takes so many others. Then somebody decides how it goes on; answers how many records the mirror
/// has in the end.
fn takes_records_back(version: KafkaVersion, name: &str, is_down: bool, others: u64, by: &str) -> u64 {
    let _turn = turn();
    let source = ClusterSpec::new().version(version).brokers(3).start().expect("the source starts");
    let pair = Pair { source: Arc::new(source), target: Arc::clone(&SHARED.target) };
    let bystander = format!("{name}-bystander");
    let link = Link::new(&pair, name, &format!("{{ include: [{name}, {bystander}] }}"), &["lanes: 1"]);
    let source = link.source();
    let unsafe_settings = [("min.insync.replicas", "1"), ("unclean.leader.election.enable", "true")];
    source.create_topic(name, 1, &unsafe_settings).expect("the topic is created");
    source.create_topic(&bystander, 1, &[]).expect("the topic is created");
    source.move_partition(name, 0, &[2, 3]).expect("moved");
    eventually("it has two replicas", LONG, || {
        let placement = source.placement(name).ok()?;
        (placement[&0].replicas == [2, 3] && placement[&0].in_sync.len() == 2).then_some(())
    });
    // What leads already is not to be elected.
    drop(source.elect_preferred(name, 0));
    eventually("the first leads", LONG, || (source.placement(name).ok()?[&0].leader == 2).then_some(()));
    source.produce(&Produce::new(name, 2_000).batches(2_048, 5)).expect("produced");
    source.produce(&Produce::new(&bystander, 100)).expect("produced");
    let twinlog = link.run("run");
    link.await_twins(name, name);

    let (leader, follower) = (pair.source.broker(1), pair.source.broker(2));
    follower.stop().expect("stopped");
    eventually("the leader is alone", LONG, || {
        let placement = source.placement(name).ok()?;
        (placement[&0].in_sync == [2] && placement[&0].leader == 2).then_some(())
    });
    source.produce(&Produce::new(name, 1_500).first(2_000).batches(2_048, 5)).expect("produced");
    link.await_twins(name, name);
    let mirrored = end(&link.target(), name, 0);
    let kept = if is_down {
        drain(twinlog);
        None
    } else {
        Some(twinlog)
    };
    leader.kill().expect("killed");
    follower.launch().expect("started");
    source.produce(&Produce::new(name, others).first(10_000)).expect("produced");
    let mut twinlog = kept.unwrap_or_else(|| link.run("again"));

    let line = eventually("it is named", LONG, || stop_line(&twinlog.stderr(), name, 0, "source-truncated"));
    assert!(line.contains("2000") && line.contains("3500"), "{line}");
    leader.start().expect("started");
    pair.source.await_ready().expect("three brokers again");
    source.produce(&Produce::new(&bystander, 100).first(100)).expect("produced");
    link.await_twins(&bystander, &bystander);
    assert_runs(&mut twinlog);
    drain(twinlog);
    // A start or a marker may stand behind the records, but no record.
    let copied = link.target().digest(name, Isolation::ReadUncommitted).expect("read");
    assert!(copied[&0].count == 3_500 && copied[&0].last < Some(mirrored), "{copied:?}");
    assert_not_caught_up(&link, name, 0, "source-truncated");

    resolve(&link, name, by);
    link.catch_up();
    if by == "resync" {
        link.assert_twins(name, name);
        assert_map(&link, name, name);
    }
    link.target().digest(name, Isolation::ReadCommitted).expect("read")[&0].count
}

/// Given a link that runs, when the source loses copied records and is shorter than the mirror, then the partition
/// stops by both offsets; accepted, it keeps them and goes on with what came instead.
#[test]
fn a_source_that_takes_copied_records_back_stops_its_partition() {
    assert_eq!(takes_records_back(KafkaVersion::V4_1_1, "shorter", false, 300, "accept"), 3_500 + 300);
}

/// Given a link that is down, when the source loses copied records and has more of others since, so that only the
/// leader's epoch tells, then the same; emptied, it is the source's twin.
#[test]
fn a_source_that_took_records_back_meanwhile_is_found_by_the_leader_s_epoch() {
    assert_eq!(takes_records_back(KafkaVersion::V4_1_1, "longer", true, 4_000, "resync"), 2_000 + 4_000);
}

/// Given the same with a source of Kafka 2.6, whose Fetch does not look at the epoch before a position, then the same.
#[test]
fn an_old_source_that_took_records_back_meanwhile_is_asked_for_the_end_of_the_epoch() {
    assert_eq!(takes_records_back(KafkaVersion::V2_6_3, "aged", true, 4_000, "resync"), 2_000 + 4_000);
}
