//! The comparison of one partition as a pure machine: both logs go in part by part, a difference or nothing comes out.
//!
//! Where a batch of the source and a batch of the target line up (both without holes, the same records by the map),
//! their headers and bodies are compared as they are. Everywhere else, and where that finds a difference, both are
//! opened and compared record by record: what the link packed anew, what a cleaner took records out of since.

use std::collections::VecDeque;

use twinlog_core::batch::{Aborted, BatchKind, FetchedBatch, Slot};
use twinlog_core::config::Timestamps;
use twinlog_core::ids::{SourceOffset, TargetOffset};
use twinlog_core::intake::{Intake, Verdict};
use twinlog_core::offset_map::{Extent, OffsetMap, Translation};
use twinlog_core::report::{Difference, Side};
use twinlog_wire::batch::{BatchMeta, Entry, verify_crc};

use super::records::{Batch, DAMAGED, Print};
use crate::log::LogPart;

/// What is to be compared.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) map: OffsetMap,
    /// Both logs are compared up to here.
    pub(super) extent: Extent,
    /// What records have on the target that the source's broker gave a time.
    pub(super) timestamps: Timestamps,
    /// Whether a cleaner takes records out of the source.
    pub(super) source_compacts: bool,
    /// Whether a cleaner takes records out of the target.
    pub(super) target_compacts: bool,
}

/// What the machine wants next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More of a side's log: [`Comparison::feed`], [`Comparison::starts_at`] or [`Comparison::finish`].
    Need(Side),
    /// Everything is compared.
    Done,
    /// The first difference. Nothing follows.
    Differs(Difference),
}

/// A batch of each side with what its header says, which stand for the same records.
struct Pair {
    source: (BatchMeta, Batch),
    target: (BatchMeta, Batch),
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) batches_by_checksum: u64,
    pub(super) batches_by_record: u64,
    pub(super) records: u64,
}

/// What one side has ready.
#[derive(Debug, Default)]
struct Front {
    closed: VecDeque<Batch>,
    open: VecDeque<Print>,
    /// Nothing more comes.
    finished: bool,
    /// What lies below is not, or no longer, in its log.
    floor: i64,
    /// What lies from here on is not compared.
    end: i64,
}

impl Front {
    fn new(floor: i64, end: i64) -> Self {
        Self { floor, end, ..Self::default() }
    }

    fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.is_empty()
    }

    /// Opens the first batch, unless one is open.
    fn open(&mut self) -> Result<bool, (i64, String)> {
        if !self.open.is_empty() {
            return Ok(false);
        }
        let Some(batch) = self.closed.pop_front() else { return Ok(false) };
        let offset = batch.entry.base_offset();
        let prints = batch.open().map_err(|words| (offset, words))?;
        let within = self.floor..self.end;
        self.open.extend(prints.into_iter().filter(|print| within.contains(&print.offset)));
        Ok(true)
    }
}

/// The comparison of one partition.
#[derive(Debug)]
pub(super) struct Comparison {
    subject: Subject,
    source: Front,
    target: Front,
    tally: Tally,
}

impl Comparison {
    /// From these offsets on, which are both logs' starts or places that belong together.
    pub(super) fn new(subject: Subject, source_start: SourceOffset, target_start: TargetOffset) -> Self {
        let Extent { synced, next_target } = subject.extent;
        Self {
            source: Front::new(source_start.0, synced.0),
            target: Front::new(target_start.0, next_target.0),
            tally: Tally::default(),
            subject,
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// The next part of a side's log, read from `from` on. The source's must be read committed.
    pub(super) fn feed(&mut self, side: Side, from: i64, part: LogPart) {
        let timestamps = self.subject.timestamps;
        let batches = part.entries.into_iter().map(|entry| Batch { entry, timestamps });
        let front = self.front(side);
        let end = front.end;
        match side {
            Side::Source => {
                let aborted = part.aborted.iter().map(|transaction| Aborted {
                    producer_id: transaction.producer_id,
                    first_offset: SourceOffset(transaction.first_offset),
                });
                let copied = copied(batches.collect(), aborted.collect(), SourceOffset(from));
                front.closed.extend(copied.into_iter().filter(|batch| batch.entry.base_offset() < end));
            }
            Side::Target => front.closed.extend(batches.filter(|batch| {
                let entry = &batch.entry;
                let is_control = matches!(entry, Entry::V2(meta, _) if meta.is_control());
                !is_control && entry.next_offset() > from && entry.base_offset() < end
            })),
        }
    }

    /// A side's log starts here: what lay before is gone.
    pub(super) fn starts_at(&mut self, side: Side, start: i64) {
        self.front(side).floor = start;
    }

    /// Nothing more comes from a side.
    pub(super) fn finish(&mut self, side: Side) {
        self.front(side).finished = true;
    }

    fn front(&mut self, side: Side) -> &mut Front {
        match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        }
    }

    /// Compares what is there.
    pub(super) fn step(&mut self) -> Step {
        loop {
            if self.source.is_empty() && !self.source.finished {
                return Step::Need(Side::Source);
            }
            if self.target.is_empty() && !self.target.finished {
                return Step::Need(Side::Target);
            }
            if self.source.is_empty() && self.target.is_empty() {
                return Step::Done;
            }
            let result = match self.line_up() {
                Some(pair) => self.compare_batches(&pair),
                None => self.compare_records(),
            };
            if let Err(difference) = result {
                return Step::Differs(difference);
            }
        }
    }

    /// Takes the first batch of each side if the map says that they are the same records, all of them to be compared.
    fn line_up(&mut self) -> Option<Pair> {
        if !self.source.open.is_empty() || !self.target.open.is_empty() {
            return None;
        }
        let meta = |front: &Front| match &front.closed.front()?.entry {
            Entry::V2(meta, _) => Some(*meta),
            Entry::Legacy { .. } => None,
        };
        let (source, target) = (meta(&self.source)?, meta(&self.target)?);
        let whole = |front: &Front, meta: &BatchMeta| {
            meta.is_dense() && meta.base_offset >= front.floor && meta.next_offset() <= front.end
        };
        let same = whole(&self.source, &source)
            && whole(&self.target, &target)
            && source.record_count == target.record_count
            && !source.is_append_time()
            && self.on_target(source.base_offset) == Some(target.base_offset)
            && self.on_target(source.last_offset()) == Some(target.last_offset());
        if !same {
            return None;
        }
        let batches = (self.source.closed.pop_front()?, self.target.closed.pop_front()?);
        Some(Pair { source: (source, batches.0), target: (target, batches.1) })
    }

    /// Two batches that stand for the same records.
    fn compare_batches(&mut self, pair: &Pair) -> Result<(), Difference> {
        let Pair { source: (source_meta, source), target: (target_meta, target) } = pair;
        let base = source_meta.base_offset;
        let at = |offset: i64, what: String| {
            let target_offset = offset - base + target_meta.base_offset;
            Difference { source_offset: offset, target_offset, what }
        };
        for (batch, side) in [(source, Side::Source), (target, Side::Target)] {
            if !verify_crc(batch.entry.bytes()) {
                return Err(at(base, format!("on the {}: {DAMAGED}", side.name())));
            }
        }
        self.tally.records += u64::try_from(source_meta.record_count).unwrap_or(0);
        let Some(words) = batches_differ(pair) else {
            self.tally.batches_by_checksum += 1;
            return Ok(());
        };
        self.tally.batches_by_record += 1;
        // The records say where it begins; a cleaner that wrote a batch anew leaves them as they were.
        let (Ok(here), Ok(there)) = (source.open(), target.open()) else { return Err(at(base, words)) };
        for (here, there) in here.iter().zip(&there) {
            if let Some(words) = here.differs_from(there) {
                return Err(at(here.offset, words));
            }
        }
        let rewritten = self.subject.source_compacts || self.subject.target_compacts;
        if rewritten && here.len() == there.len() { Ok(()) } else { Err(at(base, words)) }
    }

    /// The first record of each side.
    fn compare_records(&mut self) -> Result<(), Difference> {
        match self.source.open() {
            Ok(opened) => self.tally.batches_by_record += u64::from(opened),
            Err((offset, words)) => return Err(self.at_source(offset, format!("on the source: {words}"))),
        }
        if let Err((offset, words)) = self.target.open() {
            return Err(self.at_target(offset, format!("on the target: {words}")));
        }
        let (source, target) = (self.source.open.front().copied(), self.target.open.front().copied());
        // A batch without records to compare: the next one first.
        if source.is_none() && !(self.source.closed.is_empty() && self.source.finished)
            || target.is_none() && !(self.target.closed.is_empty() && self.target.finished)
        {
            return Ok(());
        }
        let on_target = source.and_then(|source| self.on_target(source.offset));
        let on_source = target.and_then(|target| self.on_source(target.offset));
        match (source, target) {
            (Some(source), _) if on_target.is_none() => {
                Err(self.at_source(source.offset, "the source has a record that was not copied".to_owned()))
            }
            (_, Some(target)) if on_source.is_none() => {
                let words = "the target has a record that this link did not write".to_owned();
                Err(self.at_target(target.offset, words))
            }
            (Some(source), Some(target)) if on_target == Some(target.offset) => {
                self.source.open.pop_front();
                self.target.open.pop_front();
                self.tally.records += 1;
                let (source_offset, target_offset) = (source.offset, target.offset);
                match source.differs_from(&target) {
                    None => Ok(()),
                    Some(what) => Err(Difference { source_offset, target_offset, what }),
                }
            }
            (Some(source), target) if on_target < target.map(|target| target.offset) || target.is_none() => {
                self.source.open.pop_front();
                let gone = self.subject.target_compacts || on_target < Some(self.target.floor);
                let words = "the record of the source is not on the target";
                if gone { Ok(()) } else { Err(self.at_source(source.offset, words.to_owned())) }
            }
            (_, Some(target)) => {
                self.target.open.pop_front();
                let gone = self.subject.source_compacts || on_source < Some(self.source.floor);
                let words = "the record of the target is not on the source";
                if gone { Ok(()) } else { Err(self.at_target(target.offset, words.to_owned())) }
            }
            (_, None) => Ok(()),
        }
    }

    fn on_target(&self, source: i64) -> Option<i64> {
        match self.subject.map.translate(SourceOffset(source), self.subject.extent, TargetOffset(0)) {
            Translation::Exact(TargetOffset(offset)) => Some(offset),
            _ => None,
        }
    }

    fn on_source(&self, target: i64) -> Option<i64> {
        match self.subject.map.translate_back(TargetOffset(target), self.subject.extent, SourceOffset(0)) {
            Translation::Exact(SourceOffset(offset)) => Some(offset),
            _ => None,
        }
    }

    fn at_source(&self, source_offset: i64, what: String) -> Difference {
        let target = self.subject.map.translate(SourceOffset(source_offset), self.subject.extent, TargetOffset(0));
        let target_offset = offset(target).map_or(self.subject.extent.next_target.0, |TargetOffset(offset)| offset);
        Difference { source_offset, target_offset, what }
    }

    fn at_target(&self, target_offset: i64, what: String) -> Difference {
        let source = self.subject.map.translate_back(TargetOffset(target_offset), self.subject.extent, SourceOffset(0));
        let source_offset = offset(source).map_or(self.subject.extent.synced.0, |SourceOffset(offset)| offset);
        Difference { source_offset, target_offset, what }
    }
}

/// The offset that a translation names, or the next one that it does.
pub(super) fn offset<T, S>(translation: Translation<T, S>) -> Option<T> {
    match translation {
        Translation::Exact(at) | Translation::Next(at) | Translation::End(at) | Translation::Clamped(at) => Some(at),
        Translation::NotYet(_) => None,
    }
}

/// The batches of a read-committed part of the source that a link copies, by the link's own rule.
fn copied(batches: Vec<Batch>, aborted: Vec<Aborted>, from: SourceOffset) -> Vec<Batch> {
    let kind = |batch: &Batch| BatchKind::of(&batch.entry);
    let fetched = batches.iter().zip(0..).map(|(batch, slot)| FetchedBatch { slot: Slot(slot), kind: kind(batch) });
    let mut intake = Intake::new(fetched.collect(), aborted);
    let mut position = from;
    let mut batches = batches.into_iter();
    let mut copied = Vec::new();
    while let (Some((fetched, verdict)), Some(batch)) = (intake.next(position), batches.next()) {
        match verdict {
            Verdict::Skip(next) => position = next,
            Verdict::Forward(_) | Verdict::Repack(_) | Verdict::Halt(_) => {
                debug_assert_eq!(fetched.kind, kind(&batch));
                position = position.max(SourceOffset(batch.entry.next_offset()));
                copied.push(batch);
            }
        }
    }
    copied
}

/// What is not the same in two batches of the same records.
fn batches_differ(pair: &Pair) -> Option<String> {
    let Pair { source: (here, source), target: (there, target) } = pair;
    let fields = [
        ("codec bits", i64::from(here.attributes & 7), i64::from(there.attributes & 7)),
        ("record count", here.record_count.into(), there.record_count.into()),
        ("base timestamp", here.base_timestamp, there.base_timestamp),
        ("max timestamp", here.max_timestamp, there.max_timestamp),
        ("last offset delta", here.last_offset_delta.into(), there.last_offset_delta.into()),
    ];
    if let Some((name, here, there)) = fields.into_iter().find(|(_, here, there)| here != there) {
        return Some(format!("{name} {here} is {there} on the target"));
    }
    let (here, there) = (source.body(), target.body());
    // Both are at hand: comparing the bytes is as cheap as a checksum and cannot be wrong. The checksums are for
    // people.
    (here != there).then(|| {
        let (here_crc, there_crc) = (crc32c::crc32c(here), crc32c::crc32c(there));
        format!(
            "body checksum {here_crc:08x} ({} bytes) is {there_crc:08x} ({} bytes) on the target",
            here.len(),
            there.len()
        )
    })
}
