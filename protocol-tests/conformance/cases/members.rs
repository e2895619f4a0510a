//! Members of a classic group: what proves that one is still in it.

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

const SESSION: Duration = Duration::from_secs(1);
/// Nobody in these cases is thrown out by it.
const REBALANCE: Duration = Duration::from_secs(30);
/// Between two heartbeats.
const PAUSE: Duration = Duration::from_millis(50);
const UNKNOWN_MEMBER_ID: i16 = 25;
const ILLEGAL_GENERATION: i16 = 22;
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

/// A member with a connection of its own to the coordinator.
struct Member {
    peer: Peer,
    group: &'static str,
    id: StrBytes,
    generation: i32,
}

impl Member {
    /// One that was given an id and has not joined yet.
    async fn new(peer: &Peer, group: &'static str) -> Verdict<Self> {
        let coordinator = peer.coordinator(group, 0).await?.apart();
        let mut member = Self { peer: coordinator, group, id: words(""), generation: -1 };
        let first = until("the group's coordinator is ready", async || {
            let answer = member.ask("").await?;
            Ok((![14, 15, 16].contains(&answer.error_code)).then_some(answer))
        })
        .await?;
        peer.same("the first JoinGroup", MEMBER_ID_REQUIRED, first.error_code)?;
        member.id = first.member_id;
        Ok(member)
    }

    async fn ask(&self, word: &'static str) -> Verdict<JoinGroupResponse> {
        let metadata = Bytes::from_static(word.as_bytes());
        let protocol = JoinGroupRequestProtocol::default().with_name(words("lanes")).with_metadata(metadata);
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(words(self.group)))
            .with_session_timeout_ms(1_000)
            .with_rebalance_timeout_ms(i32::try_from(REBALANCE.as_millis()).unwrap_or(i32::MAX))
            .with_protocol_type(words("twinlog"))
            .with_member_id(self.id.clone())
            .with_protocols(vec![protocol]);
        self.peer.call(5, request).await
    }

    /// Joins and gives the words of all members, if it leads.
    async fn join(&mut self, word: &'static str) -> Verdict<Vec<Bytes>> {
        let joined = self.ask(word).await?;
        self.peer.same("JoinGroup", 0, joined.error_code)?;
        self.generation = joined.generation_id;
        Ok(joined.members.into_iter().map(|member| member.metadata).collect())
    }

    async fn sync(&self, plan: &[&Self]) -> Verdict<i16> {
        let part = |member: &&Self| {
            let part = Bytes::from_static(b"a part");
            SyncGroupRequestAssignment::default().with_member_id(member.id.clone()).with_assignment(part)
        };
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(words(self.group)))
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_assignments(plan.iter().map(part).collect());
        Ok(self.peer.call(3, request).await?.error_code)
    }

    async fn beat(&self) -> Verdict<i16> {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(words(self.group)))
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone());
        Ok(self.peer.call(3, request).await?.error_code)
    }

    async fn leave(&self) -> Verdict<i16> {
        let request =
            LeaveGroupRequest::default().with_group_id(GroupId(words(self.group))).with_member_id(self.id.clone());
        Ok(self.peer.call(1, request).await?.error_code)
    }
}

/// While another one waits for the next generation, heartbeats are answered with 27 and keep a member in.
pub(super) async fn heartbeats_in_a_rebalance(peer: Peer) -> Verdict {
    let group = "heartbeats-in-a-rebalance";
    let mut first = Member::new(&peer, group).await?;
    first.join("first").await?;
    peer.same("SyncGroup", 0, first.sync(&[&first]).await?)?;
    peer.same("a heartbeat", 0, first.beat().await?)?;
    let mut second = Member::new(&peer, group).await?;
    let joining = async {
        let begun = Instant::now();
        while begun.elapsed() < SESSION * 3 {
            let code = first.beat().await?;
            // The other's request may not be there yet.
            let expected = if code == 0 && begun.elapsed() < SESSION { 0 } else { REBALANCE_IN_PROGRESS };
            peer.same("a heartbeat while another member waits", expected, code)?;
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
    let group = "heartbeats-before-the-plan";
    let mut member = Member::new(&peer, group).await?;
    member.join("a").await?;
    let begun = Instant::now();
    while begun.elapsed() < SESSION * 3 {
        peer.same("a heartbeat before the plan", 0, member.beat().await?)?;
        sleep(PAUSE).await;
    }
    peer.same("SyncGroup", 0, member.sync(&[&member]).await?)?;
    let former = Member { peer: member.peer.apart(), group, id: member.id.clone(), generation: member.generation };
    // A leader that joins again begins a new generation.
    member.join("a").await?;
    peer.same("the next generation", former.generation + 1, member.generation)?;
    peer.same("a heartbeat of the former", ILLEGAL_GENERATION, former.beat().await?)?;
    peer.same("SyncGroup of the former", ILLEGAL_GENERATION, former.sync(&[&former]).await?)
}

/// A member that is silent for its session is out: 25. One that leaves is out at once, and others hear of it.
pub(super) async fn silent_members(peer: Peer) -> Verdict {
    let group = "silent-members";
    let mut first = Member::new(&peer, group).await?;
    first.join("first").await?;
    peer.same("SyncGroup", 0, first.sync(&[&first]).await?)?;
    let last = Instant::now();
    peer.same("a heartbeat", 0, first.beat().await?)?;
    let mut second = Member::new(&peer, group).await?;
    // It waits until the first is out.
    second.join("second").await?;
    // Brokers count whole milliseconds.
    peer.same("not before the session is over", true, last.elapsed() >= SESSION - Duration::from_millis(1))?;
    peer.same("who was silent", UNKNOWN_MEMBER_ID, first.beat().await?)?;
    peer.same("who was silent joins", UNKNOWN_MEMBER_ID, first.ask("first").await?.error_code)?;
    peer.same("SyncGroup", 0, second.sync(&[&second]).await?)?;
    let mut third = Member::new(&peer, group).await?;
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
