//! What a partition tells the map and everybody who asks: its head, its halt, its progress.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Partition, Phase};
use crate::ids::{SourceOffset, TargetOffset};
use crate::io::Retrying;
use crate::map_record::{Chunk, Head, Plan};
use crate::offset_map::{Extent, LogStarts, Range, Translation};

/// A partition that skipped to the source's end and did not move for so long, in ms, is marked.
const IDLE_MARK_MS: u64 = 200;

/// What a partition shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The source offset that is fetched next.
    pub position: SourceOffset,
    /// How far the copy is.
    pub extent: Extent,
    /// The source's high watermark, once known.
    pub high_watermark: Option<SourceOffset>,
    /// The source's last stable offset, once known.
    pub last_stable: Option<SourceOffset>,
    /// What keeps it from going on, if something is tried again and again.
    pub retrying: Option<Retrying>,
    /// Whether its tail was read since the lane was taken.
    pub recovered: bool,
    /// Records stored since the lane was taken.
    pub records: u64,
    /// Bytes stored since the lane was taken.
    pub bytes: u64,
}

impl Partition {
    /// Whether its head is older than what it knows; asked once a mark. While the tail is being read, or before it
    /// was, the map knows better than the partition.
    pub fn take_dirty(&mut self) -> bool {
        let settled = self.recovered && matches!(self.phase, Phase::Active | Phase::Halted(_));
        if settled {
            self.skipped_at = None;
        }
        settled && core::mem::take(&mut self.dirty)
    }

    /// When its head should be written without waiting for the next mark: it is idle behind markers or aborted
    /// records. The target's log does not tell that those were seen, and the source may delete them.
    pub fn mark_at(&self) -> Option<u64> {
        self.skipped_at.map(|at| at + IDLE_MARK_MS)
    }

    /// The oldest `count` ranges as a chunk, if there are twice as many; the head must be written behind it.
    pub fn take_chunk(&mut self, count: usize) -> Option<(u64, Chunk)> {
        if self.map.ranges().len() < 2 * count {
            return None;
        }
        let number = self.next_chunk();
        let ranges = self.map.split_oldest(count);
        self.chunks.push_back(ranges.last().copied());
        Some((number, Chunk { ranges }))
    }

    /// Takes out the ranges of which nothing is left on either side. The numbers of the chunks that are no longer
    /// needed are returned; the head must be written with their tombstones.
    pub fn prune(&mut self) -> impl Iterator<Item = u64> + use<> {
        let before = self.first_chunk;
        while let Some(last) = self.prunable_chunk() {
            self.chunks.pop_front();
            self.first_chunk += 1;
            self.map.set_pruned(last);
        }
        if self.chunks.is_empty() {
            self.map.prune(self.starts);
        }
        before..self.first_chunk
    }

    /// The last range of the oldest chunk, if nothing of that chunk is left on either side.
    fn prunable_chunk(&self) -> Option<Range> {
        let last = *self.chunks.front()?;
        last.filter(|last| self.starts.are_behind(last))
    }

    pub(super) fn next_chunk(&self) -> u64 {
        self.first_chunk + self.chunks.len() as u64
    }

    /// One of the logs starts here by now. A start never goes back, other than by a broker that died before it had
    /// written it down: what was pruned stays so.
    pub(super) fn log_starts(&mut self, starts: LogStarts) {
        self.starts.source = self.starts.source.max(starts.source);
        self.starts.target = self.starts.target.max(starts.target);
        self.dirty |= self.prunable_chunk().is_some();
    }

    /// The sequence of the record that is acknowledged next, and the source offset it was planned for.
    pub(super) fn cursor(&self) -> Option<Plan> {
        if matches!(self.phase, Phase::Halted(_)) || self.closing {
            return self.halted_cursor;
        }
        if let Phase::CuttingBack { cursor } = self.phase {
            return cursor;
        }
        self.producer.map(|producer| match self.outbox.front() {
            Some(batch) => Plan {
                producer,
                sequence: batch.sequence,
                source_start: batch.first(),
                target_start: self.extent.next_target,
                leader_epoch: batch.leader_epoch,
            },
            None => Plan {
                producer,
                sequence: self.next_sequence,
                source_start: self.planned.map_or(self.extent.synced, |(next, _)| next),
                target_start: self.extent.next_target,
                leader_epoch: self.planned.map_or(self.leader_epoch, |(_, epoch)| epoch),
            },
        })
    }

    /// What the map should know of it.
    pub fn head(&self) -> Head {
        Head {
            source_topic_id: self.spec.source_topic_id,
            target_topic: self.spec.target_topic.clone(),
            target_topic_id: self.spec.target_topic_id,
            extent: self.extent,
            leader_epoch: self.leader_epoch,
            verified_epoch: self.verified_epoch,
            cursor: self.cursor(),
            first_chunk: self.first_chunk,
            chunks: self.next_chunk(),
            pruned: self.map.pruned(),
            ranges: self.map.ranges().to_vec(),
            resolved: self.resolved,
            lost: self.lost.clone(),
        }
    }

    /// Why it stopped, name and words.
    pub fn halted(&self) -> Option<(String, String)> {
        match &self.phase {
            Phase::Halted(halt) => Some((halt.name().to_string(), halt.to_string())),
            _ => None,
        }
    }

    /// A head with this cursor is in the map, behind all plan records below `before`. Numbers of records whose plan it
    /// makes needless are returned, once each plan.
    pub fn head_written(&mut self, cursor: Option<Plan>, before: u64) -> Vec<u64> {
        self.plans.set_cursor(cursor, before)
    }

    /// The source position up to which everything is on the target.
    pub fn synced(&self) -> SourceOffset {
        self.extent.synced
    }

    /// Where a source position is on the mirror. None if only the map can tell: its tail was not read yet, or the range
    /// is in a chunk.
    pub fn translate(&self, position: SourceOffset) -> Option<Translation<TargetOffset, SourceOffset>> {
        let is_settled = self.recovered && matches!(self.phase, Phase::Active | Phase::Halted(_));
        let is_at_hand = match self.chunks.back() {
            None => true,
            Some(last) => last.is_some_and(|last| position >= last.source_end()),
        };
        (is_settled && is_at_hand).then(|| self.map.translate(position, self.extent, self.starts.target))
    }

    /// What it shows of itself.
    pub fn progress(&self) -> Progress {
        Progress {
            position: self.fetch_position,
            extent: self.extent,
            high_watermark: self.high_watermark,
            last_stable: self.last_stable,
            retrying: self.retrying(),
            recovered: self.recovered,
            records: self.records,
            bytes: self.bytes,
        }
    }
}
