//! `twinlog demo`: what the product promises, shown on two clusters of its own within a minute.
//!
//! ```text
//!  two clusters ──► shop writes ──► link copies ──► killed half way ──► a new one goes on ──► counted and compared
//! ```
//!
//! The link is the one that `twinlog run` runs. It is killed by dropping its runtime at whatever await it stands, with
//! no code of an orderly end; the next one has nothing but what is on the target.

mod clusters;
mod count;
mod killable;
pub(crate) mod picture;
mod shop;

use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use twinlog_client::{Cluster, DialConfig};
use twinlog_core::config::{LinkConfig, Members};
use twinlog_core::report::{Failure, FailureKind, Side, TranslateAnswer, Translation, VerifyProgress};
use twinlog_core::topics::{Pattern, TopicRules};
use twinlog_link::environment::Environment;
use twinlog_link::supervisor::LinkSetup;
use twinlog_link::translate::Question;

pub(crate) use self::clusters::Clusters;
use self::count::Counted;
use self::killable::KillableLink;
use self::picture::Sample;
use self::shop::{Shop, Written};

/// The link's name.
const LINK: &str = "demo";
/// How long the shop writes.
const WRITING: Duration = Duration::from_secs(8);
/// Between the kill and the next start.
const DOWN: Duration = Duration::from_millis(1_200);
/// The link is killed at some moment within this, once half of the records are written.
const KILL_WITHIN: Duration = Duration::from_millis(300);
/// How long the copy may take to catch up at the end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at how far both sides are.
const LOOK: Duration = Duration::from_millis(100);

/// What is shown while it goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stage {
    /// What happens now, in words; a new line each time that they change.
    pub(crate) words: String,
    /// Records that the shop has written.
    pub(crate) written: u64,
    /// Records that it will write in all.
    pub(crate) wanted: u64,
    /// Offsets of the source that are on the target, as a part of those that are on the source.
    pub(crate) copied: f64,
}

/// What came of a demo.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DemoReport {
    /// Records that were committed on the source.
    pub(crate) records: u64,
    /// Records of aborted transactions, which must not be on the target.
    pub(crate) aborted: u64,
    /// Bytes of record batches as they were sent to the source.
    pub(crate) bytes: u64,
    /// Records a second over all, from the first write to the last copy.
    pub(crate) records_per_second: u64,
    /// When the link was killed, in ms since the first write.
    pub(crate) killed_ms: u64,
    /// From the new link's start to its first new record on the target, in ms.
    pub(crate) recovery_ms: u64,
    /// Committed records that are not on the target.
    pub(crate) lost: u64,
    /// Records that are on the target more than once.
    pub(crate) doubled: u64,
    /// Records on the target that stand before an earlier one, or were never committed.
    pub(crate) misplaced: u64,
    /// Batches whose bodies `verify` found equal by their checksums.
    pub(crate) batches_equal: u64,
    /// What `verify` found to be different, in words.
    pub(crate) differences: Vec<String>,
    /// An offset, its translation, and that one's translation back.
    pub(crate) translations: Vec<TranslateAnswer>,
    /// How far both sides were, over time.
    pub(crate) samples: Vec<Sample>,
}

impl DemoReport {
    /// Whether everything is as promised.
    pub(crate) fn is_good(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.misplaced == 0 && self.differences.is_empty()
    }
}

/// Runs the demo on these clusters; the link is left running, for who wants to look around.
pub(crate) async fn run(
    clusters: &Clusters,
    records: u64,
    stage: &watch::Sender<Stage>,
) -> Result<(DemoReport, KillableLink), Failure> {
    let setup = || setup(clusters);
    let source = cluster(Side::Source, clusters)?;
    let shop = Shop::open(source.clone(), records, WRITING).await?;
    let mut timeline = Timeline::new(source, &shop, stage);

    timeline.say("a shop writes orders and payments to the source; the link copies them to the target");
    let begun = Instant::now();
    let link = KillableLink::start(setup()?)?;
    let writing = shop.write();
    let at = begun + WRITING / 2 + KILL_WITHIN.mul_f64(fastrand::f64());
    timeline.watch(&link, |_, _| Instant::now() >= at).await;
    link.kill();
    let killed_ms = ms(begun.elapsed());
    timeline.say("the link is killed in the middle of its work: no clean end, nothing saved");
    timeline.watch_nothing(Instant::now() + DOWN).await;

    timeline.say("a new link reads on the target how far the copy is, and goes on");
    let before = timeline.synced();
    let restarted = Instant::now();
    let link = KillableLink::start(setup()?)?;
    timeline.watch(&link, |synced, _| synced > before).await;
    let recovery_ms = ms(restarted.elapsed());
    let written = timeline.watch_while(&link, writing).await??;
    let caught_up = timeout(PATIENCE, timeline.watch(&link, |synced, end| synced >= end)).await;
    if caught_up.is_err() {
        return Err(Failure::new(FailureKind::Difference, "the copy did not catch up within a minute")
            .advise("run it again with TWINLOG_LOG=info and report what it says"));
    }
    let taken = begun.elapsed();

    timeline.say("both sides are compared, and each record on the target is counted");
    let target = cluster(Side::Target, clusters)?;
    let counted = count::count(&target, &written).await?;
    let verified = twinlog_link::verify::verify(&setup()?, &[], &|_: VerifyProgress| {}).await?;
    let translations = translations(&setup()?, &written).await?;
    let differences = verified.partitions.iter().filter_map(|partition| {
        let difference = partition.difference.as_ref()?;
        let (source, target) = (difference.source_offset, difference.target_offset);
        Some(format!("{}:{} at {source} and {target}: {}", partition.topic, partition.partition, difference.what))
    });
    let Counted { lost, doubled, misplaced } = counted;
    let report = DemoReport {
        records: written.committed(),
        aborted: written.aborted,
        bytes: written.bytes,
        records_per_second: (written.committed() as f64 / taken.as_secs_f64()) as u64,
        killed_ms,
        recovery_ms,
        lost,
        doubled,
        misplaced,
        batches_equal: verified.partitions.iter().map(|partition| partition.batches_by_checksum).sum(),
        differences: differences.collect(),
        translations,
        samples: timeline.samples,
    };
    Ok((report, link))
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn cluster(side: Side, clusters: &Clusters) -> Result<Cluster, Failure> {
    let addresses = match side {
        Side::Source => clusters.source(),
        Side::Target => clusters.target(),
    };
    Cluster::new(side, addresses.to_vec(), DialConfig::default())
        .map_err(|error| Failure::new(FailureKind::Usage, error.to_string()))
}

/// The link as a configuration file would declare it, over connections of its own.
fn setup(clusters: &Clusters) -> Result<LinkSetup, Failure> {
    let pattern =
        |text: &str| text.parse::<Pattern>().map_err(|error| Failure::new(FailureKind::Usage, error.to_string()));
    let topics = TopicRules {
        include: shop::TOPICS.iter().map(|(topic, _)| pattern(topic)).collect::<Result<_, _>>()?,
        exclude: Vec::new(),
        rename: Default::default(),
    };
    let config = LinkConfig {
        members: Members { session_timeout: Duration::from_secs(1), ..Members::default() },
        ..LinkConfig::new("source", "target", topics)
    };
    let (source, target) = (cluster(Side::Source, clusters)?, cluster(Side::Target, clusters)?);
    Ok(LinkSetup { name: LINK.to_owned(), config, source, target, environment: Environment::default() })
}

/// An offset in the middle of the payments, where transactions have made the two sides' offsets differ: to the target
/// and back.
async fn translations(setup: &LinkSetup, written: &Written) -> Result<Vec<TranslateAnswer>, Failure> {
    let Some((topic, partition, offset)) = written.an_offset() else { return Ok(Vec::new()) };
    let question = Question { side: Side::Source, topic, partition, offset };
    let there = twinlog_link::translate::translate(setup, &question).await?;
    let (Translation::Exact { offset } | Translation::NextRange { offset }) = there.answer else {
        return Ok(vec![there]);
    };
    let question = Question { side: Side::Target, topic: there.topic.clone(), partition, offset };
    let back = twinlog_link::translate::translate(setup, &question).await?;
    Ok(vec![there, back])
}

/// Looks at both sides now and then, for the picture and for whoever waits.
struct Timeline<'a> {
    source: Cluster,
    begun: Instant,
    written: watch::Receiver<u64>,
    stage: &'a watch::Sender<Stage>,
    samples: Vec<Sample>,
}

impl<'a> Timeline<'a> {
    fn new(source: Cluster, shop: &Shop, stage: &'a watch::Sender<Stage>) -> Self {
        let written = shop.written();
        stage.send_modify(|stage| stage.wanted = shop.wanted());
        Self { source, begun: Instant::now(), written, stage, samples: Vec::new() }
    }

    fn say(&self, words: &str) {
        self.stage.send_modify(|stage| stage.words = words.to_owned());
    }

    /// Source offsets that are on the target, as far as a link has said.
    fn synced(&self) -> u64 {
        self.samples.last().map_or(0, |sample| sample.target)
    }

    async fn look(&mut self, link: Option<&KillableLink>) {
        let end = shop::ends(&self.source).await;
        let source = end.unwrap_or_else(|| self.samples.last().map_or(0, |sample| sample.source));
        let target = link.and_then(KillableLink::synced).unwrap_or_else(|| self.synced()).max(self.synced());
        self.samples.push(Sample { ms: ms(self.begun.elapsed()), source, target, running: link.is_some() });
        let written = *self.written.borrow();
        self.stage.send_modify(|stage| {
            stage.written = written;
            stage.copied = if source == 0 { 0.0 } else { target as f64 / source as f64 };
        });
    }

    /// Looks until `done` says so of the synced and the last offset.
    async fn watch(&mut self, link: &KillableLink, done: impl Fn(u64, u64) -> bool) {
        loop {
            self.look(Some(link)).await;
            if let Some(last) = self.samples.last()
                && done(last.target, last.source)
            {
                return;
            }
            sleep(LOOK).await;
        }
    }

    async fn watch_nothing(&mut self, until: Instant) {
        while Instant::now() < until {
            self.look(None).await;
            sleep_until(until.min(Instant::now() + LOOK)).await;
        }
    }

    async fn watch_while<T>(&mut self, link: &KillableLink, work: tokio::task::JoinHandle<T>) -> Result<T, Failure> {
        self.watch(link, |_, _| work.is_finished()).await;
        work.await.map_err(|error| Failure::new(FailureKind::Difference, format!("the shop broke off: {error}")))
    }
}
