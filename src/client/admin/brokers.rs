//! Config calls go to any broker for a topic and to the broker itself for a broker's own settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ConfigResource;
use crate::cluster::{Cluster, Purpose};
use crate::connection::Connection;
use crate::error::Result;

/// Splits resources by the broker that must be asked; none: any will do.
pub(super) fn by_broker<T>(items: &[T], resource: impl Fn(&T) -> &ConfigResource) -> BTreeMap<Option<i32>, Vec<&T>> {
    let mut brokers: BTreeMap<Option<i32>, Vec<&T>> = BTreeMap::new();
    for item in items {
        let broker = match resource(item) {
            ConfigResource::Topic(_) => None,
            ConfigResource::Broker(node) => Some(*node),
        };
        brokers.entry(broker).or_default().push(item);
    }
    brokers
}

pub(super) async fn connect(cluster: &Cluster, broker: Option<i32>) -> Result<Arc<Connection>> {
    match broker {
        Some(node) => cluster.connection(node, Purpose::Admin, 0).await,
        None => cluster.controller().await,
    }
}
