//! The bytes that wait to be written, as slices that are never joined.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// The most slices of one system call.
const SLICES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    slices: VecDeque<Bytes>,
    queued: u64,
    written: u64,
    unflushed: bool,
}

impl Outgoing {
    /// Queues slices and returns the position in the stream after their last byte.
    pub(super) fn push(&mut self, slices: Vec<Bytes>) -> u64 {
        for slice in slices {
            if !slice.is_empty() {
                self.queued += slice.len() as u64;
                self.slices.push_back(slice);
            }
        }
        self.queued
    }

    /// The position up to which the stream has taken the bytes.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes until nothing is left or the stream takes no more.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        while !self.slices.is_empty() {
            let mut views = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.slices.len().min(SLICES_MAX);
            for (view, slice) in views.iter_mut().zip(&self.slices) {
                *view = IoSlice::new(slice);
            }
            let taken = Pin::new(&mut *stream).poll_write_vectored(cx, &views[..count]);
            let taken = ready!(taken)?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(taken);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut taken: usize) {
        self.written += taken as u64;
        while let Some(front) = self.slices.front_mut() {
            if taken < front.len() {
                front.advance(taken);
                return;
            }
            taken -= front.len();
            self.slices.pop_front();
        }
    }
}
