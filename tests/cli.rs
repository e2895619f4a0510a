//! The binary as a user meets it: exit codes, what goes to which stream, and nothing changed.

#![allow(clippy::expect_used, reason = "helpers of tests are tests to a reader, if not to the lint")]

use std::path::PathBuf;
use std::process::{Command, Output};

const FIRST: &str = r"clusters:
  a: { bootstrap: ['127.0.0.1:19092'] }
  b: { bootstrap: ['127.0.0.1:29092'] }
links:
  dr:
    source: a
    target: b
    topics: { include: ['orders', 'payments\..*'], exclude: [], rename: '{topic}' }
";

/// A folder of its own for a test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("twinlog-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    fn with_config(name: &str, text: &str) -> Self {
        let folder = Self::new(name);
        std::fs::write(folder.0.join("twinlog.yaml"), text).expect("written");
        folder
    }

    fn twinlog(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinlog"));
        let command = command.args(arguments).current_dir(&self.0).env_remove("TWINLOG_CONFIG");
        let Output { status, stdout, stderr } = command.output().expect("the binary runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (status.code().expect("no signal"), text(stdout), text(stderr))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("removed");
    }
}

#[test]
fn help_groups_the_verbs_and_documents_the_exit_codes() {
    let (code, stdout, stderr) = Folder::new("help").twinlog(&["--help"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let wanted = "\
Keeps a second Kafka cluster as an exact twin of the first

Usage: twinlog [OPTIONS] <COMMAND>

Run:
  run        Mirror topics from source to target

Look:
  status     Where each partition stands: positions, lag, state
  groups     Where each consumer group stands on the target, and why not where it should
  translate  The target offset of a source offset, or back
  verify     Compare source and target, batch by batch

Decide:
  resolve    Lets a partition go on that stopped
  lanes      Which partitions are copied together; moves them, changes the number of lanes

Set up:
  config     Which keys the configuration has, and what is in effect
  check      Look at both clusters before a start; changes nothing
  bench      Find the settings that copy fastest between your clusters
  demo       Show what twinlog does, on two clusters of its own

Options:
";
    assert!(stdout.starts_with(wanted), "{stdout}");
    let wanted = "\
Help on a verb, with examples: twinlog VERB --help

Exit codes:
  0  fine
  1  a difference or a failed check was found
  2  wrong usage or configuration
  3  a cluster is out of reach
  4  kept for links that were promoted (none can be yet)
  5  refused by a look before the start
";
    assert!(stdout.ends_with(wanted), "{stdout}");
}

#[test]
fn wrong_usage_ends_with_2() {
    let folder = Folder::with_config("usage", FIRST);
    for (arguments, wanted) in [
        (&[][..], "Usage: twinlog"),
        (&["runn"][..], "similar subcommand exists: 'run'"),
        (&["status", "-o", "yaml"][..], "possible values: table, json, jsonl"),
        (&["translate", "orders"][..], "write TOPIC:PARTITION@OFFSET, as in orders:3@1234"),
        (&["verify", "orders("][..], "`orders(` is no regular expression: unclosed group"),
        (&["status", "nope"][..], "error: there is no link `nope`"),
    ] {
        let (code, stdout, stderr) = folder.twinlog(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(wanted), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_wrong_configuration_ends_with_2_and_its_place() {
    let folder = Folder::with_config("wrong", &FIRST.replace("target: b", "target: c"));
    for verb in [&["run"][..], &["check"], &["status"], &["groups"], &["verify"], &["translate", "orders:0@0"]] {
        let (code, stdout, stderr) = folder.twinlog(verb);
        assert_eq!((code, stdout.as_str()), (2, ""), "{verb:?}");
        let wanted = "\
error: twinlog.yaml:7:13: links.dr.target: there is no cluster `c`
   |
 7 |     target: c
   |             ^
  what to do: known here: a, b
";
        assert_eq!(stderr, wanted, "{verb:?}");
    }
}

#[test]
fn a_configuration_that_is_not_there_ends_with_2() {
    let folder = Folder::new("none");
    let (code, _, stderr) = folder.twinlog(&["status", "-c", "nope.yaml"]);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("error: cannot read the configuration file nope.yaml: No such file"), "{stderr}");
    let (code, _, stderr) = folder.twinlog(&["status"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.starts_with("error: no configuration file: TWINLOG_CONFIG is not set"), "{stderr}");
}

#[test]
fn the_version_is_the_packages() {
    let (code, stdout, _) = Folder::new("version").twinlog(&["--version"]);
    assert_eq!((code, stdout), (0, format!("twinlog {}\n", env!("CARGO_PKG_VERSION"))));
}
