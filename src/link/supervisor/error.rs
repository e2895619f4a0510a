//! Why a link ended.

use twinlog_client::{Error, ErrorCode};

use crate::map_topic::MapTopicError;
use crate::names::group;
use crate::same_cluster::SameCluster;
use crate::state::StateError;

/// Why a link ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A cluster cannot be asked what must be known before the start.
    #[error(transparent)]
    Client(#[from] Error),
    /// Neither cluster can be asked.
    #[error("{0}\n{1}")]
    Neither(Error, Error),
    /// Both sides are one cluster.
    #[error(transparent)]
    SameCluster(#[from] SameCluster),
    /// The map topic cannot be used.
    #[error(transparent)]
    MapTopic(#[from] MapTopicError),
    /// The link's state cannot be read or begun.
    #[error(transparent)]
    State(#[from] StateError),
    /// The target does not take this instance into the link's group.
    #[error(
        "link {link}: the target does not take this instance into group {}: {code}; {}",
        group(link),
        advice(*code)
    )]
    Members {
        /// The link's name.
        link: String,
        /// The broker's word.
        code: ErrorCode,
    },
    /// The map topic holds something that this build does not understand, or that belongs to another link.
    #[error("link {link}: the map of lane {lane} cannot be used: {reason}")]
    BadMap {
        /// The link's name.
        link: String,
        /// The lane's number.
        lane: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// A thread cannot be started.
    #[error("no thread for the lanes: {0}")]
    Thread(String),
}

/// What to do about a group that refuses an instance.
fn advice(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::INVALID_SESSION_TIMEOUT => {
            "set members.session_timeout between group.min.session.timeout.ms and group.max.session.timeout.ms of the \
             target's brokers"
        }
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL => {
            "something else uses this group, or another version of twinlog: stop it, or give the link another name"
        }
        _ => "give the link another name",
    }
}
