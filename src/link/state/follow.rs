//! Following the state: whoever acts by it hears of a change within a moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use twinlog_client::Retry;
use twinlog_client::admin::OffsetAt;
use twinlog_core::link_state::LinkState;

use super::{StateError, StateTopic};
use crate::own_topic::Reading;

/// The pause after a read that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// So long it may take to see what is there already, before the log's end is asked for again.
const CATCH_UP: Duration = Duration::from_secs(5);

/// The state, as far as it was followed.
#[derive(Clone, Debug, Default)]
struct Seen {
    state: Arc<LinkState>,
    /// The offset that is read next.
    next: i64,
    /// Counts what was seen.
    number: u64,
}

/// What the task and its listeners share. Not tokio's `watch`, which wakes its receivers in random order: a seed of the
/// simulation is to be one world.
#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Notify,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        // It is only ever replaced as a whole.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen, as soon as it is what is waited for.
    async fn when(&self, is_it: impl Fn(&Seen) -> bool) -> Seen {
        loop {
            // What changes between the look and the wait is not missed.
            let changed = self.changed.notified();
            let seen = self.seen().clone();
            if is_it(&seen) {
                return seen;
            }
            changed.await;
        }
    }
}

/// A task that reads the state on; it ends when this is dropped.
#[derive(Debug)]
pub struct Follower {
    topic: StateTopic,
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Somebody who listens for changes.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    heard: u64,
}

impl StateTopic {
    /// Begins to follow it, in the present runtime.
    pub fn follow(&self) -> Follower {
        let shared = Arc::new(Shared::default());
        let (topic, writer) = (self.clone(), Arc::clone(&shared));
        let task = tokio::spawn(async move {
            let (mut reading, mut told) = (Reading::default(), None);
            loop {
                let before = reading.next;
                let is_whole = match topic.read_on(&mut reading).await {
                    Ok(is_whole) => is_whole,
                    Err(error) => {
                        warn_once(&topic.log.at.topic, &mut told, &error);
                        sleep(PAUSE).await;
                        // A new leader is not found otherwise.
                        drop(topic.log.cluster.refresh_if_older(PAUSE).await);
                        continue;
                    }
                };
                told = None;
                // What is read of a log from its begin on is no state that ever was, before all of it is read.
                if is_whole && (reading.next != before || reading.next != writer.seen().next) {
                    let mut seen = writer.seen();
                    let number = seen.number + 1;
                    *seen = Seen { state: Arc::new(reading.state.clone()), next: reading.next, number };
                    drop(seen);
                    writer.changed.notify_waiters();
                }
            }
        });
        Follower { topic: self.clone(), shared, task: task.abort_handle() }
    }
}

/// A leader that moves is not worth a warning; what lasts is.
fn warn_once(topic: &str, told: &mut Option<String>, error: &StateError) {
    let words = error.to_string();
    if matches!(error, StateError::Client(error) if error.retry() != Retry::Never) {
        return tracing::debug!(error = words, "The link's state cannot be read; trying again.");
    }
    if told.as_ref() != Some(&words) {
        tracing::warn!(topic, error = words, "The link's state cannot be read, so no lane changes; trying again.");
        *told = Some(words);
    }
}

impl Follower {
    /// The state as it was last seen.
    pub fn state(&self) -> Arc<LinkState> {
        Arc::clone(&self.shared.seen().state)
    }

    /// Listens for changes from here on.
    pub fn listen(&self) -> Listener {
        Listener { shared: Arc::clone(&self.shared), heard: self.shared.seen().number }
    }

    /// The state as of now or later: nothing that was acknowledged before this call is missing in it.
    pub async fn fresh(&self) -> Result<Arc<LinkState>, StateError> {
        let log = &self.topic.log;
        loop {
            let end = log.offset(OffsetAt::Latest).await?;
            let seen = timeout(CATCH_UP, self.shared.when(|seen| seen.next >= end)).await;
            // Who is ahead of the log has not noticed yet that it lost its end.
            match seen {
                Ok(seen) if seen.next == end || log.offset(OffsetAt::Latest).await? >= seen.next => {
                    return Ok(seen.state);
                }
                _ => sleep(PAUSE).await,
            }
        }
    }
}

impl Listener {
    /// The state, once it has changed since it was last asked for; for ever, if it is followed no more.
    pub async fn changed(&mut self) -> Arc<LinkState> {
        let heard = self.heard;
        let seen = self.shared.when(|seen| seen.number != heard).await;
        self.heard = seen.number;
        seen.state
    }
}
