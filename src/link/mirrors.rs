//! Keeps the target's topics in step with the source's.
//!
//! Each round compares the two clusters as they are: new topics get their mirrors, new partitions are added, what went
//! away or was made anew is reported. Nothing is ever deleted, and no setting of a topic is changed after it was made.
//! One topic's trouble is a [`TopicProblem`] and holds no other.
//!
//! A round in which nothing changed asks for metadata only, twice. Settings of mirrors are compared when a mirror is
//! first met, and again every few minutes.

mod adopted;
pub(crate) mod create;
mod own;
pub(crate) mod present;
mod problem;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use twinlog_client::metadata::Topic;
use twinlog_client::{Cluster, ErrorCode, Metadata, Result, Side};
use twinlog_core::config::LinkConfig;
use twinlog_core::halt::Halt;
use twinlog_core::io::PartitionSpec;
use twinlog_core::map_record::PartitionKey;
use twinlog_core::resolution::Resolution;
use twinlog_core::topics::{Mirror, Selection, is_legal_topic_name};

use self::adopted::{Absence, Adopted, keys};
use self::present::Refused;
pub use self::problem::TopicProblem;
use crate::names;

/// How old a look at a mirror's settings may be.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// Keeps the target's topics in step with the source's. Owns no state that is not in the clusters, except what it has
/// reported.
#[derive(Debug)]
pub struct Mirrors {
    link: String,
    source_name: String,
    config: LinkConfig,
    source: Cluster,
    target: Cluster,
    /// Mirrors that were reported, by source topic.
    adopted: BTreeMap<String, Adopted>,
    /// Topics that were there and must not be written to, by source topic.
    refused: BTreeMap<String, Refused>,
    /// Source topics that the map does not know. Only this link's own lanes could add them, after they were adopted.
    unmapped: BTreeSet<String>,
    /// What was decided about partitions that stopped.
    resolutions: Resolutions,
    /// The problems of the round before.
    told: BTreeSet<TopicProblem>,
}

/// What one round found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// All partitions that should be copied now, by source topic and number. A partition stays in it from round to
    /// round, also while its source or target is out of sight.
    pub partitions: Vec<PartitionSpec>,
    /// All partitions that must not be copied now, and why. Like `partitions` it is complete in each round, so it names
    /// the same stops again; some of them never were in `partitions`.
    pub stops: Vec<(PartitionKey, Halt)>,
    /// Source topics that the configuration takes and that are in neither list, and what holds each of them back.
    pub held: BTreeMap<String, String>,
    /// What was not a problem in the round before. A problem that went away and came back is named again.
    pub problems: Vec<TopicProblem>,
}

/// What a round sees and what it gathers.
struct Look {
    source: Arc<Metadata>,
    target: Arc<Metadata>,
    partitions: Vec<PartitionSpec>,
    stops: BTreeMap<PartitionKey, Halt>,
    problems: BTreeSet<TopicProblem>,
}

impl Look {
    fn new(source: Arc<Metadata>, target: Arc<Metadata>) -> Self {
        let (partitions, stops, problems) = Default::default();
        Self { source, target, partitions, stops, problems }
    }

    fn stop(&mut self, topic: &str, partitions: usize, halt: &Halt) {
        self.stops.extend(keys(topic, partitions).map(|key| (key, halt.clone())));
    }

    fn problem(&mut self, problem: TopicProblem) {
        self.problems.insert(problem);
    }

    /// What holds back a source topic: a problem of its own or of its mirror, else one of the map.
    fn why_held(&self, source_topic: &str, target_topic: Option<&String>, map_topic: &str) -> String {
        let about = |side: Side, topic: &str| {
            self.problems.iter().find(|problem| problem.side == side && problem.topic.as_deref() == Some(topic))
        };
        let of_mirror = target_topic.and_then(|topic| about(Side::Target, topic));
        let found = about(Side::Source, source_topic).or(of_mirror).or_else(|| about(Side::Target, map_topic));
        found.map_or_else(|| "its mirror cannot be made or used yet".to_owned(), TopicProblem::to_string)
    }

    /// How many partitions a source topic has now.
    fn partitions_of(&self, source_topic: &str) -> usize {
        self.source.topics.get(source_topic).map_or(0, |topic| topic.partitions.len())
    }
}

impl Mirrors {
    /// The mirrors of a link. `source_name` is the source's name in the configuration, for templates.
    pub fn new(link: &str, source_name: &str, config: LinkConfig, source: Cluster, target: Cluster) -> Self {
        Self {
            link: link.to_owned(),
            source_name: source_name.to_owned(),
            config,
            source,
            target,
            adopted: BTreeMap::new(),
            refused: BTreeMap::new(),
            unmapped: BTreeSet::new(),
            resolutions: Resolutions::default(),
            told: BTreeSet::new(),
        }
    }

    /// The configuration from now on; a source topic that it took before it still takes. Topics that were refused are
    /// looked at as if for the first time.
    pub fn configured(&mut self, config: &LinkConfig) {
        if self.config != *config {
            self.config = config.clone();
            self.refused.clear();
        }
    }

    /// What was decided about partitions that stopped. Their topics are looked at as if for the first time.
    pub fn decided(&mut self, resolutions: &Resolutions) {
        for topic in new_topics(&self.resolutions, resolutions) {
            self.adopted.remove(&topic);
            self.refused.remove(&topic);
            self.unmapped.remove(&topic);
        }
        self.resolutions = Arc::clone(resolutions);
    }

    /// One round: metadata of both sides, topics selected, missing mirrors and partitions created. The map topic must
    /// be there. An error means that a cluster could not be asked at all and nothing is known; call it again later.
    pub async fn sync(&mut self) -> Result<Round> {
        let (source, target) = tokio::try_join!(self.source.refresh(), self.target.refresh())?;
        let mut look = Look::new(source, target);
        let selection = self.config.topics.select(&self.source_name, look.source.topics.keys().map(String::as_str));
        look.problems.extend(selection.refused.iter().map(TopicProblem::refused));
        let absent = self.absent(&selection, &look).await;
        for include in &selection.unmatched {
            look.problems.insert(match absent.get(&literal(include)) {
                Some(Absence::Hidden) => TopicProblem::hidden(&literal(include)),
                _ => TopicProblem::unmatched(include),
            });
        }

        let (present, missing) = self.new_mirrors(&selection, &mut look);
        self.look_again(&look).await;
        self.adopt_present(present, &mut look).await;
        self.create(missing, &mut look).await;
        let map_topic = names::map_topic(&self.link);
        for (topic, adopted) in &mut self.adopted {
            adopted.follow(topic, &absent, &map_topic, &mut look);
        }
        self.grow(&mut look).await;
        for (topic, adopted) in &self.adopted {
            adopted.report(topic, &self.config, &mut look);
        }
        Ok(self.round(&selection, look))
    }

    /// What a round would find of source topics whose mirrors were not begun, if it made nothing and claimed nothing.
    pub(crate) async fn preview(&mut self, unbegun: &BTreeSet<String>) -> Result<Round> {
        let (source, target) = tokio::try_join!(self.source.metadata(), self.target.metadata())?;
        let mut look = Look::new(source, target);
        let names = look.source.topics.keys().map(String::as_str).filter(|name| unbegun.contains(*name));
        let selection = self.config.topics.select(&self.source_name, names);
        look.problems.extend(selection.refused.iter().map(TopicProblem::refused));
        let (present, _) = self.new_mirrors(&selection, &mut look);
        self.adopt_present(present, &mut look).await;
        Ok(self.round(&selection, look))
    }

    /// Mirrors that were not reported yet: those whose target topic is there, and those that are to be made.
    fn new_mirrors(&self, selection: &Selection, look: &mut Look) -> (Vec<Mirror>, Vec<Mirror>) {
        let (mut present, mut missing) = (Vec::new(), Vec::new());
        for mirror in selection.mirrors.iter().filter(|mirror| !self.adopted.contains_key(&mirror.source_topic)) {
            let source = look.source.topics.get(&mirror.source_topic).map(|topic| topic.error);
            if let Some(code) = source.filter(|code| !code.is_ok()) {
                look.problems.insert(TopicProblem::undescribed(Side::Source, &mirror.source_topic, code));
                continue;
            }
            match look.target.topics.get(&mirror.target_topic).map(|topic| topic.error) {
                None | Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => missing.push(mirror.clone()),
                Some(ErrorCode::NONE) => present.push(mirror.clone()),
                Some(code) => {
                    look.problems.insert(TopicProblem::undescribed(Side::Target, &mirror.target_topic, code));
                }
            }
        }
        (present, missing)
    }

    /// What the source says of topics that are looked for and not in its metadata. Asked for all topics, a broker
    /// leaves out those that may not be described; asked by name, it says so.
    async fn absent(&self, selection: &Selection, look: &Look) -> BTreeMap<String, Absence> {
        let is_gone = |topic: &Topic| topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let is_absent = |name: &&String| look.source.topics.get(*name).is_none_or(is_gone);
        let ended = |name: &String| self.adopted.get(name).is_some_and(|adopted| adopted.end.is_some());
        let adopted = self.adopted.keys().filter(is_absent).filter(|name| !ended(name)).cloned();
        let literals = selection.unmatched.iter().map(|include| literal(include)).filter(|n| is_legal_topic_name(n));
        let names: Vec<String> = adopted.chain(literals).collect();
        if names.is_empty() {
            return BTreeMap::new();
        }
        match self.source.topic_operations(&names).await {
            Ok(results) => {
                let absence = |result: Result<_>| match result.err().and_then(|error| error.code()) {
                    Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => Absence::Gone,
                    Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED) => Absence::Hidden,
                    _ => Absence::Unknown,
                };
                results.into_iter().map(|(name, result)| (name, absence(result))).collect()
            }
            Err(error) => {
                tracing::debug!(link = self.link, %error, "Topics that are out of sight cannot be asked for.");
                BTreeMap::new()
            }
        }
    }

    fn round(&mut self, selection: &Selection, look: Look) -> Round {
        let seen: BTreeSet<&str> = look
            .partitions
            .iter()
            .map(|spec| &spec.key)
            .chain(look.stops.keys())
            .map(|key| key.topic.as_str())
            .collect();
        let refused = selection.refused.iter().map(|refused| (&refused.source_topic, None));
        let mirrors = selection.mirrors.iter().map(|mirror| (&mirror.source_topic, Some(&mirror.target_topic)));
        let held = mirrors.chain(refused).filter(|(topic, _)| !seen.contains(topic.as_str()));
        let map_topic = names::map_topic(&self.link);
        let held = held.map(|(topic, mirror)| (topic.clone(), look.why_held(topic, mirror, &map_topic))).collect();
        let problems = look.problems.difference(&self.told).cloned().collect();
        self.told = look.problems;
        Round { partitions: look.partitions, stops: look.stops.into_iter().collect(), held, problems }
    }
}

/// The last decision about each partition that stopped once.
pub type Resolutions = Arc<BTreeMap<PartitionKey, Resolution>>;

/// The topics of which something was decided since.
pub(crate) fn new_topics(before: &Resolutions, now: &Resolutions) -> BTreeSet<String> {
    let new = now.iter().filter(|(key, resolution)| before.get(*key) != Some(*resolution));
    new.map(|(key, _)| key.topic.clone()).collect()
}

/// The topic that an include names if it is no pattern.
fn literal(include: &str) -> String {
    include.replace("\\.", ".")
}
