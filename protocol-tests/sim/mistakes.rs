//! Seeded mistakes: what a wrong copying program would do, made around a right one. Each must be found, or the
//! simulator proves nothing.

use std::rc::Rc;

use twinlog_core::ids::{Producer, TargetOffset};
use twinlog_core::io::{FenceOutcome, Input, MapEntry, Member, Output, ReadResult};
use twinlog_core::lane::Lane;
use twinlog_core::outbox::Answer;
use twinlog_core::sequence;
use twinlog_wire::batch::BatchMeta;

use super::source::{Fetched, Kind};
use super::world::{Call, Event, Origin, Request, Target, World};

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Mirrors are written to without a marker.
    SkipFence,
    /// The tail is taken for read before the marker is seen.
    GuessTheEnd,
    /// Plans count as acknowledged when they are sent.
    PlanNotAwaited,
    /// Map records count as acknowledged, and are written with the next ones.
    PersistLater,
    /// What is sent again gets a new sequence.
    NewSequence,
    /// An old batch whose fate is unknown is sent again.
    ResendOld,
    /// A marker of the source counts for two offsets.
    OffByOneAtMarker,
    /// The producer id is changed while an older owner may still write under the old one.
    ChangeIdUnfenced,
    /// A producer id is used of which the map says nothing.
    IdNotInMap,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::SkipFence,
        Self::GuessTheEnd,
        Self::PlanNotAwaited,
        Self::PersistLater,
        Self::NewSequence,
        Self::ResendOld,
        Self::OffByOneAtMarker,
        Self::ChangeIdUnfenced,
        Self::IdNotInMap,
    ];
}

impl World {
    /// Does the wrong thing instead of the output, if this world has a mistake for it.
    pub(crate) fn twist(&mut self, origin: Origin, lane: &Lane, output: &Output) -> bool {
        if let Output::Fence { producer, .. } = output {
            self.instances[origin.instance].fence = Some(*producer);
        }
        match (self.mistake, output) {
            (Some(Mistake::SkipFence), Output::Fence { members, .. }) if !members.contains(&Member::Map) => {
                self.after(1, Event::Input(origin, Input::Fenced(FenceOutcome::Committed)));
                true
            }
            (Some(Mistake::ChangeIdUnfenced), Output::Fence { .. }) if lane.is_changing_id() => {
                self.after(1, Event::Input(origin, Input::Fenced(FenceOutcome::Committed)));
                true
            }
            (Some(Mistake::PlanNotAwaited), Output::WriteMap(batch)) => {
                let delay = self.rng.delay();
                self.write_unheard(origin, Call::WriteMap(batch.clone()), delay);
                true
            }
            (Some(Mistake::PersistLater), Output::WriteMap(batch)) => {
                let held = std::mem::replace(&mut self.instances[origin.instance].held, vec![batch.clone()]);
                for batch in held {
                    self.write_unheard(origin, Call::WriteMap(batch), 1);
                }
                let stored = Input::MapWritten(Answer::Stored { base: TargetOffset(0), log_start: TargetOffset(0) });
                self.after(1, Event::Input(origin, stored));
                true
            }
            (Some(Mistake::NewSequence), Output::Send { partition, slot, attempt, producer, sequence })
                if *attempt > 1 =>
            {
                let Some(content) = self.instances[origin.instance].slots.get(&slot.0).map(Rc::clone) else {
                    return false;
                };
                let partition = partition.0 as usize;
                let sequence = sequence::advance(*sequence, content.records.len() as u64);
                let target = Target::Data { partition, slot: slot.0, attempt: *attempt };
                self.produce(origin, target, Call::Produce { producer: *producer, sequence, content });
                true
            }
            (Some(Mistake::ResendOld), Output::Send { slot, producer, sequence, .. }) => {
                self.instances[origin.instance].sent.insert(slot.0, (*producer, *sequence));
                false
            }
            _ => false,
        }
    }

    fn write_unheard(&mut self, origin: Origin, call: Call, delay: u64) {
        if matches!(self.mistake, Some(Mistake::PlanNotAwaited)) {
            let stored = Input::MapWritten(Answer::Stored { base: TargetOffset(0), log_start: TargetOffset(0) });
            self.after(0, Event::Input(origin, stored));
        }
        let (id, connection) = (self.number(), self.number());
        let request = Request { id, origin, call, heard: false, connection, delayed: false, target: Target::Map };
        self.after(delay, Event::Execute(request));
    }

    pub(crate) fn twist_input(&mut self, origin: Origin, mut input: Input) -> Option<Input> {
        match (self.mistake, &mut input) {
            (
                Some(Mistake::SkipFence | Mistake::GuessTheEnd),
                Input::TargetRead { from, result: ReadResult::Entries { entries, next }, .. },
            ) => {
                if let Some(producer) = self.instances[origin.instance].fence {
                    let base = (*next).max(*from).0;
                    entries.push(marker(producer, base));
                    *next = TargetOffset(base + 1);
                }
            }
            (Some(Mistake::IdNotInMap), Input::MapRead { result: ReadResult::Entries { entries, .. }, .. }) => {
                let own = self.coordinator.producer();
                entries.retain_mut(|entry| match entry {
                    MapEntry::Marker(producer) => *producer == own,
                    MapEntry::Record { producer_id, key, .. } => {
                        *producer_id = -1;
                        key != b"ids"
                    }
                });
            }
            (Some(Mistake::ResendOld), Input::Produced { partition, slot, attempt, answer: Answer::Lost }) => {
                let old = self.wall() - self.profile.expiration_ms / 2;
                let instance = &self.instances[origin.instance];
                if let (Some(content), Some((producer, sequence))) =
                    (instance.slots.get(&slot.0).cloned(), instance.sent.get(&slot.0).copied())
                    && content.max_timestamp < old
                {
                    let target = Target::Data { partition: partition.0 as usize, slot: slot.0, attempt: *attempt };
                    self.produce(origin, target, Call::Produce { producer, sequence, content });
                    return None;
                }
            }
            _ => {}
        }
        Some(input)
    }

    pub(crate) fn twist_fetch(&mut self, batches: &mut [Fetched]) {
        if self.mistake == Some(Mistake::OffByOneAtMarker) {
            for batch in batches.iter_mut().filter(|batch| matches!(batch.kind, Kind::Control { .. })) {
                batch.meta.last_offset_delta += 1;
            }
        }
    }
}

fn marker(producer: Producer, base: i64) -> BatchMeta {
    BatchMeta {
        base_offset: base,
        len: 78,
        leader_epoch: 0,
        crc: 0,
        attributes: 0x30,
        last_offset_delta: 0,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        base_sequence: -1,
        record_count: 1,
    }
}
