//! The links of `twinlog run` at work: each a task of its own, told apart by name.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use twinlog_core::config::{LinkConfig, LinkName};
use twinlog_core::report::RunEnd;
use twinlog_core::status::LinkStatus;
use twinlog_link::supervisor::{self, LinkError, LinkSetup};

/// The links at work.
pub(super) struct Links {
    until_caught_up: bool,
    is_stopping: bool,
    links: BTreeMap<LinkName, Link>,
    tasks: JoinSet<(LinkName, Result<RunEnd, LinkError>)>,
    snapshots: mpsc::UnboundedSender<(LinkName, LinkStatus)>,
}

/// A link at work.
struct Link {
    stop: watch::Sender<bool>,
    changes: mpsc::UnboundedSender<LinkConfig>,
    /// How it was begun.
    setup: LinkSetup,
    status: LinkStatus,
    after: After,
}

/// What comes after a link's end.
enum After {
    /// What was seen of it last stays to be seen.
    Stays,
    /// It is forgotten.
    Goes,
    /// It begins again like this.
    Again(Box<LinkSetup>),
}

impl Links {
    /// None yet, and where their snapshots come.
    pub(super) fn new(until_caught_up: bool) -> (Self, mpsc::UnboundedReceiver<(LinkName, LinkStatus)>) {
        let (snapshots, receiver) = mpsc::unbounded_channel();
        let (links, tasks) = Default::default();
        (Self { until_caught_up, is_stopping: false, links, tasks, snapshots }, receiver)
    }

    pub(super) fn begin(&mut self, name: &LinkName, setup: LinkSetup) {
        let (stop, stopped) = watch::channel(self.is_stopping);
        let (changes, changed) = mpsc::unbounded_channel();
        let status = setup.status(Vec::new());
        let (sender, mut receiver) = watch::channel(status.clone());
        let (snapshots, of) = (self.snapshots.clone(), name.clone());
        tokio::spawn(async move {
            while receiver.changed().await.is_ok() {
                let snapshot = receiver.borrow_and_update().clone();
                if snapshots.send((of.clone(), snapshot)).is_err() {
                    return;
                }
            }
        });
        let (of, until_caught_up, begun) = (name.clone(), self.until_caught_up, setup.clone());
        self.tasks.spawn(async move {
            (of, supervisor::run_changing(begun, until_caught_up, stopped, changed, sender).await)
        });
        self.links.insert(name.clone(), Link { stop, changes, setup, status, after: After::Stays });
    }

    /// Begins a link by what was tried, after the one of that name that runs has ended.
    pub(super) fn begin_again(&mut self, name: &LinkName, setup: LinkSetup) {
        match self.links.get_mut(name) {
            None => self.begin(name, setup),
            Some(link) => {
                link.after = After::Again(Box::new(setup));
                link.stop.send_replace(true);
            }
        }
    }

    /// Gives a link what it takes over while it runs.
    pub(super) fn take_over(&mut self, name: &LinkName, config: &LinkConfig) {
        if let Some(link) = self.links.get_mut(name) {
            link.setup.config = config.clone();
            // One that is about to begin again begins by it, too.
            if let After::Again(setup) = &mut link.after {
                setup.config = config.clone();
            }
            // One that has ended meanwhile needs it no more.
            drop(link.changes.send(config.clone()));
        }
    }

    /// Ends a link for good.
    pub(super) fn end(&mut self, name: &LinkName) {
        if let Some(link) = self.links.get_mut(name) {
            link.after = After::Goes;
            link.stop.send_replace(true);
        }
    }

    /// How a link was begun.
    pub(super) fn begun(&self, name: &LinkName) -> Option<&LinkSetup> {
        self.links.get(name).map(|link| &link.setup)
    }

    pub(super) fn seen(&mut self, name: &LinkName, snapshot: LinkStatus) {
        if let Some(link) = self.links.get_mut(name) {
            link.status = snapshot;
        }
    }

    /// What was seen last of each.
    pub(super) fn status(&self) -> Vec<LinkStatus> {
        self.links.values().map(|link| link.status.clone()).collect()
    }

    /// Ends all in order.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        for link in self.links.values_mut() {
            link.stop.send_replace(true);
            link.after = After::Stays;
        }
    }

    pub(super) fn are_stopping(&self) -> bool {
        self.is_stopping
    }

    pub(super) fn are_over(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next link that has ended, and how.
    pub(super) async fn ended(&mut self) -> Option<Result<(LinkName, Result<RunEnd, LinkError>), JoinError>> {
        self.tasks.join_next().await
    }

    /// Does what was to come after a link's end.
    pub(super) fn go_on_without(&mut self, name: &LinkName) {
        let Some(link) = self.links.get_mut(name) else { return };
        match std::mem::replace(&mut link.after, After::Stays) {
            After::Stays => {}
            After::Goes => drop(self.links.remove(name)),
            After::Again(setup) => self.begin(name, *setup),
        }
    }
}
