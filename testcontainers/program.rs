//! Any program under test, supervised like the brokers: it and its folder go with the test process.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{Error, Result, tail, text_of};
use crate::scratch::Scratch;
use crate::supervised::{Launch, Supervised};
use crate::tool::Output;

/// A temporary folder that is removed with its last user, however that ends.
#[derive(Clone, Debug)]
pub struct Folder(Arc<Scratch>);

impl Folder {
    /// Makes one; `what` is part of its name.
    pub fn new(what: &str) -> Result<Self> {
        Ok(Self(Arc::new(Scratch::new(what)?)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A program that works in the folder, its standard error in this file, its input and output to be read and
    /// written.
    pub(crate) fn launch(&self, program: &Path, args: &[&str], env: &[(&'static str, &str)], log: PathBuf) -> Launch {
        Launch {
            program: program.to_owned(),
            args: args.iter().map(OsString::from).collect(),
            env: env.iter().map(|(key, value)| (*key, OsString::from(value))).collect(),
            input: None,
            output: None,
            log,
            scratch: Arc::clone(&self.0),
        }
    }
}

/// A program that runs in a folder, its output in files there. Dropped, or with the end of the test process, it ends.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Supervised,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Program {
    /// Starts it. `name` names its output files: `<name>.out` and `<name>.err`, which are appended to.
    pub fn start(
        name: &str,
        program: &Path,
        args: &[&str],
        env: &[(&'static str, &str)],
        folder: &Folder,
    ) -> Result<Self> {
        let stdout = folder.path().join(format!("{name}.out"));
        let stderr = folder.path().join(format!("{name}.err"));
        let child = Supervised::start(Launch {
            input: Some("/dev/null".into()),
            output: Some(stdout.clone()),
            ..folder.launch(program, args, env, stderr.clone())
        })?;
        Ok(Self { name: name.to_owned(), child, stdout, stderr })
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// What is in its standard output's file so far.
    pub fn stdout(&self) -> String {
        text_of(&self.stdout)
    }

    /// What is in its standard error's file so far.
    pub fn stderr(&self) -> String {
        text_of(&self.stderr)
    }

    /// Its exit code once it has ended, 128 + n after signal n; none while it runs on after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<i32>> {
        Ok(self.child.wait(timeout)?.map(|status| status.code().unwrap_or(-1)))
    }

    /// What it wrote, once it has ended with success; an error that shows all of it otherwise.
    pub fn finish(&mut self, within: Duration) -> Result<Output> {
        let status = self.child.wait(within)?;
        let output = Output { stdout: self.stdout(), stderr: self.stderr() };
        match status {
            Some(status) if status.success() => Ok(output),
            Some(status) => {
                let Output { stdout, stderr } = output;
                Err(Error::Tool { tool: self.name.clone(), status: status.to_string(), stderr, stdout })
            }
            None => Err(Error::TimedOut {
                what: format!("{} ends", self.name),
                within,
                log: tail(&format!("{}\n{}", output.stdout, output.stderr)),
            }),
        }
    }

    /// kill -9, and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) -> Result<bool> {
        self.child.signal(Signal::TERM)
    }

    /// Tells it that its configuration has changed (SIGHUP).
    pub fn hang_up(&self) -> Result<bool> {
        self.child.signal(Signal::HUP)
    }

    /// Stops it in its tracks (SIGSTOP).
    pub fn pause(&self) -> Result<bool> {
        self.child.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) -> Result<bool> {
        self.child.signal(Signal::CONT)
    }
}
