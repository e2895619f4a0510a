//! Following the state: whoever acts by it hears of a change within a moment.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use twinlog_client::admin::OffsetAt;
use twinlog_core::link_state::LinkState;

use super::{Reading, StateError, StateTopic};

/// The pause after a read that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// The state, as far as it was followed.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What it says.
    pub state: Arc<LinkState>,
    /// The offset that is read next.
    pub next: i64,
}

/// A task that reads the state on; it ends when this is dropped.
#[derive(Debug)]
pub struct Follower {
    topic: StateTopic,
    seen: watch::Receiver<Seen>,
    task: AbortHandle,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StateTopic {
    /// Begins to follow it, in the present runtime.
    pub fn follow(&self) -> Follower {
        let (sender, seen) = watch::channel(Seen::default());
        let topic = self.clone();
        let task = tokio::spawn(async move {
            let mut reading = Reading::default();
            while !sender.is_closed() {
                let before = reading.next;
                if let Err(error) = topic.read_on(&mut reading).await {
                    tracing::debug!(%error, "The link's state cannot be read; trying again.");
                    sleep(PAUSE).await;
                    continue;
                }
                if reading.next != before {
                    sender.send_replace(Seen { state: Arc::new(reading.state.clone()), next: reading.next });
                }
            }
        });
        Follower { topic: self.clone(), seen, task: task.abort_handle() }
    }
}

impl Follower {
    /// What is seen, and when it changes.
    pub fn watch(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }

    /// The state as of now or later: nothing that was acknowledged before this call is missing in it.
    pub async fn fresh(&self) -> Result<Arc<LinkState>, StateError> {
        let end = self.topic.log.offset(OffsetAt::Latest).await?;
        let mut seen = self.seen.clone();
        let state = seen.wait_for(|seen| seen.next >= end).await.map(|seen| Arc::clone(&seen.state));
        match state {
            Ok(state) => Ok(state),
            Err(_) => self.topic.read().await.map(Arc::new),
        }
    }
}
