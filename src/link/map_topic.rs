//! The map topic: made when it is not there, looked at when it is.

use twinlog_client::{Cluster, Error};
use twinlog_core::ids::TopicId;

/// Why the map topic cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapTopicError {
    /// The target could not be asked, or said no.
    #[error(transparent)]
    Client(#[from] Error),
    /// It was made for another number of lanes.
    #[error(
        "the map topic {topic} has {found} partitions and the link {wanted} lanes: the number of lanes cannot be \
         changed in the configuration once the link has run; set `lanes: {found}`"
    )]
    Lanes {
        /// The map topic.
        topic: String,
        /// Its partitions.
        found: usize,
        /// The link's lanes.
        wanted: u32,
    },
    /// A setting would lose or change what is in it.
    #[error(
        "the map topic {topic} has {setting}={value}, which would lose or change the offset map; set {setting}={wanted}"
    )]
    Setting {
        /// The map topic.
        topic: String,
        /// Name of the setting.
        setting: String,
        /// Its value.
        value: String,
        /// What it must be.
        wanted: String,
    },
    /// It was created and none of the brokers shows it.
    #[error("the map topic {topic} was created and does not appear with leaders on the target; are its brokers up?")]
    NotSeen {
        /// The map topic.
        topic: String,
    },
}

/// The map topic's id, after creating the topic if it is not there, or after checking it if it is.
pub async fn ensure_map_topic(
    target: &Cluster,
    link: &str,
    lanes: u32,
    replication_factor: Option<i16>,
) -> Result<TopicId, MapTopicError> {
    todo!("{target:?} {link} {lanes} {replication_factor:?}")
}

/// The time after which the target's brokers forget a producer, in ms: the smallest of all brokers that answer.
pub async fn producer_expiration_ms(target: &Cluster) -> Result<i64, Error> {
    todo!("{target:?}")
}
