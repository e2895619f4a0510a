//! Somebody who decides how a partition goes on that stopped.

use twinlog_core::io::Input;
use twinlog_core::partition::Phase;
use twinlog_core::resolution::{Exit, Resolution};

use super::mistakes::Mistake;
use super::profile::Cause;
use super::shell::{key, lane_partition};
use super::world::{Event, Origin, World};

/// Before a mirror is emptied, all that was on its way there has come.
const SETTLED_MS: u64 = 6_000;

impl World {
    /// A partition stopped: somebody sees it, soon or late.
    pub(crate) fn call_the_operator(&mut self, partition: usize) {
        if self.profile.operator {
            let delay = SETTLED_MS + self.rng.below(4_000);
            self.after(delay, Event::Decide(partition));
        }
    }

    /// The number of the last decision, or 0.
    pub(crate) fn decided(&self, partition: usize) -> u64 {
        self.resolutions[partition].as_ref().map_or(0, |resolution| resolution.number)
    }

    /// The decision stands in the link's state, under its number.
    pub(crate) fn decide(&mut self, partition: usize) {
        let stopped = self.living().find_map(|index| {
            let lane = self.instances[index].lane.as_ref()?;
            let found = lane.partition(lane.find(&key(partition))?)?;
            let owns = self.owner_beside(index).is_none_or(|owner| owner == index)
                && found.resolved() >= self.decided(partition);
            match found.phase() {
                Phase::Halted(halt) if found.is_halt_said() && owns => Some(halt.name()),
                _ => None,
            }
        });
        let Some(state) = stopped else { return };
        let (exits, number) = (Exit::of(state), self.decided(partition) + 1);
        let exit = self.rng.pick(exits);
        self.note(|_| format!("somebody decides on {partition}, which is {state}: {exit:?}, {number}"));
        self.count(match exit {
            Exit::Retry => "resolved by retry",
            Exit::SkipGap => "resolved by skip-gap",
            Exit::Accept => "resolved by accept",
            Exit::Resync => "resolved by resync",
            Exit::Recreate => "resolved by recreate",
        });
        if exit.begins_anew(state) {
            let log = &mut self.targets[partition];
            self.begun_anew[partition] = log.end();
            if exit != Exit::Accept {
                log.high_watermark = log.end();
                log.start = log.end();
            }
        }
        self.parted |= state == Cause::SourceTruncated.halt() && exit != Exit::Retry;
        let (state, at_ms) = (state.to_owned(), self.wall());
        self.resolutions[partition] = Some(Resolution { number, exit, state, at_ms });
        self.tell_of_the_table();
    }

    /// What an instance hears of the decision, each time when it looks at the state.
    pub(crate) fn hear_the_operator(&mut self, origin: Origin, partition: usize) {
        let Some(resolution) = self.resolutions[partition].clone() else { return };
        let spec = self.spec(partition);
        let instance = &self.instances[origin.instance];
        let lane = instance.lane.as_ref().filter(|_| instance.life == origin.life);
        let found = lane.and_then(|lane| lane.partition(lane.find(&key(partition))?));
        let Some(resolved) = found.map(|found| found.resolved()) else { return };
        let number = match self.mistake {
            Some(Mistake::ResolveAgain) => resolved + 1,
            _ => resolution.number,
        };
        if resolved < number {
            let resolution = Resolution { number, ..resolution };
            self.deliver(origin, Input::Resolve { partition: lane_partition(partition), resolution, spec });
        }
    }
}
