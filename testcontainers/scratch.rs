//! A temporary folder that goes with its user, however the user ends.
//!
//! A small shell waits at the reading end of a pipe and removes the folder at its end. The writing end is held by the
//! test process and by every watchdog that works in the folder (see [`crate::supervised`]), so the folder is removed
//! when the last of them is gone and no process can write to it any more: after a panic, after `kill -9`, and for
//! folders held in statics, which are never dropped.

use std::ffi::OsString;
use std::io::PipeWriter;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Doing, Result};

const GUARD: &str = r#"while read -r _; do :; done; exec rm -rf -- "$1""#;

/// The programs that our shells call live here; a test may have an empty PATH.
pub(crate) const SHELL_PATH: &str = "/usr/bin:/bin";

static FOLDERS: AtomicU64 = AtomicU64::new(0);

/// A temporary folder, removed when dropped and when the process ends.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    hold: Option<PipeWriter>,
    guard: Mutex<Child>,
}

impl Scratch {
    /// Makes a folder below the system's temporary folder.
    pub(crate) fn new(what: &str) -> Result<Self> {
        let path = fresh_folder(what)?;
        let (end, hold) = std::io::pipe().doing(|| "make a pipe".to_owned())?;
        let guard = Command::new("/bin/sh")
            .args(["-c", GUARD, "twinlog-folder-guard"])
            .arg(&path)
            .env("PATH", SHELL_PATH)
            .current_dir("/")
            .stdin(Stdio::from(end))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal, or a test runner that kills the test's group, must not reach the guard.
            .process_group(0)
            .spawn()
            .doing(|| "start /bin/sh".to_owned())?;
        Ok(Self { path, hold: Some(hold), guard: Mutex::new(guard) })
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The argument by which a Java process unpacks its native libraries into the folder, so that they go with it.
    pub(crate) fn jvm_tmpdir(&self) -> OsString {
        let mut argument = OsString::from("-Djava.io.tmpdir=");
        argument.push(&self.path);
        argument
    }

    /// A hold on the folder, to be given to a watchdog: the folder stays until it is closed.
    pub(crate) fn hold(&self) -> Result<Stdio> {
        let hold = self.hold.as_ref().map(PipeWriter::try_clone);
        let hold = hold.transpose().doing(|| "copy a pipe".to_owned())?;
        Ok(hold.map_or_else(Stdio::null, Stdio::from))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.hold.take());
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        drop(guard.wait());
    }
}

fn fresh_folder(what: &str) -> Result<PathBuf> {
    let root = std::env::temp_dir();
    loop {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("twinlog-{what}-{}-{number}", process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).doing(|| format!("make {}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_with_its_files_when_dropped() {
        let scratch = Scratch::new("scratch").unwrap();
        let path = scratch.path().to_owned();
        std::fs::create_dir(path.join("deep")).unwrap();
        std::fs::write(path.join("deep/file"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
