//! What a bench has made in the two clusters, and how it is removed. Everything is noted before it is made.
//!
//! A link leaves more than topics. Its claims are withdrawn and its group is deleted here. What nobody can delete goes
//! by itself: transactional ids after the target's `transactional.id.expiration.ms`, producer ids after
//! `producer.id.expiration.ms`. The topic of claims belongs to all links and stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use twinlog_client::{Cluster, ErrorCode, Side};
use twinlog_core::config::{ClusterConfig, HostPort};
use twinlog_link::claims;
use twinlog_link::environment::WallClock;
use twinlog_link::names::group;

use super::names::{Id, of_topic};

/// How long a cluster may take to remove something before it is named as left.
const PATIENCE: Duration = Duration::from_secs(8);
/// The broker knows no such group: nobody had joined it.
const GROUP_ID_NOT_FOUND: ErrorCode = ErrorCode(69);

/// Links and topics that are there, or may be. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    topics: BTreeSet<(Side, String)>,
    links: BTreeSet<String>,
    /// How to reach the clusters, in words for a command.
    bootstrap: BTreeMap<Side, String>,
}

impl Left {
    pub(crate) fn new(source: &ClusterConfig, target: &ClusterConfig) -> Self {
        let words = |config: &ClusterConfig| {
            let all: Vec<String> = config.bootstrap.iter().map(HostPort::to_string).collect();
            all.join(",")
        };
        let bootstrap = [(Side::Source, words(source)), (Side::Target, words(target))].into();
        Self(Arc::new(Mutex::new(Noted { bootstrap, ..Noted::default() })))
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The source topic is made next.
    pub(crate) fn note_source(&self, id: &Id) {
        self.noted().topics.insert((Side::Source, id.source_topic()));
    }

    /// The link of a trial begins next.
    pub(crate) fn note_trial(&self, id: &Id, trial: u32) {
        let mut noted = self.noted();
        noted.topics.extend(id.topics(trial).map(|topic| (Side::Target, topic)));
        noted.links.insert(id.link(trial));
    }

    /// What was found that a former bench had made.
    pub(crate) fn note_found(&self, found: &[(Side, String)]) {
        let mut noted = self.noted();
        for (side, topic) in found {
            noted.topics.insert((*side, topic.clone()));
            if let Some((id, Some(trial))) = of_topic(topic) {
                noted.links.insert(id.link(trial));
            }
        }
    }

    /// A line for each topic that may still be there, with the command that removes it.
    pub(crate) fn words(&self) -> Vec<String> {
        let noted = self.noted();
        let line = |(side, topic): &(Side, String)| {
            let at = noted.bootstrap.get(side).map_or("", String::as_str);
            let command = format!("kafka-topics.sh --bootstrap-server {at} --delete --topic {topic}");
            format!("{side} topic {topic} may still be there; to remove it: {command}")
        };
        noted.topics.iter().map(line).collect()
    }

    /// Removes everything that is noted on a side. What cannot be removed stays noted.
    pub(crate) async fn remove(&self, source: &Cluster, target: &Cluster, sides: &[Side]) {
        let links: Vec<String> = self.noted().links.iter().cloned().collect();
        if sides.contains(&Side::Target) {
            for link in links {
                self.remove_link(target, &link).await;
            }
        }
        for side in sides {
            let cluster = if *side == Side::Source { source } else { target };
            let of_side = |(other, topic): &(Side, String)| (other == side).then(|| topic.clone());
            let topics: Vec<String> = self.noted().topics.iter().filter_map(of_side).collect();
            if !topics.is_empty() {
                self.delete(cluster, &topics).await;
            }
        }
    }

    async fn delete(&self, cluster: &Cluster, topics: &[String]) {
        let deadline = Instant::now() + PATIENCE;
        let attempt = || async {
            let answers = cluster.delete_topics(topics).await?;
            let mut failed = None;
            for (topic, answer) in answers {
                match answer {
                    Err(error) if error.code() != Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => failed = Some(error),
                    // Deleted, or never made.
                    _ => drop(self.noted().topics.remove(&(cluster.side(), topic))),
                }
            }
            failed.map_or(Ok(()), Err)
        };
        if let Err(error) = cluster.retry(deadline, attempt).await {
            tracing::warn!(%error, "Topics of the bench cannot be deleted.");
        }
    }

    async fn remove_link(&self, target: &Cluster, link: &str) {
        let (deadline, clock) = (Instant::now() + PATIENCE, WallClock::default());
        let withdrawn = target.retry(deadline, || claims::withdraw(target, link, &clock)).await;
        if let Err(error) = withdrawn {
            // A claim without its link's map counts for nobody.
            tracing::warn!(link, %error, "The claims of a trial's link cannot be withdrawn.");
        }
        let group = group(link);
        let deleted = target.retry(deadline, || async {
            match target.delete_group(&group).await {
                Err(error) if error.code() == Some(GROUP_ID_NOT_FOUND) => Ok(()),
                result => result,
            }
        });
        if let Err(error) = deleted.await {
            tracing::info!(group, %error, "A group cannot be deleted; the target forgets one without members.");
        }
        self.noted().links.remove(link);
    }
}

/// Topics of benches on a side: those that are over by now, and those of which nobody can know.
pub(crate) async fn found(
    cluster: &Cluster,
    now_s: u32,
) -> Result<(Vec<(Side, String)>, Vec<String>), twinlog_client::Error> {
    let metadata = cluster.refresh().await?;
    let of_benches = metadata.topics.keys().filter_map(|topic| Some((topic, of_topic(topic)?.0)));
    let (mut over, mut running) = (Vec::new(), Vec::new());
    for (topic, id) in of_benches {
        match id.over_by_s() < now_s {
            true => over.push((cluster.side(), topic.clone())),
            false => running.push(topic.clone()),
        }
    }
    Ok((over, running))
}
