//! Batches that Kafka's own classes wrote (`golden/Golden.java`, kafka-clients 4.1.1).

use std::collections::HashSet;
use std::sync::LazyLock;

use bytes::Bytes;
use twinlog_wire::batch::{BatchMeta, Batches, Codec, ControlType, Entry, HEAD_LEN, control_type, verify_crc};
use twinlog_wire::builder::{BatchBuilder, BatchOptions};
use twinlog_wire::compression::{CompressionError, decompress};
use twinlog_wire::patch::Stamp;
use twinlog_wire::repack::{AppendTime, Repack, RepackError, Run};

use crate::repack::contents;
use crate::samples::{Sample, build, golden};

const STAMP: Stamp = Stamp { producer_id: 4242, producer_epoch: 3, base_sequence: 77 };

fn options() -> BatchOptions {
    BatchOptions { base_offset: 1000, leader_epoch: 9, stamp: STAMP, ..Default::default() }
}

#[test]
fn an_uncompressed_batch_is_kafkas_byte_for_byte() {
    assert_eq!(build(options(), &golden(), 0), include_bytes!("golden/none.bin")[..]);
}

#[test]
fn a_marker_is_kafkas_byte_for_byte() {
    let stamp = Stamp { base_sequence: -1, ..STAMP };
    let options = BatchOptions { base_offset: 55, leader_epoch: 9, stamp, ..Default::default() };
    let kafkas = include_bytes!("golden/marker.bin");
    let ours = BatchBuilder::marker(options, ControlType::Commit, 12, 1_700_000_000_000).unwrap();
    assert_eq!(ours, kafkas[..]);
    assert_eq!(control_type(kafkas), Ok(ControlType::Commit));
}

#[test]
fn kafkas_codecs_unpack() {
    let plain = &include_bytes!("golden/none.bin")[HEAD_LEN..];
    let packed: [(Codec, &[u8]); 4] = [
        (Codec::Gzip, include_bytes!("golden/gzip.bin")),
        (Codec::Snappy, include_bytes!("golden/snappy.bin")),
        (Codec::Lz4, include_bytes!("golden/lz4.bin")),
        (Codec::Zstd, include_bytes!("golden/zstd.bin")),
    ];
    for (codec, batch) in packed {
        let meta = BatchMeta::parse(batch).unwrap();
        assert_eq!(meta.codec(), Some(codec));
        assert!(verify_crc(batch));
        assert_eq!(decompress(codec, &batch[HEAD_LEN..], plain.len()).unwrap(), plain, "{codec:?}");
    }
}

#[test]
fn a_cleaned_batch_keeps_its_timestamps_relative_to_the_delete_horizon() {
    let batch = &Bytes::from_static(include_bytes!("golden/cleaned.bin"));
    let meta = BatchMeta::parse(batch).unwrap();
    assert!(meta.has_delete_horizon() && !meta.is_dense());
    assert_eq!(meta.base_timestamp, 1_700_000_000_000 + 1_000_000 + 86_400_000);
    let kept: Vec<_> = (0..200).filter(|i| (1000 + i) % 3 == 0).collect();
    let samples: Vec<_> = kept.iter().map(|i| golden()[*i as usize].clone()).collect();

    let repack = Repack { min_offset: 0, append_time: AppendTime::Keep, unpacked_bytes_max: 1 << 20 };
    let new = repack.apply(batch).unwrap().unwrap();

    assert!(!new.meta.has_delete_horizon() && new.meta.is_dense());
    assert_eq!(new.meta.base_timestamp, meta.base_timestamp);
    assert_eq!(new.meta.max_timestamp, samples.iter().map(|sample| sample.timestamp).max().unwrap());
    assert_eq!(contents(&new), samples);
    let runs: Vec<_> = kept.iter().map(|i| Run { source_start: 1000 + i, count: 1 }).collect();
    assert_eq!(new.runs, runs);
}

#[test]
fn append_time_becomes_each_records_time_or_gives_way_to_the_create_times() {
    let batch = &Bytes::from_static(include_bytes!("golden/append-time.bin"));
    let mut expected = golden();
    let mut repack = Repack { min_offset: 0, append_time: AppendTime::Drop, unpacked_bytes_max: 1 << 20 };

    let dropped = repack.apply(batch).unwrap().unwrap();
    assert_eq!(contents(&dropped), expected);
    assert_eq!(dropped.meta.max_timestamp, 1_700_000_005_000);
    assert_eq!(dropped.body.as_ptr(), batch[HEAD_LEN..].as_ptr(), "its body is forwarded untouched");

    repack.append_time = AppendTime::Keep;
    let kept = repack.apply(batch).unwrap().unwrap();
    for sample in &mut expected {
        sample.timestamp = 1_700_000_099_999;
    }
    assert_eq!(contents(&kept), expected);
    assert_eq!(kept.meta.max_timestamp, 1_700_000_099_999);
    assert_eq!(kept.meta.attributes, 0);
}

/// What a link makes of a log of old messages: the records, and their source offsets.
fn opened(log: &'static [u8], append_time: AppendTime) -> (Vec<Sample>, Vec<i64>) {
    let repack = Repack { min_offset: 0, append_time, unpacked_bytes_max: 1 << 20 };
    let (mut records, mut offsets) = (Vec::new(), Vec::new());
    for entry in Batches::new(Bytes::from_static(log)) {
        let entry = entry.unwrap();
        let Entry::Legacy { offset, last_offset, bytes } = entry.clone() else { panic!("{entry:?}") };
        assert_eq!((entry.base_offset(), entry.next_offset()), (offset, last_offset + 1));
        assert_eq!((entry.bytes(), &entry.clone().into_bytes()), (&bytes, &bytes));
        let new = repack.apply(&bytes).unwrap().unwrap();
        assert!(new.meta.is_dense());
        assert_eq!(new.meta.max_timestamp, contents(&new).iter().map(|record| record.timestamp).max().unwrap());
        records.extend(contents(&new));
        let runs = new.runs.iter().flat_map(|run| run.source_start..run.source_start + i64::from(run.count));
        offsets.extend(runs);
        assert_eq!(offsets.last(), Some(&last_offset));
        assert!(offset == last_offset || offsets.contains(&offset));
    }
    (records, offsets)
}

/// The golden records without what old formats do not have.
fn old_golden(timestamp: impl Fn(i64) -> i64) -> Vec<Sample> {
    let old = |sample: Sample| Sample { timestamp: timestamp(sample.timestamp), headers: Vec::new(), ..sample };
    golden().into_iter().map(old).collect()
}

#[test]
fn messages_of_v0_have_no_timestamp_and_the_offsets_of_the_log() {
    for log in [
        &include_bytes!("golden/v0-none.bin")[..],
        include_bytes!("golden/v0-gzip.bin"),
        include_bytes!("golden/v0-snappy.bin"),
        include_bytes!("golden/v0-lz4.bin"),
    ] {
        let (records, offsets) = opened(log, AppendTime::Keep);
        assert_eq!(records, old_golden(|_| -1));
        assert_eq!(offsets, (1000..1200).collect::<Vec<_>>());
    }
}

#[test]
fn an_old_message_that_holds_offsets_above_its_own_is_an_error() {
    // What follows begins behind its own.
    let Some(Ok(Entry::Legacy { last_offset, bytes, .. })) =
        Batches::new(Bytes::from_static(include_bytes!("golden/v0-gzip.bin"))).next()
    else {
        panic!("the file begins with an old message");
    };
    let mut bytes = bytes.to_vec();
    bytes[..8].copy_from_slice(&(last_offset - 1).to_be_bytes());
    let repack = Repack { min_offset: 0, append_time: AppendTime::Keep, unpacked_bytes_max: 1 << 20 };
    assert_eq!(repack.apply(&bytes.into()), Err(RepackError::OffsetGoesBack(last_offset - 1)));
}

#[test]
fn messages_of_v1_keep_their_timestamps_and_count_offsets_from_their_first() {
    for log in [
        &include_bytes!("golden/v1-none.bin")[..],
        include_bytes!("golden/v1-gzip.bin"),
        include_bytes!("golden/v1-snappy.bin"),
        include_bytes!("golden/v1-lz4.bin"),
    ] {
        let (records, offsets) = opened(log, AppendTime::Keep);
        assert_eq!(records, old_golden(|timestamp| timestamp));
        assert_eq!(offsets, (1000..1200).collect::<Vec<_>>());
    }
}

#[test]
fn a_broker_s_time_stands_in_the_message_that_holds_the_others() {
    let log = include_bytes!("golden/v1-append-time.bin");
    assert_eq!(opened(log, AppendTime::Keep).0, old_golden(|_| 1_700_000_099_999));
    assert_eq!(opened(log, AppendTime::Drop).0, old_golden(|timestamp| timestamp));
}

#[test]
fn old_messages_that_were_cleaned_keep_their_offsets() {
    let third = |samples: Vec<Sample>| samples.into_iter().step_by(3).collect::<Vec<_>>();
    let (v1, v1_offsets) = opened(include_bytes!("golden/v1-cleaned.bin"), AppendTime::Keep);
    assert_eq!(v1, third(old_golden(|timestamp| timestamp)));
    let (v0, v0_offsets) = opened(include_bytes!("golden/v0-cleaned.bin"), AppendTime::Keep);
    assert_eq!(v0, third(old_golden(|_| -1)));
    assert_eq!([v0_offsets, v1_offsets], [0, 1].map(|_| (1000..1200).step_by(3).collect::<Vec<_>>()));
}

#[test]
fn damaged_and_twisted_old_messages_are_named_errors() {
    let repack = Repack { min_offset: 0, append_time: AppendTime::Keep, unpacked_bytes_max: 1 << 20 };
    for log in [&include_bytes!("golden/v0-gzip.bin")[..], include_bytes!("golden/v1-none.bin")] {
        for at in (16..log.len()).step_by(97) {
            let mut damaged = log.to_vec();
            damaged[at] ^= 0x40;
            for entry in Batches::new(damaged.into()) {
                // What still has the checksum of its bytes is what it was.
                if let Ok(Entry::Legacy { bytes, .. }) = entry
                    && let Ok(Some(new)) = repack.apply(&bytes)
                {
                    assert!(contents(&new).iter().all(|record| golden_values().contains(&record.value)));
                }
            }
        }
    }
    let bomb = Repack { unpacked_bytes_max: 1000, ..repack };
    let log = Bytes::from_static(include_bytes!("golden/v1-gzip.bin"));
    let too_large = CompressionError::TooLarge { unpacked_bytes_max: 1000 };
    assert_eq!(bomb.apply(&log), Err(RepackError::Compression(too_large)));
}

fn golden_values() -> &'static HashSet<Option<Vec<u8>>> {
    static VALUES: LazyLock<HashSet<Option<Vec<u8>>>> =
        LazyLock::new(|| golden().into_iter().map(|sample| sample.value).collect());
    &VALUES
}
