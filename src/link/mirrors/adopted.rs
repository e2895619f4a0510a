//! Mirrors that this process has reported, and what becomes of them.
//!
//! ```text
//!              source id differs ──► recreated
//!  adopted ──┤ source absent twice ──► source-deleted        (these three for the rest of the process)
//!              target id differs ──► target-recreated
//!              settings change bytes ──► mirror-settings      (until a later look finds them in order)
//!              target absent twice: a problem, and nothing is made in its place
//! ```

use std::collections::BTreeMap;

use tokio::time::Instant;
use twinlog_client::metadata::Topic;
use twinlog_client::{ErrorCode, Metadata, Side};
use twinlog_core::config::LinkConfig;
use twinlog_core::halt::Halt;
use twinlog_core::ids::TopicId;
use twinlog_core::io::PartitionSpec;
use twinlog_core::map_record::PartitionKey;

use super::{Look, TopicProblem};

/// One broker may be behind the others; two rounds in a row are no chance.
const ABSENCES: u32 = 2;

/// A mirror that was reported.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) target_topic: String,
    pub(super) source_id: TopicId,
    pub(super) target_id: TopicId,
    /// How many partitions both sides are known to have.
    pub(super) partitions: usize,
    /// How many the source has.
    pub(super) wanted: usize,
    /// The state for the rest of the process.
    pub(super) end: Option<Halt>,
    /// What the last look at the settings found.
    pub(super) settings: SettingsFound,
    pub(super) looked_at: Instant,
    source_absences: u32,
    target_absences: u32,
}

/// What a look at a mirror's settings found.
#[derive(Debug, Default)]
pub(super) struct SettingsFound {
    pub(super) halt: Option<Halt>,
    pub(super) problems: Vec<TopicProblem>,
}

/// What the source says of a topic that is not in its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// There is no such topic.
    Gone,
    /// It may not be described.
    Hidden,
    /// It is there after all, or nothing is known.
    Unknown,
}

impl Adopted {
    pub(super) fn new(target_topic: &str, source: &Topic, target: &Topic, settings: SettingsFound) -> Self {
        Self {
            target_topic: target_topic.to_owned(),
            source_id: source.id_bytes(),
            target_id: target.id_bytes(),
            partitions: source.partitions.len().min(target.partitions.len()),
            wanted: source.partitions.len(),
            end: None,
            settings,
            looked_at: Instant::now(),
            source_absences: 0,
            target_absences: 0,
        }
    }

    /// Takes in what both sides say now.
    pub(super) fn follow(&mut self, topic: &str, absent: &BTreeMap<String, Absence>, map_topic: &str, look: &mut Look) {
        self.follow_source(topic, absent, look);
        self.follow_target(map_topic, look);
        if self.end.is_none() {
            look.problems.extend(self.settings.problems.iter().cloned());
        }
    }

    fn follow_source(&mut self, topic: &str, absent: &BTreeMap<String, Absence>, look: &mut Look) {
        let present = look.source.topics.get(topic).filter(|found| is_there(found));
        let Some(found) = present else {
            match absent.get(topic) {
                Some(Absence::Gone) => {
                    self.source_absences += 1;
                    if self.source_absences >= ABSENCES {
                        self.end.get_or_insert(Halt::SourceDeleted);
                    }
                }
                Some(Absence::Hidden) => look.problem(TopicProblem::hidden(topic)),
                Some(Absence::Unknown) | None => self.source_absences = 0,
            }
            return;
        };
        self.source_absences = 0;
        if !found.error.is_ok() {
            look.problems.insert(TopicProblem::undescribed(Side::Source, topic, found.error));
        } else if found.id_bytes() != self.source_id {
            self.end.get_or_insert(Halt::Recreated);
        } else {
            self.wanted = self.wanted.max(found.partitions.len());
        }
    }

    fn follow_target(&mut self, map_topic: &str, look: &mut Look) {
        let Some(found) = look.target.topics.get(&self.target_topic).filter(|found| is_there(found)) else {
            self.target_absences += 1;
            if self.target_absences >= ABSENCES {
                look.problems.insert(TopicProblem::mirror_gone(&self.target_topic, map_topic));
            }
            return;
        };
        self.target_absences = 0;
        let here = found.partitions.len();
        if !found.error.is_ok() {
            look.problems.insert(TopicProblem::undescribed(Side::Target, &self.target_topic, found.error));
        } else if found.id_bytes() != self.target_id {
            self.end.get_or_insert(Halt::TargetRecreated);
        } else {
            self.partitions = self.partitions.max(self.wanted.min(here));
            if here > self.wanted && self.end.is_none() {
                look.problems.insert(TopicProblem::more_partitions(&self.target_topic, here, self.wanted));
            }
        }
    }

    /// How many partitions the target lacks all together; none if they must not or cannot be added now.
    pub(super) fn lacks(&self, target: &Metadata) -> bool {
        let here = target.topics.get(&self.target_topic).filter(|found| found.error.is_ok());
        let is_whole = |found: &&Topic| found.id_bytes() == self.target_id;
        self.end.is_none()
            && self.settings.halt.is_none()
            && here.filter(is_whole).is_some_and(|found| found.partitions.len() < self.wanted)
    }

    /// Adds its partitions to a round, as to be copied or as stopped.
    pub(super) fn report(&self, topic: &str, config: &LinkConfig, look: &mut Look) {
        if let Some(halt) = self.end.as_ref().or(self.settings.halt.as_ref()) {
            look.stop(topic, self.wanted, halt);
            return;
        }
        for key in keys(topic, self.partitions) {
            look.partitions.push(PartitionSpec {
                key,
                source_topic_id: self.source_id,
                target_topic: self.target_topic.clone(),
                target_topic_id: self.target_id,
                existing: config.existing,
                gap: config.gap,
            });
        }
    }
}

/// Metadata can name a topic only to say that it does not exist.
fn is_there(topic: &Topic) -> bool {
    topic.error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
}

/// The first so many partitions of a topic.
pub(super) fn keys(topic: &str, partitions: usize) -> impl Iterator<Item = PartitionKey> {
    (0..i32::try_from(partitions).unwrap_or(i32::MAX))
        .map(move |partition| PartitionKey { topic: topic.to_owned(), partition })
}
