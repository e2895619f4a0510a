//! What can go wrong on the way to a running cluster, in words that help.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a cluster, a tool or the oracle could not do what a test asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program is not there, or is too old.
    #[error("{what} is needed for tests, but {detail}; install it, on Debian by `{install}`")]
    Missing {
        /// The program, with the version asked for.
        what: &'static str,
        /// What was found instead.
        detail: String,
        /// The command that installs it.
        install: &'static str,
    },
    /// The backend asked for is not one of ours, or not compiled in.
    #[error("TWINLOG_TEST_CLUSTER={asked}: {detail}")]
    Backend {
        /// The value of the variable.
        asked: String,
        /// Why it cannot be had.
        detail: &'static str,
    },
    /// An argument makes no sense.
    #[error("{0}")]
    Argument(String),
    /// The system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A broker ended before it was ready.
    #[error("{name} ended with {status} before it was ready; the end of its log:\n{log}")]
    Ended {
        /// Which process.
        name: String,
        /// Its exit status.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// Something did not happen in time.
    #[error("{what}: not within {within:?}; the end of the log:\n{log}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// The end of the log of the process that should have done it.
        log: String,
    },
    /// A tool ended with an error.
    #[error("{tool} ended with {status}\n--- standard error ---\n{stderr}\n--- standard output ---\n{stdout}")]
    Tool {
        /// The tool's main class, or program.
        tool: String,
        /// Its exit status.
        status: String,
        /// What it wrote to standard error.
        stderr: String,
        /// What it wrote to standard output.
        stdout: String,
    },
    /// The oracle answered with an error, or not as agreed.
    #[error("the oracle on `{command}`: {message}")]
    Oracle {
        /// The command line sent.
        command: String,
        /// Its answer.
        message: String,
    },
    /// A program that answers lines did not.
    #[error("{name} on `{question}`: {message}")]
    Dialogue {
        /// The program.
        name: String,
        /// The line sent.
        question: String,
        /// What came instead of an answer.
        message: String,
    },
    /// The container engine refused.
    #[error("docker: {0}")]
    Docker(String),
    /// The backend in use cannot do this.
    #[error("{0} cannot be done with this backend")]
    Unsupported(&'static str),
}

/// The usual result.
pub type Result<T> = std::result::Result<T, Error>;

/// Gives an I/O error the sentence it lacks.
pub(crate) trait Doing<T> {
    /// Names what was being done.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { doing: doing(), source: source.into() })
    }
}

/// Reads a file as text, whatever its bytes; an absent file is empty.
pub(crate) fn text_of(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Writes a file, and names it when that fails.
pub(crate) fn write(path: PathBuf, text: impl AsRef<[u8]>) -> Result<PathBuf> {
    std::fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
    Ok(path)
}
