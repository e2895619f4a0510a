//! Open connections by broker, purpose and lane.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::dial::{Address, DialConfig, Dialer};
use crate::error::{Error, Peer, Result};
use crate::metadata::Metadata;
use twinlog_core::report::Side;

/// What a connection is used for. A broker answers the requests of a connection one by one, so
/// uses that may wait are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Fetch requests: they wait at the broker for new data.
    Fetch,
    /// Produce requests: they wait for replicas.
    Produce,
    /// JoinGroup and SyncGroup: they wait for other members.
    Group,
    /// Heartbeat, which must not wait for any of these.
    Heartbeat,
    /// Produce requests of partitions whose replicas are slow, on one of several connections.
    SlowProduce(u8),
    /// Everything else.
    Admin,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Node(i32, Purpose, u32),
    /// A bootstrap address by its place; nobody knows which broker it is.
    Bootstrap(usize),
}

#[derive(Debug)]
pub(super) struct Pool {
    side: Side,
    dialer: Dialer,
    places: Mutex<HashMap<Key, Arc<AsyncMutex<Place>>>>,
    /// The addresses that were reached once, with why each could not be reached last, if that was later.
    reached: Mutex<HashMap<Address, Option<String>>>,
}

/// Its lock is held while dialling, so there is one dial at a time for a key.
#[derive(Debug, Default)]
struct Place {
    open: Option<(Address, Arc<Connection>)>,
    /// When the last dial failed, and why: shared by those who waited for it.
    failed: Option<(Instant, Error)>,
}

impl Place {
    fn usable(&self, address: &Address) -> Option<&Arc<Connection>> {
        let (at, connection) = self.open.as_ref()?;
        (at == address && !connection.is_closed()).then_some(connection)
    }
}

impl Pool {
    pub(super) fn new(side: Side, dialer: Dialer) -> Self {
        Self { side, dialer, places: Mutex::default(), reached: Mutex::default() }
    }

    pub(super) fn config(&self) -> &DialConfig {
        self.dialer.config()
    }

    pub(super) async fn connection(&self, key: Key, address: &Address) -> Result<Arc<Connection>> {
        let asked = Instant::now();
        let node = match key {
            Key::Node(node, ..) => Some(node),
            Key::Bootstrap(_) => None,
        };
        let place = Arc::clone(self.places().entry(key).or_default());
        let mut place = place.lock().await;
        if let Some(connection) = place.usable(address) {
            return Ok(Arc::clone(connection));
        }
        match &place.failed {
            Some((ended, error)) if *ended > asked => return Err(error.clone()),
            _ => {}
        }
        let peer = Peer { side: self.side, node, address: address.to_string().into() };
        let dialled = self.dialer.dial(address, peer).await;
        self.tell(address, &dialled);
        match dialled {
            Ok(connection) => {
                let connection = Arc::new(connection);
                place.open = Some((address.clone(), Arc::clone(&connection)));
                place.failed = None;
                Ok(connection)
            }
            Err(error) => {
                place.open = None;
                place.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Says once that an address which was reached before cannot be, however many connections there are to it, and
    /// once that it is again.
    fn tell(&self, address: &Address, dialled: &Result<Connection>) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        match dialled {
            Ok(_) => {
                if reached.insert(address.clone(), None).flatten().is_some() {
                    tracing::info!(side = %self.side, %address, "The broker can be reached again.");
                }
            }
            Err(error) => {
                if let Some(last) = reached.get_mut(address) {
                    // The same broker is a node to some connections and an address to others.
                    let cause = error.cause().to_string();
                    if last.as_ref() != Some(&cause) {
                        let side = self.side;
                        tracing::warn!(%side, %address, %error, "A broker cannot be reached; trying again.");
                        *last = Some(cause);
                    }
                }
            }
        }
    }

    pub(super) fn is_open(&self, key: &Key) -> bool {
        let Some(place) = self.places().get(key).map(Arc::clone) else { return false };
        // A place that is locked is being dialled: not open yet.
        place.try_lock().is_ok_and(|place| place.open.as_ref().is_some_and(|(_, open)| !open.is_closed()))
    }

    /// Lets go of connections to brokers that are gone, and of bootstrap connections as soon as
    /// the brokers are known. Whoever still holds one may finish with it.
    pub(super) fn retain(&self, metadata: &Metadata) {
        self.places().retain(|key, _| match key {
            Key::Node(node, ..) => metadata.brokers.contains_key(node),
            Key::Bootstrap(_) => metadata.brokers.is_empty(),
        });
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Key, Arc<AsyncMutex<Place>>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
