//! What cluster a test wants.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::kit::KafkaVersion;

/// The environment variable that chooses the backend: `process` (the default) or `docker`.
pub const BACKEND_VARIABLE: &str = "TWINLOG_TEST_CLUSTER";

/// The cluster a test wants: one broker of the newest release, unless told otherwise.
///
/// ```no_run
/// use twinlog_testcontainers::{ClusterSpec, KafkaVersion};
///
/// let cluster = ClusterSpec::new()
///     .brokers(3)
///     .version(KafkaVersion::V3_9_1)
///     .config("log.message.timestamp.type", "LogAppendTime")
///     .start()?;
/// println!("{}", cluster.bootstrap_text());
/// # Ok::<(), twinlog_testcontainers::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a cluster is not there before `start`"]
pub struct ClusterSpec {
    pub(crate) brokers: u16,
    pub(crate) version: KafkaVersion,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) relays: Vec<u16>,
    pub(crate) secured: Option<Secured>,
    pub(crate) racks: bool,
    pub(crate) heap_mb: u32,
    pub(crate) optimised: bool,
    pub(crate) ready_within: Duration,
}

/// A listener that is not plain.
#[derive(Debug, Clone)]
pub(crate) struct Secured {
    /// As Kafka names it: `SSL`, `SASL_SSL`, `SASL_PLAINTEXT`.
    pub(crate) protocol: String,
    /// The listener's own properties.
    pub(crate) properties: BTreeMap<String, String>,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            brokers: 1,
            version: KafkaVersion::default(),
            config: BTreeMap::new(),
            relays: Vec::new(),
            secured: None,
            racks: false,
            heap_mb: 256,
            optimised: false,
            ready_within: Duration::from_secs(90),
        }
    }
}

impl ClusterSpec {
    /// One broker of the newest release.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many brokers: 1 or 3. Each is a controller too, and each controller votes.
    pub fn brokers(mut self, brokers: u16) -> Self {
        self.brokers = brokers;
        self
    }

    /// The release of Apache Kafka.
    pub fn version(mut self, version: KafkaVersion) -> Self {
        self.version = version;
        self
    }

    /// A broker property, for every broker; it wins over those of this crate.
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// A second listener on each broker, for those who come by way of a relay: each broker tells them the port here as
    /// its own, one for each broker. So one client's network can be cut while the others' is whole. The relay leads to
    /// [`crate::Broker::relayed_address`].
    pub fn relayed(mut self, ports: &[u16]) -> Self {
        self.relays = ports.to_vec();
        self
    }

    /// A listener on each broker that speaks this protocol (`SSL`, `SASL_SSL`), beside the plain one. Its properties
    /// are named as Kafka names them, without the listener before them. It leads to
    /// [`crate::Broker::secured_address`], and brokers tell its clients the host `localhost`.
    pub fn secured(mut self, protocol: &str, properties: impl IntoIterator<Item = (String, String)>) -> Self {
        self.secured = Some(Secured { protocol: protocol.to_owned(), properties: properties.into_iter().collect() });
        self
    }

    /// Each broker is in a rack of its own, `rack-1` and so on, and names a reader's replicas in the reader's own rack.
    pub fn racks(mut self) -> Self {
        self.racks = true;
        self
    }

    /// Java's heap for each broker in megabytes; the default is 256.
    pub fn heap_mb(mut self, heap_mb: u32) -> Self {
        self.heap_mb = heap_mb;
        self
    }

    /// Lets Java optimise fully: slower to start, faster later. For measurements.
    pub fn optimised(mut self) -> Self {
        self.optimised = true;
        self
    }

    /// How long a broker may take until it is ready; the default is 90 seconds.
    pub fn ready_within(mut self, ready_within: Duration) -> Self {
        self.ready_within = ready_within;
        self
    }

    /// Starts the cluster and waits until every broker knows all brokers.
    ///
    /// The backend is chosen by the environment variable [`BACKEND_VARIABLE`].
    pub fn start(self) -> Result<Cluster> {
        self.start_with(Backend::from_env()?)
    }

    /// The same with this backend, whatever the environment says.
    pub fn start_with(self, backend: Backend) -> Result<Cluster> {
        if !matches!(self.brokers, 1 | 3) {
            let brokers = self.brokers;
            return Err(Error::Argument(format!("a cluster has 1 or 3 brokers, not {brokers}")));
        }
        if !self.version.has_kraft() && (!self.relays.is_empty() || backend != Backend::Process) {
            let version = self.version;
            return Err(Error::Argument(format!("a cluster of {version} is of processes without relays")));
        }
        if self.secured.is_some() && backend != Backend::Process {
            return Err(Error::Argument("only processes have a secured listener".to_owned()));
        }
        if !self.relays.is_empty() && (self.relays.len() != usize::from(self.brokers) || backend != Backend::Process) {
            return Err(Error::Argument("relays lead to processes, one for each broker".to_owned()));
        }
        Cluster::start(self, backend)
    }
}

/// What runs the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Java processes of this machine, from Kafka's Maven jars.
    Process,
    /// Containers, by testcontainers-rs; needs the feature `docker`.
    Docker,
}

impl Backend {
    /// The backend that [`BACKEND_VARIABLE`] names.
    pub fn from_env() -> Result<Self> {
        match std::env::var_os(BACKEND_VARIABLE) {
            None => Ok(Self::Process),
            Some(asked) => Self::from_word(&asked.to_string_lossy()),
        }
    }

    /// The backend of this name. Another one than asked for is never taken silently.
    pub fn from_word(word: &str) -> Result<Self> {
        match word {
            "process" => Ok(Self::Process),
            "docker" if cfg!(feature = "docker") => Ok(Self::Docker),
            "docker" => Err(docker_is_not_built_in()),
            _ => Err(Error::Backend {
                asked: word.to_owned(),
                detail: "there is no such backend; say `process` or `docker`",
            }),
        }
    }
}

pub(crate) fn docker_is_not_built_in() -> Error {
    Error::Backend {
        asked: "docker".to_owned(),
        detail: "twinlog-testcontainers is built without its feature `docker`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_backend_is_an_error() {
        assert_eq!(Backend::from_word("process").unwrap(), Backend::Process);
        for word in ["", "Process", "podman"] {
            let error = Backend::from_word(word).unwrap_err().to_string();
            assert!(error.contains("say `process` or `docker`"), "{error}");
        }
    }

    #[test]
    fn docker_is_an_error_unless_built_in() {
        let answer = Backend::from_word("docker");
        if cfg!(feature = "docker") {
            assert_eq!(answer.unwrap(), Backend::Docker);
        } else {
            assert!(answer.unwrap_err().to_string().contains("without its feature `docker`"));
        }
    }

    #[test]
    fn two_brokers_are_refused_before_anything_starts() {
        let error = ClusterSpec::new().brokers(2).start_with(Backend::Process).unwrap_err();
        assert!(error.to_string().contains("1 or 3 brokers, not 2"), "{error}");
    }
}
