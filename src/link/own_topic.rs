//! A topic of the link's own on the target: one compacted partition, read by anybody up to its high watermark. A writer
//! takes it by a marker of a new epoch: who wrote before is fenced, and what it had written is read up to the marker.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::time::Duration;

use tokio::time::Instant;
use twinlog_client::Cluster;
use twinlog_client::admin::{IsolationLevel, OffsetAt, TopicPartition};
use twinlog_core::codec::BadRecord;
use twinlog_core::ids::{Producer, TopicId};
use twinlog_core::io::MapEntry;

use crate::environment::WallClock;
use crate::lane::init_producer_id;
use crate::log::{LogPart, LogRead, LogReader};
use crate::map_log::map_entries;
use crate::state::StateError;

/// The number by which connections for such topics are told from those of lanes: who waits there for news holds up no
/// lane.
const CONNECTIONS: u32 = u32::MAX;
/// How long the broker may wait for something new.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// What a topic's records add up to.
pub trait Contents: Clone + Default + Send + Sync + 'static {
    /// Takes the next record of the log.
    ///
    /// # Errors
    ///
    /// It is none that this build understands.
    fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), BadRecord>;
}

/// A topic of the link's own.
#[derive(Clone, Debug)]
pub struct OwnTopic<S> {
    pub(crate) log: LogReader,
    pub(crate) transactional_id: String,
    pub(crate) clock: WallClock,
    contents: PhantomData<S>,
}

impl<S: Contents> OwnTopic<S> {
    pub(crate) fn new(
        target: &Cluster,
        topic: String,
        topic_id: TopicId,
        transactional_id: String,
        clock: WallClock,
    ) -> Self {
        let log = LogReader {
            cluster: target.clone(),
            lane: CONNECTIONS,
            at: TopicPartition::new(topic, 0),
            topic_id,
            isolation: IsolationLevel::ReadUncommitted,
            max_wait: MAX_WAIT,
        };
        Self { log, transactional_id, clock, contents: PhantomData }
    }

    /// What it says as of now.
    ///
    /// # Errors
    ///
    /// It cannot be read or understood, or lost its end.
    pub async fn read(&self) -> Result<S, StateError> {
        let (target, deadline) = (&self.log.cluster, Self::deadline());
        let end = target.retry(deadline, || self.log.offset(OffsetAt::Latest)).await?;
        let mut reading = Reading::default();
        while reading.next < end {
            let from = reading.next;
            let read = target.retry(deadline, || self.log.read(from)).await?;
            self.take(&mut reading, read)?;
            if reading.next < end && Instant::now() >= deadline {
                return Err(StateError::Cut { topic: self.log.at.topic.clone(), end, next: reading.next });
            }
        }
        Ok(reading.state)
    }

    /// Reads one part more; whether all is read that is there now.
    pub(crate) async fn read_on(&self, reading: &mut Reading<S>) -> Result<bool, StateError> {
        let read = self.log.read(reading.next).await?;
        self.take(reading, read)
    }

    fn take(&self, reading: &mut Reading<S>, read: LogRead) -> Result<bool, StateError> {
        match read {
            LogRead::Part(part) => {
                reading.take(&part).map_err(|what| self.unreadable(what))?;
                Ok(reading.next >= part.high_watermark)
            }
            LogRead::OutOfRange { start, .. } => {
                // The log was cut, or made anew: what was read before counts for nothing.
                *reading = Reading { next: start, ..Reading::default() };
                Ok(false)
            }
        }
    }

    fn unreadable(&self, what: String) -> StateError {
        StateError::Unreadable { topic: self.log.at.topic.clone(), what }
    }

    fn deadline() -> Instant {
        crate::reach::deadline()
    }

    /// Writes a marker of a new epoch; from it on whoever wrote before is refused.
    pub(crate) async fn fence(&self) -> Result<Producer, StateError> {
        let (target, lane, id) = (&self.log.cluster, self.log.lane, self.transactional_id.as_str());
        let producer_id = init_producer_id(target, lane, id, None).await?;
        let at = BTreeSet::from([self.log.at.clone()]);
        for result in target.add_partitions_to_txn(lane, id, producer_id, &at).await?.into_values() {
            result?;
        }
        target.end_txn(lane, id, producer_id, true).await?;
        Ok(Producer { id: producer_id.id, epoch: producer_id.epoch })
    }

    /// The contents up to our marker; none if somebody else's came behind it, or it does not come.
    pub(crate) async fn read_to_marker(&self, producer: Producer) -> Result<Option<S>, StateError> {
        let deadline = Self::deadline();
        let mut reading = Reading::default();
        while Instant::now() < deadline {
            let before = reading.next;
            self.read_on(&mut reading).await?;
            if reading.marker == Some(producer) {
                return Ok(Some(reading.state));
            }
            let overtaken = |marker: Producer| marker.id != producer.id || marker.epoch > producer.epoch;
            if reading.next == before && reading.marker.is_some_and(overtaken) {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

/// The contents as far as they were read.
#[derive(Debug, Default)]
pub(crate) struct Reading<S> {
    pub(crate) state: S,
    pub(crate) next: i64,
    /// The newest marker.
    marker: Option<Producer>,
}

impl<S: Contents> Reading<S> {
    fn take(&mut self, part: &LogPart) -> Result<(), String> {
        let before = self.next;
        for entry in &part.entries {
            let after = entry.next_offset();
            if after <= before {
                continue;
            }
            for record in map_entries(entry)? {
                match record {
                    MapEntry::Marker(producer) => self.marker = Some(producer),
                    MapEntry::Record { key, value, .. } => {
                        let taken = self.state.take(&key, value.as_deref());
                        taken.map_err(|bad| format!("record {:?}: {}", String::from_utf8_lossy(&key), bad.reason))?;
                    }
                }
            }
            self.next = after;
        }
        if self.next == before {
            // The cleaner took the rest.
            self.next = self.next.max(part.high_watermark);
        }
        Ok(())
    }
}
