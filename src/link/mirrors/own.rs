//! Which mirrors earlier runs of this link have copied to, by its map.

use std::collections::BTreeMap;

use twinlog_client::Side;
use twinlog_core::ids::TopicId;
use twinlog_core::map_record::Head;
use twinlog_core::report::Failure;

use super::{Look, Mirrors, TopicProblem};
use crate::environment::Environment;
use crate::map_reader::MapReader;
use crate::names;
use crate::supervisor::LinkSetup;

impl Mirrors {
    /// Name and topic id of the mirror by source topic, for all that is in the map; none if it cannot be read now.
    pub(super) async fn own_mirrors(&self, look: &mut Look) -> Option<BTreeMap<String, (String, TopicId)>> {
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

    async fn read_own_mirrors(&self) -> Result<BTreeMap<String, (String, TopicId)>, Failure> {
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
        let mirror = |head: &Head| (head.target_topic.clone(), head.target_topic_id);
        Ok(map.heads().map(|(key, head)| (key.topic.clone(), mirror(head))).collect())
    }
}
