//! Positions of consumer groups, brought to the target by the instance that leads the link's group.
//!
//! A round, each second: what groups have committed on the source, where that is on the mirrors, what they have on the
//! target; then what is to be written is kept in mind (`memory`), and committed. What is decided stands in
//! [`twinlog_core::groups`].

pub mod look;
mod memory;
mod positions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use twinlog_client::admin::{CommittedOffset, IsolationLevel, OffsetAt, TopicPartition};
use twinlog_client::{Cluster, Error, ErrorCode, Retry};
use twinlog_core::config::GroupRules;
use twinlog_core::groups::{GroupMemory, Position, Seen, Step, Wait, step};
use twinlog_core::ids::{SourceOffset, TargetOffset};
use twinlog_core::io::PartitionSpec;
use twinlog_core::map_record::PartitionKey;
use twinlog_core::offset_map::Translation;

use self::memory::Memory;
use self::positions::{Found, Positions};
use crate::failpoint;
use crate::lease::Lease;
use crate::own_lanes::Doors;
use crate::state::StateError;
use crate::supervisor::LinkSetup;

/// How often positions are looked at.
const EACH: Duration = Duration::from_secs(1);
/// How often the source is asked which groups there are.
const LIST_EACH: Duration = Duration::from_secs(5);
/// Groups that are asked about at the same time.
const AT_ONCE: usize = 16;
/// How long the last round of a link that ends may take.
const LAST_ROUND: Duration = Duration::from_secs(10);

/// Mirrors, by source partition.
type Specs = Arc<BTreeMap<PartitionKey, PartitionSpec>>;
/// What a group has committed, by source partition.
type Committed = BTreeMap<PartitionKey, Position>;

/// What the task is to do.
#[derive(Clone, Debug, Default)]
struct Orders {
    rules: GroupRules,
    specs: Specs,
    /// Whether this instance does it.
    leads: bool,
    /// One round more, and then no more.
    is_last: bool,
}

/// The task that brings positions to the target; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Groups {
    orders: watch::Sender<Orders>,
    task: JoinHandle<()>,
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Groups {
    /// Begins it; nothing is done before this instance leads. Offsets of groups that nobody is a member of are kept
    /// for `retention` on the target.
    pub(crate) fn begin(setup: &LinkSetup, doors: Doors, lease: Lease, retention: Duration) -> Self {
        let (orders, listening) = watch::channel(Orders { rules: setup.config.groups.clone(), ..Orders::default() });
        let sync = Sync {
            setup: setup.clone(),
            lease,
            positions: Positions::new(setup.clone(), doors),
            memory: None,
            listed: None,
            handled: BTreeMap::new(),
            again_after: retention / 4,
            told: BTreeSet::new(),
        };
        Self { orders, task: tokio::spawn(sync.run(listening)) }
    }

    /// Whether this instance does it.
    pub(crate) fn lead(&self, leads: bool) {
        self.orders.send_if_modified(|orders| std::mem::replace(&mut orders.leads, leads) != leads);
    }

    /// Whose positions are brought.
    pub(crate) fn take(&self, rules: &GroupRules) {
        self.orders.send_modify(|orders| orders.rules = rules.clone());
    }

    /// What is mirrored.
    pub(crate) fn mirrored(&self, specs: &Specs) {
        self.orders.send_modify(|orders| orders.specs = Arc::clone(specs));
    }

    /// One round more, so that what is on the target by now is not without its positions.
    pub(crate) async fn finish(&mut self) {
        self.orders.send_modify(|orders| orders.is_last = true);
        // What it could not do a later start does.
        drop(timeout(LAST_ROUND, &mut self.task).await);
    }
}

/// A group's positions on the source that are looked after.
struct Handled {
    committed: Committed,
    /// Whether all of them are on the target; none while somebody else uses it there.
    is_done: bool,
    at: Instant,
}

struct Sync {
    setup: LinkSetup,
    lease: Lease,
    positions: Positions,
    memory: Option<Memory>,
    listed: Option<(Instant, Vec<String>)>,
    handled: BTreeMap<String, Handled>,
    again_after: Duration,
    /// Words that were said once.
    told: BTreeSet<String>,
}

impl Sync {
    async fn run(mut self, mut orders: watch::Receiver<Orders>) {
        loop {
            let begun = Instant::now();
            let now = orders.borrow_and_update().clone();
            if now.leads && self.lease.holds() && !now.specs.is_empty() && !now.rules.are_off() {
                if let Err(Failed { words, may_pass }) = self.round(&now).await {
                    self.memory = None;
                    match may_pass {
                        true => tracing::debug!(link = self.setup.name, "{words}"),
                        false => self.tell(words),
                    }
                }
            } else {
                // Another instance may write to it meanwhile.
                (self.memory, self.handled) = (None, BTreeMap::new());
            }
            if now.is_last {
                return;
            }
            tokio::select! {
                () = sleep_until(begun + EACH) => {}
                last = orders.wait_for(|orders| orders.is_last) => if last.is_err() { return },
            }
        }
    }

    /// Says something once.
    fn tell(&mut self, words: String) {
        if self.told.insert(words.clone()) {
            tracing::warn!(link = self.setup.name, "{words}");
        }
    }

    async fn round(&mut self, orders: &Orders) -> Result<(), Failed> {
        let is_due = self.listed.as_ref().is_none_or(|(at, _)| at.elapsed() >= LIST_EACH);
        if is_due
            && let Some(memory) = &self.memory
            && !memory.is_held().await.map_err(|error| unwritten(&error))?
        {
            // A command wrote to it: all is looked at as if for the first time.
            (self.memory, self.handled) = (None, BTreeMap::new());
        }
        let names = self.list(&orders.rules, is_due).await?;
        let committed = self.committed(names, &orders.specs).await;
        let changed: BTreeMap<String, Committed> = committed
            .into_iter()
            .filter(|(group, committed)| {
                self.handled.get(group).is_none_or(|handled| {
                    handled.committed != *committed || !handled.is_done || handled.at.elapsed() >= self.again_after
                })
            })
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let mut memory = match self.memory.take() {
            Some(memory) => memory,
            None => match Memory::take(&self.setup).await.map_err(|error| unwritten(&error))? {
                Some(memory) => memory,
                None => return Ok(()),
            },
        };
        let is_free = |group: &String| memory.of(group).is_none_or(|memory| memory.taken_over_at_ms.is_none());
        let (changed, taken): (BTreeMap<_, _>, BTreeMap<_, _>) =
            changed.into_iter().partition(|(group, _)| is_free(group));
        for (group, committed) in taken {
            self.handled.insert(group, Handled { committed, is_done: true, at: Instant::now() });
        }
        let plans = self.plan(&memory, changed, &orders.specs).await;
        let kept = plans.iter().filter_map(|(group, plan)| Some((group.clone(), plan.memory.clone()?))).collect();
        memory.write(&self.lease, kept).await.map_err(|error| unwritten(&error))?;
        let in_use = match plans.values().any(|plan| !plan.commits.is_empty()) {
            true => {
                failpoint::hit(failpoint::BEFORE_GROUP_COMMIT);
                let in_use = self.commit(plans).await;
                failpoint::hit(failpoint::AFTER_GROUP_COMMIT);
                in_use
            }
            false => self.commit(plans).await,
        };
        let now_ms = self.setup.environment.clock.now_ms();
        let taken_over = in_use.into_iter().map(|group| {
            let known = memory.of(&group).cloned().unwrap_or_default();
            (group, GroupMemory { taken_over_at_ms: Some(now_ms), ..known })
        });
        memory.write(&self.lease, taken_over.collect()).await.map_err(|error| unwritten(&error))?;
        self.memory = Some(memory);
        Ok(())
    }

    /// The groups that are to be looked after.
    async fn list(&mut self, rules: &GroupRules, is_due: bool) -> Result<Vec<String>, Failed> {
        let all = match &self.listed {
            Some((_, groups)) if !is_due => groups.clone(),
            _ => {
                let groups = self.setup.source.list_groups().await;
                let groups = groups.map_err(|error| Failed {
                    words: format!(
                        "The source's groups cannot be listed, so no position is brought; trying again: {error}"
                    ),
                    may_pass: error.retry() != Retry::Never,
                })?;
                let groups: Vec<String> = groups.into_iter().collect();
                self.listed = Some((Instant::now(), groups.clone()));
                groups
            }
        };
        Ok(all.into_iter().filter(|group| rules.take(group)).collect())
    }

    /// What groups have committed of what is mirrored.
    async fn committed(&mut self, names: Vec<String>, specs: &Specs) -> BTreeMap<String, Committed> {
        let mut all = BTreeMap::new();
        for (group, answer) in offsets(&self.setup.source, names).await {
            match answer {
                Ok(offsets) => {
                    let mirrored = offsets.into_iter().filter_map(|(at, committed)| {
                        let key = PartitionKey { topic: at.topic, partition: at.partition };
                        specs.contains_key(&key).then_some((key, position(committed.ok()?)))
                    });
                    let mirrored: Committed = mirrored.collect();
                    if !mirrored.is_empty() {
                        all.insert(group, mirrored);
                    }
                }
                Err(error) => self.trouble(&group, &error),
            }
        }
        all
    }

    /// What to do with each group, for those of which both sides are known.
    async fn plan(
        &mut self,
        memory: &Memory,
        changed: BTreeMap<String, Committed>,
        specs: &Specs,
    ) -> BTreeMap<String, Plan> {
        let asked = changed.values().flatten().map(|(key, position)| (key.clone(), SourceOffset(position.offset)));
        let found = self.positions.find(asked.collect()).await;
        let starts = starts(&self.setup.target, found.keys().filter_map(|(key, _)| specs.get(key))).await;
        let on_target = offsets(&self.setup.target, changed.keys().cloned().collect()).await;
        let now_ms = self.setup.environment.clock.now_ms();
        let mut plans = BTreeMap::new();
        for (group, committed) in changed {
            let target = match on_target.get(&group) {
                Some(Ok(target)) => target,
                Some(Err(error)) => {
                    self.trouble(&group, error);
                    continue;
                }
                None => continue,
            };
            let again = self.handled.get(&group).is_some_and(|handled| handled.at.elapsed() >= self.again_after);
            let mut plan = Plan { committed, ..Plan::default() };
            let mut known = memory.of(&group).cloned().unwrap_or_default();
            for (key, source) in &plan.committed {
                let Some(spec) = specs.get(key) else { continue };
                let mirror = TopicPartition::new(spec.target_topic.as_str(), key.partition);
                let Some(start) = starts.get(&mirror) else {
                    plan.waits.insert(key.clone(), Wait::NoMap);
                    continue;
                };
                let target = match target.get(&mirror) {
                    Some(Ok(committed)) => Some(position(committed.clone())),
                    Some(Err(_)) => continue,
                    None => None,
                };
                let found = found.get(&(key.clone(), SourceOffset(source.offset)));
                let seen = Seen { source: source.clone(), mirror: found.map(|found| clamp(*found, *start)), target };
                match step(&seen, known.written.get(key), again) {
                    Step::Nothing => {}
                    Step::Commit(position, written) => {
                        known.written.insert(key.clone(), written);
                        plan.commits.insert(mirror, offset(position));
                    }
                    Step::Wait(wait) => drop(plan.waits.insert(key.clone(), wait)),
                    Step::TakenOver(found) => plan.taken_over = Some((mirror, found)),
                }
            }
            if let Some((at, found)) = &plan.taken_over {
                tracing::warn!(
                    link = self.setup.name,
                    group,
                    "The group has {found} on target {at}, which this link did not write: its positions are left alone \
                     from now on."
                );
                plan.commits.clear();
                known = memory.of(&group).cloned().unwrap_or_default();
                known.taken_over_at_ms = Some(now_ms);
                plan.memory = Some(known);
            } else if !plan.commits.is_empty() {
                plan.memory = Some(GroupMemory { at_ms: now_ms, ..known });
            }
            plans.insert(group, plan);
        }
        plans
    }

    /// Commits what was planned; the groups that are in use on the target.
    async fn commit(&mut self, plans: BTreeMap<String, Plan>) -> Vec<String> {
        let (turns, mut commits) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
        for (group, plan) in plans {
            let (target, lease, turns) = (self.setup.target.clone(), self.lease.clone(), Arc::clone(&turns));
            commits.spawn(async move {
                let _turn = turns.acquire().await;
                let results = match plan.commits.is_empty() {
                    true => Ok(BTreeMap::new()),
                    false => target.commit_group_offsets(&group, &plan.commits, Some(lease.permit())).await,
                };
                (group, plan, results)
            });
        }
        let mut in_use = Vec::new();
        for (group, plan, results) in commits.join_all().await {
            let refused = match results {
                Ok(results) => results.into_values().find_map(Result::err),
                Err(error) => Some(error),
            };
            let is_used = refused.as_ref().and_then(Error::code).is_some_and(|code| IN_USE.contains(&code));
            if is_used {
                tracing::warn!(
                    link = self.setup.name,
                    group,
                    "The group is in use on the target: its positions are left alone from now on."
                );
                in_use.push(group.clone());
            } else if let Some(error) = &refused {
                self.trouble(&group, error);
            }
            let is_done = is_used || plan.taken_over.is_some() || (refused.is_none() && plan.waits.is_empty());
            self.handled.insert(group, Handled { committed: plan.committed, is_done, at: Instant::now() });
        }
        in_use
    }

    /// What lasts is worth a warning; what may pass is tried again in the next round.
    fn trouble(&mut self, group: &str, error: &Error) {
        if error.retry() == Retry::Never {
            self.tell(format!("The positions of group {group} are not brought to the target: {error}"));
        } else {
            tracing::debug!(link = self.setup.name, group, %error, "Positions wait for the next round.");
        }
    }
}

/// A broker's word on a commit by somebody who is no member.
const IN_USE: [ErrorCode; 3] =
    [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::ILLEGAL_GENERATION, ErrorCode::REBALANCE_IN_PROGRESS];

/// What is to be done with a group.
#[derive(Debug, Default)]
struct Plan {
    committed: Committed,
    commits: BTreeMap<TopicPartition, CommittedOffset>,
    waits: BTreeMap<PartitionKey, Wait>,
    taken_over: Option<(TopicPartition, i64)>,
    /// What is to be kept in mind before that.
    memory: Option<GroupMemory>,
}

/// Why a round came to nothing.
struct Failed {
    words: String,
    /// Whether it is worth no more than a line for those who look closely.
    may_pass: bool,
}

fn unwritten(error: &StateError) -> Failed {
    let may_pass = match error {
        StateError::Client(error) => error.retry() != Retry::Never,
        StateError::Busy(_) => true,
        // Somebody else has taken the topic.
        StateError::NotWritten { code: ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED, .. } => true,
        StateError::NotWritten { code, .. } => code.retry() != Retry::Never,
        _ => false,
    };
    let words = "What is written of groups cannot be kept in mind, so no position is brought; trying again";
    Failed { words: format!("{words}: {error}"), may_pass }
}

fn position(committed: CommittedOffset) -> Position {
    Position { offset: committed.offset, metadata: committed.metadata }
}

fn offset(position: Position) -> CommittedOffset {
    CommittedOffset { offset: position.offset, metadata: position.metadata }
}

/// What lies below the mirror's start is not there any more.
fn clamp(found: Found, start: TargetOffset) -> Found {
    match found {
        Translation::Exact(at) | Translation::Next(at) | Translation::End(at) | Translation::Clamped(at)
            if at < start =>
        {
            Translation::Clamped(start)
        }
        found => found,
    }
}

/// Where the logs of mirrors start, of those that tell.
async fn starts<'a>(
    target: &Cluster,
    specs: impl Iterator<Item = &'a PartitionSpec>,
) -> BTreeMap<TopicPartition, TargetOffset> {
    let mirror = |spec: &PartitionSpec| TopicPartition::new(spec.target_topic.as_str(), spec.key.partition);
    let asked = specs.map(|spec| (mirror(spec), OffsetAt::Earliest)).collect();
    let listed = target.list_offsets(&asked, IsolationLevel::ReadUncommitted).await.unwrap_or_default();
    let start = |(at, listed): (_, Result<twinlog_client::admin::ListedOffset, Error>)| {
        Some((at, TargetOffset(listed.ok()?.offset.unwrap_or_default())))
    };
    listed.into_iter().filter_map(start).collect()
}

/// What a cluster says of groups: each one's offsets, by partition.
type Answers = BTreeMap<String, Result<BTreeMap<TopicPartition, Result<CommittedOffset, Error>>, Error>>;

/// All offsets of groups, some at the same time.
async fn offsets(cluster: &Cluster, groups: Vec<String>) -> Answers {
    let (turns, mut asked) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for group in groups {
        let (cluster, turns) = (cluster.clone(), Arc::clone(&turns));
        asked.spawn(async move {
            let _turn = turns.acquire().await;
            let answer = cluster.group_offsets(&group).await;
            (group, answer)
        });
    }
    asked.join_all().await.into_iter().collect()
}
