//! Metadata refreshes: one at a time, shared by those who wait, with a pause between two.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::{Cluster, REFRESH_PAUSE};
use crate::error::Result;
use crate::metadata::{self, Metadata};

#[derive(Debug, Default)]
pub(super) struct Refresh {
    known: RwLock<Option<Arc<Metadata>>>,
    /// When the last one began, and what came of it.
    last: Mutex<Option<(Instant, Result<Arc<Metadata>>)>>,
}

impl Refresh {
    pub(super) fn known(&self) -> Option<Arc<Metadata>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What came of the last one, if it began within this time.
    pub(super) async fn run_if_older(&self, cluster: &Cluster, age: Duration) -> Result<Arc<Metadata>> {
        match &*self.last.lock().await {
            Some((begun, result)) if begun.elapsed() < age => return result.clone(),
            _ => {}
        }
        self.run(cluster).await
    }

    pub(super) async fn run(&self, cluster: &Cluster) -> Result<Arc<Metadata>> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((begun, result)) = &*last {
            // One that began after this caller asked was begun by a caller before it in the queue.
            if *begun > asked {
                return result.clone();
            }
            sleep_until(*begun + REFRESH_PAUSE).await;
        }
        let begun = Instant::now();
        let result = fetch(cluster).await.map(Arc::new);
        if let Ok(metadata) = &result {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            *known = Some(Arc::clone(metadata));
        }
        *last = Some((begun, result.clone()));
        result
    }
}

/// Asks the brokers one after the other until one answers.
async fn fetch(cluster: &Cluster) -> Result<Metadata> {
    let mut failures = Vec::new();
    for (key, address) in cluster.candidates() {
        let answer = match cluster.shared.pool.connection(key, &address).await {
            Ok(connection) => metadata::fetch(&connection).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(metadata) => {
                cluster.shared.pool.retain(&metadata);
                return Ok(metadata);
            }
            Err(error) => failures.push(error),
        }
    }
    Err(cluster.unreachable(failures))
}
