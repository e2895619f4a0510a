//! The offset map against what Kafka's own client sees on both sides.

use std::collections::BTreeMap;

use serde_json::Value;
use twinlog_core::report::{Side, Translation};
use twinlog_protocol_tests::checker::{
    Expect, MapTruth, SourceRecord, TargetRecord, Translated, check_copy, check_map,
};
use twinlog_testcontainers::{At, Codec, Entry, Isolation, OracleAt, Produce};

use crate::pair::{Link, SHARED};
use crate::translator::Translator;

/// The records of a topic by partition, in order.
fn index(at: &OracleAt<'_>, topic: &str, isolation: Isolation) -> BTreeMap<i32, Vec<Entry>> {
    let mut partitions: BTreeMap<i32, Vec<Entry>> = BTreeMap::new();
    for entry in at.index(topic, isolation).expect("the topic is read") {
        partitions.entry(entry.partition).or_default().push(entry);
    }
    partitions
}

/// What is in a record, as a number that no other record of a test has.
fn identity(entry: &Entry) -> u64 {
    u64::from_str_radix(&entry.sha256[..16], 16).expect("a hash in hexadecimal")
}

/// Fails unless every committed record is on the target once and in order, for both kinds of readers, and the map leads
/// from each source record to the target record with the same content, and back, from each offset without a record to
/// the next record, and from the end to the end. The checker is the simulator's.
pub(crate) fn assert_map(link: &Link<'_>, topic: &str, target_topic: &str) {
    let source = index(&link.source(), topic, Isolation::ReadCommitted);
    let committed = index(&link.target(), target_topic, Isolation::ReadCommitted);
    let uncommitted = index(&link.target(), target_topic, Isolation::ReadUncommitted);
    let stable = link.source().offsets(topic, At::Stable).expect("the ends are there");
    let translator = Translator::new(link);
    for (partition, synced) in stable {
        let at = format!("{topic}:{partition}");
        let nothing = Vec::new();
        let required =
            |entry: &Entry| SourceRecord { offset: entry.offset, identity: identity(entry), expect: Expect::Required };
        let wanted: Vec<_> = source.get(&partition).unwrap_or(&nothing).iter().map(required).collect();
        let copied = |found: &BTreeMap<i32, Vec<Entry>>| {
            let record = |entry: &Entry| TargetRecord { offset: entry.offset, identity: identity(entry) };
            let found: Vec<_> = found.get(&partition).unwrap_or(&nothing).iter().map(record).collect();
            check_copy(&wanted, &found, true).unwrap_or_else(|wrong| panic!("{at}: {wrong}"))
        };
        let pairs = copied(&committed);
        assert_eq!(pairs, copied(&uncommitted), "{at}, read uncommitted");
        let forward = translator.all(Side::Source, topic, partition, 0..=synced + 1);
        let Some(Translation::AtEnd { offset: next_target }) = forward.iter().rev().nth(1).copied() else {
            panic!("{:?} at the end {synced} of {at}", forward.iter().rev().nth(1));
        };
        let back = translator.all(Side::Target, target_topic, partition, 0..=next_target + 1);
        let ask = |answers: &[Translation], position: i64| {
            Translated::from(answers[usize::try_from(position).expect("from 0")])
        };
        let truth = MapTruth { pairs: &pairs, source_start: 0, synced, target_start: 0, next_target };
        check_map(truth, |position| ask(&forward, position), |position| ask(&back, position))
            .unwrap_or_else(|wrong| panic!("the map of {at}: {wrong}"));
    }
}

/// Given topics with and without gaps in their offsets, when they are mirrored, then the map is true for every offset,
/// and `translate` says what it says.
#[test]
fn the_map_is_true_for_every_record_both_ways() {
    let link = Link::new(&SHARED, "map", "{ include: ['map\\..*'], rename: '{topic}.twin' }", &[]);
    for topic in ["map.plain", "map.gaps", "map.empty"] {
        link.source().create_topic(topic, 2, &[]).expect("the topic is created");
    }
    let produce = Produce::new("map.plain", 10_000).codec(Codec::Zstd);
    link.source().produce(&produce).expect("produced");
    let produce = Produce::new("map.gaps", 3_000).transactions("map-transactions", 7, 4);
    link.source().produce(&produce).expect("produced");

    link.catch_up();

    for topic in ["map.plain", "map.gaps", "map.empty"] {
        assert_map(&link, topic, &format!("{topic}.twin"));
    }
    let said = |args: &[&str], code: i32| -> Value {
        let mut all = vec!["translate", "-o", "json"];
        all.extend(args);
        let ended = link.finish(&format!("translate-{}", args.concat().replace('/', "")), &all);
        assert_eq!(ended.code, code, "{ended:#?}");
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
    };
    let first = said(&["map.plain:0@0"], 0);
    assert_eq!((&first["answer"], &first["offset"]), (&"exact".into(), &1.into()), "{first}");
    assert_eq!(first["topic"], "map.plain.twin", "{first}");
    let back = said(&["map.plain.twin:0@1", "--reverse"], 0);
    assert_eq!((&back["answer"], &back["offset"]), (&"exact".into(), &0.into()), "{back}");
    let end = said(&["map.plain:1@5000"], 0);
    assert_eq!(end["answer"], "at-end", "{end}");
    let past = said(&["map.plain:1@5001"], 1);
    assert_eq!((&past["answer"], &past["synced"]), (&"not-yet".into(), &5_000.into()), "{past}");
}
