//! The answer that is due for a request.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::{Cause, Error, Outcome, Peer, Result, Step};

/// Who is told of a request's answer, or of its failure. If the runtime ends before, nobody is.
pub struct Reply(Box<dyn FnOnce(Result<Bytes>) + Send>);

impl Reply {
    /// By a function that must neither block nor take long: other answers wait for it.
    pub fn new(give: impl FnOnce(Result<Bytes>) + Send + 'static) -> Self {
        Self(Box::new(give))
    }

    pub(super) fn give(self, answer: Result<Bytes>) {
        (self.0)(answer);
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// A future of the answer to a request that is queued already. Dropping it does not take the
/// request back: its answer is thrown away when it comes.
#[derive(Debug)]
#[must_use = "the outcome of a request must be looked at"]
pub struct Answer {
    receiver: oneshot::Receiver<Result<Bytes>>,
    peer: Peer,
    step: Step,
}

impl Answer {
    /// The future and who completes it.
    pub(super) fn due(peer: Peer, step: Step) -> (Reply, Self) {
        let (sender, receiver) = oneshot::channel();
        // A caller that went away does not want the answer.
        (Reply::new(move |answer| drop(sender.send(answer))), Self { receiver, peer, step })
    }
}

impl Future for Answer {
    type Output = Result<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.receiver).poll(cx));
        Poll::Ready(answer.unwrap_or_else(|_runtime_gone| {
            Err(Error::new(self.peer.clone(), self.step, Outcome::Unknown, Cause::ClosedHere))
        }))
    }
}
