//! Bytes of a socket.

use bytes::{Bytes, BytesMut};
use twinlog_wire::batch::{Batches, Entry, control_type, split_head, verify_crc};
use twinlog_wire::fetch_response::FetchResponse;
use twinlog_wire::frame::{FrameCutter, ResponseFrame};
use twinlog_wire::produce_response::ProduceResponse;
use twinlog_wire::records::Records;

const FRAME_BYTES_MAX: usize = 1 << 16;

/// The first byte is the version, the rest a message of it.
fn versioned(data: &[u8]) -> Option<(i16, Bytes)> {
    let (version, body) = data.split_first()?;
    Some((i16::from(*version % 20), Bytes::copy_from_slice(body)))
}

/// Frames off a buffer that fills in pieces of the first byte's length are those of the whole.
pub(super) fn frame_split(data: &[u8]) {
    let Some((piece_len, stream)) = data.split_first() else { return };
    let cutter = FrameCutter::new(FRAME_BYTES_MAX);
    let all = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match cutter.take(&mut buffer) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
            assert!(cutter.missing(&buffer).is_ok_and(|missing| missing > 0), "a frame that is there was not taken");
        }
        (frames, None)
    };
    let (whole, error) = all(&mut [stream].into_iter());
    assert_eq!(all(&mut stream.chunks(usize::from(*piece_len).max(1))), (whole.clone(), error));
    for frame in whole {
        assert!(frame.len() <= FRAME_BYTES_MAX);
        for header_version in [0, 1] {
            if let Ok(parsed) = ResponseFrame::parse(frame.clone()) {
                let body = parsed.into_body(header_version);
                assert!(body.is_ok_and(|body| body.len() < frame.len()) || header_version == 1);
            }
        }
    }
}

/// An answer to Fetch, and all that is in it.
pub(super) fn fetch_view(data: &[u8]) {
    let Some((version, body)) = versioned(data) else { return };
    let Ok(answer) = FetchResponse::decode(body.clone(), version) else { return };
    let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    let bytes: usize = partitions.map(|partition| walk(partition.records)).sum();
    assert!(bytes <= body.len(), "records that are in no part of the answer");
}

/// An answer to Produce.
pub(super) fn produce_view(data: &[u8]) {
    let Some((version, body)) = versioned(data) else { return };
    if let Ok(answer) = ProduceResponse::decode(body, version) {
        assert!(answer.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() <= data.len());
    }
}

/// The records section of an answer, or a log file.
pub(super) fn batch_walk(data: &[u8]) {
    walk(Bytes::copy_from_slice(data));
}

/// Looks at everything; answers the section's length.
fn walk(section: Bytes) -> usize {
    let len = section.len();
    let mut batches = Batches::new(section);
    let mut walked = 0;
    for entry in batches.by_ref() {
        match entry {
            Ok(Entry::V2(meta, bytes)) => {
                walked += bytes.len();
                assert!(meta.next_offset() > meta.base_offset && meta.len as usize == bytes.len());
                let (_, body) = split_head(&bytes).expect("a whole batch");
                let records = Records::new(&body, meta.record_count);
                let count = records.flatten().filter(|record| record.headers().count() <= body.len()).count();
                assert!(count <= usize::try_from(meta.record_count).expect("not below 0"));
                assert!(control_type(&bytes).is_err() || meta.is_control());
                verify_crc(&bytes);
            }
            Ok(Entry::Legacy { offset, last_offset, bytes }) => {
                walked += bytes.len();
                assert!(offset >= 0 && (0..i64::MAX).contains(&last_offset));
            }
            Err(_) => return len,
        }
    }
    assert_eq!(walked + batches.partial_tail(), len, "bytes that were passed over");
    len
}
