//! The table of partitions and lanes: a modelled state topic, and what an instance does by it, as the shell would.

use std::collections::BTreeMap;

use twinlog_core::io::Input;
use twinlog_core::map_record::MapRecord;
use twinlog_core::map_state::MapState;
use twinlog_core::moves::{Adoption, Known, Order, Place, order};

use super::mistakes::Mistake;
use super::shell::key;
use super::target::Payload;
use super::world::{Call, Event, Origin, World};

/// How often an instance looks at the table without being told of a change, in ms.
const LOOK_MS: u64 = 400;
/// How old the table is by which a seeded mistake acts, in ms.
const STALE_MS: u64 = 2_500;

/// What the state topic says: where each partition is, none of one that was not found yet.
pub(crate) type Table = Vec<Option<Place>>;

/// The state topic: a write to it is compared with what it holds, and done whole or not at all.
#[derive(Debug)]
pub(crate) struct States {
    pub(crate) table: Table,
    /// How often it was changed.
    pub(crate) version: usize,
    /// Former tables, and until when each of them held.
    former: Vec<(u64, Table)>,
}

impl States {
    pub(crate) fn new(table: Table) -> Self {
        Self { table, version: 0, former: Vec::new() }
    }

    fn change(&mut self, now: u64, partition: usize, place: Place) {
        self.former.push((now, self.table.clone()));
        self.table[partition] = Some(place);
        self.version += 1;
    }

    fn as_of(&self, time: u64) -> &Table {
        self.former.iter().find(|(until, _)| *until > time).map_or(&self.table, |(_, table)| table)
    }
}

impl World {
    /// A partition gets its lane, before anybody copies it.
    pub(crate) fn place(&mut self, partition: usize) {
        let lane = self.rng.index(self.profile.lanes) as u32;
        let now = self.now;
        self.states.change(now, partition, Place { lane, from: None, number: 0 });
        self.tell_of_the_table();
    }

    /// Somebody moves a partition to another lane.
    pub(crate) fn move_something(&mut self) {
        let pause = self.rng.between(20, 4_000);
        self.after(pause, Event::Move);
        let partition = self.rng.index(self.profile.partitions);
        let Some(place) = self.states.table[partition].filter(|place| place.from.is_none()) else { return };
        let lane = (place.lane + 1) % self.profile.lanes as u32;
        self.count("moves");
        self.note(|_| format!("{partition} is to go from lane {} to lane {lane}", place.lane));
        let now = self.now;
        self.states.change(now, partition, Place { lane, from: Some(place.lane), number: place.number + 1 });
        self.tell_of_the_table();
    }

    /// The partition is in its new lane: that it comes from another one is no longer so.
    pub(crate) fn end_move(&mut self, partition: usize, number: u64) {
        let Some(place) = self.states.table[partition] else { return };
        if place.number == number && place.from.is_some() {
            self.count("moves that end");
            self.note(|_| format!("{partition} has come to lane {}", place.lane));
            let now = self.now;
            self.states.change(now, partition, Place { from: None, ..place });
            self.tell_of_the_table();
        }
    }

    pub(crate) fn tell_of_the_table(&mut self) {
        let living: Vec<_> = self.living().collect();
        for instance in living {
            let (life, delay) = (self.instances[instance].life, self.rng.between(1, 1_000));
            self.after(delay, Event::Look(Origin { instance, life }, false));
        }
    }

    /// An instance looks at the table: when it took the lane, when it hears of a change, and now and then.
    pub(crate) fn look(&mut self, origin: Origin, regular: bool) {
        let Some(wait) = self.wait_for(origin) else { return };
        if wait > 0 {
            return self.after(wait, Event::Look(origin, regular));
        }
        if regular {
            self.after(LOOK_MS, Event::Look(origin, true));
        }
        let taken = self.instances[origin.instance].lane.as_ref().is_some_and(twinlog_core::lane::Lane::is_running);
        if taken {
            self.call(origin, Call::ReadTable);
        }
    }

    /// The table with its version: a reader of a log never goes back.
    pub(crate) fn table_as_read(&mut self) -> (usize, Table) {
        match self.mistake {
            Some(Mistake::StaleTable) => {
                let age = self.rng.below(STALE_MS);
                (self.states.version, self.states.as_of(self.now.saturating_sub(age)).clone())
            }
            _ => (self.states.version, self.states.table.clone()),
        }
    }

    /// The table was read.
    pub(crate) fn table_read(&mut self, origin: Origin, version: usize, table: Table) {
        match self.wait_for(origin) {
            None => {}
            Some(0) => {
                let instance = &mut self.instances[origin.instance];
                if version >= instance.table_version {
                    (instance.table, instance.table_version) = (table, version);
                }
                self.obey_the_table(origin);
            }
            Some(wait) => self.after(wait, Event::TableRead(origin, version, table)),
        }
    }

    /// Does what the table asks for.
    pub(crate) fn obey_the_table(&mut self, origin: Origin) {
        let number = self.instances[origin.instance].number;
        for partition in 0..self.instances[origin.instance].table.len() {
            let instance = &self.instances[origin.instance];
            let Some(lane) = instance.lane.as_ref().filter(|_| instance.life == origin.life) else { return };
            let (place, known) = (instance.table[partition], lane.known(&key(partition)));
            match order(number as u32, place, known) {
                Order::Nothing => {}
                Order::Copy => self.add_partition(origin.instance, partition),
                Order::Adopt { from, number } => self.call(origin, Call::ReadOther { partition, from, number }),
                Order::EndMove { number } => {
                    self.add_partition(origin.instance, partition);
                    self.call(origin, Call::EndMove { partition, number });
                }
                Order::Release { to, number } => {
                    self.deliver(origin, Input::Release { key: key(partition), to, number });
                }
                Order::Forget => self.deliver(origin, Input::Forget(key(partition))),
            }
            self.hear_the_operator(origin, partition);
        }
    }

    /// What another lane's map says of a partition, if that has let go of it.
    pub(crate) fn read_other(&mut self, partition: usize, from: u32, number: u64) -> Option<Adoption> {
        let named = MapRecord::Released(key(partition), None).encode().0;
        let log = &self.targets[self.map_of(from as usize)];
        let is_there = |payload: &Payload| match payload {
            Payload::Map(records) => records.iter().any(|record| record.0 == named),
            _ => false,
        };
        if self.mistake != Some(Mistake::AdoptEarly) && !log.read(log.start).any(|batch| is_there(&batch.payload)) {
            return None;
        }
        let (state, chunks) = self.read_map_of(from as usize);
        let mut mapped = state.partitions.get(&key(partition))?.clone();
        if self.mistake == Some(Mistake::AdoptEarly) && mapped.head.is_some() {
            mapped.released = Some(twinlog_core::map_record::Released { to: 0, number });
        }
        let chunks = chunks.into_iter().filter(|((of, _), _)| *of == key(partition));
        Adoption::of(&mapped, &state.producer_ids, chunks.map(|((_, number), chunk)| (number, chunk)).collect(), number)
    }

    pub(crate) fn other_read(
        &mut self,
        origin: Origin,
        partition: usize,
        adoption: Option<Box<Adoption>>,
        number: u64,
    ) {
        match (self.wait_for(origin), adoption) {
            (None, _) | (_, None) => {}
            (Some(0), Some(adoption)) => {
                let instance = &self.instances[origin.instance];
                let known = instance.lane.as_ref().map_or(Known::Nothing, |lane| lane.known(&key(partition)));
                let place = instance.table.get(partition).copied().flatten();
                // It may have come by an earlier answer, and have gone on since.
                let wanted = order(instance.number as u32, place, known);
                if !matches!(wanted, Order::Adopt { number: of, .. } if of == number) {
                    return;
                }
                self.count("adoptions");
                if self.mistake == Some(Mistake::EndMoveEarly) {
                    self.call(origin, Call::EndMove { partition, number });
                }
                self.deliver(origin, Input::Adopt(key(partition), adoption));
            }
            (Some(wait), adoption) => self.after(wait, Event::OtherRead(origin, partition, adoption, number)),
        }
    }

    /// All that the map of a lane says, up to its high watermark.
    #[allow(clippy::type_complexity, reason = "two maps that belong together: used in two places")]
    pub(crate) fn read_map_of(
        &self,
        lane: usize,
    ) -> (MapState, BTreeMap<(twinlog_core::map_record::PartitionKey, u64), twinlog_core::map_record::Chunk>) {
        let (mut state, mut chunks) = (MapState::default(), BTreeMap::new());
        let map = &self.targets[self.map_of(lane)];
        for batch in map.read(map.start) {
            if matches!(batch.payload, Payload::Map(_) | Payload::Marker) {
                state.written_by(batch.producer.id);
            }
            let Payload::Map(records) = &batch.payload else { continue };
            let kept = (batch.base..).zip(records.iter()).filter(|(offset, _)| !map.cleaned.contains(offset));
            for (_, (key, value)) in kept {
                let Ok(Some(record)) = MapRecord::decode(key, value.as_deref()) else { continue };
                if let MapRecord::Chunk(key, number, chunk) = &record {
                    chunks.insert((key.clone(), *number), chunk.clone());
                } else if let MapRecord::ChunkGone(key, number) = &record {
                    chunks.remove(&(key.clone(), *number));
                }
                state.apply(record);
            }
        }
        (state, chunks)
    }

    /// Whether no partition is on its way, nor anything of it left where it was.
    pub(crate) fn is_settled(&self, instance: usize) -> bool {
        let one = &self.instances[instance];
        let Some(lane) = &one.lane else { return false };
        let here =
            |partition: usize| self.states.table[partition].is_some_and(|place| place.lane as usize == one.number);
        self.states.table.iter().flatten().all(|place| place.from.is_none())
            && (0..self.profile.partitions)
                .all(|partition| here(partition) || lane.known(&key(partition)) == Known::Nothing)
    }
}
