//! As of when each partition is current: at that time the source had no more, as far as consumers see it, than what is
//! on the target by now. Idle partitions are current without a heartbeat in the source, since the broker says each
//! time that there is nothing new.

use twinlog_core::batch::{BatchKind, FetchedBatch};
use twinlog_core::ids::SourceOffset;
use twinlog_core::io::{FetchResult, LanePartition};

/// Of all partitions of a lane. Times are ms since 1970.
#[derive(Debug, Default)]
pub(super) struct Currency {
    of: Vec<Current>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Current {
    as_of_ms: Option<i64>,
    /// An end that the source had at this time, and up to which not all is on the target yet.
    pending: Option<(SourceOffset, i64)>,
}

impl Current {
    fn settle(&mut self, synced: SourceOffset) {
        if let Some((_, at)) = self.pending.take_if(|(end, _)| *end <= synced) {
            self.as_of_ms = Some(at);
        }
    }
}

impl Currency {
    /// The source answered a request for what follows `from`; none: it has nothing new.
    pub(super) fn answered(
        &mut self,
        id: LanePartition,
        from: SourceOffset,
        result: Option<&FetchResult>,
        synced: SourceOffset,
        now_ms: i64,
    ) {
        let end = match result {
            None => Some(from),
            Some(FetchResult::Batches { batches, last_stable, .. }) => {
                let read_to = batches.last().map_or(from, end).max(from);
                (read_to >= *last_stable).then_some(read_to)
            }
            Some(_) => None,
        };
        if let Some(end) = end {
            self.ended(id, end, synced, now_ms);
        }
    }

    fn ended(&mut self, id: LanePartition, end: SourceOffset, synced: SourceOffset, now_ms: i64) {
        let place = id.0 as usize;
        if self.of.len() <= place {
            self.of.resize(place + 1, Current::default());
        }
        let current = &mut self.of[place];
        current.settle(synced);
        if end <= synced {
            current.as_of_ms = Some(now_ms);
        } else {
            // An earlier end is reached first: under a steady load the newest one never would be. One before it is of
            // a log that was cut off or made anew.
            current.pending.take_if(|(pending, _)| *pending > end);
            current.pending.get_or_insert((end, now_ms));
        }
    }

    /// As of when a partition is current that is copied up to `synced`.
    pub(super) fn as_of(&mut self, id: LanePartition, synced: SourceOffset) -> Option<i64> {
        let current = self.of.get_mut(id.0 as usize)?;
        current.settle(synced);
        current.as_of_ms
    }
}

fn end(batch: &FetchedBatch) -> SourceOffset {
    match batch.kind {
        BatchKind::Records(meta) | BatchKind::Control { meta, .. } => SourceOffset(meta.next_offset()),
        BatchKind::Legacy { last, .. } => last.plus(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LanePartition = LanePartition(3);

    fn batches(last_stable: i64) -> FetchResult {
        let last_stable = SourceOffset(last_stable);
        FetchResult::Batches {
            high_watermark: last_stable,
            last_stable,
            log_start: SourceOffset(0),
            batches: Vec::new(),
            aborted: Vec::new(),
        }
    }

    #[test]
    fn an_idle_partition_is_current_as_of_the_last_answer() {
        let (mut currency, at) = (Currency::default(), SourceOffset(7));
        assert_eq!(currency.as_of(ID, at), None);
        currency.answered(ID, at, Some(&batches(7)), at, 1_000);
        assert_eq!(currency.as_of(ID, at), Some(1_000));
        currency.answered(ID, at, None, at, 1_500);
        assert_eq!(currency.as_of(ID, at), Some(1_500));
        currency.answered(ID, at, Some(&batches(8)), at, 2_000);
        currency.answered(ID, at, Some(&FetchResult::OutOfRange), at, 2_500);
        assert_eq!(currency.as_of(ID, at), Some(1_500), "there was more, or nothing is known");
    }

    #[test]
    fn an_end_before_the_last_one_counts_instead_of_it() {
        let (mut currency, read) = (Currency::default(), SourceOffset(0));
        for (end, now_ms) in [(100, 1_000), (10, 2_000), (20, 3_000)] {
            currency.answered(ID, SourceOffset(end), Some(&batches(end)), read, now_ms);
        }
        assert_eq!(currency.as_of(ID, SourceOffset(10)), Some(2_000));
    }

    #[test]
    fn under_load_it_is_current_as_of_the_last_end_that_was_reached() {
        let mut currency = Currency::default();
        for (end, synced, now_ms) in [(10, 0, 1_000), (20, 5, 2_000), (30, 15, 3_000), (40, 25, 4_000)] {
            let (end, synced) = (SourceOffset(end), SourceOffset(synced));
            currency.answered(ID, end, Some(&batches(end.0)), synced, now_ms);
        }
        assert_eq!(currency.as_of(ID, SourceOffset(25)), Some(1_000));
        assert_eq!(currency.as_of(ID, SourceOffset(29)), Some(1_000));
        assert_eq!(currency.as_of(ID, SourceOffset(30)), Some(3_000));
    }
}
