//! Faults on purpose: what happens to which request.
//!
//! ```
//! use std::time::Duration;
//! use twinlog_sandbox::{ApiKey, ErrorCode, Fault};
//!
//! // The third Produce at node 2 is stored, and its answer never comes.
//! let lost = Fault::lose_answer().on(ApiKey::Produce).at_node(2).nth(3);
//! // One Fetch in ten takes 50 ms longer.
//! let slow = Fault::delay(Duration::from_millis(50)).on(ApiKey::Fetch).chance(100);
//! // The next two EndTxn are refused, and not carried out.
//! let refused = Fault::refuse(ErrorCode::NOT_COORDINATOR).on(ApiKey::EndTxn).times(2);
//! ```
//! Chance comes from the sandbox's seed and is drawn in the order in which requests come. So it is the same in each
//! run where that order is: with one connection, or under a paused clock on one thread.

use std::time::Duration;

use fastrand::Rng;
use kafka_protocol::messages::ApiKey;
use twinlog_wire::error_code::ErrorCode;

use crate::session::ConnectionId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Delay(Duration),
    Overtake(Duration),
    LoseRequest,
    LoseAnswer,
    CutBefore,
    CutAfter,
    ProcessTwice,
    Refuse(ErrorCode),
    RefuseAfter(ErrorCode),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    Nth(u64),
    Times(u64),
    Chance(u32),
}

/// What is to happen, to which requests, and how often: by default to every request.
#[derive(Clone, Debug)]
pub struct Fault {
    effect: Effect,
    when: When,
    api: Option<ApiKey>,
    node: Option<i32>,
    connection: Option<ConnectionId>,
    client_id: Option<String>,
}

impl Fault {
    fn new(effect: Effect) -> Self {
        Self { effect, when: When::Always, api: None, node: None, connection: None, client_id: None }
    }

    /// The request waits before it is processed, and those behind it on the connection with it.
    pub fn delay(time: Duration) -> Self {
        Self::new(Effect::Delay(time))
    }

    /// The request waits until another one of its API has been processed on another connection, at most this long: the
    /// two change places.
    pub fn overtake(within: Duration) -> Self {
        Self::new(Effect::Overtake(within))
    }

    /// The request is never processed. Answers come in the order of their requests, so nothing that follows on the
    /// connection is processed or answered either: it stands still until somebody closes it.
    pub fn lose_request() -> Self {
        Self::new(Effect::LoseRequest)
    }

    /// The request is processed, and neither it nor any later one on the connection is answered. Later ones are still
    /// processed.
    pub fn lose_answer() -> Self {
        Self::new(Effect::LoseAnswer)
    }

    /// The connection is cut, and the request is not processed.
    pub fn cut_before() -> Self {
        Self::new(Effect::CutBefore)
    }

    /// The request is processed, and the connection is cut before its answer.
    pub fn cut_after() -> Self {
        Self::new(Effect::CutAfter)
    }

    /// The request is processed twice, one right after the other; the first answer is given. A request that waits for
    /// something (Fetch, JoinGroup, SyncGroup) does so both times.
    pub fn process_twice() -> Self {
        Self::new(Effect::ProcessTwice)
    }

    /// The request is not processed, and answered with this code.
    pub fn refuse(code: ErrorCode) -> Self {
        Self::new(Effect::Refuse(code))
    }

    /// The request is processed, and answered with this code all the same.
    pub fn refuse_after(code: ErrorCode) -> Self {
        Self::new(Effect::RefuseAfter(code))
    }

    /// Only requests of this API.
    pub fn on(mut self, api: ApiKey) -> Self {
        self.api = Some(api);
        self
    }

    /// Only requests at this node.
    pub fn at_node(mut self, node: i32) -> Self {
        self.node = Some(node);
        self
    }

    /// Only requests on this connection.
    pub fn on_connection(mut self, connection: ConnectionId) -> Self {
        self.connection = Some(connection);
        self
    }

    /// Only requests with this client id.
    pub fn from_client(mut self, client_id: &str) -> Self {
        self.client_id = Some(client_id.to_owned());
        self
    }

    /// Only the `n`th of them from now on, counted from 1.
    pub fn nth(mut self, n: u64) -> Self {
        self.when = When::Nth(n);
        self
    }

    /// Only the next `n` of them.
    pub fn times(mut self, n: u64) -> Self {
        self.when = When::Times(n);
        self
    }

    /// `per_mille` of them, chosen by the seed.
    pub fn chance(mut self, per_mille: u32) -> Self {
        self.when = When::Chance(per_mille);
        self
    }

    fn concerns(&self, seen: &Seen<'_>) -> bool {
        self.api.is_none_or(|api| api == seen.api)
            && self.node.is_none_or(|node| node == seen.node)
            && self.connection.is_none_or(|connection| connection == seen.connection)
            && self.client_id.as_ref().is_none_or(|client_id| client_id == seen.client_id)
    }
}

/// The request that faults are looked up for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) api: ApiKey,
    pub(crate) node: i32,
    pub(crate) connection: ConnectionId,
    pub(crate) client_id: &'a str,
}

/// Names a fault that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FaultId(u64);

/// What becomes of a request before or after it is processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    #[default]
    Pass,
    Lose,
    Cut,
    Refuse(ErrorCode),
}

/// All that happens to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) delay: Duration,
    pub(crate) overtaken_within: Option<Duration>,
    pub(crate) before: Fate,
    pub(crate) twice: bool,
    pub(crate) after: Fate,
}

#[derive(Debug)]
struct Armed {
    id: FaultId,
    fault: Fault,
    seen: u64,
    hits: u64,
}

#[derive(Debug)]
pub(crate) struct Faults {
    armed: Vec<Armed>,
    next_id: u64,
    rng: Rng,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { armed: Vec::new(), next_id: 0, rng: Rng::with_seed(seed) }
    }

    pub(crate) fn add(&mut self, fault: Fault) -> FaultId {
        let id = FaultId(self.next_id);
        self.next_id += 1;
        self.armed.push(Armed { id, fault, seen: 0, hits: 0 });
        id
    }

    pub(crate) fn remove(&mut self, id: FaultId) {
        self.armed.retain(|armed| armed.id != id);
    }

    pub(crate) fn clear(&mut self) {
        self.armed.clear();
    }

    pub(crate) fn hits(&self, id: FaultId) -> u64 {
        self.armed.iter().find(|armed| armed.id == id).map_or(0, |armed| armed.hits)
    }

    /// All faults that hit a request; where two contradict each other, the one that was added later counts.
    pub(crate) fn judge(&mut self, seen: Seen<'_>) -> Verdict {
        let mut verdict = Verdict::default();
        for armed in self.armed.iter_mut().filter(|armed| armed.fault.concerns(&seen)) {
            armed.seen += 1;
            let hit = match armed.fault.when {
                When::Always => true,
                When::Nth(n) => armed.seen == n,
                When::Times(n) => armed.seen <= n,
                When::Chance(per_mille) => self.rng.u32(..1000) < per_mille,
            };
            if !hit {
                continue;
            }
            armed.hits += 1;
            match armed.fault.effect {
                Effect::Delay(time) => verdict.delay += time,
                Effect::Overtake(within) => verdict.overtaken_within = Some(within),
                Effect::LoseRequest => verdict.before = Fate::Lose,
                Effect::LoseAnswer => verdict.after = Fate::Lose,
                Effect::CutBefore => verdict.before = Fate::Cut,
                Effect::CutAfter => verdict.after = Fate::Cut,
                Effect::ProcessTwice => verdict.twice = true,
                Effect::Refuse(code) => verdict.before = Fate::Refuse(code),
                Effect::RefuseAfter(code) => verdict.after = Fate::Refuse(code),
            }
        }
        verdict
    }
}
