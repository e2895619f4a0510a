//! The link's state on the target: `__twinlog.<link>.state`, one compacted partition ([`twinlog_core::state_record`]).
//!
//! It is read by anybody up to its high watermark, and written by compare-and-swap (`StateTopic::update`): instances
//! and commands may change it at the same time.

mod follow;
pub(crate) mod look;
mod update;

use twinlog_client::{Cluster, Error, ErrorCode};
use twinlog_core::codec::BadRecord;
use twinlog_core::ids::TopicId;
use twinlog_core::link_state::{LinkState, Refusal};
use twinlog_core::state_record::StateRecord;

pub use self::follow::{Follower, Listener};
use crate::environment::WallClock;
use crate::map_topic::{MapTopicError, check_kept_settings, ensure_topic};
use crate::names::state_topic;
use crate::own_topic::{Contents, OwnTopic};

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
pub type StateTopic = OwnTopic<LinkState>;

impl Contents for LinkState {
    fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), BadRecord> {
        if let Some(record) = StateRecord::decode(key, value)? {
            self.apply(record);
        }
        Ok(())
    }
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
        Self::new(target, state_topic(link), topic_id, format!("twinlog.{link}.state"), clock)
    }
}
