//! `twinlog bench`: which settings of a link copy fastest between two clusters.
//!
//! ```text
//!  look at both ──► consent ──► fill a topic ──► trial, trial, trial … ──► everything is removed ──► what follows
//!                                                  └ a link of its own copies the topic into a fresh mirror
//! ```
//!
//! The links are those that `twinlog run` runs. Which settings come next and what follows from them is decided in
//! [`search`], what held the copy back in [`limit()`]; what is made in the clusters is noted in [`traces`] first.

mod fill;
mod limit;
mod machine;
mod names;
pub(crate) mod plot;
mod search;
mod settings;
mod traces;
mod trial;

use std::num::NonZero;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use twinlog_client::{Cluster, Side};
use twinlog_core::report::{Failure, FailureKind};
use twinlog_link::names::CLAIMS_TOPIC;
use twinlog_link::reach::out_of_reach;
use twinlog_link::same_cluster::refuse_same_cluster;

pub(crate) use self::fill::Load;
pub(crate) use self::limit::{Cause, Limit};
use self::limit::{Known, limit};
use self::names::Id;
use self::search::{Bounds, Conclusion, Search, median, range};
pub(crate) use self::settings::Settings;
use self::traces::Left;
use self::trial::Measured;
use crate::engine::NamedLink;

/// How long the clusters may take to answer for the first time.
const FIRST_CONTACT: Duration = Duration::from_secs(15);
/// The topic may have this part of all bytes, so that there are as many trials at the most.
const TRIALS: u64 = 32;
/// Of the time this part may go into filling the topic: a trial takes about as long.
const FILL_PART: u32 = 30;
/// Of the time this part is kept for removing everything, and no more than this.
const REMOVE_PART: u32 = 6;
const REMOVE_MAX: Duration = Duration::from_secs(12);
/// Where the fastest run with the link's settings is faster than the slowest by more than this factor, it is said.
const UNSTEADY: f64 = 1.5;
/// A bench whose time has been over for so long does not run any more, by whichever machine's clock.
const CLOCKS: Duration = Duration::from_secs(120);

/// What a bench may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From the first write until everything is removed.
    pub(crate) time: Duration,
    /// Written to both clusters together, before they replicate it.
    pub(crate) bytes: u64,
}

/// What is shown while it goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stage {
    /// What happens now, in words.
    pub(crate) words: String,
    /// Bytes that were written so far.
    pub(crate) bytes: u64,
}

/// What came of a bench.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BenchReport {
    /// Name of the link.
    pub(crate) link: String,
    /// Bytes of batches that each trial copied.
    pub(crate) topic_bytes: u64,
    /// Partitions of the topic.
    pub(crate) partitions: u16,
    /// What follows, in words.
    pub(crate) verdict: String,
    /// The link's own settings first, then in the order in which they were tried.
    pub(crate) settings: Vec<SettingReport>,
    /// What is better than what the link has, as the configuration would have it.
    pub(crate) yaml: Option<String>,
    /// What held the copy back, with the best settings.
    pub(crate) limit: Limit,
    /// Kinds of settings for which time or bytes did not suffice.
    pub(crate) untried: Vec<&'static str>,
    /// What could not be removed from the clusters, with the command that does it.
    pub(crate) left: Vec<String>,
}

/// Settings that were tried.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SettingReport {
    /// How they differ from the link's.
    pub(crate) words: String,
    /// All of them.
    #[serde(flatten)]
    pub(crate) settings: Settings,
    /// Whether the link has them.
    pub(crate) is_present: bool,
    /// Whether they are recommended.
    pub(crate) is_recommended: bool,
    /// How often they were measured.
    pub(crate) runs: usize,
    /// Bytes a second of the slowest run.
    pub(crate) bytes_per_s_min: f64,
    /// Bytes a second of the run in the middle.
    pub(crate) bytes_per_s_median: f64,
    /// Bytes a second of the fastest run.
    pub(crate) bytes_per_s_max: f64,
    /// Seconds of CPU of this process for a GB, of the run in the middle.
    pub(crate) cpu_s_per_gb: f64,
}

/// A bench that has looked at both clusters and written nothing.
pub(crate) struct Bench<'a> {
    link: NamedLink<'a>,
    load: Load,
    limits: Limits,
    id: Id,
    source: Cluster,
    target: Cluster,
    left: Left,
    /// Topics that an earlier bench has left.
    leftovers: Vec<(Side, String)>,
    /// Topics of a bench that may still run.
    others: Vec<String>,
    makes_claims_topic: bool,
}

/// A trial that was measured.
type Run = (Settings, Measured);

impl<'a> Bench<'a> {
    /// Looks at both clusters.
    pub(crate) async fn look(link: NamedLink<'a>, load: Load, limits: Limits) -> Result<Self, Failure> {
        if limits.bytes < 2 * load.bytes_min() {
            let what = format!("{} bytes do not suffice for a batch in each partition and its mirror", limits.bytes);
            return Err(Failure::new(FailureKind::Usage, what).advise("raise --max-bytes, or lower --partitions"));
        }
        let setup = link.setup()?;
        let (source, target, deadline) = (setup.source, setup.target, Instant::now() + FIRST_CONTACT);
        let failed = |error: twinlog_client::Error| out_of_reach(&error);
        let source_metadata = source.retry(deadline, || source.refresh()).await.map_err(failed)?;
        let target_metadata = target.retry(deadline, || target.refresh()).await.map_err(failed)?;
        refuse_same_cluster(&source_metadata, &target_metadata)
            .map_err(|same| Failure::new(FailureKind::Refused, same.to_string()))?;
        let now_s = now_s();
        let (mut leftovers, mut others) = traces::found(&source, now_s).await.map_err(failed)?;
        let of_target = traces::found(&target, now_s).await.map_err(failed)?;
        leftovers.extend(of_target.0);
        others.extend(of_target.1);
        let over_by = u64::from(now_s) + (limits.time + CLOCKS).as_secs();
        let id = Id::new(u32::try_from(over_by).unwrap_or(u32::MAX), fastrand::u32(..));
        let left = Left::new(link.source, link.target);
        let makes_claims_topic = !target_metadata.topics.contains_key(CLAIMS_TOPIC);
        Ok(Self { link, load, limits, id, source, target, left, leftovers, others, makes_claims_topic })
    }

    /// What is noted while it runs: for who must end at once.
    pub(crate) fn left(&self) -> Left {
        self.left.clone()
    }

    /// What it would write and remove, a line each.
    pub(crate) fn plan(&self) -> Vec<String> {
        let (topic, link) = (self.id.source_topic(), self.id.link(1));
        let (topic_mb, all_mb) = (self.topic_bytes() as f64 / 1e6, self.limits.bytes as f64 / 1e6);
        let partitions = self.load.partitions;
        let minutes = self.limits.time.as_secs_f64();
        let mut plan = vec![
            format!("source: topic {topic} with {partitions} partitions and up to {topic_mb:.0} MB"),
            format!("target: for each trial a mirror {topic}.1, .2, …, and the topics of its link {link}, …"),
            format!("both together up to {all_mb:.0} MB, before replication, for up to {minutes:.0} s"),
            "everything of that is removed at the end; transactional ids of the trials' links expire on the target"
                .to_owned(),
        ];
        if self.makes_claims_topic {
            plan.push(format!("target: topic {CLAIMS_TOPIC}, which all links use, is made and stays"));
        }
        let topics =
            self.leftovers.iter().map(|(side, topic)| format!("{side}: topic {topic}, left by an earlier bench"));
        plan.extend(topics.map(|words| words + ", is removed"));
        plan.extend(self.others.iter().map(|topic| format!("{topic} is left alone: its bench may still run")));
        plan
    }

    fn topic_bytes(&self) -> u64 {
        (self.limits.bytes / TRIALS).max(self.load.bytes_min())
    }

    /// Does it. Everything is removed in the end, also after `stop`.
    pub(crate) async fn run(
        self,
        stage: &watch::Sender<Stage>,
        stop: watch::Receiver<bool>,
    ) -> Result<BenchReport, Failure> {
        let measured = self.measure(stage, stop).await;
        say(stage, "everything is removed");
        self.left.remove(&self.source, &self.target, &[Side::Target, Side::Source]).await;
        let left = self.left.words();
        match measured {
            Ok(report) => Ok(BenchReport { left, ..report }),
            Err(failure) => Err(left.into_iter().fold(failure, Failure::advise)),
        }
    }

    async fn measure(
        &self,
        stage: &watch::Sender<Stage>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<BenchReport, Failure> {
        let begun = Instant::now();
        let deadline = begun + self.limits.time - (self.limits.time / REMOVE_PART).min(REMOVE_MAX);
        if !self.leftovers.is_empty() {
            say(stage, "what an earlier bench left is removed");
            self.left.note_found(&self.leftovers);
            self.left.remove(&self.source, &self.target, &[Side::Target, Side::Source]).await;
        }
        say(stage, "the source topic is filled");
        self.left.note_source(&self.id);
        let until = Instant::now() + self.limits.time / FILL_PART;
        let topic = self.id.source_topic();
        let filling = fill::fill(&self.source, &topic, self.load, self.topic_bytes(), until);
        let bytes = tokio::select! {
            filled = timeout_at(deadline, filling) => filled.unwrap_or_else(|_late| {
                let what = format!("source topic {topic} could not be filled within --max-time");
                Err(Failure::new(FailureKind::Difference, what).advise("raise --max-time"))
            })?,
            _ = stop.wait_for(|stop| *stop) => return Err(ended_early()),
        };
        stage.send_modify(|stage| stage.bytes = bytes);
        self.trials(stage, stop, bytes, deadline).await
    }

    /// As many trials as the search wants and the limits allow. The first one is a rehearsal: the brokers have not
    /// seen such a link yet.
    async fn trials(
        &self,
        stage: &watch::Sender<Stage>,
        stop: watch::Receiver<bool>,
        bytes: u64,
        deadline: Instant,
    ) -> Result<BenchReport, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let cores = u16::try_from(cores).unwrap_or(u16::MAX);
        let bounds = Bounds { partitions: self.load.partitions, cores, budget_bytes: self.link.link.budget_bytes };
        let start = Settings::of(self.link.link);
        let (mut search, mut runs, mut longest) = (Search::new(start, bounds), Vec::<Run>::new(), Duration::ZERO);
        for trial in 0.. {
            let settings = if trial == 0 { Some(start) } else { search.next() };
            let Some(settings) = settings else { break };
            let spent = stage.borrow().bytes;
            if spent + bytes > self.limits.bytes || Instant::now() + longest > deadline {
                break;
            }
            let words = settings.words(start);
            say(stage, &if trial == 0 { "a rehearsal".to_owned() } else { format!("trial {trial}: {words}") });
            let begun = Instant::now();
            let setup = trial::setup(self.link, &self.id, trial, settings)?;
            self.left.note_trial(&self.id, trial);
            let measured = trial::run(setup, bytes, stop.clone(), deadline).await?;
            self.left.remove(&self.source, &self.target, &[Side::Target]).await;
            stage.send_modify(|stage| stage.bytes += bytes);
            if *stop.borrow() {
                return Err(ended_early());
            }
            let Some(measured) = measured else { break };
            longest = longest.max(begun.elapsed());
            if trial > 0 {
                search.ran(settings, measured.bytes_per_s);
                runs.push((settings, measured));
            }
        }
        Ok(self.report(start, &search, &runs, bytes, cores))
    }

    fn report(&self, start: Settings, search: &Search, runs: &[Run], bytes: u64, cores: u16) -> BenchReport {
        let conclusion = search.conclusion();
        let best = if let Conclusion::Better(best) = conclusion { Some(best) } else { None };
        let mut tried: Vec<Settings> = Vec::new();
        for (settings, _) in runs {
            if !tried.contains(settings) {
                tried.push(*settings);
            }
        }
        let settings = tried.iter().map(|tried| setting(*tried, start, best, runs)).collect();
        let untried: Vec<_> = search.untried().into_iter().map(search::Axis::name).collect();
        let shown = best.unwrap_or(start);
        let mut of_shown: Vec<&Measured> = runs.iter().filter(|(s, _)| *s == shown).map(|(_, run)| run).collect();
        of_shown.sort_by(|a, b| a.bytes_per_s.total_cmp(&b.bytes_per_s));
        let known = of_shown.get(of_shown.len() / 2).map(|run| Known {
            waits: run.waits,
            used: run.used,
            threads: cores.min(shown.lanes).max(1),
            same_with_all: search.made_no_difference(),
        });
        let nothing = || Limit { cause: Cause::Unknown, grounds: "nothing was measured".to_owned() };
        BenchReport {
            link: self.link.name.to_string(),
            topic_bytes: bytes,
            partitions: self.load.partitions,
            verdict: verdict(conclusion, start, &untried, search.spread()),
            settings,
            yaml: best.map(|best| best.yaml(start, self.link.name.as_str())),
            limit: known.map_or_else(nothing, |known| limit(&known)),
            untried,
            left: Vec::new(),
        }
    }
}

fn say(stage: &watch::Sender<Stage>, words: &str) {
    stage.send_modify(|stage| stage.words = words.to_owned());
}

fn ended_early() -> Failure {
    Failure::new(FailureKind::Difference, "the bench was ended before its end, so nothing is recommended")
}

fn now_s() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

fn setting(settings: Settings, start: Settings, best: Option<Settings>, runs: &[Run]) -> SettingReport {
    let of_these = || runs.iter().filter(|(other, _)| *other == settings).map(|(_, run)| run);
    let rates: Vec<f64> = of_these().map(|run| run.bytes_per_s).collect();
    let cpu: Vec<f64> = of_these().map(|run| run.cpu_s_per_gb).collect();
    let (low, high) = range(&rates).unwrap_or_default();
    SettingReport {
        words: settings.words(start),
        settings,
        is_present: settings == start,
        is_recommended: best == Some(settings),
        runs: rates.len(),
        bytes_per_s_min: low,
        bytes_per_s_median: median(&rates),
        bytes_per_s_max: high,
        cpu_s_per_gb: median(&cpu),
    }
}

fn verdict(conclusion: Conclusion, start: Settings, untried: &[&str], spread: f64) -> String {
    let fine = if start == Settings::default() { "the defaults are fine" } else { "your settings are fine" };
    let mut rest = match untried {
        [] => String::new(),
        untried => format!("; the limits did not suffice for {}", untried.join(", ")),
    };
    if spread > UNSTEADY {
        rest.push_str(&format!(
            "; runs with your settings differed by a factor of {spread:.1}, so only a large gain would have been seen"
        ));
    }
    match conclusion {
        Conclusion::Better(best) => format!("better by more than the spread: {}{rest}", best.words(start)),
        Conclusion::Fine => format!("{fine}: nothing that was tried is better by more than the spread{rest}"),
        Conclusion::TooFew => "too few runs to say anything: raise --max-time or --max-bytes".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_says_whose_settings_are_fine_and_what_was_not_tried() {
        let start = Settings::default();
        let wanted = "the defaults are fine: nothing that was tried is better by more than the spread";
        assert_eq!(verdict(Conclusion::Fine, start, &[], 1.4), wanted);
        let unsteady = verdict(Conclusion::Fine, start, &[], 1.6);
        assert!(unsteady.contains("; runs with your settings differed by a factor of 1.6, "), "{unsteady}");
        let own = Settings { lanes: 8, ..start };
        let words = verdict(Conclusion::Fine, own, &["lanes", "fetch size"], 1.0);
        assert!(words.starts_with("your settings are fine: "), "{words}");
        assert!(words.ends_with("; the limits did not suffice for lanes, fetch size"), "{words}");
        let words = verdict(Conclusion::Better(own), start, &[], 1.0);
        assert_eq!(words, "better by more than the spread: lanes 8");
    }
}
