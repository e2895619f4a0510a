//! Keeps the target's topics in step with the source's.

use std::fmt;

use twinlog_client::{Cluster, Result, Side};
use twinlog_core::config::LinkConfig;
use twinlog_core::halt::Halt;
use twinlog_core::io::PartitionSpec;
use twinlog_core::map_record::PartitionKey;

/// Keeps the target's topics in step with the source's. Owns no state that is not in the clusters, except what it has
/// reported.
#[derive(Debug)]
pub struct Mirrors {
    link: String,
    source_name: String,
    config: LinkConfig,
    source: Cluster,
    target: Cluster,
}

/// What one round found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// All partitions that should be copied now, by source topic and number. A partition stays in it from round to
    /// round, also while its source or target is out of sight.
    pub partitions: Vec<PartitionSpec>,
    /// All partitions that must not be copied now, and why. Like `partitions` it is complete in each round, so it names
    /// the same stops again; some of them never were in `partitions`.
    pub stops: Vec<(PartitionKey, Halt)>,
    /// What was not a problem in the round before. A problem that went away and came back is named again.
    pub problems: Vec<TopicProblem>,
}

/// Something about a topic that somebody should know. No other topic is held by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicProblem {
    /// The cluster on which something is to be done.
    pub side: Side,
    /// The topic's name on that side; none for an include that matches nothing.
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

impl Mirrors {
    /// The mirrors of a link. `source_name` is the source's name in the configuration, for templates.
    pub fn new(link: &str, source_name: &str, config: LinkConfig, source: Cluster, target: Cluster) -> Self {
        Self { link: link.to_owned(), source_name: source_name.to_owned(), config, source, target }
    }

    /// One round: metadata of both sides, topics selected, missing mirrors and partitions created. The map topic must
    /// be there. An error means that a cluster could not be asked at all and nothing is known; call it again later.
    pub async fn sync(&mut self) -> Result<Round> {
        todo!("{self:?}")
    }
}
