//! From the configuration's clusters to the client's.

use std::path::PathBuf;

use twinlog_client::{Address, Cluster, DialConfig, Side, TlsConfig};
use twinlog_core::config::ClusterConfig;
use twinlog_core::report::{Failure, FailureKind};

use super::NamedLink;

/// Both clusters of a link. Nothing is dialled yet; certificate files are read.
pub(crate) fn clusters(link: NamedLink<'_>) -> Result<(Cluster, Cluster), Failure> {
    Ok((cluster(Side::Source, link.source)?, cluster(Side::Target, link.target)?))
}

fn cluster(side: Side, config: &ClusterConfig) -> Result<Cluster, Failure> {
    let tls = config.tls.as_ref().map(|tls| TlsConfig {
        ca_file: tls.ca_file.as_ref().map(PathBuf::from),
        server_name: tls.server_name.clone(),
    });
    let dial = DialConfig { tls, client_id: config.client_id.clone(), ..DialConfig::default() };
    Cluster::new(side, addresses(config), dial).map_err(|error| Failure::new(FailureKind::Usage, error.to_string()))
}

/// The addresses that the configuration gives.
pub(crate) fn addresses(config: &ClusterConfig) -> Vec<Address> {
    config.bootstrap.iter().map(|at| Address { host: at.host.clone(), port: at.port }).collect()
}
