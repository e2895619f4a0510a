//! Fetch, by hand: what is asked for, and where the batches of an answer stand.

use std::io::{self, Write as _};
use std::ops::Range;

use kafka_protocol::messages::ApiKey;
use twinlog_wire::batch::{BatchMeta, HEAD_LEN};

use super::{Partition, head};
use crate::ask::unexpected;
use crate::fields::{Fields, put_count};
use crate::net::Stream;

const FETCH_VERSION: i16 = 17;
/// As in the link: bytes of an answer, and of a partition in it.
const FETCH_BYTES: i32 = 4 << 20;
const PARTITION_BYTES: i32 = 1 << 20;
const MAX_WAIT_MS: i32 = 500;

/// The batches of a partition that an answer brought, all of them whole.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) partition: usize,
    pub(crate) rest: Range<usize>,
}

/// Sends a Fetch for the next partitions in turn, for at most `asked_max` of them.
pub(crate) fn ask(
    source: &mut Stream,
    topic_id: [u8; 16],
    partitions: &[Partition],
    asked_max: usize,
    turn: &mut usize,
) -> io::Result<()> {
    let count = partitions.len().min(asked_max);
    let mut out = head(ApiKey::Fetch, FETCH_VERSION);
    out.extend_from_slice(&MAX_WAIT_MS.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&FETCH_BYTES.to_be_bytes());
    // Read committed, without a session.
    out.push(1);
    out.extend_from_slice(&0i32.to_be_bytes());
    out.extend_from_slice(&(-1i32).to_be_bytes());
    put_count(&mut out, 1);
    out.extend_from_slice(&topic_id);
    put_count(&mut out, count);
    for index in (*turn..*turn + count).map(|index| index % partitions.len()) {
        let index_number = i32::try_from(index).map_err(io::Error::other)?;
        out.extend_from_slice(&index_number.to_be_bytes());
        out.extend_from_slice(&(-1i32).to_be_bytes());
        out.extend_from_slice(&partitions[index].next_offset.to_be_bytes());
        out.extend_from_slice(&(-1i32).to_be_bytes());
        out.extend_from_slice(&(-1i64).to_be_bytes());
        out.extend_from_slice(&PARTITION_BYTES.to_be_bytes());
        out.push(0);
    }
    // No more fields of the topic, no forgotten topics, no rack, no more fields.
    out.extend_from_slice(&[0, 1, 1, 0]);
    let len = u32::try_from(out.len() - 4).map_err(io::Error::other)?;
    out[..4].copy_from_slice(&len.to_be_bytes());
    source.write_all(&out)?;
    source.flush()?;
    // Of those that were asked for, some fit: the others come first in the next one.
    *turn = (*turn + count.min(FETCH_BYTES as usize / PARTITION_BYTES as usize)) % partitions.len();
    Ok(())
}

/// Where the batches of an answer stand; notes the next offsets.
pub(crate) fn parts(frame: &[u8], partitions: &mut [Partition]) -> io::Result<Vec<Fetched>> {
    let mut fields = Fields(frame);
    let mut found = Vec::new();
    let mut read = || {
        let (_correlation_id, ()) = (fields.i32()?, fields.tags()?);
        let (_throttled, error, _session, topics) = (fields.i32()?, fields.i16()?, fields.i32()?, fields.count()?);
        let mut is_fine = error == 0;
        for _ in 0..topics {
            fields.id()?;
            for _ in 0..fields.count()? {
                let (index, error) = (fields.i32()?, fields.i16()?);
                let _ends = (fields.i64()?, fields.i64()?, fields.i64()?);
                let (aborted, _replica, len) = (fields.count()?, fields.i32()?, fields.count()?);
                is_fine &= error == 0 && aborted == 0;
                let start = frame.len() - fields.0.len();
                fields.take(len)?;
                fields.tags()?;
                if len > 0 {
                    found.push(Fetched { partition: usize::try_from(index).ok()?, rest: start..start + len });
                }
            }
            fields.tags()?;
        }
        Some(is_fine)
    };
    if read() != Some(true) {
        return Err(unexpected("an answer to Fetch that is not understood"));
    }
    for fetched in &mut found {
        let mut place = fetched.rest.start;
        while let Some(meta) = whole_batch(&frame[place..fetched.rest.end])? {
            partitions[fetched.partition].next_offset = meta.next_offset();
            place += meta.len as usize;
        }
        fetched.rest.end = place;
    }
    found.retain(|fetched| !fetched.rest.is_empty());
    Ok(found)
}

/// The batch in front. None is whole where an answer has reached its limit: a broker sends the start of the next one.
pub(crate) fn whole_batch(bytes: &[u8]) -> io::Result<Option<BatchMeta>> {
    if bytes.len() < HEAD_LEN {
        return Ok(None);
    }
    let meta = BatchMeta::parse(bytes).map_err(io::Error::other)?;
    Ok((meta.len as usize <= bytes.len()).then_some(meta))
}

#[cfg(test)]
mod tests {
    use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

    use super::*;

    #[test]
    fn a_batch_that_is_cut_off_is_none_yet() {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.push(&NewRecord { value: Some(b"value"), ..NewRecord::default() });
        let batch = builder.finish().unwrap();
        assert_eq!(whole_batch(&batch).unwrap().map(|batch| batch.record_count), Some(1));
        for len in [0, HEAD_LEN - 1, HEAD_LEN, batch.len() - 1] {
            assert!(whole_batch(&batch[..len]).unwrap().is_none(), "{len} bytes");
        }
        assert!(whole_batch(&[0; HEAD_LEN]).is_err(), "what is no batch is an error");
    }
}
