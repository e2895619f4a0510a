//! One partition's log: batches with their offsets, producers, transactions, leader epochs.
//!
//! There is one replica, so the high watermark is always the end of the log. Nothing is compacted, and there are no
//! segments: retention takes whole batches.
//!
//! Source: `UnifiedLog`, `LeaderEpochFileCache`, `TransactionIndex`.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use twinlog_wire::batch::{BatchMeta, ControlType, HEAD_LEN};
use twinlog_wire::builder::{BatchBuilder, BatchOptions};
use twinlog_wire::compression::decompress;
use twinlog_wire::error_code::ErrorCode;
use twinlog_wire::patch::Stamp;
use twinlog_wire::records::Records;

use crate::incoming::{Incoming, Refused};
use crate::producers::Producers;
use crate::settings::Rules;

/// A batch in the log.
#[derive(Clone, Debug)]
struct Stored {
    meta: BatchMeta,
    bytes: Bytes,
}

/// A transaction that was aborted, as Fetch answers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    last_offset: i64,
}

/// Where an appended batch, or the one that it repeats, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// Ms, with `LogAppendTime`; else -1.
    pub(crate) append_time_ms: i64,
    pub(crate) is_duplicate: bool,
}

/// How far a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    Uncommitted,
    Committed,
}

impl Isolation {
    pub(crate) fn read(level: i8) -> Self {
        if level == 1 { Self::Committed } else { Self::Uncommitted }
    }
}

/// What a reader gets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Read {
    pub(crate) records: Bytes,
    pub(crate) aborted: Vec<Aborted>,
}

/// Why nothing can be read at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    OutOfRange,
    /// The reader's log is not this one's: it must go back to here.
    Diverging {
        epoch: i32,
        end_offset: i64,
    },
}

/// An offset found by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) leader_epoch: i32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    batches: VecDeque<Stored>,
    start: i64,
    end: i64,
    /// Leader epochs with their first offsets, both growing.
    epochs: Vec<(i32, i64)>,
    aborted: Vec<Aborted>,
    pub(crate) producers: Producers,
}

impl Log {
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// The end of the log; with one replica the high watermark, too.
    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    pub(crate) fn last_stable(&self) -> i64 {
        self.producers.first_open().unwrap_or(self.end).min(self.end)
    }

    pub(crate) fn visible_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::Uncommitted => self.end,
            Isolation::Committed => self.last_stable(),
        }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.batches.iter().map(|batch| u64::from(batch.meta.len)).sum()
    }

    /// A leader begins: its epoch starts at the end of the log, also if nothing is ever written in it.
    pub(crate) fn begin_epoch(&mut self, epoch: i32) {
        let end = self.end;
        self.epochs.retain(|(old, start)| *old < epoch && *start < end);
        self.epochs.push((epoch, end));
    }

    /// Appends a client's batch, or answers where it is already.
    pub(crate) fn append(&mut self, incoming: Incoming, leader_epoch: i32) -> Result<Appended, Refused> {
        let append_time = |is_append_time: bool, timestamp| if is_append_time { timestamp } else { -1 };
        let is_append_time = incoming.meta.is_append_time();
        if let Some(old) = self.producers.check(&incoming.meta)? {
            let append_time_ms = append_time(is_append_time, old.timestamp);
            return Ok(Appended { base_offset: old.base_offset, append_time_ms, is_duplicate: true });
        }
        let (meta, bytes) = incoming.store(self.end, leader_epoch);
        self.push(Stored { meta, bytes });
        let append_time_ms = append_time(is_append_time, meta.max_timestamp);
        Ok(Appended { base_offset: meta.base_offset, append_time_ms, is_duplicate: false })
    }

    /// Appends a transaction's marker. One of a former epoch is refused.
    pub(crate) fn mark(
        &mut self,
        (producer_id, producer_epoch): (i64, i16),
        commit: bool,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<(), ErrorCode> {
        self.producers.check_marker(producer_id, producer_epoch)?;
        let stamp = Stamp { producer_id, producer_epoch, base_sequence: -1 };
        let options = BatchOptions { base_offset: self.end, leader_epoch, stamp, ..BatchOptions::default() };
        let control = if commit { ControlType::Commit } else { ControlType::Abort };
        // The coordinator's epoch: there is one coordinator, which never moves.
        let bytes = BatchBuilder::marker(options, control, 0, now_ms).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let meta = BatchMeta::parse(&bytes).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
        self.push(Stored { meta, bytes });
        Ok(())
    }

    fn push(&mut self, batch: Stored) {
        let Stored { meta, bytes } = &batch;
        self.end = meta.next_offset();
        let ended = self.producers.remember(meta);
        let is_abort = || matches!(twinlog_wire::batch::control_type(bytes), Ok(ControlType::Abort));
        if let Some(first_offset) = ended.filter(|_| is_abort()) {
            let (producer_id, last_offset) = (meta.producer_id, meta.last_offset());
            self.aborted.push(Aborted { producer_id, first_offset, last_offset });
        }
        self.batches.push_back(batch);
    }

    /// The leader epoch of the batch with this offset; where there is none, of the leader at that time.
    pub(crate) fn epoch_at(&self, offset: i64) -> i32 {
        let after = self.epochs.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).and_then(|last| self.epochs.get(last)).map_or(-1, |(epoch, _)| *epoch)
    }

    /// Up to where a leader epoch goes, and which epoch that is: the asked one or the next older one
    /// (`LeaderEpochFileCache.endOffsetFor`). `(-1, -1)` where that is not known.
    pub(crate) fn epoch_end(&self, asked: i32) -> (i32, i64) {
        if self.epochs.last().is_some_and(|(newest, _)| *newest == asked) {
            return (asked, self.end);
        }
        let after = self.epochs.partition_point(|(epoch, _)| *epoch <= asked);
        let Some((_, end)) = self.epochs.get(after) else { return (-1, -1) };
        let floor = after.checked_sub(1).and_then(|floor| self.epochs.get(floor));
        (floor.map_or(asked, |(epoch, _)| *epoch), *end)
    }

    /// Whether a reader at `offset` whose last batch is of `last_epoch` (-1: not said) can go on.
    pub(crate) fn check_position(&self, offset: i64, last_epoch: i32) -> Result<(), Unreadable> {
        if last_epoch >= 0 {
            let (epoch, end_offset) = self.epoch_end(last_epoch);
            if epoch < 0 {
                return Err(Unreadable::OutOfRange);
            }
            if epoch < last_epoch || end_offset < offset {
                return Err(Unreadable::Diverging { epoch, end_offset });
            }
        }
        if offset < self.start || offset > self.end { Err(Unreadable::OutOfRange) } else { Ok(()) }
    }

    /// Reads from the batch that holds `offset`, at most `bytes_max`. Like a file's slice it may end inside of a
    /// batch, but for the first one: that comes whole if `first_whole`, else not at all.
    pub(crate) fn read(&self, offset: i64, isolation: Isolation, bytes_max: usize, first_whole: bool) -> Read {
        let limit = self.visible_end(isolation);
        let first = self.batches.partition_point(|batch| batch.meta.next_offset() <= offset);
        let mut visible = self.batches.range(first..).take_while(|batch| batch.meta.base_offset < limit).peekable();
        let first_len = visible.peek().map_or(0, |batch| batch.bytes.len());
        if first_len > bytes_max && !first_whole {
            return Read::default();
        }
        let bytes_max = bytes_max.max(first_len);
        let (mut records, mut upper) = (BytesMut::new(), offset);
        for batch in visible {
            let room = bytes_max - records.len();
            if room == 0 {
                break;
            }
            records.extend_from_slice(batch.bytes.get(..room).unwrap_or(&batch.bytes));
            upper = batch.meta.next_offset();
        }
        let overlaps = |aborted: &&Aborted| aborted.last_offset >= offset && aborted.first_offset < upper;
        let aborted = match isolation {
            Isolation::Committed => self.aborted.iter().filter(overlaps).copied().collect(),
            Isolation::Uncommitted => Vec::new(),
        };
        Read { records: records.freeze(), aborted }
    }

    /// How many bytes there are to read from `offset` on; not counted further than `enough`.
    pub(crate) fn readable_bytes(&self, offset: i64, isolation: Isolation, enough: usize) -> usize {
        let limit = self.visible_end(isolation);
        let first = self.batches.partition_point(|batch| batch.meta.next_offset() <= offset);
        let mut found = 0;
        for batch in self.batches.range(first..).take_while(|batch| batch.meta.base_offset < limit) {
            found += batch.bytes.len();
            if found >= enough {
                return enough;
            }
        }
        found
    }

    /// The first record whose timestamp is `timestamp` (ms) or later.
    pub(crate) fn find(&self, timestamp: i64, isolation: Isolation) -> Option<Found> {
        let limit = self.visible_end(isolation);
        let kept = self.batches.iter().filter(|batch| batch.meta.max_timestamp >= timestamp);
        for batch in kept.take_while(|batch| batch.meta.base_offset < limit) {
            let found = batch.records(|at, offset| at >= timestamp && offset >= self.start);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The first record with the largest timestamp.
    pub(crate) fn newest(&self) -> Option<Found> {
        let mut newest: Option<&Stored> = None;
        for batch in &self.batches {
            if newest.is_none_or(|newest| batch.meta.max_timestamp > newest.meta.max_timestamp) {
                newest = Some(batch);
            }
        }
        let newest = newest?;
        newest.records(|at, _| at >= newest.meta.max_timestamp)
    }

    /// DeleteRecords: the start moves to `before` (-1: the high watermark); batches that are wholly below it go.
    pub(crate) fn delete_before(&mut self, before: i64) -> Result<i64, ErrorCode> {
        let before = if before == -1 { self.end } else { before };
        if before < 0 || before > self.end {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        self.start = self.start.max(before);
        self.drop_head();
        Ok(self.start)
    }

    fn drop_head(&mut self) {
        while self.batches.front().is_some_and(|batch| batch.meta.next_offset() <= self.start) {
            self.batches.pop_front();
        }
        let start = self.start;
        self.aborted.retain(|aborted| aborted.last_offset >= start);
        // The newest epoch that begins at or below the start now begins there (`truncateFromStart`).
        let below = self.epochs.partition_point(|(_, first)| *first <= start);
        if let Some(kept) = below.checked_sub(1) {
            self.epochs.drain(..kept);
            if let Some((_, first)) = self.epochs.first_mut() {
                *first = start;
            }
        }
    }

    /// Deletes what the settings no longer keep. A topic that is not deleted by its policy keeps everything.
    pub(crate) fn retain(&mut self, rules: &Rules, now_ms: i64) {
        if !rules.is_deleted {
            return;
        }
        let mut size = i64::try_from(self.size_bytes()).unwrap_or(i64::MAX);
        let limit = self.last_stable();
        while let Some(first) = self.batches.front().filter(|batch| batch.meta.next_offset() <= limit) {
            let is_old =
                rules.retention_ms >= 0 && now_ms.saturating_sub(first.meta.max_timestamp) > rules.retention_ms;
            let len = i64::from(first.meta.len);
            let is_much = rules.retention_bytes >= 0 && size - len >= rules.retention_bytes;
            if !is_old && !is_much {
                break;
            }
            size -= len;
            self.start = self.start.max(first.meta.next_offset());
            self.batches.pop_front();
        }
        self.drop_head();
    }

    /// An unclean election: batches that end above `end` are lost. Of producers only is known what the rest says.
    pub(crate) fn truncate(&mut self, end: i64) {
        let keep = self.batches.partition_point(|batch| batch.meta.next_offset() <= end);
        let kept: Vec<Stored> = self.batches.drain(..keep).collect();
        self.batches.clear();
        self.aborted.clear();
        self.producers = Producers::default();
        self.end = self.start;
        for batch in kept {
            self.push(batch);
        }
        let end = self.end;
        self.epochs.retain(|(_, first)| *first < end);
    }
}

impl Stored {
    /// The first record that is wanted, by its timestamp and offset.
    fn records(&self, wanted: impl Fn(i64, i64) -> bool) -> Option<Found> {
        let meta = &self.meta;
        let found = |offset, timestamp| Found { offset, timestamp, leader_epoch: meta.leader_epoch };
        if meta.is_control() {
            return None;
        }
        let plain = decompress(meta.codec()?, self.bytes.get(HEAD_LEN..)?, usize::MAX).ok()?;
        for record in Records::new(&plain, meta.record_count) {
            let record = record.ok()?;
            let offset = meta.base_offset + i64::from(record.offset_delta);
            let timestamp = match meta.is_append_time() {
                true => meta.max_timestamp,
                false => meta.base_timestamp.wrapping_add(record.timestamp_delta),
            };
            if wanted(timestamp, offset) {
                return Some(found(offset, timestamp));
            }
        }
        None
    }
}
