//! The floor: one blocking thread that fetches, writes new heads and produces. It speaks to the same stubs in the same
//! versions as the link; it has no map, no fences, no leaders, no retries and no recovery.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, InitProducerIdResponse, ProducerId, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, StrBytes};
use twinlog_wire::batch::{BatchMeta, HEAD_LEN};
use twinlog_wire::patch::{Stamp, patch_head};

use super::fields::{Fields, put_count};
use super::net::Stream;

const FETCH_VERSION: i16 = 17;
const PRODUCE_VERSION: i16 = 13;
const INIT_PRODUCER_ID_VERSION: i16 = 4;
const CLIENT_ID: &str = "bare";
/// As in the link: bytes of an answer, and of a partition in it.
const FETCH_BYTES: i32 = 4 << 20;
const PARTITION_BYTES: i32 = 1 << 20;
const MAX_WAIT_MS: i32 = 500;
/// Partitions in a request, in turn: more than fill an answer would be asked for in vain.
pub(crate) const PARTITIONS_MAX: usize = 64;
/// A broker takes so many batches of a producer ahead of its answers.
const IN_FLIGHT_MAX: usize = 5;
/// Once no more may be in flight, answers are waited for until there are so few: what goes out then goes together.
const IN_FLIGHT_LOW: usize = 2;

/// What to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) source: SocketAddr,
    pub(crate) target: SocketAddr,
    pub(crate) topic_id: [u8; 16],
    pub(crate) mirror_id: [u8; 16],
    pub(crate) partitions: usize,
}

/// The child: copies until one side closes its connection.
pub(crate) fn copy(job: &Job, ca_file: Option<&Path>) -> io::Result<()> {
    let (mut source, mut target) = (Stream::dial(job.source, ca_file)?, Stream::dial(job.target, ca_file)?);
    let producer = init_producer_id(&mut target)?;
    let mut partitions = vec![Partition::default(); job.partitions];
    let mut sender = Sender::new(job.mirror_id, target);
    let mut turn = 0;
    let mut buffer = Vec::new();
    ask(&mut source, job.topic_id, &partitions, &mut turn)?;
    loop {
        let frame = read_frame(&mut source, &mut buffer)?;
        let fetched = parts(frame, &mut partitions)?;
        // The next answer is on its way while this one is sent.
        ask(&mut source, job.topic_id, &partitions, &mut turn)?;
        sender.send(frame, fetched, &mut partitions, producer)?;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Partition {
    next_offset: i64,
    next_sequence: i32,
}

/// The batches of a partition that an answer brought.
#[derive(Debug)]
struct Fetched {
    partition: usize,
    rest: Range<usize>,
}

fn init_producer_id(target: &mut Stream) -> io::Result<(i64, i16)> {
    let version = INIT_PRODUCER_ID_VERSION;
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::InitProducerId as i16)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let failed = |error: &dyn std::fmt::Display| unexpected(&error.to_string());
    let mut frame = BytesMut::zeroed(4);
    header.encode(&mut frame, ApiKey::InitProducerId.request_header_version(version)).map_err(|e| failed(&e))?;
    request.encode(&mut frame, version).map_err(|e| failed(&e))?;
    let len = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    target.write_all(&frame)?;
    target.flush()?;
    let mut answer = Bytes::copy_from_slice(read_frame(target, &mut Vec::new())?);
    ResponseHeader::decode(&mut answer, ApiKey::InitProducerId.response_header_version(version))
        .map_err(|e| failed(&e))?;
    let answer = InitProducerIdResponse::decode(&mut answer, version).map_err(|e| failed(&e))?;
    match answer.error_code {
        0 => Ok((answer.producer_id.0, answer.producer_epoch)),
        code => Err(unexpected(&format!("InitProducerId: code {code}"))),
    }
}

/// Sends a Fetch for the next partitions in turn.
fn ask(source: &mut Stream, topic_id: [u8; 16], partitions: &[Partition], turn: &mut usize) -> io::Result<()> {
    let count = partitions.len().min(PARTITIONS_MAX);
    let mut out = head(ApiKey::Fetch, FETCH_VERSION);
    out.extend_from_slice(&MAX_WAIT_MS.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&FETCH_BYTES.to_be_bytes());
    // Read committed, without a session.
    out.push(1);
    out.extend_from_slice(&0i32.to_be_bytes());
    out.extend_from_slice(&(-1i32).to_be_bytes());
    put_count(&mut out, 1);
    out.extend_from_slice(&topic_id);
    put_count(&mut out, count);
    for index in (*turn..*turn + count).map(|index| index % partitions.len()) {
        let index_number = i32::try_from(index).map_err(io::Error::other)?;
        out.extend_from_slice(&index_number.to_be_bytes());
        out.extend_from_slice(&(-1i32).to_be_bytes());
        out.extend_from_slice(&partitions[index].next_offset.to_be_bytes());
        out.extend_from_slice(&(-1i32).to_be_bytes());
        out.extend_from_slice(&(-1i64).to_be_bytes());
        out.extend_from_slice(&PARTITION_BYTES.to_be_bytes());
        out.push(0);
    }
    // No more fields of the topic, no forgotten topics, no rack, no more fields.
    out.extend_from_slice(&[0, 1, 1, 0]);
    let len = u32::try_from(out.len() - 4).map_err(io::Error::other)?;
    out[..4].copy_from_slice(&len.to_be_bytes());
    source.write_all(&out)?;
    source.flush()?;
    // Of those that were asked for, some fit: the others come first in the next one.
    *turn = (*turn + count.min(FETCH_BYTES as usize / PARTITION_BYTES as usize)) % partitions.len();
    Ok(())
}

/// Where the batches of an answer stand; notes the next offsets.
fn parts(frame: &[u8], partitions: &mut [Partition]) -> io::Result<Vec<Fetched>> {
    let mut fields = Fields(frame);
    let mut found = Vec::new();
    let mut read = || {
        let (_correlation_id, ()) = (fields.i32()?, fields.tags()?);
        let (_throttled, error, _session, topics) = (fields.i32()?, fields.i16()?, fields.i32()?, fields.count()?);
        let mut is_fine = error == 0;
        for _ in 0..topics {
            fields.id()?;
            for _ in 0..fields.count()? {
                let (index, error) = (fields.i32()?, fields.i16()?);
                let _ends = (fields.i64()?, fields.i64()?, fields.i64()?);
                let (aborted, _replica, len) = (fields.count()?, fields.i32()?, fields.count()?);
                is_fine &= error == 0 && aborted == 0;
                let start = frame.len() - fields.0.len();
                fields.take(len)?;
                fields.tags()?;
                if len > 0 {
                    found.push(Fetched { partition: usize::try_from(index).ok()?, rest: start..start + len });
                }
            }
            fields.tags()?;
        }
        Some(is_fine)
    };
    if read() != Some(true) {
        return Err(unexpected("an answer to Fetch that is not understood"));
    }
    for fetched in &found {
        let mut place = fetched.rest.start;
        while place < fetched.rest.end {
            let meta = BatchMeta::parse(&frame[place..fetched.rest.end]).map_err(io::Error::other)?;
            partitions[fetched.partition].next_offset = meta.next_offset();
            place += meta.len as usize;
        }
    }
    Ok(found)
}

/// The target's side: requests go out as long as not too many are in flight.
struct Sender {
    mirror_id: [u8; 16],
    target: Stream,
    in_flight: usize,
    answers: Vec<u8>,
    filled: usize,
    small: Vec<u8>,
}

impl Sender {
    fn new(mirror_id: [u8; 16], target: Stream) -> Self {
        Self { mirror_id, target, in_flight: 0, answers: vec![0; 64 << 10], filled: 0, small: Vec::new() }
    }

    /// Sends all batches, one of each partition in a request.
    fn send(
        &mut self,
        frame: &[u8],
        mut fetched: Vec<Fetched>,
        partitions: &mut [Partition],
        producer: (i64, i16),
    ) -> io::Result<()> {
        // Where a body stands, and where the small fields in front of it end.
        let mut bodies: Vec<(usize, Range<usize>)> = Vec::new();
        while !fetched.is_empty() {
            self.small.clear();
            bodies.clear();
            while self.in_flight < IN_FLIGHT_MAX && !fetched.is_empty() {
                self.request(frame, &mut fetched, partitions, producer, &mut bodies)?;
                self.in_flight += 1;
            }
            let mut slices = Vec::with_capacity(bodies.len() * 2 + 1);
            let mut from = 0;
            for (end, body) in &bodies {
                slices.push(IoSlice::new(&self.small[from..*end]));
                slices.push(IoSlice::new(&frame[body.clone()]));
                from = *end;
            }
            slices.push(IoSlice::new(&self.small[from..]));
            self.target.write_slices(&mut slices)?;
            self.read_answers()?;
        }
        Ok(())
    }

    fn request(
        &mut self,
        frame: &[u8],
        fetched: &mut Vec<Fetched>,
        partitions: &mut [Partition],
        producer: (i64, i16),
        bodies: &mut Vec<(usize, Range<usize>)>,
    ) -> io::Result<()> {
        let start = self.small.len();
        let small = &mut self.small;
        small.append(&mut head(ApiKey::Produce, PRODUCE_VERSION));
        small.push(0);
        small.extend_from_slice(&(-1i16).to_be_bytes());
        small.extend_from_slice(&30_000i32.to_be_bytes());
        put_count(small, 1);
        small.extend_from_slice(&self.mirror_id);
        put_count(small, fetched.len());
        let mut body_bytes = 0;
        for fetched in fetched.iter_mut() {
            let batch = &frame[fetched.rest.clone()];
            let meta = BatchMeta::parse(batch).map_err(io::Error::other)?;
            let old_head: &[u8; HEAD_LEN] = batch.first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
            let partition = &mut partitions[fetched.partition];
            let stamp =
                Stamp { producer_id: producer.0, producer_epoch: producer.1, base_sequence: partition.next_sequence };
            partition.next_sequence = partition.next_sequence.wrapping_add(meta.record_count) & i32::MAX;
            let index = i32::try_from(fetched.partition).map_err(io::Error::other)?;
            small.extend_from_slice(&index.to_be_bytes());
            put_count(small, meta.len as usize);
            small.extend_from_slice(&patch_head(old_head, meta.body_len(), stamp));
            let end = fetched.rest.start + meta.len as usize;
            bodies.push((small.len(), fetched.rest.start + HEAD_LEN..end));
            small.push(0);
            fetched.rest.start = end;
            body_bytes += meta.body_len() as usize;
        }
        small.extend_from_slice(&[0; 2]);
        let len = u32::try_from(small.len() - start - 4 + body_bytes).map_err(io::Error::other)?;
        small[start..start + 4].copy_from_slice(&len.to_be_bytes());
        fetched.retain(|fetched| !fetched.rest.is_empty());
        Ok(())
    }

    /// If no more may be in flight, reads answers until there are few.
    fn read_answers(&mut self) -> io::Result<()> {
        if self.in_flight < IN_FLIGHT_MAX {
            return Ok(());
        }
        while self.in_flight > IN_FLIGHT_LOW {
            if self.filled == self.answers.len() {
                self.answers.resize(self.filled * 2, 0);
            }
            let read = self.target.read(&mut self.answers[self.filled..])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.filled += read;
            let mut fields = Fields(&self.answers[..self.filled]);
            loop {
                let mut next = fields;
                let len = next.i32().and_then(|len| usize::try_from(len).ok());
                let Some(answer) = len.and_then(|len| next.take(len)) else { break };
                if !is_stored(answer) {
                    return Err(unexpected("the target has refused a batch"));
                }
                self.in_flight -= 1;
                fields = next;
            }
            let rest = fields.0.len();
            self.answers.copy_within(self.filled - rest..self.filled, 0);
            self.filled = rest;
        }
        Ok(())
    }
}

/// Whether an answer to Produce says that all batches are stored.
fn is_stored(answer: &[u8]) -> bool {
    let mut fields = Fields(answer);
    let mut read = || {
        fields.i32()?;
        fields.tags()?;
        fields.count()?;
        fields.id()?;
        let mut is_fine = true;
        for _ in 0..fields.count()? {
            let (_index, error) = (fields.i32()?, fields.i16()?);
            is_fine &= error == 0;
            // Offset, append time, log start; no record errors, no words, no tags.
            fields.take(3 * 8 + 3)?;
        }
        Some(is_fine)
    };
    read() == Some(true)
}

/// A request's header, its length still to be written.
fn head(api: ApiKey, version: i16) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(api as i16).to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&0i32.to_be_bytes());
    out.extend_from_slice(&(CLIENT_ID.len() as i16).to_be_bytes());
    out.extend_from_slice(CLIENT_ID.as_bytes());
    out.push(0);
    out
}

/// Reads an answer without its length into a buffer that only grows.
fn read_frame<'a>(stream: &mut Stream, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
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

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
