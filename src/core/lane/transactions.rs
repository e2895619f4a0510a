//! Epoch changes and fences of a lane: one transaction at a time, and it never holds data.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use twinlog_wire::error_code::ErrorCode;

use super::{FENCE_TOPICS_MAX, Lane, Stage, Timer, Transaction, forbidden, id};
use crate::ids::{Now, Producer, TargetOffset};
use crate::io::{Failure, FenceOutcome, Member, Output, Over};
use crate::map_state::MapState;

/// How long a request that was not answered may take to be carried out, in ms.
const LATE_MS: u64 = 600_000;

/// A fence that took longer may have been aborted under a newer epoch by its coordinator, in ms: it waits for a minute
/// at the least (`transaction.timeout.ms`).
const SLOW_MS: u64 = 50_000;

impl Lane {
    /// Begins the next epoch change or fence if one is wanted and none is under way.
    pub(super) fn begin_transaction(&mut self, now: Now) {
        let paused = self.transaction_at > now.mono_ms;
        if !core::mem::take(&mut self.transaction_wanted) || self.transaction != Transaction::None || paused {
            return;
        }
        match self.stage {
            Stage::Taking => self.init(now),
            Stage::FencingMap => self.fence(now, alloc::vec![Member::Map]),
            Stage::LoadingMap { .. } | Stage::Over => {}
            Stage::Running if self.may_be_unknown(now) && self.open_members.is_empty() => self.ask_anew(now),
            // A keep-alive of which nothing is known is asked about: the map may wait for what the coordinator says.
            Stage::Running if !self.ids_in_map && !self.open_members.is_empty() => {
                self.commit(now, self.reachable_open_members());
            }
            Stage::Running => {
                if self.change_id(now) || !self.ids_in_map {
                    return;
                }
                let wanting = self.partitions.iter().enumerate().filter(|(_, partition)| partition.wants_fence(now));
                let mut topics = BTreeSet::new();
                let wanting: BTreeSet<_> = wanting
                    .filter(|(_, partition)| {
                        let topic = &partition.spec().target_topic;
                        topics.contains(topic) || (topics.len() < FENCE_TOPICS_MAX && topics.insert(topic.clone()))
                    })
                    .filter_map(|(index, _)| Some(Member::Data(id(index)?)))
                    .collect();
                match (self.bump, self.open_members.is_empty()) {
                    (true, true) if !wanting.is_empty() => self.ask_anew(now),
                    // It only closes what is open: who asked for a new epoch is not served by a marker of this one.
                    (true, false) => self.commit(now, self.reachable_open_members()),
                    _ if wanting.is_empty() && self.open_members.is_empty() => drop(self.keep_alive(now)),
                    (_, true) => self.fence(now, wanting.into_iter().collect()),
                    (_, false) => {
                        let open = self.reachable_open_members().into_iter().collect();
                        self.fence(now, wanting.union(&open).copied().collect());
                    }
                }
            }
        }
    }

    /// What may be open, without partitions that have no leader: if such a one is not in the transaction, adding it
    /// would hold up the lane. If it is, the commit alone does as well.
    fn reachable_open_members(&self) -> Vec<Member> {
        self.open_members.iter().copied().filter(|member| !self.is_offline(member)).collect()
    }

    /// Whether the lane was told that a partition has no leader.
    pub(super) fn is_offline(&self, member: &Member) -> bool {
        match member {
            Member::Data(id) => self.partition(*id).is_some_and(|partition| partition.offline().is_some()),
            Member::Map => false,
        }
    }

    /// With a producer already there, only if it is still the newest: an owner that took over meanwhile stays.
    pub(super) fn init(&mut self, now: Now) {
        self.transaction = Transaction::Init;
        self.asked = now;
        self.out.push_back(Output::InitProducerId { current: self.producer });
    }

    fn fence(&mut self, now: Now, members: Vec<Member>) {
        for member in &members {
            if let Member::Data(id) = member
                && let Some(partition) = self.partitions.get_mut(id.0 as usize)
                && partition.wants_fence(now)
            {
                partition.fencing(now);
            }
        }
        self.commit(now, members);
    }

    /// A marker in the map, if there was no transaction for long: the target forgets a transactional id that is not
    /// used, and in the map's partition the producer that refuses former owners. Whether it was asked for.
    fn keep_alive(&mut self, now: Now) -> bool {
        if now.wall_ms - self.heard.wall_ms < self.config.keep_alive_ms {
            return false;
        }
        let Some(producer) = self.producer else { return false };
        // Behind the marker the map takes no lower epoch.
        let ready = self.writer.as_mut().is_some_and(|writer| writer.go_on_as(producer));
        if ready {
            self.commit(now, alloc::vec![Member::Map]);
        }
        ready
    }

    /// Asks for a new epoch. While the coordinator waits for a marker of the last transaction, as a partition may have
    /// lost its leader, it gives none, and what it says does not show that it knows us: now and then it is asked what
    /// does.
    fn ask_anew(&mut self, now: Now) {
        let held_up = self.transaction_failure == Some(Failure::Code(ErrorCode::CONCURRENT_TRANSACTIONS));
        if !(held_up && self.keep_alive(now)) {
            self.init(now);
        }
    }

    pub(super) fn commit(&mut self, now: Now, members: Vec<Member>) {
        let Some(producer) = self.producer else { return };
        self.asked = now;
        self.transaction = Transaction::Fence(members.clone());
        self.out.push_back(Output::Fence { producer, members });
    }

    pub(super) fn producer_id(&mut self, now: Now, result: Result<Producer, Failure>) {
        if self.transaction != Transaction::Init {
            return;
        }
        self.transaction = Transaction::None;
        match result {
            Ok(producer) => {
                self.transactions_go_on();
                // Before anything is sent again: nobody is kept from writing under the old id.
                if self.begin_under(producer) {
                    return;
                }
                self.heard(now);
                self.bump = false;
                self.producer = Some(producer);
                if matches!(self.stage, Stage::Taking) {
                    self.stage = Stage::FencingMap;
                }
                self.transaction_wanted = true;
            }
            Err(Failure::Code(ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED)) => self.superseded(now),
            // The last epoch was handed out and its answer lost: the coordinator does not know what to make of the one
            // before it. Who takes the lane anew gets another id.
            Err(Failure::Code(ErrorCode::UNKNOWN_SERVER_ERROR)) if self.has_reached(self.config.epochs.hold_from) => {
                self.over(Over::Restart("the epochs of its producer id are used up"));
            }
            Err(Failure::Code(ErrorCode::INVALID_PRODUCER_ID_MAPPING)) => {
                self.over(Over::Restart("the target forgot the lane's transactional id"));
            }
            Err(Failure::Code(code)) if forbidden(code) => {
                self.over(Over::Forbidden(code, "InitProducerId with the lane's transactional id"));
            }
            Err(failure) => {
                if failure == Failure::Lost {
                    self.doubtful_until = now.mono_ms + LATE_MS;
                }
                self.retry(now, failure, "getting a producer id", Timer::Transaction);
            }
        }
    }

    pub(super) fn fenced(&mut self, now: Now, outcome: FenceOutcome) {
        let Transaction::Fence(members) = core::mem::replace(&mut self.transaction, Transaction::None) else { return };
        if now.mono_ms.saturating_sub(self.asked.mono_ms) > SLOW_MS {
            self.doubtful_until = now.mono_ms + LATE_MS;
        }
        let fenced_by_other =
            |code: ErrorCode| matches!(code, ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED);
        // The last transaction is not over. All go on together when it is: whoever came later would wait for the
        // markers of the next one, which may be long in coming.
        let held_up = Failure::Code(ErrorCode::CONCURRENT_TRANSACTIONS);
        let outcome = match outcome {
            FenceOutcome::NotAdded(codes) if codes.iter().any(|(_, code)| Failure::Code(*code) == held_up) => {
                FenceOutcome::Failed(held_up)
            }
            outcome => outcome,
        };
        if [FenceOutcome::Failed(held_up), FenceOutcome::Ending].contains(&outcome) {
            // Said to a producer of the newest epoch; by brokers from 4.0 on to another one, too, for the moment in
            // which a transition is on its way to the coordinator's log (KAFKA-18660).
            self.heard(now);
        }
        match outcome {
            FenceOutcome::Committed => {
                self.transactions_go_on();
                self.heard(now);
                self.open_members.clear();
                self.fenced_for_good(&members);
                self.committed(now, &members);
            }
            FenceOutcome::NotAdded(codes) => {
                if codes.iter().any(|(_, code)| *code == ErrorCode::INVALID_PRODUCER_ID_MAPPING) {
                    return self.id_unknown(now, &members);
                }
                if codes.iter().any(|(_, code)| fenced_by_other(*code)) {
                    return self.superseded(now);
                }
                match self.has_left_its_id() {
                    true => self.cannot_be_fenced(now, &codes),
                    false => self.not_added(now, &members, &codes),
                }
            }
            FenceOutcome::Failed(Failure::Code(code)) if fenced_by_other(code) => return self.superseded(now),
            FenceOutcome::Failed(Failure::Code(code)) if forbidden(code) => {
                return self.over(Over::Forbidden(code, "a transaction with the lane's transactional id"));
            }
            FenceOutcome::Failed(Failure::Code(ErrorCode::INVALID_PRODUCER_ID_MAPPING)) => {
                return self.id_unknown(now, &members);
            }
            FenceOutcome::Failed(failure) => {
                self.give_back(now, &members, None);
                self.retry(now, failure, "writing markers", Timer::Transaction);
            }
            FenceOutcome::Ending => {
                self.may_be_open(now, &members, held_up);
            }
            FenceOutcome::Unknown => {
                self.doubtful_until = now.mono_ms + LATE_MS;
                self.may_be_open(now, &members, Failure::Lost);
            }
        }
        self.transaction_wanted = true;
    }

    /// A marker may or may not come. The same again: it joins the transaction if that is open, and commits it; it waits
    /// for the markers if it is ending; it is a new one if all is done.
    fn may_be_open(&mut self, now: Now, members: &[Member], failure: Failure) {
        self.give_back(now, members, None);
        let running = matches!(self.stage, Stage::Running);
        self.open_members.extend(members.iter().filter(|member| running || **member != Member::Map));
        self.retry(now, failure, "writing markers", Timer::Transaction);
    }

    /// The transactional id has another producer id than ours: an owner after us changed it, or the target forgot all
    /// of it. Who asks for an epoch hears which.
    fn id_unknown(&mut self, now: Now, members: &[Member]) {
        if !matches!(self.stage, Stage::Running) {
            return self.over(Over::Restart("the target forgot the lane's transactional id"));
        }
        self.give_back(now, members, None);
        self.init(now);
    }

    /// The coordinator did what it was asked for: since then it has known the lane's transactional id. The answer may
    /// be much younger.
    fn heard(&mut self, now: Now) {
        let stood_still = self.may_be_unknown(now);
        self.heard = self.asked;
        if stood_still && !self.may_be_unknown(now) {
            self.go_on(now);
        }
    }

    fn committed(&mut self, now: Now, members: &[Member]) {
        let Some(producer) = self.producer else { return };
        for member in members {
            match member {
                Member::Map if matches!(self.stage, Stage::Running) => {}
                Member::Map => {
                    let (state, next) = (MapState::default(), TargetOffset(0));
                    self.stage = Stage::LoadingMap { state, next, since: now.mono_ms };
                    self.read_map();
                }
                Member::Data(id) => {
                    self.with(now, *id, |partition, context| partition.fence_committed(context, producer));
                }
            }
        }
    }

    fn not_added(&mut self, now: Now, members: &[Member], codes: &[(Member, ErrorCode)]) {
        let mut open_failure = None;
        for member in members {
            let code = codes.iter().find(|(other, _)| other == member).map(|(_, code)| *code);
            let failure = code.filter(|code| !code.is_ok() && *code != ErrorCode::OPERATION_NOT_ATTEMPTED);
            match member {
                Member::Map => {
                    if let Some(code) = failure.filter(|code| forbidden(*code)) {
                        return self.over(Over::Forbidden(code, "writing to the map topic"));
                    }
                    let failure = failure.unwrap_or(ErrorCode::OPERATION_NOT_ATTEMPTED);
                    self.retry(now, Failure::Code(failure), "writing the map's marker", Timer::Transaction);
                }
                Member::Data(id) => {
                    // Without it the others can still be committed.
                    if failure.is_some_and(|code| code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION || forbidden(code)) {
                        self.open_members.remove(member);
                    }
                    if self.open_members.contains(member) {
                        open_failure = open_failure.or(failure);
                    }
                    self.with(now, *id, |partition, context| {
                        partition.fence_failed(context, failure.map(Failure::Code));
                    });
                }
            }
        }
        // What may be open is committed whether its partition waits or not: the lane itself has to wait.
        if let Some(code) = open_failure {
            self.retry(now, Failure::Code(code), "writing markers", Timer::Transaction);
        }
    }

    fn give_back(&mut self, now: Now, members: &[Member], failure: Option<Failure>) {
        for member in members {
            if let Member::Data(id) = member {
                self.with(now, *id, |partition, context| partition.fence_failed(context, failure));
            }
        }
    }
}
