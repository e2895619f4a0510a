//! A group of the classic protocol: members, generations, committed offsets.
//!
//! ```text
//! Empty ── join ──► Joining ── all (or those in time) are there ──► Syncing ── the leader's plan ──► Stable
//!   ▲                  ▲─────────── join, leave, a member that is silent ─────────────┴────────────────┘
//!   └── the last member is gone
//! ```
//! Source: `ClassicGroup`, `GroupMetadataManager`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use twinlog_wire::error_code::ErrorCode;

/// A topic's name and a partition.
pub(crate) type At = (String, i32);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Empty,
    Joining,
    Syncing,
    Stable,
}

impl State {
    /// The name in DescribeGroups and ListGroups.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Joining => "PreparingRebalance",
            Self::Syncing => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) session_timeout_ms: u64,
    pub(crate) rebalance_timeout_ms: u64,
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) assignment: Bytes,
    has_joined: bool,
    expires_ms: u64,
}

/// What a member asks to join with.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) session_timeout_ms: u64,
    pub(crate) rebalance_timeout_ms: u64,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<(String, Bytes)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) state: State,
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) members: BTreeMap<String, Member>,
    /// Ids that were given out and not used yet.
    promised: BTreeSet<String>,
    joining_until_ms: u64,
    offsets: BTreeMap<At, Committed>,
    /// Offsets of open transactions, by producer id.
    pending: BTreeMap<i64, BTreeMap<At, Committed>>,
}

impl Group {
    /// An id for a member that must come back with it (KIP-394).
    pub(crate) fn promise(&mut self, member_id: &str) {
        self.promised.insert(member_id.to_owned());
    }

    /// Takes a member in, or takes note that it is there again. `initial_delay_ms` is how long an empty group waits
    /// for others.
    pub(crate) fn join(
        &mut self,
        member_id: &str,
        joining: Joining,
        initial_delay_ms: u64,
        now_ms: u64,
    ) -> Result<(), ErrorCode> {
        if !self.members.is_empty() && (self.protocol_type != joining.protocol_type || !self.shares(&joining)) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let replaced = joining.instance.as_ref().and_then(|instance| self.instance(instance));
        if let Some(replaced) = replaced.filter(|replaced| replaced != member_id) {
            // A static member is back under a new id: its former self is fenced (KIP-345).
            self.members.remove(&replaced);
        }
        self.promised.remove(member_id);
        let was_empty = self.members.is_empty();
        let expires_ms = now_ms + joining.session_timeout_ms;
        self.protocol_type = joining.protocol_type;
        let member = Member {
            instance: joining.instance,
            client_id: joining.client_id,
            session_timeout_ms: joining.session_timeout_ms,
            rebalance_timeout_ms: joining.rebalance_timeout_ms,
            protocols: joining.protocols,
            assignment: Bytes::new(),
            has_joined: true,
            expires_ms,
        };
        self.members.insert(member_id.to_owned(), member);
        self.rebalance(now_ms);
        if was_empty {
            self.joining_until_ms = now_ms + initial_delay_ms;
        } else {
            self.complete_join(now_ms);
        }
        Ok(())
    }

    /// Everybody must join again.
    fn rebalance(&mut self, now_ms: u64) {
        if self.state == State::Joining {
            return;
        }
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or_default();
        self.joining_until_ms = now_ms + longest;
        self.state = State::Joining;
    }

    fn complete_join(&mut self, now_ms: u64) {
        let all_there = self.members.values().all(|member| member.has_joined);
        if self.state != State::Joining || !(all_there || now_ms >= self.joining_until_ms) {
            return;
        }
        self.members.retain(|_, member| member.has_joined);
        if self.members.is_empty() {
            self.state = State::Empty;
            return;
        }
        self.generation = self.generation.wrapping_add(1).max(1);
        self.state = State::Syncing;
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        self.protocol = self.common_protocol().unwrap_or_default();
        for member in self.members.values_mut() {
            member.has_joined = false;
            member.assignment = Bytes::new();
            member.expires_ms = now_ms + member.session_timeout_ms;
        }
    }

    /// The generation that a member has joined; none while others are awaited.
    pub(crate) fn joined(&self, member_id: &str) -> Result<bool, ErrorCode> {
        let member = self.members.get(member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        Ok(self.state != State::Joining && !member.has_joined)
    }

    /// The leader's plan, or a follower that waits for it.
    pub(crate) fn sync(
        &mut self,
        member_id: &str,
        generation: i32,
        plan: Vec<(String, Bytes)>,
        now_ms: u64,
    ) -> Result<(), ErrorCode> {
        self.check_member(member_id, generation)?;
        if self.state == State::Joining {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.seen(member_id, now_ms);
        if self.state == State::Syncing && self.leader == member_id {
            for (member, assignment) in plan {
                if let Some(member) = self.members.get_mut(&member) {
                    member.assignment = assignment;
                }
            }
            self.state = State::Stable;
        }
        Ok(())
    }

    /// A member's assignment; none while the leader's plan is awaited.
    pub(crate) fn synced(&self, member_id: &str, generation: i32) -> Result<Option<Bytes>, ErrorCode> {
        self.check_member(member_id, generation)?;
        match self.state {
            State::Stable => Ok(self.members.get(member_id).map(|member| member.assignment.clone())),
            State::Syncing => Ok(None),
            State::Joining | State::Empty => Err(ErrorCode::REBALANCE_IN_PROGRESS),
        }
    }

    pub(crate) fn heartbeat(&mut self, member_id: &str, generation: i32, now_ms: u64) -> Result<(), ErrorCode> {
        self.check_member(member_id, generation)?;
        self.seen(member_id, now_ms);
        if self.state == State::Joining { Err(ErrorCode::REBALANCE_IN_PROGRESS) } else { Ok(()) }
    }

    pub(crate) fn leave(&mut self, member_id: &str, instance: Option<&str>, now_ms: u64) -> Result<String, ErrorCode> {
        let by_instance = instance.and_then(|instance| self.instance(instance));
        let id = match (by_instance, member_id) {
            (Some(id), "") => id,
            (Some(id), asked) if id != asked => return Err(ErrorCode::FENCED_INSTANCE_ID),
            (_, asked) => asked.to_owned(),
        };
        if self.promised.remove(&id) {
            return Ok(id);
        }
        self.members.remove(&id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        self.shrunk(now_ms);
        Ok(id)
    }

    fn shrunk(&mut self, now_ms: u64) {
        if self.members.is_empty() {
            self.state = State::Empty;
            // The generation goes on counting: a member of the former one must not come back unseen.
            self.generation = self.generation.wrapping_add(1);
            return;
        }
        self.rebalance(now_ms);
        self.complete_join(now_ms);
    }

    /// Members that were silent for too long are gone; those who did not join in time, too.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        let before = self.members.len();
        self.members.retain(|_, member| member.has_joined || member.expires_ms > now_ms);
        if self.members.len() < before {
            self.shrunk(now_ms);
        }
        self.complete_join_in_time(now_ms);
    }

    fn complete_join_in_time(&mut self, now_ms: u64) {
        if self.state == State::Joining && now_ms >= self.joining_until_ms {
            self.complete_join(now_ms);
        }
    }

    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let joining = (self.state == State::Joining).then_some(self.joining_until_ms);
        let waits = |member: &&Member| !member.has_joined;
        let expiring = self.members.values().filter(waits).map(|member| member.expires_ms).min();
        joining.into_iter().chain(expiring).min()
    }

    /// Whether a commit of this member, or of nobody (generation -1), is taken.
    pub(crate) fn check_commit(&mut self, member_id: &str, generation: i32, now_ms: u64) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation < 0 {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.check_member(member_id, generation)?;
        self.seen(member_id, now_ms);
        if self.state == State::Syncing { Err(ErrorCode::REBALANCE_IN_PROGRESS) } else { Ok(()) }
    }

    /// As [`check_commit`](Self::check_commit) for a transaction, which looks only at what it was told (KIP-447).
    pub(crate) fn check_transactional(&self, member_id: &str, generation: i32) -> Result<(), ErrorCode> {
        if generation < 0 && member_id.is_empty() { Ok(()) } else { self.check_member(member_id, generation) }
    }

    pub(crate) fn commit(&mut self, at: At, committed: Committed) {
        self.offsets.insert(at, committed);
    }

    pub(crate) fn commit_later(&mut self, producer_id: i64, at: At, committed: Committed) {
        self.pending.entry(producer_id).or_default().insert(at, committed);
    }

    /// A transaction has ended.
    pub(crate) fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        let pending = self.pending.remove(&producer_id).unwrap_or_default();
        if commit {
            self.offsets.extend(pending);
        }
    }

    pub(crate) fn is_pending(&self, at: &At) -> bool {
        self.pending.values().any(|pending| pending.contains_key(at))
    }

    pub(crate) fn committed(&self, at: &At) -> Option<&Committed> {
        self.offsets.get(at)
    }

    pub(crate) fn all_committed(&self) -> impl Iterator<Item = (&At, &Committed)> {
        self.offsets.iter()
    }

    /// The offsets of a topic that is gone go with it.
    pub(crate) fn forget_topic(&mut self, topic: &str) {
        self.offsets.retain(|(name, _), _| name != topic);
    }

    fn check_member(&self, member_id: &str, generation: i32) -> Result<(), ErrorCode> {
        if !self.members.contains_key(member_id) {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if self.generation != generation { Err(ErrorCode::ILLEGAL_GENERATION) } else { Ok(()) }
    }

    /// Whether the id was given out, to a member or to one that is about to join.
    pub(crate) fn knows(&self, member_id: &str) -> bool {
        self.members.contains_key(member_id) || self.promised.contains(member_id)
    }

    fn instance(&self, instance: &str) -> Option<String> {
        let found = self.members.iter().find(|(_, member)| member.instance.as_deref() == Some(instance));
        found.map(|(id, _)| id.clone())
    }

    fn seen(&mut self, member_id: &str, now_ms: u64) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.expires_ms = now_ms + member.session_timeout_ms;
        }
    }

    fn shares(&self, joining: &Joining) -> bool {
        let mut offered = joining.protocols.iter().map(|(name, _)| name);
        offered.any(|name| self.members.values().all(|member| member.offers(name)))
    }

    /// The first of the leader's protocols that all members know.
    fn common_protocol(&self) -> Option<String> {
        let leader = self.members.get(&self.leader)?;
        let common = |name: &&String| self.members.values().all(|member| member.offers(name));
        leader.protocols.iter().map(|(name, _)| name).find(common).cloned()
    }
}

impl Member {
    fn offers(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// What the member said of itself for this protocol.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }
}
