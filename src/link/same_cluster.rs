//! A link between a cluster and itself would copy what it wrote, for ever. So the two sides are compared before anything
//! is created.

use std::collections::BTreeSet;
use std::fmt;

use twinlog_client::{Address, Metadata};

/// The two sides of a link are one cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SameCluster {
    /// Topic ids are random: the same one on both sides is the same topic.
    #[error(
        "source and target are the same cluster: topic `{source_topic}` has the same topic id on both sides; \
         name another cluster in the link"
    )]
    TopicId {
        /// Its name on the source, the same as on the target unless one of the two is out of date.
        source_topic: String,
    },
    /// A broker of the source is a broker of the target.
    #[error(
        "source and target are the same cluster: both advertise the broker {endpoint}; \
         name another cluster in the link, or correct the brokers' advertised.listeners"
    )]
    Endpoint {
        /// The broker's address.
        endpoint: Address,
    },
}

/// The two sides look like one cluster and are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SameClusterId {
    /// The cluster id that both sides have.
    pub cluster_id: String,
}

impl fmt::Display for SameClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "source and target have the same cluster id {}, though they share no topic and no broker: \
             one of them was probably copied from the other",
            self.cluster_id
        )
    }
}

/// Refuses two sides that are one cluster: a common topic id, or a common advertised address. An equal cluster id alone
/// is a warning: clusters that were restored from a copy of another's disks have it.
pub fn refuse_same_cluster(source: &Metadata, target: &Metadata) -> Result<Option<SameClusterId>, SameCluster> {
    let ids: BTreeSet<_> = target.topics.values().filter_map(|topic| topic.id).collect();
    if let Some(topic) = source.topics.values().find(|topic| topic.id.is_some_and(|id| ids.contains(&id))) {
        return Err(SameCluster::TopicId { source_topic: topic.name.clone() });
    }
    let endpoints: BTreeSet<_> = target.brokers.values().map(|broker| &broker.address).collect();
    if let Some(broker) = source.brokers.values().find(|broker| endpoints.contains(&broker.address)) {
        return Err(SameCluster::Endpoint { endpoint: broker.address.clone() });
    }
    match (&source.cluster_id, &target.cluster_id) {
        (Some(source), Some(target)) if source == target => Ok(Some(SameClusterId { cluster_id: source.clone() })),
        _ => Ok(None),
    }
}
