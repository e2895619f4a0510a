//! A group coordinator as Apache Kafka's, for one group of the classic protocol.
//!
//! Source: `GroupMetadataManager`, `ClassicGroup`. A member that waits for a generation or a plan is not counted dead
//! whatever becomes of its process; a new id that was given out and does not come is waited for; a generation is kept
//! over a move of the coordinator when its plan was brought.

use std::collections::BTreeMap;

use twinlog_core::io::Failure;
use twinlog_core::members::{Answer, Request};
use twinlog_wire::error_code::ErrorCode;

/// Who asked: an instance's life and the number of its question.
pub(super) type From = (usize, u64);

/// An answer on its way.
pub(super) type Reply = (From, Result<Answer, Failure>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Empty,
    /// Until then members may join.
    Preparing(u64),
    /// Until then members may bring or ask for the plan.
    Completing(u64),
    Stable,
}

#[derive(Clone, Debug)]
struct Member {
    word: Vec<u8>,
    session_ms: u64,
    rebalance_ms: u64,
    expires: u64,
    plan: Vec<u8>,
    joining: Option<From>,
    /// Has joined the generation that is being made; its answer may have nobody to go to any more.
    has_joined: bool,
    syncing: Option<From>,
}

#[derive(Clone, Debug, Default)]
struct Group {
    state: State,
    generation: i32,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Ids that were given out, and until when they are waited for.
    promised: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
pub(super) struct Coordinator {
    group: Group,
    kept: Group,
    ids: u64,
    /// Until then it cannot be had; the code says how.
    pub(super) away: Option<(u64, ErrorCode)>,
    /// How long an empty group waits for more members.
    initial_delay_ms: u64,
    replies: Vec<Reply>,
}

fn refusal(code: ErrorCode) -> Result<Answer, Failure> {
    Err(Failure::Code(code))
}

impl Coordinator {
    pub(super) fn new(initial_delay_ms: u64) -> Self {
        Self { initial_delay_ms, ..Self::default() }
    }

    pub(super) fn replies(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.replies)
    }

    /// Another broker takes over: what was not kept is gone, and those who wait are told.
    pub(super) fn moves(&mut self, now: u64, back: u64) {
        self.away = Some((back, ErrorCode::NOT_COORDINATOR));
        for member in self.group.members.values_mut() {
            let waiting = [member.joining.take(), member.syncing.take()];
            self.replies.extend(waiting.into_iter().flatten().map(|from| (from, refusal(ErrorCode::NOT_COORDINATOR))));
        }
        self.group = self.kept.clone();
        for member in self.group.members.values_mut() {
            // It is heard of from when the new one is ready.
            member.expires = back.max(now) + member.session_ms;
        }
    }

    /// Everything that the group was is gone.
    pub(super) fn forgets(&mut self) {
        self.group = Group::default();
        self.kept = Group::default();
    }

    /// When something is due.
    pub(super) fn due(&self) -> Option<u64> {
        let group = &self.group;
        let state = match group.state {
            State::Preparing(until) | State::Completing(until) => Some(until),
            State::Empty | State::Stable => None,
        };
        let silent = group.members.values().filter(|member| member.may_die()).map(|member| member.expires).min();
        let promised = group.promised.values().min().copied();
        let due = [state, silent, promised].into_iter().flatten().min();
        // Nothing happens while nobody is there.
        due.map(|due| self.away.map_or(due, |(until, _)| due.max(until)))
    }

    pub(super) fn tick(&mut self, now: u64) {
        if self.away.is_some_and(|(until, _)| until > now) {
            return;
        }
        self.group.promised.retain(|_, until| *until > now);
        let before = self.group.members.len();
        self.group.members.retain(|_, member| !(member.may_die() && member.expires <= now));
        if self.group.members.len() < before {
            self.shrunk(now);
        }
        match self.group.state {
            State::Preparing(until) => self.complete(now, until <= now),
            State::Completing(until) if until <= now => {
                self.group.members.retain(|_, member| member.syncing.is_some());
                self.shrunk(now);
            }
            _ => {}
        }
    }

    pub(super) fn handle(&mut self, now: u64, from: From, request: &Request) {
        self.tick(now);
        if let Some((until, code)) = self.away {
            if now < until {
                return self.replies.push((from, refusal(code)));
            }
            self.away = None;
        }
        match request {
            Request::Join { member_id, word, session_ms, rebalance_ms } => {
                let times = (*session_ms, *rebalance_ms);
                self.join(now, from, member_id, word, times);
            }
            Request::Sync { member_id, generation, plan } => self.sync(now, from, member_id, *generation, plan),
            Request::Heartbeat { member_id, generation } => {
                let answer = match self.check(member_id, *generation) {
                    Err(code) => refusal(code),
                    Ok(member) => {
                        member.expires = now + member.session_ms;
                        match self.group.state {
                            State::Preparing(_) => refusal(ErrorCode::REBALANCE_IN_PROGRESS),
                            _ => Ok(Answer::Done),
                        }
                    }
                };
                self.replies.push((from, answer));
            }
            Request::Leave { member_id } => {
                self.group.promised.remove(member_id);
                let gone = self.group.members.remove(member_id).is_some();
                let answer = if gone { Ok(Answer::Done) } else { refusal(ErrorCode::UNKNOWN_MEMBER_ID) };
                self.replies.push((from, answer));
                if gone {
                    self.shrunk(now);
                }
                self.complete(now, false);
            }
        }
    }

    fn check(&mut self, member_id: &str, generation: i32) -> Result<&mut Member, ErrorCode> {
        let current = self.group.generation;
        let member = self.group.members.get_mut(member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if generation == current { Ok(member) } else { Err(ErrorCode::ILLEGAL_GENERATION) }
    }

    fn join(&mut self, now: u64, from: From, member_id: &str, word: &[u8], (session_ms, rebalance_ms): (u64, u64)) {
        if member_id.is_empty() {
            self.ids += 1;
            let id = format!("member-{}", self.ids);
            self.group.promised.insert(id.clone(), now + session_ms);
            return self.replies.push((from, Ok(Answer::IdRequired(id))));
        }
        let is_leader = self.group.leader == member_id;
        if let Some(member) = self.group.members.get_mut(member_id) {
            let same = member.word == word;
            let answered = match self.group.state {
                State::Completing(_) => same,
                State::Stable => same && !is_leader,
                State::Preparing(_) | State::Empty => false,
            };
            if answered {
                let answer = self.generation_for(member_id);
                return self.replies.push((from, answer));
            }
            member.word = word.to_vec();
            member.joining = Some(from);
            member.has_joined = true;
        } else if self.group.promised.remove(member_id).is_some() {
            let member = Member {
                word: word.to_vec(),
                session_ms,
                rebalance_ms,
                expires: now + session_ms,
                plan: Vec::new(),
                joining: Some(from),
                has_joined: true,
                syncing: None,
            };
            self.group.members.insert(member_id.to_owned(), member);
        } else {
            return self.replies.push((from, refusal(ErrorCode::UNKNOWN_MEMBER_ID)));
        }
        self.prepare(now);
        self.complete(now, false);
    }

    fn prepare(&mut self, now: u64) {
        let longest = self.group.members.values().map(|member| member.rebalance_ms).max().unwrap_or_default();
        match self.group.state {
            State::Preparing(_) => return,
            State::Empty => self.group.state = State::Preparing(now + longest.min(self.initial_delay_ms)),
            State::Completing(_) | State::Stable => self.group.state = State::Preparing(now + longest),
        }
        for member in self.group.members.values_mut() {
            if let Some(from) = member.syncing.take() {
                self.replies.push((from, refusal(ErrorCode::REBALANCE_IN_PROGRESS)));
            }
        }
    }

    fn complete(&mut self, now: u64, in_any_case: bool) {
        let State::Preparing(_) = self.group.state else { return };
        let all = self.group.members.values().all(|member| member.has_joined) && self.group.promised.is_empty();
        // An empty group waits for its time.
        let waits = self.group.generation == 0 && self.initial_delay_ms > 0;
        if !(in_any_case || (all && !waits)) {
            return;
        }
        self.group.members.retain(|_, member| member.has_joined);
        self.group.generation += 1;
        if self.group.members.is_empty() {
            self.group.state = State::Empty;
            self.kept = self.group.clone();
            return;
        }
        if !self.group.members.contains_key(&self.group.leader) {
            self.group.leader = self.group.members.keys().next().unwrap().clone();
        }
        let longest = self.group.members.values().map(|member| member.rebalance_ms).max().unwrap_or_default();
        self.group.state = State::Completing(now + longest);
        let ids: Vec<String> = self.group.members.keys().cloned().collect();
        for id in ids {
            let answer = self.generation_for(&id);
            let member = self.group.members.get_mut(&id).unwrap();
            member.has_joined = false;
            member.plan.clear();
            member.expires = now + member.session_ms;
            if let Some(from) = member.joining.take() {
                self.replies.push((from, answer));
            }
        }
    }

    fn generation_for(&self, member_id: &str) -> Result<Answer, Failure> {
        let group = &self.group;
        let members = match group.leader == member_id {
            true => group.members.iter().map(|(id, member)| (id.clone(), member.word.clone())).collect(),
            false => Vec::new(),
        };
        let (leader, member_id) = (group.leader.clone(), member_id.to_owned());
        Ok(Answer::Joined { generation: group.generation, member_id, leader, members })
    }

    fn sync(&mut self, now: u64, from: From, member_id: &str, generation: i32, plan: &[(String, Vec<u8>)]) {
        let state = self.group.state;
        let is_leader = self.group.leader == member_id;
        let member = match self.check(member_id, generation) {
            Ok(member) => member,
            Err(code) => return self.replies.push((from, refusal(code))),
        };
        match state {
            State::Empty => self.replies.push((from, refusal(ErrorCode::UNKNOWN_MEMBER_ID))),
            State::Preparing(_) => self.replies.push((from, refusal(ErrorCode::REBALANCE_IN_PROGRESS))),
            State::Stable => {
                member.expires = now + member.session_ms;
                let plan = member.plan.clone();
                self.replies.push((from, Ok(Answer::Synced(plan))));
            }
            State::Completing(_) => {
                member.syncing = Some(from);
                if !is_leader {
                    return;
                }
                for (id, part) in plan {
                    if let Some(member) = self.group.members.get_mut(id) {
                        member.plan.clone_from(part);
                    }
                }
                self.group.state = State::Stable;
                for member in self.group.members.values_mut() {
                    if let Some(from) = member.syncing.take() {
                        member.expires = now + member.session_ms;
                        self.replies.push((from, Ok(Answer::Synced(member.plan.clone()))));
                    }
                }
                self.kept = self.group.clone();
                self.kept.promised.clear();
            }
        }
    }

    /// Members are gone.
    fn shrunk(&mut self, now: u64) {
        if self.group.members.is_empty() {
            if self.group.state != State::Empty {
                self.group.generation += 1;
                self.group.state = State::Empty;
                self.kept = self.group.clone();
            }
            return;
        }
        self.prepare(now);
        self.complete(now, false);
    }
}

impl Member {
    /// Whoever waits for an answer is not expected to send heartbeats.
    fn may_die(&self) -> bool {
        !self.has_joined && self.syncing.is_none()
    }
}
