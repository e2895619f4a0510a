//! The walk over a records section, on good and on bad bytes.

use bytes::Bytes;
use proptest::prelude::*;
use twinlog_wire::batch::{BatchError, BatchMeta, Batches, ControlType, Entry, control_type, split_head, verify_crc};
use twinlog_wire::builder::{BatchBuilder, BatchOptions};
use twinlog_wire::records::Records;

use crate::samples::{build, golden, options, samples};

proptest! {
    #[test]
    fn whole_batches_come_out_and_the_partial_tail_is_dropped(
        list in proptest::collection::vec((options(), samples(2)), 1..4), cut in any::<prop::sample::Index>(),
    ) {
        let batches: Vec<_> = list.iter().map(|(options, samples)| build(*options, samples, 1)).collect();
        let section = Bytes::from(batches.concat());
        let cut = cut.index(section.len() + 1);

        let mut walk = Batches::new(section.slice(..cut));
        let entries: Vec<_> = walk.by_ref().map(Result::unwrap).collect();
        for entry in &entries {
            let meta = BatchMeta::parse(entry.bytes()).unwrap();
            prop_assert_eq!((entry.base_offset(), entry.next_offset()), (meta.base_offset, meta.next_offset()));
            prop_assert_eq!(&entry.clone().into_bytes(), entry.bytes());
        }
        let found: Vec<_> = entries.into_iter().map(|entry| match entry {
            Entry::V2(meta, bytes) => (meta, bytes),
            Entry::Legacy { .. } => panic!("no such message was written"),
        }).collect();

        let mut end = 0;
        for (index, (meta, bytes)) in found.iter().enumerate() {
            prop_assert_eq!(bytes, &batches[index]);
            prop_assert_eq!(bytes.as_ptr(), section[end..].as_ptr(), "a slice, not a copy");
            prop_assert_eq!(*meta, BatchMeta::parse(bytes).unwrap());
            prop_assert_eq!(meta.base_offset, list[index].0.base_offset);
            prop_assert!(verify_crc(bytes));
            end += bytes.len();
        }
        prop_assert_eq!(walk.partial_tail(), cut - end);
        prop_assert!(batches.get(found.len()).is_none_or(|next| end + next.len() > cut));
    }

    #[test]
    fn garbled_sections_never_panic_and_always_end(
        options in options(), samples in samples(2),
        flips in proptest::collection::vec((0..80usize, any::<u8>()), 1..6),
    ) {
        let batch = build(options, &samples, 0);
        let mut section = [&batch[..], &batch[..]].concat();
        for (at, bits) in flips {
            section[at] ^= bits;
        }
        let section = Bytes::from(section);
        for entry in Batches::new(section) {
            if let Ok(Entry::V2(meta, bytes)) = entry {
                prop_assert_eq!(bytes.len(), meta.len as usize);
                prop_assert!(meta.next_offset() > meta.base_offset);
                let (_, body) = split_head(&bytes).unwrap();
                let records = Records::new(&body, meta.record_count).count();
                prop_assert!(records <= meta.record_count as usize + 1);
                prop_assert!(meta.is_control() || control_type(&bytes).is_err());
            }
        }
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Batches::new(noise.clone().into()).count() <= noise.len());
        for record in Records::new(&noise, 50).flatten() {
            prop_assert!(record.headers().count() <= noise.len());
        }
        prop_assert!(control_type(&noise).is_err());
    }
}

fn batch() -> Vec<u8> {
    let options = BatchOptions { base_offset: 10, ..Default::default() };
    BatchBuilder::marker(options, ControlType::Other(9), 0, 5).unwrap().to_vec()
}

fn first_error(section: Vec<u8>) -> Option<BatchError> {
    Batches::new(section.into()).next().and_then(Result::err)
}

#[test]
fn each_kind_of_garbage_is_named_and_ends_the_walk() {
    let with = |at: usize, bytes: &[u8]| {
        let mut batch = batch();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        batch
    };
    let cases = [
        (with(16, &[3]), BatchError::BadMagic(3)),
        (with(8, &[0xFF; 4]), BatchError::BadLength(-1)),
        (with(8, &[0, 0, 0, 48]), BatchError::BadLength(48)),
        (with(57, &[0xFF; 4]), BatchError::BadCount(-1)),
        (with(57, &[0, 0, 0, 2]), BatchError::BadCount(2)),
        (with(23, &[0xFF; 4]), BatchError::BadLastOffsetDelta(-1)),
        (with(0, &[0xFF; 8]), BatchError::BadBaseOffset(-1)),
        (with(0, &i64::MAX.to_be_bytes()), BatchError::BadBaseOffset(i64::MAX)),
    ];
    for (section, error) in cases {
        let mut walk = Batches::new([section, batch()].concat().into());
        assert_eq!(walk.next(), Some(Err(error)));
        assert_eq!(walk.next(), None);
    }
}

#[test]
fn bad_magic_is_seen_in_a_partial_entry_too() {
    let mut section = batch();
    section[16] = 7;
    section.truncate(30);
    assert_eq!(first_error(section), Some(BatchError::BadMagic(7)));
}

/// A message of format v1: offset, length, CRC, magic 1, attributes, timestamp, null key, value.
fn message(offset: i64, attributes: u8, value: &[u8]) -> Vec<u8> {
    let len = |bytes: usize| i32::try_from(bytes).unwrap().to_be_bytes();
    let head = [&offset.to_be_bytes()[..], &len(22 + value.len()), &[1, 2, 3, 4, 1, attributes], &[0; 8]].concat();
    [&head[..], &[0xFF; 4], &len(value.len()), value].concat()
}

#[test]
fn small_messages_are_handed_out_together_and_those_that_hold_others_alone() {
    // Offset and last offset of each entry, and its bytes.
    let walk = |messages: &[Vec<u8>]| -> Vec<(i64, i64, usize)> {
        let entries = Batches::new(messages.concat().into()).map(|entry| match entry {
            Ok(Entry::Legacy { offset, last_offset, bytes }) => (offset, last_offset, bytes.len()),
            other => panic!("{other:?}"),
        });
        entries.collect()
    };
    let plain = |offset| message(offset, 0, &[7; 1000]);
    let len = plain(0).len();
    let packed = |offset| message(offset, 1, &[7; 1000]);
    assert_eq!(walk(&[plain(3), plain(4), plain(9)]), [(3, 9, 3 * len)]);
    assert_eq!(walk(&[plain(3), packed(5), plain(6), plain(7)]), [(3, 3, len), (5, 5, len), (6, 7, 2 * len)]);
    let mut of_v0 = plain(5);
    of_v0[16] = 0;
    assert_eq!(walk(&[plain(4), of_v0, plain(6)]), [(4, 4, len), (5, 5, len), (6, 6, len)]);
    // As many as fit in 16 KiB.
    let fit = (16 << 10) / len;
    let many: Vec<Vec<u8>> = (0..40).map(plain).collect();
    let last = fit as i64 - 1;
    assert_eq!(walk(&many)[..2], [(0, last, fit * len), (last + 1, 2 * last + 1, fit * len)]);
    // Exactly so many are not too many.
    let half = message(0, 0, &vec![7; (8 << 10) - message(0, 0, &[]).len()]);
    assert_eq!(walk(&[half.clone(), half.clone(), half]), [(0, 0, 16 << 10), (0, 0, 8 << 10)]);
}

#[test]
fn messages_of_the_old_formats_are_handed_out_whole() {
    let message = message(41, 0, &[]);
    let section = Bytes::from([message.clone(), batch()].concat());
    let mut walk = Batches::new(section);
    assert_eq!(walk.next(), Some(Ok(Entry::Legacy { offset: 41, last_offset: 41, bytes: message.into() })));
    assert!(matches!(walk.next(), Some(Ok(Entry::V2(..)))));
}

#[test]
fn control_types() {
    let options = BatchOptions::default();
    for expected in [ControlType::Abort, ControlType::Commit, ControlType::Other(2)] {
        let marker = BatchBuilder::marker(options, expected, 3, 4).unwrap();
        assert!(BatchMeta::parse(&marker).unwrap().is_control());
        assert_eq!(control_type(&marker), Ok(expected));
        assert_eq!(control_type(&marker[..marker.len() - 1]), Err(BatchError::Truncated));
    }
    let data = build(options, &golden(), 0);
    assert_eq!(control_type(&data), Err(BatchError::NoMarker));
}

#[test]
fn a_batch_that_is_not_there_as_a_whole_is_not_split() {
    let batch = Bytes::from(batch());
    assert!(split_head(&batch).is_ok());
    assert_eq!(split_head(&batch.slice(..batch.len() - 1)), Err(BatchError::Truncated));
    assert!(!verify_crc(&batch[..batch.len() - 1]));
}

#[test]
fn each_attribute_is_a_bit_of_its_own() {
    let mut meta = BatchMeta::parse(&build(BatchOptions::default(), &golden()[..1], 0)).unwrap();
    for bit in 0..16 {
        meta.attributes = (1_u16 << bit).cast_signed();
        let found = [meta.is_append_time(), meta.is_transactional(), meta.is_control(), meta.has_delete_horizon()];
        assert_eq!(found, [3, 4, 5, 6].map(|of| of == bit), "bit {bit}");
    }
}
