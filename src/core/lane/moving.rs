//! Partitions that come from another lane or go to one: what the lane's map says of them ([`crate::moves`]).

use alloc::vec::Vec;

use super::Lane;
use crate::config::{ExistingTopics, GapPolicy};
use crate::ids::Now;
use crate::io::{Event, LanePartition, Output, PartitionSpec};
use crate::map_record::{Came, Head, MapRecord, PartitionKey, PlanList, Released};
use crate::map_state::MappedPartition;
use crate::map_writer::Then;
use crate::moves::{Adoption, Known};
use crate::partition::Partition;

/// Tombstones in one group of map records.
const TOMBSTONES_MAX: usize = 1_000;

impl Lane {
    /// What the lane's map says of a partition.
    pub fn known(&self, key: &PartitionKey) -> Known {
        let held = Known::Held { number: self.came.get(key).copied().unwrap_or_default() };
        if self.by_key.contains_key(key) || self.came.contains_key(key) {
            return held;
        }
        match self.mapped.get(key) {
            None => Known::Nothing,
            Some(mapped) if mapped.is_empty() => Known::Nothing,
            Some(MappedPartition { released: Some(released), .. }) => Known::Released(*released),
            Some(mapped) if mapped.is_held() => held,
            Some(_) => Known::Remains,
        }
    }

    /// All partitions that the lane's map says something of, or that are being copied.
    pub fn known_keys(&self) -> impl Iterator<Item = &PartitionKey> {
        self.mapped.keys().chain(self.by_key.keys())
    }

    /// The present number of a partition that was added and not let go of since.
    pub fn find(&self, key: &PartitionKey) -> Option<LanePartition> {
        self.by_key.get(key).copied()
    }

    pub(super) fn release(&mut self, now: Now, key: PartitionKey, to: u32, number: u64) {
        let known = self.known(&key);
        if self.writer.is_none()
            || self.adopting.contains_key(&key)
            || matches!(known, Known::Released(released) if released.number >= number)
            || self.leaving.insert(key.clone(), (to, number)).is_some()
        {
            return;
        }
        let head = self.mapped.get(&key).and_then(|mapped| mapped.head.clone());
        match (self.find(&key), head) {
            (Some(id), _) => self.with(now, id, Partition::leave),
            // It is not copied now, but a former owner may have left something on its way.
            (None, Some(head)) if matches!(known, Known::Held { .. }) => {
                if let Some(id) = self.add(now, spec_of(key, &head)) {
                    self.with(now, id, Partition::leave);
                }
            }
            (None, _) => {
                let released = Released { to, number };
                if let Some(writer) = &mut self.writer {
                    let record = MapRecord::Released(key.clone(), Some(released));
                    writer.push(&[record], Then::ReleasedUnknown(key, released));
                }
            }
        }
    }

    /// Nothing of a partition can come any more: its last head, and that it was let go of, in one group.
    pub(super) fn let_go(&mut self, id: LanePartition) {
        // A head says which plans are void: those that it knows of must stand before it.
        self.write_plans();
        let (Some(partition), Some(writer)) = (self.partitions.get(id.0 as usize), &mut self.writer) else { return };
        let key = partition.spec().key.clone();
        let Some((to, number)) = self.leaving.get(&key).copied() else { return };
        let released = Released { to, number };
        let head = partition.last_head().map(|head| MapRecord::Head(key.clone(), head));
        let records: Vec<_> = head.into_iter().chain([MapRecord::Released(key, Some(released))]).collect();
        writer.push(&records, Then::Released(id, released));
    }

    /// It is in the map that the partition was let go of.
    pub(super) fn was_released(&mut self, id: LanePartition, released: Released) {
        let Some(partition) = self.partitions.get_mut(id.0 as usize) else { return };
        let spec = partition.spec().clone();
        let remains = MappedPartition { released: Some(released), ..partition.remains() };
        let key = spec.key.clone();
        // Its number stays taken, its ranges need not.
        *partition = Partition::left_before(spec);
        self.by_key.remove(&key);
        self.left_under.extend(self.producer.map(|producer| (key.clone(), producer)));
        self.now_released(key, remains, released);
    }

    pub(super) fn now_released(&mut self, key: PartitionKey, mapped: MappedPartition, released: Released) {
        self.leaving.remove(&key);
        self.came.remove(&key);
        self.mapped.insert(key.clone(), mapped);
        self.out.push_back(Output::Event(Event::Released(key, released.to)));
    }

    /// There was nothing of the partition in the map.
    pub(super) fn was_released_unknown(&mut self, key: PartitionKey, released: Released) {
        let mut mapped = self.mapped.remove(&key).unwrap_or_default();
        mapped.released = Some(released);
        self.now_released(key, mapped, released);
    }

    pub(super) fn adopt(&mut self, key: PartitionKey, adoption: Adoption) {
        if self.writer.is_none() || self.is_on_its_way(&key) {
            return;
        }
        if matches!(self.known(&key), Known::Held { .. }) {
            return;
        }
        // What is left of an earlier stay.
        self.forget(key.clone());
        self.write_plans();
        let Some(writer) = &mut self.writer else { return };
        let number = self.plan_record;
        let mut mapped = MappedPartition { halt: adoption.halt.clone(), ..MappedPartition::default() };
        mapped.plans.set_cursor(adoption.head.as_ref().and_then(|head| head.cursor), u64::MAX);
        for plan in adoption.plans {
            mapped.plans.push(number, plan);
        }
        let came = Came { number: adoption.number, earlier: adoption.earlier };
        mapped.set_came(Some(came.clone()));
        let entries: Vec<_> = mapped.plans.later().iter().map(|(_, plan)| (key.clone(), *plan)).collect();
        // Only a head says how many chunks there are: it comes last.
        for (number, chunk) in adoption.chunks {
            mapped.chunks.extend(chunk.ranges.last().map(|last| (number, *last)));
            writer.push(&[MapRecord::Chunk(key.clone(), number, chunk)], Then::Nothing);
        }
        let mut records = alloc::vec![MapRecord::Came(key.clone(), Some(came))];
        if adoption.halt.is_some() {
            records.push(MapRecord::Halt(key.clone(), adoption.halt));
        }
        if let Some(head) = adoption.head {
            mapped.head = Some(head.clone());
            records.push(MapRecord::Head(key.clone(), head));
        }
        // A head covers the plans before it, and these it does not cover.
        let planned = (!entries.is_empty()).then_some(number);
        if planned.is_some() {
            self.plan_uses.insert(number, entries.len());
            self.plan_record += 1;
            records.push(MapRecord::Plans(number, PlanList { entries }));
        }
        writer.push(&records, Then::Adopted(key.clone(), planned));
        self.adopting.insert(key, mapped);
    }

    /// Whether a change of what the map says of a partition is not in it yet: the next one comes after that.
    fn is_on_its_way(&self, key: &PartitionKey) -> bool {
        self.adopting.contains_key(key) || self.leaving.contains_key(key)
    }

    /// A partition of another lane is in this lane's map.
    pub(super) fn was_adopted(&mut self, key: PartitionKey) {
        if let Some(mapped) = self.adopting.remove(&key) {
            self.came.extend(mapped.came.map(|number| (key.clone(), number)));
            self.mapped.insert(key.clone(), mapped);
            self.out.push_back(Output::Event(Event::Adopted(key)));
        }
    }

    /// What is held is not taken out, whatever is asked for.
    pub(super) fn forget(&mut self, key: PartitionKey) {
        if self.writer.is_none() || self.is_on_its_way(&key) || matches!(self.known(&key), Known::Held { .. }) {
            return;
        }
        self.take_out(key);
    }

    /// A partition that is not there any more, on either side.
    pub(super) fn gone(&mut self, key: PartitionKey) {
        if self.writer.is_none() || self.is_on_its_way(&key) {
            return;
        }
        if let Some(partition) = self.find(&key).and_then(|id| self.partitions.get_mut(id.0 as usize)) {
            if !partition.is_halted() {
                return;
            }
            let remains = partition.remains();
            // Its number stays taken.
            *partition = Partition::left_before(partition.spec().clone());
            self.by_key.remove(&key);
            self.left_under.extend(self.producer.map(|producer| (key.clone(), producer)));
            self.mapped.insert(key.clone(), remains);
        }
        self.came.remove(&key);
        self.take_out(key);
    }

    fn take_out(&mut self, key: PartitionKey) {
        let Some(mapped) = self.mapped.remove(&key) else { return };
        let Some(writer) = &mut self.writer else { return };
        // Without its head the chunks count for nobody.
        let first = [
            MapRecord::HeadGone(key.clone()),
            MapRecord::Halt(key.clone(), None),
            MapRecord::Came(key.clone(), None),
            MapRecord::Released(key.clone(), None),
        ];
        let gone = mapped.chunks.keys().map(|number| MapRecord::ChunkGone(key.clone(), *number));
        let all: Vec<_> = first.into_iter().chain(gone).collect();
        let mut groups = all.chunks(TOMBSTONES_MAX).peekable();
        while let Some(group) = groups.next() {
            let then = if groups.peek().is_none() { Then::Forgotten(key.clone()) } else { Then::Nothing };
            writer.push(group, then);
        }
        self.plans_gone(mapped.plans.later().iter().map(|(number, _)| *number).collect());
    }
}

/// What a partition is that the map knows and nobody asked to copy.
pub(super) fn spec_of(key: PartitionKey, head: &Head) -> PartitionSpec {
    PartitionSpec {
        key,
        source_topic_id: head.source_topic_id,
        target_topic: head.target_topic.clone(),
        target_topic_id: head.target_topic_id,
        existing: ExistingTopics::Append,
        gap: GapPolicy::Halt,
    }
}
