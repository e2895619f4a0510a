//! Messages of the formats before v2, which brokers before 4.0 may keep.

use std::sync::Arc;

use twinlog_testcontainers::{ClusterSpec, Codec, Headers, KafkaVersion, Produce};

use crate::map::assert_map;
use crate::pair::{Link, Pair, SHARED, days_ago, scaled, turn};
use crate::segments::magics;

const CODECS: [(&str, Codec); 4] =
    [("none", Codec::None), ("gzip", Codec::Gzip), ("snappy", Codec::Snappy), ("lz4", Codec::Lz4)];

/// The formats v0, v1 and v2, by the release that brought each last.
const FORMATS: [&str; 3] = ["0.9.0", "0.10.2", "2.8"];

/// Given topics of Kafka 2.8 in the formats v0, v1 and v2, one after the other in the same log, of each codec, when
/// they are mirrored to 4.1, then a consumer reads the same keys, values, timestamps and order on both sides.
#[test]
fn old_formats_become_the_present_one_with_the_same_records() {
    let _turn = turn();
    let count = scaled(3_000, 300_000);
    let source = ClusterSpec::new().version(KafkaVersion::V2_8_2).start().expect("the source starts");
    let pair = Pair { source: Arc::new(source), target: Arc::clone(&SHARED.target) };
    let link = Link::new(&pair, "formats", "{ include: ['formats\\..*'] }", &[]);
    for (word, codec) in CODECS {
        let topic = format!("formats.{word}");
        link.source().create_topic(&topic, 2, &[]).expect("the topic is created");
        for format in FORMATS {
            let config = [("message.format.version", format)];
            link.source().alter_config(&topic, &config, &[]).expect("the topic is altered");
            let produce = Produce::new(&topic, count).codec(codec).nulls().timestamps(days_ago(2), 1);
            let produce = produce.headers(Headers::None).not_idempotent();
            link.source().produce(&produce).expect("produced");
        }
    }
    // In v1 a broker's own time stands in the messages, or in the one that holds them.
    for (word, codec) in CODECS {
        let topic = format!("formats.stamped.{word}");
        let config = [("message.format.version", "0.10.2"), ("message.timestamp.type", "LogAppendTime")];
        link.source().create_topic(&topic, 2, &config).expect("the topic is created");
        let produce = Produce::new(&topic, count).codec(codec).timestamps(days_ago(2), 1);
        let produce = produce.headers(Headers::None).not_idempotent();
        link.source().produce(&produce).expect("produced");
    }

    for (word, _) in CODECS {
        assert_eq!(magics(&pair.source, &format!("formats.{word}"), 0), [0, 1, 2].into(), "{word}");
        assert_eq!(magics(&pair.source, &format!("formats.stamped.{word}"), 0), [1].into(), "{word}");
    }

    link.catch_up();

    for (word, _) in CODECS {
        let topic = format!("formats.{word}");
        assert_eq!(link.assert_twins(&topic, &topic), 3 * count);
        assert_map(&link, &topic, &topic);
        let topic = format!("formats.stamped.{word}");
        assert_eq!(link.assert_twins(&topic, &topic), count);
    }
    link.verify();
}
