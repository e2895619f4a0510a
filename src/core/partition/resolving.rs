//! Going on after a halt, by what an operator decided ([`crate::resolution`]) or by the link's policy.
//!
//! A decision that comes while the partition is on its way again, say after a restart, is kept until the state is met
//! once more or the source has answered; one to begin anew, for which the mirror was emptied, until it is carried out.

use alloc::vec::Vec;

use super::{Context, Need, Partition, Phase};
use crate::config::{ExistingTopics, GapPolicy};
use crate::cut_back::Cut;
use crate::halt::Halt;
use crate::ids::{SourceOffset, TargetOffset};
use crate::io::{Event, Output, PartitionSpec};
use crate::map_record::Plan;
use crate::offset_map::{Extent, OffsetMap, Range};
use crate::plans::Plans;
use crate::resolution::{Exit, Lost, LostRange, Resolution};

/// A decision that was not carried out yet.
#[derive(Clone, Debug)]
pub(super) struct Permit {
    number: u64,
    exit: Exit,
    /// Whether it is to begin anew, wherever it is.
    anew: bool,
    /// What is to be copied by now, where it begins anew.
    spec: PartitionSpec,
}

impl Partition {
    /// The number of the last decision about it that was carried out, or 0.
    pub fn resolved(&self) -> u64 {
        self.resolved
    }

    /// Source offsets that were left out.
    pub fn lost(&self) -> &Lost {
        &self.lost
    }

    /// Somebody decided how it is to go on. `spec`: what is to be copied by now.
    pub fn resolve_by(&mut self, context: &mut Context<'_>, resolution: &Resolution, spec: PartitionSpec) {
        let Resolution { number, exit, .. } = *resolution;
        let is_known = |permit: &Permit| permit.number >= number;
        if number <= self.resolved || self.leaving || self.permit.as_ref().is_some_and(is_known) {
            return;
        }
        let anew = exit.begins_anew(&resolution.state);
        let is_another = spec.target_topic_id != self.spec.target_topic_id;
        self.permit = Some(Permit { number, exit, anew, spec });
        match &self.phase {
            Phase::Halted(halt) => {
                let halt = halt.clone();
                if !self.takes_exit(context, &halt) {
                    self.close_permit();
                }
            }
            // It has gone on already, or was never copied.
            _ if exit == Exit::Retry => self.close_permit(),
            Phase::Probing | Phase::Registering if anew => self.close_permit(),
            // Nothing that was sent to the former mirror can come to this one.
            _ if anew && is_another => drop(self.takes_beginning(context)),
            // What is in flight may still come: behind a marker nothing can.
            Phase::Active if anew => self.resolve(context),
            _ => {}
        }
    }

    /// The source has answered, so the state is over.
    pub(super) fn is_over_it(&mut self) {
        if self.permit.as_ref().is_some_and(|permit| !permit.anew) {
            self.close_permit();
        }
    }

    /// Nothing that was sent before can come any more: whether it begins anew now.
    pub(super) fn takes_beginning(&mut self, context: &mut Context<'_>) -> bool {
        let Some(permit) = self.permit.take_if(|permit| permit.anew) else { return false };
        self.resolved = permit.number;
        context.out.push_back(Output::Event(Event::Resolved(context.id, permit.exit)));
        self.begin_anew(context, permit.spec);
        true
    }

    fn close_permit(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.resolved = permit.number;
            self.dirty = true;
        }
    }

    /// Takes the way out of a state that was decided on or that the link's policy names, if there is one.
    pub(super) fn takes_exit(&mut self, context: &mut Context<'_>, halt: &Halt) -> bool {
        let skips = self.spec.gap == GapPolicy::Skip && matches!(halt, Halt::Gap { .. });
        let exit = self.permit.as_ref().map(|permit| permit.exit).or_else(|| skips.then_some(Exit::SkipGap));
        let anew = self.permit.as_ref().is_some_and(|permit| permit.anew);
        let Some(exit) = exit.filter(|exit| !self.leaving && (anew || halt.exits().contains(exit))) else {
            return false;
        };
        if anew {
            return self.takes_beginning(context);
        }
        match (exit, halt) {
            // There is nothing more to copy.
            (Exit::Accept, Halt::SourceDeleted) => return false,
            (Exit::Accept, Halt::SourceTruncated { end, .. }) if !self.can_part(*end) => return false,
            _ => {}
        }
        let permit = self.permit.take();
        self.resolved = permit.as_ref().map_or(self.resolved, |permit| permit.number);
        if permit.is_some_and(|permit| permit.spec.source_topic_id != self.spec.source_topic_id) {
            // There is no way on with another topic's offsets.
            self.stops_as(context, Halt::Recreated);
            return true;
        }
        context.out.push_back(Output::Event(Event::Resolved(context.id, exit)));
        match (exit, halt) {
            (Exit::SkipGap, halt) => {
                if let Some((from, to)) = halt.gap() {
                    self.lost.push(LostRange { from, to, at_ms: context.now.wall_ms });
                    (self.extent.synced, self.leader_epoch) = (to, -1);
                }
                self.start_over(context);
            }
            (Exit::Accept, Halt::TargetNotEmpty { .. }) => {
                self.spec.existing = ExistingTopics::Append;
                self.start_over(context);
            }
            (Exit::Accept, Halt::SourceTruncated { end, .. }) => {
                self.let_go_of_all(context);
                // Whatever the source says, nothing of it is passed over.
                self.part(context, self.extent.synced.min(*end));
            }
            (exit, _) => {
                self.is_tolerant = exit == Exit::Accept;
                self.start_over(context);
            }
        }
        true
    }

    /// It is in another state than the one that was decided on.
    fn stops_as(&mut self, context: &mut Context<'_>, halt: Halt) {
        self.let_go_of_all(context);
        self.phase = Phase::Halted(halt);
        self.halt_in_map = true;
        context.needs.push((context.id, Need::Halt));
    }

    /// From the first question or marker on, as after a start, with what is known.
    fn start_over(&mut self, context: &mut Context<'_>) {
        self.let_go_of_all(context);
        if self.in_map {
            self.phase = Phase::Unfenced;
            context.needs.push((context.id, Need::FenceAnew));
        } else {
            self.phase = Phase::Probing;
            self.probe(context);
        }
    }

    fn let_go_of_all(&mut self, context: &mut Context<'_>) {
        let cursor = self.cursor();
        self.let_go(context);
        if let Some(cursor) = cursor {
            // What was on its way counts as not there, until it is found.
            (self.next_sequence, self.planned) = (cursor.sequence, None);
        }
        self.reread = Vec::new();
        self.tail = None;
        self.search = None;
        self.halt_next = None;
        self.halt_said = false;
        self.wake_at = None;
        self.recovered = false;
        self.dirty = true;
    }

    /// As if it had never been copied, behind whatever the mirror holds.
    fn begin_anew(&mut self, context: &mut Context<'_>, spec: PartitionSpec) {
        self.let_go(context);
        context.plans_gone.extend(self.plans.later().iter().map(|(number, _)| *number));
        let mut plans = Plans::default();
        plans.set_earlier(self.plans.earlier().to_vec());
        let spec = PartitionSpec { existing: ExistingTopics::Append, ..spec };
        *self = Self {
            plans,
            former_chunks: self.first_chunk..self.next_chunk(),
            in_map: self.in_map,
            halt_in_map: self.halt_in_map,
            resolved: self.resolved,
            look: self.look.wrapping_add(1),
            // What was on its way to the former mirror may still come.
            is_tolerant: true,
            watch: core::mem::take(&mut self.watch),
            records: self.records,
            bytes: self.bytes,
            ..Self::new(spec, None)
        };
        self.probe(context);
    }

    /// The chunks of what it was before it was begun anew, which its head takes out of the map.
    pub(crate) fn take_former_chunks(&mut self) -> core::ops::Range<u64> {
        core::mem::take(&mut self.former_chunks)
    }

    /// How many of the newest chunks have ranges behind a source offset.
    fn chunks_from(&self, end: SourceOffset) -> usize {
        let behind = |last: &&Option<Range>| last.is_none_or(|last| last.source_end() > end);
        self.chunks.iter().rev().take_while(behind).count()
    }

    /// Whether the map can be cut at a source offset: each chunk that has ranges behind it is there.
    fn can_part(&self, end: SourceOffset) -> bool {
        self.chunks.iter().rev().take(self.chunks_from(end)).all(Option::is_some)
    }

    /// The source took back what is from `end` on, and it stays on the mirror: the map forgets it, and the copy goes on
    /// behind it.
    pub(super) fn part(&mut self, context: &mut Context<'_>, end: SourceOffset) {
        let affected = self.chunks_from(end);
        if affected > self.reread.len() {
            let before = self.chunks.len().checked_sub(affected + 1).and_then(|index| *self.chunks.get(index)?);
            let behind = before.or_else(|| self.map.pruned()).map_or(TargetOffset(0), |range| range.target_end());
            self.phase = Phase::Parting { end };
            return context.needs.push((context.id, Need::Chunks(behind)));
        }
        let reread = core::mem::take(&mut self.reread);
        let mut map = OffsetMap::behind(self.map.pruned().filter(|pruned| pruned.source_end() <= end));
        let ranges = reread.iter().flatten().chain(self.map.ranges());
        map.extend(ranges.map(|range| Range { len: range.len.min(end.since(range.source_start)), ..*range }));
        let cursor = self.anchor().map(|anchor| Plan { source_start: end, leader_epoch: -1, ..anchor });
        let extent = Extent { synced: end, ..self.extent };
        self.cut_map(context, self.chunks.len() - affected, map, Cut { extent, cursor });
    }
}
