//! A running sandbox: how to get in, and what can be done to it from outside.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use twinlog_wire::error_code::ErrorCode;
use uuid::Uuid;

use crate::cluster::{Cluster, Partition, Wanted};
use crate::faults::{Fault, FaultId, Faults};
use crate::session::{self, ConnectionId};
use crate::settings::{BrokerSettings, SettingError};
use crate::shared::{Listener, MEMORY_PORT, Shared, lock};
use crate::spec::{SandboxSpec, TopicSpec};

/// More nodes than anybody needs on one machine.
const NODES_MAX: i32 = 1000;

/// What cannot be made or done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A setting of the brokers is not taken.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The number of nodes is below 1 or above 1000.
    #[error("{0} nodes: from 1 to 1000 can be made")]
    Nodes(i32),
    /// A topic is not taken.
    #[error("topic {topic}: {message}")]
    Topic {
        /// Its name.
        topic: String,
        /// The broker's code.
        code: ErrorCode,
        /// The broker's words.
        message: String,
    },
    /// There is no such partition.
    #[error("there is no partition {partition} of topic {topic}")]
    UnknownPartition {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
    },
    /// There is no such node.
    #[error("there is no node {0}")]
    UnknownNode(i32),
    /// No node has this address.
    #[error("no node is at {host}:{port}")]
    UnknownAddress {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// There are listeners already.
    #[error("the sandbox listens already")]
    Listening,
    /// An address cannot be listened at.
    #[error("cannot listen at {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

/// The client's end of an in-memory connection.
#[derive(Debug)]
pub struct Connected {
    /// The stream; dropping it closes the connection.
    pub stream: DuplexStream,
    /// The node at the other end.
    pub node: i32,
}

/// A running cluster. Clones are the same cluster; when the last one is dropped, it is gone with its connections.
///
/// It must be made inside of a tokio runtime, in which it lives.
#[derive(Clone, Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
    /// Everything that runs; it ends with the last clone.
    tasks: Arc<Mutex<JoinSet<()>>>,
    pipe_bytes: usize,
}

impl Sandbox {
    /// Makes the cluster. Nobody can reach it yet but by [`connect`](Self::connect).
    pub fn new(spec: SandboxSpec) -> Result<Self, SandboxError> {
        if !(1..=NODES_MAX).contains(&spec.nodes) {
            return Err(SandboxError::Nodes(spec.nodes));
        }
        let settings = BrokerSettings::new(spec.settings)?;
        let marker_delay_ms = u64::try_from(spec.marker_delay.as_millis()).unwrap_or(u64::MAX);
        let cluster = Cluster::new(spec.cluster_id, (1..=spec.nodes).collect(), settings, marker_delay_ms, spec.seed);
        let shared = Arc::new(Shared::new(cluster, Faults::new(spec.seed), spec.clock));
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&shared).keep_time());
        let sandbox = Self { shared, tasks: Arc::new(Mutex::new(tasks)), pipe_bytes: spec.pipe_bytes };
        for topic in &spec.topics {
            sandbox.create_topic(topic)?;
        }
        Ok(sandbox)
    }

    /// Listens on loopback, one socket a node, and gives the addresses in the order of the nodes. `ports` are those of
    /// the first nodes; the system chooses for the others, and for 0.
    pub async fn listen(&self, ports: &[u16]) -> Result<Vec<SocketAddr>, SandboxError> {
        self.listen_as(ports, &[]).await
    }

    /// As [`listen`](Self::listen) at ports of the system's choice, but clients are told these addresses, of proxies in
    /// front, in the order of the nodes.
    pub async fn listen_behind(&self, advertised: &[SocketAddr]) -> Result<Vec<SocketAddr>, SandboxError> {
        self.listen_as(&[], advertised).await
    }

    async fn listen_as(&self, ports: &[u16], advertised: &[SocketAddr]) -> Result<Vec<SocketAddr>, SandboxError> {
        let mut listeners = Vec::new();
        let mut told = BTreeMap::new();
        let mut addresses = Vec::new();
        for (place, node) in self.nodes().into_iter().enumerate() {
            let port = ports.get(place).copied().unwrap_or_default();
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let failed = |error| SandboxError::Bind { address, error };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let own = listener.local_addr().map_err(failed)?;
            told.insert(node, advertised.get(place).copied().unwrap_or(own));
            addresses.push(own);
            listeners.push((node, listener));
        }
        self.shared.tcp.set(told).map_err(|_| SandboxError::Listening)?;
        for (node, listener) in listeners {
            let shared = Arc::clone(&self.shared);
            lock(&self.tasks).spawn(accept(listener, shared, node));
        }
        Ok(addresses)
    }

    /// A connection to a node over memory. Metadata that is asked for over it names the nodes as
    /// [`memory_address`](Self::memory_address) does.
    pub fn connect(&self, node: i32) -> Result<Connected, SandboxError> {
        self.known(node)?;
        let (near, far) = duplex(self.pipe_bytes.max(1));
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(session::run(far, Arc::clone(&self.shared), node, Listener::Memory));
        Ok(Connected { stream: near, node })
    }

    /// Host and port by which in-memory clients know a node.
    pub fn memory_address(&self, node: i32) -> (String, u16) {
        self.shared.address(node, Listener::Memory)
    }

    /// A connection over memory to the node with this host and port: what a client has from metadata.
    pub fn connect_to(&self, host: &str, port: u16) -> Result<Connected, SandboxError> {
        let found = self.nodes().into_iter().find(|node| self.memory_address(*node).0 == host);
        match found.filter(|_| port == MEMORY_PORT) {
            Some(node) => self.connect(node),
            None => Err(SandboxError::UnknownAddress { host: host.to_owned(), port }),
        }
    }

    /// The nodes' ids, ascending.
    pub fn nodes(&self) -> Vec<i32> {
        self.shared.cluster().0.nodes.clone()
    }

    /// Creates a topic.
    pub fn create_topic(&self, topic: &TopicSpec) -> Result<(), SandboxError> {
        let wanted = Wanted {
            name: topic.name.clone(),
            partitions: topic.partitions,
            replication_factor: -1,
            assignments: BTreeMap::new(),
            configs: topic.configs.clone(),
        };
        self.shared.change(|cluster, _| cluster.create_topic(&wanted, false)).map(drop).map_err(|objection| {
            SandboxError::Topic { topic: wanted.name.clone(), code: objection.code, message: objection.message }
        })
    }

    /// Deletes a topic; false if there is none. One that is made again under its name has another id.
    pub fn delete_topic(&self, topic: &str) -> bool {
        self.shared.change(|cluster, _| cluster.delete_topic(topic)).is_some()
    }

    /// A topic's id.
    pub fn topic_id(&self, topic: &str) -> Option<Uuid> {
        self.shared.cluster().0.topics.get(topic).map(|topic| topic.id)
    }

    /// Which node leads a partition, if any does, and in which epoch.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<(Option<i32>, i32), SandboxError> {
        self.with(topic, partition, |partition| (partition.leader, partition.leader_epoch))
    }

    /// The first offset that is kept, and the one that the next record gets.
    pub fn offsets(&self, topic: &str, partition: i32) -> Result<(i64, i64), SandboxError> {
        self.with(topic, partition, |partition| (partition.log.start(), partition.log.end()))
    }

    /// Which node coordinates a group or a transactional id.
    pub fn coordinator(&self, key: &str) -> i32 {
        self.shared.cluster().0.coordinator(key)
    }

    // Faults of single requests.

    /// Adds a fault. It stays until it is removed, also when it can hit no more.
    pub fn fault(&self, fault: Fault) -> FaultId {
        self.shared.faults().add(fault)
    }

    /// How many requests a fault has hit.
    pub fn hits(&self, fault: FaultId) -> u64 {
        self.shared.faults().hits(fault)
    }

    /// Removes a fault.
    pub fn remove_fault(&self, fault: FaultId) {
        self.shared.faults().remove(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.shared.faults().clear();
    }

    // What happens to connections and nodes.

    /// The open connections: id, node, and client id of the last request.
    pub fn connections(&self) -> Vec<(ConnectionId, i32, String)> {
        self.shared.connections()
    }

    /// Cuts a connection. What it has sent and was not processed yet never will be.
    pub fn cut(&self, connection: ConnectionId) {
        self.shared.cut(|id, _, _| id == connection);
    }

    /// Cuts all connections of clients with this id; how many they were.
    pub fn cut_client(&self, client_id: &str) -> usize {
        self.shared.cut(|_, _, open| open == client_id)
    }

    /// The node takes connections and requests, and processes none until [`resume`](Self::resume).
    pub fn pause(&self, node: i32) -> Result<(), SandboxError> {
        self.known(node)?;
        self.shared.pause(node, true);
        Ok(())
    }

    /// Ends a pause: what has come in is processed now.
    pub fn resume(&self, node: i32) -> Result<(), SandboxError> {
        self.known(node)?;
        self.shared.pause(node, false);
        Ok(())
    }

    /// A clean restart of a node: its connections are cut; of each producer its partitions know the last batch only,
    /// and nothing if that one's timestamps are older than `producer.id.expiration.ms`; they get new leader epochs.
    pub fn restart(&self, node: i32) -> Result<(), SandboxError> {
        self.known(node)?;
        self.shared.cut(|_, at, _| at == node);
        self.shared.change(|cluster, now| cluster.restart(node, now.wall_ms));
        Ok(())
    }

    // What happens to partitions.

    /// Moves a partition to another leader, in a new leader epoch. The log is the same.
    pub fn move_leader(&self, topic: &str, partition: i32, node: i32) -> Result<(), SandboxError> {
        self.known(node)?;
        self.change(topic, partition, |partition| partition.elect(Some(node)))
    }

    /// Takes a partition's leader away: until [`move_leader`](Self::move_leader) nobody answers for it, and no marker
    /// reaches it.
    pub fn take_leader_away(&self, topic: &str, partition: i32) -> Result<(), SandboxError> {
        self.change(topic, partition, |partition| partition.elect(None))
    }

    /// An unclean election: batches that end above `end` are lost, acknowledged or not, `node` leads in a new epoch,
    /// and of producers it knows what the rest of the log says.
    pub fn truncate(&self, topic: &str, partition: i32, end: i64, node: i32) -> Result<(), SandboxError> {
        self.known(node)?;
        self.change(topic, partition, |partition| {
            partition.log.truncate(end);
            partition.elect(Some(node));
        })
    }

    /// The partition forgets a producer, or all of them, as if their state had expired.
    pub fn forget_producers(&self, topic: &str, partition: i32, producer_id: Option<i64>) -> Result<(), SandboxError> {
        self.change(topic, partition, |partition| partition.log.producers.forget(producer_id))
    }

    /// The check that brokers make every ten minutes: a producer whose last batch's timestamps are older than
    /// `producer.id.expiration.ms` is forgotten.
    pub fn expire_producers(&self) {
        self.shared.change(|cluster, now| cluster.expire_producers(now.wall_ms));
    }

    /// Deletes the batches that `retention.ms` and `retention.bytes` no longer keep.
    pub fn retain(&self) {
        self.shared.change(|cluster, now| cluster.retain(now.wall_ms));
    }

    fn known(&self, node: i32) -> Result<(), SandboxError> {
        if self.nodes().contains(&node) { Ok(()) } else { Err(SandboxError::UnknownNode(node)) }
    }

    fn with<T>(&self, topic: &str, partition: i32, look: impl FnOnce(&Partition) -> T) -> Result<T, SandboxError> {
        let unknown = || SandboxError::UnknownPartition { topic: topic.to_owned(), partition };
        self.shared.cluster().0.partition(topic, partition).map(look).ok_or_else(unknown)
    }

    fn change(&self, topic: &str, partition: i32, act: impl FnOnce(&mut Partition)) -> Result<(), SandboxError> {
        let unknown = || SandboxError::UnknownPartition { topic: topic.to_owned(), partition };
        self.shared.change(|cluster, _| cluster.partition_mut(topic, partition).map(act)).ok_or_else(unknown)
    }
}

/// Takes connections until the sandbox is gone.
async fn accept(listener: TcpListener, shared: Arc<Shared>, node: i32) {
    let mut sessions = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "Answers to small requests may be late.");
                }
                sessions.spawn(session::run(stream, Arc::clone(&shared), node, Listener::Tcp));
            }
            Err(error) => {
                // Out of file descriptors, for one: others will be closed.
                tracing::warn!(%error, node, "A connection is not taken.");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        while sessions.try_join_next().is_some() {}
    }
}
