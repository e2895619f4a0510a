//! Who copies.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use twinlog_testcontainers::{MirrorMaker, Program, eventually};

use super::process::Cost;
use super::{Clusters, PARTITIONS, PATIENCE, TOPIC};

/// Something that copies the topic.
pub(crate) enum Contender {
    /// This project's binary.
    Twinlog,
    /// MirrorMaker 2, as it comes or with settings for throughput.
    MirrorMaker { tuned: bool },
    /// Any other program: name and command line.
    Other(String, String),
}

impl Contender {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Twinlog];
        if let Ok(other) = std::env::var("TWINLOG_BENCH_OTHER") {
            let (name, command) = other.split_once('=').expect("TWINLOG_BENCH_OTHER is name=program arguments");
            all.push(Self::Other(name.to_owned(), command.to_owned()));
        }
        all.push(Self::MirrorMaker { tuned: true });
        all.push(Self::MirrorMaker { tuned: false });
        all
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Twinlog => "twinlog".to_owned(),
            Self::MirrorMaker { tuned: true } => "MirrorMaker 2, tuned".to_owned(),
            Self::MirrorMaker { tuned: false } => "MirrorMaker 2, defaults".to_owned(),
            Self::Other(name, _) => name.clone(),
        }
    }

    /// Copies everything from nothing, and tells what that cost.
    pub(crate) fn copy(&self, clusters: &Clusters, records: u64) -> Cost {
        match self {
            Self::Twinlog => twinlog(clusters, records),
            Self::MirrorMaker { tuned } => mirror_maker(clusters, records, *tuned),
            Self::Other(name, command) => other(clusters, records, name, command),
        }
    }
}

/// Waits until the mirror holds so many offsets, then reads what the process has used.
fn complete(clusters: &Clusters, mirror: &str, offsets: u64, pid: u32, begun: Instant) -> Cost {
    eventually("the copy is complete", PATIENCE, || {
        (clusters.copied(mirror)? >= offsets).then(|| Cost::so_far(pid, begun))
    })
    .expect("the process is still there")
}

fn twinlog(clusters: &Clusters, records: u64) -> Cost {
    let yaml = format!(
        "clusters:\n  a: {{ bootstrap: {:?} }}\n  b: {{ bootstrap: {:?} }}\nlinks:\n  cost:\n    source: a\n    \
         target: b\n    topics: {{ include: [{TOPIC}], rename: '{{topic}}.twinlog' }}\n",
        clusters.source.bootstrap(),
        clusters.target.bootstrap(),
    );
    std::fs::write(clusters.folder.path().join("twinlog.yaml"), yaml).expect("the configuration is written");
    let begun = Instant::now();
    let args = ["-c", "twinlog.yaml", "run"];
    let program = Path::new(env!("CARGO_BIN_EXE_twinlog"));
    let mut program = Program::start("twinlog", program, &args, &[], &clusters.folder).expect("twinlog starts");
    // Each mirror begins with a marker.
    let offsets = records + u64::from(PARTITIONS);
    let cost = complete(clusters, &format!("{TOPIC}.twinlog"), offsets, program.pid(), begun);
    program.terminate().expect("twinlog is told to end");
    program.wait(Duration::from_secs(60)).expect("twinlog ends");
    cost
}

fn mirror_maker(clusters: &Clusters, records: u64, tuned: bool) -> Cost {
    let (source, mirror) = match tuned {
        true => ("tuned", format!("tuned.{TOPIC}")),
        false => ("plain", format!("plain.{TOPIC}")),
    };
    let mut properties = BTreeMap::from([
        ("clusters".to_owned(), format!("{source}, b")),
        (format!("{source}.bootstrap.servers"), clusters.source.bootstrap_text()),
        ("b.bootstrap.servers".to_owned(), clusters.target.bootstrap_text()),
        (format!("{source}->b.enabled"), "true".to_owned()),
        (format!("{source}->b.topics"), TOPIC.to_owned()),
        (format!("b->{source}.enabled"), "false".to_owned()),
        ("replication.factor".to_owned(), "1".to_owned()),
        ("checkpoints.topic.replication.factor".to_owned(), "1".to_owned()),
        ("heartbeats.topic.replication.factor".to_owned(), "1".to_owned()),
        ("offset-syncs.topic.replication.factor".to_owned(), "1".to_owned()),
        ("offset.storage.replication.factor".to_owned(), "1".to_owned()),
        ("status.storage.replication.factor".to_owned(), "1".to_owned()),
        ("config.storage.replication.factor".to_owned(), "1".to_owned()),
        ("emit.heartbeats.enabled".to_owned(), "false".to_owned()),
        ("emit.checkpoints.enabled".to_owned(), "false".to_owned()),
    ]);
    if tuned {
        for (key, value) in [
            ("tasks.max", "4"),
            ("b.producer.compression.type", "zstd"),
            ("b.producer.batch.size", "524288"),
            ("b.producer.linger.ms", "20"),
            ("b.producer.buffer.memory", "134217728"),
            ("tuned.consumer.max.poll.records", "10000"),
            ("tuned.consumer.fetch.max.bytes", "52428800"),
            ("tuned.consumer.max.partition.fetch.bytes", "4194304"),
        ] {
            properties.insert(key.to_owned(), value.to_owned());
        }
    }
    let begun = Instant::now();
    let mut mirror_maker = MirrorMaker::start(&clusters.kit(), &properties, 1024).expect("MirrorMaker 2 starts");
    let cost = complete(clusters, &mirror, records, mirror_maker.pid(), begun);
    mirror_maker.kill().expect("MirrorMaker 2 ends");
    cost
}

fn other(clusters: &Clusters, records: u64, name: &str, command: &str) -> Cost {
    let mirror = format!("{TOPIC}.other");
    let target = clusters.oracle.at(clusters.target.bootstrap_text());
    target.create_topic(&mirror, PARTITIONS, &[]).expect("the mirror is created");
    let filled = command
        .replace("{source}", &clusters.source.bootstrap_text())
        .replace("{target}", &clusters.target.bootstrap_text())
        .replace("{topic}", TOPIC)
        .replace("{mirror}", &mirror)
        .replace("{partitions}", &PARTITIONS.to_string())
        .replace("{records}", &records.to_string());
    let mut words = filled.split_whitespace();
    let program = words.next().expect("TWINLOG_BENCH_OTHER names a program").to_owned();
    let args: Vec<&str> = words.collect();
    let begun = Instant::now();
    let mut child =
        Program::start(name, Path::new(&program), &args, &[], &clusters.folder).expect("the program starts");
    // It may end by itself before anybody looks: what it used is read while it runs, up to its end.
    let mut last = None;
    eventually("the other copy is complete", PATIENCE, || {
        if let Some(cost) = Cost::so_far(child.pid(), begun) {
            last = Some(cost);
        }
        child.wait(Duration::from_millis(5)).expect("it can be waited for)").is_some().then_some(())
    });
    print!("{}", child.stdout());
    assert!(clusters.copied(&mirror) >= Some(records), "{name} copied too little:\n{}", child.stderr());
    last.expect("it ran long enough to be looked at")
}
