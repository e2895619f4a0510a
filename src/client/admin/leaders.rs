//! Calls that go to the leaders of partitions: one request a leader, all at the same time.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::TopicPartition;
use crate::cluster::{Cluster, Purpose};
use crate::connection::Connection;
use crate::error::{Cause, Error, Outcome, Result, Step};

type Results<T> = BTreeMap<TopicPartition, Result<T>>;

/// Splits the items by leader and joins what `call` gives for each of them. A leader that fails as a whole fails its
/// own partitions only.
pub(super) async fn by_leader<I, T, F>(
    cluster: &Cluster,
    step: Step,
    items: &BTreeMap<TopicPartition, I>,
    call: impl Fn(Arc<Connection>, BTreeMap<TopicPartition, I>) -> F + Clone + Send + Sync + 'static,
) -> Result<Results<T>>
where
    I: Clone + Send + Sync + 'static,
    T: Send + 'static,
    F: Future<Output = Result<Results<T>>> + Send + 'static,
{
    let metadata = cluster.metadata().await?;
    let mut results = Results::new();
    let mut leaders: BTreeMap<i32, BTreeMap<TopicPartition, I>> = BTreeMap::new();
    for (at, item) in items {
        match metadata.leader(&at.topic, at.partition) {
            Some(node) => {
                leaders.entry(node).or_default().insert(at.clone(), item.clone());
            }
            None => {
                let cause = Cause::NoLeader(at.to_string());
                let error = Error::new(cluster.peer(), step, Outcome::NotSent, cause);
                results.insert(at.clone(), Err(error));
            }
        }
    }
    let mut calls = JoinSet::new();
    for (node, items) in leaders {
        let (cluster, call) = (cluster.clone(), call.clone());
        calls.spawn(async move {
            let asked: Vec<TopicPartition> = items.keys().cloned().collect();
            let answer = match cluster.connection(node, Purpose::Admin, 0).await {
                Ok(connection) => call(connection, items).await,
                Err(error) => Err(error),
            };
            answer.unwrap_or_else(|error| asked.into_iter().map(|at| (at, Err(error.clone()))).collect())
        });
    }
    for mut part in calls.join_all().await {
        results.append(&mut part);
    }
    Ok(results)
}
