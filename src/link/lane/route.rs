//! Where batches go: to a broker, by the connection that all share or by one of those for slow partitions.

use std::time::Duration;

use twinlog_core::pace::SLOW_MS;

/// Connections for slow partitions, a broker and lane: as long as there are no more such partitions, each has its own.
const SLOW_CONNECTIONS: u8 = 4;

/// One connection to one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    pub(super) node: i32,
    /// Which of the connections for slow partitions; none is the one that the others share.
    slow: Option<u8>,
}

impl Route {
    /// The connection that partitions share which are not slow.
    pub(super) fn shared(node: i32) -> Self {
        Self { node, slow: None }
    }

    /// Those for slow partitions.
    pub(super) fn slow(node: i32) -> impl Iterator<Item = Self> {
        (0..SLOW_CONNECTIONS).map(move |number| Self { node, slow: Some(number) })
    }

    pub(super) fn is_slow(self) -> bool {
        self.slow.is_some()
    }

    pub(super) fn purpose(self) -> twinlog_client::Purpose {
        match self.slow {
            None => twinlog_client::Purpose::Produce,
            Some(number) => twinlog_client::Purpose::SlowProduce(number),
        }
    }

    /// How long a broker may wait for followers before it answers for those partitions that have them. Where one slow
    /// partition holds others, it is to say soon who it is.
    pub(super) fn timeout(self, request_timeout: Duration) -> Duration {
        match self.slow {
            None => (request_timeout / 2).min(Duration::from_millis(SLOW_MS)),
            Some(_) => request_timeout / 2,
        }
    }
}
