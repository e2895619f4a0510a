//! `resolve`: how a partition goes on that stopped. The decision is written into the link's state, under a number; the
//! instance that has the partition carries it out ([`twinlog_core::resolution`]).
//!
//! What it takes away from the target is taken away before: an instance that hears of the decision begins anew at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use twinlog_client::ErrorCode;
use twinlog_client::admin::TopicPartition;
use twinlog_core::link_state::LinkState;
use twinlog_core::map_record::PartitionKey;
use twinlog_core::report::{ChangeProgress, Failure, FailureKind, ResolveReport, ResolveRow};
use twinlog_core::resolution::{Exit, Resolution};
use twinlog_core::status::{PartitionStatus, Standing};

use crate::map_reader::MapReader;
use crate::names;
use crate::reach::out_of_reach;
use crate::state::StateTopic;
use crate::state::look::{failure, open, read};
use crate::status::status;
use crate::supervisor::LinkSetup;
use crate::translate::nearest;

/// All records of a partition, for DeleteRecords.
const ALL: i64 = -1;
/// How often it is looked whether a decision was carried out.
const LOOK: Duration = Duration::from_millis(300);
/// How long a topic may still be shown after it was deleted.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Topic on the source.
    pub topic: String,
    /// Partition; all of them that stopped where none is named.
    pub partition: Option<i32>,
    /// The way out.
    pub exit: Exit,
}

/// A decision that was not written yet.
#[derive(Debug)]
pub struct Planned {
    /// What it comes to.
    pub report: ResolveReport,
    exit: Exit,
    topic: StateTopic,
    decisions: BTreeMap<PartitionKey, Resolution>,
}

/// What came of waiting for it.
#[derive(Debug)]
pub struct Waited {
    /// The decision, as far as it was carried out.
    pub report: ResolveReport,
    /// Whether nobody is there to carry it out.
    pub nobody: bool,
}

/// What a decision would do; nothing is written.
pub async fn plan(setup: &LinkSetup, wish: &Wish) -> Result<Planned, Failure> {
    let Some(topic) = open(setup).await? else {
        let what = format!("link {} has never run: nothing of it has stopped", setup.name);
        return Err(Failure::new(FailureKind::Difference, what).advise(format!("start it: twinlog run {}", setup.name)));
    };
    let state = read(&topic).await?;
    let seen = status(setup).await?.status;
    let rows = stopped(&seen.partitions.iter().map(AsRef::as_ref).collect::<Vec<_>>(), wish)?;
    let at_ms = setup.environment.clock.now_ms();
    let (mut decisions, mut report) = (BTreeMap::new(), Vec::new());
    for row in rows {
        let key = PartitionKey { topic: row.topic.clone(), partition: row.partition };
        let number = state.resolutions().get(&key).map_or(0, |last| last.number) + 1;
        report.push(ResolveRow {
            topic: row.topic.clone(),
            target_topic: row.target_topic.clone(),
            partition: row.partition,
            state: row.state.clone(),
            detail: row.detail.clone(),
            number,
            doing: doing(wish.exit, row),
            carried_out: false,
        });
        decisions.insert(key, Resolution { number, exit: wish.exit, state: row.state.clone(), at_ms });
    }
    let (link, by) = (setup.name.clone(), wish.exit.name().to_owned());
    let report = ResolveReport { link, by, progress: ChangeProgress::Planned, partitions: report };
    Ok(Planned { report, exit: wish.exit, topic, decisions })
}

/// The partitions that are meant: those that stopped, in a state that has this way out.
fn stopped<'a>(all: &[&'a PartitionStatus], wish: &Wish) -> Result<Vec<&'a PartitionStatus>, Failure> {
    let Wish { topic, partition, exit } = wish;
    let of_topic: Vec<_> = all.iter().copied().filter(|row| row.topic == *topic).collect();
    if of_topic.is_empty() {
        let failure = Failure::new(FailureKind::Difference, format!("source topic {topic} is not one of the link's"));
        return Err(match nearest(topic, all.iter().map(|row| row.topic.as_str()).collect::<BTreeSet<_>>()) {
            near if near.is_empty() => failure.advise("the link has no mirror so far: see `twinlog status`"),
            near => failure.advise(format!("the nearest topics that are: {}", near.join(", "))),
        });
    }
    let named = |row: &&&PartitionStatus| partition.is_none_or(|number| row.partition == number);
    let meant: Vec<_> = of_topic.iter().filter(named).copied().collect();
    let halted: Vec<_> = meant.iter().copied().filter(|row| !ways_out(row).is_empty()).collect();
    let place = partition.map_or_else(|| topic.clone(), |number| format!("{topic}:{number}"));
    let Some(first) = halted.first() else {
        let what = match meant.first() {
            None => format!("source topic {topic} has no partition {}", partition.unwrap_or_default()),
            Some(row) if partition.is_some() => format!("source {place} has not stopped: it is {}", row.state),
            Some(_) => format!("no partition of source topic {topic} has stopped"),
        };
        return Err(Failure::new(FailureKind::Difference, what).advise("see `twinlog status`"));
    };
    if let Some(row) = halted.iter().find(|row| !ways_out(row).contains(exit)) {
        let what =
            format!("source {topic}:{} is {}, from which {} is no way out", row.partition, row.state, exit.name());
        let ways: Vec<_> = ways_out(row).iter().map(|exit| exit.name()).collect();
        return Err(Failure::new(FailureKind::Usage, what).advise(format!("its ways out: {}", ways.join(", "))));
    }
    if partition.is_some() && Exit::is_of_topics(&first.state) && of_topic.len() > 1 {
        let what = format!("source {place} is {}, which its whole topic is", first.state);
        return Err(Failure::new(FailureKind::Usage, what).advise(format!("name the topic: {topic}")));
    }
    Ok(halted)
}

/// The ways out for a partition; none if it has not stopped. Why nothing was copied so far only an instance knows.
fn ways_out(row: &PartitionStatus) -> &'static [Exit] {
    match row.standing {
        Standing::Halted => Exit::of(&row.state),
        Standing::Waiting if row.synced.is_none() => &[Exit::Retry, Exit::Accept],
        _ => &[],
    }
}

/// What is done, for whoever decides.
fn doing(exit: Exit, row: &PartitionStatus) -> String {
    let mirror = format!("{}:{}", row.target_topic, row.partition);
    match (exit, row.state.as_str()) {
        (Exit::Retry, _) if row.synced.is_none() => "it is looked at again whether it can be copied".to_owned(),
        (Exit::Retry, _) => "it goes on where it stopped".to_owned(),
        (Exit::SkipGap, "gap") => {
            "the source offsets that are gone are noted as lost; it goes on behind them".to_owned()
        }
        (Exit::SkipGap, _) => "the batch is left out and noted as lost; it goes on behind it".to_owned(),
        (Exit::Accept, "source-truncated") => {
            format!("target {mirror} keeps what the source took back; it goes on where the source parts")
        }
        (Exit::Accept, "source-deleted") => format!("target {mirror} stays as it is, and nothing more is copied"),
        (Exit::Accept, "recreated") => {
            format!("target {mirror} keeps what it holds; the new source topic is copied behind it, from its start")
        }
        (Exit::Accept, state) if state.starts_with("target-") || row.synced.is_none() => {
            format!("target {mirror} keeps what it holds; the source is copied behind it, from its start")
        }
        (Exit::Accept, _) => format!("target {mirror} keeps what others wrote; it goes on behind that"),
        (Exit::Resync, _) => {
            format!("ALL RECORDS of target {mirror} are deleted; it is copied again from the source's start")
        }
        (Exit::Recreate, _) => {
            format!("target topic {} is DELETED and made anew; it is copied from the source's start", row.target_topic)
        }
    }
}

impl Planned {
    /// Takes away what is to go, writes the decision into the state, and waits until it is carried out, at most for so
    /// long.
    pub async fn carry_out(self, setup: &LinkSetup, wait: Duration) -> Result<Waited, Failure> {
        let Self { mut report, exit, topic, decisions } = self;
        match exit {
            Exit::Resync => empty(setup, &report).await?,
            Exit::Recreate => delete(setup, &report).await?,
            Exit::Retry | Exit::SkipGap | Exit::Accept => {}
        }
        let written = topic.update(|state| Ok(state.resolve(&decisions))).await.map_err(|error| failure(&error))?;
        if let Some((key, _)) =
            decisions.iter().find(|(key, decision)| written.resolutions().get(key) != Some(decision))
        {
            let what = format!("somebody else has decided on source {}:{} just now", key.topic, key.partition);
            return Err(Failure::new(FailureKind::Difference, what).advise("see `twinlog status`, and decide again"));
        }
        let members = setup.target.group_members(&names::group(&setup.name)).await;
        let nobody = members.is_ok_and(|members| members.is_empty());
        let deadline = Instant::now() + wait;
        loop {
            let left = mark(setup, &written, &mut report).await?;
            if left == 0 || nobody || Instant::now() >= deadline {
                let is_over = left == 0;
                report.progress = if is_over { ChangeProgress::Done } else { ChangeProgress::UnderWay };
                return Ok(Waited { report, nobody: nobody && !is_over });
            }
            sleep(LOOK).await;
        }
    }
}

/// Marks what was carried out by now; how many are left.
async fn mark(setup: &LinkSetup, state: &LinkState, report: &mut ResolveReport) -> Result<usize, Failure> {
    let resolved = resolved(setup).await?;
    let mut left = 0;
    for row in &mut report.partitions {
        let key = PartitionKey { topic: row.topic.clone(), partition: row.partition };
        let Some(decision) = state.resolutions().get(&key) else { continue };
        row.carried_out = is_carried_out(decision, resolved.get(&key).copied());
        left += usize::from(!row.carried_out);
    }
    Ok(left)
}

/// The last decision about each partition that was carried out, by the map.
async fn resolved(setup: &LinkSetup) -> Result<BTreeMap<PartitionKey, u64>, Failure> {
    let Some(mut map) = MapReader::open(setup, Box::new(|_| false)).await? else { return Ok(BTreeMap::new()) };
    map.read().await?;
    Ok(map.heads().map(|(key, head)| (key.clone(), head.resolved)).collect())
}

/// Whether a decision was carried out, given the number of the last one that the map names, if it knows the partition.
pub(crate) fn is_carried_out(decision: &Resolution, resolved: Option<u64>) -> bool {
    // Of a topic that is gone nothing more is copied: there is nothing to carry out.
    let needs_nothing = decision.exit == Exit::Accept && decision.state == "source-deleted";
    match resolved {
        Some(resolved) => needs_nothing || resolved >= decision.number,
        // The source has no such partition any more.
        None => needs_nothing || decision.exit == Exit::Recreate,
    }
}

/// Deletes all records of the mirrors' partitions.
async fn empty(setup: &LinkSetup, report: &ResolveReport) -> Result<(), Failure> {
    let at = |row: &ResolveRow| TopicPartition::new(row.target_topic.as_str(), row.partition);
    let all: BTreeMap<_, _> = report.partitions.iter().map(|row| (at(row), ALL)).collect();
    let deleted = setup.target.delete_records(&all).await.map_err(|error| out_of_reach(&error))?;
    match deleted.into_values().find_map(Result::err) {
        Some(error) => Err(undecided(&error)),
        None => Ok(()),
    }
}

/// What was to go on the target did not.
fn undecided(error: &twinlog_client::Error) -> Failure {
    let failure = out_of_reach(error);
    match error.code() {
        Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED) => {
            failure.advise("it needs Delete on the target topic; nothing was decided")
        }
        _ => failure.advise("nothing was decided"),
    }
}

/// Deletes the mirrors, and waits until they are gone.
async fn delete(setup: &LinkSetup, report: &ResolveReport) -> Result<(), Failure> {
    let topics: BTreeSet<String> = report.partitions.iter().map(|row| row.target_topic.clone()).collect();
    let asked: Vec<String> = topics.iter().cloned().collect();
    let deleted = setup.target.delete_topics(&asked).await.map_err(|error| out_of_reach(&error))?;
    let is_gone = |error: &twinlog_client::Error| error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    if let Some(error) = deleted.into_values().filter_map(Result::err).find(|error| !is_gone(error)) {
        return Err(undecided(&error));
    }
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let metadata = setup.target.refresh().await.map_err(|error| out_of_reach(&error))?;
        let is_there = |topic: &&String| {
            metadata.topics.get(*topic).is_some_and(|found| found.error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        };
        let Some(left) = topics.iter().find(is_there) else { return Ok(()) };
        if Instant::now() >= deadline {
            let what = format!("target topic {left} was deleted and is still shown; nothing was decided");
            return Err(Failure::new(FailureKind::Difference, what).advise("wait until it is gone, then decide again"));
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(partition: i32, standing: Standing, state: &str) -> PartitionStatus {
        let key = PartitionKey { topic: "orders".to_owned(), partition };
        PartitionStatus::new(key, "orders".to_owned(), 0, standing, state)
    }

    fn stopped_row(state: &str) -> PartitionStatus {
        PartitionStatus { synced: Some(5), ..row(0, Standing::Halted, state) }
    }

    fn wish(topic: &str, partition: Option<i32>, exit: Exit) -> Wish {
        Wish { topic: topic.to_owned(), partition, exit }
    }

    #[test]
    fn only_what_stopped_is_meant() {
        let (gap, fine) = (row(0, Standing::Halted, "gap"), row(1, Standing::Copying, "copying"));
        let all = [&gap, &fine];
        let of = |wish: Wish| stopped(&all, &wish);
        let numbers = |rows: Vec<&PartitionStatus>| rows.iter().map(|row| row.partition).collect::<Vec<_>>();
        assert_eq!(of(wish("orders", None, Exit::SkipGap)).map(numbers), Ok(vec![0]));
        assert_eq!(of(wish("orders", Some(0), Exit::Resync)).map(numbers), Ok(vec![0]));
        for (wish, kind, what) in [
            (wish("order", None, Exit::Retry), FailureKind::Difference, "source topic order is not one of the link's"),
            (
                wish("orders", Some(1), Exit::Retry),
                FailureKind::Difference,
                "source orders:1 has not stopped: it is copying",
            ),
            (wish("orders", Some(7), Exit::Retry), FailureKind::Difference, "source topic orders has no partition 7"),
            (
                wish("orders", None, Exit::Accept),
                FailureKind::Usage,
                "source orders:0 is gap, from which accept is no way out",
            ),
        ] {
            let failure = of(wish).expect_err(what);
            assert_eq!((failure.kind, failure.what.as_str()), (kind, what));
            assert!(!failure.advice.is_empty());
        }
    }

    #[test]
    fn what_a_whole_topic_is_takes_a_whole_topic() {
        let rows = [0, 1].map(|partition| row(partition, Standing::Halted, "recreated"));
        let all: Vec<_> = rows.iter().collect();
        let failure = stopped(&all, &wish("orders", Some(0), Exit::Recreate)).expect_err("one partition");
        assert_eq!(failure.what, "source orders:0 is recreated, which its whole topic is");
        assert_eq!(stopped(&all, &wish("orders", None, Exit::Recreate)).map(|rows| rows.len()), Ok(2));
    }

    #[test]
    fn every_way_out_of_every_state_says_what_it_does() {
        let documented = include_str!("../../docs/states.md");
        let states = [
            "gap",
            "source-truncated",
            "source-deleted",
            "recreated",
            "diverged",
            "target-truncated",
            "target-trimmed",
            "target-recreated",
            "target-not-empty",
            "too-large",
            "refused",
            "unsupported",
            "unreadable",
            "claimed",
            "mirror-settings",
        ];
        for state in states {
            assert!(!Exit::of(state).is_empty(), "{state} has no way out");
            let row = documented.lines().find(|line| line.starts_with(&format!("| `{state}` |")));
            let row = row.unwrap_or_else(|| panic!("docs/states.md says nothing of {state}"));
            for exit in Exit::of(state) {
                assert!(row.contains(&format!("`{}`", exit.name())), "docs/states.md: {state} by {}", exit.name());
                let words = doing(*exit, &stopped_row(state));
                let takes_away = matches!(exit, Exit::Resync | Exit::Recreate);
                assert_eq!(words.contains("DELETED") || words.contains("ALL RECORDS"), takes_away, "{words}");
            }
        }
        let going_on = [
            "caught-up",
            "copying",
            "waiting-for-transactions",
            "beginning",
            "fencing",
            "recovering",
            "moving",
            "waiting",
            "elsewhere",
            "stopping",
            "target-offline",
            "stalled",
            "retrying",
            "not-selected",
            "held",
        ];
        for state in going_on {
            let mut rows = documented.lines().filter(|line| line.starts_with("| `"));
            assert!(rows.any(|row| row.contains(&format!("`{state}`"))), "docs/states.md says nothing of {state}");
        }
    }
}
