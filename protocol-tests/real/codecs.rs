//! Every codec: the records of a source come out as they went in, and the bytes of its batches are the same bytes.

use twinlog_testcontainers::{Codec, Headers, KafkaVersion, Produce};
use twinlog_wire::batch::Codec as Stored;

use crate::pair::{Link, Pair, SHARED, scaled};
use crate::segments::{assert_same_batches, stored};
use crate::tutorial::seq_10000;

const CODECS: [(&str, Codec, Stored); 5] = [
    ("none", Codec::None, Stored::None),
    ("gzip", Codec::Gzip, Stored::Gzip),
    ("snappy", Codec::Snappy, Stored::Snappy),
    ("lz4", Codec::Lz4, Stored::Lz4),
    ("zstd", Codec::Zstd, Stored::Zstd),
];
const PARTITIONS: i32 = 4;

/// Given `count` JSON records of each codec in four partitions, with headers of all kinds, null keys, and null and
/// empty values, when they are mirrored, then records and batches are the same on both sides.
fn all_codecs(pair: &Pair, name: &str, count: u64) {
    let topic = |codec: &str| format!("{name}.{codec}");
    let link = Link::new(pair, name, &format!("{{ include: ['{name}\\..*'] }}"), &[]);
    for (word, codec, _) in CODECS {
        link.source().create_topic(&topic(word), PARTITIONS.unsigned_abs(), &[]).expect("the topic is created");
        let produce = Produce::new(&topic(word), count).codec(codec).headers(Headers::Rich).nulls();
        link.source().produce(&produce).expect("produced");
    }

    link.catch_up();

    for (word, _, codec) in CODECS {
        let topic = topic(word);
        assert_eq!(link.assert_twins(&topic, &topic), count);
        let batches = assert_same_batches(&pair.source, &pair.target, &topic, PARTITIONS);
        assert!(batches > 50, "{batches} batches of {topic} say little");
        // The producer leaves a batch alone that it cannot make smaller; of these none is like that.
        let all = (0..PARTITIONS).flat_map(|partition| stored(&pair.target, &topic, partition));
        assert!(all.into_iter().all(|batch| batch.meta.codec() == Some(codec)), "{topic} is not all {codec:?}");
    }
    link.verify();
}

#[test]
fn every_codec_keeps_records_and_bytes() {
    all_codecs(&SHARED, "codecs", scaled(20_000, 1_000_000));
}

/// The tutorial and the codecs with Kafka 3.9.1 on both sides, and from 3.9.1 to 4.1.1.
#[test]
fn kafka_3_9_is_a_source_and_a_target() {
    let _turn = crate::pair::turn();
    let old = Pair::of(KafkaVersion::V3_9_1);
    seq_10000(&old, "tutorial", "seq", "{topic}", "seq");
    seq_10000(&old, "renamed", "seq2", "{source}.{topic}", "a.seq2");
    all_codecs(&old, "old", scaled(5_000, 100_000));
    let to_new = Pair { source: old.source, target: std::sync::Arc::clone(&SHARED.target) };
    all_codecs(&to_new, "mixed", scaled(5_000, 100_000));
}
