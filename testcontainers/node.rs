//! A broker as a Java process.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{Doing, Error, Result, tail, text_of};
use crate::kit::Kit;
use crate::properties::{self, Ports};
use crate::scratch::Scratch;
use crate::spec::ClusterSpec;
use crate::supervised::{Launch, Supervised};

/// A broker as a Java process, running or not.
#[derive(Debug)]
pub(crate) struct ProcessNode {
    kit: Arc<Kit>,
    scratch: Arc<Scratch>,
    jvm: Vec<OsString>,
    main: &'static str,
    classpath: OsString,
    config: PathBuf,
    log: PathBuf,
    data: PathBuf,
    child: Option<Supervised>,
}

impl ProcessNode {
    /// Lays out the node's folder, formatted and ready to be started.
    pub(crate) fn new(
        spec: &ClusterSpec,
        kit: &Arc<Kit>,
        scratch: &Arc<Scratch>,
        ports: &[Ports],
        node: usize,
        cluster_id: &str,
    ) -> Result<Self> {
        let folder = scratch.path().join(format!("broker-{node}"));
        let data = folder.join("data");
        std::fs::create_dir_all(&data).doing(|| format!("make {}", data.display()))?;
        let text = properties::server(spec, ports, node, &data.display().to_string());
        let config = crate::error::write(folder.join("server.properties"), text)?;
        if spec.version.has_kraft() {
            crate::error::write(data.join("meta.properties"), properties::meta(cluster_id, node))?;
            std::fs::copy(kit.bootstrap_checkpoint(), data.join("bootstrap.checkpoint"))
                .doing(|| "copy bootstrap.checkpoint".to_owned())?;
        }
        let (jvm, (main, classpath)) = (jvm(spec), kit.broker()?);
        let (kit, scratch) = (Arc::clone(kit), Arc::clone(scratch));
        let log = folder.join("log");
        Ok(Self { kit, scratch, jvm, main, classpath, config, log, data, child: None })
    }

    /// The node's data folder.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The node's `server.properties`.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// All the node wrote, over all its lives.
    pub(crate) fn log(&self) -> String {
        text_of(&self.log)
    }

    /// The process, while there is one.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Supervised::pid)
    }

    /// Starts the process.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.child.is_some() && self.ended()?.is_none() {
            return Err(Error::Argument("the broker runs already".to_owned()));
        }
        let mut args = self.jvm.clone();
        args.push(self.scratch.jvm_tmpdir());
        args.push(self.kit.logging("broker.properties"));
        args.extend(["-cp".into(), self.classpath.clone(), self.main.into()]);
        args.push(self.config.clone().into());
        self.child = Some(Supervised::start(Launch {
            program: self.kit.java().to_owned(),
            args,
            env: Vec::new(),
            input: Some("/dev/null".into()),
            output: Some(self.log.clone()),
            log: self.log.clone(),
            scratch: Arc::clone(&self.scratch),
        })?);
        Ok(())
    }

    /// The exit status, when the process ended by itself.
    pub(crate) fn ended(&mut self) -> Result<Option<String>> {
        let Some(child) = &mut self.child else { return Ok(Some("was not started".to_owned())) };
        Ok(child.wait(Duration::ZERO)?.map(|status| status.to_string()))
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) -> Result<()> {
        match self.child.take() {
            Some(mut child) => child.kill(),
            None => Ok(()),
        }
    }

    /// SIGTERM, and waits until the process has ended.
    pub(crate) fn stop(&mut self, within: Duration) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        child.signal(Signal::TERM)?;
        if child.wait(within)?.is_none() {
            let what = "the broker stops".to_owned();
            return Err(Error::TimedOut { what, within, log: tail(&self.log()) });
        }
        self.child = None;
        Ok(())
    }

    /// SIGSTOP.
    pub(crate) fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub(crate) fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        match &self.child {
            Some(child) if child.signal(signal)? => Ok(()),
            _ => Err(Error::Argument("the broker does not run".to_owned())),
        }
    }
}

fn jvm(spec: &ClusterSpec) -> Vec<OsString> {
    let mut options = vec![
        format!("-Xmx{}m", spec.heap_mb),
        "-Xshare:auto".to_owned(),
        "-XX:-UsePerfData".to_owned(),
        "-XX:+ExitOnOutOfMemoryError".to_owned(),
        "-Djava.awt.headless=true".to_owned(),
    ];
    if spec.optimised {
        options.push("-XX:+UseG1GC".to_owned());
    } else {
        options.extend(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"].map(str::to_owned));
    }
    options.into_iter().map(OsString::from).collect()
}
