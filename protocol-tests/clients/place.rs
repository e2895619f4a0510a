//! Where a story is told: the sandbox, or a source and its mirror.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use twinlog_sandbox::{Sandbox, SandboxSpec, TopicSpec};
use twinlog_testcontainers::{Cluster, ClusterSpec, Folder, Oracle, Program};
use twinlog_wire::batch::{Batches, Codec, Entry};

/// Longer than anything here should take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// A cluster to read from.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) at: String,
    pub(crate) is_mirror: bool,
}

/// Where a story is told.
pub(crate) trait Place {
    /// The servers to write to.
    fn written_at(&self) -> String;

    /// The clusters to read from, the one that is written to first.
    fn peers(&self) -> Vec<Peer>;

    /// The cluster that the story is about: the last one.
    fn reading(&self) -> Peer {
        self.peers().pop().expect("a cluster to read from")
    }

    fn create(&self, topic: &str, partitions: i32);

    /// Returns when everything that was written can be read everywhere.
    fn settle(&self);

    /// The codecs of a topic's batches by peer, where they can be seen without a client.
    fn codecs(&self, topic: &str) -> BTreeMap<&'static str, BTreeSet<&'static str>>;
}

/// An in-memory cluster of three nodes, over loopback.
pub(crate) struct Sandboxed {
    sandbox: Sandbox,
    at: String,
    _runtime: Runtime,
}

impl Sandboxed {
    pub(crate) fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (sandbox, addresses) = runtime.block_on(async {
            let sandbox = Sandbox::new(SandboxSpec::new().nodes(3)).expect("a sandbox");
            let addresses = sandbox.listen(&[]).await.expect("it listens");
            (sandbox, addresses)
        });
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        Self { sandbox, at: addresses.join(","), _runtime: runtime }
    }
}

impl Place for Sandboxed {
    fn written_at(&self) -> String {
        self.at.clone()
    }

    fn peers(&self) -> Vec<Peer> {
        vec![Peer { name: "the sandbox", at: self.at.clone(), is_mirror: false }]
    }

    fn create(&self, topic: &str, partitions: i32) {
        self.sandbox.create_topic(&TopicSpec::new(topic, partitions)).expect("the topic is created");
    }

    fn settle(&self) {}

    fn codecs(&self, _topic: &str) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
        BTreeMap::new()
    }
}

struct Pair {
    source: Cluster,
    target: Cluster,
    oracle: Oracle,
}

/// Two brokers that all stories share, and Kafka's own client, which creates topics.
static PAIR: LazyLock<Pair> = LazyLock::new(|| {
    std::thread::scope(|scope| {
        let source = scope.spawn(|| ClusterSpec::new().start().expect("the source starts"));
        let target = scope.spawn(|| ClusterSpec::new().start().expect("the target starts"));
        let oracle = Oracle::start().expect("the oracle starts");
        let (source, target) = (source.join().expect("its thread ends"), target.join().expect("its thread ends"));
        Pair { source, target, oracle }
    })
});

/// A source, and a target to which twinlog copies the topics of one story.
pub(crate) struct Mirror {
    folder: Folder,
    runs: Cell<u32>,
}

impl Mirror {
    /// Copies the topics that begin with this name and a dot, over a link of this name.
    pub(crate) fn of(name: &str) -> Self {
        let folder = Folder::new(&format!("clients-{name}")).expect("a folder");
        let yaml = format!(
            "clusters:\n  a: {{ bootstrap: {:?} }}\n  b: {{ bootstrap: {:?} }}\nlinks:\n  {name}:\n    source: a\n    \
             target: b\n    topics: {{ include: ['{name}\\..*'] }}\n",
            PAIR.source.bootstrap(),
            PAIR.target.bootstrap(),
        );
        fs::write(folder.path().join("twinlog.yaml"), yaml).expect("the configuration is written");
        Self { folder, runs: Cell::new(0) }
    }

    fn twinlog(&self, args: &[&str]) {
        self.runs.set(self.runs.get() + 1);
        let all: Vec<&str> = ["-c", "twinlog.yaml"].iter().chain(args).copied().collect();
        let program = Path::new(env!("CARGO_BIN_EXE_twinlog"));
        let name = format!("twinlog-{}", self.runs.get());
        let mut program = Program::start(&name, program, &all, &[], &self.folder).expect("twinlog starts");
        let ended = program.finish(LONG);
        ended.unwrap_or_else(|error| panic!("twinlog {args:?}: {error}"));
    }
}

impl Place for Mirror {
    fn written_at(&self) -> String {
        PAIR.source.bootstrap_text()
    }

    fn peers(&self) -> Vec<Peer> {
        vec![
            Peer { name: "the source", at: PAIR.source.bootstrap_text(), is_mirror: false },
            Peer { name: "the mirror", at: PAIR.target.bootstrap_text(), is_mirror: true },
        ]
    }

    fn create(&self, topic: &str, partitions: i32) {
        let at = PAIR.oracle.at(PAIR.source.bootstrap_text());
        at.create_topic(topic, partitions.unsigned_abs(), &[]).expect("the topic is created");
    }

    fn settle(&self) {
        self.twinlog(&["run", "--until-caught-up"]);
        self.twinlog(&["verify"]);
    }

    fn codecs(&self, topic: &str) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
        let peers = [("the source", &PAIR.source), ("the mirror", &PAIR.target)];
        peers.into_iter().map(|(name, cluster)| (name, codecs_on_disk(cluster, topic))).collect()
    }
}

/// The codecs of a topic's first partition, from the broker's files.
fn codecs_on_disk(cluster: &Cluster, topic: &str) -> BTreeSet<&'static str> {
    let data = cluster.broker(0).data_path().expect("the broker is a process");
    let file = data.join(format!("{topic}-0/00000000000000000000.log"));
    let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let codec = |entry| match entry {
        Ok(Entry::V2(meta, _)) if !meta.is_control() => match meta.codec() {
            Some(Codec::None) => Some("none"),
            Some(Codec::Gzip) => Some("gzip"),
            Some(Codec::Snappy) => Some("snappy"),
            Some(Codec::Lz4) => Some("lz4"),
            Some(Codec::Zstd) => Some("zstd"),
            None => None,
        },
        _ => None,
    };
    Batches::new(Bytes::from(bytes)).filter_map(codec).collect()
}
