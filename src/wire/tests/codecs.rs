//! Packing and unpacking, with every codec.

use std::io::Write as _;

use proptest::prelude::*;
use twinlog_wire::batch::Codec;
use twinlog_wire::compression::{CompressionError, compress, decompress};

use crate::samples::{CODECS, codec};

/// Bytes with some repetition, so that codecs have something to do.
fn plain() -> impl Strategy<Value = Vec<u8>> {
    let piece = (proptest::collection::vec(any::<u8>(), 1..50), 1..2000usize);
    proptest::collection::vec(piece, 0..4)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(bytes, count)| bytes.repeat(count)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_packed_unpacks_within_its_own_length(codec in codec(), plain in plain()) {
        let packed = compress(codec, plain.clone()).unwrap();
        prop_assert_eq!(&*decompress(codec, &packed, plain.len()).unwrap(), &plain[..]);
        if let Some(tight) = plain.len().checked_sub(1) {
            let too_large = Err(CompressionError::TooLarge { unpacked_bytes_max: tight });
            prop_assert_eq!(decompress(codec, &packed, tight), too_large);
        }
    }

    #[test]
    fn garbage_is_an_error_or_small(
        codec in codec(), plain in plain(), at in any::<prop::sample::Index>(), bits in any::<u8>(), cut in 0..40usize,
    ) {
        let mut packed = compress(codec, plain).unwrap().to_vec();
        if !packed.is_empty() {
            let at = at.index(packed.len());
            packed[at] ^= bits;
        }
        packed.truncate(packed.len().saturating_sub(cut));
        if let Ok(unpacked) = decompress(codec, &packed, 100_000) {
            prop_assert!(unpacked.len() <= 100_000);
        }
    }

    #[test]
    fn noise_never_panics(codec in codec(), noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(unpacked) = decompress(codec, &noise, 5000) {
            prop_assert!(unpacked.len() <= 5000);
        }
    }
}

#[test]
fn bombs_stop_at_the_limit() {
    for codec in CODECS {
        let packed = compress(codec, vec![0; 64 << 20]).unwrap();
        let too_large = CompressionError::TooLarge { unpacked_bytes_max: 1 << 20 };
        assert_eq!(decompress(codec, &packed, 1 << 20), Err(too_large), "{codec:?}");
    }
}

#[test]
fn a_snappy_length_that_lies_is_refused_before_it_is_allocated() {
    let claims_four_gigabytes = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0];
    let too_large = CompressionError::TooLarge { unpacked_bytes_max: 1000 };
    assert_eq!(decompress(Codec::Snappy, &claims_four_gigabytes, 1000), Err(too_large));
}

#[test]
fn raw_snappy_as_librdkafka_writes_it_and_joined_streams_unpack() {
    let raw = snap::raw::Encoder::new().compress_vec(b"raw block").unwrap();
    assert_eq!(&*decompress(Codec::Snappy, &raw, 100).unwrap(), b"raw block");

    for codec in [Codec::Snappy, Codec::Gzip, Codec::Zstd] {
        let one = compress(codec, b"one,".to_vec()).unwrap();
        let two = compress(codec, b"two".to_vec()).unwrap();
        assert_eq!(&*decompress(codec, &[one, two].concat(), 100).unwrap(), b"one,two", "{codec:?}");
    }
}

/// A frame says how far back it may refer; a decoder keeps so much of what it unpacked.
#[test]
fn zstd_windows_far_above_the_limit_are_refused_and_those_within_it_are_read() {
    let frame = |window_log: u32| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        // Written in two steps, so that the frame cannot know its size and declares the window as it is.
        encoder.write_all(b"one").unwrap();
        encoder.flush().unwrap();
        encoder.write_all(b"two").unwrap();
        encoder.finish().unwrap()
    };
    let reads = |window_log, limit_log: u32| decompress(Codec::Zstd, &frame(window_log), 1 << limit_log).is_ok();
    assert!(reads(23, 10) && reads(26, 26) && reads(27, 40));
    assert!(!reads(25, 10) && !reads(26, 24));
}

#[test]
fn zstd_frames_follow_each_other_and_a_cut_one_spoils_none() {
    let frame = compress(Codec::Zstd, vec![7; 5000]).unwrap();
    for cut in 1..frame.len() {
        let cut_frame = [&frame[..], &frame[..cut]].concat();
        assert!(decompress(Codec::Zstd, &cut_frame, 1 << 20).is_err(), "cut to {cut} bytes");
        let two = [&frame[..], &frame[..]].concat();
        assert_eq!(decompress(Codec::Zstd, &two, 1 << 20).unwrap(), vec![7; 10_000]);
    }
}
