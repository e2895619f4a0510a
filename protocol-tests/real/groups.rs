//! Positions of consumer groups on the target. What is committed there is judged by the records alone: the next one
//! that a consumer would read there must be the next one that it would have read on the source.

use std::collections::BTreeMap;
use std::thread::scope;

use serde_json::Value;
use twinlog_testcontainers::{
    At, Committed, ConsoleConsumer, Entry, Isolation, KafkaTool, OracleAt, Produce, eventually,
};

use crate::chance::Chance;
use crate::pair::{LONG, Link, SHARED, drain};

const PARTITIONS: i32 = 3;

fn link(name: &str, topic: &str, more: &[&str]) -> Link<'static> {
    let groups = format!("groups: {{ include: ['{name}.*'] }}");
    let more: Vec<&str> = more.iter().copied().chain([groups.as_str()]).collect();
    Link::new(&SHARED, name, &format!("{{ include: [{topic}], rename: '{{topic}}.twin' }}"), &more)
}

/// Records with holes between them: markers, and aborted ones.
fn produce(link: &Link<'_>, topic: &str, first: u64) {
    let produce = Produce::new(topic, 600).first(first).transactions(&format!("{topic}-{first}"), 20, 3);
    link.source().produce(&produce).expect("produced");
}

fn commit(at: &OracleAt<'_>, group: &str, topic: &str, partition: i32, offset: i64) {
    let committed = Committed { offset, epoch: Some(0), metadata: format!("at {offset}") };
    at.group_commit(group, topic, partition, &committed).expect("committed");
}

fn positions(at: &OracleAt<'_>, group: &str) -> BTreeMap<i32, Committed> {
    let all = at.group_offsets(group).expect("the group's offsets");
    all.into_iter().map(|((_, partition), committed)| (partition, committed)).collect()
}

/// What a consumer of committed records reads next, from a position on.
fn next_record(index: &[Entry], partition: i32, offset: i64) -> Option<&str> {
    let behind = index.iter().filter(|entry| entry.partition == partition && entry.offset >= offset);
    behind.min_by_key(|entry| entry.offset).map(|entry| entry.sha256.as_str())
}

/// Waits until the group is as far on the target as on the source, in all partitions that it has committed.
fn await_position(link: &Link<'_>, group: &str, topic: &str) {
    let (source, target) = (link.source(), link.target());
    let wanted = positions(&source, group);
    let metadata = |all: &BTreeMap<i32, Committed>| -> Vec<(i32, String)> {
        all.iter().map(|(partition, committed)| (*partition, committed.metadata.clone())).collect()
    };
    let found = eventually(&format!("group {group} on the target: {wanted:?}"), LONG, || {
        let found = positions(&target, group);
        (metadata(&found) == metadata(&wanted)).then_some(found)
    });
    let there = source.index(topic, Isolation::ReadCommitted).expect("the source's records");
    let here = target.index(&format!("{topic}.twin"), Isolation::ReadCommitted).expect("the mirror's records");
    let end = target.offsets(&format!("{topic}.twin"), At::End).expect("the mirror's ends");
    for (partition, committed) in &wanted {
        let position = &found[partition];
        assert_eq!(
            next_record(&here, *partition, position.offset),
            next_record(&there, *partition, committed.offset),
            "{group} in partition {partition}: {committed:?} became {position:?}"
        );
        assert!(position.offset <= end[partition], "{position:?} is behind the end {}", end[partition]);
        assert_eq!(position.epoch, None, "the source's epochs say nothing on the target");
    }
}

/// Given groups anywhere in a topic with holes, when the link runs, is killed and goes on, then each position on the
/// target is before the same record, and none is lost where a group did not move.
#[test]
fn positions_follow_over_holes_and_kills() {
    let mut chance = Chance::new("groups");
    let link = link("follow", "follow", &["lanes: 2"]);
    let source = link.source();
    source.create_topic("follow", 3, &[]).expect("created");
    produce(&link, "follow", 0);
    let groups = ["follow-a", "follow-b", "follow-c", "follow-d"];
    let mut end = source.offsets("follow", At::Stable).expect("ends");
    let move_all = |chance: &mut Chance, end: &BTreeMap<i32, i64>| {
        for group in groups {
            for partition in 0..PARTITIONS {
                let below = u64::try_from(end[&partition] + 1).expect("an offset");
                let offset = i64::try_from(chance.below(below)).expect("an offset");
                commit(&source, group, "follow", partition, offset);
            }
        }
    };
    move_all(&mut chance, &end);
    let mut twinlog = link.run("first");
    groups.iter().for_each(|group| await_position(&link, group, "follow"));

    for round in 1..=3 {
        produce(&link, "follow", round * 600);
        end = source.offsets("follow", At::Stable).expect("ends");
        move_all(&mut chance, &end);
        twinlog.kill().expect("killed");
        twinlog = link.run(&format!("run-{round}"));
        groups.iter().for_each(|group| await_position(&link, group, "follow"));
    }
    // Back, too, where the group itself goes back.
    commit(&source, "follow-a", "follow", 0, 0);
    await_position(&link, "follow-a", "follow");
    drain(twinlog);
}

/// Given a process that dies between what it keeps in mind and what it commits, or right after, when the link runs
/// again, then it knows its own positions and goes on with the group.
#[test]
fn a_death_around_a_commit_makes_no_group_somebody_elses() {
    let link = link("death", "death", &[]);
    let source = link.source();
    source.create_topic("death", 3, &[]).expect("created");
    source.produce(&Produce::new("death", 300)).expect("produced");
    let mut offset = 0;
    for point in ["before-group-commit", "after-group-commit", "before-group-commit:2"] {
        offset += 10;
        commit(&source, "death", "death", 0, offset);
        let mut run = link.start(point, &["run"], &[("TWINLOG_FAILPOINT", point)]);
        if point.ends_with(":2") {
            await_position(&link, "death", "death");
            offset += 10;
            commit(&source, "death", "death", 0, offset);
        }
        let code = run.wait(LONG).expect("it can be waited for");
        assert!(code.is_some_and(|code| code != 0), "{point} was not hit: {}", run.stderr());
    }
    offset += 10;
    commit(&source, "death", "death", 0, offset);
    link.catch_up();
    await_position(&link, "death", "death");
}

/// Given two instances of a link, when either is killed, then the other goes on with the groups as the link's own.
#[test]
fn whichever_instance_is_left_goes_on_with_the_groups() {
    let link = link("either", "either", &["lanes: 4"]);
    let source = link.source();
    source.create_topic("either", 3, &[]).expect("created");
    source.produce(&Produce::new("either", 300)).expect("produced");
    let mut names = ["one", "two", "three", "four"].into_iter();
    let mut next = || {
        let name = names.next().expect("a name");
        (name, link.run(name))
    };
    let mut left = next();
    for offset in [10, 20, 30] {
        let (name, other) = next();
        link.await_lanes(name, 2);
        commit(&source, "either", "either", 0, offset);
        await_position(&link, "either", "either");
        let (_, mut killed) = std::mem::replace(&mut left, (name, other));
        killed.kill().expect("killed");
        commit(&source, "either", "either", 1, offset);
        await_position(&link, "either", "either");
    }
    assert!(!left.1.stderr().contains("left alone"), "{}", left.1.stderr());
    drain(left.1);
}

/// Given a group that commits at the end of what is there, when everything is copied by `--until-caught-up`, then its
/// position is on the target, too; of an empty partition it is that mirror's end.
#[test]
fn a_link_that_is_caught_up_has_brought_the_positions() {
    let link = link("caught", "caught", &[]);
    let source = link.source();
    source.create_topic("caught", 3, &[]).expect("created");
    source.produce(&Produce::new("caught", 100).partitions(2)).expect("produced");
    let end = source.offsets("caught", At::End).expect("ends");
    assert_eq!(end[&2], 0);
    for partition in 0..PARTITIONS {
        commit(&source, "caught-up", "caught", partition, end[&partition]);
    }
    // Left out by the filter.
    commit(&source, "other", "caught", 0, 1);
    link.catch_up();
    await_position(&link, "caught-up", "caught");
    assert_eq!(positions(&link.target(), "other"), BTreeMap::new());
    // Trimmed to the end: the number on the source stands for nothing on the target.
    source.delete_records("caught", 0, end[&0]).expect("trimmed");
    commit(&source, "caught-late", "caught", 0, end[&0]);
    link.catch_up();
    await_position(&link, "caught-late", "caught");
}

/// Given a group that somebody uses on the target, when it moves on the source, then its positions on the target stay,
/// through restarts, and the log says so once.
#[test]
fn a_group_that_is_used_on_the_target_is_left_alone() {
    let link = link("taken", "taken", &[]);
    let (source, target) = (link.source(), link.target());
    source.create_topic("taken", 3, &[]).expect("created");
    source.produce(&Produce::new("taken", 300)).expect("produced");
    for group in ["taken-over", "taken-not"] {
        commit(&source, group, "taken", 0, 10);
    }
    let twinlog = link.run("first");
    await_position(&link, "taken-over", "taken");
    commit(&target, "taken-over", "taken.twin", 0, 77);
    for group in ["taken-over", "taken-not"] {
        commit(&source, group, "taken", 0, 20);
    }
    link.await_said("first", "which this link did not write", LONG);
    await_position(&link, "taken-not", "taken");
    let first = drain(twinlog);
    assert_eq!(first.stderr.matches("which this link did not write").count(), 1, "{}", first.stderr);

    for group in ["taken-over", "taken-not"] {
        commit(&source, group, "taken", 0, 30);
    }
    let twinlog = link.run("second");
    await_position(&link, "taken-not", "taken");
    assert_eq!(positions(&target, "taken-over")[&0].offset, 77);
    let shown = |run: &str, args: &[&str]| {
        let ended = link.finish(run, &[&["groups", "-o", "jsonl", "--group", "taken-over"], args].concat());
        assert_eq!(ended.code, 0, "{ended:#?}");
        let row: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
        ["source", "translated", "target", "state"].map(|key| row[key].to_string())
    };
    let translated = positions(&target, "taken-not")[&0].offset.to_string();
    assert_eq!(shown("groups", &[]), ["30", &translated, "77", "\"taken-over\""]);
    assert_eq!(shown("asked", &["--bring-again"])[2], "77", "nothing is done without --yes");
    shown("brought", &["--bring-again", "--yes"]);
    await_position(&link, "taken-over", "taken");
    assert_eq!(shown("again", &[]), ["30", &translated, &translated, "\"synced\""]);
    drain(twinlog);
}

/// Given a group that has members on the target, of either protocol, when it moves on the source, then nothing is
/// committed for it on the target.
#[test]
fn a_group_with_members_on_the_target_is_left_alone() {
    let link = link("used", "used", &[]);
    let (source, target) = (link.source(), link.target());
    source.create_topic("used", 3, &[]).expect("created");
    source.produce(&Produce::new("used", 30)).expect("produced");
    let twinlog = link.run("first");
    link.await_twins("used", "used.twin");
    let tool = KafkaTool::new(&link.pair.target).expect("Kafka's tools");
    for (first, protocol) in [(30, "classic"), (60, "consumer")] {
        let group = format!("used-{protocol}");
        let property = |property: &str| ["--consumer-property".to_owned(), property.to_owned()];
        let consumer = ConsoleConsumer::new("used.twin").group(&group).max_messages(1);
        let properties = [property(&format!("group.protocol={protocol}")), property("enable.auto.commit=false")];
        let consumer = properties.into_iter().flatten().fold(consumer, ConsoleConsumer::arg);
        scope(|scope| {
            let read = scope.spawn(|| tool.console_consume(&consumer).expect("it reads a record"));
            eventually(&format!("{group} has a member"), LONG, || {
                let state = tool.consumer_groups(&["--describe", "--state", "--group", &group]).ok()?;
                state.contains("Stable").then_some(())
            });
            commit(&source, &group, "used", 0, 5);
            let said = format!("left alone from now on. link=\"used\" group=\"{group}\"");
            link.await_said("first", &said, LONG);
            source.produce(&Produce::new("used", 30).first(first)).expect("produced");
            assert_ne!(read.join().expect("the reader ends"), "");
        });
        assert_eq!(positions(&target, &group), BTreeMap::new());
    }
    drain(twinlog);
}
