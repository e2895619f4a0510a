//! `twinlog run`: all links at once in one process.

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use twinlog_core::report::{Failure, FailureKind, RunEnd};
use twinlog_core::status::LinkStatus;
use twinlog_link::reach::out_of_reach;
use twinlog_link::supervisor::{self, LinkError};

use super::NamedLink;

/// Runs links until `stop` turns true, until all are caught up if that is asked for, or until one fails. Sends a
/// snapshot of every link, a few times a second, when something has changed. What is in flight when `stop` turns true
/// is waited for.
pub(crate) async fn run(
    links: &[NamedLink<'_>],
    until_caught_up: bool,
    mut stop: watch::Receiver<bool>,
    status: watch::Sender<Vec<LinkStatus>>,
) -> Result<RunEnd, Failure> {
    // One link that fails stops the others, in order.
    let (stop_all, stopped) = watch::channel(*stop.borrow());
    let (snapshots, mut changed) = mpsc::unbounded_channel();
    let mut running = JoinSet::new();
    for (index, link) in links.iter().enumerate() {
        let setup = link.setup()?;
        let (sender, mut receiver) = watch::channel(setup.status(Vec::new()));
        let snapshots = snapshots.clone();
        tokio::spawn(async move {
            while receiver.changed().await.is_ok() {
                let snapshot = receiver.borrow_and_update().clone();
                if snapshots.send((index, snapshot)).is_err() {
                    return;
                }
            }
        });
        running.spawn(supervisor::run(setup, until_caught_up, stopped.clone(), sender));
    }
    let mut latest: Vec<Option<LinkStatus>> = vec![None; links.len()];
    let mut end = RunEnd::default();
    let mut failed = None;
    while !running.is_empty() {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop), if !*stop_all.borrow() => drop(stop_all.send_replace(true)),
            Some((index, snapshot)) = changed.recv() => {
                if let Some(slot) = latest.get_mut(index) {
                    *slot = Some(snapshot);
                }
                status.send_replace(latest.iter().flatten().cloned().collect());
            }
            Some(joined) = running.join_next() => match joined {
                Ok(Ok(mut part)) => {
                    end.wanted += part.wanted;
                    end.missing.append(&mut part.missing);
                }
                Ok(Err(error)) => {
                    failed.get_or_insert_with(|| explain(&error));
                    stop_all.send_replace(true);
                }
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
        }
    }
    failed.map_or(Ok(end), Err)
}

/// A link's end as a verb's end.
pub(crate) fn explain(error: &LinkError) -> Failure {
    let what = error.to_string();
    match error {
        LinkError::Client(error) => out_of_reach(error),
        LinkError::SameCluster(_) => Failure::new(FailureKind::Refused, what),
        LinkError::BadMap { .. } => Failure::new(FailureKind::Refused, what)
            .advise("use the build that wrote the map, or another link name; delete nothing before you know why"),
        LinkError::Thread(_) => Failure::new(FailureKind::Refused, what),
        _ => Failure::new(FailureKind::Refused, what),
    }
}
