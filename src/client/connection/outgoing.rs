//! The bytes that wait to be written, as slices that are never joined.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::Permit;
use super::frames::lost;
use crate::error::Cause;

/// The most slices of one system call.
const SLICES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    slices: VecDeque<Bytes>,
    /// Of requests that have not left as a whole, with the position after their last byte.
    permits: VecDeque<(u64, Permit)>,
    queued: u64,
    written: u64,
    unflushed: bool,
}

impl Outgoing {
    /// Queues slices and returns the position in the stream after their last byte.
    pub(super) fn push(&mut self, slices: Vec<Bytes>, permit: Option<Permit>) -> u64 {
        for slice in slices {
            if !slice.is_empty() {
                self.queued += slice.len() as u64;
                self.slices.push_back(slice);
            }
        }
        self.permits.extend(permit.map(|permit| (self.queued, permit)));
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
    ) -> Poll<Result<(), Cause>> {
        while !self.slices.is_empty() {
            if self.permits.iter().any(|(_, permit)| !permit.holds()) {
                return Poll::Ready(Err(Cause::NotPermitted));
            }
            let mut views = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.slices.len().min(SLICES_MAX);
            for (view, slice) in views.iter_mut().zip(&self.slices) {
                *view = IoSlice::new(slice);
            }
            let taken = Pin::new(&mut *stream).poll_write_vectored(cx, &views[..count]);
            let taken = ready!(taken).map_err(lost)?;
            if taken == 0 {
                return Poll::Ready(Err(Cause::Io(io::ErrorKind::WriteZero.into())));
            }
            self.advance(taken);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx)).map_err(lost)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut taken: usize) {
        self.written += taken as u64;
        while self.permits.pop_front_if(|(end, _)| *end <= self.written).is_some() {}
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
