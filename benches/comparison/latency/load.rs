//! A producer that keeps to its times: what is late is sent at once, and counts from when it was due.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

use super::timeline::Timeline;
use crate::ask::{read_frame, unexpected};
use crate::bare::produce;
use crate::comparison::client::Topic;
use crate::fields::put_count;
use crate::net::Stream;

/// Records of a faster rate are sent together in requests of their own millisecond.
const REQUESTS_PER_S_MAX: u64 = 1_000;
const VALUE: [u8; 100] = [b'v'; 100];

/// How much is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    records_per_s: u64,
    duration: Duration,
}

/// What was sent, by partition.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The records' numbers.
    pub(crate) range: Vec<Range<u64>>,
    /// When they were to be sent.
    pub(crate) due: Vec<Timeline>,
    /// When the broker had acknowledged them.
    pub(crate) acknowledged: Vec<Timeline>,
}

/// A connection, and how many records went to each partition.
#[derive(Debug)]
pub(crate) struct Producer {
    stream: Stream,
    topic_id: [u8; 16],
    base: Instant,
    counts: Vec<u64>,
}

/// One request: when it is due, and how many records it has for each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    due: Duration,
    records: Vec<usize>,
}

impl Load {
    pub(crate) const fn new(records_per_s: u64, duration: Duration) -> Self {
        Self { records_per_s, duration }
    }

    pub(crate) fn records_per_s(self) -> u64 {
        self.records_per_s
    }

    pub(crate) fn duration(self) -> Duration {
        self.duration
    }

    /// The same for another time, with one record at the least.
    pub(crate) fn lasting(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }

    /// The requests of a load, from `begin` on: records go to all partitions in turn.
    fn requests(self, begin: Duration, partitions: usize) -> Vec<Request> {
        let a_second = self.records_per_s.min(REQUESTS_PER_S_MAX);
        let records = self.records_per_s / a_second;
        let count = ((self.duration.as_secs_f64() * a_second as f64) as u64).max(1);
        let request = |number: u64| {
            let mut by_partition = vec![0; partitions];
            for record in number * records..(number + 1) * records {
                by_partition[record as usize % partitions] += 1;
            }
            let due = begin + Duration::from_nanos(number * 1_000_000_000 / a_second);
            Request { due, records: by_partition }
        };
        (0..count).map(request).collect()
    }
}

impl Sent {
    pub(crate) fn records(&self) -> u64 {
        self.range.iter().map(|range| range.end - range.start).sum()
    }
}

impl Producer {
    /// Of a topic without records. Its times are those since `base`.
    pub(crate) fn start(source: SocketAddr, topic: &Topic, base: Instant) -> Result<Self, String> {
        let stream = Stream::dial(source, None).map_err(|error| format!("the source: {error}"))?;
        Ok(Self { stream, topic_id: topic.id, base, counts: vec![0; topic.partitions] })
    }

    /// How many records were sent so far.
    pub(crate) fn records(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sends a load, and waits for all acknowledgements.
    pub(crate) fn send(&mut self, load: Load) -> Result<Sent, String> {
        let requests = load.requests(self.base.elapsed(), self.counts.len());
        let words = |error: io::Error| format!("the source: {error}");
        let mut answers = self.stream.second().map_err(words)?;
        let (base, count) = (self.base, requests.len());
        let acknowledged = thread::scope(|scope| {
            let reading = scope.spawn(move || acknowledgements(&mut answers, base, count));
            let written = self.write(&requests);
            let read = reading.join().unwrap_or_else(|_| Err(io::Error::other("the reader has panicked")));
            written.and(read)
        });
        Ok(self.note(&requests, &acknowledged.map_err(words)?))
    }

    fn write(&mut self, requests: &[Request]) -> io::Result<()> {
        let most = requests.iter().flat_map(|request| &request.records).max().copied().unwrap_or_default();
        let batches = (1..=most).map(batch).collect::<io::Result<Vec<_>>>()?;
        for request in requests {
            let frame = self.frame(request, &batches)?;
            thread::sleep(request.due.saturating_sub(self.base.elapsed()));
            self.stream.write_all(&frame)?;
        }
        Ok(())
    }

    fn frame(&self, request: &Request, batches: &[Bytes]) -> io::Result<Vec<u8>> {
        let filled = || request.records.iter().enumerate().filter(|(_, records)| **records > 0);
        let mut frame = produce::begin(self.topic_id, filled().count());
        for (partition, records) in filled() {
            let index = i32::try_from(partition).map_err(io::Error::other)?;
            let batch = &batches[records - 1];
            frame.extend_from_slice(&index.to_be_bytes());
            put_count(&mut frame, batch.len());
            frame.extend_from_slice(batch);
            frame.push(0);
        }
        frame.extend_from_slice(&[0; 2]);
        let len = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
        frame[..4].copy_from_slice(&len.to_be_bytes());
        Ok(frame)
    }

    fn note(&mut self, requests: &[Request], acknowledged: &[Duration]) -> Sent {
        let start = self.counts.clone();
        let behind: Vec<Timeline> = start.iter().map(|count| Timeline::behind(*count)).collect();
        let (mut due, mut done) = (behind.clone(), behind);
        for (request, acknowledged) in requests.iter().zip(acknowledged) {
            for (partition, records) in request.records.iter().enumerate().filter(|(_, records)| **records > 0) {
                due[partition].add(*records as u64, request.due);
                done[partition].add(*records as u64, *acknowledged);
                self.counts[partition] += *records as u64;
            }
        }
        let range = start.iter().zip(&self.counts).map(|(start, end)| *start..*end).collect();
        Sent { range, due, acknowledged: done }
    }
}

/// A batch of so many records.
fn batch(records: usize) -> io::Result<Bytes> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp = i64::try_from(now.as_millis()).unwrap_or_default();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..records {
        builder.push(&NewRecord { timestamp, value: Some(&VALUE), ..NewRecord::default() });
    }
    builder.finish().map_err(io::Error::other)
}

/// When each of so many requests was answered; answers come in the order of requests.
fn acknowledgements(answers: &mut Stream, base: Instant, count: usize) -> io::Result<Vec<Duration>> {
    let mut buffer = Vec::new();
    let mut moments = Vec::with_capacity(count);
    for _ in 0..count {
        let is_stored = produce::is_stored(read_frame(answers, &mut buffer)?);
        moments.push(base.elapsed());
        if !is_stored {
            return Err(unexpected("the broker has refused a batch"));
        }
    }
    Ok(moments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_rate_is_one_record_a_request_and_a_fast_one_a_request_a_millisecond() {
        let second = Duration::from_secs(1);
        let slow = Load::new(1, 3 * second).requests(second, 2);
        let due: Vec<_> = slow.iter().map(|request| request.due).collect();
        assert_eq!(due, [second, 2 * second, 3 * second]);
        let records: Vec<_> = slow.iter().map(|request| &request.records[..]).collect();
        assert_eq!(records, [[1, 0], [0, 1], [1, 0]]);

        let fast = Load::new(20_000, second).requests(Duration::ZERO, 4);
        assert_eq!(fast.len(), 1_000);
        assert_eq!(fast[999], Request { due: Duration::from_millis(999), records: vec![5; 4] });
        assert_eq!(Load::new(1, second / 10).requests(second, 2).len(), 1, "a short one has a record, too");
    }
}
