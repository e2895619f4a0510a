//! Members of a classic group: what proves that one is still in it.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, sleep};

use crate::ask::words;
use crate::peer::{Peer, Verdict, until};

/// Sessions to try with, until one is longer than this machine's pauses.
const SESSIONS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(16)];
/// Of a member that was given an id and has not joined yet.
const PENDING: Duration = Duration::from_secs(60);
/// Nobody in these cases is thrown out by it.
const REBALANCE: Duration = Duration::from_secs(30);
/// Between two heartbeats.
const PAUSE: Duration = Duration::from_millis(50);
const UNKNOWN_MEMBER_ID: i16 = 25;
const ILLEGAL_GENERATION: i16 = 22;
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

/// A group, and whether the case of it had the time that it needs.
struct Group {
    peer: Peer,
    name: String,
    session: Duration,
    /// A pause that was no part of the case was half as long as the session: the machine was too busy. Kafka may count
    /// a member out whose sign of life comes just when its session is over, though it answers as if it did not.
    too_slow: Cell<bool>,
}

impl Group {
    /// Runs a case with the first session that is longer than the pauses of a busy machine.
    async fn case(peer: Peer, name: &str, case: impl AsyncFn(&Self) -> Verdict) -> Verdict {
        let mut verdict = Ok(());
        for session in SESSIONS {
            let name = format!("{name}-{}", session.as_secs());
            let group = Self { peer: peer.apart(), name, session, too_slow: Cell::new(false) };
            verdict = case(&group).await;
            if verdict.is_ok() || !group.too_slow.get() {
                break;
            }
        }
        verdict
    }

    fn id(&self) -> GroupId {
        GroupId(StrBytes::from_string(self.name.clone()))
    }
}

/// A member with a connection of its own to the coordinator.
struct Member<'g> {
    peer: Peer,
    group: &'g Group,
    id: StrBytes,
    generation: i32,
    /// When it gave its last sign of life; none of one that is silent on purpose.
    seen: Cell<Option<Instant>>,
}

impl<'g> Member<'g> {
    /// One that was given an id and has not joined yet.
    async fn new(group: &'g Group) -> Verdict<Self> {
        let coordinator = group.peer.coordinator(&group.name, 0).await?.apart();
        let seen = Cell::new(None);
        let mut member = Self { peer: coordinator, group, id: words(""), generation: -1, seen };
        member.ask_for_id().await?;
        Ok(member)
    }

    async fn ask_for_id(&mut self) -> Verdict {
        self.id = words("");
        let first = until("the group's coordinator is ready", async || {
            let answer = self.ask("", PENDING).await?;
            Ok((![14, 15, 16].contains(&answer.error_code)).then_some(answer))
        })
        .await?;
        self.group.peer.same("the first JoinGroup", MEMBER_ID_REQUIRED, first.error_code)?;
        self.id = first.member_id;
        Ok(())
    }

    async fn ask(&self, word: &'static str, session: Duration) -> Verdict<JoinGroupResponse> {
        let metadata = Bytes::from_static(word.as_bytes());
        let protocol = JoinGroupRequestProtocol::default().with_name(words("lanes")).with_metadata(metadata);
        let request = JoinGroupRequest::default()
            .with_group_id(self.group.id())
            .with_session_timeout_ms(milliseconds(session))
            .with_rebalance_timeout_ms(milliseconds(REBALANCE))
            .with_protocol_type(words("twinlog"))
            .with_member_id(self.id.clone())
            .with_protocols(vec![protocol]);
        self.peer.call(5, request).await
    }

    /// Joins and gives the words of all members, if it leads.
    async fn join(&mut self, word: &'static str) -> Verdict<Vec<Bytes>> {
        let mut joined = self.ask(word, self.group.session).await?;
        // A group of which only ids were given out is empty to Kafka 3.9, and removed when it looks for expired
        // offsets: here twice a second.
        while self.generation == -1 && joined.error_code == UNKNOWN_MEMBER_ID {
            self.ask_for_id().await?;
            joined = self.ask(word, self.group.session).await?;
        }
        self.sign_of_life(Instant::now());
        self.peer.same("JoinGroup", 0, joined.error_code)?;
        self.generation = joined.generation_id;
        Ok(joined.members.into_iter().map(|member| member.metadata).collect())
    }

    async fn sync(&self, plan: &[&Member<'_>]) -> Verdict<i16> {
        let part = |member: &&Member<'_>| {
            let part = Bytes::from_static(b"a part");
            SyncGroupRequestAssignment::default().with_member_id(member.id.clone()).with_assignment(part)
        };
        let request = SyncGroupRequest::default()
            .with_group_id(self.group.id())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_assignments(plan.iter().map(part).collect());
        let asked = Instant::now();
        let code = self.peer.call(3, request).await?.error_code;
        self.sign_of_life(asked);
        Ok(code)
    }

    async fn beat(&self) -> Verdict<i16> {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group.id())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone());
        let asked = Instant::now();
        let code = self.peer.call(3, request).await?.error_code;
        self.sign_of_life(asked);
        Ok(code)
    }

    /// One was answered that was sent at this time.
    fn sign_of_life(&self, sent: Instant) {
        if self.seen.replace(Some(sent)).is_some_and(|seen| seen.elapsed() >= self.group.session / 2) {
            self.group.too_slow.set(true);
        }
    }

    async fn leave(&self) -> Verdict<i16> {
        let request = LeaveGroupRequest::default().with_group_id(self.group.id()).with_member_id(self.id.clone());
        Ok(self.peer.call(1, request).await?.error_code)
    }
}

fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// While another one waits for the next generation, heartbeats are answered with 27 and keep a member in.
pub(super) async fn heartbeats_in_a_rebalance(peer: Peer) -> Verdict {
    Group::case(peer, "heartbeats-in-a-rebalance", heartbeats_in_a_rebalance_in).await
}

async fn heartbeats_in_a_rebalance_in(group: &Group) -> Verdict {
    let peer = &group.peer;
    let mut first = Member::new(group).await?;
    first.join("first").await?;
    peer.same("SyncGroup", 0, first.sync(&[&first]).await?)?;
    peer.same("a heartbeat", 0, first.beat().await?)?;
    let mut second = Member::new(group).await?;
    let joining = async {
        until("the other has asked to join", async || Ok((first.beat().await? != 0).then_some(()))).await?;
        let begun = Instant::now();
        while begun.elapsed() < group.session * 3 {
            peer.same("a heartbeat while another member waits", REBALANCE_IN_PROGRESS, first.beat().await?)?;
            sleep(PAUSE).await;
        }
        let former = first.generation;
        let words = first.join("again").await?;
        peer.same("the next generation", former + 1, first.generation)?;
        Verdict::Ok(words)
    };
    let (words, waited) = tokio::join!(joining, second.join("second"));
    let mut words = words?;
    words.extend(waited?);
    words.sort();
    peer.same("the words of all, for the leader", vec![Bytes::from("again"), Bytes::from("second")], words)?;
    peer.same("both are in it", first.generation, second.generation)
}

/// Before the plan is there, heartbeats of the new generation are answered with 0, of the former with 22.
pub(super) async fn heartbeats_before_the_plan(peer: Peer) -> Verdict {
    Group::case(peer, "heartbeats-before-the-plan", heartbeats_before_the_plan_in).await
}

async fn heartbeats_before_the_plan_in(group: &Group) -> Verdict {
    let peer = &group.peer;
    let mut member = Member::new(group).await?;
    member.join("a").await?;
    let begun = Instant::now();
    while begun.elapsed() < group.session * 3 {
        peer.same("a heartbeat before the plan", 0, member.beat().await?)?;
        sleep(PAUSE).await;
    }
    peer.same("SyncGroup", 0, member.sync(&[&member]).await?)?;
    let seen = member.seen.clone();
    let former = Member { peer: member.peer.apart(), id: member.id.clone(), seen, ..member };
    // A leader that joins again begins a new generation.
    member.join("a").await?;
    peer.same("the next generation", former.generation + 1, member.generation)?;
    peer.same("a heartbeat of the former", ILLEGAL_GENERATION, former.beat().await?)?;
    peer.same("SyncGroup of the former", ILLEGAL_GENERATION, former.sync(&[&former]).await?)
}

/// A member that is silent for its session is out: 25. One that leaves is out at once, and others hear of it.
pub(super) async fn silent_members(peer: Peer) -> Verdict {
    Group::case(peer, "silent-members", silent_members_in).await
}

async fn silent_members_in(group: &Group) -> Verdict {
    let peer = &group.peer;
    let mut first = Member::new(group).await?;
    first.join("first").await?;
    peer.same("SyncGroup", 0, first.sync(&[&first]).await?)?;
    let last = Instant::now();
    peer.same("a heartbeat", 0, first.beat().await?)?;
    first.seen.set(None);
    let mut second = Member::new(group).await?;
    // It waits until the first is out.
    second.join("second").await?;
    // Brokers count whole milliseconds.
    peer.same("not before the session is over", true, last.elapsed() >= group.session - Duration::from_millis(1))?;
    peer.same("who was silent", UNKNOWN_MEMBER_ID, first.beat().await?)?;
    peer.same("who was silent joins", UNKNOWN_MEMBER_ID, first.ask("first", group.session).await?.error_code)?;
    peer.same("SyncGroup", 0, second.sync(&[&second]).await?)?;
    let mut third = Member::new(group).await?;
    let leaving = async {
        until(
            "the third has asked to join",
            async || Ok((second.beat().await? == REBALANCE_IN_PROGRESS).then_some(())),
        )
        .await?;
        peer.same("LeaveGroup", 0, second.leave().await?)?;
        peer.same("who left", UNKNOWN_MEMBER_ID, second.beat().await?)
    };
    let begun = Instant::now();
    let (left, joined) = tokio::join!(leaving, third.join("third"));
    left?;
    joined?;
    peer.same("the third need not wait for its session", true, begun.elapsed() < REBALANCE)
}
