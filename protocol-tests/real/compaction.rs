//! A compacted source: its batches have holes, and come out packed anew with the same records.

use twinlog_testcontainers::{Codec, Headers, Isolation, Produce, eventually};

use crate::map::assert_map;
use crate::pair::{LONG, Link, SHARED};
use crate::segments::stored;

/// Given a topic whose cleaner has left holes in its batches, when it is mirrored, then the same records are there.
#[test]
fn a_compacted_topic_with_holes_is_packed_anew() {
    let link = Link::new(&SHARED, "compacted", "{ include: ['compacted\\..*'] }", &[]);
    let config = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "1000"),
    ];
    for (topic, codec) in [("compacted.none", Codec::None), ("compacted.zstd", Codec::Zstd)] {
        link.source().create_topic(topic, 2, &config).expect("the topic is created");
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
            let digest = |at: twinlog_testcontainers::OracleAt<'_>| {
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
