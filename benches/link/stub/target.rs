//! The target: Produce to the mirror is checked, acknowledged and forgotten.
//!
//! Of each batch its head, its length and its place in the sequence are looked at, and of one in [`SAMPLE`] the
//! checksum. A sequence that comes too early is refused as a broker would, and counted; all else that is wrong ends the
//! run. The sandbox has the markers of the mirror and nothing else, so an offset is what the sandbox has and what
//! was acknowledged.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, FetchRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::Decodable as _;
use twinlog_sandbox::Sandbox;
use twinlog_wire::batch::{BatchMeta, HEAD_LEN};
use twinlog_wire::error_code::ErrorCode;

use super::super::arena::Arena;
use super::front::{Answer, Broker, Taken};
use super::requests::Requests;
use super::{TOPIC, offsets};
use crate::fields::{Fields, put_count};
use crate::net::Stream;
use crate::progress::Progress;

/// Of so many batches one is checked in full.
const SAMPLE: u64 = 64;
/// What the checksum covers begins here in a batch.
const COVERED_FROM: usize = 21;
/// From here on topics are named by id; older requests for the mirror are refused.
const VERSION_MIN: i16 = 13;
/// More than what stands in front of the first partition, and in front of a partition's batch.
const FRONT_BYTES: usize = 512;
const PARTITION_FRONT_BYTES: usize = 4 + 5;

/// The target's side.
#[derive(Debug)]
pub(crate) struct Target {
    sandbox: Sandbox,
    mirror: OnceLock<[u8; 16]>,
    partitions: Vec<Mutex<Mirrored>>,
    batch_len: usize,
    records_a_batch: u64,
    batches_a_partition: u64,
    progress: Arc<Progress>,
    refused: AtomicU64,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Appended {
    /// It got this offset; of some the checksum is looked at.
    Stored { base: i64, is_sample: bool },
    /// Batches before it are missing.
    TooEarly,
}

/// What a partition of the mirror has got.
#[derive(Debug, Default)]
struct Mirrored {
    batches: u64,
    producer: Option<(i64, i16)>,
    next_sequence: i32,
    /// Offsets that markers took.
    markers: i64,
    /// When batches came, if somebody wants to know.
    arrivals: Option<Vec<Instant>>,
}

impl Target {
    pub(crate) fn new(sandbox: Sandbox, arena: &Arena, batches_a_partition: u64, progress: Arc<Progress>) -> Self {
        Self {
            sandbox,
            mirror: OnceLock::new(),
            partitions: (0..arena.partitions()).map(|_| Mutex::default()).collect(),
            batch_len: arena.batch_len(),
            records_a_batch: arena.records_a_batch(),
            batches_a_partition,
            progress,
            refused: AtomicU64::new(0),
        }
    }

    /// Notes from now on when batches are taken in.
    pub(crate) fn note_arrivals(&self) {
        for mirrored in &self.partitions {
            mirrored.lock().unwrap_or_else(PoisonError::into_inner).arrivals = Some(Vec::new());
        }
    }

    /// When the batches of each partition were taken in.
    pub(crate) fn arrivals(&self) -> Vec<Vec<Instant>> {
        let of = |mirrored: &Mutex<Mirrored>| mirrored.lock().unwrap_or_else(PoisonError::into_inner).arrivals.clone();
        self.partitions.iter().filter_map(of).collect()
    }

    pub(crate) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The id of the mirror, once it is there.
    fn mirror(&self) -> Option<[u8; 16]> {
        if let Some(id) = self.mirror.get() {
            return Some(*id);
        }
        let id = self.sandbox.topic_id(TOPIC)?.into_bytes();
        Some(*self.mirror.get_or_init(|| id))
    }

    fn partition(&self, index: i32) -> Option<MutexGuard<'_, Mirrored>> {
        let partition = self.partitions.get(usize::try_from(index).ok()?)?;
        Some(partition.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn acknowledged(&self, mirrored: &Mirrored) -> i64 {
        i64::try_from(mirrored.batches * self.records_a_batch).unwrap_or(i64::MAX)
    }

    /// The offset that the next record gets.
    fn end(&self, index: i32) -> Option<i64> {
        let mirrored = self.partition(index)?;
        let markers = self.sandbox.offsets(TOPIC, index).ok()?.1;
        Some(markers + self.acknowledged(&mirrored))
    }

    /// Whether each partition has all that there is.
    pub(crate) fn incomplete(&self) -> Option<String> {
        (0..).zip(&self.partitions).find_map(|(index, mirrored): (i32, _)| {
            let batches = mirrored.lock().unwrap_or_else(PoisonError::into_inner).batches;
            (batches != self.batches_a_partition)
                .then(|| format!("partition {index} has {batches} of {} batches", self.batches_a_partition))
        })
    }

    /// How many batches came too early.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes a batch in.
    fn append(&self, index: i32, meta: &BatchMeta) -> Result<Appended, String> {
        let refused = |what: String| format!("target: partition {index}: {what}");
        let Some(mut mirrored) = self.partition(index) else { return Err(refused("there is none".to_owned())) };
        let producer = (meta.producer_id, meta.producer_epoch);
        if mirrored.producer != Some(producer) {
            // A new epoch begins at 0, behind its marker.
            mirrored.markers = self.sandbox.offsets(TOPIC, index).map_err(|error| refused(error.to_string()))?.1;
            (mirrored.producer, mirrored.next_sequence) = (Some(producer), 0);
        }
        if producer.0 >= 0 && meta.base_sequence > mirrored.next_sequence {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Ok(Appended::TooEarly);
        }
        if producer.0 < 0 || producer.1 < 0 || meta.base_sequence != mirrored.next_sequence {
            let expected = mirrored.next_sequence;
            return Err(refused(format!("sequence {} of producer {producer:?}, not {expected}", meta.base_sequence)));
        }
        if meta.len as usize != self.batch_len || u64::from(meta.record_count.unsigned_abs()) != self.records_a_batch {
            return Err(refused(format!("a batch of {} bytes and {} records", meta.len, meta.record_count)));
        }
        if meta.base_offset != 0 || !meta.is_dense() || meta.attributes != 0 {
            return Err(refused(format!("no batch to be taken in: {meta:?}")));
        }
        if mirrored.batches == self.batches_a_partition {
            return Err(refused("a batch too many".to_owned()));
        }
        let base = mirrored.markers + self.acknowledged(&mirrored);
        mirrored.batches += 1;
        if let Some(arrivals) = &mut mirrored.arrivals {
            arrivals.push(Instant::now());
        }
        // Sequences go from 2^31 - 1 to 0.
        mirrored.next_sequence = meta.base_sequence.wrapping_add(meta.record_count) & i32::MAX;
        Ok(Appended::Stored { base, is_sample: mirrored.batches % SAMPLE == 1 })
    }

    /// Reads a Produce request for the mirror; `left` is what is left of it behind the topic's id.
    fn produce(&self, requests: &mut Requests, mut left: usize, correlation_id: i32) -> io::Result<Vec<u8>> {
        let front = requests.peek(left.min(5))?;
        let mut fields = Fields(front);
        let count = fields.count().ok_or_else(|| unexpected("a request ends early"))?;
        let used = left.min(5) - fields.0.len();
        requests.advance(used);
        left -= used;

        let mut answer = Vec::with_capacity(64 + count * 48);
        answer.extend_from_slice(&[0; 4]);
        answer.extend_from_slice(&correlation_id.to_be_bytes());
        answer.push(0);
        put_count(&mut answer, 1);
        answer.extend_from_slice(&self.mirror().unwrap_or_default());
        put_count(&mut answer, count);
        let mut stored = 0;
        for _ in 0..count {
            let shown = left.min(PARTITION_FRONT_BYTES + HEAD_LEN);
            let mut fields = Fields(requests.peek(shown)?);
            let (index, len) = fields.i32().zip(fields.count()).ok_or_else(|| unexpected("a request ends early"))?;
            let used = shown - fields.0.len();
            let meta = BatchMeta::parse(fields.0).map_err(|error| unexpected(&error.to_string()))?;
            if meta.len as usize != len || left < used + len {
                return Err(unexpected("a length that does not fit"));
            }
            let appended = self.append(index, &meta).map_err(|words| unexpected(&words))?;
            requests.advance(used);
            match appended {
                Appended::Stored { is_sample: true, .. } => check(requests, &meta)?,
                _ => requests.pass(len, |_| {})?,
            }
            let (code, base) = match appended {
                Appended::Stored { base, .. } => (ErrorCode::NONE, base),
                Appended::TooEarly => (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1),
            };
            stored += u64::from(code.is_ok());
            requests.pass(1, |_| {})?;
            left -= used + len + 1;

            answer.extend_from_slice(&index.to_be_bytes());
            answer.extend_from_slice(&code.0.to_be_bytes());
            answer.extend_from_slice(&base.to_be_bytes());
            answer.extend_from_slice(&(-1i64).to_be_bytes());
            answer.extend_from_slice(&0i64.to_be_bytes());
            // No record errors, no words, no tags.
            answer.extend_from_slice(&[1, 0, 0]);
        }
        requests.pass(left, |_| {})?;
        // Not throttled.
        answer.extend_from_slice(&[0; 6]);
        let len = u32::try_from(answer.len() - 4).map_err(io::Error::other)?;
        answer[..4].copy_from_slice(&len.to_be_bytes());
        self.progress.add(stored);
        Ok(answer)
    }

    /// The mirror's records are not kept, so nobody can read them.
    fn refuse_reads(&self, frame: &Bytes, version: i16) -> io::Result<()> {
        let mut body = frame.clone();
        let decoded = RequestHeader::decode(&mut body, ApiKey::Fetch.request_header_version(version))
            .and_then(|_| FetchRequest::decode(&mut body, version));
        let request = decoded.map_err(|error| unexpected(&error.to_string()))?;
        let mirror = self.mirror();
        for topic in request.topics.iter().filter(|topic| Some(topic.topic_id.into_bytes()) == mirror) {
            for asked in &topic.partitions {
                if self.partition(asked.partition).is_some_and(|mirrored| mirrored.batches > 0) {
                    return Err(unexpected("the mirror is read after records were written: did the link recover?"));
                }
            }
        }
        Ok(())
    }
}

/// Passes over a batch and computes its checksum.
fn check(requests: &mut Requests, meta: &BatchMeta) -> io::Result<()> {
    let mut crc = 0;
    requests.pass(COVERED_FROM, |_| {})?;
    requests.pass(meta.len as usize - COVERED_FROM, |part| crc = crc32c::crc32c_append(crc, part))?;
    if crc != meta.crc {
        return Err(unexpected("the checksum of a batch does not fit its bytes"));
    }
    Ok(())
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// What stands in front of the first topic of a Produce request: version, correlation id, and where the topic's
/// partitions begin; none if it is not about this topic alone.
fn produce_front(front: &[u8], topic_id: [u8; 16]) -> Option<(i16, i32, usize)> {
    let mut fields = Fields(front);
    let (_api, version, correlation_id) = (fields.i16()?, fields.i16()?, fields.i32()?);
    if version < VERSION_MIN {
        return None;
    }
    let client_id_len = usize::try_from(fields.i16()?).unwrap_or_default();
    fields.take(client_id_len)?;
    fields.tags()?;
    let transactional_id_len = fields.count()?;
    fields.take(transactional_id_len)?;
    let (_acks, _timeout_ms, topics, id) = (fields.i16()?, fields.i32()?, fields.count()?, fields.id()?);
    (topics == 1 && id == topic_id).then_some((version, correlation_id, front.len() - fields.0.len()))
}

impl Broker for Arc<Target> {
    fn take(&self, requests: &mut Requests, len: usize) -> io::Result<Taken> {
        let shown = len.min(FRONT_BYTES);
        let front = requests.peek(shown)?;
        let (api, version) = offsets::api_of(front);
        if api == ApiKey::Produce as i16
            && let Some(mirror) = self.mirror()
            && let Some((_, correlation_id, used)) = produce_front(front, mirror)
        {
            requests.advance(used);
            let answer = self.produce(requests, len - used, correlation_id)?;
            let bytes = answer.len();
            let write = move |stream: &mut Stream| stream.write_slices(&mut [io::IoSlice::new(&answer)]);
            return Ok(Taken::Answer(Answer { bytes, write: Box::new(write) }));
        }
        let frame = Bytes::from(requests.take(len)?);
        if api == ApiKey::Fetch as i16 {
            self.refuse_reads(&frame, version)?;
        }
        Ok(Taken::Pass(frame))
    }

    fn amend(&self, request: &Bytes, answer: Vec<u8>) -> io::Result<Vec<u8>> {
        let end = |topic: &TopicName, index| if topic.as_str() == TOPIC { self.end(index) } else { None };
        offsets::amend(request, answer, end)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::cells;
    use super::super::Stubs;
    use super::*;

    #[test]
    fn a_sequence_that_does_not_follow_is_refused() {
        let cell = cells::all().remove(0);
        let arena = Arc::new(Arena::new(&cell));
        let stubs = Stubs::start(&cell, &arena, 10_000_000, None);
        stubs.make_mirror(16).unwrap();
        let mut meta = BatchMeta::parse(&arena.lock(0)).unwrap();
        (meta.producer_id, meta.producer_epoch, meta.base_sequence) = (7, 0, 0);
        let stored = |base: i32, is_sample| Ok(Appended::Stored { base: i64::from(base), is_sample });
        assert_eq!(stubs.target.append(3, &meta), stored(0, true));
        let again = stubs.target.append(3, &meta).expect_err("the same sequence");
        assert!(again.contains("partition 3: sequence 0"), "{again}");
        meta.base_sequence = 2 * meta.record_count;
        assert_eq!(stubs.target.append(3, &meta), Ok(Appended::TooEarly));
        assert_eq!(stubs.target.refused(), 1);
        meta.base_sequence = meta.record_count;
        assert_eq!(stubs.target.append(3, &meta), stored(meta.record_count, false));
        (meta.producer_epoch, meta.base_sequence) = (1, 0);
        assert_eq!(stubs.target.append(3, &meta), stored(2 * meta.record_count, false));
        assert!(stubs.target.append(16, &meta).is_err(), "there is no such partition");
    }
}
