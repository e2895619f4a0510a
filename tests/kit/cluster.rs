//! Clusters in memory.

use twinlog_client::{Address, Cluster, DialConfig, Side};
use twinlog_sandbox::{Sandbox, SandboxSpec};

/// A cluster in memory that listens, the address of one of its nodes, and a client of it.
pub(crate) async fn cluster(side: Side, nodes: i32) -> (Sandbox, String, Cluster) {
    // Of one seed both would give their topics the same ids.
    let spec = SandboxSpec::new().nodes(nodes).cluster_id(side.name()).seed(side as u64);
    let sandbox = Sandbox::new(spec).expect("a sandbox");
    let addresses = sandbox.listen(&[]).await.expect("it listens");
    let bootstrap: Vec<Address> = addresses.iter().map(|at| at.to_string().parse().expect("an address")).collect();
    let client = Cluster::new(side, bootstrap, DialConfig::default()).expect("a client");
    (sandbox, addresses[0].to_string(), client)
}
