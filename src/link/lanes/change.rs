//! A change of lanes: planned by the state as it is, written by compare-and-swap, and followed until it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use twinlog_core::link_state::{LinkState, Refusal};
use twinlog_core::map_record::PartitionKey;
use twinlog_core::moves::Place;
use twinlog_core::rebalance::rebalance;
use twinlog_core::report::{ChangeProgress, Failure, FailureKind, LanesChange};
use twinlog_core::state_record::StateRecord;

use super::{known, mirror_bytes, moves, no_lanes};
use crate::map_topic::{MapTopicError, grow_map_topic};
use crate::names;
use crate::reach::out_of_reach;
use crate::state::look::failure;
use crate::state::{StateError, StateTopic};
use crate::supervisor::LinkSetup;
use crate::translate::nearest;

/// What somebody wants of the lanes of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A partition, or all of a topic, in another lane.
    Move {
        /// Topic on the source.
        topic: String,
        /// Partition; all of them where none is named.
        partition: Option<i32>,
        /// The lane.
        to: u32,
    },
    /// As many bytes in every lane, as far as partitions can be shared out.
    Rebalance,
    /// So many lanes.
    Resize(u32),
}

/// A change that was planned.
#[derive(Debug)]
pub struct Planned {
    /// What it comes to.
    pub change: LanesChange,
    topic: StateTopic,
    decision: Decision,
}

/// What is asked of the state; made again, it comes to the same.
#[derive(Clone, Debug)]
enum Decision {
    Send(BTreeMap<PartitionKey, u32>),
    Resize(u32),
}

/// What came of waiting for a change.
#[derive(Debug)]
pub struct Waited {
    /// The change, as far as it is.
    pub change: LanesChange,
    /// Whether nobody is there to carry it out.
    pub nobody: bool,
}

/// What a change would do; nothing is written.
pub async fn plan(setup: &LinkSetup, wanted: &Change) -> Result<Planned, Failure> {
    let Some((topic, state)) = known(setup).await? else {
        let failure = Failure::new(FailureKind::Difference, no_lanes(setup));
        return Err(failure.advise(format!("start it once: twinlog run {}", setup.name)));
    };
    let bytes = mirror_bytes(setup, &state).await?;
    let decision = match wanted {
        Change::Move { topic, partition, to } => {
            let to = named(&state, topic, *partition)?.into_iter().map(|key| (key, *to)).collect();
            Decision::Send(to)
        }
        Change::Rebalance => match &bytes {
            Ok(bytes) => Decision::Send(rebalance(&state, bytes)),
            Err(error) => {
                return Err(out_of_reach(error).advise("grant Describe on the target cluster, or move by hand"));
            }
        },
        Change::Resize(lanes) => Decision::Resize(*lanes),
    };
    let records = decision.decide(&state).map_err(|refusal| failure(&StateError::Refused(refusal)))?;
    let under_way = decision.under_way(&state);
    let is_closing = matches!(decision, Decision::Resize(_)) && goes(&state);
    let progress = match records.is_empty() {
        false => ChangeProgress::Planned,
        true if is_closing || !under_way.is_empty() => ChangeProgress::UnderWay,
        true => ChangeProgress::Nothing,
    };
    let after = with(&state, records);
    let wanted = |state: &LinkState| state.lanes().map_or(0, |lanes| lanes.wanted);
    let moved = after.moves_since(&state).into_iter().chain(under_way).collect();
    let moved = moves(moved, bytes.ok().as_ref());
    let change = LanesChange {
        link: setup.name.clone(),
        progress,
        lanes_before: wanted(&state),
        lanes_after: wanted(&after),
        moves: moved,
        moving: 0,
    };
    Ok(Planned { change, topic, decision })
}

/// The partitions that are meant.
fn named(state: &LinkState, topic: &str, partition: Option<i32>) -> Result<Vec<PartitionKey>, Failure> {
    let all: Vec<_> = state.places().map(|(key, _)| key).collect();
    let of_topic: Vec<_> = all.iter().filter(|key| key.topic == topic).cloned().collect();
    let Some(last) = of_topic.last() else {
        let what = format!("source topic {topic} is in no lane of the link: it is not mirrored");
        let failure = Failure::new(FailureKind::Difference, what);
        return Err(match nearest(topic, all.iter().map(|key| key.topic.as_str()).collect::<BTreeSet<_>>()) {
            near if near.is_empty() => failure.advise("the link has no mirror so far: see `twinlog status`"),
            near => failure.advise(format!("the nearest topics that are: {}", near.join(", "))),
        });
    };
    match partition {
        None => Ok(of_topic),
        Some(number) if number <= last.partition => {
            Ok(of_topic.into_iter().filter(|key| key.partition == number).collect())
        }
        Some(number) => {
            let what =
                format!("source {topic}:{number} is in no lane: partitions 0 to {} of the topic are", last.partition);
            Err(Failure::new(FailureKind::Difference, what).advise("name one of these"))
        }
    }
}

fn with(state: &LinkState, records: Vec<StateRecord>) -> LinkState {
    let mut after = state.clone();
    records.into_iter().for_each(|record| after.apply(record));
    after
}

/// Whether lanes are to go.
fn goes(state: &LinkState) -> bool {
    state.lanes().is_some_and(|lanes| lanes.wanted < lanes.count)
}

impl Decision {
    /// What was asked for before and is on its way.
    fn under_way(&self, state: &LinkState) -> Vec<(PartitionKey, Place)> {
        let is_asked_for = |(key, place): &(PartitionKey, Place)| match self {
            Self::Send(to) => to.get(key) == Some(&place.lane),
            Self::Resize(lanes) => place.from.is_some_and(|from| from >= *lanes),
        };
        state.places().filter(|(_, place)| place.from.is_some()).filter(is_asked_for).collect()
    }

    fn decide(&self, state: &LinkState) -> Result<Vec<StateRecord>, Refusal> {
        match self {
            Self::Send(to) => state.send(to),
            Self::Resize(lanes) => {
                let mut records = state.resize(*lanes)?;
                // Lanes with nothing in them go at once, also with nobody there.
                records.extend(with(state, records.clone()).go_on_shrinking());
                Ok(records)
            }
        }
    }
}

impl Planned {
    /// Writes the change into the state, and waits until it is over, at most for so long. `progress` hears how many
    /// partitions are on their way.
    pub async fn carry_out(
        self,
        setup: &LinkSetup,
        wait: Duration,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Waited, Failure> {
        let Self { mut change, topic, decision } = self;
        if let Decision::Resize(lanes) = decision {
            // Whoever reads of a lane finds its partition of the map.
            grow_map_topic(&setup.target, &setup.name, lanes).await.map_err(|error| no_map(&error))?;
        }
        let keys: Vec<_> = change
            .moves
            .iter()
            .map(|one| PartitionKey { topic: one.topic.clone(), partition: one.partition })
            .collect();
        let written = topic.update(|state| decision.decide(state)).await.map_err(|error| failure(&error))?;
        let moved = keys.into_iter().filter_map(|key| Some((key.clone(), written.place(&key)?))).collect();
        let watched = Watched { moved, shrinks: matches!(decision, Decision::Resize(_)) };
        let (mut left, mut nobody) = (watched.left(&written), false);
        if left > 0 && wait > Duration::ZERO {
            let members = setup.target.group_members(&names::group(&setup.name)).await;
            nobody = members.is_ok_and(|members| members.is_empty());
            if !nobody {
                let followed = watched.follow(&topic, &written, Instant::now() + wait, progress).await;
                left = followed.map_err(|error| {
                    failure(&error)
                        .advise(format!("the change is written and goes on: see `twinlog lanes {}`", setup.name))
                })?;
            }
        }
        change.moving = left;
        change.progress = if left == 0 { ChangeProgress::Done } else { ChangeProgress::UnderWay };
        Ok(Waited { change, nobody })
    }
}

/// What is looked at until a change is over.
struct Watched {
    /// What was moved, as it was written.
    moved: Vec<(PartitionKey, Place)>,
    /// Whether lanes go when nothing is in them any more.
    shrinks: bool,
}

impl Watched {
    /// How many partitions are on their way.
    fn left(&self, state: &LinkState) -> u64 {
        let moving = self.moved.iter().filter(|(key, place)| state.is_moving(key, place.number)).count();
        // The lanes themselves are the last to go.
        let leaving = if self.shrinks && goes(state) { state.to_leave().max(1) } else { 0 };
        u64::try_from(moving.max(leaving)).unwrap_or(u64::MAX)
    }

    /// Follows the state from `written` on, until nothing is on its way any more or until the deadline; how many still
    /// are.
    async fn follow(
        &self,
        topic: &StateTopic,
        written: &LinkState,
        deadline: Instant,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u64, StateError> {
        let follower = topic.follow();
        let mut changes = follower.listen();
        let mut left = self.left(written);
        if let Ok(fresh) = timeout_at(deadline, follower.fresh()).await {
            left = self.left(&*fresh?);
            while left > 0 {
                progress(left);
                let Ok(state) = timeout_at(deadline, changes.changed()).await else { break };
                left = self.left(&state);
            }
        }
        Ok(left)
    }
}

fn no_map(error: &MapTopicError) -> Failure {
    match error {
        MapTopicError::Client(error) => out_of_reach(error).advise("adding partitions to the map needs Alter on it"),
        error => Failure::new(FailureKind::Refused, error.to_string()),
    }
}
