//! `twinlog bench` as a user meets it, between two clusters in memory.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests are tests to a reader, if not to the lint")]

mod kit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kafka_protocol::messages::ListGroupsRequest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use twinlog_client::admin::NewTopic;
use twinlog_client::{Cluster, Purpose, Side};
use twinlog_link::claims;
use twinlog_link::names::CLAIMS_TOPIC;
use twinlog_sandbox::{ApiKey, ErrorCode, Fault, Sandbox};

use kit::{cluster, read, run_on_a_terminal};

const LIMIT: Duration = Duration::from_secs(60);
/// Of a bench that was over in 2001.
const OLD: &str = "3a4fc88000000001";

/// Two clusters in memory, and a folder with a configuration for the link `dr` between them.
struct World {
    folder: PathBuf,
    source: Cluster,
    target: Cluster,
    target_sandbox: Sandbox,
    _source_sandbox: Sandbox,
}

impl Drop for World {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).expect("removed");
    }
}

/// A bench that runs; it is ended with the test.
struct Running(Option<Child>);

impl Running {
    fn signal(&self) {
        let child = self.0.as_ref().expect("it runs");
        let id = Pid::from_raw(i32::try_from(child.id()).expect("an id")).expect("an id");
        kill_process(id, Signal::INT).expect("sent");
    }

    /// Exit code, stdout and stderr.
    async fn end(mut self) -> (i32, String, String) {
        let child = self.0.take().expect("it runs");
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().expect("waited for"));
        read(timeout(LIMIT, ended).await.expect("it ends in time").expect("no panic"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            child.kill().expect("ended");
            child.wait().expect("waited for");
        }
    }
}

async fn topics(cluster: &Cluster) -> BTreeSet<String> {
    cluster.refresh().await.expect("metadata").topics.keys().cloned().collect()
}

async fn create(cluster: &Cluster, name: &str) {
    let topic = NewTopic { name: name.into(), partitions: 1, replication_factor: 1, configs: BTreeMap::default() };
    cluster.create_topics(&[topic], false).await.expect("asked")[name].as_ref().expect("created");
}

/// The groups that all brokers know.
async fn groups(cluster: &Cluster) -> Vec<String> {
    let mut groups = Vec::new();
    for node in cluster.refresh().await.expect("metadata").brokers.keys() {
        let connection = cluster.connection(*node, Purpose::Admin, 0).await.expect("a connection");
        let answer = connection.call(ListGroupsRequest::default()).await.expect("an answer");
        groups.extend(answer.groups.iter().map(|group| group.group_id.to_string()));
    }
    groups
}

impl World {
    async fn new(name: &str) -> Self {
        let (source_sandbox, source_at, source) = cluster(Side::Source, 2).await;
        let (target_sandbox, target_at, target) = cluster(Side::Target, 2).await;
        let folder = std::env::temp_dir().join(format!("twinlog-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let config = format!(
            "clusters: {{a: {{bootstrap: ['{source_at}']}}, b: {{bootstrap: ['{target_at}']}}}}\n\
             links: {{dr: {{source: a, target: b, topics: {{include: ['orders']}}, lanes: 1}}}}\n"
        );
        std::fs::write(folder.join("twinlog.yaml"), config).expect("written");
        Self { folder, source, target, target_sandbox, _source_sandbox: source_sandbox }
    }

    fn bench(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinlog"));
        command.args(["bench", "--partitions", "2"]);
        if !arguments.contains(&"--max-bytes") {
            command.args(["--max-bytes", "8MB"]);
        }
        command.args(arguments).current_dir(&self.folder).env_remove("TWINLOG_CONFIG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, arguments: &[&str]) -> Running {
        Running(Some(self.bench(arguments).spawn().expect("the binary runs")))
    }

    /// A bench that is in the middle of a trial.
    async fn start_and_await_a_mirror(&self) -> Running {
        let running = self.start(&["--yes"]);
        let is_mirror = |topic: &String| topic.starts_with("__twinlog-bench.");
        let seen = async {
            while !topics(&self.target).await.iter().any(is_mirror) {
                // The next look at the metadata.
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, seen).await.expect("a mirror is made");
        running
    }

    /// Nothing is left of a bench but the topic of claims, in which nothing is claimed.
    async fn assert_clean(&self, others: [&[&str]; 2]) {
        let [source, target] = others.map(|names| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>());
        assert_eq!(topics(&self.source).await, source);
        let mut left = topics(&self.target).await;
        left.remove(CLAIMS_TOPIC);
        assert_eq!(left, target);
        assert_eq!(groups(&self.target).await, Vec::<String>::new());
        if let Some(standing) = claims::read(&self.target).await.expect("read") {
            assert_eq!(standing.links().collect::<Vec<_>>(), Vec::<&str>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_is_best_and_leaves_nothing() {
    let world = World::new("best").await;
    let (old_source, old_map) = (format!("__twinlog-bench.{OLD}"), format!("__twinlog.twinlog-bench-{OLD}-3.map"));
    create(&world.source, &old_source).await;
    create(&world.source, "__twinlog-bench.mine").await;
    create(&world.target, &old_map).await;
    create(&world.target, "orders").await;
    // Eleven trials, of which one is a rehearsal: so at least three are of what is configured.
    let (code, stdout, stderr) =
        world.start(&["--yes", "--max-time", "10m", "--max-bytes", "1600KB", "-o", "json"]).end().await;
    assert_eq!(code, 0, "{stderr}");
    for topic in [&old_source, &old_map] {
        assert!(stderr.contains(&format!("topic {topic}, left by an earlier bench, is removed")), "{stderr}");
    }
    world.assert_clean([&["__twinlog-bench.mine"], &["orders"]]).await;

    let report: Value = serde_json::from_str(&stdout).expect("JSON");
    let settings = report["settings"].as_array().expect("a list");
    assert_eq!(settings[0]["words"], "as configured");
    assert!(settings[0]["runs"].as_u64() >= Some(3), "{report}");
    assert!(
        settings.len() > 1 && settings.iter().all(|one| one["bytes_per_s_median"].as_f64() > Some(0.0)),
        "{report}"
    );
    // Which it is depends on the machine.
    let recommended = settings.iter().filter(|one| one["is_recommended"] == true).count();
    let verdict = report["verdict"].as_str().expect("words");
    assert_eq!(verdict.starts_with("better by more than the spread: "), recommended == 1, "{verdict}");
    assert_eq!(verdict.starts_with("your settings are fine: "), recommended == 0, "{verdict}");
    assert_eq!(report["yaml"].is_string(), recommended == 1, "{report}");
    assert!(report["limit"]["grounds"].as_str().is_some_and(|grounds| !grounds.is_empty()), "{report}");
    let plot = std::fs::read_to_string(world.folder.join("twinlog-bench.svg")).expect("a plot");
    assert!(plot.contains("as configured"), "{plot}");
    assert!(stderr.contains("plot written: twinlog-bench.svg\n"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_and_without_yes_nothing_is_written() {
    let world = World::new("asks").await;
    create(&world.source, &format!("__twinlog-bench.{OLD}")).await;
    let (code, stdout, stderr) = world.start(&[]).end().await;
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert!(stderr.contains("both together up to 8 MB, before replication, for up to 180 s\n"), "{stderr}");
    assert!(stderr.contains(&format!("__twinlog-bench.{OLD}, left by an earlier bench")), "{stderr}");
    assert!(stderr.contains("error: without a terminal a bench needs --yes; nothing was written\n"), "{stderr}");
    assert_eq!(topics(&world.source).await, [format!("__twinlog-bench.{OLD}")].into());
    assert_eq!(topics(&world.target).await, BTreeSet::new());
    assert!(!world.folder.join("twinlog-bench.svg").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_asks_and_no_is_no() {
    let world = World::new("terminal").await;
    let (code, _, shown) = run_on_a_terminal(world.bench(&[]), b"n\n").await;
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("Do it? [y/N] "), "{shown}");
    assert!(shown.trim_end().ends_with("nothing was written"), "{shown}");
    assert_eq!((topics(&world.source).await, topics(&world.target).await), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_signal_everything_is_removed() {
    let world = World::new("signal").await;
    let running = world.start_and_await_a_mirror().await;
    running.signal();
    let (code, stdout, stderr) = running.end().await;
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("error: the bench was ended before its end, so nothing is recommended\n"), "{stderr}");
    world.assert_clean([&[], &[]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_and_names_what_is_left() {
    let world = World::new("second").await;
    let held = world.target_sandbox.fault(Fault::lose_request().on(ApiKey::DeleteTopics));
    let running = world.start_and_await_a_mirror().await;
    running.signal();
    let asked = async {
        while world.target_sandbox.hits(held) == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, asked).await.expect("it begins to remove");
    running.signal();
    let (code, _, stderr) = running.end().await;
    assert_eq!(code, 130, "{stderr}");
    let (source, target) = (topics(&world.source).await, topics(&world.target).await);
    for topic in source.iter().chain(&target).filter(|topic| *topic != CLAIMS_TOPIC) {
        assert!(stderr.contains(&format!("--delete --topic {topic}\n")), "{topic}: {stderr}");
    }
    assert!(!source.is_empty() && target.len() > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_deleted_is_named_with_the_command() {
    let world = World::new("refused").await;
    world.target_sandbox.fault(Fault::refuse(ErrorCode::TOPIC_AUTHORIZATION_FAILED).on(ApiKey::DeleteTopics));
    let (code, stdout, stderr) = world.start(&["--yes", "--max-bytes", "1MB"]).end().await;
    assert_eq!(code, 1, "{stderr}");
    assert!(stdout.starts_with("SETTINGS "), "{stdout}");
    let left = topics(&world.target).await;
    let mirror = left.iter().find(|topic| topic.starts_with("__twinlog-bench.")).expect("a mirror is left");
    let line = stderr.lines().find(|line| line.contains(&format!("topic {mirror} "))).expect("it is named");
    assert!(line.ends_with(&format!("--delete --topic {mirror}")), "{line}");
    assert_eq!(topics(&world.source).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_before_anything_is_written() {
    let world = World::new("wrong").await;
    for (arguments, wanted_code, wanted) in [
        (&["nope"][..], 2, "there is no link `nope`"),
        (&["--max-time", "2h"], 2, "`2h` is not from 10s to 1h"),
        (
            &["--max-bytes", "1MB", "--record-bytes", "768KiB"],
            2,
            "do not suffice for a batch in each partition and its mirror",
        ),
    ] {
        let (code, stdout, stderr) = world.start(&[&["--yes"], arguments].concat()).end().await;
        assert_eq!((code, stdout.as_str()), (wanted_code, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(wanted), "{arguments:?}: {stderr}");
    }
    assert_eq!((topics(&world.source).await, topics(&world.target).await), Default::default());
}
