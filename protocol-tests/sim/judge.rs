//! What must hold at every step of a world, whatever the end looks like.

use std::collections::{BTreeMap, BTreeSet};

use twinlog_core::halt::Halt;
use twinlog_core::ids::Producer;
use twinlog_core::io::{Event as LaneEvent, Member, Output};
use twinlog_core::lane::Lane;
use twinlog_core::map_record::{Head, MapRecord, Plan};
use twinlog_core::map_state::MappedPartition;
use twinlog_core::moves::true_one;
use twinlog_core::outbox::IN_FLIGHT_MAX;
use twinlog_core::sequence;

use super::mistakes::Mistake;
use super::profile::Cause;
use super::shell::key;
use super::target::{Batch, KeyValue, Payload};
use super::world::{Call, Origin, Target, World};
use crate::checker::{Expect, SourceRecord, check_copy};

/// What the judge has seen.
#[derive(Debug)]
pub(crate) struct Judge {
    /// Plans of each partition, each with the end of the map when it was written.
    plans: Vec<Vec<(i64, Plan)>>,
    /// Markers in each partition's log.
    markers: Vec<BTreeSet<(i64, i16)>>,
    /// Which slot a life sent under which sequence.
    sequences: BTreeMap<(u64, usize, Producer, i32), u64>,
    /// The last epoch of each producer id that anything was sent under, by partition.
    sent: BTreeMap<(usize, i64), i16>,
}

impl Judge {
    pub(crate) fn new(partitions: usize, lanes: usize) -> Self {
        Self {
            plans: vec![Vec::new(); partitions],
            markers: vec![BTreeSet::new(); partitions + lanes],
            sequences: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    pub(crate) fn marked(&mut self, partition: usize, producer: Producer) {
        self.markers[partition].insert((producer.id, producer.epoch));
    }

    /// What was given a sequence was not sent.
    pub(crate) fn held_back(&mut self, life: u64, partition: usize, call: &Call) {
        if let Call::Produce { producer, sequence, .. } = call {
            self.sequences.remove(&(life, partition, *producer, *sequence));
        }
    }

    fn planned(&self, partition: usize, producer: Producer, at: i32, map_end: i64) -> Option<i64> {
        self.plans[partition]
            .iter()
            .rev()
            .filter(|(end, plan)| *end <= map_end && plan.producer == producer)
            .find_map(|(_, plan)| Some(plan.source_start.plus(sequence::ahead(plan.sequence, at)?).0))
    }
}

impl World {
    pub(crate) fn judge_map_write(&mut self, records: &[KeyValue], end: i64) {
        for (key, value) in records {
            match MapRecord::decode(key, value.as_deref()) {
                Ok(Some(MapRecord::Plans(_, plans))) => {
                    for (key, plan) in plans.entries {
                        self.judge.plans[key.partition as usize].push((end, plan));
                    }
                }
                Ok(Some(MapRecord::Chunk(..))) => self.count("chunks written"),
                Ok(Some(MapRecord::ChunkGone(..))) => self.count("chunks taken out"),
                Ok(Some(MapRecord::PlansGone(_))) => self.count("plans taken out"),
                Ok(_) => {}
                Err(bad) => self.fail(format!("a map record that cannot be read: {bad:?}")),
            }
        }
    }

    /// Up to where the map knows a mirror.
    pub(crate) fn known_target_end(&self, partition: usize) -> i64 {
        self.known_head(partition).map_or(0, |head| head.extent.next_target.0)
    }

    /// The newest head in the maps: that of the lane that the partition came to last, as far as there is one.
    pub(crate) fn known_head(&self, partition: usize) -> Option<Head> {
        let lanes: Vec<_> = (0..self.profile.lanes).map(|lane| self.read_map_of(lane).0).collect();
        let all = lanes.iter().filter_map(|state| Some(((), state.partitions.get(&key(partition))?)));
        true_one(all)?.1.head.clone()
    }

    pub(crate) fn judge_output(&mut self, origin: Origin, lane: &Lane, output: &Output) {
        match output {
            Output::Send { partition, slot, attempt, producer, sequence } => {
                self.judge_send(origin, partition.0 as usize, slot.0, *attempt, *producer, *sequence);
            }
            Output::Event(LaneEvent::Released(..)) => self.count("partitions let go of"),
            Output::Event(LaneEvent::Adopted(_)) => self.count("partitions adopted"),
            Output::Event(LaneEvent::Forgotten(_)) => self.count("partitions forgotten"),
            Output::Fence { members, .. } if lane.is_running() && members[..] == [Member::Map] => {
                self.count("keep-alives")
            }
            Output::Event(LaneEvent::Resolving(_)) => self.count("resolves"),
            Output::Event(LaneEvent::CutBack { partition, .. }) => {
                self.count("copies cut back");
                let partition = partition.0 as usize;
                if self.states.table[partition].is_some_and(|place| place.number > 0) {
                    self.count("copies cut back that were in another lane");
                }
                let lost = self.caused && self.cause_of(partition) == Some(Cause::TargetTruncated);
                if !lost && self.owner_beside(origin.instance) == Some(origin.instance) {
                    self.fail(format!("partition {partition} is cut back and lost nothing"));
                }
            }
            Output::ReadMap { .. } if lane.is_running() => self.count("chunks read again"),
            Output::Event(LaneEvent::TargetOffline(..)) => self.count("target-offline"),
            Output::Event(LaneEvent::Stalled(partition, waits_for)) => {
                let number = partition.0 as usize;
                let Some(copied) = lane.find(&key(number)).and_then(|id| lane.partition(id)) else { return };
                let progress = copied.progress();
                let stable = self.sources[number].last_stable();
                let more = progress.last_stable.is_none() || progress.extent.synced.0 < stable;
                // While it is not fetched, nobody tells it that the source has taken something back.
                let taken_back = self.cause_of(number) == Some(Cause::SourceTruncated);
                if !more && !taken_back && self.owner_beside(origin.instance) == Some(origin.instance) {
                    self.fail(format!(
                        "{number} is called stalled, waiting for {waits_for:?}, and has all up to {stable}"
                    ));
                }
                self.count("stalled");
            }
            Output::Event(LaneEvent::Resolved(partition, _)) => {
                let partition = partition.0 as usize;
                if self.resolutions[partition].is_none() && !self.profile.skips_gaps {
                    self.fail(format!("partition {partition} goes on and nobody decided so"));
                }
            }
            Output::Event(LaneEvent::GaveWay(..)) => self.count("partitions that give way"),
            Output::Event(LaneEvent::Halted(partition, halt)) => {
                let (partition, name) = (partition.0 as usize, halt.name());
                let cause = self.cause_of(partition).filter(|_| self.caused || self.profile.existing > 0);
                let expected = cause.is_some_and(|cause| cause.halt() == name);
                // A zombie sees the new owner's work as somebody else's, and must not say so.
                if !expected {
                    self.fail(format!("partition {partition} stops without a cause: {name}: {halt}"));
                }
                self.count(name);
                self.call_the_operator(partition);
                // What is only cut off can be copied again: only what stands in a wrong place is an excuse.
                let behind = self.coverage.contains_key("records behind a lost end");
                if expected && matches!(halt, Halt::TargetTruncated { .. }) && !behind {
                    let whole: Vec<_> = self.mirror_to(partition, i64::MAX);
                    if check_copy(&self.truth(partition, false), &whole, false).is_ok() {
                        self.fail(format!("partition {partition} stops though only its end is gone: {halt}"));
                    }
                }
                if let Halt::Unsupported { offset, .. } | Halt::Unreadable { offset, .. } = halt {
                    let id = self.instances[origin.instance].ids[partition];
                    let synced = id.and_then(|id| lane.partition(id)).map(|one| one.progress().extent.synced);
                    let synced = synced.unwrap_or_default();
                    let skips = |record: &SourceRecord| (synced.0..offset.0).contains(&record.offset);
                    let truth = self.truth(partition, false);
                    if let Some(left) = truth.iter().find(|record| record.expect == Expect::Required && skips(record)) {
                        let at = left.offset;
                        self.fail(format!("partition {partition} stops at {offset} before {at} is copied"));
                    }
                }
            }
            _ => {}
        }
    }

    /// The epochs of an id are used up: whoever still has one of them must be refused everywhere, as no marker of the
    /// new id will do it.
    pub(crate) fn judge_new_id(&mut self, lane: usize, old: i64) {
        self.count("producer ids used up");
        let (state, _) = self.read_map_of(lane);
        for partition in 0..self.profile.partitions {
            // The last epochs do not wait for ever for a partition without a leader.
            if self.cause_of(partition).is_some() || self.targets[partition].down_until > self.now {
                continue;
            }
            let marked = |batch: &&Batch| matches!(batch.payload, Payload::Marker) && batch.producer.id == old;
            let fenced = self.targets[partition].batches.iter().filter(marked).map(|batch| batch.producer.epoch).max();
            let sent = self.judge.sent.get(&(partition, old)).copied();
            // What the lane let go of under an epoch needs no marker of a newer one.
            let held = state.partitions.get(&key(partition)).is_some_and(MappedPartition::is_held);
            if sent.is_some() && if held { fenced <= sent } else { fenced < sent } {
                self.fail(format!("{old} is used up; {partition} was written to under {sent:?}, fenced by {fenced:?}"));
            }
        }
    }

    fn judge_send(
        &mut self,
        origin: Origin,
        partition: usize,
        slot: u64,
        attempt: u32,
        producer: Producer,
        sequence: i32,
    ) {
        let Some(content) = self.instances[origin.instance].slots.get(&slot).cloned() else {
            return self.fail(format!("slot {slot} is sent and was let go"));
        };
        let old = |timestamp: i64| timestamp < self.wall() - self.profile.expiration_ms / 2;
        let is_old = old(content.max_timestamp);
        let flying = self.pending.values().filter_map(|pending| match pending.target {
            Target::Data { partition: of, slot, .. } if of == partition && pending.origin == origin => Some(slot),
            _ => None,
        });
        let flying: Vec<u64> = flying.collect();
        // The mistake about old batches shall be found by what it does to the log.
        let judged = self.mistake != Some(Mistake::ResendOld);
        if judged && (flying.len() >= IN_FLIGHT_MAX || (is_old && !flying.is_empty())) {
            return self.fail(format!("{} in flight in {partition}, and another one (old: {is_old})", flying.len()));
        }
        // What a broker may have forgotten it takes anywhere.
        let log = &self.targets[partition];
        let forgotten = log.is_about_to_forget(producer.id, self.wall(), self.profile.expiration_ms);
        if judged && forgotten && !flying.is_empty() && self.cause_of(partition).is_none() {
            return self.fail(format!("two batches in flight in {partition}, whose broker forgets the producer"));
        }
        if is_old {
            self.count("old batches");
        }
        if attempt > 1 {
            self.count("resends");
        }
        if !self.judge.markers[partition].contains(&(producer.id, producer.epoch)) {
            return self.fail(format!("{partition} is written to before its marker of {producer:?}"));
        }
        let map_end = self.targets[self.map(origin)].high_watermark;
        for (index, record) in content.records.iter().enumerate() {
            let at = sequence::advance(sequence, index as u64);
            let planned = self.judge.planned(partition, producer, at, map_end);
            if planned != Some(record.offset) {
                let offset = record.offset;
                return self.fail(format!("{partition}: offset {offset} is sent as {at}, planned is {planned:?}"));
            }
        }
        if let Some(last) = content.records.last()
            && last.offset >= self.sources[partition].last_stable()
            && self.cause_of(partition).is_none()
        {
            return self.fail(format!("{partition}: offset {} is not stable yet", last.offset));
        }
        let sent = self.judge.sent.entry((partition, producer.id)).or_insert(producer.epoch);
        *sent = producer.epoch.max(*sent);
        let known = self.judge.sequences.insert((origin.life, partition, producer, sequence), slot);
        if known.is_some_and(|known| known != slot) {
            self.fail(format!("{partition}: sequence {sequence} of {producer:?} is given to two batches"));
        }
    }
}
