//! How far a run is, and what went wrong in it: told by the stubs' threads, waited for by the bench.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the stubs tell.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    done: u64,
    trouble: Option<String>,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much more has arrived.
    pub(crate) fn add(&self, count: u64) {
        self.lock().done += count;
        self.changed.notify_all();
    }

    /// Something is not as it must be. The first word counts.
    pub(crate) fn fail(&self, what: impl FnOnce() -> String) {
        let mut state = self.lock();
        if state.trouble.is_none() {
            state.trouble = Some(what());
        }
        self.changed.notify_all();
    }

    /// What went wrong so far.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// Whether `total` has arrived, after at most `patience`; an error as soon as something went wrong.
    pub(crate) fn wait(&self, total: u64, patience: Duration) -> Result<bool, String> {
        let done = self.wait_for(total, patience)?;
        if done > total {
            return Err(format!("{done} arrived, and there are only {total}"));
        }
        Ok(done == total)
    }

    /// How much has arrived, as soon as it is as much as this, and after at most `patience`.
    pub(crate) fn wait_for(&self, enough: u64, patience: Duration) -> Result<u64, String> {
        let state = self.lock();
        let undecided = |state: &mut State| state.done < enough && state.trouble.is_none();
        let waited = self.changed.wait_timeout_while(state, patience, undecided);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.trouble.clone().map_or(Ok(state.done), Err)
    }
}
