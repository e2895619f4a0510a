//! What a partition's part of an answer is to the core.

use twinlog_client::ErrorCode;
use twinlog_core::batch::{Aborted, BatchKind, FetchedBatch};
use twinlog_core::ids::SourceOffset;
use twinlog_core::io::{Failure, FetchResult};
use twinlog_wire::batch::Batches;
use twinlog_wire::fetch_response::FetchPartition;

use super::super::budget::Slots;

/// Puts its batches into slots of the frame.
pub(super) fn read(partition: FetchPartition, frame: usize, slots: &mut Slots, now_ms: u64) -> FetchResult {
    match partition.error {
        ErrorCode::NONE => {}
        ErrorCode::OFFSET_OUT_OF_RANGE => return FetchResult::OutOfRange,
        code => return FetchResult::Failed(Failure::Code(code)),
    }
    if let Some(diverging) = partition.diverging_epoch {
        return FetchResult::Diverging { end: SourceOffset(diverging.end_offset) };
    }
    let mut batches = Vec::new();
    for entry in Batches::new(partition.records) {
        let batch = match entry {
            Ok(entry) => {
                let kind = BatchKind::of(&entry);
                FetchedBatch { slot: slots.hold(frame, entry.into_bytes(), now_ms), kind }
            }
            Err(error) => {
                tracing::warn!(%error, "The source sent a batch that cannot be read; it is fetched again.");
                if batches.is_empty() {
                    return FetchResult::Failed(Failure::Code(ErrorCode::CORRUPT_MESSAGE));
                }
                // What came before it is good; the next fetch begins at it.
                break;
            }
        };
        batches.push(batch);
    }
    let aborted = partition.aborted.iter().map(|transaction| Aborted {
        producer_id: transaction.producer_id,
        first_offset: SourceOffset(transaction.first_offset),
    });
    FetchResult::Batches {
        high_watermark: SourceOffset(partition.high_watermark),
        last_stable: SourceOffset(partition.last_stable_offset),
        log_start: SourceOffset(partition.log_start_offset),
        batches,
        aborted: aborted.collect(),
    }
}

#[cfg(test)]
mod tests {
    use allocation_counter::measure;
    use bytes::Bytes;
    use twinlog_core::config::Timestamps;
    use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

    use super::*;
    use crate::lane::budget::Share;

    /// A partition's part of an answer with so many batches.
    fn answer(batches: usize) -> FetchPartition {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.push(&NewRecord { timestamp: 0, key: None, value: Some(b"value"), headers: &[] });
        let batch = builder.finish().unwrap();
        FetchPartition {
            index: 0,
            error: ErrorCode::NONE,
            high_watermark: 0,
            last_stable_offset: 0,
            log_start_offset: 0,
            diverging_epoch: None,
            current_leader: None,
            aborted: Vec::new(),
            preferred_read_replica: -1,
            records: std::iter::repeat_n(batch, batches).flatten().collect(),
        }
    }

    fn take(answer: &FetchPartition, slots: &mut Slots) -> Vec<FetchedBatch> {
        let frame = slots.frame(answer.records.len() as u64);
        let result = read(answer.clone(), frame, slots, 0);
        slots.frame_done(frame);
        let FetchResult::Batches { batches, .. } = result else { unreachable!("{result:?}") };
        batches
    }

    /// How often memory is allocated until each batch stands in the parts that are sent, once the lane has had as many.
    fn allocations(batches: usize) -> u64 {
        let (answer, mut slots) = (answer(batches), Slots::new(Share::of(1 << 20), Timestamps::Append));
        for batch in take(&answer, &mut slots) {
            slots.release(batch.slot);
        }
        let counted = measure(|| {
            let taken = take(&answer, &mut slots);
            assert_eq!(taken.iter().filter(|batch| slots.parts(batch.slot).is_some()).count(), batches);
        });
        counted.count_total
    }

    #[test]
    fn allocations_do_not_grow_with_the_batches_of_an_answer() {
        let (few, many) = (allocations(16), allocations(4096));
        assert!(many <= few + 8, "{few} for 16 batches, {many} for 4096: only their list may double");
    }

    #[test]
    fn a_body_is_sent_from_the_memory_that_it_came_in() {
        let (answer, mut slots) = (answer(3), Slots::new(Share::of(1 << 20), Timestamps::Append));
        let inside = |body: &Bytes| answer.records.as_ptr_range().contains(&body.as_ptr());
        let taken = take(&answer, &mut slots);
        let bodies: Vec<_> = taken.iter().filter_map(|batch| slots.parts(batch.slot)).collect();
        assert_eq!(bodies.len(), 3);
        assert!(bodies.iter().all(|parts| inside(&parts.body)));
    }
}
