//! What the link makes on the target: missing mirrors and missing partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use twinlog_client::admin::{NewPartitions, NewTopic};
use twinlog_client::{Cluster, Error, ErrorCode, Metadata};
use twinlog_core::mirror_settings::{Settings, exact_settings, mirror_settings};
use twinlog_core::topics::Mirror;

use super::adopted::{Adopted, SettingsFound};
use super::present::{describe, undescribed};
use super::{Look, Mirrors, TopicProblem};
use crate::names;

/// Topics a request: each waits for its controller until all its topics are made.
const CREATED: usize = 50;
/// How long the brokers may take to show what the controller has made.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);

impl Mirrors {
    /// Makes mirrors that are not there and adopts them.
    pub(super) async fn create(&mut self, mirrors: Vec<Mirror>, look: &mut Look) {
        let mirrors = self.never_made(mirrors, look).await;
        if mirrors.is_empty() {
            return;
        }
        let map_topic = names::map_topic(&self.link);
        let known: BTreeSet<String> =
            match describe(&self.target, [map_topic.as_str()].into_iter()).await.remove(&map_topic) {
                Some(Ok(settings)) => settings.into_keys().collect(),
                Some(Err(error)) => return look.problem(undescribed(&map_topic, &error)),
                None => return,
            };
        let sources = describe(&self.source, mirrors.iter().map(|mirror| mirror.source_topic.as_str())).await;
        let mut wanted = Vec::new();
        for mirror in mirrors {
            match sources.get(&mirror.source_topic) {
                Some(Ok(settings)) => wanted.push((mirror, settings)),
                // Made with guessed retention, it could drop records at once.
                Some(Err(error)) => look.problem(undescribed(&mirror.source_topic, error)),
                None => {}
            }
        }
        let mut made = BTreeMap::new();
        for part in wanted.chunks(CREATED) {
            made.extend(self.create_part(part, &known, look).await);
        }
        self.await_shown(&made, look).await;
        for (mirror, _) in &wanted {
            let Some(partitions) = made.get(&mirror.target_topic) else { continue };
            let sides = look.source.topics.get(&mirror.source_topic).zip(look.target.topics.get(&mirror.target_topic));
            let Some((source, target)) = sides.filter(|(_, target)| target.partitions.len() >= *partitions) else {
                // The next round finds it.
                continue;
            };
            let adopted = Adopted::new(&mirror.target_topic, source, target, SettingsFound::default());
            self.adopted.insert(mirror.source_topic.clone(), adopted);
        }
    }

    /// Those that no earlier run has copied to. A mirror that is gone is not made anew in silence.
    async fn never_made(&mut self, mirrors: Vec<Mirror>, look: &mut Look) -> Vec<Mirror> {
        if mirrors.iter().any(|mirror| !self.unmapped.contains(&mirror.source_topic)) {
            let Some(own) = self.own_mirrors(look).await else { return Vec::new() };
            let is_new = |topic: &String| own.get(topic).is_none_or(|own| own.begins_anew);
            let new = mirrors.iter().filter(|mirror| is_new(&mirror.source_topic));
            self.unmapped.extend(new.map(|mirror| mirror.source_topic.clone()));
        }
        let (new, gone): (Vec<_>, Vec<_>) =
            mirrors.into_iter().partition(|mirror| self.unmapped.contains(&mirror.source_topic));
        let map_topic = names::map_topic(&self.link);
        look.problems.extend(gone.iter().map(|mirror| TopicProblem::mirror_gone(&mirror.target_topic, &map_topic)));
        new
    }

    /// Creates some mirrors; the partitions of each that was made.
    async fn create_part(
        &self,
        wanted: &[(Mirror, &Settings)],
        known: &BTreeSet<String>,
        look: &mut Look,
    ) -> BTreeMap<String, usize> {
        let mut topics = Vec::new();
        for (mirror, settings) in wanted {
            let partitions = look.partitions_of(&mirror.source_topic);
            topics.push(NewTopic {
                name: mirror.target_topic.clone(),
                partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
                replication_factor: self.config.replication_factor.unwrap_or(-1),
                configs: mirror_settings(settings, known, self.config.replication_factor),
            });
        }
        let mut made = BTreeMap::new();
        let mut refused = Vec::new();
        if let Err(error) = give_replicas(&self.target, &mut topics, known).await {
            look.problems.insert(TopicProblem::failed(
                None,
                "mirrors cannot be created",
                "Create on the cluster",
                &error,
            ));
            return made;
        }
        match self.target.create_topics(&topics, false).await {
            Ok(results) => {
                for topic in &topics {
                    match results.get(&topic.name) {
                        Some(Ok(_)) => {
                            tracing::info!(
                                link = self.link,
                                topic = topic.name,
                                partitions = topic.partitions,
                                "Mirror created."
                            );
                            made.insert(topic.name.clone(), usize::try_from(topic.partitions).unwrap_or_default());
                        }
                        Some(Err(error)) => refused.push((topic.name.as_str(), error.clone())),
                        None => {}
                    }
                }
            }
            // They may have been made: the next round looks.
            Err(error) => refused.extend(topics.iter().map(|topic| (topic.name.as_str(), error.clone()))),
        }
        let exists = |error: &Error| error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS);
        if refused.iter().any(|(_, error)| exists(error))
            && let Ok(metadata) = self.target.refresh().await
        {
            // Made by somebody else just now: the next round looks at it.
            refused.retain(|(topic, error)| !exists(error) || !metadata.topics.contains_key(*topic));
        }
        for (topic, error) in refused {
            let right = "Create on the cluster or on this topic";
            let problem = TopicProblem::failed(Some(topic), "it cannot be created", right, &error);
            look.problems.insert(problem);
        }
        made
    }

    /// Adds the partitions that the source has and the target lacks.
    pub(super) async fn grow(&mut self, look: &mut Look) {
        let lacking = self.adopted.values().filter(|adopted| adopted.lacks(&look.target));
        let topics: Vec<NewPartitions> = lacking
            .map(|adopted| NewPartitions {
                topic: adopted.target_topic.clone(),
                total: i32::try_from(adopted.wanted).unwrap_or(i32::MAX),
            })
            .collect();
        if topics.is_empty() {
            return;
        }
        let results = match self.target.create_partitions(&topics, false).await {
            Ok(results) => results,
            Err(error) => topics.iter().map(|topic| (topic.topic.clone(), Err(error.clone()))).collect(),
        };
        let mut made = BTreeMap::new();
        for NewPartitions { topic, total } in topics {
            match results.get(&topic) {
                Some(Ok(())) => {
                    tracing::info!(link = self.link, topic, partitions = total, "Partitions added to the mirror.");
                    made.insert(topic, usize::try_from(total).unwrap_or_default());
                }
                Some(Err(error)) => {
                    let doing = "the partitions that the source has cannot be added";
                    look.problems.insert(TopicProblem::failed(Some(&topic), doing, "Alter on it", error));
                }
                None => {}
            }
        }
        self.await_shown(&made, look).await;
        for adopted in self.adopted.values_mut() {
            adopted.grown(&look.target);
        }
    }

    /// Waits until the brokers show so many partitions of these topics, each with a leader.
    async fn await_shown(&self, made: &BTreeMap<String, usize>, look: &mut Look) {
        if let Some(metadata) = await_shown(&self.target, made).await {
            look.target = metadata;
        }
    }
}

impl Adopted {
    fn grown(&mut self, target: &Metadata) {
        let here = target.topics.get(&self.target_topic).map_or(0, |found| found.partitions.len());
        self.partitions = self.partitions.max(self.wanted.min(here));
    }
}

/// Where the brokers choose the number of replicas, a trial tells it, and the settings that depend on it are added.
async fn give_replicas(
    target: &Cluster,
    topics: &mut [NewTopic],
    known: &BTreeSet<String>,
) -> twinlog_client::Result<()> {
    if topics.iter().all(|topic| topic.replication_factor >= 0) {
        return Ok(());
    }
    let tried = target.create_topics(topics, true).await?;
    for topic in topics.iter_mut().filter(|topic| topic.replication_factor < 0) {
        // What is refused here is refused again when it is created, and told then.
        if let Some(Ok(tried)) = tried.get(&topic.name) {
            topic.configs.extend(exact_settings(known, tried.replication_factor));
        }
    }
    Ok(())
}

/// Waits until the brokers show so many partitions of these topics, each with a leader; what they show in the end.
pub(crate) async fn await_shown(target: &Cluster, made: &BTreeMap<String, usize>) -> Option<Arc<Metadata>> {
    let deadline = Instant::now() + SHOWN_WITHIN;
    let mut last = None;
    while !made.is_empty() {
        if let Ok(metadata) = target.refresh().await {
            let is_shown = made.iter().all(|(topic, partitions)| shows(&metadata, topic, *partitions));
            last = Some(metadata);
            if is_shown {
                break;
            }
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    last
}

/// Whether it has so many partitions of a topic, all with leaders.
pub(crate) fn shows(metadata: &Metadata, topic: &str, partitions: usize) -> bool {
    metadata.topics.get(topic).is_some_and(|found| {
        found.error == ErrorCode::NONE
            && found.partitions.len() >= partitions
            && found.partitions.iter().all(|partition| partition.leader.is_some())
    })
}
