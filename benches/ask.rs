//! Questions that are asked now and then, by kafka-protocol's messages; and frames.

use std::fmt::Display;
use std::io::{self, Read as _, Write as _};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, HeaderVersion as _, Request, StrBytes};

use crate::net::Stream;

const CLIENT_ID: &str = "twinlog-bench";

/// Sends a request in this version and waits for its answer.
pub(crate) fn ask<R: Request>(stream: &mut Stream, version: i16, request: &R) -> io::Result<R::Response> {
    let failed = |error: &dyn Display| unexpected(&error.to_string());
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
    let mut frame = BytesMut::zeroed(4);
    header.encode(&mut frame, R::header_version(version)).map_err(|error| failed(&error))?;
    request.encode(&mut frame, version).map_err(|error| failed(&error))?;
    let len = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    stream.write_all(&frame)?;
    stream.flush()?;
    let mut answer = Bytes::copy_from_slice(read_frame(stream, &mut Vec::new())?);
    ResponseHeader::decode(&mut answer, R::Response::header_version(version)).map_err(|error| failed(&error))?;
    R::Response::decode(&mut answer, version).map_err(|error| failed(&error))
}

/// Reads an answer without its length into a buffer that only grows.
pub(crate) fn read_frame<'a>(stream: &mut Stream, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    let len = u32::from_be_bytes(prefix) as usize;
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    let frame = &mut buffer[..len];
    stream.read_exact(frame)?;
    Ok(frame)
}

/// What a peer says is not as agreed.
pub(crate) fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
