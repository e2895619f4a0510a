//! Cuts requests out of a stream without more copies than the read itself: small fields are looked at where they are,
//! bodies are passed over.

use std::io::{self, Read as _};

use crate::net::Stream;

/// As much is read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct Requests {
    stream: Stream,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Requests {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, buffer: vec![0; BUFFER_BYTES].into_boxed_slice(), start: 0, end: 0 }
    }

    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// The length of the next request; none at the end of the stream.
    pub(crate) fn next_len(&mut self) -> io::Result<Option<usize>> {
        if self.start == self.end && self.read()? == 0 {
            return Ok(None);
        }
        let mut prefix = [0; 4];
        prefix.copy_from_slice(self.peek(4)?);
        self.start += 4;
        usize::try_from(i32::from_be_bytes(prefix)).map(Some).map_err(io::Error::other)
    }

    /// The next bytes, which stay; not more than the buffer holds.
    pub(crate) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.end - self.start < count {
            if self.buffer.len() - self.start < count {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            if self.read()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(&self.buffer[self.start..self.start + count])
    }

    /// Passes bytes over that were peeked at.
    pub(crate) fn advance(&mut self, count: usize) {
        self.start += count;
    }

    /// Passes over so many bytes, each part of them shown.
    pub(crate) fn pass(&mut self, mut count: usize, mut look: impl FnMut(&[u8])) -> io::Result<()> {
        while count > 0 {
            if self.start == self.end && self.read()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let part = count.min(self.end - self.start);
            look(&self.buffer[self.start..self.start + part]);
            self.start += part;
            count -= part;
        }
        Ok(())
    }

    /// The next bytes as a whole.
    pub(crate) fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut taken = Vec::with_capacity(count);
        self.pass(count, |part| taken.extend_from_slice(part))?;
        Ok(taken)
    }

    fn read(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let read = loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.end += read;
        Ok(read)
    }
}
