//! Mirrors whose partitions have no leader for a while, and what instances know of it: metadata is late both ways.

use twinlog_core::io::{Input, LanePartition, Member, Offline};
use twinlog_core::partition::Phase;
use twinlog_wire::error_code::ErrorCode;

use super::shell::key;
use super::world::{Event, Origin, World};

/// How long a partition may stay without a leader when all other faults are over, in ms. The others are done long
/// before.
const AT_THE_END_MS: u64 = 200_000;

impl World {
    pub(crate) fn lose_a_leader(&mut self) {
        let pause = self.rng.between(1, 2 * self.profile.leaderless_ms);
        self.after(pause, Event::Leaderless);
        let partition = self.rng.index(self.profile.partitions);
        let down = if self.rng.chance(500) { self.rng.between(50, 2_000) } else { self.rng.between(2_000, 12_000) };
        self.count("partitions without a leader");
        self.lose_leader_of(partition, down);
    }

    /// Once the other faults are over: one partition stays without a leader, and the others must not notice.
    pub(crate) fn lose_a_leader_at_the_end(&mut self) {
        if self.profile.leaderless_at_end && self.profile.partitions > 1 {
            let partition = self.rng.index(self.profile.partitions);
            self.lose_leader_of(partition, AT_THE_END_MS);
            // A coordinator that waits for its marker lets no other partition begin before.
            self.quiet_at += AT_THE_END_MS;
            self.after(AT_THE_END_MS - 1, Event::LeaderBack(partition));
        }
    }

    fn lose_leader_of(&mut self, partition: usize, down: u64) {
        let end = self.targets[partition].end();
        self.elect(partition, end);
        let back = self.targets[partition].down_until.max(self.now + down);
        self.targets[partition].down_until = back;
        self.note(|_| format!("{partition} has no leader up to {back}"));
    }

    /// All instances see the metadata as it is now.
    pub(crate) fn metadata_arrives(&mut self) {
        let pause = self.rng.between(1, 1_500);
        self.after(pause, Event::Metadata);
        let living: Vec<_> = self.living().collect();
        for instance in living {
            let origin = Origin { instance, life: self.instances[instance].life };
            for partition in 0..self.profile.partitions {
                let down = self.targets[partition].down_until > self.now;
                let Some(lane) = &self.instances[instance].lane else { break };
                let id = LanePartition(partition as u32);
                let copied = lane.find(&key(partition)).and_then(|id| lane.partition(id));
                let known = copied.is_some_and(|partition| partition.offline().is_some());
                if copied.is_some() && down != known {
                    let offline = self.rng.pick(&[Offline::NoLeader, Offline::Unreachable(1)]);
                    self.deliver(origin, Input::TargetOffline(id, down.then_some(offline)));
                }
            }
        }
    }

    /// What a shell says of a fence before it asks the coordinator, if its metadata is newer than what the lane knows.
    pub(crate) fn leaderless_members(&mut self, lane: usize, members: &[Member]) -> Vec<(Member, ErrorCode)> {
        let down = |member: &Member| match member {
            Member::Data(id) => self.targets[id.0 as usize].down_until > self.now,
            Member::Map => self.targets[self.map_of(lane)].down_until > self.now,
        };
        let without: Vec<_> =
            members.iter().filter(|member| down(member)).map(|one| (*one, ErrorCode::LEADER_NOT_AVAILABLE)).collect();
        if without.is_empty() || self.rng.chance(500) {
            return Vec::new();
        }
        self.count("fences not begun for want of a leader");
        without
    }

    /// Right before a partition gets its leader back long after all other faults: the others are complete.
    pub(crate) fn judge_the_others(&mut self, partition: usize) {
        // Its leader went away between fence and marker: the coordinator refuses every later fence of the lane.
        let held_up = |lane: usize| self.coordinators[lane].is_held_up_by(partition);
        for other in (0..self.profile.partitions).filter(|other| *other != partition) {
            let Some(place) = self.states.table[other].filter(|_| self.cause_of(other).is_none()) else { continue };
            let number = place.lane as usize;
            if let Some(from) = place.from {
                if !held_up(from as usize) && !held_up(number) {
                    return self.fail(format!("{other} is still on its way while {partition} has no leader"));
                }
                continue;
            }
            let Some(owner) = self.coordinators[number].owner else { continue };
            let Some(lane) = &self.instances[owner].lane else { continue };
            if !lane.is_running() {
                if !held_up(number) {
                    return self.fail(format!("lane {number} is not taken while {partition} has no leader"));
                }
                continue;
            }
            let Some(state) = lane.find(&key(other)).and_then(|id| lane.partition(id)) else {
                return self.fail(format!("{other} is not copied while {partition} has no leader"));
            };
            let synced = state.progress().extent.synced.0;
            let stable = self.sources[other].last_stable();
            // A lane that changes its producer id sends nothing before the next one.
            let between = lane.is_changing_id() || matches!(state.phase(), Phase::Unfenced | Phase::Fencing);
            if between && held_up(number) {
                continue;
            }
            if state.phase() != &Phase::Active || synced != stable {
                let phase = state.phase().clone();
                let words = format!("{other} is at {synced} of {stable}, {phase:?}, while {partition} has no leader");
                return self.fail(words);
            }
        }
        let held_up = (0..self.profile.lanes).any(held_up);
        self.count(if held_up { "fences held up by a lost leader" } else { "others complete beside a lost leader" });
    }
}
