//! A run of the link: what a process would be.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use twinlog_client::{DialConfig, Side};
use twinlog_core::config::{BUDGET_BYTES_MIN, FetchConfig, Intervals, LinkConfig, Members};
use twinlog_core::report::RunEnd;
use twinlog_core::status::{LinkStatus, PartitionStatus, Standing};
use twinlog_core::topics::TopicRules;
use twinlog_link::environment::Environment;
use twinlog_link::supervisor::{self, LinkError, LinkSetup};
use twinlog_sandbox::Sandbox;

use crate::network::Network;
use crate::profile::Profile;

/// The link's name, and that of its clients.
pub(crate) const LINK: &str = "link";

/// The name of a topic's mirror.
pub(crate) fn mirror(topic: &str) -> String {
    format!("{topic}.twin")
}

/// A link over memory, in a process with this network.
pub(crate) fn setup(
    profile: &Profile,
    network: &Network,
    (source, target): (&Sandbox, &Sandbox),
    environment: Environment,
) -> LinkSetup {
    let topics = TopicRules {
        include: vec!["topic-.*".parse().unwrap()],
        exclude: Vec::new(),
        rename: mirror("{topic}").parse().unwrap(),
    };
    let config = LinkConfig {
        lanes: profile.lanes,
        budget_bytes: BUDGET_BYTES_MIN,
        fetch: FetchConfig {
            max_bytes: profile.fetch_bytes * profile.fetch_parts,
            partition_max_bytes: profile.fetch_bytes,
            max_wait: Duration::from_millis(profile.fetch_wait_ms),
        },
        intervals: Intervals { topics: Duration::from_secs(1), mark: Duration::from_millis(profile.mark_ms) },
        members: Members { session_timeout: Duration::from_secs(2), settle: Duration::from_secs(3) },
        ..LinkConfig::new("a", "b", topics)
    };
    let dial = DialConfig {
        client_id: LINK.to_owned(),
        connect_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_millis(profile.request_timeout_ms),
        ..DialConfig::default()
    };
    LinkSetup {
        name: LINK.to_owned(),
        config,
        source: network.cluster(Side::Source, source, dial.clone()),
        target: network.cluster(Side::Target, target, dial),
        environment,
    }
}

/// A run of the link.
pub(crate) struct Instance {
    pub(crate) number: u64,
    pub(crate) network: Network,
    pub(crate) task: JoinHandle<Result<RunEnd, LinkError>>,
    stop: watch::Sender<bool>,
    status: watch::Receiver<LinkStatus>,
    /// Whether it was told to end.
    pub(crate) is_stopped: bool,
}

impl Instance {
    pub(crate) fn start(number: u64, setup: LinkSetup, network: Network, until_caught_up: bool) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (sender, status) = watch::channel(LinkStatus {
            link: String::new(),
            source: String::new(),
            target: String::new(),
            lanes: 0,
            instance: None,
            partitions: Vec::new(),
        });
        let task = tokio::spawn(supervisor::run(setup, until_caught_up, stopped, sender));
        Self { number, network, task, stop, status, is_stopped: false }
    }

    /// Tells it to end in order.
    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
        self.stop.send_replace(true);
    }

    /// As kill -9: nothing more of it reaches the network, and its tasks are gone.
    pub(crate) fn kill(self) {
        self.network.kill();
        self.task.abort();
    }

    /// Up to where a partition is said to be copied.
    pub(crate) fn synced(&self, topic: &str, partition: i32) -> Option<i64> {
        self.status.borrow().partitions.iter().find(|row| row.topic == topic && row.partition == partition)?.synced
    }

    /// Whether it has a lane.
    pub(crate) fn copies(&self) -> bool {
        self.status.borrow().partitions.iter().any(|row| row.synced.is_some())
    }

    pub(crate) fn rows(&self) -> Vec<Arc<PartitionStatus>> {
        self.status.borrow().partitions.clone()
    }

    /// A partition that has stopped for good, if there is one.
    pub(crate) fn halted(&self) -> Option<String> {
        let status = self.status.borrow();
        let row = status.partitions.iter().find(|row| row.standing == Standing::Halted)?;
        Some(format!("{}:{} stopped: {} ({:?})", row.topic, row.partition, row.state, row.detail))
    }
}
