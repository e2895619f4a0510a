//! What somebody should know about a topic, with what to do.

use std::fmt;

use twinlog_client::{Error, ErrorCode, Retry, Side};
use twinlog_core::mirror_settings::HarmfulSetting;
use twinlog_core::topics::{NameRefusal, RefusedTopic};

/// Something about a topic that somebody should know. No other topic is held by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicProblem {
    /// The cluster that it is about.
    pub side: Side,
    /// The topic's name on that side; none for what is about no single topic.
    pub topic: Option<String>,
    /// What was found.
    pub what: String,
    /// What to do.
    pub to_do: String,
}

impl fmt::Display for TopicProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.topic {
            Some(topic) => write!(f, "{} topic {topic}: {}; {}", self.side, self.what, self.to_do),
            None => write!(f, "{}: {}; {}", self.side, self.what, self.to_do),
        }
    }
}

impl TopicProblem {
    pub(super) fn new(side: Side, topic: &str, what: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { side, topic: Some(topic.to_owned()), what: what.into(), to_do: to_do.into() }
    }

    /// A call that was answered with an error or not at all; `right` is what the broker wants to see granted.
    pub(super) fn failed(topic: Option<&str>, doing: &str, right: &str, error: &Error) -> Self {
        let to_do = match error.code() {
            Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED | ErrorCode::CLUSTER_AUTHORIZATION_FAILED) => {
                format!("grant {right} to twinlog's user")
            }
            Some(ErrorCode::INVALID_REPLICATION_FACTOR) => {
                "set `replication_factor` of the link to what the target's brokers can hold".into()
            }
            Some(ErrorCode::POLICY_VIOLATION) => {
                "create the topic by hand as the target's policy wants it, or change the policy".into()
            }
            Some(ErrorCode::INVALID_TOPIC_EXCEPTION) => "choose another `rename` for the link".into(),
            Some(ErrorCode::TOPIC_ALREADY_EXISTS) => "grant Describe on it to twinlog's user: it is not shown".into(),
            _ if error.retry() == Retry::Never => "look at the broker's words; it is tried again".into(),
            _ => "it is tried again".into(),
        };
        let topic = topic.map(str::to_owned);
        Self { side: error.side(), topic, what: format!("{doing}: {error}"), to_do }
    }

    pub(super) fn hidden(topic: &str) -> Self {
        let what = "it may not be described, so it may exist or not";
        Self::new(Side::Source, topic, what, "grant Describe, DescribeConfigs and Read on it to twinlog's user")
    }

    pub(super) fn undescribed(side: Side, topic: &str, code: ErrorCode) -> Self {
        Self::new(
            side,
            topic,
            format!("it cannot be described: {code}"),
            "grant Describe on it, or wait for its brokers",
        )
    }

    pub(super) fn unmatched(include: &str) -> Self {
        Self {
            side: Side::Source,
            topic: None,
            what: format!("the include `{include}` matches no topic that may be described"),
            to_do: "create the topic, correct the include, or grant Read and DescribeConfigs on it".into(),
        }
    }

    pub(super) fn refused(refused: &RefusedTopic) -> Self {
        let to_do = match refused.why {
            NameRefusal::Collision { .. } => "exclude all but one, or change `rename` so that the names differ",
            _ => "change `rename`, or exclude the topic",
        };
        Self::new(Side::Source, &refused.source_topic, refused.to_string(), to_do)
    }

    pub(super) fn harmful(target_topic: &str, setting: &HarmfulSetting) -> Self {
        Self::new(Side::Target, target_topic, setting.to_string(), setting.to_do())
    }

    pub(super) fn more_partitions(target_topic: &str, here: usize, there: usize) -> Self {
        let what = format!("it has {here} partitions and the source topic {there}");
        let to_do = "nothing for the copy; but clients that choose partitions by key would choose others here";
        Self::new(Side::Target, target_topic, what, to_do)
    }

    pub(super) fn mirror_gone(target_topic: &str, map_topic: &str) -> Self {
        let to_do = format!(
            "bring back the brokers that hold it; if it was deleted on purpose, stop the link, delete {map_topic}, \
             too, and start again to copy everything anew"
        );
        Self::new(Side::Target, target_topic, "it was a mirror of this link and is gone", to_do)
    }
}
