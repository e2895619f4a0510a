//! One copy of a workload, from a contender's start to the last record, and what it cost.

use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, Content};
use super::clusters::{self, Clusters, Digests};
use super::contender::{Contender, Programs, Running, Task};
use super::cost::Usage;
use super::workload::Workload;

/// A copy that takes longer than this is given up.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks at the mirror; a moment is known that well.
const LOOK: Duration = Duration::from_millis(20);

/// What a copy cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Until the mirror had its first record.
    pub(crate) first: Usage,
    /// Until it had the last one.
    pub(crate) last: Usage,
}

/// A workload on the source.
#[derive(Debug)]
pub(crate) struct Filled<'a> {
    pub(crate) clusters: &'a Clusters,
    pub(crate) workload: &'a Workload,
    pub(crate) content: Content,
    digests: Digests,
}

impl<'a> Filled<'a> {
    /// Puts so many records on the source.
    pub(crate) fn new(clusters: &'a Clusters, workload: &'a Workload, records: u64) -> Result<Self, String> {
        clusters.fill(workload, records).map_err(|error| error.to_string())?;
        let content = content(clusters.source.broker(0).address(), workload.name)?;
        if content.records != records {
            return Err(format!("{}: the source has {} of {records} records", workload.name, content.records));
        }
        let digests = clusters::digests(&clusters.at_source(), workload.name)?;
        Ok(Self { clusters, workload, content, digests })
    }

    /// Lets a contender copy it to a mirror of its own. `is_compared` reads every record of the mirror after it.
    pub(crate) fn copy(
        &self,
        contender: Contender,
        programs: &Programs,
        name: String,
        is_compared: bool,
    ) -> Result<Cost, String> {
        let Self { clusters, workload, .. } = self;
        let task = Task { clusters, programs, topic: workload.name, partitions: workload.partitions, name };
        let mirror = contender.mirror(&task);
        let cost = self.measure(contender, &task, &mirror)?;
        let there = content(clusters.target.broker(0).address(), &mirror)?.records;
        if there != self.content.records {
            let title = contender.title();
            return Err(format!("{title}: the mirror has {there} of {} records", self.content.records));
        }
        if is_compared && clusters::digests(&clusters.at_target(), &mirror)? != self.digests {
            return Err(format!("{}: the mirror's records are not the source's", contender.title()));
        }
        clusters.clear(Some(workload.name))?;
        Ok(cost)
    }

    fn measure(&self, contender: Contender, task: &Task<'_>, mirror: &str) -> Result<Cost, String> {
        let words = |error: std::io::Error| format!("the target: {error}");
        let mut client = Client::dial(self.clusters.target.broker(0).address()).map_err(words)?;
        let mut running = contender.start(task)?;
        let begun = Instant::now();
        let failed = |running: &Running, what: &str| Err(format!("{}: {what}\n{}", contender.title(), running.log()));
        let (mut topic, mut first) = (None, None);
        loop {
            if topic.is_none() {
                topic = client.topic(mirror).map_err(words)?;
            }
            let ends = match &topic {
                Some(topic) => client.ends(topic).map_err(words)?,
                None => None,
            };
            let counts = ends.iter().flatten().map(|end| (end - contender.first_offset()).max(0).unsigned_abs());
            let copied: u64 = counts.sum();
            if copied > 0 {
                let Some(usage) = Usage::so_far(running.pid(), begun) else {
                    return failed(&running, "it has ended");
                };
                let first = *first.get_or_insert(usage);
                if copied >= self.content.records {
                    return Ok(Cost { first, last: usage });
                }
            }
            if running.is_over() {
                return failed(&running, "it has ended before the last record");
            }
            if begun.elapsed() > PATIENCE {
                return failed(&running, &format!("{copied} records within {} s", PATIENCE.as_secs()));
            }
            thread::sleep(LOOK);
        }
    }
}

fn content(address: std::net::SocketAddr, topic: &str) -> Result<Content, String> {
    let counted = Client::dial(address).and_then(|mut client| match client.topic(topic)? {
        Some(topic) => client.content(&topic),
        None => Err(std::io::Error::other("it is not there")),
    });
    counted.map_err(|error| format!("{topic}: {error}"))
}
