//! What a membership is told and what it asks for.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use twinlog_wire::error_code::ErrorCode;

use crate::io::Failure;

/// What a membership is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Answer to [`Output::Ask`], by the number of the question.
    Answer(u64, Result<Answer, Failure>),
    /// The lane of an [`Output::LetGo`] is drained, or cannot be: nothing more of it is written.
    LetGone(u32),
    /// How many bytes a second lanes copied lately; lanes that are left out are too new to say.
    Rates(BTreeMap<u32, u64>),
    /// How many lanes there are.
    Lanes(u32),
    /// Leave, so that others take over at once. No lane is written any more.
    Leave,
}

/// What a membership asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask the group's coordinator. Every question is answered, at `limit_ms` by [`Failure::Lost`].
    Ask {
        /// The question's number.
        question: u64,
        /// What is asked.
        request: Request,
        /// How long the answer may take.
        limit_ms: u64,
    },
    /// The lane is ours: begin it.
    Own(u32),
    /// The lane is to move: drain it, then say [`Input::LetGone`].
    LetGo(u32),
    /// The lane is no longer ours: stop it at once.
    Lost(u32),
    /// Something that people want to know.
    Event(Event),
    /// The coordinator does not take us in, and never will. Nothing follows.
    Refused(ErrorCode),
    /// We are no longer a member. Nothing follows.
    Left,
}

/// A question to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// JoinGroup.
    Join {
        /// Empty for a new member.
        member_id: String,
        /// What the leader is to know.
        word: Vec<u8>,
        /// Session time-out.
        session_ms: u64,
        /// Rebalance time-out.
        rebalance_ms: u64,
    },
    /// SyncGroup.
    Sync {
        /// Our id.
        member_id: String,
        /// The generation.
        generation: i32,
        /// The part of each member; empty for all but the leader.
        plan: Vec<(String, Vec<u8>)>,
    },
    /// Heartbeat. It must not wait behind the others.
    Heartbeat {
        /// Our id.
        member_id: String,
        /// The generation.
        generation: i32,
    },
    /// LeaveGroup.
    Leave {
        /// Our id.
        member_id: String,
    },
}

/// What the coordinator answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To Join: come again under this id.
    IdRequired(String),
    /// To Join: a generation has begun.
    Joined {
        /// Its number.
        generation: i32,
        /// Our id.
        member_id: String,
        /// Whose plan counts.
        leader: String,
        /// All members with their words; empty for all but the leader.
        members: Vec<(String, Vec<u8>)>,
    },
    /// To Sync: the plan.
    Synced(Vec<u8>),
    /// To Heartbeat and Leave.
    Done,
}

/// Something that people want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A plan was carried out.
    Member {
        /// Its generation.
        generation: i32,
        /// Whether we made it.
        leads: bool,
        /// How many lanes it gives us.
        lanes: usize,
    },
    /// The group does not know us any more: it did not hear from us in time, or lost its memory.
    Out,
    /// Something is tried again, for the first time or for another reason than before.
    Retrying(Failure, &'static str),
}
