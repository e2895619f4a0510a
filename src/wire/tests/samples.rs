//! Records and batches for the tests, and the shapes that proptest draws them from.

use bytes::Bytes;
use proptest::prelude::*;
use twinlog_wire::batch::Codec;
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};
use twinlog_wire::patch::Stamp;

pub(crate) const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// A record that owns its bytes, and how many offsets are left out before it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) hole: u32,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

fn bytes(len_max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..len_max)
}

fn maybe_bytes(len_max: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(bytes(len_max))
}

pub(crate) fn sample(hole_max: u32) -> impl Strategy<Value = Sample> {
    let headers = proptest::collection::vec(("[a-zä]{0,5}", maybe_bytes(10)), 0..3);
    (0..=hole_max, 0i64..2_000_000_000_000, maybe_bytes(20), maybe_bytes(300), headers)
        .prop_map(|(hole, timestamp, key, value, headers)| Sample { hole, timestamp, key, value, headers })
}

pub(crate) fn samples(hole_max: u32) -> impl Strategy<Value = Vec<Sample>> {
    proptest::collection::vec(sample(hole_max), 1..40)
}

pub(crate) fn codec() -> impl Strategy<Value = Codec> {
    proptest::sample::select(&CODECS[..])
}

pub(crate) fn stamp() -> impl Strategy<Value = Stamp> {
    (any::<i64>(), any::<i16>(), any::<i32>()).prop_map(|(producer_id, producer_epoch, base_sequence)| Stamp {
        producer_id,
        producer_epoch,
        base_sequence,
    })
}

pub(crate) fn options() -> impl Strategy<Value = BatchOptions> {
    let time = || proptest::option::of(0i64..2_000_000_000_000);
    (0..i64::MAX / 2, any::<i32>(), codec(), stamp(), any::<bool>(), time(), time()).prop_map(
        |(base_offset, leader_epoch, codec, stamp, transactional, append_time, delete_horizon)| BatchOptions {
            base_offset,
            leader_epoch,
            codec,
            stamp,
            transactional,
            append_time,
            delete_horizon,
        },
    )
}

/// The batch of `samples`, with `tail` offsets left out at the end.
pub(crate) fn build(options: BatchOptions, samples: &[Sample], tail: u32) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for sample in samples {
        let headers: Vec<_> = sample.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        builder.skip(sample.hole).push(&NewRecord {
            timestamp: sample.timestamp,
            key: sample.key.as_deref(),
            value: sample.value.as_deref(),
            headers: &headers,
        });
    }
    builder.skip(tail);
    builder.finish().unwrap()
}

/// The record list of `golden/Golden.java`.
pub(crate) fn golden() -> Vec<Sample> {
    (0..200)
        .map(|i: i64| Sample {
            hole: 0,
            timestamp: 1_700_000_000_000 + if i == 150 { 5_000 } else { i * 7 },
            key: (i % 3 != 0).then(|| format!("key-{i}").into_bytes()),
            value: (i % 10 != 9).then(|| format!("value-{i}-").repeat(20).into_bytes()),
            headers: match i % 4 {
                0 => vec![("h".into(), Some(format!("x{i}").into_bytes())), ("n".into(), None)],
                _ => vec![],
            },
        })
        .collect()
}
