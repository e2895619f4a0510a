//! The sandbox as a peer, over loopback like the others.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use twinlog_sandbox::{Sandbox, SandboxSpec};
use twinlog_testcontainers::KafkaVersion;

use crate::acts::{Acts, Kind, Running};
use crate::place::{Need, Place};

/// How often a quick broker looks for what is too old.
const CHECK: Duration = Duration::from_millis(200);

/// The in-memory cluster; it answers as this release does.
pub(crate) struct Memory;

impl Kind for Memory {
    fn name(&self) -> String {
        "the sandbox".to_owned()
    }

    fn version(&self) -> KafkaVersion {
        KafkaVersion::V4_1_1
    }

    fn cannot(&self, need: Need) -> Option<&'static str> {
        match need {
            Need::Acls => Some("the sandbox has no access control lists"),
            Need::Cleaner => Some("the sandbox does not compact"),
            Need::Kill => Some("the sandbox keeps nothing on a disk that a power cut could take back"),
            Need::ThreeBrokers => Some("the sandbox does not replicate"),
            Need::KafkaItself => Some("one of the limits that the sandbox's documentation names"),
            Need::Restart | Need::Expiry | Need::Long => None,
        }
    }

    fn start(&self, place: Place) -> Result<Running, String> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(text)?;
        // A place's settings are about how often brokers look: here that is `CHECK`.
        let spec = SandboxSpec::new().nodes(i32::from(place.brokers())).setting("group.min.session.timeout.ms", "1000");
        let (sandbox, addresses) = runtime.block_on(async {
            let sandbox = Sandbox::new(spec).map_err(text)?;
            let addresses = sandbox.listen(&[]).await.map_err(text)?;
            Ok::<_, String>((sandbox, addresses))
        })?;
        let old = sandbox.clone();
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(CHECK).await;
                old.expire_producers();
                old.retain();
            }
        });
        let mut nodes = std::collections::BTreeMap::new();
        for (node, address) in sandbox.nodes().into_iter().zip(addresses) {
            nodes.insert(node, address.into());
        }
        Ok(Running { nodes, acts: Arc::new(Held { sandbox, _runtime: runtime }) })
    }
}

/// A sandbox and what it lives in.
struct Held {
    sandbox: Sandbox,
    _runtime: Runtime,
}

impl Acts for Held {
    fn stop(&self, node: i32) -> Result<(), String> {
        self.sandbox.pause(node).map_err(text)?;
        self.sandbox.restart(node).map_err(text)
    }

    fn kill(&self, _node: i32) -> Result<(), String> {
        Err("the sandbox cannot be killed".to_owned())
    }

    fn start(&self, node: i32) -> Result<(), String> {
        self.sandbox.resume(node).map_err(text)
    }

    fn pause(&self, node: i32) -> Result<(), String> {
        self.sandbox.pause(node).map_err(text)
    }

    fn resume(&self, node: i32) -> Result<(), String> {
        self.sandbox.resume(node).map_err(text)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
