//! The map of a partition, looked at once, for questions by the thousand.

use std::ops::RangeInclusive;

use tokio::runtime::Runtime;
use twinlog_client::{Cluster, DialConfig, Side as Dialled};
use twinlog_core::config::LinkConfig;
use twinlog_core::report::{Side, Translation};
use twinlog_core::topics::TopicRules;
use twinlog_link::environment::Environment;
use twinlog_link::supervisor::LinkSetup;
use twinlog_link::translate::Question;

use crate::pair::Link;

/// Asks the library, as `twinlog translate` does.
pub(crate) struct Translator {
    runtime: Runtime,
    setup: LinkSetup,
}

impl Translator {
    pub(crate) fn new(link: &Link<'_>) -> Self {
        let cluster = |side, of: &twinlog_testcontainers::Cluster| {
            let bootstrap = of.brokers().iter().map(|broker| broker.address().into()).collect();
            Cluster::new(side, bootstrap, DialConfig::default()).expect("a cluster")
        };
        // Only the clusters and the name count: the map knows the rest.
        let topics = TopicRules { include: Vec::new(), exclude: Vec::new(), rename: Default::default() };
        let config = LinkConfig::new("a", "b", topics);
        let (source, target) = (&link.pair.source, &link.pair.target);
        let setup = LinkSetup {
            name: link.name.clone(),
            config,
            source: cluster(Dialled::Source, source),
            target: cluster(Dialled::Target, target),
            environment: Environment::default(),
        };
        Self { runtime: Runtime::new().expect("a runtime"), setup }
    }

    /// The answers to all these offsets.
    pub(crate) fn all(
        &self,
        side: Side,
        topic: &str,
        partition: i32,
        offsets: RangeInclusive<i64>,
    ) -> Vec<Translation> {
        let question = Question { side, topic: topic.to_owned(), partition, offset: 0 };
        let open = twinlog_link::translate::Translator::open(&self.setup, &question);
        let translator = self.runtime.block_on(open).expect("the map is read");
        let answer = |offset| translator.translate(offset).expect("an answer").answer;
        offsets.map(answer).collect()
    }
}
