//! A compacted source: its batches have holes, and come out packed anew with the same records.

use std::collections::BTreeMap;

use twinlog_testcontainers::{Codec, Headers, Isolation, OracleAt, Produce, eventually};

use crate::ask::{Load, end};
use crate::map::assert_map;
use crate::pair::{LONG, Link, SHARED, drain};
use crate::segments::stored;

/// The cleaner takes what is older than a second.
const CLEANED: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "1048576"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("max.compaction.lag.ms", "1000"),
];

/// Given a topic whose cleaner has left holes in its batches, when it is mirrored, then the same records are there.
#[test]
fn a_compacted_topic_with_holes_is_packed_anew() {
    let link = Link::new(&SHARED, "compacted", "{ include: ['compacted\\..*'] }", &[]);
    for (topic, codec) in [("compacted.none", Codec::None), ("compacted.zstd", Codec::Zstd)] {
        link.source().create_topic(topic, 2, &CLEANED).expect("the topic is created");
        // Each fifth key stands in every batch and once more behind all: only its last record stays.
        let produce = Produce::new(topic, 6_000).codec(codec).headers(Headers::Rich);
        link.source().produce(&produce).expect("produced");
        for round in 0..6 {
            let produce = Produce::new(topic, 1_500).keys(1_500).codec(codec).seed(round + 2);
            link.source().produce(&produce).expect("produced");
        }
        eventually(&format!("the cleaner leaves holes in {topic}"), LONG, || {
            // A roll comes with the next record at the earliest.
            link.source().produce(&Produce::new(topic, 2).keys(2).seed(99)).expect("produced");
            let batches = stored(&SHARED.source, topic, 0);
            batches.iter().any(|batch| !batch.meta.is_dense() && batch.meta.record_count > 0).then_some(())
        });
    }

    link.catch_up();

    // The source's cleaner may go on, and the target has one, too: what is compared is what both have to keep.
    for topic in ["compacted.none", "compacted.zstd"] {
        eventually(&format!("the cleaners come to rest on {topic}"), LONG, || {
            let digest = |at: OracleAt<'_>| {
                let digests = at.digest(topic, Isolation::ReadCommitted).ok()?;
                Some(digests.into_values().map(|one| (one.count, one.sha256)).collect::<Vec<_>>())
            };
            let (source, target) = (digest(link.source())?, digest(link.target())?);
            (source == target).then_some(())
        });
    }
    link.verify();
    assert_map(&link, "compacted.zstd", "compacted.zstd");
}

/// The last record of each key, tombstones too: what both sides' cleaners have to keep.
fn latest(at: &OracleAt<'_>, topic: &str) -> BTreeMap<(i32, String), String> {
    let all = at.index(topic, Isolation::ReadCommitted).expect("the topic is read");
    all.into_iter().map(|entry| ((entry.partition, entry.key), entry.sha256)).collect()
}

/// Given a topic that is written and cleaned all the while, with tombstones, when twinlog is killed and the cleaner
/// goes over what was copied and what was not before it starts again, then each key has the same last record on both
/// sides.
#[test]
fn a_topic_that_is_cleaned_while_it_is_copied_and_between_crash_and_recovery() {
    let topic = "churned";
    let link = Link::new(&SHARED, topic, "{ include: [churned] }", &["intervals: { mark: 500ms }"]);
    let source = link.source();
    source.create_topic(topic, 2, &CLEANED).expect("the topic is created");
    let produce = Produce::endless(topic).hot_keys(100).tombstones().headers(Headers::Rich).rate(1_500);
    let load = Load::start(SHARED.source.bootstrap_text(), topic, &produce);
    for round in 0..3 {
        let mut twinlog = link.run(&format!("killed-{round}"));
        link.await_growth(topic, 300_000);
        twinlog.kill().expect("killed");
        let copied_to_here = end(&source, topic, 0);
        eventually("the cleaner goes over what follows", LONG, || {
            let batches = stored(&SHARED.source, topic, 0);
            let behind = batches.iter().filter(|batch| batch.meta.base_offset >= copied_to_here);
            behind.clone().any(|batch| !batch.meta.is_dense()).then_some(())
        });
    }
    let twinlog = link.run("run");
    link.await_growth(topic, 300_000);
    let produced = load.stop().acked_total();
    drain(twinlog);
    link.catch_up();

    let wanted = latest(&source, topic);
    // Four of five records have a key of their own.
    assert!(wanted.len() as u64 > produced / 5 * 4, "{} of {produced} records are left", wanted.len());
    let found = latest(&link.target(), topic);
    let differ = wanted.iter().filter(|(key, record)| found.get(*key) != Some(record)).count();
    assert_eq!((differ, found.len()), (0, wanted.len()), "keys with another last record, and keys");
    link.verify();
}
