//! The source: Fetch of the topic is answered from prepared batches, as a broker would that has them in memory.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::{ApiKey, FetchRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::Decodable as _;
use twinlog_sandbox::Sandbox;
use uuid::Uuid;

use super::super::arena::Arena;
use super::TOPIC;
use super::front::{Answer, Broker, Taken};
use super::offsets;
use super::requests::Requests;
use super::sessions::Sessions;
use crate::fields::put_count;
use crate::net::Stream;

/// From here on topics are named by id; older requests for the topic are not answered.
const VERSION_MIN: i16 = 13;

/// The source's side.
#[derive(Debug)]
pub(crate) struct Source {
    arena: Arc<Arena>,
    topic_id: Uuid,
    batches_a_partition: u64,
    state: Mutex<State>,
    changed: Condvar,
    sandbox: OnceLock<Sandbox>,
    sessions: Mutex<Sessions>,
}

#[derive(Debug)]
struct State {
    /// Batches that are shown: partitions get them in turn.
    shown: u64,
    /// Which partitions somebody has fetched, and how many they are.
    asked: Vec<bool>,
    asked_count: usize,
}

/// What an answer has of a partition.
#[derive(Clone, Copy, Debug)]
struct Part {
    partition: i32,
    first: u64,
    count: u64,
    end: i64,
}

impl Source {
    pub(crate) fn new(arena: Arc<Arena>, topic_id: Uuid, batches_a_partition: u64) -> Self {
        let state = State { shown: 0, asked: vec![false; arena.partitions()], asked_count: 0 };
        Self {
            arena,
            topic_id,
            batches_a_partition,
            state: Mutex::new(state),
            changed: Condvar::new(),
            sandbox: OnceLock::new(),
            sessions: Mutex::default(),
        }
    }

    /// Keeps the sandbox alive.
    pub(super) fn keep(&self, sandbox: Sandbox) {
        drop(self.sandbox.set(sandbox));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// How many batches there are in all.
    pub(crate) fn batches(&self) -> u64 {
        self.batches_a_partition * self.arena.partitions() as u64
    }

    /// Waits until so many partitions were fetched, in vain: for at most so long.
    pub(crate) fn wait_for_readers(&self, partitions: usize, patience: Duration) -> bool {
        let waiting = |state: &mut State| state.asked_count < partitions;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.asked_count >= partitions
    }

    /// Shows all records.
    pub(crate) fn release(&self) {
        self.show(self.batches());
    }

    /// Shows so many batches, one of each partition in turn.
    pub(crate) fn show(&self, batches: u64) {
        self.lock().shown = batches;
        self.changed.notify_all();
    }

    /// How many batches a partition has, of so many in all.
    fn batches_of(&self, partition: i32, shown: u64) -> u64 {
        let partitions = self.arena.partitions() as u64;
        let before = u64::try_from(partition).map_or(u64::MAX, |partition| partition.saturating_add(1));
        (shown + partitions).saturating_sub(before) / partitions
    }

    fn end(&self, partition: i32, shown: u64) -> i64 {
        i64::try_from(self.batches_of(partition, shown) * self.arena.records_a_batch()).unwrap_or(i64::MAX)
    }

    fn has_more(&self, asked: &[FetchPartition], shown: u64) -> bool {
        asked.iter().any(|asked| asked.fetch_offset < self.end(asked.partition, shown))
    }

    /// What is read now, by the request's limits: whole batches, and the first one whatever its length.
    fn choose(&self, max_bytes: i32, asked: &[FetchPartition], shown: u64) -> io::Result<Vec<Part>> {
        let len = self.arena.batch_len();
        let mut left = usize::try_from(max_bytes).unwrap_or_default();
        let mut is_first = true;
        let mut parts = Vec::with_capacity(asked.len());
        for asked in asked {
            let in_range = usize::try_from(asked.partition).is_ok_and(|index| index < self.arena.partitions());
            let offset = u64::try_from(asked.fetch_offset).ok().filter(|_| in_range);
            let Some(offset) = offset else {
                return Err(unexpected("a Fetch of a partition or offset that is not there"));
            };
            // A batch comes whole, wherever in it the offset is.
            let first = offset / self.arena.records_a_batch();
            let there = self.batches_of(asked.partition, shown).saturating_sub(first);
            let limit = usize::try_from(asked.partition_max_bytes).unwrap_or_default().min(left);
            let mut count = ((limit / len) as u64).min(there).min(self.arena.held());
            if count == 0 && is_first {
                count = there.min(1);
            }
            is_first &= count == 0;
            left = left.saturating_sub(count as usize * len);
            parts.push(Part { partition: asked.partition, first, count, end: self.end(asked.partition, shown) });
        }
        Ok(parts)
    }

    /// Waits as long as the request lets it while there is nothing. What is read, and how much is shown by then.
    fn wait(&self, request: &FetchRequest, asked: &[FetchPartition]) -> io::Result<(Vec<Part>, u64)> {
        let mut state = self.lock();
        for asked in asked {
            if let Some(was) = usize::try_from(asked.partition).ok().and_then(|index| state.asked.get_mut(index))
                && !std::mem::replace(was, true)
            {
                state.asked_count += 1;
            }
        }
        self.changed.notify_all();
        if !self.has_more(asked, state.shown) {
            let max_wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or_default());
            let mut seen = state.shown;
            let is_in_vain = |state: &mut State| {
                std::mem::replace(&mut seen, state.shown) == state.shown || !self.has_more(asked, state.shown)
            };
            let waited = self.changed.wait_timeout_while(state, max_wait, is_in_vain);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let shown = state.shown;
        Ok((self.choose(request.max_bytes, asked, shown)?, shown))
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(self: &Arc<Self>, frame: &Bytes, version: i16) -> io::Result<Option<Answer>> {
        let mut body = frame.clone();
        let header = RequestHeader::decode(&mut body, ApiKey::Fetch.request_header_version(version));
        let header = header.map_err(|error| unexpected(&error.to_string()))?;
        let mut request = FetchRequest::decode(&mut body, version).map_err(|error| unexpected(&error.to_string()))?;
        let is_other = |id| id != self.topic_id;
        let is_about_others = request.topics.iter().all(|topic| is_other(topic.topic_id));
        if is_about_others && request.session_id == 0 {
            return Ok(None);
        }
        if version < VERSION_MIN || request.topics.iter().any(|topic| is_other(topic.topic_id)) {
            return Err(unexpected("a Fetch by name, or of the topic and of others"));
        }
        let begun = self.sessions().begin(&mut request);
        let session_id = begun.map_err(|code| unexpected(&format!("a Fetch in a session: {code}")))?;
        let asked = self.sessions().asked(session_id);
        let asked = asked.unwrap_or_else(|| request.topics.drain(..).flat_map(|topic| topic.partitions).collect());
        let (mut parts, shown) = self.wait(&request, &asked)?;
        if !self.sessions().tell(session_id, shown) {
            parts.retain(|part| part.count > 0);
        }
        let source = Arc::clone(self);
        let bytes = parts.iter().map(|part| part.count as usize * self.arena.batch_len()).sum();
        let write = move |stream: &mut Stream| source.write(stream, header.correlation_id, session_id, &parts);
        Ok(Some(Answer { bytes, write: Box::new(write) }))
    }

    /// Writes an answer: small fields from one buffer, batches from where they are prepared.
    fn write(&self, stream: &mut Stream, correlation_id: i32, session_id: i32, parts: &[Part]) -> io::Result<()> {
        let batch_len = self.arena.batch_len();
        let mut small = Vec::with_capacity(64 + parts.len() * 64);
        let mut cuts = Vec::with_capacity(parts.len());
        small.extend_from_slice(&[0; 4]);
        small.extend_from_slice(&correlation_id.to_be_bytes());
        small.push(0);
        // Not throttled, no error.
        small.extend_from_slice(&[0; 6]);
        small.extend_from_slice(&session_id.to_be_bytes());
        put_count(&mut small, 1);
        small.extend_from_slice(self.topic_id.as_bytes());
        put_count(&mut small, parts.len());
        for part in parts {
            small.extend_from_slice(&part.partition.to_be_bytes());
            small.extend_from_slice(&0i16.to_be_bytes());
            small.extend_from_slice(&part.end.to_be_bytes());
            small.extend_from_slice(&part.end.to_be_bytes());
            small.extend_from_slice(&0i64.to_be_bytes());
            put_count(&mut small, 0);
            small.extend_from_slice(&(-1i32).to_be_bytes());
            put_count(&mut small, part.count as usize * batch_len);
            cuts.push(small.len());
            small.push(0);
        }
        small.extend_from_slice(&[0; 2]);
        let bodies: usize = parts.iter().map(|part| part.count as usize * batch_len).sum();
        let len = i32::try_from(small.len() - 4 + bodies).map_err(io::Error::other)?;
        small[..4].copy_from_slice(&len.to_be_bytes());

        // By partition, so that two connections that ask for the same ones cannot wait for each other.
        let mut guards = BTreeMap::new();
        let mut wanted: Vec<&Part> = parts.iter().filter(|part| part.count > 0).collect();
        wanted.sort_unstable_by_key(|part| part.partition);
        for part in wanted {
            let mut bytes = self.arena.lock(part.partition as usize);
            self.arena.stamp(&mut bytes, part.first, part.count);
            guards.insert(part.partition, bytes);
        }
        let mut slices = Vec::with_capacity(guards.len() * 3 + 1);
        let mut from = 0;
        for (part, cut) in parts.iter().zip(cuts) {
            let Some(bytes) = guards.get(&part.partition).filter(|_| part.count > 0) else { continue };
            let (front, back) = self.arena.slices(bytes, part.first, part.count);
            slices.push(IoSlice::new(&small[from..cut]));
            slices.push(IoSlice::new(front));
            if !back.is_empty() {
                slices.push(IoSlice::new(back));
            }
            from = cut;
        }
        slices.push(IoSlice::new(&small[from..]));
        stream.write_slices(&mut slices)
    }
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("source: {what}"))
}

impl Broker for Arc<Source> {
    fn take(&self, requests: &mut Requests, len: usize) -> io::Result<Taken> {
        let frame = Bytes::from(requests.take(len)?);
        let (api, version) = offsets::api_of(&frame);
        let answer = if api == ApiKey::Fetch as i16 { self.answer(&frame, version)? } else { None };
        Ok(answer.map_or(Taken::Pass(frame), Taken::Answer))
    }

    fn amend(&self, request: &Bytes, answer: Vec<u8>) -> io::Result<Vec<u8>> {
        let shown = self.lock().shown;
        let end = |topic: &TopicName, partition| (topic.as_str() == TOPIC).then(|| self.end(partition, shown));
        offsets::amend(request, answer, end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::cells::{self, Cell};
    use super::*;

    #[test]
    fn whole_batches_are_chosen_by_the_limits_and_the_first_one_always() {
        let cell = Cell { partitions: 3, ..cells::all().remove(0) };
        let arena = Arc::new(Arena::new(&cell));
        let (len, records) = (arena.batch_len() as i32, arena.records_a_batch() as i64);
        let source = Source::new(arena, Uuid::from_u128(1), 10);
        let choose = |max_bytes, partition_max_bytes, offset, shown| {
            let asked = |partition| {
                FetchPartition::default()
                    .with_partition(partition)
                    .with_fetch_offset(offset)
                    .with_partition_max_bytes(partition_max_bytes)
            };
            let asked: Vec<_> = (0..3).map(asked).collect();
            source.choose(max_bytes, &asked, shown).map(|parts| parts.iter().map(|part| part.count).collect::<Vec<_>>())
        };
        assert_eq!(choose(100 * len, 4 * len + 1, 0, 30).unwrap(), [4, 4, 4]);
        assert_eq!(choose(6 * len, 4 * len, 0, 30).unwrap(), [4, 2, 0]);
        assert_eq!(choose(len - 1, 1, 0, 30).unwrap(), [1, 0, 0], "the first batch whatever its length");
        assert_eq!(choose(100 * len, 4 * len, 8 * records, 30).unwrap(), [2, 2, 2], "up to the end");
        assert_eq!(choose(100 * len, 4 * len, 10 * records, 30).unwrap(), [0, 0, 0]);
        assert_eq!(choose(100 * len, 4 * len, 0, 0).unwrap(), [0, 0, 0], "nothing is shown yet");
        assert_eq!(choose(100 * len, 4 * len, 8 * records + 1, 30).unwrap(), [2, 2, 2], "inside of a batch");
        assert_eq!(choose(100 * len, 4 * len, 0, 4).unwrap(), [2, 1, 1], "in turn");
        assert!(choose(100 * len, 4 * len, -1, 30).is_err());
    }
}
