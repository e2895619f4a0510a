//! Looks at a partition twice a second: whether its target can be written to, and whether the copy moves.

use super::{Context, Need, Partition, Phase};
use crate::ids::SourceOffset;
use crate::io::{Event, Offline, Output, WaitsFor};

/// How often it looks, in ms.
pub(crate) const LOOK_MS: u64 = 500;

/// Looks without a move after which a partition counts as stalled: 30 s. Looks are counted and not ms, so that a
/// process that stood still itself does not take that for a stall.
const STALLED_LOOKS: u32 = 60;

/// A target that is offline for no longer than this, in ms, is not worth a word: a leader that moves, a topic that is
/// new.
const SAID_MS: u64 = 2_000;

/// How long the batches of a partition whose target is offline are held, in ms. What was in flight is looked for in the
/// log then, and not sent again.
const HELD_MS: u64 = 3_000;

/// What the watch remembers.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// Why the target cannot be written to, and since when.
    offline: Option<(Offline, u64)>,
    /// Whether somebody was told that it is offline.
    said: bool,
    synced: SourceOffset,
    /// Looks since the copy last moved.
    still: u32,
    /// Whether the lane sent nothing at the last of them, as it waits for what its coordinator says.
    held: bool,
}

impl Partition {
    /// Why nothing can be written to its mirror now.
    pub fn offline(&self) -> Option<Offline> {
        self.watch.offline.map(|(offline, _)| offline)
    }

    /// Why nothing can be written to its mirror from now on.
    pub(crate) fn set_offline(&mut self, now_ms: u64, offline: Option<Offline>) {
        let since = self.watch.offline.map_or(now_ms, |(_, since)| since);
        self.watch.offline = offline.map(|offline| (offline, since));
    }

    /// The target can be written to again: it goes on where it is.
    pub(crate) fn target_is_back(&mut self, context: &mut Context<'_>) {
        self.wake_at = None;
        self.attempt = 0;
        if core::mem::take(&mut self.watch.said) | self.is_stalled() {
            self.goes_on(context);
        }
        self.watch.still = 0;
        // No marker could come meanwhile.
        self.scanning_since = context.now.mono_ms;
        self.take_up(context);
    }

    /// Whether this lane does not go on with it: it stopped, or was let go of.
    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Halted(_) | Phase::Released)
    }

    fn goes_on(&self, context: &mut Context<'_>) {
        if !self.is_over() {
            context.out.push_back(Output::Event(Event::GoesOn(context.id, self.extent.synced)));
        }
    }

    /// Looks at it, every [`LOOK_MS`] while the lane runs.
    pub(crate) fn look(&mut self, context: &mut Context<'_>) {
        if let Some((offline, since)) = self.watch.offline
            && !self.is_over()
        {
            let offline_ms = context.now.mono_ms.saturating_sub(since);
            if offline_ms >= SAID_MS && !core::mem::replace(&mut self.watch.said, true) {
                context.out.push_back(Output::Event(Event::TargetOffline(context.id, offline)));
            }
            if offline_ms >= HELD_MS {
                self.shed_all(context);
            }
        }
        self.give_way(context);
        if self.watch.synced != self.extent.synced || !self.has_more() || context.ending {
            if self.is_stalled() {
                self.goes_on(context);
            }
            (self.watch.synced, self.watch.still, self.watch.held) = (self.extent.synced, 0, false);
            return;
        }
        self.watch.still = self.watch.still.saturating_add(1);
        self.watch.held = context.draining;
        if self.watch.still == STALLED_LOOKS && self.watch.offline.is_none() {
            context.out.push_back(Output::Event(Event::Stalled(context.id, self.waits_for())));
        }
    }

    /// Whether the source has more than what is on the target, as far as it was asked. What lies above the last stable
    /// offset waits for others' transactions.
    fn has_more(&self) -> bool {
        !self.is_over() && self.last_stable.is_none_or(|stable| stable > self.extent.synced)
    }

    /// Whether the source has more and the copy has not moved for 30 s.
    pub fn is_stalled(&self) -> bool {
        self.watch.still >= STALLED_LOOKS
    }

    /// What it waits for, if it does not move.
    pub fn waits_for(&self) -> WaitsFor {
        if let Some(offline) = self.offline() {
            return WaitsFor::TargetOffline(offline);
        }
        if self.watch.held {
            return WaitsFor::Fence;
        }
        match (&self.phase, self.retrying()) {
            (Phase::Unfenced | Phase::Fencing, None) => WaitsFor::Fence,
            (_, Some(retrying)) => WaitsFor::Retrying(retrying),
            (Phase::Probing, None) => WaitsFor::Ends,
            (Phase::Registering | Phase::CuttingBack { .. } | Phase::Parting { .. }, None) => WaitsFor::Map,
            (Phase::Scanning { .. }, None) => WaitsFor::Marker,
            (Phase::Active | Phase::Halted(_) | Phase::Released, None) => match self.outbox.in_flight() {
                _ if self.outbox.is_empty() => WaitsFor::Source,
                0 => WaitsFor::Map,
                _ => WaitsFor::Answer,
            },
        }
    }

    /// Lets go of all batches: the budget is for partitions that move. What of them is on the target is found out when
    /// it can be asked again.
    fn shed_all(&mut self, context: &mut Context<'_>) {
        // Before a halt the source may no longer have it. What is in flight has its answer first.
        let busy = !self.is_quiet() || self.repacking.is_some() || self.halt_next.is_some();
        let Some(front) = self.outbox.front().filter(|_| !busy && self.phase != Phase::Fencing) else { return };
        (self.next_sequence, self.planned) = (front.sequence, None);
        for batch in self.outbox.clear() {
            context.out.push_back(Output::Release(batch.slot));
        }
        (self.fetch_position, self.fetch_epoch) = (self.extent.synced, self.leader_epoch);
        if self.phase == Phase::Active {
            self.phase = Phase::Unfenced;
        }
        context.needs.push((context.id, Need::FenceAnew));
        context.out.push_back(Output::Event(Event::GaveWay(context.id, self.fetch_position)));
    }
}
