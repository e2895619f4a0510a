//! The change to a new producer id before the epochs of the old one run out.
//!
//! ```text
//!  None ──due──► Quieting ──all answered, all in the map──► Fencing ──all committed──► Spending ──new id──► begun anew
//!    ▲               │ takes too long                          │ a partition cannot be fenced now
//!    └───────────────┴─────────────────────────────────────────┘
//! ```
//!
//! A broker hands out 32 767 epochs of one id. Then InitProducerId gives another id, whose markers refuse nobody that
//! has the old one. So the old one is made useless first: every partition gets a marker of an epoch under which
//! nothing was ever sent, and nothing is sent any more. Then epochs are asked for until there are none, and the lane
//! is begun again as after any other end: its marker in the map tells everybody of the new id before a mirror sees it.
//! Whoever dies on the way leaves a lane that the next owner takes as always. One that begins among the last epochs has
//! no writer for its map and sends nothing: it fences all under the epoch that it has, and goes on to `Spending`.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use twinlog_wire::error_code::ErrorCode;

use super::moving::spec_of;
use super::{FENCE_TOPICS_MAX, Lane, Timer, forbidden, id};
use crate::ids::{Now, Producer};
use crate::io::{Failure, Member, Over};
use crate::map_state::{MapState, MappedPartition};
use crate::partition::{Partition, Phase};

/// How long the lane may take until all that it sent is answered, and the pause before it is tried again, in ms.
const PATIENCE_MS: u64 = 10_000;

/// How long the last epochs wait for partitions that cannot be fenced, in ms.
const LAST_WAIT_MS: u64 = 60_000;

/// Which epochs of a producer id are for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochLimits {
    /// From this epoch on the id is changed as soon as every partition can be fenced.
    pub change_from: i16,
    /// From this epoch on nothing is sent before the id is changed. Partitions that cannot be fenced are left out after
    /// a minute.
    pub hold_from: i16,
}

impl EpochLimits {
    /// For brokers that hand out the epochs 0 to 32 766 of each id, as Apache Kafka does.
    pub const KAFKA: Self = Self { change_from: 31_766, hold_from: 32_666 };
}

/// How far the change is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is not due, or cannot be made now.
    None,
    /// Nothing more is sent; what is in flight is awaited.
    Quieting { since: u64 },
    /// The old id is fenced by an epoch that nobody sends under.
    Fencing { fenced: BTreeSet<Member> },
    /// The rest of its epochs is used up.
    Spending,
}

impl Lane {
    /// Whether a change of the producer id keeps the lane from sending.
    pub fn is_changing_id(&self) -> bool {
        self.change != Change::None
    }

    /// Whether the map is left as it is: behind the last fence of the old id nothing is written under it.
    pub(super) fn has_left_its_id(&self) -> bool {
        matches!(self.change, Change::Fencing { .. } | Change::Spending)
    }

    pub(super) fn has_reached(&self, epoch: i16) -> bool {
        self.producer.is_some_and(|producer| producer.epoch >= epoch)
    }

    /// Goes on with the change, or begins it; true if the turn is taken.
    pub(super) fn change_id(&mut self, now: Now) -> bool {
        if self.draining {
            self.change = Change::None;
        }
        match &self.change {
            Change::None => {
                if self.is_change_due(now) {
                    self.change = Change::Quieting { since: now.mono_ms };
                }
                false
            }
            Change::Quieting { since } => {
                if now.mono_ms - since > PATIENCE_MS {
                    self.put_change_off(now);
                    self.go_on(now);
                }
                false
            }
            Change::Fencing { .. } | Change::Spending if !self.open_members.is_empty() => {
                self.commit(now, self.open_members.iter().copied().collect());
                true
            }
            Change::Fencing { .. } if !self.bump => {
                let members = self.unfenced_members();
                let offline = members.iter().filter(|member| self.is_offline(member));
                let offline: Vec<_> = offline.map(|member| (*member, ErrorCode::LEADER_NOT_AVAILABLE)).collect();
                if members.is_empty() {
                    self.change = Change::Spending;
                    self.init(now);
                } else if offline.is_empty() {
                    self.commit(now, members);
                } else {
                    self.cannot_be_fenced(now, &offline);
                }
                true
            }
            Change::Fencing { .. } | Change::Spending => {
                self.init(now);
                true
            }
        }
    }

    fn is_change_due(&self, now: Now) -> bool {
        self.has_reached(self.config.epochs.change_from)
            && !self.draining
            && self.open_members.is_empty()
            && now.mono_ms >= self.change_at
            && self.can_be_fenced_whole()
    }

    /// Whether every partition that an older owner may still write to is at hand and can be fenced now. Among the last
    /// epochs all are at hand, and each is tried.
    fn can_be_fenced_whole(&self) -> bool {
        if self.has_reached(self.config.epochs.hold_from) {
            return true;
        }
        let settled = |partition: &Partition| match partition.phase() {
            Phase::Released => true,
            Phase::Active | Phase::Halted(_) | Phase::Probing | Phase::Registering => partition.offline().is_none(),
            _ => false,
        };
        // What was let go of was fenced before, and is no concern of this lane any more.
        let waiting = self.mapped.values().any(MappedPartition::is_held);
        !waiting && self.partitions.iter().all(settled)
    }

    /// What the map says that the lane has and nobody asked to copy, as it is to go to another lane or is no longer
    /// wanted: a former owner may still write to it. One without a head was never written to.
    fn add_held(&mut self, now: Now) {
        let held = self.mapped.iter().filter(|(_, mapped)| mapped.is_held());
        let specs = held.filter_map(|(key, mapped)| Some(spec_of(key.clone(), mapped.head.as_ref()?)));
        for spec in specs.collect::<Vec<_>>() {
            self.add_partition(now, spec);
        }
    }

    /// The map was read by an owner that began among the last epochs. It writes nothing at all, neither records nor the
    /// map: behind the last epoch nobody could fence it. It only fences those before it, and changes the id.
    pub(super) fn loaded_among_last(&mut self, producer: Producer, state: MapState) {
        self.ids_in_map = state.recorded_ids.contains(&producer.id);
        if !self.ids_in_map {
            // No mirror has seen this id, and none will.
            self.change = Change::Spending;
        }
        self.own_ids = state.producer_ids;
        self.mapped = state.partitions;
        self.transaction_wanted = true;
    }

    /// All that was sent is answered and in the map.
    pub(super) fn became_quiet(&mut self, now: Now) {
        if !matches!(self.change, Change::Quieting { .. }) || !self.can_be_fenced_whole() {
            return;
        }
        if self.has_reached(self.config.epochs.hold_from) {
            self.add_held(now);
        }
        self.change = Change::Fencing { fenced: BTreeSet::new() };
        // Without a writer nothing was sent under the present one.
        self.bump = self.writer.is_some();
        self.transaction_wanted = true;
        self.begin_transaction(now);
    }

    /// The next partitions that the old id must be fenced in.
    fn unfenced_members(&self) -> Vec<Member> {
        let Change::Fencing { fenced } = &self.change else { return Vec::new() };
        let mut topics = BTreeSet::new();
        let left = self.partitions.iter().enumerate().filter_map(|(index, partition)| {
            let member = Member::Data(id(index)?);
            (partition.may_be_written_to() && !fenced.contains(&member)).then_some((partition, member))
        });
        left.filter(|(partition, _)| {
            let topic = &partition.spec().target_topic;
            topics.contains(topic) || (topics.len() < FENCE_TOPICS_MAX && topics.insert(topic.clone()))
        })
        .map(|(_, member)| member)
        .collect()
    }

    /// These have a marker of the present epoch, or will have it before the next epoch is handed out.
    pub(super) fn fenced_for_good(&mut self, members: &[Member]) {
        if let Change::Fencing { fenced } = &mut self.change
            && !self.bump
        {
            fenced.extend(members);
        }
    }

    /// These could not be fenced. Among the last epochs they are left out in the end; before, the lane goes on copying
    /// and the change is tried again.
    pub(super) fn cannot_be_fenced(&mut self, now: Now, codes: &[(Member, ErrorCode)]) {
        let last = self.has_reached(self.config.epochs.hold_from);
        let left_out = last && now.mono_ms - self.running_since > LAST_WAIT_MS;
        let failed: Vec<_> = codes.iter().filter(|(_, code)| *code != ErrorCode::OPERATION_NOT_ATTEMPTED).collect();
        for (member, code) in &failed {
            let is_gone = *code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            if is_gone || forbidden(*code) {
                self.open_members.remove(member);
            }
            let Change::Fencing { fenced } = &mut self.change else { continue };
            if left_out || (is_gone && self.partitions.get(number(*member)).is_some_and(Partition::is_halted)) {
                fenced.insert(*member);
            }
        }
        if let Some((_, code)) = failed.first() {
            self.retry(now, Failure::Code(*code), "fencing the used-up producer id", Timer::Transaction);
        }
        let Change::Fencing { fenced } = &self.change else { return };
        if !last && failed.iter().any(|(member, _)| !fenced.contains(member)) {
            self.put_change_off(now);
            // Some may have a marker of a newer epoch than they send under.
            for id in self.ids() {
                self.with(now, id, Partition::fence_anew);
            }
        }
    }

    fn put_change_off(&mut self, now: Now) {
        self.change = Change::None;
        self.change_at = now.mono_ms + PATIENCE_MS;
    }

    /// Partitions send again after the lane stood still.
    pub(super) fn go_on(&mut self, now: Now) {
        for id in self.ids() {
            self.with(now, id, Partition::advance);
        }
    }

    /// The target gave another producer id than the lane has: the epochs are used up, or it forgot the transactional
    /// id. Nothing is sent under the new one before the map knows of it.
    pub(super) fn begin_under(&mut self, producer: Producer) -> bool {
        let changed = self.producer.is_some_and(|own| own.id != producer.id);
        if changed {
            self.over(Over::Restart("it goes on under a new producer id"));
        }
        changed
    }
}

fn number(member: Member) -> usize {
    match member {
        Member::Map => usize::MAX,
        Member::Data(id) => id.0 as usize,
    }
}
