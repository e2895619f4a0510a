//! What all connections of a sandbox share: the state behind its one lock, the clock, the faults, the connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::clock::{Clock, Now};
use crate::cluster::Cluster;
use crate::faults::{Faults, Seen, Verdict};
use crate::session::ConnectionId;

/// How a client came in: brokers name their addresses accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    Memory,
    Tcp,
}

/// The port in the names of nodes that have no socket.
pub(crate) const MEMORY_PORT: u16 = 9092;

#[derive(Debug)]
struct Open {
    node: i32,
    client_id: String,
    cut: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Connections {
    last: u64,
    open: BTreeMap<ConnectionId, Open>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    cluster: Mutex<Cluster>,
    faults: Mutex<Faults>,
    connections: Mutex<Connections>,
    /// Whether each node is paused.
    nodes: BTreeMap<i32, watch::Sender<bool>>,
    /// How many requests of each API have been processed, by the API's number.
    processed: watch::Sender<BTreeMap<i16, u64>>,
    /// Told after whatever somebody may wait for.
    changed: Notify,
    clock: Clock,
    began: Instant,
    /// What in-memory clients know the nodes by, after their numbers: the cluster's id, so that no node of another
    /// sandbox has the same name.
    domain: String,
    pub(crate) tcp: OnceLock<BTreeMap<i32, SocketAddr>>,
}

impl Shared {
    pub(crate) fn new(cluster: Cluster, faults: Faults, clock: Clock) -> Self {
        Self {
            domain: cluster.id.clone(),
            nodes: cluster.nodes.iter().map(|node| (*node, watch::Sender::new(false))).collect(),
            cluster: Mutex::new(cluster),
            faults: Mutex::new(faults),
            connections: Mutex::default(),
            processed: watch::Sender::default(),
            changed: Notify::new(),
            clock,
            began: Instant::now(),
            tcp: OnceLock::new(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        let elapsed_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { wall_ms: self.clock.now_ms(), elapsed_ms }
    }

    /// A moment on tokio's clock, from ms of elapsed time.
    pub(crate) fn instant(&self, elapsed_ms: u64) -> Instant {
        // A year is for ever here, and tokio's clock cannot hold much more than a few of them.
        self.began + Duration::from_millis(elapsed_ms.min(365 * 24 * 3_600_000))
    }

    /// The state, with everything done that is due.
    pub(crate) fn cluster(&self) -> (MutexGuard<'_, Cluster>, Now) {
        let mut cluster = lock(&self.cluster);
        let now = self.now();
        if cluster.tick(now) {
            self.changed.notify_waiters();
        }
        (cluster, now)
    }

    /// Changes the state from outside of a connection.
    pub(crate) fn change<T>(&self, act: impl FnOnce(&mut Cluster, Now) -> T) -> T {
        let (mut cluster, now) = self.cluster();
        let result = act(&mut cluster, now);
        drop(cluster);
        self.changed.notify_waiters();
        result
    }

    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Does what is due when nobody asks for anything: time-outs, markers, rebalances.
    pub(crate) async fn keep_time(self: Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            let due = {
                let (cluster, now) = self.cluster();
                cluster.next_due_ms(now)
            };
            match due {
                Some(due) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(self.instant(due)) => {}
                },
                None => changed.await,
            }
        }
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(crate) fn judge(&self, seen: Seen<'_>) -> Verdict {
        self.faults().judge(seen)
    }

    /// A request of this API has been processed.
    pub(crate) fn note_processed(&self, api: ApiKey) {
        self.processed.send_modify(|processed| *processed.entry(api as i16).or_default() += 1);
    }

    /// Waits until a request of this API has been processed, at most so long. The one that waits holds its own
    /// connection, so it is one on another.
    pub(crate) async fn overtaken(&self, api: ApiKey, within: Duration) {
        let count = |processed: &BTreeMap<i16, u64>| processed.get(&(api as i16)).copied();
        let mut processed = self.processed.subscribe();
        let before = count(&processed.borrow());
        let _in_time_or_not = timeout(within, processed.wait_for(|processed| count(processed) > before)).await;
    }

    pub(crate) fn request_bytes_max(&self) -> usize {
        let bytes = lock(&self.cluster).settings.number("socket.request.max.bytes");
        usize::try_from(bytes).unwrap_or_default()
    }

    pub(crate) fn open(&self, node: i32) -> (ConnectionId, watch::Receiver<bool>) {
        let mut connections = lock(&self.connections);
        connections.last += 1;
        let id = ConnectionId(connections.last);
        let (cut, receiver) = watch::channel(false);
        connections.open.insert(id, Open { node, client_id: String::new(), cut });
        (id, receiver)
    }

    pub(crate) fn close(&self, id: ConnectionId) {
        lock(&self.connections).open.remove(&id);
    }

    pub(crate) fn note_client(&self, id: ConnectionId, client_id: &str) {
        if let Some(open) = lock(&self.connections).open.get_mut(&id)
            && open.client_id != client_id
        {
            client_id.clone_into(&mut open.client_id);
        }
    }

    /// Cuts those connections that are wanted: by id, node and client id. How many they were.
    pub(crate) fn cut(&self, wanted: impl Fn(ConnectionId, i32, &str) -> bool) -> usize {
        let connections = lock(&self.connections);
        let wanted = connections.open.iter().filter(|(id, open)| wanted(**id, open.node, &open.client_id));
        let mut count = 0;
        for (_, open) in wanted {
            open.cut.send_replace(true);
            count += 1;
        }
        count
    }

    pub(crate) fn connections(&self) -> Vec<(ConnectionId, i32, String)> {
        let connections = lock(&self.connections);
        connections.open.iter().map(|(id, open)| (*id, open.node, open.client_id.clone())).collect()
    }

    pub(crate) fn paused(&self, node: i32) -> Option<watch::Receiver<bool>> {
        self.nodes.get(&node).map(watch::Sender::subscribe)
    }

    pub(crate) fn pause(&self, node: i32, paused: bool) {
        if let Some(sender) = self.nodes.get(&node) {
            sender.send_replace(paused);
        }
    }

    /// The address that a node has for clients of this listener.
    pub(crate) fn address(&self, node: i32, listener: Listener) -> (String, u16) {
        let tcp = self.tcp.get().and_then(|tcp| tcp.get(&node)).filter(|_| listener == Listener::Tcp);
        match tcp {
            Some(address) => (address.ip().to_string(), address.port()),
            None => (format!("node-{node}.{}", self.domain), MEMORY_PORT),
        }
    }
}

/// A panic elsewhere leaves the state as it is: nothing here is changed in two steps that must go together.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
