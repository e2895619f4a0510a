//! How long a record is on its way, at a steady rate.
//!
//! ```text
//!   producer ──▶ source ──▶ contender ──▶ target
//!      │ acknowledged │ seen                │ seen
//!      ▼              ▼                     ▼
//!    open loop      follower             follower
//! ```
//!
//! The producer keeps to its times whatever the source does, and notes when each append was acknowledged. On both sides
//! a follower with one long poll notes when it sees how many records of which partition; of a batch it reads the head
//! only, since the order in a partition says which record is which. What a follower on the target sees has been
//! acknowledged to the copier by then or will be in a moment: so the figure is an upper bound, by what a follower
//! costs. The follower on the source shows how much that is.

mod follower;
mod load;
mod timeline;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, Topic};
use super::clusters::Clusters;
use super::contender::{Contender, Programs, Running, Task};
use super::cost;
use crate::quantiles::Quantiles;
use follower::Follower;
use load::{Load, Producer, Sent};
use serde::Serialize;
use timeline::Timeline;

/// Its name among the workloads.
pub(crate) const NAME: &str = "latency";
pub(crate) const WHAT: &str = "records of 100 B at 1, 1 000 and 20 000 a second: how long each is on its way";

const TOPIC: &str = "steady";
const PARTITIONS: u32 = 4;
/// How long a contender may take to begin, and to come to the end of what was sent.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);
const RATES: [Load; 3] = [Load::new(1, Duration::from_secs(30)), Load::new(1_000, Duration::from_secs(15)), FULL_RATE];
const FULL_RATE: Load = Load::new(20_000, Duration::from_secs(15));
/// So long the full rate is sent before anything counts: Java compiles what it runs often.
const WARM_UP: Duration = Duration::from_secs(10);
/// Of all these times in a quick run.
const QUICK_PART: u32 = 10;

/// One contender at one rate; times in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) records_per_s: u64,
    /// The contender; none where nobody copied.
    pub(crate) copy: Option<String>,
    pub(crate) records: u64,
    /// From the moment at which a record was to be sent to the source's acknowledgement.
    pub(crate) append_ms: Quantiles,
    /// From the source's acknowledgement to a follower on the source.
    pub(crate) source_ms: Quantiles,
    /// From the source's acknowledgement to a follower on the target.
    pub(crate) target_ms: Option<Quantiles>,
    /// From the follower on the source to that on the target.
    pub(crate) added_ms: Option<Quantiles>,
    /// CPU of the producer and both followers, in cores.
    pub(crate) client_cores: f64,
}

/// Measures one contender at all rates; or nobody, for what the source alone takes.
pub(crate) fn measure(
    clusters: &Clusters,
    programs: &Programs,
    contender: Option<Contender>,
    name: String,
    is_quick: bool,
) -> Result<Vec<Latency>, String> {
    let (source, target) = (clusters.source.broker(0).address(), clusters.target.broker(0).address());
    clusters.at_source().create_topic(TOPIC, PARTITIONS, &[]).map_err(|error| error.to_string())?;
    let topic = Client::dial(source).and_then(|mut client| client.topic(TOPIC)).map_err(|error| error.to_string())?;
    let topic = topic.ok_or_else(|| format!("{TOPIC} is not there"))?;
    let base = Instant::now();
    let task = Task { clusters, programs, topic: TOPIC, partitions: PARTITIONS, name };
    let mut copied = None;
    if let Some(contender) = contender {
        let mut running = contender.start(&task)?;
        let mirror = wait_for_mirror(target, &contender.mirror(&task), &mut running)?;
        copied = Some((contender, running, Follower::start(target, &mirror, base)?));
    }
    let watched = Follower::start(source, &topic, base)?;
    let mut producer = Producer::start(source, &topic, base)?;
    let part = if is_quick { QUICK_PART } else { 1 };
    let mut phases = Vec::new();
    for (load, counts) in [(FULL_RATE.lasting(WARM_UP), false)].into_iter().chain(RATES.map(|load| (load, true))) {
        let phase = Phase::send(&mut producer, load.lasting(load.duration() / part))?;
        watched.wait(producer.records(), PATIENCE).map_err(|words| format!("at the source: {words}"))?;
        if let Some((contender, running, follower)) = &copied {
            let seen = follower.wait(producer.records(), PATIENCE);
            seen.map_err(|words| format!("{}: {words}\n{}", contender.title(), running.log()))?;
        }
        if counts {
            phases.push(phase);
        }
    }
    let mut seen = Seen { source: watched.finish()?, target: None };
    if let Some((_, running, follower)) = copied {
        drop(running);
        seen.target = Some(follower.finish()?);
    }
    clusters.clear(None)?;
    let results: Option<_> = phases.iter().map(|phase| phase.result(contender, &seen)).collect();
    results.ok_or_else(|| "not all records were seen".to_owned())
}

/// A load that was sent, and what the bench used meanwhile.
struct Phase {
    load: Load,
    sent: Sent,
    client_cores: f64,
}

/// What the followers saw, by partition.
struct Seen {
    source: Vec<Timeline>,
    target: Option<Vec<Timeline>>,
}

impl Phase {
    fn send(producer: &mut Producer, load: Load) -> Result<Self, String> {
        let own_cpu = || cost::cpu(std::process::id()).unwrap_or_default();
        let (cpu, begun) = (own_cpu(), Instant::now());
        let sent = producer.send(load)?;
        let client_cores = own_cpu().saturating_sub(cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
        Ok(Self { load, sent, client_cores })
    }

    /// None if a record was not seen.
    fn result(&self, contender: Option<Contender>, seen: &Seen) -> Option<Latency> {
        let Self { load, sent, client_cores } = self;
        let due = |partition: usize, record| sent.due[partition].at(record);
        let acknowledged = |partition: usize, record| sent.acknowledged[partition].at(record);
        let at_source = |partition: usize, record| seen.source[partition].at(record);
        let at_target = |partition: usize, record| seen.target.as_ref()?[partition].at(record);
        let target_ms = quantiles(sent, &acknowledged, &at_target);
        if contender.is_some() && target_ms.is_none() {
            return None;
        }
        Some(Latency {
            records_per_s: load.records_per_s(),
            copy: contender.map(|contender| contender.title().to_owned()),
            records: sent.records(),
            append_ms: quantiles(sent, &due, &acknowledged)?,
            source_ms: quantiles(sent, &acknowledged, &at_source)?,
            target_ms,
            added_ms: quantiles(sent, &at_source, &at_target),
            client_cores: *client_cores,
        })
    }
}

/// When the record of a partition with this number was somewhere.
type When<'a> = &'a dyn Fn(usize, u64) -> Option<Duration>;

/// From one moment to another, over all records that were sent; none as soon as one of them was not there.
fn quantiles(sent: &Sent, from: When<'_>, to: When<'_>) -> Option<Quantiles> {
    let mut times = Vec::new();
    for (partition, records) in sent.range.iter().enumerate() {
        for record in records.clone() {
            times.push((to(partition, record)?.as_secs_f64() - from(partition, record)?.as_secs_f64()) * 1e3);
        }
    }
    Some(Quantiles::of(times))
}

fn wait_for_mirror(target: SocketAddr, name: &str, running: &mut Running) -> Result<Topic, String> {
    let begun = Instant::now();
    let words = |error: std::io::Error| format!("the target: {error}");
    let mut client = Client::dial(target).map_err(words)?;
    loop {
        if let Some(mirror) = client.topic(name).map_err(words)?
            && client.ends(&mirror).map_err(words)?.is_some()
        {
            return Ok(mirror);
        }
        if running.is_over() || begun.elapsed() > PATIENCE {
            return Err(format!("there is no {name}\n{}", running.log()));
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_between_the_same_record_here_and_there() {
        let line = |moments: &[u64]| {
            let mut line = Timeline::default();
            moments.iter().for_each(|ms| line.add(1, Duration::from_millis(*ms)));
            line
        };
        let range = std::iter::once(0..2).collect();
        let sent = Sent { range, due: vec![line(&[10, 20])], acknowledged: vec![line(&[11, 21])] };
        let phase = Phase { load: RATES[0], sent, client_cores: 0.5 };
        let mut seen = Seen { source: vec![line(&[12, 24])], target: Some(vec![line(&[21, 41])]) };
        let result = phase.result(Some(Contender::Bare), &seen).unwrap();
        let (target, added) = (result.target_ms.unwrap(), result.added_ms.unwrap());
        let rounded =
            [result.append_ms, result.source_ms, target, added].map(|times| (times.p50.round(), times.max.round()));
        assert_eq!(rounded, [(1.0, 1.0), (1.0, 3.0), (10.0, 20.0), (9.0, 17.0)]);

        seen.target = Some(vec![line(&[21])]);
        assert!(phase.result(Some(Contender::Bare), &seen).is_none(), "a record is missing");
        seen.target = None;
        assert_eq!(phase.result(None, &seen).unwrap().target_ms, None);
    }
}
