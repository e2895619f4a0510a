//! How a world ends: everything is copied, drained, compared; and how it is read by somebody who owns nothing.

use std::collections::BTreeMap;

use twinlog_core::ids::{SourceOffset, TargetOffset};
use twinlog_core::io::Input;
use twinlog_core::lane::Lane;
use twinlog_core::map_record::{Chunk, PartitionKey};
use twinlog_core::map_state::{MapState, MappedPartition};
use twinlog_core::moves::true_one;
use twinlog_core::offset_map::{OffsetMap, Translation};
use twinlog_core::partition::{Partition, Phase};
use twinlog_core::tail::{Found, Tail};

use super::profile::Cause;
use super::shell::key;
use super::source::{Batch, Fate, Kind};
use super::target::Payload;
use super::world::{Event, Origin, World};
use crate::checker::{Expect, MapTruth, SourceRecord, TargetRecord, Translated, check_copy, check_map};

impl World {
    /// Ends the faults' aftermath when for each lane an instance says that it has copied everything.
    pub(crate) fn look_for_the_end(&mut self) {
        if !self.quiet || !self.draining.is_empty() || self.failure.is_some() {
            return;
        }
        let mut ready = Vec::new();
        for lane in 0..self.profile.lanes {
            let owner = self.coordinators[lane].owner.filter(|owner| self.instances[*owner].alive);
            let living = self.living().filter(|index| self.instances[*index].number == lane);
            let mut living = living.filter(|index| owner.is_none_or(|owner| owner == *index));
            let Some(index) = living.find(|index| self.is_caught_up(*index)) else { return };
            ready.push(index);
        }
        self.note(|_| format!("{ready:?} have caught up"));
        if let Some(index) = ready.iter().find(|index| !self.instances[**index].slots.is_empty()) {
            return self.fail(format!("instance {index} still holds {:?}", self.instances[*index].slots.keys()));
        }
        // Zombies have no part in the end: their last words come when it is settled.
        let others: Vec<_> = self.living().filter(|other| !ready.contains(other)).collect();
        for other in others {
            self.instances[other].lane = None;
            self.instances[other].alive = false;
        }
        self.draining.clone_from(&ready);
        self.compare(true);
        self.read_now();
        for instance in ready {
            let origin = Origin { instance, life: self.instances[instance].life };
            self.deliver(origin, Input::Drain);
        }
    }

    /// The number of a partition in an instance, if that copies it.
    fn copied_by(&self, instance: usize, partition: usize) -> Option<&Partition> {
        let lane = self.instances[instance].lane.as_ref()?;
        lane.find(&key(partition)).and_then(|id| lane.partition(id))
    }

    fn is_caught_up(&self, index: usize) -> bool {
        let running = self.instances[index].lane.as_ref().is_some_and(Lane::is_running);
        let lane = self.instances[index].number;
        let here = |number: &usize| self.states.table[*number].is_some_and(|place| place.lane as usize == lane);
        running
            && self.is_settled(index)
            && (0..self.profile.partitions).filter(here).all(|number| {
                let Some(partition) = self.copied_by(index, number) else { return false };
                let synced = partition.progress().extent.synced.0;
                let reached = synced == self.sources[number].last_stable();
                // A zombie stops for other reasons; it will hear that it is one. Readers know of a stop by the map.
                let stopped_by = |cause: Cause| {
                    let stopped = matches!(partition.phase(), Phase::Halted(halt) if halt.name() == cause.halt());
                    stopped && partition.is_halt_said()
                };
                // An idle mirror that lost its end is noticed when its end is looked at, every ten seconds.
                let whole = self.targets[number].end() >= partition.progress().extent.next_target.0;
                let copied = reached && whole && partition.phase() == &Phase::Active;
                match self.cause_of(number) {
                    Some(cause) => {
                        let goes_on = cause.may_pass() || self.decided(number) > 0;
                        (copied && goes_on) || (stopped_by(cause) && !self.profile.operator)
                    }
                    None => reached && partition.phase() == &Phase::Active,
                }
            })
    }

    /// An instance that copied everything has ended as it was told to.
    pub(crate) fn drained(&mut self, index: usize) {
        self.draining.retain(|other| *other != index);
        if !self.draining.is_empty() {
            return;
        }
        self.count("worlds drained");
        self.compare(true);
        self.read_now();
        if self.again && self.failure.is_none() {
            // Once more from the start: there is nothing to do, and nothing may come of it.
            self.again = false;
            for lane in 0..self.profile.lanes {
                self.plan_start(lane, 0);
            }
        } else {
            self.done = true;
        }
    }

    pub(super) fn truth(&self, partition: usize, stopped: bool) -> Vec<SourceRecord> {
        let source = &self.sources[partition];
        let gap = matches!(self.cause_of(partition), Some(Cause::Gap)) || self.begun_anew[partition] > 0;
        // An unclean election took records out of the middle, as the next one may have been appended where they were:
        // that is what the halt says. What is left is still in order and once.
        let holes = self.cause_of(partition) == Some(Cause::TargetTruncated) && stopped;
        let cut = source.lost.first().map_or(i64::MAX, |batch| batch.base);
        let expect = |batch: &Batch, offset: i64| match (batch.kind, batch.fate) {
            (Kind::UnknownCodec | Kind::Bad | Kind::Control { .. }, _) => Expect::Forbidden,
            (_, Fate::Open | Fate::Aborted) => Expect::Forbidden,
            _ if holes || (gap && offset < source.start) => Expect::Optional,
            _ => Expect::Required,
        };
        let mut truth = Vec::new();
        // What was taken back was copied before, and what came instead is not copied.
        let before = source.batches.iter().filter(|batch| batch.base < cut);
        let instead = source.batches.iter().filter(|batch| batch.base >= cut && self.parted);
        for batch in before.chain(&source.lost).chain(instead) {
            let start = truth.len();
            for record in &batch.records {
                let expect = if batch.base >= cut { Expect::Optional } else { expect(batch, record.offset) };
                truth.push(SourceRecord { offset: record.offset, identity: record.identity, expect });
            }
            for record in &batch.cleaned {
                let expect = match expect(batch, record.offset) {
                    Expect::Required => Expect::Optional,
                    other => other,
                };
                truth.push(SourceRecord { offset: record.offset, identity: record.identity, expect });
            }
            truth[start..].sort_by_key(|record| record.offset);
        }
        truth
    }

    /// The mirror as a reader of either isolation sees it: no batch of ours is part of a transaction.
    fn mirror(&self, partition: usize) -> Vec<TargetRecord> {
        self.mirror_to(partition, self.targets[partition].high_watermark)
    }

    pub(super) fn mirror_to(&self, partition: usize, end: i64) -> Vec<TargetRecord> {
        let log = &self.targets[partition];
        let mut records = Vec::new();
        let begins = self.begun_anew[partition];
        for batch in log.batches.iter().filter(|batch| batch.end() <= end && batch.base >= begins) {
            if let Payload::Records(content) = &batch.payload {
                let numbered = (batch.base..).zip(&content.records);
                records.extend(numbered.map(|(offset, record)| TargetRecord { offset, identity: record.identity }));
            }
        }
        records
    }

    fn compare(&mut self, caught_up: bool) {
        for partition in 0..self.profile.partitions {
            let lane = self.states.table[partition].map_or(0, |place| place.lane as usize);
            let here = self.draining.iter().find(|index| self.instances[**index].number == lane);
            let copied = here.and_then(|index| self.copied_by(*index, partition));
            let halted = copied.and_then(|one| match one.phase() {
                Phase::Halted(halt) => Some(halt.name()),
                _ => None,
            });
            let cause = self.cause_of(partition);
            if let Some(name) = halted
                && cause.map(Cause::halt) != Some(name)
            {
                return self.fail(format!("partition {partition} stopped as {name}, the cause is {cause:?}"));
            }
            let stopped = halted.is_some() || (copied.is_none() && cause.is_some());
            let (truth, mirror) = (self.truth(partition, stopped), self.mirror(partition));
            if let Err(wrong) = check_copy(&truth, &mirror, caught_up && !stopped) {
                return self.fail(format!("partition {partition}: {wrong}"));
            }
        }
    }

    /// Reads map and mirrors as `translate` does: without owning anything, at any moment.
    pub(crate) fn read_now(&mut self) {
        if !self.quiet {
            let pause = self.rng.between(500, 8_000);
            self.after(pause, Event::Read);
        }
        self.count("reads without ownership");
        let lanes: Vec<_> = (0..self.profile.lanes).map(|lane| self.read_map_of(lane)).collect();
        for partition in 0..self.profile.partitions {
            let all = lanes.iter().enumerate();
            let all = all.filter_map(|(lane, (state, _))| Some((lane, state.partitions.get(&key(partition))?)));
            let Some((lane, mapped)) = true_one(all) else { continue };
            if let Err(wrong) = self.read_partition(mapped, &lanes[lane], partition) {
                return self.fail(format!("partition {partition}, as read: {wrong}"));
            }
        }
    }

    fn read_partition(
        &self,
        mapped: &MappedPartition,
        (state, chunks): &(MapState, BTreeMap<(PartitionKey, u64), Chunk>),
        partition: usize,
    ) -> Result<(), String> {
        let Some(head) = &mapped.head else { return Ok(()) };
        let cause = self.cause_of(partition);
        if matches!(cause, Some(Cause::TargetTrimmed | Cause::SourceTruncated)) {
            return Ok(());
        }
        // The map is of the former mirror.
        if head.resolved < self.decided(partition) {
            return Ok(());
        }
        // Until its owner has seen the loss the map says more than the log.
        if cause == Some(Cause::TargetTruncated) && (self.draining.is_empty() || mapped.halt.is_some()) {
            return Ok(());
        }
        let mut map = OffsetMap::behind(head.pruned);
        for number in head.first_chunk..head.chunks {
            let chunk = chunks.get(&(key(partition), number)).ok_or_else(|| format!("chunk {number} is missing"))?;
            for range in &chunk.ranges {
                map.append(*range).map_err(|wrong| format!("chunk {number}: {wrong:?}"))?;
            }
        }
        for range in &head.ranges {
            map.append(*range).map_err(|wrong| format!("head: {wrong:?}"))?;
        }
        if let Some(((_, left), _)) = chunks.range((key(partition), 0)..(key(partition), head.first_chunk)).next() {
            return Err(format!("chunk {left} is left behind"));
        }
        let mut tail = Tail::new(map, head.extent, head.leader_epoch, head.cursor);
        for batch in self.targets[partition].read(tail.next_read.0) {
            match tail.take(&mapped.plans, &state.producer_ids, &batch.meta()) {
                Found::Before | Found::Own | Found::Marker(_) => {}
                Found::Foreign(at) if cause.is_none() => return Err(format!("the batch at {at} was not planned")),
                Found::Foreign(_) => break,
                Found::Behind { acknowledged, found } => {
                    return Err(format!("the batch at {found} was to be at {acknowledged}"));
                }
            }
        }
        let (extent, map) = (tail.extent, tail.map);
        let truth: Vec<_> =
            self.truth(partition, false).into_iter().filter(|record| record.offset < extent.synced.0).collect();
        let mirror: Vec<_> =
            self.mirror(partition).into_iter().filter(|record| record.offset < extent.next_target.0).collect();
        let pairs = check_copy(&truth, &mirror, true)
            .map_err(|wrong| format!("{wrong} (synced {}, next {})", extent.synced, extent.next_target))?;
        let forward = |at| plain(map.translate(SourceOffset(at), extent, TargetOffset(0)), |to| to.0, |to| to.0);
        let back = |at| plain(map.translate_back(TargetOffset(at), extent, SourceOffset(0)), |to| to.0, |to| to.0);
        let (mut source_start, mut target_start) = (self.sources[partition].batches.first().map_or(0, |b| b.base), 0);
        if let Some(pruned) = map.pruned() {
            let (source, target) = (&self.sources[partition], &self.targets[partition]);
            if pruned.source_end().0 > source.start || pruned.target_end().0 > target.start {
                return Err(format!("{pruned:?} is taken out of the map and still in a log"));
            }
            (source_start, target_start) = (pruned.source_end().0, pruned.target_end().0);
            let (there, here) = (forward(source_start - 1), back(target_start - 1));
            if (there, here) != (Translated::Clamped(target_start), Translated::Clamped(source_start)) {
                return Err(format!("{pruned:?} is taken out of the map and translates to {there:?}, {here:?}"));
            }
        }
        let (synced, next_target) = (extent.synced.0, extent.next_target.0);
        check_map(MapTruth { pairs: &pairs, source_start, synced, target_start, next_target }, forward, back)
    }
}

fn plain<T, S>(found: Translation<T, S>, there: impl Fn(T) -> i64, here: impl Fn(S) -> i64) -> Translated {
    match found {
        Translation::Exact(at) => Translated::Exact(there(at)),
        Translation::Next(at) => Translated::Next(there(at)),
        Translation::End(at) => Translated::End(there(at)),
        Translation::Clamped(at) => Translated::Clamped(there(at)),
        Translation::NotYet(at) => Translated::NotYet(here(at)),
    }
}
