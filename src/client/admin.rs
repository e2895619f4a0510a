//! Admin calls, one file each. They choose their version by negotiation, make one attempt and give one result an item:
//! `Err` of a call means that nothing is known of any item, `Err` of an item is the broker's word on it.

mod brokers;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod denied;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_producers;
mod group_offsets;
mod groups;
mod incremental_alter_configs;
mod leaders;
mod list_offsets;
mod transactions;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::{Request, StrBytes};
use twinlog_wire::error_code::ErrorCode;

pub use self::create_partitions::NewPartitions;
pub use self::create_topics::{CreatedTopic, NewTopic};
pub use self::describe_cluster::{ClusterRights, Operation, Operations};
pub use self::describe_configs::{ConfigEntry, ConfigResource, ConfigSource};
pub use self::describe_log_dirs::{LogDir, LogDirReplica};
pub use self::describe_producers::OpenTransaction;
pub use self::group_offsets::CommittedOffset;
pub use self::groups::{GroupJoin, GroupJoined, GroupMember, GroupMemberSeen};
pub use self::incremental_alter_configs::{ConfigChange, ConfigOp};
pub use self::list_offsets::{IsolationLevel, ListedOffset, OffsetAt};
pub use self::transactions::ProducerId;
use crate::connection::Connection;
use crate::error::{Cause, Outcome, Result, Step};

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// How long the broker may work on a call: less than the client waits for it, so that its word comes first.
fn timeout_ms(connection: &Connection) -> i32 {
    let half: Duration = connection.request_timeout() / 2;
    i32::try_from(half.as_millis()).unwrap_or(i32::MAX)
}

/// The broker's word on an item, or on the whole call where `item` is none.
fn check<R: Request>(
    connection: &Connection,
    code: i16,
    item: Option<&dyn fmt::Display>,
    message: Option<&StrBytes>,
) -> Result<()> {
    if code == ErrorCode::NONE.0 {
        return Ok(());
    }
    let item = item.map(ToString::to_string);
    let cause = Cause::Code { code: ErrorCode(code), item, message: message.map(|m| m.to_string()) };
    Err(connection.error(Step::of::<R>(), Outcome::Answered, cause))
}

/// Gives each item that was asked for and not answered an error of its own.
fn fill_missing<R: Request, K: Ord + Clone + fmt::Display, T>(
    connection: &Connection,
    asked: impl IntoIterator<Item = K>,
    results: &mut BTreeMap<K, Result<T>>,
) {
    for item in asked {
        results.entry(item).or_insert_with_key(|item| {
            let cause = Cause::Missing(item.to_string());
            Err(connection.error(Step::of::<R>(), Outcome::Unknown, cause))
        });
    }
}

fn str_bytes(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(text: &str) -> TopicName {
    TopicName(str_bytes(text))
}

/// Partitions by topic, as requests have them.
fn by_topic<'a, T>(items: impl IntoIterator<Item = (&'a TopicPartition, T)>) -> BTreeMap<&'a str, Vec<(i32, T)>> {
    let mut topics: BTreeMap<&str, Vec<(i32, T)>> = BTreeMap::new();
    for (at, item) in items {
        topics.entry(&at.topic).or_default().push((at.partition, item));
    }
    topics
}
