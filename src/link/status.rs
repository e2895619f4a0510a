//! `status`: where each partition stands, from the clusters alone. No `run` need be up, and the source may be gone.

mod transactions;
mod unbegun;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use twinlog_client::admin::{IsolationLevel, ListedOffset, OffsetAt, TopicPartition};
use twinlog_client::{Cluster, Error, Metadata};
use twinlog_core::halt::Halt;
use twinlog_core::link_state::{LinkState, spread};
use twinlog_core::map_record::PartitionKey;
use twinlog_core::report::Failure;
use twinlog_core::resolution::Resolution;
use twinlog_core::status::{Decision, LinkStatus, PartitionStatus, Standing, TARGET_OFFLINE, WAITING_FOR_TRANSACTIONS};

use crate::map_reader::{MirrorEnd, PartitionMap, Snapshot, Wanted, snapshot};
use crate::resolve::is_carried_out;
use crate::state::look::look;
use crate::supervisor::LinkSetup;

/// A link as its clusters show it, and what somebody should know besides.
#[derive(Debug)]
pub struct Seen {
    /// The link's partitions.
    pub status: LinkStatus,
    /// Plain sentences: what could not be had, and why.
    pub words: Vec<String>,
}

/// Where each partition of a link stands. Only a target out of reach is a failure.
pub async fn status(setup: &LinkSetup) -> Result<Seen, Failure> {
    let wanted = Wanted { partitions: Box::new(|_| true), whole: false };
    let (snapshot, source, state) = tokio::join!(snapshot(setup, wanted), SourceSide::ask(setup), look(setup));
    let state = state?.unwrap_or_default();
    let mut words = Vec::new();
    let Snapshot { lanes, partitions: mapped, mut stopped } = snapshot?.unwrap_or_else(|| {
        words.push(format!("link {} has never run: nothing is copied so far", setup.name));
        Snapshot { lanes: setup.config.lanes.into(), partitions: Vec::new(), stopped: BTreeMap::new() }
    });
    let source = match source {
        Ok(source) => Some(source),
        Err(error) => {
            words.push(format!("the source cannot be asked, so its columns are empty: {error}"));
            None
        }
    };
    let ends = match &source {
        Some(source) => source.ends(setup, &mapped).await,
        None => BTreeMap::new(),
    };
    let mut rows = BTreeMap::new();
    for partition in mapped {
        let facts = source.as_ref().map(|source| source.of(&partition, ends.get(&partition.key)));
        let decision = state.resolutions().get(&partition.key);
        rows.insert(partition.key.clone(), row(partition, facts, decision));
    }
    // The state knows best how many lanes there are; the map has room for more after some have gone.
    let lanes = state.lanes().map_or(lanes, |known| known.count);
    let selected = || source.iter().flat_map(|source| &source.selected);
    let is_unknown = |key: &&PartitionKey| !rows.contains_key(*key) && !stopped.contains_key(*key);
    let unbegun: BTreeSet<_> = selected().map(|(key, _)| key).filter(is_unknown).map(|key| key.topic.clone()).collect();
    let halts = unbegun::halts(setup, &state, &unbegun).await.unwrap_or_else(|error| {
        words.push(format!("whether mirrors that were not begun can be is not known: {error}"));
        BTreeMap::new()
    });
    for (key, target_topic) in selected() {
        let halt = || halts.get(&key.topic).map(|halt| (halt.name().to_owned(), halt.to_string()));
        let (end, halt) = (ends.get(key), stopped.remove(key).or_else(halt));
        let lane = || lane_of(&state, key, lanes);
        rows.entry(key.clone()).or_insert_with(|| not_begun(key, target_topic, lane(), end, halt));
    }
    if let Some(source) = &source {
        transactions::name(&source.cluster, &mut rows).await;
    }
    let lanes = u16::try_from(lanes).unwrap_or(u16::MAX);
    let status = LinkStatus { lanes, ..setup.status(rows.into_values().map(Arc::new).collect()) };
    Ok(Seen { status, words })
}

/// What the source says of its topics.
struct SourceSide {
    cluster: Cluster,
    metadata: Arc<Metadata>,
    /// Partitions that the configuration selects now, with the mirrors' names.
    selected: BTreeMap<PartitionKey, String>,
}

/// High watermark and last stable offset of a source partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    high_watermark: i64,
    last_stable: i64,
}

/// What the source says of one mirrored partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceFacts {
    /// Its topic is not there.
    Deleted,
    /// Its topic is there under another id.
    Recreated,
    /// It is there. Without ends its leader did not answer.
    There {
        /// Whether the configuration selects it.
        selected: bool,
        /// Its ends.
        ends: Option<Ends>,
    },
}

impl SourceSide {
    async fn ask(setup: &LinkSetup) -> Result<Self, Error> {
        let metadata = setup.source.refresh().await?;
        let selection = setup.config.topics.select(&setup.config.source, metadata.topics.keys().map(String::as_str));
        let mut selected = BTreeMap::new();
        for mirror in selection.mirrors {
            let partitions = metadata.topics.get(&mirror.source_topic).map(|topic| &topic.partitions);
            for partition in partitions.into_iter().flatten() {
                let key = PartitionKey { topic: mirror.source_topic.clone(), partition: partition.index };
                selected.insert(key, mirror.target_topic.clone());
            }
        }
        Ok(Self { cluster: setup.source.clone(), metadata, selected })
    }

    /// The ends of all partitions that are shown, where their leaders answer.
    async fn ends(&self, setup: &LinkSetup, mapped: &[PartitionMap]) -> BTreeMap<PartitionKey, Ends> {
        let there = |key: &&PartitionKey| self.metadata.partition(&key.topic, key.partition).is_some();
        let keys = || mapped.iter().map(|partition| &partition.key).chain(self.selected.keys()).filter(there);
        let asked: BTreeMap<_, _> = keys().map(|key| (at(key), OffsetAt::Latest)).collect();
        let list = async |isolation| self.cluster.list_offsets(&asked, isolation).await.unwrap_or_default();
        // The last stable offset first: it is never above a later high watermark.
        let last_stable = list(IsolationLevel::ReadCommitted).await;
        let high_watermark = list(IsolationLevel::ReadUncommitted).await;
        let number = |listed: &BTreeMap<TopicPartition, Result<ListedOffset, Error>>, key: &PartitionKey| {
            let found = listed.get(&at(key))?;
            match found {
                Ok(found) => found.offset,
                Err(error) => {
                    tracing::debug!(link = setup.name, %error, "A source partition does not tell its end.");
                    None
                }
            }
        };
        let ends = keys().filter_map(|key| {
            let ends = Ends { high_watermark: number(&high_watermark, key)?, last_stable: number(&last_stable, key)? };
            Some((key.clone(), ends))
        });
        ends.collect()
    }

    fn of(&self, partition: &PartitionMap, ends: Option<&Ends>) -> SourceFacts {
        let Some(topic) = self.metadata.topics.get(&partition.key.topic) else { return SourceFacts::Deleted };
        let id = topic.id_bytes();
        if id != partition.source_topic_id {
            return SourceFacts::Recreated;
        }
        SourceFacts::There { selected: self.selected.contains_key(&partition.key), ends: ends.copied() }
    }
}

fn at(key: &PartitionKey) -> TopicPartition {
    TopicPartition::new(key.topic.as_str(), key.partition)
}

/// The lane that a partition is in, or is to be put into, of which nothing is copied.
fn lane_of(state: &LinkState, key: &PartitionKey, lanes: u32) -> u32 {
    let wanted = state.lanes().map_or(lanes, |known| known.wanted);
    state.place(key).map_or_else(|| spread(&key.topic, key.partition, wanted), |place| place.lane)
}

fn shown(lane: u32) -> u16 {
    u16::try_from(lane).unwrap_or(u16::MAX)
}

/// A selected partition of which nothing is copied, and why it stopped, if it did.
fn not_begun(
    key: &PartitionKey,
    target_topic: &str,
    lane: u32,
    ends: Option<&Ends>,
    halt: Option<(String, String)>,
) -> PartitionStatus {
    let standing = if halt.is_some() { Standing::Halted } else { Standing::Waiting };
    let (state, detail) = halt.unwrap_or_else(|| ("waiting".to_owned(), "not begun".to_owned()));
    PartitionStatus {
        detail: Some(detail),
        high_watermark: ends.map(|ends| ends.high_watermark),
        last_stable_offset: ends.map(|ends| ends.last_stable),
        ..PartitionStatus::new(key.clone(), target_topic.to_owned(), shown(lane), standing, &state)
    }
}

/// A partition that the map knows. Without `source` the source is out of reach.
fn row(partition: PartitionMap, source: Option<SourceFacts>, decision: Option<&Resolution>) -> PartitionStatus {
    let synced = partition.extent.synced.0;
    let (standing, state, detail) = judge(&partition, source);
    let decision = decision.map(|decision| decided(decision, partition.resolved));
    let detail = detail.or_else(|| words(decision.as_ref(), partition.lost.offsets));
    let ends = match source {
        Some(SourceFacts::There { ends, .. }) => ends,
        _ => None,
    };
    PartitionStatus {
        detail,
        synced: Some(synced),
        high_watermark: ends.map(|ends| ends.high_watermark),
        last_stable_offset: ends.map(|ends| ends.last_stable),
        lost: partition.lost.offsets,
        decision,
        ..PartitionStatus::new(partition.key, partition.target_topic, shown(partition.lane), standing, &state)
    }
}

fn decided(decision: &Resolution, resolved: u64) -> Decision {
    Decision {
        number: decision.number,
        by: decision.exit.name().to_owned(),
        state: decision.state.clone(),
        at_ms: decision.at_ms,
        carried_out: is_carried_out(decision, Some(resolved)),
    }
}

/// What was decided, and what it cost.
fn words(decision: Option<&Decision>, lost: u64) -> Option<String> {
    let decided = decision.map(|Decision { by, state, carried_out, .. }| {
        let done = if *carried_out { "was" } else { "is to be" };
        format!("it was {state} and {done} resolved by {by}")
    });
    let lost = (lost > 0).then(|| format!("{lost} source offsets were left out"));
    let words: Vec<_> = decided.into_iter().chain(lost).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// The worst that is known of a partition: what the map says, what the mirror shows, what the source shows.
fn judge(partition: &PartitionMap, source: Option<SourceFacts>) -> (Standing, String, Option<String>) {
    let halted = |halt: Halt| (Standing::Halted, halt.name().to_owned(), Some(halt.to_string()));
    let plain = |standing, state: &str, detail: Option<String>| (standing, state.to_owned(), detail);
    if let Some((name, words)) = &partition.halt {
        return (Standing::Halted, name.clone(), Some(words.clone()));
    }
    match &partition.end {
        MirrorEnd::Ours => {}
        MirrorEnd::Foreign { expected, found } => {
            return halted(Halt::Diverged { expected: *expected, found: *found });
        }
        MirrorEnd::Truncated { acknowledged, found } => {
            return halted(Halt::TargetTruncated { acknowledged: *acknowledged, found: *found });
        }
        MirrorEnd::Deleted | MirrorEnd::Recreated => return halted(Halt::TargetRecreated),
        MirrorEnd::Unread(error) => return plain(Standing::Waiting, TARGET_OFFLINE, Some(error.to_string())),
    }
    let synced = partition.extent.synced;
    match source {
        None => plain(Standing::Waiting, "waiting", Some("the source is out of reach".to_owned())),
        Some(SourceFacts::Deleted) => halted(Halt::SourceDeleted),
        Some(SourceFacts::Recreated) => halted(Halt::Recreated),
        Some(SourceFacts::There { selected: false, .. }) => {
            plain(Standing::Waiting, "not-selected", Some("the configuration no longer selects the topic".to_owned()))
        }
        Some(SourceFacts::There { ends: None, .. }) => {
            plain(Standing::Waiting, "waiting", Some("the source partition has no leader".to_owned()))
        }
        Some(SourceFacts::There { ends: Some(ends), .. }) => match ends {
            Ends { high_watermark, .. } if synced.0 >= high_watermark => plain(Standing::CaughtUp, "caught-up", None),
            Ends { high_watermark, last_stable } if synced.0 >= last_stable => {
                let open = format!("transactions are open on the source between {last_stable} and {high_watermark}");
                plain(Standing::Copying, WAITING_FOR_TRANSACTIONS, Some(open))
            }
            _ => plain(Standing::Copying, "copying", None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlog_core::ids::{SourceOffset, TargetOffset};
    use twinlog_core::offset_map::{Extent, OffsetMap};
    use twinlog_core::resolution::{Exit, Lost};

    fn partition() -> PartitionMap {
        PartitionMap {
            key: PartitionKey { topic: "orders".into(), partition: 0 },
            lane: 0,
            source_topic_id: [1; 16],
            target_topic: "orders".into(),
            target_topic_id: [2; 16],
            map: OffsetMap::new(),
            extent: Extent { synced: SourceOffset(100), next_target: TargetOffset(91) },
            halt: None,
            resolved: 0,
            lost: Lost::default(),
            target_start: Some(TargetOffset(0)),
            end: MirrorEnd::Ours,
        }
    }

    fn there(last_stable: i64, high_watermark: i64) -> Option<SourceFacts> {
        Some(SourceFacts::There { selected: true, ends: Some(Ends { high_watermark, last_stable }) })
    }

    fn state(partition: &PartitionMap, source: Option<SourceFacts>) -> (Standing, String) {
        let (standing, state, _) = judge(partition, source);
        (standing, state)
    }

    #[test]
    fn the_sources_ends_say_whether_it_is_caught_up() {
        let caught_up = (Standing::CaughtUp, "caught-up".to_owned());
        let copying = (Standing::Copying, "copying".to_owned());
        assert_eq!(state(&partition(), there(100, 100)), caught_up);
        // The ends are asked for while the link goes on: they may be behind it.
        assert_eq!(state(&partition(), there(90, 90)), caught_up);
        assert_eq!(state(&partition(), there(101, 101)), copying);
        assert_eq!(state(&partition(), there(100, 120)).1, "waiting-for-transactions");
        let (_, _, detail) = judge(&partition(), there(100, 120));
        assert_eq!(detail.as_deref(), Some("transactions are open on the source between 100 and 120"));
        assert_eq!(judge(&partition(), there(110, 120)).2, None);
    }

    #[test]
    fn what_stops_a_partition_is_named_before_what_it_waits_for() {
        let mut halted = partition();
        halted.halt = Some(("too-large".into(), "words".into()));
        halted.end = MirrorEnd::Deleted;
        assert_eq!(judge(&halted, None), (Standing::Halted, "too-large".into(), Some("words".into())));

        let foreign = MirrorEnd::Foreign { expected: TargetOffset(91), found: TargetOffset(93) };
        for (end, name) in [
            (foreign, "diverged"),
            (MirrorEnd::Truncated { acknowledged: TargetOffset(91), found: TargetOffset(40) }, "target-truncated"),
            (MirrorEnd::Deleted, "target-recreated"),
            (MirrorEnd::Recreated, "target-recreated"),
        ] {
            assert_eq!(state(&PartitionMap { end, ..partition() }, there(100, 100)), (Standing::Halted, name.into()));
        }
        assert_eq!(state(&partition(), Some(SourceFacts::Deleted)), (Standing::Halted, "source-deleted".into()));
        assert_eq!(state(&partition(), Some(SourceFacts::Recreated)), (Standing::Halted, "recreated".into()));
    }

    #[test]
    fn what_stopped_before_it_began_says_why() {
        let key = partition().key;
        let row = not_begun(&key, "orders", 4, None, Some(("target-not-empty".into(), "words".into())));
        assert_eq!(
            (row.standing, row.state.as_str(), row.detail.as_deref()),
            (Standing::Halted, "target-not-empty", Some("words"))
        );
        let row = not_begun(&key, "orders", 4, None, None);
        assert_eq!((row.standing, row.state.as_str()), (Standing::Waiting, "waiting"));
    }

    #[test]
    fn what_was_decided_is_told() {
        let mut copied = partition();
        (copied.resolved, copied.lost.offsets) = (1, 40);
        let decision = |number| Resolution { number, exit: Exit::SkipGap, state: "gap".into(), at_ms: 5 };
        let one = row(copied, there(100, 100), Some(&decision(1)));
        assert_eq!(
            one.detail.as_deref(),
            Some("it was gap and was resolved by skip-gap; 40 source offsets were left out")
        );
        assert_eq!((one.lost, one.decision.map(|decision| decision.carried_out)), (40, Some(true)));
        let two = row(partition(), there(100, 100), Some(&decision(1)));
        assert_eq!(two.detail.as_deref(), Some("it was gap and is to be resolved by skip-gap"));
    }

    #[test]
    fn without_the_source_what_is_known_stays() {
        let row = row(partition(), None, None);
        assert_eq!((row.standing, row.state.as_str()), (Standing::Waiting, "waiting"));
        assert_eq!((row.synced, row.high_watermark, row.lag()), (Some(100), None, None));
        let unselected = SourceFacts::There { selected: false, ends: None };
        assert_eq!(state(&partition(), Some(unselected)), (Standing::Waiting, "not-selected".into()));
    }
}
