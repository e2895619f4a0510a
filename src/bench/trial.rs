//! One trial: a link with some settings copies the topic into a mirror of its own, and is measured.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use twinlog_core::config::{ExistingTopics, LinkConfig, LinkName};
use twinlog_core::report::{Failure, FailureKind, RunEnd};
use twinlog_core::topics::TopicRules;
use twinlog_link::environment::Environment;
use twinlog_link::meter::{Meter, Waits};
use twinlog_link::supervisor::{self, LinkSetup};

use super::machine::{Used, Watch};
use super::names::Id;
use super::settings::Settings;
use crate::engine::{self, NamedLink};

/// How long a link may take to end in order that is stopped in the middle.
const STOP: Duration = Duration::from_secs(4);

/// What a trial came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Bytes of batches a second, from the first request to the last batch that was stored.
    pub(crate) bytes_per_s: f64,
    /// CPU of this process for each GB.
    pub(crate) cpu_s_per_gb: f64,
    /// What the lanes' time went into.
    pub(crate) waits: Waits,
    /// What the processor did.
    pub(crate) used: Used,
}

/// The link of a trial, as the configuration would declare it.
pub(crate) fn setup(link: NamedLink<'_>, id: &Id, trial: u32, settings: Settings) -> Result<LinkSetup, Failure> {
    let usage = |error: String| Failure::new(FailureKind::Usage, error);
    let name: LinkName = id.link(trial).parse().map_err(usage)?;
    let topics = TopicRules {
        include: vec![id.source_topic().parse().map_err(usage)?],
        exclude: Vec::new(),
        rename: Id::rename(trial).parse().map_err(usage)?,
    };
    let config = LinkConfig { topics, existing: ExistingTopics::Refuse, ..settings.apply(link.link) };
    NamedLink { name: &name, link: &config, ..link }.setup()
}

/// Runs it until all is copied; none if `stop` or the `deadline` came first.
pub(crate) async fn run(
    setup: LinkSetup,
    bytes: u64,
    mut stop: watch::Receiver<bool>,
    deadline: Instant,
) -> Result<Option<Measured>, Failure> {
    let (meter, busy) = (Meter::default(), Watch::begin());
    let setup = LinkSetup { environment: Environment { meter: Some(meter.clone()), ..setup.environment }, ..setup };
    let (stop_link, stopped) = watch::channel(false);
    let (status, _shown) = watch::channel(setup.status(Vec::new()));
    let mut link = Box::pin(supervisor::run(setup, true, stopped, status));
    let asked_to_stop = async { drop(stop.wait_for(|stop| *stop).await) };
    let end = tokio::select! {
        end = &mut link => Some(end),
        () = asked_to_stop => None,
        () = sleep_until(deadline) => None,
    };
    let Some(end) = end else {
        stop_link.send_replace(true);
        drop(timeout(STOP, link).await);
        return Ok(None);
    };
    let end = end.map_err(|error| engine::explain(&error))?;
    complete(&end)?;
    measured(&meter, &busy, bytes).map(Some)
}

fn complete(end: &RunEnd) -> Result<(), Failure> {
    let broken =
        |what: String| Failure::new(FailureKind::Difference, what).advise("look at both clusters with `twinlog check`");
    if end.wanted == 0 {
        return Err(broken("source: it does not show the bench's own topic".to_owned()));
    }
    let Some(missing) = end.missing.first() else { return Ok(()) };
    let partition = missing.partition.map(|partition| format!(":{partition}")).unwrap_or_default();
    let detail = missing.detail.as_deref().unwrap_or("no reason is known");
    let what = format!("source {}{partition} was not copied ({}): {detail}", missing.topic, missing.state);
    Err(broken(what))
}

fn measured(meter: &Meter, busy: &Watch, bytes: u64) -> Result<Measured, Failure> {
    let lanes = meter.lanes();
    let stored: u64 = lanes.iter().map(|lane| lane.stored_bytes).sum();
    let begun = lanes.iter().map(|lane| lane.begun).min();
    let ended = lanes.iter().map(|lane| lane.ended).max();
    let (Some(begun), Some(ended)) = (begun, ended) else {
        return Err(Failure::new(FailureKind::Difference, "a trial's lanes broke off and were not measured"));
    };
    let mut waits = Waits::default();
    lanes.iter().for_each(|lane| waits += lane.waits);
    let used = busy.between(begun, ended);
    let took = (ended - begun).as_secs_f64().max(1e-6);
    // A lane that was begun anew has told nothing of what it copied before.
    let copied = stored.min(bytes) as f64;
    let cpu_s_per_gb = used.process.as_secs_f64() / (copied / 1e9).max(1e-9);
    Ok(Measured { bytes_per_s: copied / took, cpu_s_per_gb, waits, used })
}
