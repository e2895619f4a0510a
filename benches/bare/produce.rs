//! Produce, by hand: requests go out as long as not too many are in flight.

use std::io::{self, IoSlice, Read as _};
use std::ops::Range;

use kafka_protocol::messages::ApiKey;
use twinlog_wire::batch::{BatchMeta, HEAD_LEN};
use twinlog_wire::patch::{Stamp, patch_head};

use super::fetch::Fetched;
use super::{Partition, head};
use crate::ask::unexpected;
use crate::fields::{Fields, put_count};
use crate::net::Stream;

const PRODUCE_VERSION: i16 = 13;
/// A broker takes so many batches of a producer ahead of its answers.
const IN_FLIGHT_MAX: usize = 5;
/// Once no more may be in flight, answers are waited for until there are so few: what goes out then goes together.
const IN_FLIGHT_LOW: usize = 2;

/// The target's side.
pub(crate) struct Sender {
    mirror_id: [u8; 16],
    target: Stream,
    in_flight: usize,
    answers: Vec<u8>,
    filled: usize,
    small: Vec<u8>,
}

impl Sender {
    pub(crate) fn new(mirror_id: [u8; 16], target: Stream) -> Self {
        Self { mirror_id, target, in_flight: 0, answers: vec![0; 64 << 10], filled: 0, small: Vec::new() }
    }

    /// Sends all batches, one of each partition in a request.
    pub(crate) fn send(
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
        small.append(&mut begin(self.mirror_id, fetched.len()));
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

/// A request for one topic, for all replicas' acknowledgement, up to what its partitions get; its length is still to be
/// written.
pub(crate) fn begin(topic_id: [u8; 16], partitions: usize) -> Vec<u8> {
    let mut out = head(ApiKey::Produce, PRODUCE_VERSION);
    out.push(0);
    out.extend_from_slice(&(-1i16).to_be_bytes());
    out.extend_from_slice(&30_000i32.to_be_bytes());
    put_count(&mut out, 1);
    out.extend_from_slice(&topic_id);
    put_count(&mut out, partitions);
    out
}

/// Whether an answer to Produce says that all batches are stored.
pub(crate) fn is_stored(answer: &[u8]) -> bool {
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
