//! What a copy costs: twinlog beside MirrorMaker 2 on real Apache Kafka, in one run, on the same records.
//!
//! `cargo bench --bench comparison` starts two clusters of one broker, puts JSON records compressed with zstd on the
//! source, and lets each contender copy them from nothing to the last record. CPU and memory are the process's own,
//! read
//! from /proc when its copy is complete: start-up is part of it. Absolute figures are the machine's; the ratios are the
//! result.
//!
//! - `TWINLOG_BENCH_RECORDS`: how many records, 3 000 000 unless told.
//! - `TWINLOG_BENCH_OTHER`: one more contender, `name=program argument …`, where `{source}`, `{target}`, `{topic}`,
//!   `{mirror}`, `{partitions}` and `{records}` are filled in.
#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark that cannot be run says why and stops")]

mod contender;
mod process;

use std::fmt::Write as _;
use std::time::Duration;

use twinlog_testcontainers::{At, Cluster, ClusterSpec, Codec, Folder, KafkaVersion, Kit, Oracle, Produce};

use contender::Contender;
use process::Cost;

const TOPIC: &str = "json";
const PARTITIONS: u32 = 4;
const VALUE_BYTES: u32 = 820;
/// A copy that takes longer than this is given up.
const PATIENCE: Duration = Duration::from_secs(900);

fn main() {
    let records = number("TWINLOG_BENCH_RECORDS", 3_000_000);
    let clusters = Clusters::start();
    eprintln!("producing {records} records of {VALUE_BYTES} bytes to {PARTITIONS} partitions, zstd");
    clusters.fill(records);
    let bytes = clusters.bytes();
    let mut rows = Vec::new();
    for contender in Contender::all() {
        eprintln!("copying: {}", contender.name());
        let cost = contender.copy(&clusters, records);
        eprintln!("  {cost}");
        rows.push((contender.name(), cost));
    }
    print!("{}", report(records, bytes, &rows));
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")),
        Err(_) => default,
    }
}

/// The table, as Markdown, each contender beside twinlog.
fn report(records: u64, bytes: u64, rows: &[(String, Cost)]) -> String {
    let own = rows.iter().find(|(name, _)| name == "twinlog").map(|(_, cost)| *cost);
    let mut text = format!(
        "{records} JSON records of {VALUE_BYTES} bytes, {:.3} GB of zstd on the source, {PARTITIONS} partitions\n\n\
         | copy | CPU, s | wall, s | resident, MiB | CPU beside twinlog | memory beside twinlog |\n\
         |---|---|---|---|---|---|\n",
        bytes as f64 / 1e9
    );
    for (name, cost) in rows {
        let beside = |theirs: f64, ours: fn(&Cost) -> f64| own.map_or(f64::NAN, |own| theirs / ours(&own));
        let (cpu, memory) = (beside(cost.cpu_s, |own| own.cpu_s), beside(cost.resident_mib, |own| own.resident_mib));
        let Cost { cpu_s, wall_s, resident_mib } = cost;
        writeln!(text, "| {name} | {cpu_s:.2} | {wall_s:.1} | {resident_mib:.0} | {cpu:.1} | {memory:.1} |")
            .expect("a string takes what is written");
    }
    text
}

/// Source, target, and Kafka's own clients to fill and to look at them.
struct Clusters {
    source: Cluster,
    target: Cluster,
    oracle: Oracle,
    folder: Folder,
}

impl Clusters {
    fn start() -> Self {
        let spec = || ClusterSpec::new().heap_mb(512).optimised().config("log.retention.ms", "-1");
        Self {
            source: spec().start().expect("the source starts"),
            target: spec().start().expect("the target starts"),
            oracle: Oracle::start().expect("the oracle starts"),
            folder: Folder::new("comparison").expect("a folder"),
        }
    }

    fn kit(&self) -> std::sync::Arc<Kit> {
        Kit::install(KafkaVersion::default()).expect("Kafka's jars")
    }

    fn fill(&self, records: u64) {
        let source = self.oracle.at(self.source.bootstrap_text());
        source.create_topic(TOPIC, PARTITIONS, &[]).expect("the topic is created");
        let produce = Produce::new(TOPIC, 0).codec(Codec::Zstd).value_bytes(VALUE_BYTES).batches(131_072, 20);
        // In parts: the oracle answers a command within some minutes.
        let part = 250_000;
        for first in (0..records).step_by(part) {
            let count = (records - first).min(part as u64);
            source.produce(&produce.clone().word("n", count.to_string()).first(first)).expect("produced");
        }
    }

    /// Bytes of the topic on the source's disk.
    fn bytes(&self) -> u64 {
        let data = self.source.broker(0).data_path().expect("the source's folder");
        let mut bytes = 0;
        for partition in 0..PARTITIONS {
            let folder = std::fs::read_dir(data.join(format!("{TOPIC}-{partition}"))).expect("the partition's folder");
            for file in folder.flatten() {
                if file.path().extension().is_some_and(|extension| extension == "log") {
                    bytes += file.metadata().map_or(0, |metadata| metadata.len());
                }
            }
        }
        bytes
    }

    /// How many offsets a topic of the target has, all partitions together; none if it is not there yet.
    fn copied(&self, topic: &str) -> Option<u64> {
        let ends = self.oracle.at(self.target.bootstrap_text()).offsets(topic, At::End).ok()?;
        Some(ends.values().map(|end| end.unsigned_abs()).sum())
    }
}
