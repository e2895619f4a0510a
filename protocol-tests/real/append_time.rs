//! Topics whose broker gives records their time (`LogAppendTime`).

use std::collections::BTreeMap;

use twinlog_testcontainers::{Codec, Headers, Isolation, Produce};

use crate::map::assert_map;
use crate::pair::{Link, SHARED, days_ago, scaled};
use crate::segments::stored;

const CODECS: [(&str, Codec); 5] = [
    ("none", Codec::None),
    ("gzip", Codec::Gzip),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
    ("zstd", Codec::Zstd),
];
const STAMPED: (&str, &str) = ("message.timestamp.type", "LogAppendTime");

/// Records that their producer wrote two days ago, a millisecond after each other.
fn old(topic: &str, count: u64, codec: Codec) -> Produce {
    Produce::new(topic, count).codec(codec).headers(Headers::Rich).nulls().timestamps(days_ago(2), 1)
}

/// Given topics of each codec whose broker gives a part of the records their time, when they are mirrored, then
/// consumers of both sides see the same records with the same timestamps.
#[test]
fn consumers_see_the_times_that_the_source_s_broker_gave() {
    let count = scaled(3_000, 300_000);
    let link = Link::new(&SHARED, "stamped", "{ include: ['stamped\\..*'] }", &[]);
    let topic = |word: &str| format!("stamped.{word}");
    for (word, codec) in CODECS {
        link.source().create_topic(&topic(word), 2, &[]).expect("the topic is created");
        for config in [("message.timestamp.type", "CreateTime"), STAMPED, ("message.timestamp.type", "CreateTime")] {
            link.source().alter_config(&topic(word), &[config], &[]).expect("the topic is altered");
            link.source().produce(&old(&topic(word), count, codec)).expect("produced");
        }
    }
    let id = "stamped-transactions";
    link.source().create_topic(&topic("transactions"), 2, &[STAMPED]).expect("the topic is created");
    let produced = link.source().produce(&old(&topic("transactions"), count, Codec::Lz4).transactions(id, 20, 3));
    let committed = produced.expect("produced").committed_total();

    link.catch_up();

    for (word, _) in CODECS {
        let batches: Vec<_> = (0..2).flat_map(|partition| stored(&SHARED.source, &topic(word), partition)).collect();
        assert!(batches.iter().any(|batch| batch.meta.is_append_time()), "no batch of {word} has the broker's time");
        assert!(
            batches.iter().any(|batch| !batch.meta.is_append_time()),
            "all batches of {word} have the broker's time"
        );
        assert_eq!(link.assert_twins(&topic(word), &topic(word)), 3 * count);
    }
    assert_eq!(link.assert_twins(&topic("transactions"), &topic("transactions")), committed);
    assert_map(&link, &topic("zstd"), &topic("zstd"));
    link.verify();
}

/// Given the same records in a topic with the broker's time and in one with the producer's, when a link that copies
/// create times mirrors the first one, then the mirror has the records of the second one, in the bytes of the first.
#[test]
fn a_link_that_copies_create_times_forwards_the_bytes_with_the_time_of_the_producer() {
    let count = scaled(3_000, 300_000);
    let link = Link::new(&SHARED, "created", "{ include: ['created\\..*'] }", &["timestamps: create"]);
    let base = days_ago(2);
    for (word, codec) in CODECS {
        let (stamped, plain) = (format!("created.{word}"), format!("plain.{word}"));
        link.source().create_topic(&stamped, 2, &[STAMPED]).expect("the topic is created");
        link.source().create_topic(&plain, 2, &[]).expect("the topic is created");
        for topic in [&stamped, &plain] {
            let produce = old(topic, count, codec).timestamps(base, 1);
            link.source().produce(&produce).expect("produced");
        }
    }

    link.catch_up();

    for (word, _) in CODECS {
        let (stamped, plain) = (format!("created.{word}"), format!("plain.{word}"));
        let digests = |at: twinlog_testcontainers::OracleAt<'_>, topic: &str| -> BTreeMap<i32, (u64, String)> {
            let all = at.digest(topic, Isolation::ReadCommitted).expect("the topic is read");
            all.into_iter().map(|(partition, digest)| (partition, (digest.count, digest.sha256))).collect()
        };
        let mirror = digests(link.target(), &stamped);
        assert_eq!(mirror, digests(link.source(), &plain), "{word}");
        assert_eq!(mirror.values().map(|(count, _)| count).sum::<u64>(), count, "{word}");
        for partition in 0..2 {
            let source = stored(&SHARED.source, &stamped, partition);
            let target = stored(&SHARED.target, &stamped, partition);
            assert_eq!(source.len(), target.len(), "batches of {word}");
            for (source, target) in source.iter().zip(&target) {
                assert!(source.body == target.body, "other bytes of {word} at {:?}", source.meta);
                assert!(source.meta.is_append_time() && !target.meta.is_append_time(), "{word}");
                assert!(target.meta.max_timestamp < source.meta.max_timestamp, "{word}: {:?}", target.meta);
            }
        }
    }
    link.verify();
}
