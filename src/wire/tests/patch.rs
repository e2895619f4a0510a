//! The header patch against a full recompute of the CRC.

use bytes::Bytes;
use proptest::prelude::*;
use twinlog_wire::batch::{BatchMeta, split_head, verify_crc};
use twinlog_wire::patch::{Stamp, patch_head};

use crate::samples::{build, options, samples, stamp};

fn patched(batch: &Bytes, stamp: Stamp) -> Vec<u8> {
    let (head, body) = split_head(batch).unwrap();
    let new = patch_head(&head, BatchMeta::parse(batch).unwrap().body_len(), stamp);
    [&new[..], &body].concat()
}

proptest! {
    #[test]
    fn the_shifted_crc_equals_a_full_recompute(options in options(), samples in samples(1), stamp in stamp()) {
        let batch = build(options, &samples, 0);
        let old = BatchMeta::parse(&batch).unwrap();

        let new = patched(&batch, stamp);

        let meta = BatchMeta::parse(&new).unwrap();
        prop_assert_eq!(meta.crc, crc32c::crc32c(&new[21..]));
        let expected = BatchMeta {
            base_offset: 0,
            leader_epoch: -1,
            attributes: old.attributes & 0x07,
            producer_id: stamp.producer_id,
            producer_epoch: stamp.producer_epoch,
            base_sequence: stamp.base_sequence,
            crc: meta.crc,
            ..old
        };
        prop_assert_eq!(meta, expected);
        prop_assert_eq!(&new[61..], &batch[61..]);
    }

    #[test]
    fn a_patch_neither_hides_nor_makes_damage(
        options in options(), samples in samples(1), stamp in stamp(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut batch = build(options, &samples, 0).to_vec();
        let covered = batch.len() - 17;
        for (place, bits) in flips {
            // From the CRC on, but not the last offset delta and the count: those would make it no batch.
            let at = 17 + place.index(covered);
            if !(23..27).contains(&at) && !(57..61).contains(&at) {
                batch[at] ^= bits;
            }
        }
        let batch = Bytes::from(batch);
        prop_assert_eq!(verify_crc(&patched(&batch, stamp)), verify_crc(&batch));
    }
}
