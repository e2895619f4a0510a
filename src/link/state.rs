//! The link's state on the target: `__twinlog.<link>.state`, one compacted partition ([`twinlog_core::state_record`]).
//!
//! It is read by anybody up to its high watermark, and written by compare-and-swap ([`StateTopic::update`]): instances
//! and commands may change it at the same time.

mod follow;
pub(crate) mod look;
mod update;

use std::time::Duration;

use tokio::time::Instant;
use twinlog_client::admin::{IsolationLevel, OffsetAt, TopicPartition};
use twinlog_client::{Cluster, Error, ErrorCode};
use twinlog_core::ids::{Producer, TopicId};
use twinlog_core::io::MapEntry;
use twinlog_core::link_state::{LinkState, Refusal};
use twinlog_core::state_record::StateRecord;

pub use self::follow::{Follower, Listener};
use crate::environment::WallClock;
use crate::log::{LogPart, LogRead, LogReader};
use crate::map_log::map_entries;
use crate::map_topic::{MapTopicError, check_kept_settings, ensure_topic};
use crate::names::state_topic;

/// The number by which connections for the state are told from those of lanes: who waits there for news holds up no
/// lane.
const CONNECTIONS: u32 = u32::MAX;
/// How long the broker may wait for something new.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// Why the state cannot be read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The target could not be asked, or said no.
    #[error(transparent)]
    Client(#[from] Error),
    /// The topic cannot be made or used.
    #[error(transparent)]
    Topic(#[from] MapTopicError),
    /// It holds something that this build does not understand.
    #[error("target topic {topic}: {what}; use the newest twinlog that wrote it")]
    Unreadable {
        /// The state topic.
        topic: String,
        /// What was found, in words.
        what: String,
    },
    /// The target does not take a write.
    #[error("target topic {topic} takes no write: {code} {message}")]
    NotWritten {
        /// The state topic.
        topic: String,
        /// The broker's word.
        code: ErrorCode,
        /// More of its words, if there are any.
        message: String,
    },
    /// It lost its end while it was read.
    #[error("target topic {topic}: the log ended at {end}, and from {next} on nothing can be read")]
    Cut {
        /// The state topic.
        topic: String,
        /// Its end before.
        end: i64,
        /// The offset that cannot be read.
        next: i64,
    },
    /// What was asked for cannot be.
    #[error("{0}")]
    Refused(Refusal),
    /// Others wrote it each time that this one was about to.
    #[error("target topic {0} could not be written: others change it all the time; try again")]
    Busy(String),
}

/// The state topic of a link.
#[derive(Clone, Debug)]
pub struct StateTopic {
    log: LogReader,
    transactional_id: String,
    clock: WallClock,
}

impl StateTopic {
    /// The state topic, after creating it if it is not there.
    pub async fn ensure(
        target: &Cluster,
        link: &str,
        replication_factor: Option<i16>,
        clock: WallClock,
    ) -> Result<Self, StateError> {
        let name = state_topic(link);
        let topic = ensure_topic(target, &name, 1, replication_factor).await?;
        check_kept_settings(target, &name).await?;
        Ok(Self::of(target, link, topic.id_bytes(), clock))
    }

    /// The state topic if it is there.
    pub async fn open(target: &Cluster, link: &str, clock: WallClock) -> Result<Option<Self>, StateError> {
        let metadata = target.refresh().await?;
        let found = metadata.topics.get(&state_topic(link));
        let found = found.filter(|topic| topic.error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        Ok(found.map(|topic| Self::of(target, link, topic.id_bytes(), clock)))
    }

    fn of(target: &Cluster, link: &str, topic_id: TopicId, clock: WallClock) -> Self {
        let log = LogReader {
            cluster: target.clone(),
            lane: CONNECTIONS,
            at: TopicPartition::new(state_topic(link), 0),
            topic_id,
            isolation: IsolationLevel::ReadUncommitted,
            max_wait: MAX_WAIT,
        };
        Self { log, transactional_id: format!("twinlog.{link}.state"), clock }
    }

    /// What it says as of now.
    pub async fn read(&self) -> Result<LinkState, StateError> {
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
    async fn read_on(&self, reading: &mut Reading) -> Result<bool, StateError> {
        let read = self.log.read(reading.next).await?;
        self.take(reading, read)
    }

    fn take(&self, reading: &mut Reading, read: LogRead) -> Result<bool, StateError> {
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
}

/// The state as far as it was read.
#[derive(Debug, Default)]
struct Reading {
    state: LinkState,
    next: i64,
    /// The newest marker.
    marker: Option<Producer>,
}

impl Reading {
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
                        let record = StateRecord::decode(&key, value.as_deref());
                        let named = |reason| format!("record {:?}: {reason}", String::from_utf8_lossy(&key));
                        if let Some(record) = record.map_err(|bad| named(bad.reason))? {
                            self.state.apply(record);
                        }
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
