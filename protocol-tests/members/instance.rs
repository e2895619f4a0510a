//! One life of one instance: the membership that ships, its clock, and the lanes that it writes.

use std::collections::{BTreeMap, BTreeSet};

use twinlog_core::io::Failure;
use twinlog_core::members::{Answer, Input, MembersConfig, Membership, Output};

pub(super) struct Instance {
    pub(super) membership: Membership,
    /// Lanes that it would write if its lease holds, and until when those that it drains are written.
    pub(super) writes: BTreeMap<u32, Option<u64>>,
    /// Questions without an answer.
    pub(super) open: BTreeSet<u64>,
    pub(super) is_alive: bool,
    /// Nothing of it goes on until then.
    pub(super) asleep_until: u64,
    /// Nothing goes to it or comes from it until then.
    pub(super) cut_until: u64,
    /// It leaves when its lanes are drained.
    pub(super) leaves: bool,
    pub(super) was_member: bool,
    /// By how much its clock is behind: 0, unless it is one that stops while the machine sleeps.
    pub(super) behind_ms: u64,
    /// When it looks at its timers next.
    pub(super) wakes_at: Option<u64>,
    /// Lanes that were its own and changed hands, counted since it was last asked.
    pub(super) changes: u64,
}

impl Instance {
    pub(super) fn new(config: MembersConfig, lanes: u32, now: u64) -> Self {
        Self {
            membership: Membership::new(config, lanes, now),
            writes: BTreeMap::new(),
            open: BTreeSet::new(),
            is_alive: true,
            asleep_until: 0,
            cut_until: 0,
            leaves: false,
            was_member: false,
            behind_ms: 0,
            wakes_at: None,
            changes: 0,
        }
    }

    pub(super) fn clock(&self, now: u64) -> u64 {
        now - self.behind_ms
    }

    pub(super) fn lease_holds(&self, now: u64) -> bool {
        self.is_alive && self.clock(now) < self.membership.lease_until()
    }

    pub(super) fn answer(&mut self, now: u64, question: u64, result: Result<Answer, Failure>) {
        if self.open.remove(&question) {
            let now = self.clock(now);
            self.membership.handle(now, Input::Answer(question, result));
        }
    }

    pub(super) fn output(&mut self) -> Option<Output> {
        self.membership.poll_output()
    }
}
