//! Epoch changes and fences of a lane: one transaction at a time, and it never holds data.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use twinlog_wire::error_code::ErrorCode;

use super::{Lane, Stage, Timer, Transaction, forbidden, id};
use crate::ids::{Now, Producer, TargetOffset};
use crate::io::{Failure, FenceOutcome, Member, Output, Over};
use crate::map_state::MapState;

/// Topics in one fence: what one request may add, so that a fence is added whole or not at all.
const FENCE_TOPICS_MAX: usize = 100;

impl Lane {
    /// Begins the next epoch change or fence if one is wanted and none is under way.
    pub(super) fn begin_transaction(&mut self, now: Now) {
        let paused = self.transaction_at > now.mono_ms;
        if !core::mem::take(&mut self.transaction_wanted) || self.transaction != Transaction::None || paused {
            return;
        }
        match self.stage {
            Stage::Taking => self.init(),
            Stage::FencingMap => self.fence(now, alloc::vec![Member::Map]),
            Stage::LoadingMap { .. } | Stage::Over => {}
            Stage::Running => {
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
                    (true, true) if !wanting.is_empty() => self.init(),
                    // It only closes what is open: who asked for a new epoch is not served by a marker of this one.
                    (true, false) => self.commit(self.reachable_open_members()),
                    _ if wanting.is_empty() && self.open_members.is_empty() => {}
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
        let offline = |member: &Member| match member {
            Member::Data(id) => self.partition(*id).is_some_and(|partition| partition.offline().is_some()),
            Member::Map => false,
        };
        self.open_members.iter().copied().filter(|member| !offline(member)).collect()
    }

    /// With a producer already there, only if it is still the newest: an owner that took over meanwhile stays.
    fn init(&mut self) {
        self.transaction = Transaction::Init;
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
        self.commit(members);
    }

    fn commit(&mut self, members: Vec<Member>) {
        let Some(producer) = self.producer else { return };
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
                self.bump = false;
                self.init_waited = false;
                self.fence_unanswered = false;
                self.producer = Some(producer);
                if matches!(self.stage, Stage::Taking) {
                    self.stage = Stage::FencingMap;
                }
                self.transaction_wanted = true;
            }
            // A request of our own that arrived late had opened a transaction again. The coordinator aborted it under
            // an epoch that nobody gets; who takes the lane anew finds the same as after another owner.
            Err(Failure::Code(ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED))
                if self.init_waited && self.fence_unanswered =>
            {
                self.over(Over::Restart("a transaction of the lane was aborted under a newer epoch"));
            }
            Err(Failure::Code(ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED)) => self.over(Over::Lost),
            Err(Failure::Code(ErrorCode::INVALID_PRODUCER_ID_MAPPING)) => {
                self.over(Over::Restart("the target forgot the lane's transactional id"));
            }
            Err(Failure::Code(code)) if forbidden(code) => {
                self.over(Over::Forbidden(code, "InitProducerId with the lane's transactional id"));
            }
            Err(failure) => {
                self.init_waited |=
                    failure == Failure::Code(ErrorCode::CONCURRENT_TRANSACTIONS) && self.producer.is_some();
                self.retry(now, failure, "getting a producer id", Timer::Transaction);
            }
        }
    }

    pub(super) fn fenced(&mut self, now: Now, outcome: FenceOutcome) {
        let Transaction::Fence(members) = core::mem::replace(&mut self.transaction, Transaction::None) else { return };
        let fenced_by_other =
            |code: ErrorCode| matches!(code, ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED);
        match outcome {
            FenceOutcome::Committed => {
                self.transactions_go_on();
                self.open_members.clear();
                self.committed(now, &members);
            }
            FenceOutcome::NotAdded(codes) => {
                if codes.iter().any(|(_, code)| fenced_by_other(*code)) {
                    return self.over(Over::Lost);
                }
                self.not_added(now, &members, &codes);
            }
            FenceOutcome::Failed(Failure::Code(code)) if fenced_by_other(code) => return self.over(Over::Lost),
            FenceOutcome::Failed(Failure::Code(code)) if forbidden(code) => {
                return self.over(Over::Forbidden(code, "a transaction with the lane's transactional id"));
            }
            FenceOutcome::Failed(Failure::Code(ErrorCode::INVALID_PRODUCER_ID_MAPPING)) => {
                return self.over(Over::Restart("the target forgot the lane's transactional id"));
            }
            FenceOutcome::Failed(failure) => {
                self.give_back(now, &members, None);
                self.retry(now, failure, "writing markers", Timer::Transaction);
            }
            FenceOutcome::Unknown => {
                // A marker may or may not come. The same again: it joins the transaction if that is open, and commits
                // it; it waits for the markers if it is ending; it is a new one if all is done.
                self.fence_unanswered = true;
                self.give_back(now, &members, None);
                self.open_members.extend(members.iter().filter(|member| **member != Member::Map));
                self.retry(now, Failure::Lost, "writing markers", Timer::Transaction);
            }
        }
        self.transaction_wanted = true;
    }

    fn committed(&mut self, now: Now, members: &[Member]) {
        let Some(producer) = self.producer else { return };
        for member in members {
            match member {
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
