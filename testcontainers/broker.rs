//! One broker of a cluster, to be killed, stopped, paused and started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(feature = "docker")]
use crate::docker::DockerNode;
use crate::error::{Error, Result, tail};
use crate::eventually::poll;
use crate::metadata::known_brokers;
use crate::node::ProcessNode;
use crate::properties::Ports;

const STOP_WITHIN: Duration = Duration::from_secs(60);

/// One broker of a cluster. All methods take `&self`, so a cluster may live in a static.
#[derive(Debug)]
pub struct Broker {
    id: i32,
    ports: Ports,
    config: PathBuf,
    ready_within: Duration,
    node: Mutex<Node>,
}

/// The thing that runs.
#[derive(Debug)]
pub(crate) enum Node {
    /// A Java process.
    Process(Box<ProcessNode>),
    /// A container.
    #[cfg(feature = "docker")]
    Docker(Box<DockerNode>),
}

/// Hands a call to whichever backend there is. The lock ends with the call, also within a longer expression.
macro_rules! node {
    ($self:ident.$method:ident($($argument:expr),*)) => {{
        let mut node = $self.node();
        let answer = match &mut *node {
            Node::Process(node) => node.$method($($argument),*),
            #[cfg(feature = "docker")]
            Node::Docker(node) => node.$method($($argument),*),
        };
        drop(node);
        answer
    }};
}

impl Broker {
    pub(crate) fn new(id: usize, ports: Ports, config: PathBuf, ready: Duration, node: Node) -> Self {
        let id = i32::try_from(id).unwrap_or(i32::MAX);
        Self { id, ports, config, ready_within: ready, node: Mutex::new(node) }
    }

    /// The node number: 1 for the first broker.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Where clients find it; the same after a restart.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.broker))
    }

    /// Where a relay leads to, of a cluster that was made with [`crate::ClusterSpec::relayed`].
    pub fn relayed_address(&self) -> Option<SocketAddr> {
        self.ports.relayed.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Where clients find its secured listener, of a cluster that was made with [`crate::ClusterSpec::secured`].
    pub fn secured_address(&self) -> Option<String> {
        self.ports.secured.map(|port| format!("localhost:{port}"))
    }

    /// Its `server.properties`; what is changed there counts from the next start on.
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// Its data folder, with one folder for each partition; for [`crate::KafkaTool::dump_log`].
    pub fn data_path(&self) -> Result<PathBuf> {
        match &*self.node() {
            Node::Process(node) => Ok(node.data().to_owned()),
            #[cfg(feature = "docker")]
            Node::Docker(_) => Err(Error::Unsupported("reading a broker's data folder")),
        }
    }

    /// Its process number, while it runs as a process.
    pub fn pid(&self) -> Option<u32> {
        match &*self.node() {
            Node::Process(node) => node.pid(),
            #[cfg(feature = "docker")]
            Node::Docker(_) => None,
        }
    }

    /// All it wrote, over all its lives.
    pub fn log(&self) -> String {
        node!(self.log())
    }

    /// Ends it at once, as a power cut would (SIGKILL). Nothing happens when it does not run.
    pub fn kill(&self) -> Result<()> {
        node!(self.kill())
    }

    /// Ends it in order (SIGTERM), and waits for its end. Nothing happens when it does not run.
    pub fn stop(&self) -> Result<()> {
        node!(self.stop(STOP_WITHIN))
    }

    /// Holds it (SIGSTOP): its connections stay and nothing answers.
    pub fn pause(&self) -> Result<()> {
        node!(self.pause())
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) -> Result<()> {
        node!(self.resume())
    }

    /// Starts it on the same port and data, and waits until it is ready.
    pub fn start(&self) -> Result<()> {
        self.launch()?;
        self.wait_ready(&[self.id])
    }

    /// Starts it without waiting: for a cluster that has no majority before its next broker starts, too.
    pub fn launch(&self) -> Result<()> {
        node!(self.start())
    }

    /// Ends it in order and starts it again.
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// Waits until the broker answers and knows these brokers to be alive.
    pub(crate) fn wait_ready(&self, brokers: &[i32]) -> Result<()> {
        let ready = poll(self.ready_within, || {
            match node!(self.ended()) {
                Err(error) => return Some(Err(error)),
                Ok(Some(status)) => return Some(Err(self.ended_with(status))),
                Ok(None) => {}
            }
            let known = known_brokers(self.address()).ok()?;
            brokers.iter().all(|id| known.contains(id)).then_some(Ok(()))
        });
        ready.unwrap_or_else(|| {
            Err(Error::TimedOut {
                what: format!("broker {} at {} knows brokers {brokers:?}", self.id, self.address()),
                within: self.ready_within,
                log: tail(&self.log()),
            })
        })
    }

    fn ended_with(&self, status: String) -> Error {
        Error::Ended { name: format!("broker {}", self.id), status, log: tail(&self.log()) }
    }

    fn node(&self) -> MutexGuard<'_, Node> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
