//! How one broker of the source is asked: for which partitions, from where, and in which fetch session.

use std::collections::VecDeque;
use std::time::Duration;

use rustc_hash::FxHashMap;
use twinlog_client::Error;
use twinlog_core::answer_size::AnswerSize;
use twinlog_core::fetch_ahead::{Brings, leads_on};
use twinlog_core::fetch_session::{FetchSession, Want};
use twinlog_core::ids::{Now, SourceOffset};
use twinlog_core::io::{FetchResult, Input, LanePartition};
use twinlog_core::lane::Lane;
use twinlog_core::partition::Phase;

use crate::environment::RequestPartitions;
use crate::fetch::{self, Fetched, Session};

/// Requests under way to a broker that is far away.
const AHEAD_MAX: usize = 3;

/// What is before a guess has not come yet.
const UNKNOWN_EPOCH: i32 = -1;

/// One broker.
#[derive(Debug, Default)]
pub(super) struct Broker {
    /// How large its answers may be.
    pub(super) size: AnswerSize,
    /// Which of its partitions comes first: only the first is sure to get a batch above the limits, and who is left
    /// out has the next turn.
    turn: usize,
    pub(super) session: FetchSession,
    /// Each request must name all that it wants: the broker does not look at the epoch before a position.
    names_all: bool,
    /// Requests under way, oldest first.
    asked: VecDeque<Asked>,
    /// How many requests there were.
    count: u64,
    /// What answers bring of partitions that are fetched ahead.
    brings: FxHashMap<LanePartition, Brings>,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Asked {
    number: u64,
    pub(super) reserved: u64,
    /// What each partition may have of the answer.
    partition_bytes: u64,
    /// What is wanted, by partition, whether or not the request names it.
    pub(super) wanted: Vec<Wanted>,
    pub(super) scope: Scope,
    answer: Option<(Result<Fetched, Error>, Duration)>,
}

/// What is wanted of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: LanePartition,
    pub(super) from: SourceOffset,
    /// The position is a guess.
    pub(super) is_ahead: bool,
}

/// What a request is to the fetch session with its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// It has none.
    Alone,
    /// It begins one: the answer has all partitions.
    First,
    /// The answer has what is new.
    News,
}

/// What one broker is asked for.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Partitions, where from, and after which epoch.
    pub(super) wants: Vec<Want>,
    /// How many are known to have more.
    pub(super) behind: usize,
    /// Others have their turn after them, so that not all are asked for.
    takes_turns: bool,
    /// Some of its partitions are left out that want more now, or will in a moment.
    pub(super) leaves_out: bool,
    /// Whose turn it is after that.
    turn: usize,
}

/// A request as it is sent.
#[derive(Debug)]
pub(super) struct Request {
    /// Which of the requests to this broker.
    pub(super) number: u64,
    pub(super) wants: Vec<fetch::Want>,
    pub(super) session: Session,
}

impl Broker {
    /// Whether requests are under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether another request makes sense: there is none, or the broker is so far away that the largest answers are
    /// mostly waited for.
    pub(super) fn takes_more(&self, bytes_max: u64) -> bool {
        let may_be_ahead =
            || self.asked.len() < AHEAD_MAX && self.asked.iter().all(|asked| asked.scope == Scope::Alone);
        self.asked.is_empty() || self.size.is_too_small(bytes_max) && may_be_ahead()
    }

    /// Goes through the partitions that it leads, from whose turn it is. Where the last answer was full, some are left
    /// out if many have more: to name them all costs more than it brings. None is chosen for a request ahead that would
    /// wait for records.
    pub(super) fn choose(
        &self,
        led: &[LanePartition],
        most: RequestPartitions,
        core: &Lane,
        now: Now,
        is_held_up: impl Fn(LanePartition) -> bool,
    ) -> Option<Choice> {
        let first = self.turn % led.len().max(1);
        let mut choice = Choice { turn: first + 1, ..Choice::default() };
        let (before, from) = led.split_at(first);
        for (place, id) in (first..).zip(from.iter().chain(before)) {
            let Some(partition) = core.partition(*id) else { continue };
            let Some((position, epoch)) = core.wants_fetch(now, *id) else {
                choice.leaves_out |= matches!(partition.phase(), Phase::Active) && partition.fetch_at(now).is_none();
                continue;
            };
            if choice.behind >= most.0 && self.size.was_full() {
                (choice.takes_turns, choice.leaves_out, choice.turn) = (true, true, place);
                break;
            }
            if is_held_up(*id) {
                continue;
            }
            let want = match self.under_way(*id) {
                None => (*id, position, epoch),
                Some(last) => match self.guess(*id, last) {
                    Some(from) if partition.has_more_from(from) => (*id, from, UNKNOWN_EPOCH),
                    _ => continue,
                },
            };
            choice.behind += usize::from(partition.has_more_from(want.1));
            choice.wants.push(want);
        }
        let answered_at_once = choice.behind > 0 && choice.is_alone(most);
        let is_sent = !choice.wants.is_empty() && (self.asked.is_empty() || answered_at_once);
        is_sent.then_some(choice)
    }

    /// Where the last request under way wants a partition from, and how many bytes of it.
    fn under_way(&self, id: LanePartition) -> Option<(SourceOffset, u64)> {
        self.asked.iter().rev().find_map(|asked| Some((asked.wanted[asked.place(id)?].from, asked.partition_bytes)))
    }

    fn guess(&self, id: LanePartition, (from, bytes): (SourceOffset, u64)) -> Option<SourceOffset> {
        self.brings.get(&id)?.guess(from, bytes)
    }

    /// What a request for these says. Where there are many that are not asked for in turns, it belongs to a session.
    pub(super) fn ask(
        &mut self,
        choice: Choice,
        most: RequestPartitions,
        (reserved, partition_bytes): (u64, u64),
        core: &Lane,
    ) -> Request {
        self.turn = choice.turn;
        self.count += 1;
        let is_alone = choice.is_alone(most) || self.names_all;
        let wanted = |(id, from, _): &Want| Wanted { id: *id, from: *from, is_ahead: self.under_way(*id).is_some() };
        let mut wanted: Vec<_> = choice.wants.iter().map(wanted).collect();
        wanted.sort_unstable_by_key(|want| want.id);
        let asked = if is_alone { self.session.leave(choice.wants) } else { self.session.next(choice.wants) };
        let scope = match is_alone {
            true => Scope::Alone,
            false if asked.is_full() => Scope::First,
            false => Scope::News,
        };
        self.asked.push_back(Asked { number: self.count, reserved, partition_bytes, wanted, scope, answer: None });
        let forgotten = asked.forgotten.into_iter().filter_map(|id| named((id, SourceOffset(0), -1), core)).collect();
        let session = Session { id: asked.session_id, epoch: asked.session_epoch, forgotten };
        let wants = asked.named.into_iter().filter_map(|want| named(want, core)).collect();
        Request { number: self.count, wants, session }
    }

    /// A request was answered.
    pub(super) fn came(&mut self, number: u64, result: Result<Fetched, Error>, took: Duration) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.number == number) {
            asked.answer = Some((result, took));
        }
    }

    /// The oldest request, once it is answered: later ones are of use only after it.
    pub(super) fn next_answered(&mut self) -> Option<(Asked, Result<Fetched, Error>)> {
        let (result, took) = self.asked.front_mut()?.answer.take()?;
        let asked = self.asked.pop_front()?;
        if let Ok(answer) = &result {
            self.size.answered(answer.frame_bytes as u64, asked.reserved, took);
            self.names_all = !answer.takes_last_epoch;
        }
        Some((asked, result))
    }

    /// An answer brought `bytes` of batches of a partition. Whether they are the ones that it wants next: a guess may
    /// have been wrong.
    pub(super) fn is_of_use(
        &mut self,
        asked: &Asked,
        want: Wanted,
        bytes: u64,
        result: &FetchResult,
        core: &Lane,
    ) -> bool {
        if !want.is_ahead && !self.size.is_waited_for() {
            return true;
        }
        let batches = match result {
            FetchResult::Batches { batches, .. } => batches.as_slice(),
            _ => &[],
        };
        let brings = self.brings.entry(want.id).or_default();
        brings.answered(bytes, asked.partition_bytes, batches);
        if !want.is_ahead {
            return true;
        }
        let is_of_use = core.partition(want.id).is_some_and(|partition| {
            let (position, last_epoch) = partition.fetch_position();
            leads_on(position, last_epoch, batches)
        });
        brings.judged(is_of_use);
        tracing::trace!(is_of_use, "Fetched ahead.");
        if !is_of_use {
            // Guesses that stand on this one are wrong, too.
            for later in &mut self.asked {
                later.wanted.retain(|later| later.id != want.id);
            }
        }
        is_of_use
    }
}

impl Asked {
    /// Where a partition stands in what is wanted.
    pub(super) fn place(&self, id: LanePartition) -> Option<usize> {
        self.wanted.binary_search_by_key(&id, |want| want.id).ok()
    }
}

impl Wanted {
    /// What the core is told of the result; nothing of a guess that failed, since what it is sure of is asked for next.
    pub(super) fn input(&self, result: FetchResult, core: &Lane) -> Option<Input> {
        let position = match (self.is_ahead, &result) {
            (false, _) => self.from,
            (true, FetchResult::Batches { .. }) => core.partition(self.id)?.fetch_position().0,
            (true, _) => return None,
        };
        Some(Input::Fetched { partition: self.id, position, result })
    }
}

impl Choice {
    /// Whether a request for these is in no session.
    fn is_alone(&self, most: RequestPartitions) -> bool {
        self.takes_turns || self.wants.len() <= most.0
    }
}

/// What is asked for of a partition, by its name.
fn named((id, from, last_epoch): Want, core: &Lane) -> Option<fetch::Want> {
    let spec = core.partition(id)?.spec();
    let (topic, topic_id, partition) = (spec.key.topic.clone(), spec.source_topic_id, spec.key.partition);
    Some(fetch::Want { topic, topic_id, partition, from: from.0, last_epoch })
}
