//! The offset map against what Kafka's own client sees on both sides.

use std::collections::BTreeMap;

use serde_json::Value;
use twinlog_core::report::{Side, Translation};
use twinlog_testcontainers::{At, Codec, Entry, Isolation, OracleAt, Produce};

use crate::pair::{Link, SHARED};
use crate::translator::Translator;

/// The records of a topic by partition, in order.
fn index(at: &OracleAt<'_>, topic: &str) -> BTreeMap<i32, Vec<Entry>> {
    let mut partitions: BTreeMap<i32, Vec<Entry>> = BTreeMap::new();
    for entry in at.index(topic, Isolation::ReadCommitted).expect("the topic is read") {
        partitions.entry(entry.partition).or_default().push(entry);
    }
    partitions
}

/// Fails unless the map leads from each source record to the target record with the same content, and back, from each
/// offset without a record to the next record, and from the end to the end.
pub(crate) fn assert_map(link: &Link<'_>, topic: &str, target_topic: &str) {
    let (source, target) = (index(&link.source(), topic), index(&link.target(), target_topic));
    let stable = link.source().offsets(topic, At::Stable).expect("the ends are there");
    let ends = link.target().offsets(target_topic, At::End).expect("the ends are there");
    let translator = Translator::new(link);
    for (partition, end) in stable {
        let nothing = Vec::new();
        let wanted = source.get(&partition).unwrap_or(&nothing);
        let found = target.get(&partition).unwrap_or(&nothing);
        assert_eq!(wanted.len(), found.len(), "records in {topic}:{partition}");
        let mut records = wanted.iter().zip(found).peekable();
        let answers = translator.all(Side::Source, topic, partition, 0..=end + 1);
        for (offset, answer) in (0..).zip(answers) {
            let at = format!("{topic}:{partition}@{offset}");
            match records.peek() {
                Some((source, target)) if source.offset == offset => {
                    assert_eq!(source.sha256, target.sha256, "content at {at}");
                    assert_eq!(answer, Translation::Exact { offset: target.offset }, "at {at}");
                    records.next();
                }
                // Below the first record: a topic whose head was compacted or deleted away.
                Some((_, target)) => assert_eq!(answer, Translation::NextRange { offset: target.offset }, "at {at}"),
                None if offset <= end => {
                    let Translation::AtEnd { offset } = answer else { panic!("{answer:?} at {at}, after all records") };
                    let last = found.last().map_or(-1, |last| last.offset);
                    assert!(last < offset && offset <= ends[&partition], "the end {offset} of {target_topic} at {at}");
                }
                None => assert_eq!(answer, Translation::NotYet { synced: end }, "at {at}, past the end"),
            }
        }
        let mut records = wanted.iter().zip(found).peekable();
        let answers = translator.all(Side::Target, target_topic, partition, 0..=ends[&partition]);
        for (offset, answer) in (0..).zip(answers) {
            let at = format!("{target_topic}:{partition}@{offset}, backwards");
            match records.peek() {
                Some((source, target)) if target.offset == offset => {
                    assert_eq!(answer, Translation::Exact { offset: source.offset }, "at {at}");
                    records.next();
                }
                Some((source, _)) => assert_eq!(answer, Translation::NextRange { offset: source.offset }, "at {at}"),
                // Behind the last record there may be markers of later owners.
                None => assert!(
                    matches!(answer, Translation::AtEnd { .. } | Translation::NotYet { .. }),
                    "{answer:?} at {at}, after all records"
                ),
            }
        }
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
