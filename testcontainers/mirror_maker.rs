//! MirrorMaker 2 as a child of the test: what twinlog is compared with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{Error, Result, tail, text_of, write};
use crate::kit::Kit;
use crate::scratch::Scratch;
use crate::supervised::{Launch, Supervised};

const CLASS: &str = "org.apache.kafka.connect.mirror.MirrorMaker";
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// A running MirrorMaker 2 in its dedicated mode.
#[derive(Debug)]
pub struct MirrorMaker {
    child: Supervised,
    config: PathBuf,
    log: PathBuf,
}

impl MirrorMaker {
    /// Starts it with these properties, such as `clusters=A, B` and `A->B.enabled=true`, and `heap_mb` of heap.
    /// It is not ready yet: wait with [`crate::eventually`] for what it shall do.
    pub fn start(kit: &Kit, properties: &BTreeMap<String, String>, heap_mb: u32) -> Result<Self> {
        let scratch = Arc::new(Scratch::new("mirror-maker")?);
        let text: String = properties.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
        let config = write(scratch.path().join("mm2.properties"), text)?;
        let log = scratch.path().join("log");
        let args = vec![
            format!("-Xmx{heap_mb}m").into(),
            "-Xshare:auto".into(),
            "-XX:-UsePerfData".into(),
            "-XX:+ExitOnOutOfMemoryError".into(),
            scratch.jvm_tmpdir(),
            kit.logging("broker.properties"),
            "-cp".into(),
            kit.classpath().clone(),
            CLASS.into(),
            config.clone().into(),
        ];
        let child = Supervised::start(Launch {
            program: kit.java().to_owned(),
            args,
            env: Vec::new(),
            input: Some("/dev/null".into()),
            output: Some(log.clone()),
            log: log.clone(),
            scratch,
        })?;
        Ok(Self { child, config, log })
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Its properties.
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// All it wrote.
    pub fn log(&self) -> String {
        text_of(&self.log)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.wait(Duration::ZERO)?.is_none())
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()
    }

    /// Ends it in order (SIGTERM), and waits for its end.
    pub fn stop(&mut self) -> Result<()> {
        self.child.signal(Signal::TERM)?;
        match self.child.wait(STOP_WITHIN)? {
            Some(_) => Ok(()),
            None => Err(Error::TimedOut {
                what: "MirrorMaker 2 stops".to_owned(),
                within: STOP_WITHIN,
                log: tail(&self.log()),
            }),
        }
    }
}
