//! Which mirrors earlier runs of this link have copied to, by its map, and which of them are to be begun anew.

use std::collections::BTreeMap;

use twinlog_client::Side;
use twinlog_core::ids::TopicId;
use twinlog_core::map_record::{Head, PartitionKey};
use twinlog_core::report::Failure;

use super::{Look, Mirrors, TopicProblem};
use crate::environment::Environment;
use crate::map_reader::MapReader;
use crate::names;
use crate::supervisor::LinkSetup;

/// A mirror that the map knows.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) target_topic: String,
    pub(super) target_id: TopicId,
    /// Somebody decided that it begins anew, and that is still to be done.
    pub(super) begins_anew: bool,
}

impl Mirrors {
    /// The mirrors by source topic, for all that is in the map; none if it cannot be read now.
    pub(super) async fn own_mirrors(&self, look: &mut Look) -> Option<BTreeMap<String, Own>> {
        match self.read_own_mirrors().await {
            Ok(own) => Some(own),
            Err(failure) => {
                let what = format!("the map cannot be read, so no mirror can be begun: {}", failure.what);
                let to_do = failure.advice.first().map_or("it is tried again", String::as_str);
                look.problems.insert(TopicProblem::new(Side::Target, &names::map_topic(&self.link), what, to_do));
                None
            }
        }
    }

    async fn read_own_mirrors(&self) -> Result<BTreeMap<String, Own>, Failure> {
        let setup = LinkSetup {
            name: self.link.clone(),
            config: self.config.clone(),
            source: self.source.clone(),
            target: self.target.clone(),
            environment: Environment::default(),
        };
        // Only heads are looked at: older ranges need not be kept.
        let Some(mut map) = MapReader::open(&setup, Box::new(|_| false)).await? else { return Ok(BTreeMap::new()) };
        map.read().await?;
        let mut all: BTreeMap<String, Own> = BTreeMap::new();
        for (key, head) in map.heads() {
            let begins_anew = self.begins_anew(key, head);
            let own = Own { target_topic: head.target_topic.clone(), target_id: head.target_topic_id, begins_anew };
            all.entry(key.topic.clone()).or_insert(own).begins_anew |= begins_anew;
        }
        Ok(all)
    }

    fn begins_anew(&self, key: &PartitionKey, head: &Head) -> bool {
        let decided = self.resolutions.get(key).filter(|resolution| resolution.number > head.resolved);
        decided.is_some_and(|resolution| resolution.exit.begins_anew(&resolution.state))
    }
}
