//! A cluster: its metadata, and connections to its brokers by purpose and lane.

mod coordinators;
mod pool;
mod refresh;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use self::coordinators::CoordinatorType;
use self::coordinators::Coordinators;
pub use self::pool::Purpose;
use self::pool::{Key, Pool};
use self::refresh::Refresh;
use crate::backoff::Backoff;
use crate::connection::Connection;
use crate::dial::{Address, DialConfig, Dialer};
use crate::error::{Cause, Error, Outcome, Peer, Result, Step};
use crate::metadata::Metadata;
use twinlog_core::report::Side;
use twinlog_wire::error_code::Retry;

/// A cluster. Clones share everything.
#[derive(Clone, Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    side: Side,
    bootstrap: Vec<Address>,
    backoff: Backoff,
    pool: Pool,
    refresh: Refresh,
    coordinators: Coordinators,
}

impl Cluster {
    /// A cluster that is known by some of its addresses. Nothing is sent yet; the certificate
    /// files are read.
    pub fn new(side: Side, bootstrap: Vec<Address>, config: DialConfig) -> Result<Self> {
        let setup = |cause| {
            let peer = Peer { side, node: None, address: join(&bootstrap) };
            Error::new(peer, Step::Setup, Outcome::NotSent, cause)
        };
        if bootstrap.is_empty() {
            return Err(setup(Cause::Config("no bootstrap address is given".into())));
        }
        let dialer = Dialer::new(config).map_err(setup)?;
        let shared = Shared {
            side,
            pool: Pool::new(side, dialer),
            bootstrap,
            backoff: Backoff::default(),
            refresh: Refresh::default(),
            coordinators: Coordinators::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Which side of the link it is.
    pub fn side(&self) -> Side {
        self.shared.side
    }

    /// How it is connected to.
    pub fn config(&self) -> &DialConfig {
        self.shared.pool.config()
    }

    /// The last snapshot; asks for one if there is none.
    pub async fn metadata(&self) -> Result<Arc<Metadata>> {
        match self.known() {
            Some(metadata) => Ok(metadata),
            None => self.refresh().await,
        }
    }

    /// The last snapshot, if there was one.
    pub fn known(&self) -> Option<Arc<Metadata>> {
        self.shared.refresh.known()
    }

    /// A snapshot that was asked for after this call. Callers at the same time share one, and
    /// there is a shortest pause between two.
    pub async fn refresh(&self) -> Result<Arc<Metadata>> {
        self.shared.refresh.run(self).await
    }

    /// The same, unless one was asked for within this time: for who looks again and again.
    pub async fn refresh_if_older(&self, age: Duration) -> Result<Arc<Metadata>> {
        self.shared.refresh.run_if_older(self, age).await
    }

    /// A connection to a broker. Each purpose and lane has its own, made when it is first asked
    /// for, and made anew when it is broken or the broker has moved.
    pub async fn connection(&self, node: i32, purpose: Purpose, lane: u32) -> Result<Arc<Connection>> {
        let address = match self.address(node) {
            Some(address) => address,
            None => {
                self.refresh().await?;
                self.address(node).ok_or_else(|| self.unknown_broker(node))?
            }
        };
        self.shared.pool.connection(Key::Node(node, purpose, lane), &address).await
    }

    /// A connection to whichever broker answers, for requests that every broker takes.
    pub async fn any(&self) -> Result<Arc<Connection>> {
        let mut failures = Vec::new();
        for (key, address) in self.candidates() {
            match self.shared.pool.connection(key, &address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failures.push(error),
            }
        }
        Err(self.unreachable(failures))
    }

    /// A connection to the broker that takes requests for the controller.
    pub async fn controller(&self) -> Result<Arc<Connection>> {
        match self.metadata().await?.controller {
            Some(node) => self.connection(node, Purpose::Admin, 0).await,
            None => self.any().await,
        }
    }

    /// A connection to the coordinator of a group or transactional id, which is looked up once and
    /// kept until [`forget_coordinator`](Self::forget_coordinator).
    pub async fn coordinator(
        &self,
        key: &str,
        kind: CoordinatorType,
        purpose: Purpose,
        lane: u32,
    ) -> Result<Arc<Connection>> {
        let node = self.shared.coordinators.find(self, key, kind).await?;
        self.connection(node, purpose, lane).await
    }

    /// Forgets where a coordinator is: after codes 14, 15 and 16 and after a lost connection.
    pub fn forget_coordinator(&self, key: &str, kind: CoordinatorType) {
        self.shared.coordinators.forget(key, kind);
    }

    /// Repeats a harmless call until it succeeds, cannot succeed, or the next attempt would begin
    /// after `deadline`. Between attempts there is a pause, and a refresh where the error asks for
    /// one.
    pub async fn retry<T: Send, F>(&self, deadline: Instant, call: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let mut attempt = 0;
        loop {
            let error = match call().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let pause = self.shared.backoff.pause(attempt, fastrand::u64(..));
            if error.retry() == Retry::Never || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, attempt, ?pause, "Trying again.");
            sleep(pause).await;
            if error.retry() == Retry::AfterMetadata {
                // If it fails, the next attempt says so with the call's own error.
                drop(self.refresh().await);
            }
            attempt += 1;
        }
    }

    fn address(&self, node: i32) -> Option<Address> {
        Some(self.known()?.brokers.get(&node)?.address.clone())
    }

    /// All addresses: brokers with an open connection first, then the other brokers, then the
    /// bootstrap addresses; in each part in random order.
    fn candidates(&self) -> Vec<(Key, Address)> {
        let mut brokers: Vec<(Key, Address)> = Vec::new();
        if let Some(metadata) = self.known() {
            let key = |node| Key::Node(node, Purpose::Admin, 0);
            brokers.extend(metadata.brokers.values().map(|b| (key(b.id), b.address.clone())));
        }
        let bootstrap = &self.shared.bootstrap;
        let mut bootstrap: Vec<(Key, Address)> =
            bootstrap.iter().enumerate().map(|(i, a)| (Key::Bootstrap(i), a.clone())).collect();
        fastrand::shuffle(&mut brokers);
        fastrand::shuffle(&mut bootstrap);
        brokers.append(&mut bootstrap);
        brokers.sort_by_key(|(key, _)| !self.shared.pool.is_open(key));
        brokers
    }

    /// The cluster as a whole, for errors that no single broker is to blame for.
    /// The cluster as a whole, by the addresses that it is known by.
    pub fn peer(&self) -> Peer {
        Peer { side: self.shared.side, node: None, address: join(&self.shared.bootstrap) }
    }

    fn unreachable(&self, mut failures: Vec<Error>) -> Error {
        match failures.len() {
            1 => failures.swap_remove(0),
            _ => {
                let cause = Cause::Unreachable(failures);
                Error::new(self.peer(), Step::Connect, Outcome::NotSent, cause)
            }
        }
    }

    fn unknown_broker(&self, node: i32) -> Error {
        Error::new(self.peer(), Step::Connect, Outcome::NotSent, Cause::UnknownBroker(node))
    }
}

/// The shortest time between two requests for metadata.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);

fn join(addresses: &[Address]) -> Arc<str> {
    let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    words.join(",").into()
}
