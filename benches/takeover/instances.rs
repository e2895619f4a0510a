//! One link under load, and the instances that run it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use twinlog_testcontainers::{Cluster, ClusterSpec, Folder, Oracle, Produce, Program, eventually};

use super::ends::{Stalls, watch};
use super::{End, MARGIN, PARTITIONS, SESSION};

const TOPIC: &str = "steady";
const PATIENCE: Duration = Duration::from_secs(120);

/// Source, target, a producer that writes on all the while, and the configuration.
pub(crate) struct Link {
    _source: Cluster,
    target: Cluster,
    oracle: Oracle,
    folder: Folder,
}

impl Link {
    pub(crate) fn start() -> Self {
        let source = ClusterSpec::new().start().expect("the source starts");
        let target = ClusterSpec::new().start().expect("the target starts");
        let oracle = Oracle::start().expect("the oracle starts");
        let folder = Folder::new("takeover").expect("a folder");
        let yaml = format!(
            "clusters:\n  a: {{ bootstrap: {:?} }}\n  b: {{ bootstrap: {:?} }}\nlinks:\n  takeover:\n    \
             source: a\n    target: b\n    topics: {{ include: [{TOPIC}] }}\n    lanes: 8\n    \
             members: {{ session_timeout: {}s, settle: 1s }}\n",
            source.bootstrap(),
            target.bootstrap(),
            SESSION.as_secs(),
        );
        std::fs::write(folder.path().join("twinlog.yaml"), yaml).expect("the configuration is written");
        let at = oracle.at(source.bootstrap_text());
        at.create_topic(TOPIC, PARTITIONS.unsigned_abs(), &[]).expect("the topic is created");
        at.produce_start(TOPIC, &Produce::endless(TOPIC).batches(16_384, 5).rate(4_000)).expect("the producer starts");
        Self { _source: source, target, oracle, folder }
    }

    fn run(&self, number: u32) -> Program {
        let args = ["-c", "twinlog.yaml", "run"];
        let program = Path::new(env!("CARGO_BIN_EXE_twinlog"));
        let env = [("TWINLOG_LOG", "info")];
        Program::start(&format!("instance-{number}"), program, &args, &env, &self.folder).expect("twinlog starts")
    }
}

/// Two instances; the second is the one that goes.
pub(crate) struct Instances {
    stays: Program,
    goes: Program,
    started: u32,
}

impl Instances {
    pub(crate) fn start(link: &Link) -> Self {
        let stays = link.run(1);
        eventually("the first instance copies", PATIENCE, || (!copied(&stays).is_empty()).then_some(()));
        Self { stays, goes: link.run(2), started: 2 }
    }

    /// Ends the second instance once it has a share, watches the mirrors, and starts another one.
    pub(crate) fn lose_one(&mut self, link: &Link, end: End) -> Stalls {
        let share = usize::try_from(PARTITIONS / 4).unwrap_or_default();
        eventually("the second instance has a share", PATIENCE, || (copied(&self.goes).len() >= share).then_some(()));
        let at = link.oracle.at(link.target.bootstrap_text());
        // Lanes may still be on their way.
        watch(&at, TOPIC, &BTreeSet::new(), MARGIN, PATIENCE);
        let moved = copied(&self.goes);
        match end {
            End::Killed => self.goes.kill().expect("killed"),
            End::Told => assert!(self.goes.terminate().expect("a signal is sent"), "it had ended before"),
        }
        let stalls = watch(&at, TOPIC, &moved, SESSION + MARGIN, PATIENCE);
        assert_eq!(self.stays.wait(Duration::ZERO).expect("it can be waited for"), None, "{}", self.stays.stderr());
        self.started += 1;
        self.goes = link.run(self.started);
        stalls
    }
}

/// The partitions that an instance says it copies.
fn copied(program: &Program) -> BTreeSet<i32> {
    let log = program.stderr();
    let lines = log.lines().filter(|line| line.contains("Copying."));
    lines.filter_map(|line| line.split("partition=").nth(1)?.split_whitespace().next()?.parse().ok()).collect()
}
