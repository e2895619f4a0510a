//! A link in a runtime of its own, so that it can be killed.

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use twinlog_core::report::{Failure, FailureKind, RunEnd};
use twinlog_core::status::LinkStatus;
use twinlog_link::supervisor::{self, LinkError, LinkSetup};

/// A link that runs until it is stopped, or killed.
#[derive(Debug)]
pub(crate) struct KillableLink {
    runtime: Runtime,
    status: watch::Receiver<LinkStatus>,
    stop: watch::Sender<bool>,
    end: JoinHandle<Result<RunEnd, LinkError>>,
}

impl KillableLink {
    /// Starts it.
    pub(crate) fn start(setup: LinkSetup) -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::new(FailureKind::Refused, format!("no runtime: {error}")))?;
        let (stop, stopped) = watch::channel(false);
        let (sender, status) = watch::channel(setup.status(Vec::new()));
        let end = runtime.spawn(supervisor::run(setup, false, stopped, sender));
        Ok(Self { runtime, status, stop, end })
    }

    /// Source offsets up to which everything is on the target, all partitions together; none before all are known.
    pub(crate) fn synced(&self) -> Option<u64> {
        let status = self.status.borrow();
        let synced = status.partitions.iter().map(|partition| partition.synced);
        let synced: Vec<i64> = synced.collect::<Option<_>>()?;
        (synced.len() == super::shop::partitions()).then(|| synced.iter().sum::<i64>().unsigned_abs())
    }

    /// Drops it where it stands: each of its tasks ends at the await where it is, and nothing is written any more.
    pub(crate) fn kill(self) {
        self.runtime.shutdown_background();
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.stop.send_replace(true);
        let end = self.end.await;
        self.runtime.shutdown_background();
        match end {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failure::new(FailureKind::Difference, error.to_string())),
            Err(error) => Err(Failure::new(FailureKind::Difference, format!("the link broke off: {error}"))),
        }
    }
}
