//! Which lanes are ours: a member of a classic Kafka group whose leader shares the lanes out.
//!
//! ```text
//!  Waiting ──► Joining ──a generation──► Syncing ──the plan──► Member ──27, or a wish of our own──► Joining
//!     ▲            │ failed                 │ failed              │ Leave
//!     └────────────┴────────────────────────┘                     ▼ Leaving ──► Over
//!  25 in any stage: every lane is lost, join as a new member
//! ```
//!
//! Nobody stops for a rebalance, as in Kafka's cooperative assignors: a member joins with what it owns, and a lane
//! goes to somebody else only after its owner let it go (`plan`).
//!
//! **The lease.** The coordinator gives a member's lanes to others no sooner than a session time-out after it heard
//! from it. So a Heartbeat or SyncGroup that was answered as a member's proves ownership until a session time-out after
//! it was *sent*. JoinGroup does not: the answer may be a generation that was made long before, and renews nothing. 27
//! (REBALANCE_IN_PROGRESS) to a Heartbeat proves it, too; but a member that does not join, or that does not ask for the
//! plan, is out when the rebalance time-out is over, and whether a request arrived is not known before its answer. The
//! rebalance began after the last request was sent whose answer spoke of none: that plus its time-out is another bound.

mod io;
mod plan;
#[cfg(test)]
mod tests;
mod word;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use twinlog_wire::error_code::ErrorCode;

pub use self::io::{Answer, Event, Input, Output, Request};
pub use self::word::{Claim, MemberKey, Plan, Share, Word};
use crate::backoff;
use crate::io::Failure;

/// Bounds of the time between two heartbeats, in ms. It is also how late a member hears of a rebalance.
const BEAT_MS: (u64, u64) = (50, 500);

/// How often the leader has the lanes shared out anew, in ms: their rates change, and nobody else need come or go.
const REVIEW_MS: u64 = 600_000;

/// A group's settings, the same for all members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembersConfig {
    /// Without a sign of life for so long, in ms, a member is out and its lanes go to others.
    pub session_ms: u64,
    /// For so long, in ms, a member must have been there before lanes of others are moved to it.
    pub settle_ms: u64,
}

impl MembersConfig {
    /// How long the others wait for a member that lives and does not join again. Longer than a dead one is waited for,
    /// so that a member that has joined never loses its lease by waiting for others.
    pub fn rebalance_ms(self) -> u64 {
        self.session_ms.saturating_mul(3)
    }

    /// The time between two heartbeats.
    pub fn beat_ms(self) -> u64 {
        (self.session_ms / 20).clamp(BEAT_MS.0, BEAT_MS.1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Joins again at this time.
    Waiting(u64),
    Joining,
    Syncing,
    Member,
    Leaving,
    Over,
}

/// A question that was not answered yet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    question: u64,
    sent_ms: u64,
    /// The generation that we were in.
    generation: i32,
}

/// A link's instance as a member of the link's group. Times are ms of a clock that goes on while the machine sleeps.
#[derive(Debug)]
pub struct Membership {
    config: MembersConfig,
    stage: Stage,
    lanes: u32,
    /// Empty while we have none.
    member_id: String,
    /// The generation that we are in; 0 for none.
    generation: i32,
    /// The last one whose plan we heard. A coordinator keeps those: a lower one says that it has forgotten all.
    heard: i32,
    leads: bool,
    /// The generation whose plan was carried out last.
    carried_out: i32,
    /// The newest plan that we know: it may have been made by us and not come back.
    plan: Plan,
    /// Our lanes, and whether they are being let go.
    owned: BTreeMap<u32, bool>,
    rates: BTreeMap<u32, u64>,
    settled: bool,
    settles_at: Option<u64>,
    /// Members of a group that was begun anew may own lanes until then, and not know of it.
    quiet_until: u64,
    asked: Option<Asked>,
    beat: Option<Asked>,
    next_beat: u64,
    /// What the last heartbeats were refused with, of those that say nothing of our membership.
    beat_refused: Option<ErrorCode>,
    questions: u64,
    attempt: u32,
    /// When to join again of our own wish.
    join_at: Option<u64>,
    /// When a leader of others has all join again.
    review_at: Option<u64>,
    /// A heartbeat was told that the group is past what we wait for.
    overtaken: bool,
    /// When the last request was sent whose answer showed that we are a member.
    proven_ms: Option<u64>,
    /// When the last request was sent whose answer showed that no rebalance went on without us.
    steady_ms: u64,
    out: VecDeque<Output>,
}

impl Membership {
    /// A membership that begins to join.
    pub fn new(config: MembersConfig, lanes: u32, now_ms: u64) -> Self {
        let mut membership = Self {
            config,
            stage: Stage::Waiting(now_ms),
            lanes,
            member_id: String::new(),
            generation: 0,
            heard: 0,
            leads: false,
            carried_out: 0,
            plan: Plan::default(),
            owned: BTreeMap::new(),
            rates: BTreeMap::new(),
            settled: false,
            settles_at: None,
            quiet_until: 0,
            asked: None,
            beat: None,
            next_beat: 0,
            beat_refused: None,
            questions: 0,
            attempt: 0,
            join_at: None,
            review_at: None,
            overtaken: false,
            proven_ms: None,
            steady_ms: 0,
            out: VecDeque::new(),
        };
        membership.handle_timeout(now_ms);
        membership
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Membership::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<u64> {
        if matches!(self.stage, Stage::Leaving | Stage::Over) {
            return None;
        }
        let waiting = if let Stage::Waiting(until) = self.stage { Some(until) } else { None };
        let beat = self.beats().then_some(self.next_beat);
        let [wish, review] = [self.join_at, self.review_at].map(|at| at.filter(|_| self.stage == Stage::Member));
        [waiting, beat, wish, review, self.settles_at].into_iter().flatten().min()
    }

    /// Handles what is due.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if matches!(self.stage, Stage::Leaving | Stage::Over) {
            return;
        }
        if self.settles_at.is_some_and(|at| at <= now_ms) {
            self.settles_at = None;
            self.settled = true;
            self.wish(now_ms);
        }
        if self.stage == Stage::Member && self.review_at.take_if(|at| *at <= now_ms).is_some() {
            self.wish(now_ms);
        }
        if self.beats() && self.next_beat <= now_ms {
            let request = Request::Heartbeat { member_id: self.member_id.clone(), generation: self.generation };
            self.next_beat = now_ms + self.config.beat_ms();
            self.beat = Some(self.ask(now_ms, request, self.config.session_ms / 4));
        }
        if let Stage::Waiting(until) = self.stage
            && until <= now_ms
        {
            self.join(now_ms);
        }
        self.settle(now_ms);
    }

    /// Takes an input.
    pub fn handle(&mut self, now_ms: u64, input: Input) {
        if self.stage == Stage::Over {
            return;
        }
        match input {
            Input::Answer(question, result) => self.answer(now_ms, question, result),
            Input::LetGone(lane) => {
                if self.owned.remove(&lane).is_some() {
                    self.wish(now_ms);
                }
            }
            Input::Rates(rates) => self.rates = rates,
            Input::Lanes(lanes) => {
                if self.lanes != lanes {
                    self.lanes = lanes;
                    self.wish(now_ms);
                }
            }
            Input::Leave => self.leave(now_ms),
        }
        self.settle(now_ms);
    }

    /// Until when lanes may be written; a time in the past means now not.
    pub fn lease_until(&self) -> u64 {
        let Some(proven) = self.proven_ms else { return 0 };
        (proven + self.config.session_ms).min(self.steady_ms + self.config.rebalance_ms())
    }

    /// Our lanes, those included that are being let go.
    pub fn owned(&self) -> impl Iterator<Item = u32> {
        self.owned.keys().copied()
    }

    fn wish(&mut self, now_ms: u64) {
        self.join_at = Some(self.join_at.map_or(now_ms, |at| at.min(now_ms)));
    }

    /// Members of a generation show that they live; one heartbeat is on its way at a time.
    fn beats(&self) -> bool {
        self.generation > 0 && self.beat.is_none()
    }

    fn settle(&mut self, now_ms: u64) {
        if self.stage == Stage::Member && self.join_at.is_some_and(|at| at <= now_ms) {
            self.join(now_ms);
        }
    }

    fn ask(&mut self, now_ms: u64, request: Request, limit_ms: u64) -> Asked {
        self.questions += 1;
        let question = self.questions;
        self.out.push_back(Output::Ask { question, request, limit_ms });
        Asked { question, sent_ms: now_ms, generation: self.generation }
    }

    /// How long an answer that waits for others may take: some may have to die first, which takes a session. To ask
    /// again after that does no harm, and helps if the answer went to a connection that is no more.
    fn patience_ms(&self) -> u64 {
        self.config.session_ms + self.config.session_ms / 4
    }

    fn join(&mut self, now_ms: u64) {
        self.stage = Stage::Joining;
        self.join_at = None;
        self.overtaken = false;
        let claim = |lane: u32, leaving: bool| Claim { bytes_per_s: self.rates.get(&lane).copied(), leaving };
        let word = Word {
            generation: self.carried_out,
            settled: self.settled,
            quiet_ms: self.quiet_until.saturating_sub(now_ms),
            claims: self.owned.iter().map(|(lane, leaving)| (*lane, claim(*lane, *leaving))).collect(),
            plan: self.plan.clone(),
        };
        let request = Request::Join {
            member_id: self.member_id.clone(),
            word: word.encode(),
            session_ms: self.config.session_ms,
            rebalance_ms: self.config.rebalance_ms(),
        };
        self.asked = Some(self.ask(now_ms, request, self.patience_ms()));
    }

    fn leave(&mut self, now_ms: u64) {
        self.owned.clear();
        self.proven_ms = None;
        self.beat = None;
        if self.member_id.is_empty() {
            return self.over();
        }
        self.stage = Stage::Leaving;
        let request = Request::Leave { member_id: self.member_id.clone() };
        self.asked = Some(self.ask(now_ms, request, self.config.session_ms / 4));
    }

    fn over(&mut self) {
        self.stage = Stage::Over;
        self.out.push_back(Output::Left);
    }

    fn answer(&mut self, now_ms: u64, question: u64, result: Result<Answer, Failure>) {
        if let Some(beat) = self.beat.take_if(|beat| beat.question == question) {
            return self.beaten(now_ms, beat, &result);
        }
        // Answers to what was given up say nothing of what is now.
        let Some(asked) = self.asked.take_if(|asked| asked.question == question) else { return };
        match (self.stage, result) {
            (Stage::Leaving, _) => self.over(),
            (Stage::Joining, Ok(Answer::IdRequired(member_id))) => {
                self.member_id = member_id;
                self.join(now_ms);
            }
            (Stage::Joining, Ok(Answer::Joined { generation, member_id, leader, members })) => {
                self.joined(now_ms, generation, member_id, &leader, &members);
            }
            (Stage::Syncing, Ok(Answer::Synced(plan))) => self.synced(now_ms, asked, &plan),
            (_, Err(Failure::Code(code))) => self.refused(now_ms, code),
            (_, Err(failure)) => self.again(now_ms, failure),
            (_, Ok(_)) => self.again(now_ms, Failure::Lost),
        }
    }

    fn refused(&mut self, now_ms: u64, code: ErrorCode) {
        match code {
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID => self.out(now_ms),
            ErrorCode::INCONSISTENT_GROUP_PROTOCOL
            | ErrorCode::INVALID_GROUP_ID
            | ErrorCode::INVALID_SESSION_TIMEOUT => {
                self.stage = Stage::Over;
                self.proven_ms = None;
                self.out.push_back(Output::Refused(code));
            }
            // The next generation is being made already.
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION if self.stage == Stage::Syncing => {
                self.join(now_ms);
            }
            _ => self.again(now_ms, Failure::Code(code)),
        }
    }

    /// After a pause.
    fn again(&mut self, now_ms: u64, failure: Failure) {
        if self.attempt == 0 {
            let what = if self.stage == Stage::Syncing { "SyncGroup" } else { "JoinGroup" };
            self.out.push_back(Output::Event(Event::Retrying(failure, what)));
        }
        let spread = MemberKey::of(&self.member_id).spread();
        let pause = backoff::pause_ms(self.attempt, spread).min(self.config.session_ms / 4);
        self.attempt = self.attempt.saturating_add(1);
        self.stage = Stage::Waiting(now_ms + pause);
        self.asked = None;
    }

    /// The group does not know us: others may have our lanes from now on.
    fn out(&mut self, now_ms: u64) {
        self.out.push_back(Output::Event(Event::Out));
        for lane in core::mem::take(&mut self.owned).into_keys() {
            self.out.push_back(Output::Lost(lane));
        }
        self.member_id.clear();
        self.generation = 0;
        self.leads = false;
        self.review_at = None;
        self.carried_out = 0;
        self.plan = Plan::default();
        self.settled = false;
        self.settles_at = None;
        self.proven_ms = None;
        self.beat = None;
        self.beat_refused = None;
        self.again(now_ms, Failure::Code(ErrorCode::UNKNOWN_MEMBER_ID));
    }

    fn joined(&mut self, now_ms: u64, generation: i32, member_id: String, leader: &str, members: &[(String, Vec<u8>)]) {
        if generation < self.heard || (generation == self.heard && generation != self.generation) {
            // The coordinator has lost its memory: those who have not noticed yet may own lanes for a session.
            self.quiet_until = now_ms + self.config.session_ms;
        }
        self.generation = generation;
        self.leads = leader == member_id;
        self.review_at = (self.leads && members.len() > 1).then_some(now_ms + REVIEW_MS);
        self.member_id = member_id;
        self.stage = Stage::Syncing;
        self.next_beat = self.next_beat.max(now_ms);
        let plan = if self.leads { self.plan(now_ms, members) } else { Vec::new() };
        self.overtaken = false;
        let request = Request::Sync { member_id: self.member_id.clone(), generation, plan };
        self.asked = Some(self.ask(now_ms, request, self.patience_ms()));
    }

    /// The plan of this generation, for each member.
    fn plan(&mut self, now_ms: u64, members: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
        // Who says what we do not understand is none of us, and gets nothing.
        let words: Vec<(String, Word)> =
            members.iter().filter_map(|(id, word)| Some((id.clone(), Word::decode(word).ok()?))).collect();
        let quiet_ms = words.iter().map(|(_, word)| word.quiet_ms).max().unwrap_or_default();
        self.quiet_until = self.quiet_until.max(now_ms + quiet_ms.min(self.config.session_ms));
        let quiet = now_ms < self.quiet_until;
        let made = plan::make(self.generation, self.lanes, &words, quiet);
        if made.incomplete {
            self.join_at = Some(self.quiet_until.max(now_ms));
        }
        let bytes = made.plan.encode();
        self.plan = made.plan;
        members.iter().map(|(id, _)| (id.clone(), bytes.clone())).collect()
    }

    fn synced(&mut self, now_ms: u64, asked: Asked, plan: &[u8]) {
        let Ok(plan) = Plan::decode(plan) else { return self.again(now_ms, Failure::Lost) };
        if plan.generation != self.generation {
            return self.again(now_ms, Failure::Lost);
        }
        self.proven_ms = self.proven_ms.max(Some(asked.sent_ms));
        self.steady_ms = self.steady_ms.max(asked.sent_ms);
        self.heard = self.generation;
        self.stage = Stage::Member;
        self.attempt = 0;
        if !self.settled && self.settles_at.is_none() {
            self.settles_at = Some(now_ms + self.config.settle_ms);
        }
        self.carry_out(plan);
    }

    fn carry_out(&mut self, plan: Plan) {
        let own = MemberKey::of(&self.member_id);
        let mut lost = Vec::new();
        for (lane, leaving) in &mut self.owned {
            match plan.share(*lane) {
                Some(Share { owner: Some(owner), leaving: false, .. }) if *owner == own => {}
                Some(Share { owner: Some(_), leaving: false, .. }) => lost.push(*lane),
                _ if *leaving => {}
                _ => {
                    *leaving = true;
                    self.out.push_back(Output::LetGo(*lane));
                }
            }
        }
        for lane in lost {
            self.owned.remove(&lane);
            self.out.push_back(Output::Lost(lane));
        }
        for lane in plan.lanes_of(own) {
            self.owned.entry(lane).or_insert_with(|| {
                self.out.push_back(Output::Own(lane));
                false
            });
        }
        let (generation, leads, lanes) = (plan.generation, self.leads, self.owned.len());
        self.out.push_back(Output::Event(Event::Member { generation, leads, lanes }));
        self.carried_out = generation;
        self.plan = plan;
    }

    fn beaten(&mut self, now_ms: u64, beat: Asked, result: &Result<Answer, Failure>) {
        let is_present = beat.generation == self.generation;
        let code = match result {
            Ok(_) => ErrorCode::NONE,
            Err(Failure::Code(code)) => *code,
            // The next one follows at its time.
            Err(Failure::Lost | Failure::NotSent) => return,
        };
        match code {
            ErrorCode::NONE => {
                self.beat_refused = None;
                self.proven_ms = self.proven_ms.max(Some(beat.sent_ms));
                if self.stage == Stage::Member {
                    self.steady_ms = self.steady_ms.max(beat.sent_ms);
                }
            }
            ErrorCode::REBALANCE_IN_PROGRESS => {
                self.proven_ms = self.proven_ms.max(Some(beat.sent_ms));
                match self.stage {
                    Stage::Member if is_present => self.wish(now_ms),
                    Stage::Syncing if is_present => self.overtaken(now_ms),
                    _ => {}
                }
            }
            ErrorCode::ILLEGAL_GENERATION if is_present => match self.stage {
                Stage::Member => self.wish(now_ms),
                Stage::Joining | Stage::Syncing => self.overtaken(now_ms),
                _ => {}
            },
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID => self.out(now_ms),
            ErrorCode::ILLEGAL_GENERATION => {}
            // The next one follows at its time. If none is heard until the lease ends, the lanes wait.
            _ if self.beat_refused != Some(code) => {
                self.beat_refused = Some(code);
                self.out.push_back(Output::Event(Event::Retrying(Failure::Code(code), "Heartbeat")));
            }
            _ => {}
        }
    }

    /// The group is past what we wait for. Its answer should be there by now; the second time it is taken for lost.
    fn overtaken(&mut self, now_ms: u64) {
        if core::mem::replace(&mut self.overtaken, true) {
            self.again(now_ms, Failure::Lost);
        }
    }
}
