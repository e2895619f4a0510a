//! Cuts the byte stream of a socket into answers.
//!
//! A small scratch buffer takes the length and whatever comes with it, so that a short answer
//! costs one read. A long answer is read into a buffer of exactly its size: one allocation a
//! frame, and at most the scratch buffer's bytes are copied.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::error::Cause;
use crate::tls;

const SCRATCH_BYTES: usize = 4096;
const LENGTH_BYTES: usize = 4;

#[derive(Debug)]
pub(super) struct Frames {
    scratch: Box<[u8; SCRATCH_BYTES]>,
    start: usize,
    end: usize,
    frame: Option<Partial>,
    frame_bytes_max: usize,
}

#[derive(Debug)]
struct Partial {
    bytes: BytesMut,
    length: usize,
}

impl Frames {
    pub(super) fn new(frame_bytes_max: usize) -> Self {
        let scratch = Box::new([0; SCRATCH_BYTES]);
        Self { scratch, start: 0, end: 0, frame: None, frame_bytes_max }
    }

    /// The next answer without its length.
    pub(super) fn poll_next<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<Result<Bytes, Cause>> {
        loop {
            if let Some(partial) = &mut self.frame {
                ready!(partial.poll_fill(cx, stream))?;
                let whole = self.frame.take().map(|partial| partial.bytes.freeze());
                return Poll::Ready(Ok(whole.unwrap_or_default()));
            }
            if !self.begin_frame()? {
                ready!(self.poll_scratch(cx, stream))?;
            }
        }
    }

    /// Begins a frame if its length is there; what is there of its body goes along.
    fn begin_frame(&mut self) -> Result<bool, Cause> {
        let Some((prefix, body)) = self.scratch[self.start..self.end].split_first_chunk() else {
            return Ok(false);
        };
        let announced = i32::from_be_bytes(*prefix);
        let refused = Cause::FrameTooLarge { announced: i64::from(announced), max: self.frame_bytes_max };
        let length = usize::try_from(announced).map_err(|_negative| refused)?;
        if length > self.frame_bytes_max {
            let announced = i64::from(announced);
            return Err(Cause::FrameTooLarge { announced, max: self.frame_bytes_max });
        }
        let here = body.len().min(length);
        let mut bytes = BytesMut::with_capacity(length);
        bytes.put_slice(&body[..here]);
        self.start += LENGTH_BYTES + here;
        self.frame = Some(Partial { bytes, length });
        Ok(true)
    }

    fn poll_scratch<S: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<Result<(), Cause>> {
        // At most three bytes of a length are left over.
        self.scratch.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let mut buffer = ReadBuf::new(&mut self.scratch[self.end..]);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer)).map_err(lost)?;
        let got = buffer.filled().len();
        if got == 0 {
            return Poll::Ready(Err(match self.end {
                0 => Cause::ClosedByPeer,
                got => Cause::Cut { got, expected: LENGTH_BYTES },
            }));
        }
        self.end += got;
        Poll::Ready(Ok(()))
    }
}

impl Partial {
    fn poll_fill<S: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<Result<(), Cause>> {
        while self.bytes.len() < self.length {
            let missing = self.length - self.bytes.len();
            let mut room = (&mut self.bytes).limit(missing);
            if ready!(pin!(stream.read_buf(&mut room)).poll(cx)).map_err(lost)? == 0 {
                let (got, expected) = (self.bytes.len(), self.length);
                return Poll::Ready(Err(Cause::Cut { got, expected }));
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A reset says no more than an end of file: the broker is gone.
pub(super) fn lost(error: io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            Cause::ClosedByPeer
        }
        _ => tls::refusal(&error).unwrap_or(Cause::Io(error)),
    }
}
