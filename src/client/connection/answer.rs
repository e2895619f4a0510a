//! The answer that is due for a request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::{Cause, Error, Outcome, Peer, Result, Step};

/// A future of the answer to a request that is queued already. Dropping it does not take the
/// request back: its answer is thrown away when it comes.
#[derive(Debug)]
#[must_use = "the outcome of a request must be looked at"]
pub struct Answer(State);

#[derive(Debug)]
enum State {
    Waiting { receiver: oneshot::Receiver<Result<Bytes>>, peer: Peer, step: Step },
    Failed(Error),
}

impl Answer {
    pub(super) fn waiting(receiver: oneshot::Receiver<Result<Bytes>>, peer: Peer, step: Step) -> Self {
        Self(State::Waiting { receiver, peer, step })
    }

    pub(super) fn failed(error: Error) -> Self {
        Self(State::Failed(error))
    }
}

impl Future for Answer {
    type Output = Result<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Waiting { receiver, peer, step } => {
                let answer = ready!(Pin::new(receiver).poll(cx));
                Poll::Ready(answer.unwrap_or_else(|_runtime_gone| {
                    let (outcome, cause) = (Outcome::Unknown, Cause::ClosedHere);
                    Err(Error::new(peer.clone(), *step, outcome, cause))
                }))
            }
            State::Failed(error) => Poll::Ready(Err(error.clone())),
        }
    }
}
