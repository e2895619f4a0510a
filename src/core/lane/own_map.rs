//! A lane's partition of the map topic: loaded once its marker is seen, then written to by this lane alone.

use alloc::format;
use alloc::vec::Vec;

use twinlog_wire::error_code::{ErrorCode, Retry};

use super::{Lane, Stage, Timer, forbidden};
use crate::ids::{Now, TargetOffset};
use crate::io::{Event, Failure, LanePartition, MapEntry, Output, Over, ReadResult};
use crate::map_record::{MapRecord, PlanList};
use crate::map_writer::{MapWriter, Then};
use crate::outbox::Answer;
use crate::partition::{MARKER_WAIT_MS, Partition};

impl Lane {
    pub(super) fn read_map(&mut self) {
        let next = match (&self.stage, &self.reread) {
            (Stage::LoadingMap { next, .. }, _) => *next,
            (Stage::Running, Some(reread)) => reread.next,
            _ => return,
        };
        self.out.push_back(Output::ReadMap { from: next });
    }

    pub(super) fn map_read(&mut self, now: Now, from: TargetOffset, result: ReadResult<MapEntry>) {
        let Some(own) = self.producer else { return };
        if self.reread.is_some() {
            return self.chunks_reread(now, from, result);
        }
        let Stage::LoadingMap { state, next, since } = &mut self.stage else { return };
        if from != *next {
            return;
        }
        match result {
            ReadResult::Entries { entries, next: after } => {
                for entry in entries {
                    match entry {
                        MapEntry::Marker(producer) => {
                            state.written_by(producer.id);
                            if producer == own {
                                return self.loaded(now);
                            }
                        }
                        MapEntry::Record { producer_id, key, value } => match MapRecord::decode(&key, value.as_deref())
                        {
                            Ok(Some(record)) => {
                                state.written_by(producer_id);
                                state.apply(record);
                            }
                            Ok(None) => {}
                            Err(bad) => {
                                let key = alloc::string::String::from_utf8_lossy(&key).into_owned();
                                return self.over(Over::BadMap(format!("record {key:?}: {}", bad.reason)));
                            }
                        },
                    }
                }
                let moved = after > *next;
                *next = (*next).max(after);
                if moved {
                    self.attempt = 0;
                    self.read_map();
                } else if now.mono_ms - *since > MARKER_WAIT_MS {
                    // The map's log lost it: another one.
                    self.stage = Stage::FencingMap;
                    self.transaction_wanted = true;
                } else {
                    self.set_backoff(now, Timer::ReadMap);
                }
            }
            ReadResult::OutOfRange { start, .. } if start > *next => {
                *next = start;
                self.read_map();
            }
            ReadResult::OutOfRange { .. } => self.set_backoff(now, Timer::ReadMap),
            ReadResult::Failed(failure) => self.retry(now, failure, "reading the map", Timer::ReadMap),
        }
    }

    pub(super) fn loaded(&mut self, now: Now) {
        let Stage::LoadingMap { state, .. } = core::mem::replace(&mut self.stage, Stage::Running) else { return };
        let Some(producer) = self.producer else { return };
        if let Some(link) = state.link.as_ref().filter(|link| **link != self.config.link) {
            let words = format!("it belongs to {link:?}, this is {:?}", self.config.link);
            return self.over(Over::BadMap(words));
        }
        self.running_since = now.mono_ms;
        let came = state.partitions.iter().filter(|(_, mapped)| mapped.is_held());
        self.came = came.filter_map(|(key, mapped)| Some((key.clone(), mapped.came?))).collect();
        self.out.push_back(Output::Event(Event::Taken { producer }));
        if self.has_reached(self.config.epochs.hold_from) {
            return self.loaded_among_last(producer, state);
        }
        let mut writer = MapWriter::new(producer);
        if state.link.is_none() {
            writer.push(&[MapRecord::Link(self.config.link.clone())], Then::Nothing);
        }
        self.ids_in_map = state.producer_ids == state.recorded_ids;
        if !self.ids_in_map {
            writer.push(&[MapRecord::Ids(state.producer_ids.clone())], Then::Ids);
        }
        self.own_ids = state.producer_ids;
        self.writer = Some(writer);
        self.attempt = 0;
        self.plan_record = state.next_plan_record;
        self.plans_acknowledged = state.next_plan_record;
        self.plan_uses = state.plan_records.iter().map(|number| (*number, 0)).collect();
        for mapped in state.partitions.values() {
            for (number, _) in mapped.plans.later() {
                *self.plan_uses.entry(*number).or_default() += 1;
            }
        }
        for number in state.plan_records {
            self.drop_plan_record(number);
        }
        self.mapped = state.partitions;
    }

    pub(super) fn map_written(&mut self, now: Now, answer: Answer) {
        let Some(writer) = &mut self.writer else { return };
        let Some(batch) = writer.in_flight() else { return };
        let aged = now.wall_ms - batch.timestamp_ms > self.config.producer_expiration_ms / 2;
        let failure = match answer {
            Answer::Stored { .. } => {
                self.attempt = 0;
                for then in writer.written() {
                    self.written(now, then);
                }
                return;
            }
            Answer::Lost => Failure::Lost,
            Answer::NotSent => Failure::NotSent,
            Answer::Refused(code, _) => Failure::Code(code),
        };
        match failure {
            Failure::Code(ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED) => self.superseded(now),
            Failure::Code(code) if forbidden(code) => self.over(Over::Forbidden(code, "writing to the map topic")),
            // What was planned in the lost part is found unplanned in the mirrors, and named there.
            Failure::Code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER) => {
                self.over(Over::Restart("the map topic does not have what was written to it last: it lost its end"));
            }
            Failure::Code(code) if code.retry() == Retry::Never && code != ErrorCode::UNKNOWN_SERVER_ERROR || aged => {
                self.over(Over::Restart("the map topic refused a write"));
            }
            _ if aged => self.over(Over::Restart("the map topic could not be written for long")),
            failure => self.retry(now, failure, "writing to the map", Timer::WriteMap),
        }
    }

    fn written(&mut self, now: Now, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Ids => {
                self.ids_in_map = true;
                self.transaction_wanted = true;
            }
            Then::Halted(id) => self.with(now, id, Partition::halt_written),
            Then::Registered(id) => self.with(now, id, Partition::registered),
            Then::Head(id, cursor, before) => {
                let partition = self.partitions.get_mut(id.0 as usize);
                let gone = partition.map(|partition| partition.head_written(cursor, before));
                self.plans_gone(gone.unwrap_or_default());
            }
            Then::CutBack(id, cursor, before) => {
                self.written(now, Then::Head(id, cursor, before));
                self.with(now, id, Partition::cut_back_written);
            }
            Then::Plans(number) => {
                self.plans_acknowledged = number + 1;
                self.drop_plan_record(number);
                for id in self.planned.remove(&number).unwrap_or_default() {
                    self.with(now, id, Partition::advance);
                }
            }
            Then::Released(id, released) => self.was_released(id, released),
            Then::ReleasedUnknown(key, released) => self.was_released_unknown(key, released),
            Then::Adopted(key, planned) => {
                if let Some(number) = planned {
                    self.written(now, Then::Plans(number));
                }
                self.was_adopted(key);
            }
            Then::Forgotten(key) => self.out.push_back(Output::Event(Event::Forgotten(key))),
        }
    }

    /// Turns the plans that gathered into one record.
    pub(super) fn write_plans(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        if self.plans.is_empty() {
            return;
        }
        let entries = core::mem::take(&mut self.plans);
        writer.push(&[MapRecord::Plans(self.plan_record, PlanList { entries })], Then::Plans(self.plan_record));
        self.plan_record += 1;
    }

    pub(super) fn write_map(&mut self, now: Now) {
        if matches!(self.stage, Stage::Over) || self.has_left_its_id() || self.may_be_unknown(now) {
            return;
        }
        if let Some(batch) = self.writer.as_mut().and_then(|writer| writer.next_batch(now)) {
            self.out.push_back(Output::WriteMap(batch));
        }
    }

    /// Progress marks: the heads of all partitions that moved.
    pub(super) fn mark(&mut self) {
        for id in self.ids() {
            self.mark_one(id);
        }
    }

    /// The head of a partition, if it moved.
    pub(super) fn mark_one(&mut self, id: LanePartition) {
        // A head says which plans are void: those that it knows of must stand before it.
        self.write_plans();
        let (Some(partition), Some(writer)) = (self.partitions.get_mut(id.0 as usize), &mut self.writer) else {
            return;
        };
        if !partition.take_dirty() {
            return;
        }
        let key = partition.spec().key.clone();
        // A chunk that is there before its head is not counted yet: only the head says how many there are.
        while let Some((number, chunk)) = partition.take_chunk(self.config.chunk_ranges) {
            writer.push(&[MapRecord::Chunk(key.clone(), number, chunk)], Then::Nothing);
        }
        let gone = partition.prune().map(|number| MapRecord::ChunkGone(key.clone(), number));
        let gone: Vec<_> = gone.collect();
        let head = partition.head();
        let then = Then::Head(id, head.cursor, self.plan_record);
        // One group: whoever reads the head does not miss a chunk.
        let records: Vec<_> = core::iter::once(MapRecord::Head(key, head)).chain(gone).collect();
        writer.push(&records, then);
    }
}
