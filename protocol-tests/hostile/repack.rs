//! Batches that are opened. The checksums are made to fit, so that what lies behind them is reached.

use bytes::Bytes;
use twinlog_wire::batch::{BatchMeta, Batches, Entry, HEAD_LEN, verify_crc};
use twinlog_wire::compression::decompress;
use twinlog_wire::records::Records;
use twinlog_wire::repack::{AppendTime, Repack, Repacked};

const UNPACKED_BYTES_MAX: usize = 1 << 20;

/// What the first byte says of the request.
fn request(choice: u8) -> Repack {
    Repack {
        min_offset: if choice & 1 == 0 { 0 } else { 3 },
        append_time: if choice & 2 == 0 { AppendTime::Keep } else { AppendTime::Drop },
        unpacked_bytes_max: UNPACKED_BYTES_MAX,
    }
}

/// After the choice a header of v2 and a body.
pub(super) fn batch(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let mut batch = rest.to_vec();
    if batch.len() < HEAD_LEN {
        return;
    }
    let Ok(length) = i32::try_from(batch.len() - 12) else { return };
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    let Ok(meta) = BatchMeta::parse(&batch) else { return };
    if let Ok(Some(new)) = request(*choice).apply(&batch.into()) {
        assert!(new.meta.record_count <= meta.record_count);
        judge(&new, meta.base_offset..=meta.last_offset());
    }
}

/// After the choice messages of v0 and v1.
pub(super) fn messages(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let mut section = rest.to_vec();
    mend_checksums(&mut section);
    for entry in Batches::new(section.into()) {
        let Ok(Entry::Legacy { bytes, .. }) = entry else { return };
        if let Ok(Some(new)) = request(*choice).apply(&bytes) {
            judge(&new, 0..=i64::MAX);
        }
    }
}

fn mend_checksums(mut section: &mut [u8]) {
    while section.len() >= 17 {
        let size = i32::from_be_bytes([section[8], section[9], section[10], section[11]]);
        let Some(len) =
            usize::try_from(size).ok().map(|size| size + 12).filter(|len| (17..=section.len()).contains(len))
        else {
            return;
        };
        let (message, rest) = section.split_at_mut(len);
        let crc = crc32fast::hash(&message[16..]);
        message[12..16].copy_from_slice(&crc.to_be_bytes());
        section = rest;
    }
}

/// A batch that the target takes, and where its records came from.
fn judge(new: &Repacked, source: std::ops::RangeInclusive<i64>) {
    let whole: Bytes = [&new.head[..], &new.body].concat().into();
    assert!(verify_crc(&whole) && BatchMeta::parse(&whole) == Ok(new.meta) && new.meta.is_dense());
    assert_eq!((new.meta.base_offset, new.meta.attributes & !7), (0, 0));
    let mut next = *source.start();
    let mut count = 0;
    for run in &new.runs {
        assert!(run.count > 0 && run.source_start >= next, "{:?}", new.runs);
        next = run.source_start.saturating_add(i64::from(run.count));
        count += i64::from(run.count);
    }
    assert!(next.saturating_sub(1) <= *source.end());
    assert_eq!(count, i64::from(new.meta.record_count));
    let codec = new.meta.codec().expect("a codec that was there before");
    // Numbers take a byte more here and there.
    let plain = decompress(codec, &new.body, 2 * UNPACKED_BYTES_MAX).expect("what was packed unpacks");
    let offsets = Records::new(&plain, new.meta.record_count).map(|record| record.expect("a record").offset_delta);
    assert!(offsets.eq(0..new.meta.record_count));
}
