//! What the link wrote of each group on the target: the topic `__twinlog.<link>.groups`, with one writer, the instance
//! that leads the link's group. Whoever takes it fences the one before.

use std::collections::BTreeMap;

use twinlog_client::ErrorCode;
use twinlog_client::admin::OffsetAt;
use twinlog_core::codec::BadRecord;
use twinlog_core::groups::{GroupMemories, GroupMemory};
use twinlog_core::ids::Producer;
use twinlog_core::io::MapBatch;
use twinlog_core::outbox::Answer;

use crate::lane::produce;
use crate::lease::Lease;
use crate::map_topic::{check_kept_settings, ensure_topic};
use crate::names::{groups_topic, groups_transactional_id};
use crate::own_topic::{Contents, OwnTopic};
use crate::state::StateError;
use crate::supervisor::LinkSetup;

impl Contents for GroupMemories {
    fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), BadRecord> {
        self.apply(key, value)
    }
}

/// Bytes of records in one batch: brokers take a megabyte by default.
const BATCH_BYTES: usize = 512 << 10;

/// The topic, if it is there.
pub(crate) async fn open(setup: &LinkSetup) -> Result<Option<OwnTopic<GroupMemories>>, StateError> {
    let name = groups_topic(&setup.name);
    let metadata = setup.target.refresh().await?;
    let found = metadata.topics.get(&name).filter(|topic| topic.error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    Ok(found.map(|topic| topic_of(setup, topic.id_bytes())))
}

fn topic_of(setup: &LinkSetup, id: [u8; 16]) -> OwnTopic<GroupMemories> {
    let (name, writer) = (groups_topic(&setup.name), groups_transactional_id(&setup.name));
    OwnTopic::new(&setup.target, name, id, writer, setup.environment.clock.clone())
}

/// The topic in the hands of its writer.
pub(super) struct Memory {
    topic: OwnTopic<GroupMemories>,
    producer: Producer,
    sequence: i32,
    groups: GroupMemories,
    /// The log's end behind what was written last.
    end: i64,
}

impl Memory {
    /// Takes the topic, and makes it where it is not there. None if somebody else took it at the same time.
    pub(super) async fn take(setup: &LinkSetup) -> Result<Option<Self>, StateError> {
        let name = groups_topic(&setup.name);
        let id = ensure_topic(&setup.target, &name, 1, setup.config.replication_factor).await?.id_bytes();
        check_kept_settings(&setup.target, &name).await?;
        let topic = topic_of(setup, id);
        let producer = topic.fence().await?;
        let Some(groups) = topic.read_to_marker(producer).await? else { return Ok(None) };
        let end = topic.log.offset(OffsetAt::Latest).await?;
        Ok(Some(Self { topic, producer, sequence: 0, groups, end }))
    }

    /// Whether nobody else has taken the topic since, as a command does.
    pub(super) async fn is_held(&self) -> Result<bool, StateError> {
        Ok(self.topic.log.offset(OffsetAt::Latest).await? == self.end)
    }

    /// What is known of a group.
    pub(super) fn of(&self, group: &str) -> Option<&GroupMemory> {
        self.groups.0.get(group)
    }

    /// Writes what is known of groups from now on. After an error it is to be taken anew: what was written is not
    /// known.
    pub(super) async fn write(
        &mut self,
        lease: &Lease,
        changed: BTreeMap<String, GroupMemory>,
    ) -> Result<(), StateError> {
        let mut changed = changed.into_iter().peekable();
        while changed.peek().is_some() {
            let (mut records, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some((group, memory)) = changed.next_if(|_| bytes < BATCH_BYTES) {
                let (key, value) = (GroupMemories::key(&group), memory.encode());
                bytes += key.len() + value.len();
                records.push((key, Some(value)));
                part.push((group, memory));
            }
            let timestamp_ms = self.topic.clock.now_ms();
            let batch = MapBatch { producer: self.producer, sequence: self.sequence, timestamp_ms, records };
            let count = part.len();
            self.sequence = self.sequence.wrapping_add(i32::try_from(count).unwrap_or(i32::MAX)) & i32::MAX;
            let log = &self.topic.log;
            match produce(&log.cluster, log.lane, &log.at, &batch, Some(lease.permit())).await? {
                Answer::Stored { base, .. } => {
                    self.end = base.0 + i64::try_from(count).unwrap_or(i64::MAX);
                    self.groups.0.extend(part);
                }
                Answer::Refused(code, message) => {
                    return Err(StateError::NotWritten { topic: log.at.topic.clone(), code, message });
                }
                Answer::Lost | Answer::NotSent => return Err(StateError::Busy(log.at.topic.clone())),
            }
        }
        Ok(())
    }
}
