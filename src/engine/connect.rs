//! From the configuration's clusters to the client's.

use std::time::Duration;

use twinlog_client::{Address, Cluster, DialConfig, Side};
use twinlog_core::config::{ClusterConfig, SocketConfig};
use twinlog_core::report::{Failure, FailureKind};

use super::NamedLink;

/// How long sent bytes may stay unacknowledged at the most.
const USER_TIMEOUT_MAX: Duration = Duration::from_secs(20);

/// Both clusters of a link. Nothing is dialled yet; certificate files are read.
pub(crate) fn clusters(link: NamedLink<'_>) -> Result<(Cluster, Cluster), Failure> {
    // What was written must not wait in the kernel until the lease of this instance is over.
    let user_timeout = link.link.members.session_timeout.mul_f32(0.75).min(USER_TIMEOUT_MAX);
    let SocketConfig { receive_buffer, send_buffer } = link.link.sockets;
    let source = DialConfig { user_timeout: Some(USER_TIMEOUT_MAX), receive_buffer, ..DialConfig::default() };
    let target = DialConfig { user_timeout: Some(user_timeout), send_buffer, ..DialConfig::default() };
    Ok((cluster(Side::Source, link.source, source)?, cluster(Side::Target, link.target, target)?))
}

fn cluster(side: Side, config: &ClusterConfig, dial: DialConfig) -> Result<Cluster, Failure> {
    let (tls, sasl, client_id) = (config.tls.clone(), config.sasl.clone(), config.client_id.clone());
    let dial = DialConfig { tls, sasl, client_id, ..dial };
    Cluster::new(side, addresses(config), dial).map_err(|error| Failure::new(FailureKind::Usage, error.to_string()))
}

/// The addresses that the configuration gives.
pub(crate) fn addresses(config: &ClusterConfig) -> Vec<Address> {
    config.bootstrap.iter().map(|at| Address { host: at.host.clone(), port: at.port }).collect()
}
