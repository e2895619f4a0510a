//! Repacking against a model: a list of records with their source offsets.

use bytes::Bytes;
use proptest::prelude::*;
use twinlog_wire::batch::{BatchMeta, ControlType, HEAD_LEN, verify_crc};
use twinlog_wire::builder::{BatchBuilder, BatchOptions, BuildError};
use twinlog_wire::compression::{CompressionError, decompress};
use twinlog_wire::records::Records;
use twinlog_wire::repack::{AppendTime, Repack, RepackError, Repacked};

use crate::samples::{CODECS, Sample, build, golden, options, samples};

const REPACK: Repack = Repack { min_offset: 0, append_time: AppendTime::Keep, unpacked_bytes_max: 1 << 20 };

fn whole(new: &Repacked) -> Vec<u8> {
    [&new.head[..], &new.body].concat()
}

/// The records of a repacked batch, whose offsets must be dense.
pub(crate) fn contents(new: &Repacked) -> Vec<Sample> {
    let plain = decompress(new.meta.codec().unwrap(), &new.body, 1 << 24).unwrap();
    let mut out = Vec::new();
    for (index, record) in Records::new(&plain, new.meta.record_count).enumerate() {
        let record = record.unwrap();
        assert_eq!(record.offset_delta as usize, index);
        let headers = record.headers().map(|header| {
            let (key, value) = header.unwrap();
            (String::from_utf8(key.to_vec()).unwrap(), value.map(<[u8]>::to_vec))
        });
        out.push(Sample {
            hole: 0,
            timestamp: new.meta.base_timestamp + record.timestamp_delta,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        });
    }
    out
}

proptest! {
    #[test]
    fn what_is_kept_is_dense_unchanged_and_accounted_for(
        options in options(), samples in samples(3), tail in 0..3u32, cut in 0..60i64,
    ) {
        let min_offset = options.base_offset + cut;
        let batch = build(options, &samples, tail);
        let mut expected = Vec::new();
        let mut offset = options.base_offset;
        for sample in &samples {
            offset += i64::from(sample.hole);
            if offset >= min_offset {
                let timestamp = options.append_time.unwrap_or(sample.timestamp);
                expected.push((offset, Sample { hole: 0, timestamp, ..sample.clone() }));
            }
            offset += 1;
        }

        let new = Repack { min_offset, ..REPACK }.apply(&batch).unwrap();

        let Some(new) = new else {
            prop_assert!(expected.is_empty());
            return Ok(());
        };
        let (offsets, records): (Vec<_>, Vec<_>) = expected.into_iter().unzip();
        prop_assert_eq!(contents(&new), records.clone());
        let runs = new.runs.iter().flat_map(|run| run.source_start..run.source_start + i64::from(run.count));
        prop_assert_eq!(runs.collect::<Vec<_>>(), offsets);
        for pair in new.runs.windows(2) {
            prop_assert!(pair[0].source_start + i64::from(pair[0].count) < pair[1].source_start, "runs are maximal");
        }
        prop_assert!(verify_crc(&whole(&new)));
        prop_assert_eq!(BatchMeta::parse(&whole(&new)).unwrap(), new.meta);
        prop_assert!(new.meta.is_dense());
        prop_assert_eq!(new.meta.attributes & !0x07, 0);
        prop_assert_eq!(new.meta.codec(), Some(options.codec));
        prop_assert_eq!(new.meta.max_timestamp, records.iter().map(|record| record.timestamp).max().unwrap());
        prop_assert_eq!((new.meta.base_offset, new.meta.leader_epoch, new.meta.producer_id), (0, -1, -1));
    }

    #[test]
    fn a_damaged_batch_is_refused(options in options(), samples in samples(1), at in any::<prop::sample::Index>()) {
        let mut batch = build(options, &samples, 0).to_vec();
        let len = batch.len() - HEAD_LEN;
        batch[HEAD_LEN + at.index(len)] ^= 0x10;
        prop_assert_eq!(REPACK.apply(&batch.into()), Err(RepackError::Damaged(options.base_offset)));
    }
}

#[test]
fn an_empty_batch_is_a_head_and_leaves_nothing() {
    for codec in CODECS {
        let mut builder = BatchBuilder::new(BatchOptions { codec, ..Default::default() });
        assert_eq!(builder.clone().finish(), Err(BuildError::Empty));
        builder.skip(5);
        let batch = builder.finish().unwrap();
        assert_eq!(batch.len(), HEAD_LEN);
        assert_eq!(REPACK.apply(&batch), Ok(None));
        // As Kafka's cleaner writes it: no record has a time.
        let meta = BatchMeta::parse(&batch).unwrap();
        assert_eq!((meta.base_timestamp, meta.max_timestamp), (-1, -1));
    }
}

#[test]
fn a_built_delete_horizon_stands_in_the_base_timestamp_field() {
    let options = BatchOptions { delete_horizon: Some(7_000), ..Default::default() };
    let batch = build(options, &golden(), 0);
    let meta = BatchMeta::parse(&batch).unwrap();
    assert!(meta.has_delete_horizon());
    assert_eq!(meta.base_timestamp, 7_000);
    assert_eq!(contents(&REPACK.apply(&batch).unwrap().unwrap()), golden());
}

#[test]
fn markers_and_bombs_are_named_errors() {
    let options = BatchOptions { base_offset: 8, ..Default::default() };
    let marker = BatchBuilder::marker(options, ControlType::Abort, 0, 1).unwrap();
    assert_eq!(REPACK.apply(&marker), Err(RepackError::Control(8)));

    let sample = Sample { hole: 0, timestamp: 1, key: None, value: Some(vec![0; 5000]), headers: vec![] };
    let batch: Bytes = build(BatchOptions::default(), &[sample], 0);
    let tight = Repack { unpacked_bytes_max: 5000, ..REPACK };
    let too_large = CompressionError::TooLarge { unpacked_bytes_max: 5000 };
    assert_eq!(tight.apply(&batch), Err(RepackError::Compression(too_large)));
}

#[test]
fn offsets_out_of_order_or_outside_are_an_error() {
    let value = Some(vec![7; 10]);
    let sample = Sample { hole: 0, timestamp: 1, key: None, value, headers: vec![] };
    let batch = build(BatchOptions::default(), &[sample.clone(), sample], 0);
    let second_record = HEAD_LEN + (batch.len() - HEAD_LEN) / 2;
    for offset_delta in [0, 2] {
        let mut batch = batch.to_vec();
        batch[second_record + 3] = offset_delta << 1;
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(REPACK.apply(&batch.into()), Err(RepackError::OffsetOrder(offset_delta.into())));
    }
}
