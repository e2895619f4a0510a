//! Batches that Kafka's own classes wrote (`golden/Golden.java`, kafka-clients 4.1.1).

use twinlog_wire::batch::{BatchMeta, Codec, ControlType, HEAD_LEN, control_type, verify_crc};
use twinlog_wire::builder::{BatchBuilder, BatchOptions};
use twinlog_wire::compression::decompress;
use twinlog_wire::patch::Stamp;
use twinlog_wire::repack::{AppendTime, Repack, Run};

use crate::repack::contents;
use crate::samples::{build, golden};

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
    let batch = include_bytes!("golden/cleaned.bin");
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
    let batch = include_bytes!("golden/append-time.bin");
    let mut expected = golden();
    let mut repack = Repack { min_offset: 0, append_time: AppendTime::Drop, unpacked_bytes_max: 1 << 20 };

    let dropped = repack.apply(batch).unwrap().unwrap();
    assert_eq!(contents(&dropped), expected);
    assert_eq!(dropped.meta.max_timestamp, 1_700_000_005_000);

    repack.append_time = AppendTime::Keep;
    let kept = repack.apply(batch).unwrap().unwrap();
    for sample in &mut expected {
        sample.timestamp = 1_700_000_099_999;
    }
    assert_eq!(contents(&kept), expected);
    assert_eq!(kept.meta.max_timestamp, 1_700_000_099_999);
    assert_eq!(kept.meta.attributes, 0);
}
