//! The task that owns a connection's socket.
//!
//! ```text
//! requests ─> outgoing slices ─> socket ─> frames ─> the oldest waiter
//! ```
//! The state is: which slices are not written yet, and which waiters are not answered yet, oldest
//! first. Both change in this task only. The first failure of any kind ends it: each waiter gets
//! the same cause, and whether its own last byte left.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Permit;
use super::answer::Reply;
use super::frames::Frames;
use super::outgoing::Outgoing;
use crate::error::{Cause, Error, Outcome, Peer, Result, Step};

#[derive(Debug)]
pub(super) enum Command {
    Request(Queued),
    /// As [`Command::Request`], also while requests are held back.
    Ahead(Queued),
    /// Requests are held back from now on.
    Hold,
    /// They go on.
    Release,
    /// The connection ends for this.
    Close(Arc<Cause>),
}

/// A request on its way out.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) waiter: Waiter,
    pub(super) slices: Vec<Bytes>,
    pub(super) permit: Option<Permit>,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) api_key: i16,
    pub(super) correlation_id: i32,
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
    /// The position in the outgoing stream after the request's last byte.
    pub(super) end: u64,
    pub(super) reply: Reply,
    /// Given back when the waiter goes; none for what goes ahead.
    pub(super) _slot: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
pub(super) struct Io<S> {
    stream: S,
    peer: Peer,
    commands: mpsc::UnboundedReceiver<Command>,
    outgoing: Outgoing,
    frames: Frames,
    waiters: VecDeque<Waiter>,
    /// While requests are held back, those that came meanwhile.
    held: Option<VecDeque<Queued>>,
    answered: u64,
    alarm: Option<Pin<Box<Sleep>>>,
    failed: watch::Sender<Option<Arc<Cause>>>,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io<S> {
    pub(super) fn new(
        stream: S,
        peer: Peer,
        frame_bytes_max: usize,
        commands: mpsc::UnboundedReceiver<Command>,
        failed: watch::Sender<Option<Arc<Cause>>>,
    ) -> Self {
        let (outgoing, frames) = (Outgoing::default(), Frames::new(frame_bytes_max));
        let (waiters, held, alarm) = (VecDeque::new(), None, None);
        Self { stream, peer, commands, outgoing, frames, waiters, held, answered: 0, alarm, failed }
    }

    pub(super) async fn run(mut self, slots: Arc<Semaphore>) {
        let cause = poll_fn(|cx| self.poll_failure(cx)).await;
        tracing::debug!(peer = %self.peer, %cause, "Connection closed.");
        // The cause first: whoever finds the queue or the slots closed looks for it.
        self.failed.send_replace(Some(Arc::clone(&cause)));
        slots.close();
        self.commands.close();
        let written = self.outgoing.written();
        for waiter in std::mem::take(&mut self.waiters) {
            let sent = waiter.end <= written;
            let outcome = if sent { Outcome::Unknown } else { Outcome::NotSent };
            waiter.fail(&self.peer, outcome, &cause);
        }
        for queued in self.held.take().into_iter().flatten() {
            queued.waiter.fail(&self.peer, Outcome::NotSent, &cause);
        }
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Request(queued) | Command::Ahead(queued) = command {
                queued.waiter.fail(&self.peer, Outcome::NotSent, &cause);
            }
        }
    }

    fn poll_failure(&mut self, cx: &mut Context<'_>) -> Poll<Arc<Cause>> {
        let mut is_last = false;
        loop {
            match self.commands.poll_recv(cx) {
                Poll::Ready(Some(Command::Request(queued))) => match &mut self.held {
                    Some(held) => held.push_back(queued),
                    None => self.admit(queued),
                },
                Poll::Ready(Some(Command::Ahead(queued))) => self.admit(queued),
                Poll::Ready(Some(Command::Hold)) => {
                    self.held.get_or_insert_default();
                }
                Poll::Ready(Some(Command::Release)) => {
                    for queued in self.held.take().into_iter().flatten() {
                        self.admit(queued);
                    }
                }
                Poll::Ready(Some(Command::Close(cause))) => return Poll::Ready(cause),
                Poll::Ready(None) => {
                    is_last = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        let write = self.outgoing.poll_write(cx, &mut self.stream);
        // Answers that came before a failure count, so they are read even if writing failed.
        while let Poll::Ready(frame) = self.frames.poll_next(cx, &mut self.stream) {
            match frame.and_then(|frame| self.answer(frame)) {
                Ok(()) => {}
                Err(cause) => return Poll::Ready(self.explained(cause).into()),
            }
        }
        if let Poll::Ready(Err(cause)) = write {
            return Poll::Ready(self.explained(cause).into());
        }
        if is_last && self.waiters.is_empty() {
            return Poll::Ready(Cause::ClosedHere.into());
        }
        self.poll_alarm(cx).map(Arc::new)
    }

    /// A broker that wants SASL first answers ApiVersions all the same, and hangs up at the next request.
    fn explained(&self, cause: Cause) -> Cause {
        match cause {
            Cause::ClosedByPeer if self.answered == 1 && !self.waiters.is_empty() => Cause::ClosedAtFirstRequest,
            other => other,
        }
    }

    fn admit(&mut self, queued: Queued) {
        let Queued { mut waiter, slices, permit } = queued;
        waiter.end = self.outgoing.push(slices, permit);
        match &mut self.alarm {
            Some(alarm) if alarm.deadline() <= waiter.deadline => {}
            Some(alarm) => alarm.as_mut().reset(waiter.deadline),
            none => *none = Some(Box::pin(sleep_until(waiter.deadline))),
        }
        self.waiters.push_back(waiter);
    }

    fn answer(&mut self, frame: Bytes) -> Result<(), Cause> {
        let Some(id) = frame.first_chunk() else {
            return Err(Cause::Decode(format!("it has only {} bytes", frame.len())));
        };
        let got = i32::from_be_bytes(*id);
        let sent = self.outgoing.written();
        match self.waiters.pop_front_if(|w| w.end <= sent && w.correlation_id == got) {
            Some(waiter) => {
                self.answered += 1;
                waiter.reply.give(Ok(frame));
                Ok(())
            }
            None => {
                let expected = self.waiters.front().map(|w| w.correlation_id);
                Err(Cause::Correlation { got, expected })
            }
        }
    }

    /// The alarm is set to the earliest deadline when it is made or goes off, not with each
    /// request: on a busy connection it goes off once in a request time-out.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        while let Some(alarm) = &mut self.alarm {
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match self.waiters.iter().min_by_key(|waiter| waiter.deadline) {
                Some(first) if first.deadline <= Instant::now() => {
                    return Poll::Ready(Cause::Timeout(first.timeout));
                }
                Some(first) => alarm.as_mut().reset(first.deadline),
                None => self.alarm = None,
            }
        }
        Poll::Pending
    }
}

impl Waiter {
    fn fail(self, peer: &Peer, outcome: Outcome, cause: &Arc<Cause>) {
        let step = Step::Api(self.api_key);
        self.reply.give(Err(Error::new(peer.clone(), step, outcome, Arc::clone(cause))));
    }
}
