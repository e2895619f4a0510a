//! Which link a mirror belongs to, by the topic `__twinlog.claims` on the target: two links with different names never
//! write to the same one.
//!
//! ```text
//!  read to the end ──somebody's──► refused
//!        │ nobody's
//!        ▼
//!  claim, read up to it ──ours is the first──► ours for as long as the process lives
//!        │ another one was faster
//!        ▼
//!  claim withdrawn, refused
//! ```
//!
//! Of a link's instances only the one that leads its group claims: of two equal claims compaction would keep the later
//! one, behind a claim of another link that came in between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use twinlog_client::admin::{IsolationLevel, OffsetAt, TopicPartition};
use twinlog_client::{Cause, Cluster, Error, ErrorCode, Outcome, Peer, Step};
use twinlog_core::claims::{ClaimedTopic, Claims as Standing, value};
use twinlog_core::halt::Halt;
use twinlog_core::ids::Producer;
use twinlog_core::io::{MapBatch, MapEntry};
use twinlog_core::outbox::Answer;
use twinlog_wire::batch::Entry;

use crate::environment::WallClock;
use crate::lane::produce;
use crate::log::{LogRead, LogReader};
use crate::map_log::map_entries;
use crate::map_topic::{MapTopicError, ensure_claims_topic};
use crate::mirrors::Round;
use crate::names::{CLAIMS_TOPIC, map_topic};

/// How long the target may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
const PRODUCE: i16 = 0;

/// The claims of a link that runs.
#[derive(Debug)]
pub(crate) struct Claims {
    link: String,
    source_cluster: String,
    target: Cluster,
    replication_factor: Option<i16>,
    clock: WallClock,
    /// What is claimed by this link, and first.
    ours: BTreeSet<ClaimedTopic>,
    /// What the last round could not find out, to say it once.
    told: Option<String>,
}

impl Claims {
    pub(crate) fn new(
        link: &str,
        source_cluster: &str,
        target: Cluster,
        replication_factor: Option<i16>,
        clock: WallClock,
    ) -> Self {
        let (link, source_cluster) = (link.to_owned(), source_cluster.to_owned());
        Self { link, source_cluster, target, replication_factor, clock, ours: BTreeSet::new(), told: None }
    }

    /// Takes out of a round what must not be copied: mirrors that other links have stop, with the owner's name, and as
    /// long as it cannot be known whose they are, they are held back. Whether some are held back because nobody has
    /// them, and it is not `may_claim`.
    pub(crate) async fn sift(
        &mut self,
        round: &mut Round,
        may_claim: bool,
        target_name: impl Fn(&str) -> String,
    ) -> bool {
        let mut asked: BTreeMap<String, ClaimedTopic> = BTreeMap::new();
        for spec in &round.partitions {
            let topic = ClaimedTopic::new(&spec.target_topic, spec.target_topic_id);
            if !self.ours.contains(&topic) {
                asked.insert(spec.key.topic.clone(), topic);
            }
        }
        // Records in a mirror that is not ours are another link's, if it has claimed it.
        let filled = round.stops.iter().filter(|(_, halt)| matches!(halt, Halt::TargetNotEmpty { .. }));
        let filled: BTreeMap<String, String> =
            filled.map(|(key, _)| (key.topic.clone(), target_name(&key.topic))).collect();
        if asked.is_empty() && filled.is_empty() {
            return false;
        }
        match self.settle(&asked, &filled, may_claim).await {
            Ok(owners) => {
                self.told = None;
                self.refuse(round, &owners);
                asked.retain(|source, topic| !owners.contains_key(source) && !self.ours.contains(topic));
                let is_unclaimed = !asked.is_empty();
                hold_back(round, asked, "no link has claimed its mirror yet; the link's instance that leads does");
                is_unclaimed
            }
            Err(error) => {
                let words = error.to_string();
                let why = format!("its mirror cannot be claimed in topic {CLAIMS_TOPIC}: {words}");
                hold_back(round, asked, &why);
                if self.told.as_ref() != Some(&words) {
                    tracing::warn!(
                        link = self.link,
                        error = words,
                        topic = CLAIMS_TOPIC,
                        "Mirrors cannot be claimed, so none is begun; trying again."
                    );
                    self.told = Some(words);
                }
                false
            }
        }
    }

    fn refuse(&self, round: &mut Round, owners: &BTreeMap<String, String>) {
        let halt = |topic: &str| owners.get(topic).map(|owner| Halt::Claimed { owner: owner.clone() });
        for (key, stop) in &mut round.stops {
            *stop = halt(&key.topic).unwrap_or_else(|| stop.clone());
        }
        let refused = round.partitions.extract_if(.., |spec| owners.contains_key(&spec.key.topic));
        let stops: Vec<_> = refused.filter_map(|spec| Some((spec.key.clone(), halt(&spec.key.topic)?))).collect();
        round.stops.extend(stops);
    }

    /// Claims what nobody has, if it `may_claim`; the owners of what others have, by source topic. What is `filled` is
    /// only looked up.
    async fn settle(
        &mut self,
        asked: &BTreeMap<String, ClaimedTopic>,
        filled: &BTreeMap<String, String>,
        may_claim: bool,
    ) -> Result<BTreeMap<String, String>, MapTopicError> {
        if may_claim && !asked.is_empty() {
            ensure_claims_topic(&self.target, self.replication_factor).await?;
        }
        let Some(mut standing) = read(&self.target).await? else { return Ok(BTreeMap::new()) };
        let exist = existing(&self.target, &standing, asked.values()).await?;
        let is_free =
            |topic: &&ClaimedTopic| standing.owner(topic, |link| link == self.link || exist.contains(link)).is_none();
        let now_ms = self.clock.now_ms();
        let value = value(&self.source_cluster, now_ms);
        let claims: Vec<_> =
            asked.values().filter(is_free).map(|topic| (topic.key(&self.link), Some(value.clone()))).collect();
        if may_claim && !claims.is_empty() {
            write(&self.target, now_ms, claims).await?;
            standing = read(&self.target).await?.unwrap_or_default();
        }
        let looked_up = self.named(filled).await?;
        let all: BTreeMap<_, _> = asked.iter().chain(&looked_up).collect();
        let exist = existing(&self.target, &standing, all.values().copied()).await?;
        let (mut owners, mut lost) = (BTreeMap::new(), Vec::new());
        for (source_topic, topic) in all {
            let owner = standing.owner(topic, |link| link == self.link || exist.contains(link));
            match owner {
                Some(owner) if owner != self.link => {
                    owners.insert(source_topic.clone(), owner.to_owned());
                    if standing.of(topic).contains(&self.link) {
                        lost.push((topic.key(&self.link), None));
                    }
                }
                Some(_) => drop(self.ours.insert(topic.clone())),
                None => {}
            }
        }
        if !lost.is_empty() {
            write(&self.target, now_ms, lost).await?;
        }
        Ok(owners)
    }

    /// Target topics by source topic, as claims name them.
    async fn named(&self, topics: &BTreeMap<String, String>) -> Result<BTreeMap<String, ClaimedTopic>, Error> {
        let metadata = self.target.metadata().await?;
        let found = topics.iter().filter_map(|(source, target)| {
            let id = metadata.topics.get(target)?.id_bytes();
            Some((source.clone(), ClaimedTopic::new(target, id)))
        });
        Ok(found.collect())
    }
}

/// Withdraws all that a link has claimed: for one that is over for good, with its mirrors. It must not run.
pub async fn withdraw(target: &Cluster, link: &str, clock: &WallClock) -> Result<(), Error> {
    let Some(standing) = read(target).await? else { return Ok(()) };
    let withdrawn: Vec<_> = standing.claimed_by(link).map(|topic| (topic.key(link), None)).collect();
    if withdrawn.is_empty() {
        return Ok(());
    }
    write(target, clock.now_ms(), withdrawn).await
}

fn hold_back(round: &mut Round, topics: BTreeMap<String, ClaimedTopic>, why: &str) {
    round.partitions.retain(|spec| !topics.contains_key(&spec.key.topic));
    round.held.extend(topics.into_keys().map(|topic| (topic, why.to_owned())));
}

/// The claims that stand now; none if the topic is not there.
pub async fn read(target: &Cluster) -> Result<Option<Standing>, Error> {
    let metadata = target.refresh().await?;
    let topic = metadata.topics.get(CLAIMS_TOPIC).filter(|topic| topic.error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let Some(topic) = topic else { return Ok(None) };
    let log = LogReader {
        cluster: target.clone(),
        lane: 0,
        at: TopicPartition::new(CLAIMS_TOPIC, 0),
        topic_id: topic.id_bytes(),
        isolation: IsolationLevel::ReadUncommitted,
        max_wait: Duration::from_millis(500),
    };
    let deadline = Instant::now() + PATIENCE;
    let end = target.retry(deadline, || log.offset(OffsetAt::Latest)).await?;
    let mut next = target.retry(deadline, || log.offset(OffsetAt::Earliest)).await?;
    let mut standing = Standing::default();
    while next < end {
        let from = next;
        match target.retry(deadline, || log.read(from)).await? {
            LogRead::Part(part) => {
                for entry in &part.entries {
                    let entries = map_entries(entry).map_err(|words| damaged(target, words))?;
                    for entry in entries {
                        let MapEntry::Record { key, value, .. } = entry else { continue };
                        let applied = standing.apply(&key, value.as_deref());
                        applied.map_err(|bad| damaged(target, bad.reason.to_owned()))?;
                    }
                    if let Entry::V2(meta, _) = entry {
                        next = next.max(meta.next_offset());
                    }
                }
                if next == from && (part.high_watermark >= end || Instant::now() >= deadline) {
                    // The cleaner took the rest.
                    next = end;
                }
            }
            LogRead::OutOfRange { start, .. } => next = start.max(from + 1),
        }
    }
    Ok(Some(standing))
}

/// The links that have these topics, by whatever the topics are named by; one of them may be `link` itself.
pub(crate) async fn owners<K: Clone + Ord + Send + Sync>(
    target: &Cluster,
    link: &str,
    topics: &BTreeMap<K, ClaimedTopic>,
) -> Result<BTreeMap<K, String>, Error> {
    let Some(standing) = read(target).await? else { return Ok(BTreeMap::new()) };
    let exist = existing(target, &standing, topics.values()).await?;
    let owner = |topic| standing.owner(topic, |owner| owner == link || exist.contains(owner));
    Ok(topics.iter().filter_map(|(name, topic)| Some((name.clone(), owner(topic)?.to_owned()))).collect())
}

/// Of the links that claim these topics, those whose map is on the target. One that may not be seen counts as there.
pub(crate) async fn existing<'a>(
    target: &Cluster,
    standing: &Standing,
    topics: impl Iterator<Item = &'a ClaimedTopic>,
) -> Result<BTreeSet<String>, Error> {
    let mut links: BTreeSet<String> = topics.flat_map(|topic| standing.of(topic)).cloned().collect();
    if links.is_empty() {
        return Ok(links);
    }
    let maps: Vec<String> = links.iter().map(|link| map_topic(link)).collect();
    let found = target.topic_operations(&maps).await?;
    let is_gone = |link: &String| {
        let answer = found.get(&map_topic(link)).and_then(|answer| answer.as_ref().err());
        answer.and_then(Error::code) == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    };
    links.retain(|link| !is_gone(link));
    Ok(links)
}

async fn write(target: &Cluster, timestamp_ms: i64, records: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), Error> {
    let batch = MapBatch { producer: Producer { id: -1, epoch: -1 }, sequence: -1, timestamp_ms, records };
    match produce(target, 0, &TopicPartition::new(CLAIMS_TOPIC, 0), &batch, None).await? {
        Answer::Stored { .. } => Ok(()),
        Answer::Refused(code, _) => Err(failed(target, code)),
        Answer::NotSent => Err(failed(target, ErrorCode::LEADER_NOT_AVAILABLE)),
        Answer::Lost => Err(damaged(target, "the answer names no partition".to_owned())),
    }
}

fn failed(target: &Cluster, code: ErrorCode) -> Error {
    error(target, Cause::Code { code, item: Some(CLAIMS_TOPIC.to_owned()), message: None })
}

fn damaged(target: &Cluster, words: String) -> Error {
    error(target, Cause::Decode(format!("topic {CLAIMS_TOPIC}: {words}")))
}

fn error(target: &Cluster, cause: Cause) -> Error {
    let peer = Peer { side: target.side(), node: None, address: "".into() };
    Error::new(peer, Step::Api(PRODUCE), Outcome::Answered, cause)
}
