//! Source and target, and Kafka's own clients to fill and to compare them.

use std::collections::BTreeMap;

use twinlog_testcontainers::{Cluster, ClusterSpec, Error, Isolation, Oracle, OracleAt, Produce};

use super::client::{Client, Topic};
use super::workload::Workload;

/// The oracle answers a command within some minutes: more records are produced in parts.
const PART_RECORDS: u64 = 100_000;
/// Kafka's own topics, which stay.
const INTERNAL: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

/// The topic of the target's first record.
const FIRST: &str = "first";

/// What each partition of a topic holds, wherever it stands: count and hash of the records.
pub(crate) type Digests = BTreeMap<i32, (u64, String)>;

/// Two clusters of one broker.
#[derive(Debug)]
pub(crate) struct Clusters {
    pub(crate) source: Cluster,
    pub(crate) target: Cluster,
    oracle: Oracle,
}

impl Clusters {
    pub(crate) fn start() -> Result<Self, Error> {
        let spec = || {
            let spec = ClusterSpec::new().heap_mb(512).optimised().config("log.retention.ms", "-1");
            // What one copy leaves is gone before the next one begins.
            spec.config("log.segment.delete.delay.ms", "1000")
        };
        let clusters = Self { source: spec().start()?, target: spec().start()?, oracle: Oracle::start()? };
        // A broker that has given no producer id yet asks its client to wait for the first one.
        let target = clusters.at_target();
        target.create_topic(FIRST, 1, &[])?;
        target.produce(&Produce::new(FIRST, 1))?;
        target.delete_topic(FIRST)?;
        Ok(clusters)
    }

    pub(crate) fn at_source(&self) -> OracleAt<'_> {
        self.oracle.at(self.source.bootstrap_text())
    }

    pub(crate) fn at_target(&self) -> OracleAt<'_> {
        self.oracle.at(self.target.bootstrap_text())
    }

    /// Makes the workload's topic with so many records.
    pub(crate) fn fill(&self, workload: &Workload, records: u64) -> Result<(), Error> {
        let source = self.at_source();
        source.create_topic(workload.name, workload.partitions, &[])?;
        for first in (0..records).step_by(PART_RECORDS as usize) {
            source.produce(&workload.produce(first, PART_RECORDS.min(records - first)))?;
        }
        Ok(())
    }

    /// Makes a mirror for a copier that makes none, and tells what it copies to where.
    pub(crate) fn with_mirror(&self, topic: &str, partitions: u32, mirror: &str) -> Result<(Topic, Topic), String> {
        self.at_target().create_topic(mirror, partitions, &[]).map_err(|error| error.to_string())?;
        let found = |cluster: &Cluster, name: &str| {
            let topic = Client::dial(cluster.broker(0).address()).and_then(|mut client| client.topic(name));
            topic.map_err(|error| error.to_string())?.ok_or_else(|| format!("{name} is not there"))
        };
        Ok((found(&self.source, topic)?, found(&self.target, mirror)?))
    }

    /// Removes what a copy has made on both sides, and on the source leaves the topic that is kept.
    pub(crate) fn clear(&self, kept: Option<&str>) -> Result<(), String> {
        for (cluster, at) in [(&self.source, self.at_source()), (&self.target, self.at_target())] {
            let names = Client::dial(cluster.broker(0).address()).and_then(|mut client| client.names());
            for name in names.map_err(|error| error.to_string())? {
                if !INTERNAL.contains(&name.as_str()) && Some(name.as_str()) != kept {
                    at.delete_topic(&name).map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }
}

/// By Kafka's own consumer.
pub(crate) fn digests(at: &OracleAt<'_>, topic: &str) -> Result<Digests, String> {
    let digests = at.digest(topic, Isolation::ReadCommitted).map_err(|error| error.to_string())?;
    Ok(digests.into_iter().map(|(partition, digest)| (partition, (digest.count, digest.sha256))).collect())
}
