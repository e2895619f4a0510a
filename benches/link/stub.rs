//! Stub peers: a source and a target that cost a link nothing to satisfy.
//!
//! What is not on the hot way is answered by a sandbox on each side. In front of it stands a [`front`] that takes the
//! connections, passes on what it does not know, and answers itself: on the source's side Fetch of the topic, from
//! prepared batches; on the target's side Produce to the mirror, which is checked and forgotten.

pub(crate) mod front;
mod offsets;
mod requests;
mod sessions;
pub(crate) mod source;
pub(crate) mod target;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::runtime::{Builder, Runtime};
use twinlog_sandbox::{Sandbox, SandboxSpec, TopicSpec};

use super::arena::Arena;
use super::cells::Cell;
use crate::progress::Progress;
use front::{Front, Way};
use source::Source;
use target::Target;

/// The source's topic. The link's mirror has the same name.
pub(crate) const TOPIC: &str = "bench";

/// Both sides of one run.
#[derive(Debug)]
pub(crate) struct Stubs {
    pub(crate) source: Arc<Source>,
    pub(crate) target: Arc<Target>,
    pub(crate) progress: Arc<Progress>,
    source_front: Front,
    target_front: Front,
    /// The sandboxes live in it.
    _runtime: Runtime,
}

impl Stubs {
    /// Starts both sides. The source shows no record before it is told to.
    pub(crate) fn start(cell: &Cell, arena: &Arc<Arena>, bytes: u64, tls: Option<&Arc<ServerConfig>>) -> Self {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime for the sandboxes");
        let progress = Arc::new(Progress::default());
        let partitions = i32::try_from(arena.partitions()).expect("not so many partitions");
        let max_message_bytes = (arena.batch_len() + 1_024).max(1_048_588).to_string();
        let sandbox = |cluster: &str| {
            let spec = SandboxSpec::new().cluster_id(cluster).setting("message.max.bytes", max_message_bytes.as_str());
            let _inside = runtime.enter();
            Sandbox::new(spec).expect("a sandbox")
        };
        let listen = |sandbox: &Sandbox| -> (TcpListener, SocketAddr) {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
            let own = listener.local_addr().expect("it has an address");
            let behind = runtime.block_on(sandbox.listen_behind(&[own])).expect("the sandbox listens");
            (listener, behind[0])
        };

        let (at_source, at_target) = (sandbox("bench-source"), sandbox("bench-target"));
        at_source.create_topic(&TopicSpec::new(TOPIC, partitions)).expect("the topic is made");
        let topic_id = at_source.topic_id(TOPIC).expect("it has an id");
        let batches = arena.batches_a_partition(bytes);
        let source = Arc::new(Source::new(Arc::clone(arena), topic_id, batches));
        let (listener, behind) = listen(&at_source);
        let source_front =
            Front::start(listener, behind, Arc::clone(&source), tls.cloned(), cell.source_way(), Arc::clone(&progress));
        let (listener, behind) = listen(&at_target);
        let target = Arc::new(Target::new(at_target, arena, batches, Arc::clone(&progress)));
        let target_front = Front::start(
            listener,
            behind,
            Arc::clone(&target),
            tls.cloned(),
            Way { delay: cell.target_delay, bytes_per_s: None },
            Arc::clone(&progress),
        );
        // The source's sandbox lives as long as its runtime: its tasks have it.
        source.keep(at_source);
        Self { source, target, progress, source_front, target_front, _runtime: runtime }
    }

    pub(crate) fn source_address(&self) -> SocketAddr {
        self.source_front.address()
    }

    pub(crate) fn target_address(&self) -> SocketAddr {
        self.target_front.address()
    }

    /// Makes the mirror, for whoever does not make it himself; its id.
    pub(crate) fn make_mirror(&self, partitions: usize) -> Result<[u8; 16], String> {
        let mirror = TopicSpec::new(TOPIC, i32::try_from(partitions).map_err(|error| error.to_string())?);
        self.target.sandbox().create_topic(&mirror).map_err(|error| error.to_string())?;
        Ok(self.target.sandbox().topic_id(TOPIC).unwrap_or_default().into_bytes())
    }

    /// Waits until all batches have arrived, for at most so long.
    pub(crate) fn wait(&self, patience: Duration) -> Result<bool, String> {
        self.progress.wait(self.source.batches(), patience)
    }
}
