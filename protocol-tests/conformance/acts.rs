//! What is done to brokers besides sending them requests, and the seam for a peer of another kind.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use twinlog_client::Address;
use twinlog_testcontainers::{Broker, Cluster, ClusterSpec, KafkaVersion};

use crate::place::{Need, Place};

/// What a case may do to a broker, by its number. Each blocks until it is done.
pub(crate) trait Acts: Send + Sync {
    /// Ends the broker in order, so that it writes down what it does at a clean end.
    fn stop(&self, node: i32) -> Result<(), String>;
    /// Ends the broker as a power cut would.
    fn kill(&self, node: i32) -> Result<(), String>;
    /// Starts the broker on the same address and data, and waits until it takes requests.
    fn start(&self, node: i32) -> Result<(), String>;
    /// Holds the broker: its connections stay, and nothing answers.
    fn pause(&self, node: i32) -> Result<(), String>;
    /// Lets it go on.
    fn resume(&self, node: i32) -> Result<(), String>;
}

/// A kind of peers: real Kafka of one release, or the sandbox. This is all that a new kind has to bring.
pub(crate) trait Kind: Sync {
    /// What the report calls it.
    fn name(&self) -> String;
    /// The release of Apache Kafka whose answers are expected.
    fn version(&self) -> KafkaVersion;
    /// Why cases that need this cannot run; none: they can.
    fn cannot(&self, need: Need) -> Option<&'static str>;
    /// Starts a peer with the place's settings and number of brokers.
    fn start(&self, place: Place) -> Result<Running, String>;
}

/// A peer that runs until it is dropped.
pub(crate) struct Running {
    /// The brokers' addresses by their numbers.
    pub(crate) nodes: BTreeMap<i32, Address>,
    /// What can be done to them.
    pub(crate) acts: Arc<dyn Acts>,
}

/// Real Apache Kafka of this release.
pub(crate) struct Kafka(pub(crate) KafkaVersion);

impl Kind for Kafka {
    fn name(&self) -> String {
        format!("Apache Kafka {}", self.0)
    }

    fn version(&self) -> KafkaVersion {
        self.0
    }

    fn cannot(&self, need: Need) -> Option<&'static str> {
        (need == Need::Long && !twinlog_protocol_tests::is_long()).then_some("long: set TWINLOG_TEST=long")
    }

    fn start(&self, place: Place) -> Result<Running, String> {
        let mut spec = ClusterSpec::new().version(self.0).brokers(place.brokers());
        for (key, value) in place.settings() {
            spec = spec.config(*key, *value);
        }
        let cluster = Arc::new(spec.start().map_err(text)?);
        let mut nodes = BTreeMap::new();
        for broker in cluster.brokers() {
            nodes.insert(broker.id(), broker.address().into());
        }
        Ok(Running { nodes, acts: cluster })
    }
}

impl Acts for Cluster {
    fn stop(&self, node: i32) -> Result<(), String> {
        broker(self, node)?.stop().map_err(text)
    }

    fn kill(&self, node: i32) -> Result<(), String> {
        broker(self, node)?.kill().map_err(text)
    }

    fn start(&self, node: i32) -> Result<(), String> {
        broker(self, node)?.start().map_err(text)
    }

    fn pause(&self, node: i32) -> Result<(), String> {
        broker(self, node)?.pause().map_err(text)
    }

    fn resume(&self, node: i32) -> Result<(), String> {
        broker(self, node)?.resume().map_err(text)
    }
}

fn broker(cluster: &Cluster, node: i32) -> Result<&Broker, String> {
    cluster.node(node).ok_or_else(|| format!("there is no broker {node}"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// An act that all cases of a place wait for together: a restart of real Kafka takes seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Ended in order and started again.
    Restart,
    /// Killed and started again.
    Kill,
}

/// Where the cases of a place wait for their common act: it is done when each of them waits for it or has ended.
#[derive(Debug)]
pub(crate) struct Round {
    members: Cell<usize>,
    waiting: Cell<usize>,
    act: Cell<Option<Act>>,
    done: RefCell<Result<(), String>>,
    generation: watch::Sender<u64>,
    changed: watch::Sender<()>,
}

impl Round {
    /// For this many cases.
    pub(crate) fn new(members: usize) -> Self {
        Self {
            members: Cell::new(members),
            waiting: Cell::new(0),
            act: Cell::new(None),
            done: RefCell::new(Ok(())),
            generation: watch::Sender::new(0),
            changed: watch::Sender::new(()),
        }
    }

    /// A case waits for the act.
    pub(crate) async fn act(&self, act: Act) -> Result<(), String> {
        let mut generation = self.generation.subscribe();
        if self.act.replace(Some(act)).is_some_and(|other| other != act) {
            return Err("cases of one place ask for different acts".to_owned());
        }
        self.waiting.set(self.waiting.get() + 1);
        self.changed.send_replace(());
        generation.mark_unchanged();
        generation.changed().await.map_err(text)?;
        self.done.borrow().clone()
    }

    /// A case has ended.
    pub(crate) fn leave(&self) {
        self.members.set(self.members.get() - 1);
        self.changed.send_replace(());
    }

    /// Does what the cases wait for, until the last of them has ended.
    pub(crate) async fn lead(&self, acts: &Arc<dyn Acts>, node: i32) {
        let mut changed = self.changed.subscribe();
        while self.members.get() > 0 {
            if self.waiting.get() < self.members.get() {
                // The sender lives as long as this does.
                drop(changed.changed().await);
                continue;
            }
            let acts = Arc::clone(acts);
            let act = self.act.take();
            let work = tokio::task::spawn_blocking(move || {
                match act {
                    Some(Act::Kill) => acts.kill(node)?,
                    _ => acts.stop(node)?,
                }
                acts.start(node)
            });
            *self.done.borrow_mut() = work.await.map_err(text).and_then(|done| done);
            self.waiting.set(0);
            self.generation.send_modify(|generation| *generation += 1);
        }
    }
}
