//! A link between a cluster and itself would copy what it wrote, for ever. So the two sides are compared before
//! anything is created.

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

#[cfg(test)]
mod tests {
    use super::*;
    use twinlog_client::ErrorCode;
    use twinlog_client::metadata::{Broker, Topic};
    use uuid::Uuid;

    fn cluster(id: &str, broker: &str, topics: &[(&str, u128)]) -> Metadata {
        let broker = Broker { id: 1, address: broker.parse().unwrap(), rack: None };
        let topic = |(name, id): &(&str, u128)| {
            let id = (*id != 0).then(|| Uuid::from_u128(*id));
            let (is_internal, error, partitions) = (false, ErrorCode::NONE, Vec::new());
            ((*name).to_owned(), Topic { name: (*name).to_owned(), id, is_internal, error, partitions })
        };
        Metadata {
            cluster_id: Some(id.to_owned()),
            controller: None,
            brokers: [(1, broker)].into(),
            topics: topics.iter().map(topic).collect(),
        }
    }

    #[test]
    fn a_common_topic_is_refused_behind_other_addresses() {
        let source = cluster("x", "inside:9092", &[("a", 7), ("orders", 8)]);
        let error = refuse_same_cluster(&source, &cluster("x", "outside:9092", &[("orders", 8)])).unwrap_err();
        assert!(error.to_string().contains("topic `orders` has the same topic id"), "{error}");
    }

    #[test]
    fn a_common_broker_is_refused() {
        let source = cluster("x", "one:9092", &[("a", 1)]);
        let error = refuse_same_cluster(&source, &cluster("y", "one:9092", &[("a", 2)])).unwrap_err();
        assert!(error.to_string().contains("both advertise the broker one:9092"), "{error}");
        assert_eq!(refuse_same_cluster(&source, &cluster("y", "one:9093", &[("a", 2)])), Ok(None));
    }

    #[test]
    fn an_equal_cluster_id_alone_is_a_warning() {
        let warning = refuse_same_cluster(&cluster("x", "one:1", &[("a", 1)]), &cluster("x", "two:1", &[("a", 2)]));
        assert_eq!(warning, Ok(Some(SameClusterId { cluster_id: "x".into() })));
    }

    #[test]
    fn topics_without_ids_are_not_common() {
        assert_eq!(refuse_same_cluster(&cluster("x", "o:1", &[("a", 0)]), &cluster("y", "t:1", &[("a", 0)])), Ok(None));
    }
}
