//! A running cluster.

use std::path::Path;
use std::sync::Arc;

use crate::broker::{Broker, Node};
#[cfg(feature = "docker")]
use crate::docker::DockerNode;
use crate::error::{Error, Result};
use crate::kit::{KafkaVersion, Kit};
use crate::node::ProcessNode;
use crate::ports::free_port;
use crate::properties::{Ports, random_uuid};
use crate::scratch::Scratch;
use crate::spec::{Backend, ClusterSpec};

const PORTS_TAKEN_MAX: u32 = 5;

/// A running cluster. It ends, and its data goes, when it is dropped and when the test process ends in any way.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: the brokers hold the folder, too.
    brokers: Vec<Broker>,
    version: KafkaVersion,
    backend: Backend,
    scratch: Arc<Scratch>,
}

impl Cluster {
    pub(crate) fn start(spec: ClusterSpec, backend: Backend) -> Result<Self> {
        let mut taken = 0;
        loop {
            let cluster = Self::launch(&spec, backend)?;
            match cluster.await_ready() {
                Ok(()) => return Ok(cluster),
                Err(Error::Ended { .. }) if cluster.lost_a_port() && taken < PORTS_TAKEN_MAX => {
                    taken += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn launch(spec: &ClusterSpec, backend: Backend) -> Result<Self> {
        let mut ports = Vec::new();
        for _ in 0..spec.brokers {
            let relayed = if spec.relays.is_empty() { None } else { Some(free_port()?) };
            let secured = spec.secured.as_ref().map(|_| free_port()).transpose()?;
            ports.push(Ports { broker: free_port()?, controller: free_port()?, relayed, secured });
        }
        let (scratch, brokers) = match backend {
            Backend::Process => process_nodes(spec, &ports)?,
            #[cfg(feature = "docker")]
            Backend::Docker => docker_nodes(spec, &ports)?,
            #[cfg(not(feature = "docker"))]
            Backend::Docker => return Err(crate::spec::docker_is_not_built_in()),
        };
        for broker in &brokers {
            broker.launch()?;
        }
        Ok(Self { brokers, version: spec.version, backend, scratch })
    }

    /// The addresses of all brokers.
    pub fn bootstrap(&self) -> Vec<String> {
        self.brokers.iter().map(|broker| broker.address().to_string()).collect()
    }

    /// The addresses of the secured listeners, of a cluster that was made with [`ClusterSpec::secured`].
    pub fn secured_bootstrap(&self) -> Vec<String> {
        self.brokers.iter().filter_map(Broker::secured_address).collect()
    }

    /// The addresses of all brokers with commas between, as Kafka's `bootstrap.servers` wants them.
    pub fn bootstrap_text(&self) -> String {
        self.bootstrap().join(",")
    }

    /// The broker of this index, counted from 0; its node number is one more.
    ///
    /// # Panics
    ///
    /// When there is no such broker.
    pub fn broker(&self, index: usize) -> &Broker {
        &self.brokers[index]
    }

    /// The broker of this node number.
    pub fn node(&self, id: i32) -> Option<&Broker> {
        self.brokers.iter().find(|broker| broker.id() == id)
    }

    /// All brokers.
    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// The release of Apache Kafka it runs.
    pub fn version(&self) -> KafkaVersion {
        self.version
    }

    /// What runs it.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The folder that holds everything of this cluster.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Waits until every broker knows all brokers, for instance after one was killed and started again.
    pub fn await_ready(&self) -> Result<()> {
        let ids: Vec<i32> = self.brokers.iter().map(Broker::id).collect();
        self.brokers.iter().try_for_each(|broker| broker.wait_ready(&ids))
    }

    /// The logs of all brokers, for a failure message.
    pub fn log(&self) -> String {
        let logs = self.brokers.iter().map(|b| format!("=== broker {} ===\n{}", b.id(), b.log()));
        logs.collect()
    }

    fn lost_a_port(&self) -> bool {
        self.brokers.iter().any(|broker| broker.log().contains("Address already in use"))
    }
}

type Nodes = (Arc<Scratch>, Vec<Broker>);

fn process_nodes(spec: &ClusterSpec, ports: &[Ports]) -> Result<Nodes> {
    let kit = Kit::install(spec.version)?;
    let scratch = Arc::new(Scratch::new("cluster")?);
    let cluster_id = random_uuid();
    let mut brokers = Vec::new();
    for (id, own) in (1..).zip(ports) {
        let node = ProcessNode::new(spec, &kit, &scratch, ports, id, &cluster_id)?;
        let config = node.config().to_owned();
        brokers.push(Broker::new(id, *own, config, spec.ready_within, Node::Process(Box::new(node))));
    }
    Ok((scratch, brokers))
}

#[cfg(feature = "docker")]
fn docker_nodes(spec: &ClusterSpec, ports: &[Ports]) -> Result<Nodes> {
    let scratch = Arc::new(Scratch::new("cluster")?);
    let cluster_id = random_uuid();
    let mut brokers = Vec::new();
    for (id, own) in (1..).zip(ports) {
        let node = DockerNode::new(spec, &scratch, ports, id, &cluster_id)?;
        let config = node.config().to_owned();
        let node = Node::Docker(Box::new(node));
        brokers.push(Broker::new(id, *own, config, spec.ready_within, node));
    }
    Ok((scratch, brokers))
}
