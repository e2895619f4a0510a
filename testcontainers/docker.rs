//! A broker as a container of the image `apache/kafka`, by testcontainers-rs.
//!
//! It shares the network of the machine, so its properties are those of a process. The container ends when it is
//! dropped; after `kill -9` of the test process it does not, for that is in the hands of the container engine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use testcontainers::runners::SyncRunner;
use testcontainers::{Container, GenericImage, ImageExt};

use crate::error::{Doing, Error, Result, write};
use crate::properties::{self, Ports};
use crate::scratch::Scratch;
use crate::spec::ClusterSpec;

const CONFIG: &str = "/mnt/shared/config/server.properties";
const DATA: &str = "/tmp/kraft-combined-logs";

/// A broker as a container, running or not.
#[derive(Debug)]
pub(crate) struct DockerNode {
    tag: &'static str,
    heap_mb: u32,
    cluster_id: String,
    config: PathBuf,
    container: Option<Container<GenericImage>>,
}

impl DockerNode {
    /// Writes the node's properties.
    pub(crate) fn new(
        spec: &ClusterSpec,
        scratch: &Arc<Scratch>,
        ports: &[Ports],
        node: usize,
        cluster_id: &str,
    ) -> Result<Self> {
        let text = properties::server(spec, ports, node, DATA);
        let config = write(scratch.path().join(format!("server-{node}.properties")), text)?;
        let cluster_id = cluster_id.to_owned();
        let (tag, heap_mb) = (spec.version.text(), spec.heap_mb);
        Ok(Self { tag, heap_mb, cluster_id, config, container: None })
    }

    /// The node's `server.properties`, as it was at its first start.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// All the node wrote.
    pub(crate) fn log(&self) -> String {
        let Some(container) = &self.container else { return String::new() };
        let streams = [container.stdout_to_vec(), container.stderr_to_vec()];
        let text = streams.into_iter().flatten().flatten().collect::<Vec<u8>>();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Starts the container, the first time from its image.
    pub(crate) fn start(&mut self) -> Result<()> {
        if let Some(container) = &self.container {
            return container.start().map_err(refused);
        }
        let config = std::fs::read(&self.config).doing(|| "read server.properties".to_owned())?;
        let container = GenericImage::new("apache/kafka", self.tag)
            .with_network("host")
            .with_env_var("CLUSTER_ID", &self.cluster_id)
            .with_env_var("KAFKA_HEAP_OPTS", format!("-Xmx{}m", self.heap_mb))
            .with_copy_to(CONFIG, config)
            .start();
        self.container = Some(container.map_err(refused)?);
        Ok(())
    }

    /// The exit status, when the container ended.
    pub(crate) fn ended(&mut self) -> Result<Option<String>> {
        let Some(container) = &self.container else { return Ok(Some("was not started".to_owned())) };
        if container.is_running().map_err(refused)? {
            return Ok(None);
        }
        let code = container.exit_code().map_err(refused)?;
        Ok(Some(code.map_or_else(|| "no exit status".to_owned(), |code| code.to_string())))
    }

    /// `docker kill`.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.engine("kill")
    }

    /// SIGTERM, and waits until the container has ended.
    pub(crate) fn stop(&mut self, within: Duration) -> Result<()> {
        let Some(container) = &self.container else { return Ok(()) };
        let seconds = i32::try_from(within.as_secs()).unwrap_or(i32::MAX);
        container.stop_with_timeout(Some(seconds)).map_err(refused)
    }

    /// `docker pause`.
    pub(crate) fn pause(&mut self) -> Result<()> {
        self.engine("pause")
    }

    /// `docker unpause`.
    pub(crate) fn resume(&mut self) -> Result<()> {
        self.engine("unpause")
    }

    /// What testcontainers-rs cannot do, by the engine's own program.
    fn engine(&self, verb: &str) -> Result<()> {
        let Some(container) = &self.container else { return Ok(()) };
        let output = Command::new("docker")
            .args([verb, container.id()])
            .stdin(Stdio::null())
            .output()
            .doing(|| "start docker".to_owned())?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Docker(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

fn refused(error: testcontainers::TestcontainersError) -> Error {
    Error::Docker(error.to_string())
}
