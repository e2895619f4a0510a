//! What stops one partition for good: the others must not notice.

use std::collections::BTreeSet;

use twinlog_core::halt::Halt;
use twinlog_core::io::{Input, LanePartition};
use twinlog_core::lane::Lane;

use super::coordinator::lane_of;
use super::profile::Cause;
use super::source::Kind;
use super::target::Payload;
use super::world::{Event, Origin, World};

impl World {
    /// Which causes stand in the source's log from the start, or come with an append.
    fn bad_kind(&self, partition: usize) -> Option<Kind> {
        match self.cause_of(partition)? {
            Cause::UnknownCodec => Some(Kind::UnknownCodec),
            Cause::TooLarge | Cause::Refused | Cause::Unreadable => Some(Kind::Bad),
            _ => None,
        }
    }

    /// What stops one partition for good comes to pass, once the copy is under way.
    pub(crate) fn bring_about(&mut self) {
        let Some((partition, cause)) = self.profile.cause.filter(|_| !self.quiet) else { return };
        let log = &self.targets[partition];
        let copied: Vec<i64> = log
            .batches
            .iter()
            .filter(|batch| batch.end() <= log.high_watermark)
            .filter_map(|batch| match &batch.payload {
                Payload::Records(content) => content.records.last().map(|record| record.offset),
                _ => None,
            })
            .collect();
        let under_way = copied.len() >= 2;
        let from_the_start = matches!(cause, Cause::NotEmpty) || self.bad_kind(partition).is_some();
        if !under_way && !from_the_start {
            return self.after(50, Event::Cause);
        }
        let wall = self.wall();
        let timestamp = self.timestamp();
        self.note(|_| format!("now: {cause:?}"));
        self.caused = true;
        match cause {
            Cause::ForeignWrite => {
                self.targets[partition].foreign(2, wall);
                // It stays: all replicas have it.
                self.advance_high_watermark(partition, self.targets[partition].generation);
            }
            Cause::TargetTruncated => self.lose_the_end(partition),
            Cause::TargetTrimmed => self.targets[partition].start = self.targets[partition].high_watermark,
            Cause::Gap => self.sources[partition].start = self.sources[partition].high_watermark,
            Cause::SourceTruncated => {
                // Below what the target has, so that history really parts.
                let last = copied[copied.len() - 2];
                let source = &mut self.sources[partition];
                let next = source.batches.iter().map(|batch| batch.base).find(|base| *base > last);
                source.truncate(next.unwrap_or(last + 1));
            }
            Cause::SourceRecreated => self.stop(partition, &Halt::Recreated),
            Cause::TargetRecreated => self.stop(partition, &Halt::TargetRecreated),
            Cause::NotEmpty => {}
            Cause::Unreadable => {
                let source = &mut self.sources[partition];
                source.append(Kind::Bad, 3, -1, timestamp, 300);
                let index = source.batches.len() - 1;
                let first = source.batches[index].base;
                source.clean(index, |record| record.offset != first, false);
            }
            Cause::UnknownCodec | Cause::TooLarge | Cause::Refused => {
                if let Some(kind) = self.bad_kind(partition) {
                    self.sources[partition].append(kind, 2, -1, timestamp, 2_000_000);
                }
            }
        }
        let source = &mut self.sources[partition];
        source.high_watermark = source.end();
    }

    /// An unclean election: acknowledged records are gone.
    fn lose_the_end(&mut self, partition: usize) {
        let log = &self.targets[partition];
        let ends: Vec<i64> =
            log.batches.iter().map(super::target::Batch::end).filter(|end| *end < log.high_watermark).collect();
        let most = if self.rng.chance(700) { 4 } else { ends.len().max(1) };
        let back = self.rng.between(1, most as u64) as usize;
        let Some(keep) = ends.get(ends.len().saturating_sub(back)).copied() else {
            return self.after(50, Event::Cause);
        };
        let last = self.targets[partition].batches.iter().rfind(|batch| matches!(batch.payload, Payload::Records(_)));
        let last = last.filter(|batch| batch.base >= keep).cloned();
        let lost = self.targets[partition].batches.iter().filter(|batch| batch.base >= keep);
        let markers = lost.filter(|batch| matches!(batch.payload, Payload::Marker));
        let lanes: BTreeSet<_> = markers.map(|batch| lane_of(batch.producer.id)).collect();
        self.end_zombies(&lanes);
        self.elect(partition, keep);
        if let Some(last) = last.filter(|_| self.rng.chance(200)) {
            // A broker that has forgotten us takes a late request at the wrong place.
            self.count("records behind a lost end");
            self.targets[partition].append_late(last);
            self.appended(partition);
        }
        if self.rng.chance(400) {
            let again = self.rng.between(1, 4_000);
            self.after(again, Event::Cause);
        }
    }

    /// Named rule `lease`: a former owner whose fence the target has lost is kept from writing by its lease alone, and
    /// instances here have none.
    fn end_zombies(&mut self, lanes: &BTreeSet<usize>) {
        let zombies = self.living().filter(|index| {
            let instance = &self.instances[*index];
            let took_it = instance.lane.as_ref().is_some_and(Lane::is_running);
            took_it && lanes.contains(&instance.number) && self.owner_beside(*index) != Some(*index)
        });
        for zombie in zombies.collect::<Vec<_>>() {
            self.count("zombies kept off by their lease");
            self.end(zombie);
        }
    }

    /// The metadata says so, to whoever lives, and to all later ones by other topic ids.
    fn stop(&mut self, partition: usize, halt: &Halt) {
        match halt {
            Halt::Recreated => self.source_topics[partition] = 2,
            _ => self.target_topics[partition] = 2,
        }
        let living: Vec<_> = self.living().collect();
        for instance in living {
            if self.instances[instance].ids[partition].is_some() {
                let origin = Origin { instance, life: self.instances[instance].life };
                self.deliver(origin, Input::Stop(LanePartition(partition as u32), halt.clone()));
            }
        }
    }
}
