//! A modelled target partition: its log and what the broker remembers of producers (`ProducerStateManager`,
//! `ProducerAppendInfo`, `UnifiedLog.analyzeAndValidateProducerState`). It is as unkind as the real one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use twinlog_core::ids::Producer;
use twinlog_core::sequence;
use twinlog_wire::batch::BatchMeta;
use twinlog_wire::error_code::ErrorCode;

use super::source::Content;

/// How many batches of a producer a broker remembers.
const REMEMBERED: usize = 5;

pub(crate) type KeyValue = (Vec<u8>, Option<Vec<u8>>);

#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Records(Rc<Content>),
    Map(Rc<Vec<KeyValue>>),
    /// Somebody else's records.
    Foreign,
    Marker,
}

#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) base: i64,
    pub(crate) count: i64,
    pub(crate) producer: Producer,
    pub(crate) sequence: i32,
    pub(crate) timestamp: i64,
    pub(crate) payload: Payload,
    /// The leader epoch, which the log gives.
    pub(crate) epoch: i32,
}

impl Batch {
    pub(crate) fn end(&self) -> i64 {
        self.base + self.count
    }

    pub(crate) fn meta(&self) -> BatchMeta {
        BatchMeta {
            base_offset: self.base,
            len: 100,
            leader_epoch: self.epoch,
            crc: 0,
            attributes: if matches!(self.payload, Payload::Marker) { 0x30 } else { 0 },
            last_offset_delta: (self.count - 1) as i32,
            base_timestamp: self.timestamp,
            max_timestamp: self.timestamp,
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            base_sequence: self.sequence,
            record_count: self.count as i32,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    first: i32,
    last: i32,
    base: i64,
    end: i64,
}

#[derive(Clone, Debug)]
struct State {
    epoch: i16,
    batches: VecDeque<Remembered>,
    timestamp: i64,
}

impl State {
    fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last)
    }

    fn is_expired(&self, now: i64, expiration_ms: i64) -> bool {
        now - self.timestamp >= expiration_ms
    }
}

/// What came of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base: i64,
    pub(crate) end: i64,
    pub(crate) duplicate: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) batches: Vec<Batch>,
    pub(crate) start: i64,
    pub(crate) high_watermark: i64,
    states: BTreeMap<i64, State>,
    /// The leader epoch.
    epoch: i32,
    /// Grows with each change of the leader: requests to a former one are refused.
    pub(crate) generation: u64,
    /// No leader before this time.
    pub(crate) down_until: u64,
    /// Requests below this number whose connection is gone are gone, too.
    pub(crate) barrier: u64,
    pub(crate) duplicates: u64,
    /// Offsets of map records that the cleaner took out.
    pub(crate) cleaned: BTreeSet<i64>,
}

impl Log {
    pub(crate) fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, Batch::end)
    }

    /// An idempotent producer's batch.
    pub(crate) fn append(
        &mut self,
        producer: Producer,
        first: i32,
        count: i64,
        timestamp: i64,
        payload: Payload,
    ) -> Result<Appended, ErrorCode> {
        let last = sequence::advance(first, (count - 1) as u64);
        let state = self.states.get(&producer.id);
        if let Some(state) = state.filter(|state| state.epoch == producer.epoch)
            && let Some(old) = state.batches.iter().find(|old| old.first == first && old.last == last)
        {
            self.duplicates += 1;
            return Ok(Appended { base: old.base, end: old.end, duplicate: true });
        }
        if let Some(state) = state {
            if producer.epoch < state.epoch {
                return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
            }
            let expected = if producer.epoch > state.epoch { 0 } else { sequence::advance(state.last_sequence(), 1) };
            // -1, where nothing is remembered, is followed by 0 as well.
            let expected = if state.last_sequence() == -1 { 0 } else { expected };
            if first != expected {
                return Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
            }
        }
        let base = self.end();
        self.push(Batch { base, count, producer, sequence: first, timestamp, payload, epoch: self.epoch });
        Ok(Appended { base, end: base + count, duplicate: false })
    }

    /// A transaction's marker; refused if a newer epoch is known.
    pub(crate) fn mark(&mut self, producer: Producer, now: i64) -> Result<(), ErrorCode> {
        if self.states.get(&producer.id).is_some_and(|state| producer.epoch < state.epoch) {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        let base = self.end();
        self.push(Batch {
            base,
            count: 1,
            producer,
            sequence: -1,
            timestamp: now,
            payload: Payload::Marker,
            epoch: self.epoch,
        });
        Ok(())
    }

    /// A batch of which nothing is remembered.
    pub(crate) fn append_late(&mut self, batch: Batch) {
        self.push(Batch { base: self.end(), epoch: self.epoch, ..batch });
    }

    /// Somebody else's batch, without a producer id.
    pub(crate) fn foreign(&mut self, count: i64, now: i64) {
        let producer = Producer { id: -1, epoch: -1 };
        let base = self.end();
        self.push(Batch {
            base,
            count,
            producer,
            sequence: -1,
            timestamp: now,
            payload: Payload::Foreign,
            epoch: self.epoch,
        });
    }

    fn push(&mut self, batch: Batch) {
        self.remember(&batch);
        self.batches.push(batch);
    }

    fn remember(&mut self, batch: &Batch) {
        if batch.producer.id < 0 {
            return;
        }
        let fresh = State { epoch: batch.producer.epoch, batches: VecDeque::new(), timestamp: batch.timestamp };
        let state = self.states.entry(batch.producer.id).or_insert(fresh);
        if state.epoch != batch.producer.epoch {
            state.epoch = batch.producer.epoch;
            state.batches.clear();
        }
        state.timestamp = batch.timestamp;
        if !matches!(batch.payload, Payload::Marker) {
            let last = sequence::advance(batch.sequence, (batch.count - 1) as u64);
            state.batches.push_back(Remembered { first: batch.sequence, last, base: batch.base, end: batch.end() });
            if state.batches.len() > REMEMBERED {
                state.batches.pop_front();
            }
        }
    }

    /// The check by record timestamps; true if a producer was forgotten.
    pub(crate) fn forget(&mut self, now: i64, expiration_ms: i64) -> bool {
        let before = self.states.len();
        self.states.retain(|_, state| !state.is_expired(now, expiration_ms));
        self.states.len() < before
    }

    /// A clean restart: only the last batch of each producer is in the snapshot.
    pub(crate) fn restart(&mut self, now: i64, expiration_ms: i64) {
        for state in self.states.values_mut() {
            while state.batches.len() > 1 {
                state.batches.pop_front();
            }
        }
        self.forget(now, expiration_ms);
    }

    /// Whether it has forgotten a producer, or will when it looks next.
    pub(crate) fn is_about_to_forget(&self, id: i64, now: i64, expiration_ms: i64) -> bool {
        self.states.get(&id).is_none_or(|state| state.is_expired(now, expiration_ms))
    }

    /// A new leader whose log ends at `end`; it knows of producers what its log says.
    pub(crate) fn elect(&mut self, end: i64, now: i64, expiration_ms: i64) {
        self.epoch += 1;
        let keep = self.batches.partition_point(|batch| batch.end() <= end);
        if keep < self.batches.len() {
            self.batches.truncate(keep);
            self.high_watermark = self.high_watermark.min(self.end());
            self.states.clear();
            for batch in std::mem::take(&mut self.batches) {
                self.push(batch);
            }
        }
        self.forget(now, expiration_ms);
    }

    /// The cleaner's pass over a map: of each key the newest record stays. Tombstones go, too, unless somebody reads
    /// who may have seen what they end: they stay for `delete.retention.ms`, a day.
    pub(crate) fn compact(&mut self, is_read: bool) {
        let (mut newest, mut cleaned) = (BTreeMap::new(), BTreeSet::new());
        for batch in self.batches.iter().filter(|batch| batch.end() <= self.high_watermark) {
            if let Payload::Map(records) = &batch.payload {
                for (offset, (key, value)) in (batch.base..).zip(records.iter()) {
                    cleaned.extend(newest.insert(key.clone(), offset));
                    if value.is_none() && !is_read {
                        newest.remove(key);
                        cleaned.insert(offset);
                    }
                }
            }
        }
        self.cleaned = cleaned;
    }

    /// Where the log parts from that of a reader who has read up to `from`, lastly under this leader epoch.
    pub(crate) fn diverges(&self, from: i64, epoch: i32) -> Option<i64> {
        let later = self.batches.partition_point(|batch| batch.epoch <= epoch);
        let end = self.batches.get(later).map_or_else(|| self.end(), |batch| batch.base);
        let known = later.checked_sub(1).and_then(|last| self.batches.get(last)).map(|batch| batch.epoch);
        (epoch >= 0 && (known.is_some_and(|known| known < epoch) || end < from)).then_some(end)
    }

    /// Batches from the one that holds `from` on, below the high watermark.
    pub(crate) fn read(&self, from: i64) -> impl Iterator<Item = &Batch> {
        let first = self.batches.partition_point(|batch| batch.end() <= from);
        self.batches.iter().skip(first).take_while(|batch| batch.end() <= self.high_watermark)
    }
}
