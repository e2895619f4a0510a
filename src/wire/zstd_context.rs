//! zstd contexts that are used again, one of each kind a thread: to make one costs more than to unpack a small batch.

use std::cell::Cell;
use std::io::{self, Read};

use zstd::bulk::Compressor;
use zstd::zstd_safe::{DCtx, DParameter, ErrorCode, InBuffer, OutBuffer, ResetDirective, get_error_name};

/// The level that Kafka and the zstd tool take if none is asked for.
const LEVEL: i32 = 3;

/// A context that has grown beyond this, by a frame with a large window, is not kept.
const KEPT_BYTES_MAX: usize = 4 << 20;

thread_local! {
    static UNPACKER: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
    static PACKER: Cell<Option<Compressor<'static>>> = const { Cell::new(None) };
}

fn error(code: ErrorCode) -> io::Error {
    io::Error::other(get_error_name(code))
}

/// Packs into one frame.
pub(crate) fn pack(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = match PACKER.take() {
        Some(packer) => packer,
        None => Compressor::new(LEVEL)?,
    };
    let packed = packer.compress(plain)?;
    PACKER.set(Some(packer));
    Ok(packed)
}

/// Hands what the frames of `body` unpack to over to `read`. Windows of more than 2 to the power of `window_log_max`
/// bytes are an error.
pub(crate) fn unpack<T>(body: &[u8], window_log_max: u32, read: impl FnOnce(Unpacking<'_>) -> T) -> io::Result<T> {
    let mut context = match UNPACKER.take() {
        Some(context) => context,
        None => DCtx::try_create().ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?,
    };
    // The last one may have ended inside of a frame.
    context.reset(ResetDirective::SessionOnly).map_err(error)?;
    context.set_parameter(DParameter::WindowLogMax(window_log_max)).map_err(error)?;
    let input = InBuffer::around(body);
    let answer = read(Unpacking { context: &mut context, input, body_len: body.len(), is_between_frames: true });
    if context.sizeof() <= KEPT_BYTES_MAX {
        UNPACKER.set(Some(context));
    }
    Ok(answer)
}

/// The frames of a body, one behind the other.
pub(crate) struct Unpacking<'a> {
    context: &'a mut DCtx<'static>,
    input: InBuffer<'a>,
    body_len: usize,
    is_between_frames: bool,
}

impl Read for Unpacking<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let is_at_end = self.input.pos() == self.body_len;
            if out.is_empty() || (is_at_end && self.is_between_frames) {
                return Ok(0);
            }
            let mut output = OutBuffer::around(out);
            let hint = self.context.decompress_stream(&mut output, &mut self.input).map_err(error)?;
            self.is_between_frames = hint == 0;
            match output.pos() {
                0 if is_at_end => return Err(io::ErrorKind::UnexpectedEof.into()),
                0 => {}
                written => return Ok(written),
            }
        }
    }
}
