//! Two clusters, a link between them, and the program under test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use twinlog_testcontainers::{
    Cluster, ClusterSpec, Digest, Folder, Isolation, KafkaVersion, Oracle, OracleAt, Program, eventually,
};

use crate::ask::Placed;
use crate::segments::bytes_on_disk;

/// Longer than anything here should take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// How long the lanes of a killed instance wait for the next one.
pub(crate) const SESSION: Duration = Duration::from_secs(2);

/// Lines of each run that a failed test shows.
const LINES_SHOWN: usize = 60;

/// A source and a target.
pub(crate) struct Pair {
    pub(crate) source: Arc<Cluster>,
    pub(crate) target: Arc<Cluster>,
}

impl Pair {
    /// Starts both at the same time.
    pub(crate) fn start(source: ClusterSpec, target: ClusterSpec) -> Self {
        let (source, target) = std::thread::scope(|scope| {
            let source = scope.spawn(|| source.start().expect("the source starts"));
            let target = target.start().expect("the target starts");
            (source.join().expect("the source's thread ends"), target)
        });
        Self { source: Arc::new(source), target: Arc::new(target) }
    }

    /// One broker each.
    pub(crate) fn of(version: KafkaVersion) -> Self {
        Self::start(ClusterSpec::new().version(version), ClusterSpec::new().version(version))
    }

    /// From the shared source to a target of its own: for tests that do no harm to the source.
    pub(crate) fn onto(target: ClusterSpec) -> Self {
        let target = target.start().expect("the target starts");
        Self { source: Arc::clone(&SHARED.source), target: Arc::new(target) }
    }
}

/// A pair that tests share which do no harm to brokers; each has topics and a link of its own.
pub(crate) static SHARED: LazyLock<Pair> = LazyLock::new(|| {
    // The cleaner looks every 15 seconds by default.
    let source = ClusterSpec::new().config("log.cleaner.backoff.ms", "500");
    Pair::start(source.clone(), source)
});

/// Kafka's own clients, shared by all tests.
pub(crate) static ORACLE: LazyLock<Oracle> = LazyLock::new(|| Oracle::start().expect("the oracle starts"));

/// Tests that break brokers or measure take turns: more than two clusters at once starve each other here.
static TURN: Mutex<()> = Mutex::new(());

/// Waits for this test's turn.
pub(crate) fn turn() -> std::sync::MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A link's configuration in a folder of its own.
pub(crate) struct Link<'a> {
    pub(crate) pair: &'a Pair,
    pub(crate) name: String,
    pub(crate) folder: Folder,
}

impl Drop for Link<'_> {
    /// A failed test shows what the program said last in each of its runs.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for file in std::fs::read_dir(self.folder.path()).into_iter().flatten().filter_map(Result::ok) {
            if file.path().extension().is_some_and(|extension| extension == "err") {
                let text = std::fs::read_to_string(file.path()).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let last = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
                println!("=== {} ===\n{last}", file.path().display());
            }
        }
    }
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl<'a> Link<'a> {
    /// A link over `topics`, a YAML value like `{ include: [orders] }`, with more lines of the link's own.
    pub(crate) fn new(pair: &'a Pair, name: &str, topics: &str, more: &[&str]) -> Self {
        Self::to(pair, &pair.target.bootstrap(), name, topics, more)
    }

    /// The same with other addresses of the target.
    pub(crate) fn to(pair: &'a Pair, target: &[String], name: &str, topics: &str, more: &[&str]) -> Self {
        let cluster = |bootstrap: &[String]| format!("{{ bootstrap: {bootstrap:?} }}");
        let clusters = [cluster(&pair.source.bootstrap()), cluster(target)];
        Self::by(pair, &clusters, name, topics, more)
    }

    /// The same by these YAML values for the source and the target.
    pub(crate) fn by(pair: &'a Pair, clusters: &[String; 2], name: &str, topics: &str, more: &[&str]) -> Self {
        let folder = Folder::new(&format!("link-{name}")).expect("a folder");
        let [source, target] = clusters;
        let mut yaml = format!(
            "clusters:\n  a: {source}\n  b: {target}\nlinks:\n  {name}:\n    source: a\n    \
             target: b\n    topics: {topics}\n    members: {{ session_timeout: {SESSION:?}, settle: 1s }}\n",
        );
        for line in more {
            yaml.push_str(&format!("    {line}\n"));
        }
        std::fs::write(folder.path().join("twinlog.yaml"), yaml).expect("the configuration is written");
        Self { pair, name: name.to_owned(), folder }
    }

    /// Adds to the configuration.
    pub(crate) fn configure(&self, yaml: &str) {
        let path = self.folder.path().join("twinlog.yaml");
        let text = std::fs::read_to_string(&path).expect("the configuration");
        self.write("twinlog.yaml", &(text + yaml));
    }

    /// Writes a file that the configuration refers to.
    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join(file), text).expect("a file is written");
    }

    /// Starts the program with these arguments.
    pub(crate) fn start(&self, name: &str, args: &[&str], env: &[(&'static str, &str)]) -> Program {
        let mut all = vec!["-c", "twinlog.yaml"];
        all.extend(args);
        Program::start(name, program(), &all, env, &self.folder).expect("twinlog starts")
    }

    /// Starts `run`, which goes on until it is ended.
    pub(crate) fn run(&self, name: &str) -> Program {
        self.start(name, &["run"], &[("TWINLOG_LOG", "info")])
    }

    /// Runs the program to its end.
    pub(crate) fn finish(&self, name: &str, args: &[&str]) -> Ended {
        ended(self.start(name, args, &[("TWINLOG_LOG", "info")]))
    }

    /// `run --until-caught-up`, which must end with 0.
    pub(crate) fn catch_up(&self) {
        let ended = self.finish("catch-up", &["run", "--until-caught-up"]);
        assert_eq!(ended.code, 0, "{ended:#?}\n{}", self.pair.target.log());
    }

    /// `verify`, which must find no difference.
    pub(crate) fn verify(&self) {
        let ended = self.finish("verify", &["verify"]);
        assert_eq!(ended.code, 0, "{ended:#?}");
    }

    pub(crate) fn source(&self) -> OracleAt<'static> {
        ORACLE.at(self.pair.source.bootstrap_text())
    }

    pub(crate) fn target(&self) -> OracleAt<'static> {
        ORACLE.at(self.pair.target.bootstrap_text())
    }

    /// Each record once and in order, for both kinds of readers of the target, as Kafka's own client reads. Answers
    /// how many there are.
    pub(crate) fn assert_twins(&self, topic: &str, target_topic: &str) -> u64 {
        let wanted = placed(&self.source(), topic, Isolation::ReadCommitted);
        assert!(!wanted.is_empty(), "{topic} has no partitions");
        for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
            let found = placed(&self.target(), target_topic, isolation);
            assert_eq!(found, wanted, "{topic} and {target_topic} differ, read {isolation:?}");
        }
        wanted.iter().map(|one| one.count).sum()
    }

    /// Waits until the target holds as many records as the source, as a consumer counts them.
    pub(crate) fn await_twins(&self, topic: &str, target_topic: &str) {
        let count = |at: &OracleAt<'_>, topic: &str| -> Option<u64> {
            let digests = at.digest(topic, Isolation::ReadCommitted).ok()?;
            Some(digests.values().map(|digest| digest.count).sum())
        };
        let wanted = count(&self.source(), topic).expect("the source is read");
        eventually(&format!("{wanted} records in {target_topic}"), LONG, || {
            count(&self.target(), target_topic).filter(|found| *found >= wanted)
        });
    }

    /// Waits until a run has said this.
    pub(crate) fn await_said(&self, name: &str, words: &str, patience: Duration) {
        let log = self.folder.path().join(format!("{name}.err"));
        eventually(&format!("{name} says {words:?}"), patience, || {
            std::fs::read_to_string(&log).ok()?.contains(words).then_some(())
        });
    }

    /// Waits until a run says that the group gives it so many lanes, by its last word on it.
    pub(crate) fn await_lanes(&self, name: &str, lanes: usize) {
        let log = self.folder.path().join(format!("{name}.err"));
        eventually(&format!("{name} has {lanes} lanes"), LONG, || {
            let text = std::fs::read_to_string(&log).ok()?;
            let last = text.lines().rev().find(|line| line.contains("Lanes are shared out."))?;
            last.contains(&format!("lanes={lanes}")).then_some(())
        });
    }

    /// Waits until the mirror has grown by so many bytes from now on. No client is asked: with a broker down,
    /// Kafka's own would wait for a minute.
    pub(crate) fn await_growth(&self, target_topic: &str, bytes: u64) {
        let target = &self.pair.target;
        let begin = bytes_on_disk(target, target_topic);
        eventually(&format!("{target_topic} grows by {bytes} bytes from {begin}"), LONG, || {
            (bytes_on_disk(target, target_topic) >= begin + bytes).then_some(())
        });
    }
}

fn placed(at: &OracleAt<'_>, topic: &str, isolation: Isolation) -> Vec<Placed> {
    let digests: BTreeMap<i32, Digest> = at.digest(topic, isolation).expect("the topic is read");
    let placed = |(partition, digest): (i32, Digest)| Placed { partition, count: digest.count, sha256: digest.sha256 };
    digests.into_iter().map(placed).collect()
}

/// Waits for a program's end. In the long forms there is ten times as much to catch up with.
pub(crate) fn ended(mut program: Program) -> Ended {
    let patience = LONG * if twinlog_protocol_tests::is_long() { 10 } else { 1 };
    let code = program.wait(patience).expect("the program can be waited for");
    let (stdout, stderr) = (program.stdout(), program.stderr());
    let code = code.unwrap_or_else(|| panic!("twinlog still runs after {patience:?}:\n{stdout}\n{stderr}"));
    Ended { code, stdout, stderr }
}

/// Ends a program in order; it must end with 0.
pub(crate) fn drain(program: Program) -> Ended {
    assert!(program.terminate().expect("a signal is sent"), "twinlog had ended before:\n{}", program.stderr());
    let ended = ended(program);
    assert_eq!(ended.code, 0, "{ended:#?}");
    ended
}

/// Fails when the program has ended.
#[track_caller]
pub(crate) fn assert_runs(program: &mut Program) {
    let code = program.wait(Duration::ZERO).expect("the program can be waited for");
    assert_eq!(code, None, "twinlog ended:\n{}\n{}", program.stdout(), program.stderr());
}

/// The program under test: the one that was built with the tests, or another build that this variable names.
fn program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let built = || env!("CARGO_BIN_EXE_twinlog").into();
        PathBuf::from(std::env::var_os("TWINLOG_TEST_PROGRAM").unwrap_or_else(built))
    });
    &PROGRAM
}

/// How much a test does: `TWINLOG_TEST=long` is the long form.
pub(crate) fn scaled(short: u64, long: u64) -> u64 {
    if twinlog_protocol_tests::is_long() { long } else { short }
}

/// The timestamp of so many days ago, in ms.
pub(crate) fn days_ago(days: u64) -> i64 {
    let moment = SystemTime::now() - Duration::from_hours(24 * days);
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).expect("a timestamp")
}
