//! Seeded mistakes: what a wrong copying program would do, made around a right one. Each must be found, or the
//! simulator proves nothing.

use std::rc::Rc;

use twinlog_core::ids::{Producer, TargetOffset};
use twinlog_core::io::{Event as LaneEvent, FenceOutcome, Input, MapBatch, MapEntry, Member, Output, ReadResult};
use twinlog_core::lane::Lane;
use twinlog_core::map_record::MapRecord;
use twinlog_core::offset_map::Range;
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
    /// A partition is adopted before the other lane has let go of it.
    AdoptEarly,
    /// What was let go of leaves the map before the other lane has it.
    ForgetEarly,
    /// A move counts as done before the partition is in the new lane's map.
    EndMoveEarly,
    /// A lane acts by a table that was read before it was taken.
    StaleTable,
    /// What is left of a mirror that lost its end is not written to the map.
    CutBackNotWritten,
    /// What is left of a mirror is taken to reach to its log's end, markers included.
    CutAtTheLogEnd,
    /// The producer id is changed while an older owner may still write under the old one.
    ChangeIdUnfenced,
    /// A producer id is used of which the map says nothing.
    IdNotInMap,
    /// A decision about a partition is carried out whenever it is heard.
    ResolveAgain,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::SkipFence,
        Self::GuessTheEnd,
        Self::PlanNotAwaited,
        Self::PersistLater,
        Self::NewSequence,
        Self::ResendOld,
        Self::OffByOneAtMarker,
        Self::AdoptEarly,
        Self::ForgetEarly,
        Self::EndMoveEarly,
        Self::StaleTable,
        Self::CutBackNotWritten,
        Self::CutAtTheLogEnd,
        Self::ChangeIdUnfenced,
        Self::IdNotInMap,
        Self::ResolveAgain,
    ];
}

impl World {
    /// Does the wrong thing instead of the output, if this world has a mistake for it.
    pub(crate) fn twist(&mut self, origin: Origin, lane: &Lane, output: &Output) -> bool {
        if let (Some(Mistake::CutBackNotWritten | Mistake::CutAtTheLogEnd), Output::WriteMap(batch)) =
            (self.mistake, output)
            && let Some(partition) = self.instances[origin.instance].cut.take()
        {
            let batch = self.spoil(batch.clone(), partition);
            self.produce(origin, Target::Map, Call::WriteMap(batch));
            return true;
        }
        if let Output::Event(LaneEvent::CutBack { partition, .. }) = output {
            self.instances[origin.instance].cut = Some(partition.0 as usize);
        }
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

    /// The group with the head that was cut back says something else.
    fn spoil(&mut self, mut batch: MapBatch, partition: usize) -> MapBatch {
        let Some(known) = self.known_head(partition) else { return batch };
        let end = TargetOffset(self.targets[partition].end());
        for (key, value) in &mut batch.records {
            let head = match MapRecord::decode(key, value.as_deref()) {
                Ok(Some(MapRecord::Head(of, head))) if of.partition as usize == partition => (of, head),
                Ok(Some(MapRecord::ChunkGone(of, _))) if of.partition as usize == partition => (of, known.clone()),
                _ => continue,
            };
            let wrong = match (self.mistake, head) {
                (Some(Mistake::CutAtTheLogEnd), (of, mut head)) if end < known.extent.next_target => {
                    head.ranges.clear();
                    for range in &known.ranges {
                        let len = range.len.min(end.since(range.target_start));
                        head.ranges.extend((len > 0).then_some(Range { len, ..*range }));
                    }
                    let last = head.ranges.last();
                    head.extent.synced = last.map_or(head.extent.synced, Range::source_end);
                    head.extent.next_target = end;
                    (head.chunks, head.first_chunk, head.cursor) = (known.chunks, known.first_chunk, None);
                    (of, head)
                }
                (_, (of, _)) => (of, known.clone()),
            };
            (*key, *value) = MapRecord::Head(wrong.0, wrong.1).encode();
        }
        batch
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
                let own = self.coordinators[self.instances[origin.instance].number].producer();
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
