//! `translate`: an offset on one side, the right offset on the other. The source may be gone: it is asked for its log
//! start alone, and only where the answer is on it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;
use twinlog_client::admin::{IsolationLevel, OffsetAt, TopicPartition};
use twinlog_core::ids::{SourceOffset, TargetOffset};
use twinlog_core::map_record::PartitionKey;
use twinlog_core::offset_map;
use twinlog_core::report::{Failure, FailureKind, Side, TranslateAnswer, Translation};

use crate::map_reader::{MapReader, MirrorEnd, PartitionMap, Wanted, snapshot};
use crate::names;
use crate::reach::out_of_reach;
use crate::supervisor::LinkSetup;

/// An offset that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The side that the offset is on.
    pub side: Side,
    /// Topic on that side.
    pub topic: String,
    /// Partition, the same on both sides.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// How long the source may take to tell where its log starts; without an answer the map alone answers.
const SOURCE_PATIENCE: Duration = Duration::from_secs(3);

/// Names that are shown where a topic is not known.
const NAMES_SHOWN_MAX: usize = 3;

/// Translates an offset by the link's map on the target.
pub async fn translate(setup: &LinkSetup, question: &Question) -> Result<TranslateAnswer, Failure> {
    Translator::open(setup, question).await?.translate(question.offset)
}

/// One look at the map of a partition, to translate many offsets by.
#[derive(Debug)]
pub struct Translator {
    link: String,
    question: Question,
    partition: PartitionMap,
    source_start: SourceOffset,
}

impl Translator {
    /// Reads the map of the partition that a question is about; its offset does not matter.
    pub async fn open(setup: &LinkSetup, question: &Question) -> Result<Self, Failure> {
        let key = find(setup, question).await?;
        let wanted = key.clone();
        let wanted = Wanted { partitions: Box::new(move |key| *key == wanted), whole: true };
        let snapshot = snapshot(setup, wanted).await?.ok_or_else(|| never_run(setup))?;
        let Some(partition) = snapshot.partitions.into_iter().next() else { return Err(unknown(question, &[])) };
        check_mirror(&partition)?;
        let source_start = match question.side {
            Side::Source => SourceOffset(0),
            Side::Target => source_start(setup, &partition.key).await.unwrap_or(SourceOffset(0)),
        };
        Ok(Self { link: setup.name.clone(), question: question.clone(), partition, source_start })
    }

    /// Translates an offset of the question's side.
    pub fn translate(&self, offset: i64) -> Result<TranslateAnswer, Failure> {
        let Self { partition, question, .. } = self;
        let (topic, answer) = match question.side {
            Side::Source => {
                let target_start = partition.target_start.unwrap_or(TargetOffset(0));
                let found = partition.map.translate(SourceOffset(offset), partition.extent, target_start);
                (partition.target_topic.clone(), onto_target(found))
            }
            Side::Target => {
                let found = partition.map.translate_back(TargetOffset(offset), partition.extent, self.source_start);
                (partition.key.topic.clone(), onto_source(found))
            }
        };
        check_answer(partition, question.side, &answer)?;
        Ok(TranslateAnswer {
            link: self.link.clone(),
            asked_side: question.side,
            asked_topic: question.topic.clone(),
            partition: question.partition,
            asked_offset: offset,
            topic,
            answer,
        })
    }
}

/// The source partition that the question is about. A target topic is found by what the map says of it: the names in
/// the configuration may have changed since.
async fn find(setup: &LinkSetup, question: &Question) -> Result<PartitionKey, Failure> {
    let mut reader = MapReader::open(setup, Box::new(|_| false)).await?.ok_or_else(|| never_run(setup))?;
    let asked = PartitionKey { topic: question.topic.clone(), partition: question.partition };
    reader.read().await?;
    let found = reader.heads().find(|(key, head)| match question.side {
        Side::Source => **key == asked,
        Side::Target => head.target_topic == question.topic && key.partition == question.partition,
    });
    if let Some((key, _)) = found {
        return Ok(key.clone());
    }
    let known = reader.heads().map(|(key, head)| match question.side {
        Side::Source => (key.topic.as_str(), key.partition),
        Side::Target => (head.target_topic.as_str(), key.partition),
    });
    Err(unknown(question, &known.collect::<Vec<_>>()))
}

/// Where the source's log starts, if the source tells.
async fn source_start(setup: &LinkSetup, key: &PartitionKey) -> Option<SourceOffset> {
    let at = TopicPartition::new(key.topic.as_str(), key.partition);
    let asked = [(at.clone(), OffsetAt::Earliest)].into();
    let answer = timeout(SOURCE_PATIENCE, setup.source.list_offsets(&asked, IsolationLevel::ReadUncommitted)).await;
    let start = answer.ok()?.ok()?.remove(&at)?.ok()?.offset?;
    Some(SourceOffset(start))
}

pub(crate) fn never_run(setup: &LinkSetup) -> Failure {
    let topic = names::map_topic(&setup.name);
    let what = format!("link {} has never run: the target has no topic {topic}", setup.name);
    Failure::new(FailureKind::Difference, what).advise(format!("start it: twinlog run {}", setup.name))
}

fn unknown(question: &Question, known: &[(&str, i32)]) -> Failure {
    let Question { side, topic, partition, .. } = question;
    let side = side.name();
    let partitions: BTreeSet<i32> =
        known.iter().filter(|(name, _)| name == topic).map(|(_, partition)| *partition).collect();
    if let (Some(first), Some(last)) = (partitions.first(), partitions.last()) {
        let what = format!("{side} {topic}:{partition} is not mirrored: partitions {first} to {last} of the topic are");
        return Failure::new(FailureKind::Difference, what).advise("ask about one of these");
    }
    let failure = Failure::new(FailureKind::Difference, format!("{side} topic {topic} is not mirrored by this link"));
    let topics: BTreeSet<&str> = known.iter().map(|(name, _)| *name).collect();
    match nearest(topic, topics) {
        near if near.is_empty() => failure.advise("the link has no mirror so far: see `twinlog status`"),
        near => failure.advise(format!("the nearest {side} topics that are: {}", near.join(", "))),
    }
}

/// The names that look most like this one, nearest first.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut near: Vec<&str> = names.into_iter().collect();
    near.sort_by_key(|other| (strsim::damerau_levenshtein(name, other), *other));
    near.truncate(NAMES_SHOWN_MAX);
    near
}

/// Refuses to answer where the map is not that of the mirror that is there.
fn check_mirror(partition: &PartitionMap) -> Result<(), Failure> {
    let mirror = format!("target topic {}", partition.target_topic);
    let gone = |what: &str| {
        Failure::new(FailureKind::Difference, format!("{mirror} {what}: the map no longer says where records are"))
            .advise("copy the topic anew")
    };
    match &partition.end {
        MirrorEnd::Deleted => Err(gone("was deleted")),
        MirrorEnd::Recreated => Err(gone("was deleted and made again")),
        MirrorEnd::Unread(error) => Err(out_of_reach(error)),
        MirrorEnd::Ours | MirrorEnd::Foreign { .. } | MirrorEnd::Truncated { .. } => Ok(()),
    }
}

/// Refuses an answer that stands for records that the target lost.
fn check_answer(partition: &PartitionMap, asked: Side, answer: &Translation) -> Result<(), Failure> {
    let MirrorEnd::Truncated { acknowledged, found } = partition.end else { return Ok(()) };
    let lost = match (asked, answer) {
        (
            Side::Source,
            Translation::Exact { offset }
            | Translation::NextRange { offset }
            | Translation::AtEnd { offset }
            | Translation::Clamped { offset },
        ) => *offset >= found.0,
        _ => false,
    };
    if !lost {
        return Ok(());
    }
    let (topic, number) = (&partition.target_topic, partition.key.partition);
    let what =
        format!("target {topic}:{number} lost acknowledged records: its log reached {acknowledged}, now {found}");
    Err(Failure::new(FailureKind::Difference, what).advise("delete the mirror to copy it anew"))
}

fn onto_target(found: offset_map::Translation<TargetOffset, SourceOffset>) -> Translation {
    match found {
        offset_map::Translation::Exact(TargetOffset(offset)) => Translation::Exact { offset },
        offset_map::Translation::Next(TargetOffset(offset)) => Translation::NextRange { offset },
        offset_map::Translation::End(TargetOffset(offset)) => Translation::AtEnd { offset },
        offset_map::Translation::Clamped(TargetOffset(offset)) => Translation::Clamped { offset },
        offset_map::Translation::NotYet(SourceOffset(synced)) => Translation::NotYet { synced },
    }
}

fn onto_source(found: offset_map::Translation<SourceOffset, TargetOffset>) -> Translation {
    match found {
        offset_map::Translation::Exact(SourceOffset(offset)) => Translation::Exact { offset },
        offset_map::Translation::Next(SourceOffset(offset)) => Translation::NextRange { offset },
        offset_map::Translation::End(SourceOffset(offset)) => Translation::AtEnd { offset },
        offset_map::Translation::Clamped(SourceOffset(offset)) => Translation::Clamped { offset },
        offset_map::Translation::NotYet(TargetOffset(synced)) => Translation::NotYet { synced },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(side: Side, topic: &str, partition: i32) -> Question {
        Question { side, topic: topic.into(), partition, offset: 0 }
    }

    #[test]
    fn an_unknown_topic_is_answered_with_the_nearest_names() {
        let known = [("orders", 0), ("orders", 1), ("payments.eu", 0), ("payments.us", 0), ("audit", 0)];
        let failure = unknown(&question(Side::Source, "payment.eu", 0), &known);
        assert_eq!(failure.what, "source topic payment.eu is not mirrored by this link");
        assert_eq!(failure.advice, ["the nearest source topics that are: payments.eu, payments.us, audit"]);
        let failure = unknown(&question(Side::Target, "orders", 7), &known);
        assert_eq!(failure.what, "target orders:7 is not mirrored: partitions 0 to 1 of the topic are");
        let failure = unknown(&question(Side::Source, "orders", 0), &[]);
        assert_eq!(failure.advice, ["the link has no mirror so far: see `twinlog status`"]);
    }
}
