//! Letting go of a partition that another lane goes on with: from then on nothing of this lane may reach its mirror.
//!
//! What was never sent is dropped, what was sent gets its answer or is looked for in the log, as always. A partition
//! that stopped may have left something on its way: a marker of a new epoch keeps that out, and the mirror's log is
//! read, whatever it holds, until that marker is seen.

use alloc::vec::Vec;

use twinlog_wire::batch::BatchMeta;

use super::watch::Watch;
use super::{Context, Need, Partition, Phase, release};
use crate::halt::Halt;
use crate::ids::{Producer, TargetOffset};
use crate::io::{Output, PartitionSpec, ReadResult};
use crate::map_record::Head;
use crate::map_state::MappedPartition;

impl Partition {
    /// Whether it is to be let go of, or was.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Another lane is to go on with it.
    pub fn leave(&mut self, context: &mut Context<'_>) {
        if !self.leaving {
            self.leaving = true;
            self.go_on_leaving(context);
        }
    }

    /// Drops what was never sent, and is done once nothing of this lane can come any more.
    pub(super) fn go_on_leaving(&mut self, context: &mut Context<'_>) {
        let rest: Vec<_> = self.intake.drain().collect();
        release(context, rest);
        if let Some((slot, _)) = self.repacking.take() {
            context.out.push_back(Output::Release(slot));
        }
        self.halt_next = None;
        let unsent = self.outbox.drop_unsent();
        if let Some(first) = unsent.last() {
            (self.next_sequence, self.planned) = (first.sequence, None);
        }
        context.out.extend(unsent.iter().map(|batch| Output::Release(batch.slot)));
        match &self.phase {
            // Nothing was written to a topic that is not there any more, or to one that is not in the map.
            Phase::Probing | Phase::Registering | Phase::Halted(Halt::TargetRecreated) => self.left(context),
            Phase::Halted(_) if !self.in_map => self.left(context),
            Phase::Halted(_) => {
                self.closing = true;
                self.phase = Phase::Unfenced;
                context.needs.push((context.id, Need::FenceAnew));
            }
            // A lane that stands still, say to change its producer id, says no more in its map.
            Phase::Active if !self.outbox.is_empty() || context.draining => {}
            Phase::Active if self.may_be_forgotten(context) => {
                // The lanes' ids do not fence each other: ours must be remembered while another lane writes.
                self.phase = Phase::Unfenced;
                context.needs.push((context.id, Need::FenceAnew));
            }
            Phase::Active => self.left(context),
            // A lost end is cut back first: the other lane goes on from what the map says.
            Phase::Unfenced
            | Phase::Fencing
            | Phase::Scanning { .. }
            | Phase::CuttingBack { .. }
            | Phase::Parting { .. }
            | Phase::Released => {}
        }
    }

    fn left(&mut self, context: &mut Context<'_>) {
        // Of one that had stopped the map knows, as before, what was acknowledged then.
        self.closing |= matches!(self.phase, Phase::Halted(_));
        self.phase = Phase::Released;
        self.wake_at = None;
        self.watch = Watch::default();
        context.needs.push((context.id, Need::Release));
    }

    /// What the map does not know of it yet, once it was let go of.
    pub fn last_head(&self) -> Option<Head> {
        self.recovered.then(|| self.head())
    }

    /// One that this lane let go of before: it is only a name.
    pub fn left_before(spec: PartitionSpec) -> Self {
        Self { phase: Phase::Released, leaving: true, ..Self::new(spec, None) }
    }

    /// What of its lane's map is to be taken out once another lane has it.
    pub fn remains(&self) -> MappedPartition {
        let numbered = (self.first_chunk..).zip(&self.chunks);
        MappedPartition {
            plans: self.plans.clone(),
            chunks: numbered.filter_map(|(number, last)| Some((number, (*last)?))).collect(),
            ..MappedPartition::default()
        }
    }

    /// The log is read only to see the marker behind which nothing of ours can come.
    pub(super) fn close(
        &mut self,
        context: &mut Context<'_>,
        marker: Producer,
        from: TargetOffset,
        result: ReadResult<BatchMeta>,
    ) {
        let Some(mut tail) = self.tail.take() else { return };
        if from != tail.next_read {
            self.tail = Some(tail);
            return;
        }
        match result {
            ReadResult::Entries { entries, next } => {
                let ours = |batch: &BatchMeta| batch.is_control() && Producer::of(batch) == marker;
                if entries.iter().any(ours) {
                    return self.left(context);
                }
                return self.read_further(context, tail, from, next);
            }
            ReadResult::OutOfRange { start, end } => {
                // Inside of the log: the epoch that we named may be older than the log's first.
                tail.next_read = from.min(end).max(start);
                tail.read_epoch = -1;
                self.wait(context);
            }
            ReadResult::Failed(failure) => {
                self.target_retrying(context, failure, "reading the mirror's tail");
                self.wait(context);
            }
        }
        self.tail = Some(tail);
    }
}
