//! Batches and logs of unusual shape: the largest and the smallest, logs that begin late or hold nothing, long names.

use twinlog_testcontainers::{At, Codec, Produce};

use crate::map::assert_map;
use crate::pair::{Link, SHARED};
use crate::segments::stored;

/// The longest name that Kafka takes.
const NAME_LEN_MAX: usize = 249;

/// A producer that may send as much at once as the topics take.
fn unbounded(produce: Produce) -> Produce {
    produce.word("config.max.request.size", "25000000").word("config.buffer.memory", "100000000")
}

/// Given records of 20 MB, batches of one record and of 50 000, logs that begin at a high offset, empty ones, and a
/// name of 249 characters, when they are mirrored, then each record is there once and in order.
#[test]
fn batches_and_logs_of_any_shape_are_copied() {
    let link = Link::new(&SHARED, "shapes", "{ include: ['shapes\\..*'] }", &[]);
    let source = link.source();
    let long_name = format!("shapes.{:n<1$}", "", NAME_LEN_MAX - "shapes.".len());
    let large = [("max.message.bytes", "25000000")];
    for (topic, partitions, config) in [
        ("shapes.large", 1, &large[..]),
        ("shapes.many", 1, &large[..]),
        ("shapes.single", 2, &[]),
        ("shapes.late", 3, &[]),
        ("shapes.empty", 3, &[]),
        (&long_name, 2, &[]),
    ] {
        source.create_topic(topic, partitions, config).expect("the topic is created");
    }
    let produce = |produce: Produce| source.produce(&produce).expect("produced");
    produce(unbounded(Produce::new("shapes.large", 4).value_bytes(20_000_000).noise()));
    produce(unbounded(
        Produce::new("shapes.many", 120_000).value_bytes(1).codec(Codec::Zstd).batches(20_000_000, 3_000),
    ));
    produce(Produce::new("shapes.single", 3_000).batches(0, 0));
    produce(Produce::new(&long_name, 3_000));
    // Of the second partition a part is left, of the third nothing.
    produce(Produce::new("shapes.late", 9_000));
    source.delete_records("shapes.late", 1, 2_345).expect("records are deleted");
    source.delete_records("shapes.late", 2, 3_000).expect("records are deleted");
    assert!(stored(&SHARED.source, "shapes.large", 0).iter().all(|batch| batch.body.len() > 20_000_000));
    assert!(stored(&SHARED.source, "shapes.many", 0).iter().any(|batch| batch.meta.record_count >= 50_000));
    assert!(stored(&SHARED.source, "shapes.single", 0).iter().all(|batch| batch.meta.record_count == 1));
    let begins = source.offsets("shapes.late", At::Begin).expect("the log's starts");
    assert_eq!(begins.into_values().collect::<Vec<_>>(), [0, 2_345, 3_000]);

    link.catch_up();

    for (topic, count) in [
        ("shapes.large", 4),
        ("shapes.many", 120_000),
        ("shapes.single", 3_000),
        ("shapes.late", 3_000 + 655),
        ("shapes.empty", 0),
        (&long_name, 3_000),
    ] {
        assert_eq!(link.assert_twins(topic, topic), count, "{topic}");
        assert_map(&link, topic, topic);
    }
    link.verify();
    // Into a log that held nothing, and behind a start that moved on.
    produce(Produce::new("shapes.empty", 300));
    produce(Produce::new("shapes.late", 300).first(9_000));
    link.catch_up();
    assert_eq!(link.assert_twins("shapes.empty", "shapes.empty"), 300);
    assert_eq!(link.assert_twins("shapes.late", "shapes.late"), 3_000 + 655 + 300);
    link.verify();
}

/// Given a topic of 1 000 partitions with records in each, when it is mirrored, then each of them is a twin.
#[test]
fn a_thousand_partitions_are_copied() {
    let link = Link::new(&SHARED, "thousand", "{ include: [thousand] }", &[]);
    link.source().create_topic("thousand", 1_000, &[]).expect("the topic is created");
    link.source().produce(&Produce::new("thousand", 20_000)).expect("produced");
    link.catch_up();
    assert_eq!(link.assert_twins("thousand", "thousand"), 20_000);
    link.verify();
    // The clusters are shared.
    link.source().delete_topic("thousand").expect("the topic is deleted");
    link.target().delete_topic("thousand").expect("the mirror is deleted");
}
