//! What a partition remembers of idempotent producers, and what it therefore refuses.
//!
//! ```text
//! no state     any epoch, any sequence              appended, remembered
//! epoch older  than the remembered one              47 INVALID_PRODUCER_EPOCH
//! epoch newer  sequence 0                           appended; the older epoch's batches are forgotten
//! epoch newer  another sequence                     45 OUT_OF_ORDER_SEQUENCE_NUMBER
//! same epoch   the range of one of the last five    answered with its offset, not appended
//! same epoch   the sequence after the last one      appended
//! same epoch   another sequence                     45
//! ```
//! Source: `ProducerStateManager`, `ProducerStateEntry`, `ProducerAppendInfo`. State goes by the largest record
//! timestamp of the producer's last batch, not by when it was written.

use std::collections::{BTreeMap, VecDeque};

use twinlog_wire::batch::BatchMeta;
use twinlog_wire::error_code::ErrorCode;

use crate::incoming::Refused;

/// How many batches of a producer a broker remembers (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
const REMEMBERED: usize = 5;

#[derive(Clone, Copy, Debug)]
struct Remembered {
    first: i32,
    last: i32,
    base_offset: i64,
    timestamp: i64,
}

#[derive(Clone, Debug)]
struct State {
    epoch: i16,
    batches: VecDeque<Remembered>,
    timestamp: i64,
    /// First offset of its open transaction.
    open_since: Option<i64>,
}

/// A batch that is in the log already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duplicate {
    pub(crate) base_offset: i64,
    pub(crate) timestamp: i64,
}

/// The producers of one partition by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Producers {
    states: BTreeMap<i64, State>,
}

impl Producers {
    /// Whether a client's batch may be appended; a duplicate must not.
    pub(crate) fn check(&self, meta: &BatchMeta) -> Result<Option<Duplicate>, Refused> {
        let Some(state) = self.states.get(&meta.producer_id).filter(|_| meta.producer_id >= 0) else {
            return Ok(None);
        };
        let (first, last) = sequences(meta);
        let same_epoch = state.epoch == meta.producer_epoch;
        let known = state.batches.iter().find(|old| same_epoch && (old.first, old.last) == (first, last));
        if let Some(old) = known {
            return Ok(Some(Duplicate { base_offset: old.base_offset, timestamp: old.timestamp }));
        }
        if meta.producer_epoch < state.epoch {
            let words = "Epoch of producer is smaller than the last seen epoch.";
            return Err(Refused::new(ErrorCode::INVALID_PRODUCER_EPOCH, words));
        }
        let expected = match state.batches.back() {
            Some(last) if same_epoch => advance(last.last, 1),
            _ => 0,
        };
        if first != expected {
            let words = "Out of order sequence number for producer.";
            return Err(Refused::new(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, words));
        }
        if state.open_since.is_some() && !meta.is_transactional() {
            return Err(Refused::new(ErrorCode::INVALID_TXN_STATE, "Expected transactional write from producer."));
        }
        Ok(None)
    }

    /// Whether a coordinator's marker may be appended.
    pub(crate) fn check_marker(&self, producer_id: i64, epoch: i16) -> Result<(), ErrorCode> {
        match self.states.get(&producer_id) {
            Some(state) if epoch < state.epoch => Err(ErrorCode::INVALID_PRODUCER_EPOCH),
            _ => Ok(()),
        }
    }

    /// Remembers a batch or a marker that was appended. For a marker the first offset of the transaction that it ends
    /// comes back, if it had data here.
    pub(crate) fn remember(&mut self, meta: &BatchMeta) -> Option<i64> {
        if meta.producer_id < 0 {
            return None;
        }
        let fresh = State {
            epoch: meta.producer_epoch,
            batches: VecDeque::new(),
            timestamp: meta.max_timestamp,
            open_since: None,
        };
        let state = self.states.entry(meta.producer_id).or_insert(fresh);
        if state.epoch != meta.producer_epoch {
            state.epoch = meta.producer_epoch;
            state.batches.clear();
        }
        state.timestamp = meta.max_timestamp;
        if meta.is_control() {
            return state.open_since.take();
        }
        let ((first, last), timestamp) = (sequences(meta), meta.max_timestamp);
        state.batches.push_back(Remembered { first, last, base_offset: meta.base_offset, timestamp });
        if state.batches.len() > REMEMBERED {
            state.batches.pop_front();
        }
        if meta.is_transactional() {
            state.open_since.get_or_insert(meta.base_offset);
        }
        None
    }

    /// First offset of the oldest open transaction.
    pub(crate) fn first_open(&self) -> Option<i64> {
        self.states.values().filter_map(|state| state.open_since).min()
    }

    /// The regular check: gone is whose last batch has old timestamps and who has no open transaction.
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        let is_old = |state: &State| now_ms.saturating_sub(state.timestamp) >= expiration_ms;
        self.states.retain(|_, state| state.open_since.is_some() || !is_old(state));
    }

    /// A clean restart: of each producer the snapshot has the last batch only.
    pub(crate) fn restart(&mut self) {
        for state in self.states.values_mut() {
            let older = state.batches.len().saturating_sub(1);
            state.batches.drain(..older);
        }
    }

    /// Forgets one producer, or all.
    pub(crate) fn forget(&mut self, producer_id: Option<i64>) {
        self.states.retain(|id, _| producer_id.is_some_and(|gone| gone != *id));
    }
}

fn sequences(meta: &BatchMeta) -> (i32, i32) {
    (meta.base_sequence, advance(meta.base_sequence, meta.last_offset_delta))
}

/// After the largest sequence comes 0 (`DefaultRecordBatch.incrementSequence`).
fn advance(sequence: i32, by: i32) -> i32 {
    let sum = (i64::from(sequence) + i64::from(by)) & i64::from(i32::MAX);
    i32::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 3), 1);
        assert_eq!(advance(7, 0), 7);
    }
}
