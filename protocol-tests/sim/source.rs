//! A modelled source partition: batches with producers, transactions, leader epochs and holes.

use std::collections::BTreeMap;
use std::rc::Rc;

use twinlog_core::batch::Aborted;
use twinlog_core::ids::SourceOffset;
use twinlog_wire::batch::BatchMeta;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    /// What is in it, as one number that no other record has.
    pub(crate) identity: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Committed,
    Open,
    Aborted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Transactional,
    Control {
        abort: bool,
    },
    Legacy,
    AppendTime,
    UnknownCodec,
    /// Data that the target refuses, or that cannot be opened.
    Bad,
}

#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) base: i64,
    pub(crate) last: i64,
    pub(crate) records: Vec<Record>,
    /// Records that the cleaner took out.
    pub(crate) cleaned: Vec<Record>,
    pub(crate) producer_id: i64,
    pub(crate) kind: Kind,
    pub(crate) fate: Fate,
    pub(crate) epoch: i32,
    pub(crate) max_timestamp: i64,
    pub(crate) len: u32,
}

/// The bytes of a batch, as a lane holds them by a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) records: Vec<Record>,
    pub(crate) max_timestamp: i64,
    pub(crate) len: u32,
    pub(crate) bad: bool,
}

/// A batch of a fetch answer.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) content: Rc<Content>,
    pub(crate) meta: BatchMeta,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Fetch {
    Batches { high_watermark: i64, last_stable: i64, start: i64, batches: Vec<Fetched>, aborted: Vec<Aborted> },
    OutOfRange,
    Diverging(i64),
}

#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) batches: Vec<Batch>,
    /// Batches that an unclean election took back.
    pub(crate) lost: Vec<Batch>,
    pub(crate) start: i64,
    pub(crate) high_watermark: i64,
    pub(crate) epoch: i32,
    next: i64,
    next_identity: u64,
    /// Open transactions: producer id and first offset.
    pub(crate) open: BTreeMap<i64, i64>,
    aborted: Vec<(i64, i64, i64)>,
}

impl Source {
    pub(crate) fn new(number: u64, start: i64) -> Self {
        Self {
            batches: Vec::new(),
            lost: Vec::new(),
            start,
            high_watermark: start,
            epoch: 3,
            next: start,
            next_identity: 1 + (number << 32),
            open: BTreeMap::new(),
            aborted: Vec::new(),
        }
    }

    pub(crate) fn end(&self) -> i64 {
        self.next
    }

    pub(crate) fn last_stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(i64::MAX).min(self.high_watermark)
    }

    pub(crate) fn append(&mut self, kind: Kind, count: u64, producer_id: i64, max_timestamp: i64, len: u32) {
        let base = self.next;
        let mut records = Vec::new();
        for _ in 0..count {
            records.push(Record { offset: self.next, identity: self.next_identity });
            self.next += 1;
            self.next_identity += 1;
        }
        let mut fate = Fate::Committed;
        if kind == Kind::Transactional {
            self.open.entry(producer_id).or_insert(base);
            fate = Fate::Open;
        }
        let last = self.next - 1;
        let (epoch, cleaned) = (self.epoch, Vec::new());
        self.batches.push(Batch { base, last, records, cleaned, producer_id, kind, fate, epoch, max_timestamp, len });
    }

    /// Ends the producer's transaction with a marker.
    pub(crate) fn finish(&mut self, producer_id: i64, abort: bool, now: i64) {
        let Some(first) = self.open.remove(&producer_id) else { return };
        let fate = if abort { Fate::Aborted } else { Fate::Committed };
        for batch in self.batches.iter_mut().rev().take_while(|batch| batch.last >= first) {
            if batch.producer_id == producer_id && batch.fate == Fate::Open {
                batch.fate = fate;
            }
        }
        if abort {
            self.aborted.push((producer_id, first, self.next));
        }
        self.append(Kind::Control { abort }, 1, producer_id, now, 78);
    }

    /// The cleaner takes records out of a batch; it keeps their span, or drops the batch if all are gone.
    pub(crate) fn clean(&mut self, index: usize, keep: impl Fn(&Record) -> bool, drop_empty: bool) {
        let Some(batch) = self.batches.get_mut(index) else { return };
        let records = std::mem::take(&mut batch.records);
        let (kept, gone): (Vec<_>, Vec<_>) = records.into_iter().partition(keep);
        batch.cleaned.extend(gone);
        batch.records = kept;
        if batch.records.is_empty() && drop_empty {
            // As if it were not there: an end before its base hides it from fetches, the truth still counts it.
            batch.last = batch.base - 1;
        }
    }

    /// An unclean election: everything from `to` on is lost and the offsets are given anew under a new epoch.
    pub(crate) fn truncate(&mut self, to: i64) {
        let keep = self.batches.partition_point(|batch| batch.base < to);
        let lost = self.batches.split_off(keep);
        let ended = |batch: &Batch| match batch.kind {
            Kind::Control { abort } => Some((batch.producer_id, abort, batch.max_timestamp)),
            _ => None,
        };
        let markers: Vec<_> = lost.iter().filter_map(ended).collect();
        self.lost.extend(lost);
        self.next = to;
        self.high_watermark = self.high_watermark.min(to);
        self.epoch += 1;
        self.open.retain(|_, first| *first < to);
        self.aborted.retain(|(_, _, last)| *last < to);
        for (producer_id, abort, timestamp) in markers {
            self.finish_again(producer_id, abort, timestamp);
        }
    }

    /// The marker of a transaction that began before an unclean election was lost: the coordinator writes it again.
    fn finish_again(&mut self, producer_id: i64, abort: bool, timestamp: i64) {
        let fate = if abort { Fate::Aborted } else { Fate::Committed };
        let mine = self.batches.iter().rev().filter(|batch| batch.producer_id == producer_id);
        let mine = mine.take_while(|batch| !matches!(batch.kind, Kind::Control { .. }));
        if let Some(first) = mine.filter(|batch| batch.fate == fate).last().map(|batch| batch.base) {
            self.open.insert(producer_id, first);
            self.finish(producer_id, abort, timestamp);
        }
    }

    /// Where the epoch's batches end; the end of the log for the newest one.
    fn epoch_end(&self, epoch: i32) -> (i32, i64) {
        let mut found = (-1, self.start);
        for (index, batch) in self.batches.iter().enumerate() {
            if batch.epoch <= epoch {
                let end = self.batches.get(index + 1).map_or(self.next, |next| next.base);
                found = (batch.epoch, end);
            }
        }
        found
    }

    pub(crate) fn fetch(&self, position: i64, epoch: i32, batches_max: usize) -> Fetch {
        if epoch >= 0 {
            let (known, end) = self.epoch_end(epoch);
            if known >= 0 && (known < epoch || end < position) {
                return Fetch::Diverging(end);
            }
        }
        if position < self.start || position > self.next {
            return Fetch::OutOfRange;
        }
        let last_stable = self.last_stable();
        let mut batches = Vec::new();
        let mut upper = position;
        let from = self.batches.partition_point(|batch| batch.base.max(batch.last) < position);
        for batch in self.batches.iter().skip(from).filter(|batch| batch.last >= batch.base.max(position)) {
            if batch.last >= last_stable || batches.len() >= batches_max {
                break;
            }
            upper = batch.last + 1;
            batches.push(Fetched::of(batch));
        }
        let overlaps = |first: i64, last: i64| last >= position && first < upper;
        let aborted = self.aborted.iter().filter(|(_, first, last)| overlaps(*first, *last));
        let aborted =
            aborted.map(|(id, first, _)| Aborted { producer_id: *id, first_offset: SourceOffset(*first) }).collect();
        Fetch::Batches { high_watermark: self.high_watermark, last_stable, start: self.start, batches, aborted }
    }
}

impl Fetched {
    fn of(batch: &Batch) -> Self {
        let attributes = match batch.kind {
            Kind::Data | Kind::Legacy | Kind::Bad => 4,
            Kind::AppendTime => 8,
            Kind::UnknownCodec => 5,
            Kind::Transactional => 0x10,
            Kind::Control { .. } => 0x30,
        };
        let meta = BatchMeta {
            base_offset: batch.base,
            len: batch.len,
            leader_epoch: batch.epoch,
            crc: 0,
            attributes,
            last_offset_delta: (batch.last - batch.base) as i32,
            base_timestamp: batch.max_timestamp,
            max_timestamp: batch.max_timestamp,
            producer_id: batch.producer_id,
            producer_epoch: 0,
            base_sequence: 0,
            record_count: batch.records.len() as i32,
        };
        let content = Content {
            records: batch.records.clone(),
            max_timestamp: batch.max_timestamp,
            len: batch.len,
            bad: batch.kind == Kind::Bad,
        };
        Self { content: Rc::new(content), meta, kind: batch.kind }
    }
}
