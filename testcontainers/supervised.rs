//! A child process that cannot outlive the test.
//!
//! ```text
//!  test process ──pipe──▶ sh (watchdog) ──fork──▶ java
//!       │                   │  reads to the end of the pipe, then kill -9 java
//!       └── pidfd ──────────┼─────────────────────▶ signals: exactly this process
//!                           └─ waits for java and ends with its status
//! ```
//!
//! The pipe ends when the test process closes it, and the system closes it when the test process ends, in whatever
//! way. `PR_SET_PDEATHSIG` would do the same for the thread that forked, but needs unsafe code and a thread that lives.
//! Signals go through a pidfd, so a process number that was given to somebody else in between is never hit.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Doing, Error, Result};
use crate::scratch::{SHELL_PATH, Scratch};

// Words: input file or `-`, output file or `-`, log file, program, arguments. With `-` as input, the watchdog's pipe
// is handed on; a named pipe keeps the child from running before its number is told.
const WATCHDOG: &str = r#"
in=$1 out=$2 err=$3; shift 3
exec 3<&0
if [ "$in" = - ]; then fifo=$err.in; mkfifo "$fifo" || exit 125; from=$fifo; else fifo=; from=$in; fi
if [ "$out" = - ]; then
  "$@" <"$from" 2>>"$err" 3<&- &
else
  "$@" <"$from" >>"$out" 2>>"$err" 3<&- &
fi
pid=$!
echo "$pid"
exec >/dev/null
if [ -n "$fifo" ]; then
  ( cat <&3 >"$fifo"; kill -9 "$pid" ) &
else
  ( while read -r _; do :; done <&3; kill -9 "$pid" ) &
fi
watcher=$!
wait "$pid"; status=$?
kill "$watcher"
exit "$status"
"#;

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<OsString>,
    /// Environment variables to add; its PATH holds the system's programs only.
    pub(crate) env: Vec<(&'static str, OsString)>,
    /// A file for its standard input; without one, [`Supervised::input`] is.
    pub(crate) input: Option<PathBuf>,
    /// A file for its standard output, appended to; without one, [`Supervised::output`] is.
    pub(crate) output: Option<PathBuf>,
    /// A file for its standard error, appended to.
    pub(crate) log: PathBuf,
    /// The folder to work in, which stays as long as the child does.
    pub(crate) scratch: Arc<Scratch>,
}

/// A child process with its watchdog.
#[derive(Debug)]
pub(crate) struct Supervised {
    watchdog: Child,
    rope: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
    pid: u32,
    pidfd: Option<OwnedFd>,
    ended: Option<ExitStatus>,
    _scratch: Arc<Scratch>,
}

impl Supervised {
    /// Starts the child.
    pub(crate) fn start(launch: Launch) -> Result<Self> {
        let word = |file: Option<PathBuf>| file.map_or_else(|| OsString::from("-"), OsString::from);
        let mut watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "twinlog-watchdog"])
            .arg(word(launch.input))
            .arg(word(launch.output))
            .arg(launch.log)
            .arg(&launch.program)
            .args(launch.args)
            .env("PATH", SHELL_PATH)
            .envs(launch.env)
            .current_dir(launch.scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(launch.scratch.hold()?)
            .process_group(0)
            .spawn()
            .doing(|| "start /bin/sh".to_owned())?;
        let rope = watchdog.stdin.take();
        let mut output = watchdog.stdout.take().map(BufReader::new);
        let mut line = String::new();
        if let Some(output) = &mut output {
            output.read_line(&mut line).doing(|| "read the watchdog's first line".to_owned())?;
        }
        let pid = line.trim().parse().map_err(|_| {
            Error::Argument(format!("the watchdog of {} told no process number", launch.program.display()))
        })?;
        // No descriptor means that the child ended already and the watchdog took its status.
        let pidfd = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pidfd = pidfd.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Self { watchdog, rope, output, pid, pidfd, ended: None, _scratch: launch.scratch })
    }

    /// The child's process number.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The child's standard input, when no file was given for it.
    pub(crate) fn input(&mut self) -> Option<&mut ChildStdin> {
        self.rope.as_mut()
    }

    /// The child's standard output, once, when no file was given for it.
    pub(crate) fn output(&mut self) -> Option<BufReader<ChildStdout>> {
        self.output.take()
    }

    /// Sends a signal to the child; false when it ended before.
    pub(crate) fn signal(&self, signal: Signal) -> Result<bool> {
        let Some(pidfd) = &self.pidfd else {
            return Ok(false);
        };
        match pidfd_send_signal(pidfd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error).doing(|| format!("signal process {}", self.pid)),
        }
    }

    /// Waits for the child's end; none when the time is over before.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() && self.ends_within(timeout)? {
            let status = self.watchdog.wait().doing(|| "wait for the watchdog".to_owned())?;
            self.ended = Some(status);
        }
        Ok(self.ended)
    }

    /// Kills the child and waits for its end.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(60))?;
        Ok(())
    }

    fn ends_within(&self, timeout: Duration) -> Result<bool> {
        let Some(pidfd) = &self.pidfd else {
            return Ok(true);
        };
        let timeout = Timespec::try_from(timeout).ok();
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        loop {
            match poll(&mut fds, timeout.as_ref()) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).doing(|| "poll a process".to_owned()),
            }
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.rope.take());
        drop(self.output.take());
        drop(self.watchdog.wait());
    }
}

/// A launch of `/bin/sh -c script` for the tests of this crate.
#[cfg(test)]
pub(crate) fn shell(scratch: &Arc<Scratch>, script: &str) -> Launch {
    Launch {
        program: PathBuf::from("/bin/sh"),
        args: vec!["-c".into(), script.into()],
        env: Vec::new(),
        input: Some(PathBuf::from("/dev/null")),
        output: Some(scratch.path().join("out")),
        log: scratch.path().join("err"),
        scratch: Arc::clone(scratch),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::error::text_of;

    const SOON: Duration = Duration::from_secs(20);

    fn scratch() -> Arc<Scratch> {
        Arc::new(Scratch::new("supervised").unwrap())
    }

    fn lives(pid: u32) -> bool {
        std::fs::exists(format!("/proc/{pid}")).unwrap()
    }

    #[test]
    fn tells_the_child_s_own_status_and_output() {
        let scratch = scratch();
        let script = "echo out; echo err >&2; exit 7";
        let mut child = Supervised::start(shell(&scratch, script)).unwrap();
        assert_eq!(child.wait(SOON).unwrap().unwrap().code(), Some(7));
        assert_eq!(text_of(&scratch.path().join("out")), "out\n");
        assert_eq!(text_of(&scratch.path().join("err")), "err\n");
        assert!(!child.signal(Signal::KILL).unwrap(), "nobody is there to take a signal");
    }

    #[test]
    fn dropping_it_ends_a_child_that_is_stopped_and_deaf() {
        let scratch = scratch();
        let child = shell(&scratch, "trap '' TERM; while :; do sleep 100; done");
        let child = Supervised::start(child).unwrap();
        let pid = child.pid();
        assert!(child.signal(Signal::STOP).unwrap());
        assert!(lives(pid));
        drop(child);
        assert!(!lives(pid));
    }

    #[test]
    fn a_child_that_runs_on_does_not_end_in_time() {
        let mut child = Supervised::start(shell(&scratch(), "exec sleep 100")).unwrap();
        assert!(child.wait(Duration::from_millis(20)).unwrap().is_none());
        child.kill().unwrap();
        assert_eq!(child.wait(SOON).unwrap().unwrap().code(), Some(128 + 9));
    }

    #[test]
    fn lines_go_to_the_child_and_back() {
        let scratch = scratch();
        let launch = shell(&scratch, "while read -r line; do echo \"<$line>\"; done");
        let mut child = Supervised::start(Launch { input: None, output: None, ..launch }).unwrap();
        let pid = child.pid();
        let mut output = child.output().unwrap();
        for word in ["one", "two"] {
            writeln!(child.input().unwrap(), "{word}").unwrap();
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            assert_eq!(line, format!("<{word}>\n"));
        }
        drop(child);
        assert!(!lives(pid));
    }
}
