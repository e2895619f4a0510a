//! What tests of the binary share: clusters in memory, and a terminal to run it on.

mod cluster;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, Output, Stdio};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

pub(crate) use self::cluster::cluster;

/// Exit code, stdout and stderr of a program that has ended.
pub(crate) fn read(Output { status, stdout, stderr }: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("no signal"), text(stdout), text(stderr))
}

/// Runs a program with a terminal as stdin and stderr, on which this is typed; what the terminal shows comes in place
/// of stderr.
pub(crate) async fn run_on_a_terminal(mut command: Command, typed: &'static [u8]) -> (i32, String, String) {
    let ran = tokio::task::spawn_blocking(move || {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&terminal).expect("granted");
        unlockpt(&terminal).expect("unlocked");
        let path = ptsname(&terminal, Vec::new()).expect("a name").into_string().expect("UTF-8");
        // It must not become the terminal of whoever runs the tests.
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let other = || File::from(open(path.as_str(), flags, Mode::empty()).expect("opened"));
        let mut terminal = File::from(terminal);
        let child = command.stdin(other()).stdout(Stdio::piped()).stderr(other()).spawn().expect("the binary runs");
        // It holds the other end of the terminal, too.
        drop(command);
        terminal.write_all(typed).expect("typed");
        let mut shown = Vec::new();
        // Reading ends with an error when nobody has the other end any more.
        let end = terminal.read_to_end(&mut shown).expect_err("no end of file");
        assert_eq!(end.raw_os_error(), Some(Errno::IO.raw_os_error()), "{end}");
        (child.wait_with_output().expect("waited for"), String::from_utf8(shown).expect("UTF-8"))
    });
    let (output, shown) = ran.await.expect("no panic");
    let (code, stdout, _piped) = read(output);
    (code, stdout, shown.replace("\r\n", "\n"))
}
