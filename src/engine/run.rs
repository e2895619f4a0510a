//! `twinlog run`: all links at once in one process.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use twinlog_core::config::{Config, LinkName};
use twinlog_core::reload::{Fate, Refused, compare};
use twinlog_core::report::{Failure, FailureKind, Failures, RunEnd};
use twinlog_core::status::LinkStatus;
use twinlog_link::reach::out_of_reach;
use twinlog_link::supervisor::{LinkError, LinkSetup};

use super::attempt::Attempt;
use super::links::Links;

/// What is to run, and who may change it.
#[derive(Debug)]
pub(crate) struct Orders {
    /// The configuration to begin with.
    pub(crate) config: Config,
    /// Its links that run.
    pub(crate) setups: Vec<(LinkName, LinkSetup)>,
    /// Links that were asked for by name; none stands for all that the configuration has.
    pub(crate) named: Vec<LinkName>,
    /// End when everything that is on the source now is on the target.
    pub(crate) until_caught_up: bool,
    /// Turns true when all is to end in order.
    pub(crate) stop: watch::Receiver<bool>,
    /// Other configurations to go on by.
    pub(crate) changes: mpsc::Receiver<NewConfig>,
}

/// Another configuration to go on by.
#[derive(Debug)]
pub(crate) struct NewConfig {
    pub(crate) config: Config,
    /// Hears what becomes of links, or what is refused: then nothing has changed.
    pub(crate) answer: oneshot::Sender<Answer>,
}

impl NewConfig {
    fn answer(self, answer: Answer) {
        // Who asked may be gone.
        drop(self.answer.send(answer));
    }
}

/// What became of a change.
pub(crate) type Answer = Result<BTreeMap<LinkName, Fate>, Vec<Refused>>;

/// Runs links until `stop` turns true, until all are caught up if that is asked for, or until one fails. Sends a
/// snapshot of every link, a few times a second, when something has changed. What is in flight when `stop` turns true
/// is waited for.
pub(crate) async fn run(orders: Orders, status: watch::Sender<Vec<LinkStatus>>) -> Result<RunEnd, Failures> {
    let Orders { mut config, setups, named, until_caught_up, mut stop, mut changes } = orders;
    let (mut links, mut snapshots) = Links::new(until_caught_up);
    for (name, setup) in setups {
        links.begin(&name, setup);
    }
    status.send_replace(links.status());
    // A change is tried before it is made; one at a time.
    let mut tried = JoinSet::new();
    let mut end = RunEnd::default();
    let mut failed = Vec::new();
    while !links.are_over() {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop), if !links.are_stopping() => links.stop(),
            Some((name, snapshot)) = snapshots.recv() => {
                links.seen(&name, snapshot);
                status.send_replace(links.status());
            }
            Some(change) = changes.recv(), if tried.is_empty() => {
                match compare(&config, &change.config, &named) {
                    Ok(fates) => {
                        let attempt = Attempt::new(&links, &change.config, &fates);
                        tried.spawn(async move { (change, fates, attempt.made().await) });
                    }
                    refused => change.answer(refused),
                }
            }
            Some(joined) = tried.join_next() => {
                let (change, fates, made) = unpanicked(joined);
                match made {
                    Ok(mut made) if !links.are_stopping() => {
                        for (name, fate) in &fates {
                            match (fate, made.remove(name), change.config.links.get(name)) {
                                (Fate::TakesOver, _, Some(config)) => links.take_over(name, config),
                                (Fate::Ends, ..) => links.end(name),
                                (_, Some(setup), _) => links.begin_again(name, setup),
                                _ => {}
                            }
                        }
                        config = change.config.clone();
                        status.send_replace(links.status());
                        change.answer(Ok(fates));
                    }
                    Ok(_) => {}
                    Err(refused) => change.answer(Err(refused)),
                }
            }
            Some(joined) = links.ended() => match unpanicked(joined) {
                (name, Ok(mut part)) => {
                    end.wanted += part.wanted;
                    end.missing.append(&mut part.missing);
                    links.go_on_without(&name);
                    status.send_replace(links.status());
                }
                (_, Err(error)) => {
                    // One link that fails stops the others, in order. They may fail for the same reason: each is told
                    // once.
                    for failure in explain_all(&error) {
                        if !failed.contains(&failure) {
                            failed.push(failure);
                        }
                    }
                    links.stop();
                }
            },
        }
    }
    if failed.is_empty() { Ok(end) } else { Err(Failures(failed)) }
}

/// What a task gave. A panic in it goes on here.
fn unpanicked<T>(joined: Result<T, JoinError>) -> T {
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// All that a link's end tells.
fn explain_all(error: &LinkError) -> Vec<Failure> {
    match error {
        LinkError::Neither(source, target) => vec![out_of_reach(source), out_of_reach(target)],
        other => vec![explain(other)],
    }
}

/// A link's end as a verb's end.
pub(crate) fn explain(error: &LinkError) -> Failure {
    let what = error.to_string();
    match error {
        LinkError::Client(error) => out_of_reach(error),
        LinkError::Neither(..) => Failure::new(FailureKind::OutOfReach, what)
            .advise("check the addresses in the configuration and whether the brokers are up"),
        LinkError::BadMap { .. } => Failure::new(FailureKind::Refused, what)
            .advise("use the build that wrote the map, or another link name; delete nothing before you know why"),
        _ => Failure::new(FailureKind::Refused, what),
    }
}
