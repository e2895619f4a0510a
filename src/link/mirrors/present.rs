//! Target topics that are there before the link has written to them, and settings that may have changed since.
//!
//! The order matters while another instance is at work: its first batch follows its entry in the map, so the ends are
//! asked for first and the map is read after. Records that nobody in the map explains are somebody else's.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;
use twinlog_client::admin::{ConfigEntry, ConfigResource, IsolationLevel, OffsetAt, TopicPartition};
use twinlog_client::metadata::Topic;
use twinlog_client::{Cluster, Error, Result};
use twinlog_core::config::ExistingTopics;
use twinlog_core::halt::Halt;
use twinlog_core::mirror_settings::{Settings, harmful_settings};
use twinlog_core::resolution::Exit;
use twinlog_core::topics::Mirror;

use super::adopted::{Adopted, SettingsFound};
use super::{LOOK_AGAIN, Look, Mirrors, TopicProblem};

/// Topics a request: a description of one is some kilobytes.
const DESCRIBED: usize = 100;

/// A topic on the target that the link has refused to write to.
#[derive(Debug)]
pub(super) struct Refused {
    source_id: [u8; 16],
    target_id: [u8; 16],
    halt: Halt,
}

impl Mirrors {
    /// Looks again at settings that were looked at long ago.
    pub(super) async fn look_again(&mut self, look: &Look) {
        let due = |adopted: &Adopted| adopted.end.is_none() && adopted.looked_at.elapsed() >= LOOK_AGAIN;
        let due: Vec<Mirror> = self
            .adopted
            .iter()
            .filter(|(_, adopted)| due(adopted))
            .map(|(topic, adopted)| adopted.mirror(topic))
            .collect();
        let mut found = self.settings(&due, look).await;
        for mirror in &due {
            let Some(adopted) = self.adopted.get_mut(&mirror.source_topic) else { continue };
            adopted.looked_at = Instant::now();
            match found.remove(&mirror.target_topic) {
                Some(Ok(settings)) => adopted.settings = settings,
                Some(Err(problem)) => adopted.settings.problems = vec![problem],
                None => {}
            }
        }
    }

    /// Adopts target topics that are there already, or says why not.
    pub(super) async fn adopt_present(&mut self, mirrors: Vec<Mirror>, look: &mut Look) {
        let mut open = Vec::new();
        for mirror in mirrors {
            match self.refused_before(&mirror, look) {
                Some(halt) => look.stop(&mirror.source_topic, look.partitions_of(&mirror.source_topic), &halt),
                None => open.push(mirror),
            }
        }
        let mut settings = self.settings(&open, look).await;
        let mut sound = Vec::new();
        for mirror in open {
            match settings.remove(&mirror.target_topic) {
                Some(Ok(found)) => match &found.halt {
                    Some(halt) => look.stop(&mirror.source_topic, look.partitions_of(&mirror.source_topic), halt),
                    None => sound.push((mirror, found)),
                },
                Some(Err(problem)) => look.problem(problem),
                None => {}
            }
        }
        if sound.is_empty() {
            return;
        }
        let records = self.records(sound.iter().map(|(mirror, _)| mirror.target_topic.as_str()), look).await;
        let Some(own) = self.own_mirrors(look).await else { return };
        for (mirror, settings) in sound {
            let Mirror { source_topic, target_topic } = &mirror;
            let sides = look.source.topics.get(source_topic).zip(look.target.topics.get(target_topic));
            let Some((source, target)) = sides else { continue };
            let halt = match own.get(source_topic).filter(|own| own.target_topic == *target_topic) {
                Some(own) if own.begins_anew => None,
                Some(own) => (own.target_id != target.id_bytes()).then_some(Halt::TargetRecreated),
                None if self.config.existing == ExistingTopics::Append || self.is_accepted(source_topic) => None,
                None => match records.get(target_topic) {
                    Some(Ok(0)) => None,
                    Some(Ok(records)) => Some(Halt::TargetNotEmpty { records: *records }),
                    Some(Err(error)) => {
                        let doing = "it cannot be known whether it is empty";
                        look.problems.insert(TopicProblem::failed(Some(target_topic), doing, "Describe on it", error));
                        continue;
                    }
                    None => continue,
                },
            };
            match halt {
                None => {
                    let adopted = Adopted::new(target_topic, source, target, settings);
                    self.adopted.insert(source_topic.clone(), adopted);
                }
                Some(halt) => {
                    let (source_id, target_id) = (source.id_bytes(), target.id_bytes());
                    look.stop(source_topic, look.partitions_of(source_topic), &halt);
                    self.refused.insert(source_topic.clone(), Refused { source_id, target_id, halt });
                }
            }
        }
    }

    /// Whether somebody decided that a mirror may hold records before it is begun.
    fn is_accepted(&self, source_topic: &str) -> bool {
        let of_topic = self.resolutions.iter().filter(|(key, _)| key.topic == source_topic);
        let mut exits = of_topic.map(|(_, resolution)| resolution.exit);
        exits.any(|exit| exit == Exit::Accept)
    }

    /// What was refused stays refused as long as both topics are the same ones.
    fn refused_before(&mut self, mirror: &Mirror, look: &Look) -> Option<Halt> {
        let refused = self.refused.get(&mirror.source_topic)?;
        let source = look.source.topics.get(&mirror.source_topic).map(Topic::id_bytes);
        let target = look.target.topics.get(&mirror.target_topic).map(Topic::id_bytes);
        if source == Some(refused.source_id) && target == Some(refused.target_id) {
            return Some(refused.halt.clone());
        }
        self.refused.remove(&mirror.source_topic);
        None
    }

    /// What the settings of mirrors that are there would do to the copy, by target topic.
    async fn settings(&self, mirrors: &[Mirror], look: &Look) -> BTreeMap<String, Result<SettingsFound, TopicProblem>> {
        let sources = describe(&self.source, mirrors.iter().map(|mirror| mirror.source_topic.as_str())).await;
        let targets = describe(&self.target, mirrors.iter().map(|mirror| mirror.target_topic.as_str())).await;
        let mut all = BTreeMap::new();
        for Mirror { source_topic, target_topic } in mirrors {
            let found = match targets.get(target_topic) {
                Some(Ok(target)) => {
                    let source = sources.get(source_topic);
                    Ok(judge(source_topic, source, target_topic, target, look))
                }
                Some(Err(error)) => Err(undescribed(target_topic, error)),
                None => continue,
            };
            all.insert(target_topic.clone(), found);
        }
        all
    }

    /// How many records each of these target topics holds, markers included.
    async fn records(&self, topics: impl Iterator<Item = &str>, look: &Look) -> BTreeMap<String, Result<u64>> {
        let mut partitions = BTreeSet::new();
        for topic in topics {
            let found = look.target.topics.get(topic).map_or(&[][..], |found| &found.partitions);
            partitions.extend(found.iter().map(|partition| TopicPartition::new(topic, partition.index)));
        }
        let ends = async |at: OffsetAt| {
            let asked = partitions.iter().map(|partition| (partition.clone(), at)).collect();
            self.target.list_offsets(&asked, IsolationLevel::ReadUncommitted).await
        };
        let (starts, ends) = match (ends(OffsetAt::Earliest).await, ends(OffsetAt::Latest).await) {
            (Ok(starts), Ok(ends)) => (starts, ends),
            (Err(error), _) | (_, Err(error)) => {
                return partitions.into_iter().map(|at| (at.topic, Err(error.clone()))).collect();
            }
        };
        let mut records: BTreeMap<String, Result<u64>> = BTreeMap::new();
        for partition in partitions {
            let (Some(start), Some(end)) = (starts.get(&partition), ends.get(&partition)) else { continue };
            let total = records.entry(partition.topic).or_insert(Ok(0));
            match (&mut *total, start, end) {
                (Ok(total), Ok(start), Ok(end)) => {
                    let length = end.offset.unwrap_or_default() - start.offset.unwrap_or_default();
                    *total += u64::try_from(length).unwrap_or_default();
                }
                (Ok(0), Err(error), _) | (Ok(0), _, Err(error)) => *total = Err(error.clone()),
                // One partition that holds records is enough to know.
                (Err(_), Ok(start), Ok(end)) if end.offset > start.offset => {
                    let length = end.offset.unwrap_or_default() - start.offset.unwrap_or_default();
                    *total = Ok(u64::try_from(length).unwrap_or_default());
                }
                _ => {}
            }
        }
        records
    }
}

impl Adopted {
    fn mirror(&self, topic: &str) -> Mirror {
        Mirror { source_topic: topic.to_owned(), target_topic: self.target_topic.clone() }
    }
}

fn judge(
    source_topic: &str,
    source: Option<&Result<Settings>>,
    target_topic: &str,
    target: &Settings,
    look: &Look,
) -> SettingsFound {
    let mut found = SettingsFound::default();
    let source = match source {
        Some(Ok(source)) => Some(source),
        Some(Err(error)) => {
            found.problems.push(undescribed(source_topic, error));
            None
        }
        None => None,
    };
    let replicas = look.target.topics.get(target_topic).and_then(replication_factor);
    for setting in harmful_settings(source, target, replicas) {
        match setting.halt() {
            Some(halt) => drop(found.halt.get_or_insert(halt)),
            None => found.problems.push(TopicProblem::harmful(target_topic, &setting)),
        }
    }
    found
}

fn replication_factor(topic: &Topic) -> Option<i16> {
    topic.partitions.first().and_then(|partition| i16::try_from(partition.replicas.len()).ok())
}

pub(super) fn undescribed(topic: &str, error: &Error) -> TopicProblem {
    TopicProblem::failed(Some(topic), "its settings cannot be read", "DescribeConfigs on it", error)
}

/// Effective settings of topics, one result a topic.
pub(crate) async fn describe(
    cluster: &Cluster,
    topics: impl Iterator<Item = &str>,
) -> BTreeMap<String, Result<Settings>> {
    let resources: Vec<_> = topics.map(|topic| ConfigResource::Topic(topic.to_owned())).collect();
    let mut all = BTreeMap::new();
    for part in resources.chunks(DESCRIBED) {
        let mut answers = match cluster.describe_configs(part).await {
            Ok(answers) => answers,
            Err(error) => part.iter().map(|resource| (resource.clone(), Err(error.clone()))).collect(),
        };
        while let Some((resource, entries)) = answers.pop_first() {
            let ConfigResource::Topic(topic) = resource else { continue };
            all.insert(topic, entries.map(values));
        }
    }
    all
}

fn values(entries: BTreeMap<String, ConfigEntry>) -> Settings {
    entries.into_iter().map(|(name, entry)| (name, entry.value.unwrap_or_default())).collect()
}
