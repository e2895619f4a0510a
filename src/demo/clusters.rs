//! The two clusters of a demo: in memory, or real Apache Kafka.

use twinlog_client::Address;
use twinlog_core::report::{Failure, FailureKind};
use twinlog_sandbox::{Sandbox, SandboxSpec};
use twinlog_testcontainers::{Backend, Cluster, ClusterSpec};

/// Two clusters, gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Clusters {
    source: Vec<Address>,
    target: Vec<Address>,
    _running: Running,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held so that they stay up")]
enum Running {
    Sandbox(Sandbox, Sandbox),
    Real(Cluster, Cluster),
}

impl Clusters {
    /// Two clusters of three nodes each in this process, on loopback ports.
    pub(crate) async fn sandbox() -> Result<Self, Failure> {
        let (source, source_at) = sandbox("demo-source", 1).await?;
        let (target, target_at) = sandbox("demo-target", 2).await?;
        Ok(Self { source: source_at, target: target_at, _running: Running::Sandbox(source, target) })
    }

    /// Two brokers of Apache Kafka, fetched with Maven the first time. It takes a while.
    pub(crate) fn real() -> Result<Self, Failure> {
        let start = || ClusterSpec::new().start_with(Backend::Process);
        let failed = |error: twinlog_testcontainers::Error| {
            Failure::new(FailureKind::Refused, format!("Apache Kafka cannot be started: {error}"))
                .advise("install Java 17 and Maven, or leave out --real")
        };
        let (source, target) = (start().map_err(failed)?, start().map_err(failed)?);
        let (source_at, target_at) = (real_addresses(&source), real_addresses(&target));
        Ok(Self { source: source_at, target: target_at, _running: Running::Real(source, target) })
    }

    /// Where the source listens.
    pub(crate) fn source(&self) -> &[Address] {
        &self.source
    }

    /// Where the target listens.
    pub(crate) fn target(&self) -> &[Address] {
        &self.target
    }
}

async fn sandbox(id: &str, seed: u64) -> Result<(Sandbox, Vec<Address>), Failure> {
    let failed = |error: twinlog_sandbox::SandboxError| Failure::new(FailureKind::Refused, error.to_string());
    let sandbox = Sandbox::new(
        SandboxSpec::new().nodes(3).cluster_id(id).seed(seed).setting("group.min.session.timeout.ms", "1000"),
    )
    .map_err(failed)?;
    let addresses = sandbox.listen(&[]).await.map_err(failed)?;
    Ok((sandbox, addresses.into_iter().map(Address::from).collect()))
}

fn real_addresses(cluster: &Cluster) -> Vec<Address> {
    cluster.brokers().iter().map(|broker| broker.address().into()).collect()
}
