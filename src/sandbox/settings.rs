//! Settings of topics and brokers by Kafka's own names, with their defaults and where a value comes from.
//!
//! Source: `TopicConfig`, `LogConfig` and `KafkaConfig` of Apache Kafka 4.1.

use std::collections::BTreeMap;

use twinlog_wire::batch::Codec;

/// A setting's type as DescribeConfigs numbers it (`ConfigResponse.ConfigType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// Where a value comes from, as DescribeConfigs numbers it (`ConfigEntry.ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Topic = 1,
    StaticBroker = 4,
    Default = 5,
}

/// One setting of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// The broker's setting that topics without a value of their own live by; empty: none.
    pub(crate) broker: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: &'static str,
}

const fn setting(name: &'static str, broker: &'static str, kind: Kind, default: &'static str) -> Setting {
    Setting { name, broker, kind, default }
}

const FOREVER: &str = "9223372036854775807";

/// All settings of topics.
pub(crate) const TOPIC: &[Setting] = &[
    setting("cleanup.policy", "log.cleanup.policy", Kind::List, "delete"),
    setting("compression.gzip.level", "compression.gzip.level", Kind::Int, "-1"),
    setting("compression.lz4.level", "compression.lz4.level", Kind::Int, "9"),
    setting("compression.type", "compression.type", Kind::String, "producer"),
    setting("compression.zstd.level", "compression.zstd.level", Kind::Int, "3"),
    setting("delete.retention.ms", "log.cleaner.delete.retention.ms", Kind::Long, "86400000"),
    setting("file.delete.delay.ms", "log.segment.delete.delay.ms", Kind::Long, "60000"),
    setting("flush.messages", "log.flush.interval.messages", Kind::Long, FOREVER),
    setting("flush.ms", "log.flush.interval.ms", Kind::Long, FOREVER),
    setting("follower.replication.throttled.replicas", "", Kind::List, ""),
    setting("index.interval.bytes", "log.index.interval.bytes", Kind::Int, "4096"),
    setting("leader.replication.throttled.replicas", "", Kind::List, ""),
    setting("local.retention.bytes", "log.local.retention.bytes", Kind::Long, "-2"),
    setting("local.retention.ms", "log.local.retention.ms", Kind::Long, "-2"),
    setting("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms", Kind::Long, FOREVER),
    setting("max.message.bytes", "message.max.bytes", Kind::Int, "1048588"),
    setting("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms", Kind::Long, "3600000"),
    setting("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms", Kind::Long, FOREVER),
    setting("message.timestamp.type", "log.message.timestamp.type", Kind::String, "CreateTime"),
    setting("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio", Kind::Double, "0.5"),
    setting("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms", Kind::Long, "0"),
    setting("min.insync.replicas", "min.insync.replicas", Kind::Int, "1"),
    setting("preallocate", "log.preallocate", Kind::Bool, "false"),
    setting("remote.log.copy.disable", "", Kind::Bool, "false"),
    setting("remote.log.delete.on.disable", "", Kind::Bool, "false"),
    setting("remote.storage.enable", "", Kind::Bool, "false"),
    setting("retention.bytes", "log.retention.bytes", Kind::Long, "-1"),
    setting("retention.ms", "log.retention.ms", Kind::Long, "604800000"),
    setting("segment.bytes", "log.segment.bytes", Kind::Int, "1073741824"),
    setting("segment.index.bytes", "log.index.size.max.bytes", Kind::Int, "10485760"),
    setting("segment.jitter.ms", "log.roll.jitter.ms", Kind::Long, "0"),
    setting("segment.ms", "log.roll.ms", Kind::Long, "604800000"),
    setting("unclean.leader.election.enable", "unclean.leader.election.enable", Kind::Bool, "false"),
];

/// Settings of brokers that topics have no counterpart of. Two defaults are not Kafka's: topics are not made by asking
/// for them, and a group's first rebalance does not wait three seconds.
pub(crate) const BROKER: &[Setting] = &[
    setting("authorizer.class.name", "", Kind::String, ""),
    setting("auto.create.topics.enable", "", Kind::Bool, "false"),
    setting("default.replication.factor", "", Kind::Int, "1"),
    setting("group.initial.rebalance.delay.ms", "", Kind::Int, "0"),
    setting("group.max.session.timeout.ms", "", Kind::Int, "1800000"),
    setting("group.min.session.timeout.ms", "", Kind::Int, "6000"),
    setting("num.partitions", "", Kind::Int, "1"),
    setting("offset.metadata.max.bytes", "", Kind::Int, "4096"),
    setting("offsets.retention.minutes", "", Kind::Int, "10080"),
    setting("producer.id.expiration.check.interval.ms", "", Kind::Int, "600000"),
    setting("producer.id.expiration.ms", "", Kind::Int, "86400000"),
    setting("socket.request.max.bytes", "", Kind::Int, "104857600"),
    setting("transaction.max.timeout.ms", "", Kind::Int, "900000"),
    setting("transactional.id.expiration.ms", "", Kind::Int, "604800000"),
];

/// Why a setting is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// No topic or broker has a setting of this name.
    #[error("there is no setting {0}")]
    Unknown(String),
    /// The value is not one of its type.
    #[error("Invalid value {value} for configuration {name}")]
    Invalid {
        /// Name of the setting.
        name: String,
        /// What was given.
        value: String,
    },
}

/// Checks a topic's setting.
pub(crate) fn check_topic(name: &str, value: &str) -> Result<(), SettingError> {
    let setting = TOPIC.iter().find(|setting| setting.name == name);
    check(setting, name, value)
}

/// Checks a broker's setting; those that topics inherit have the broker's name.
fn check_broker(name: &str, value: &str) -> Result<(), SettingError> {
    let own = BROKER.iter().find(|setting| setting.name == name);
    check(own.or_else(|| TOPIC.iter().find(|setting| setting.broker == name)), name, value)
}

fn check(setting: Option<&Setting>, name: &str, value: &str) -> Result<(), SettingError> {
    let setting = setting.ok_or_else(|| SettingError::Unknown(name.to_owned()))?;
    let is_one_of = |known: &[&str]| known.contains(&value);
    let valid = match (setting.name, setting.kind) {
        ("cleanup.policy", _) => value.split(',').all(|policy| ["delete", "compact"].contains(&policy.trim())),
        ("compression.type", _) => is_one_of(&["uncompressed", "gzip", "snappy", "lz4", "zstd", "producer"]),
        ("message.timestamp.type", _) => is_one_of(&["CreateTime", "LogAppendTime"]),
        (_, Kind::Bool) => is_one_of(&["true", "false"]),
        (_, Kind::Int) => value.parse::<i32>().is_ok(),
        (_, Kind::Long) => value.parse::<i64>().is_ok(),
        (_, Kind::Double) => value.parse::<f64>().is_ok(),
        (_, Kind::String | Kind::List) => true,
    };
    let invalid = || SettingError::Invalid { name: name.to_owned(), value: value.to_owned() };
    if valid { Ok(()) } else { Err(invalid()) }
}

/// The brokers' settings; all brokers have the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct BrokerSettings {
    given: BTreeMap<String, String>,
}

impl BrokerSettings {
    pub(crate) fn new(given: BTreeMap<String, String>) -> Result<Self, SettingError> {
        for (name, value) in &given {
            check_broker(name, value)?;
        }
        Ok(Self { given })
    }

    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    /// The value of one of [`BROKER`].
    pub(crate) fn value(&self, name: &str) -> &str {
        let default = || BROKER.iter().find(|setting| setting.name == name).map_or("", |setting| setting.default);
        self.given(name).unwrap_or_else(default)
    }

    /// A number of [`BROKER`]; values were checked when they were given.
    pub(crate) fn number(&self, name: &str) -> i64 {
        self.value(name).parse().unwrap_or_default()
    }

    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.value(name) == "true"
    }

    /// A topic's effective value, and where it comes from.
    pub(crate) fn effective<'a>(&'a self, own: &'a BTreeMap<String, String>, setting: &Setting) -> (&'a str, Origin) {
        match (own.get(setting.name), self.given(setting.broker)) {
            (Some(value), _) => (value, Origin::Topic),
            (None, Some(value)) => (value, Origin::StaticBroker),
            (None, None) => (setting.default, Origin::Default),
        }
    }

    /// The settings of a topic that change what its partitions take.
    pub(crate) fn rules(&self, own: &BTreeMap<String, String>) -> Rules {
        let text = |name: &str| {
            let setting = TOPIC.iter().find(|setting| setting.name == name);
            setting.map_or("", |setting| self.effective(own, setting).0)
        };
        let number = |name: &str| text(name).parse().unwrap_or(i64::MAX);
        let policies = text("cleanup.policy");
        Rules {
            max_message_bytes: number("max.message.bytes"),
            is_compacted: policies.contains("compact"),
            is_deleted: policies.contains("delete"),
            compression: match text("compression.type") {
                "uncompressed" => Some(Codec::None),
                "gzip" => Some(Codec::Gzip),
                "snappy" => Some(Codec::Snappy),
                "lz4" => Some(Codec::Lz4),
                "zstd" => Some(Codec::Zstd),
                _ => None,
            },
            is_append_time: text("message.timestamp.type") == "LogAppendTime",
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            retention_ms: number("retention.ms"),
            retention_bytes: number("retention.bytes"),
        }
    }
}

/// What a topic's partitions take and keep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) max_message_bytes: i64,
    pub(crate) is_compacted: bool,
    pub(crate) is_deleted: bool,
    /// None: what the producer chose stays.
    pub(crate) compression: Option<Codec>,
    pub(crate) is_append_time: bool,
    pub(crate) timestamp_after_max_ms: i64,
    pub(crate) timestamp_before_max_ms: i64,
    pub(crate) retention_ms: i64,
    pub(crate) retention_bytes: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topics_own_value_comes_before_the_brokers_and_that_before_the_default() {
        let given = BTreeMap::from([("message.max.bytes".to_owned(), "2000".to_owned())]);
        let broker = BrokerSettings::new(given).unwrap();
        let own = BTreeMap::from([("max.message.bytes".to_owned(), "3000".to_owned())]);
        assert_eq!(broker.rules(&own).max_message_bytes, 3000);
        assert_eq!(broker.rules(&BTreeMap::new()).max_message_bytes, 2000);
        assert_eq!(BrokerSettings::default().rules(&BTreeMap::new()).max_message_bytes, 1_048_588);
    }

    #[test]
    fn names_and_values_are_looked_at() {
        assert_eq!(check_topic("retention.ms", "-1"), Ok(()));
        assert!(matches!(check_topic("retention.ms", "long"), Err(SettingError::Invalid { .. })));
        assert!(matches!(check_topic("retention", "1"), Err(SettingError::Unknown(_))));
        assert!(matches!(check_broker("retention.ms", "1"), Err(SettingError::Unknown(_))));
        assert_eq!(check_broker("log.retention.ms", "1"), Ok(()));
    }
}
