//! The mirror lost acknowledged records: the copy is cut back to what is left, in the map first, and goes on from
//! there.

use alloc::vec::Vec;

use twinlog_wire::batch::BatchMeta;

use super::{Context, Need, Partition, Phase};
use crate::cut_back::{Cut, Judged, Known, Search};
use crate::halt::Halt;
use crate::ids::{Producer, TargetOffset};
use crate::io::{Event, Output, ReadResult};
use crate::offset_map::{LogStarts, OffsetMap, Range};

impl Partition {
    /// Whether it is looked for what is left of a mirror that lost its end.
    pub fn is_truncated(&self) -> bool {
        self.search.is_some()
    }

    /// Whether its map is to be cut, so that older ranges may be wanted.
    pub fn is_cut(&self) -> bool {
        self.search.is_some() || matches!(self.phase, Phase::CuttingBack { .. } | Phase::Parting { .. })
    }

    /// The log ends at `end`, or is not what was written below it.
    pub(super) fn search_for_the_end(&mut self, context: &mut Context<'_>, end: TargetOffset) {
        self.tail = None;
        self.search = Some(Search::new(end.min(self.extent.next_target)));
        self.read_on(context);
    }

    /// A part of the window was read.
    pub(super) fn searched(
        &mut self,
        context: &mut Context<'_>,
        marker: Producer,
        from: TargetOffset,
        result: ReadResult<BatchMeta>,
    ) {
        let Some(search) = self.search.as_mut().filter(|search| search.next_read == from) else { return };
        match result {
            ReadResult::Entries { entries, next } => {
                for batch in entries.iter().filter(|batch| TargetOffset(batch.next_offset()) > from) {
                    let producer = Producer::of(batch);
                    if batch.is_control() && producer == marker {
                        return self.judge_window(context, batch.leader_epoch);
                    }
                    search.take(batch);
                }
                search.next_read = search.next_read.max(next);
                if search.next_read > from {
                    self.attempt = 0;
                    self.read_on(context);
                } else {
                    self.await_marker(context);
                }
            }
            ReadResult::OutOfRange { start, .. } if start > from => {
                search.log_starts(start);
                self.log_starts(LogStarts { target: start, ..self.starts });
                self.read_on(context);
            }
            ReadResult::OutOfRange { end, .. } if end < from => {
                search.again(end);
                self.wait(context);
            }
            ReadResult::OutOfRange { .. } => {
                // Inside the log after all: the epoch that we named may be older than the log's first.
                search.read_epoch = -1;
                self.wait(context);
            }
            ReadResult::Failed(failure) => {
                self.target_retrying(context, failure, "reading the mirror's end");
                self.wait(context);
            }
        }
    }

    fn judge_window(&mut self, context: &mut Context<'_>, marker_epoch: i32) {
        let Some(search) = &self.search else { return };
        let wanted = self.chunks_behind(search.from());
        let missing = self.chunks.iter().rev().take(wanted).any(Option::is_none);
        if wanted > self.reread.len() && !missing {
            return context.needs.push((context.id, Need::Chunks(search.from())));
        }
        let ranges = self.reread.iter().flatten().chain(self.map.ranges()).copied().collect();
        let known = Known::new(ranges, self.extent, self.anchor(), self.verified_epoch, self.starts.target);
        let is_ours = |id| self.plans.is_own(context.own_ids, id);
        let acknowledged = self.extent.next_target;
        match search.judge(&known, is_ours) {
            _ if missing => self.halt(context, Halt::TargetTruncated { acknowledged, found: search.from() }),
            Judged::Cut(cut) => self.cut_back(context, cut, marker_epoch),
            Judged::Wider => {
                if let Some(search) = &mut self.search {
                    search.widen();
                }
                self.read_on(context);
            }
            Judged::Unprovable(found) => self.halt(context, Halt::TargetTruncated { acknowledged, found }),
        }
    }

    /// How many of the newest chunks have ranges behind an offset.
    fn chunks_behind(&self, offset: TargetOffset) -> usize {
        let behind = |last: &&Option<Range>| last.is_none_or(|last| last.target_end() > offset);
        self.chunks.iter().rev().take_while(behind).count()
    }

    /// The numbers of the chunks that have ranges behind an offset.
    pub fn chunk_numbers_behind(&self, offset: TargetOffset) -> core::ops::Range<u64> {
        let end = self.next_chunk();
        end - self.chunks_behind(offset) as u64..end
    }

    /// The ranges of its newest chunks were read again, oldest first.
    pub fn chunks_read(&mut self, context: &mut Context<'_>, chunks: Vec<Vec<Range>>) {
        if self.search.is_some() && matches!(self.phase, Phase::Scanning { .. }) {
            self.reread = chunks;
            self.read_on(context);
        } else if let Phase::Parting { end } = self.phase {
            self.reread = chunks;
            self.part(context, end);
        }
    }

    fn cut_back(&mut self, context: &mut Context<'_>, cut: Cut, marker_epoch: i32) {
        let lost = Event::CutBack {
            partition: context.id,
            target: (cut.extent.next_target, self.extent.next_target),
            source: (cut.extent.synced, self.extent.synced),
        };
        context.out.push_back(Output::Event(lost));
        self.let_go(context);
        let end = cut.extent.next_target;
        let reread = core::mem::take(&mut self.reread);
        let is_left = |ranges: &&Vec<Range>| ranges.last().is_none_or(|last| last.target_end() <= end);
        let left = reread.iter().take_while(is_left).count();
        let chunks = self.chunks.len() - (reread.len() - left);
        let mut map = OffsetMap::behind(self.map.pruned().filter(|pruned| pruned.target_end() <= end));
        let ranges = reread.iter().skip(left).flatten().chain(self.map.ranges());
        map.extend(ranges.map(|range| Range { len: range.len.min(end.since(range.target_start)), ..*range }));
        self.verified_epoch = marker_epoch;
        self.cut_map(context, chunks, map, cut);
    }

    /// The map is no longer what it was: so many of its chunks stay, and what follows them is in `map`. The map topic
    /// says so first.
    pub(super) fn cut_map(&mut self, context: &mut Context<'_>, chunks: usize, map: OffsetMap, cut: Cut) {
        let chunks_end = self.next_chunk();
        self.chunks.truncate(chunks);
        self.map = map;
        self.extent = cut.extent;
        self.leader_epoch = -1;
        self.producer = None;
        self.next_sequence = 0;
        self.planned = None;
        self.halt_next = None;
        self.search = None;
        // It goes on as after a start: the map says how far the copy is.
        self.recovered = false;
        self.phase = Phase::CuttingBack { cursor: cut.cursor };
        context.needs.push((context.id, Need::CutBack(self.next_chunk(), chunks_end)));
    }

    /// The map says no more than the log.
    pub fn cut_back_written(&mut self, context: &mut Context<'_>) {
        if matches!(self.phase, Phase::CuttingBack { .. }) {
            self.phase = Phase::Unfenced;
            context.needs.push((context.id, Need::FenceAnew));
        }
    }
}
