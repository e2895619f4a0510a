//! Writes to the lane's map partition: one batch in flight, the next gathers meanwhile.
//!
//! Records that must be together (a chunk and the head that no longer holds its ranges) are one group, and a group is
//! never split: a batch is on the log whole or not at all.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::ids::{Now, Producer};
use crate::io::{LanePartition, MapBatch};
use crate::map_record::{MapRecord, PartitionKey, Plan, Released};
use crate::sequence;

/// A batch of map records grows up to about this many bytes.
const BATCH_BYTES: usize = 256 << 10;

/// What to do when a group is on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// That a partition stopped may be told.
    Halted(LanePartition),
    /// A new partition may be fenced.
    Registered(LanePartition),
    /// Plans before this cursor are no longer needed, as far as their records have lower numbers.
    Head(LanePartition, Option<Plan>, u64),
    /// The same for a head that was cut back; then its partition may be fenced.
    CutBack(LanePartition, Option<Plan>, u64),
    /// Batches under the plans of this record may be sent.
    Plans(u64),
    /// Another lane may take the partition over.
    Released(LanePartition, Released),
    /// There was nothing to let go of but the name.
    ReleasedUnknown(PartitionKey, Released),
    /// The partition is this lane's, and its plans are in the map under this number, if it has any.
    Adopted(PartitionKey, Option<u64>),
    /// Nothing of the partition is left.
    Forgotten(PartitionKey),
    /// Mirrors may be fenced under the lane's producer id.
    Ids,
}

struct Group {
    records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    then: Then,
}

/// The queue of map records.
pub struct MapWriter {
    producer: Producer,
    next_sequence: i32,
    waiting: VecDeque<Group>,
    in_flight: Option<(MapBatch, Vec<Then>)>,
}

impl core::fmt::Debug for MapWriter {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MapWriter")
            .field("producer", &self.producer)
            .field("next_sequence", &self.next_sequence)
            .field("waiting", &self.waiting.len())
            .field("in_flight", &self.in_flight.is_some())
            .finish()
    }
}

impl MapWriter {
    /// A writer whose first sequence is 0: after the marker of this producer.
    pub fn new(producer: Producer) -> Self {
        Self { producer, next_sequence: 0, waiting: VecDeque::new(), in_flight: None }
    }

    /// Goes on under the newest epoch of the same owner, whose sequences begin at 0; false while something is on its
    /// way under an older one.
    pub fn go_on_as(&mut self, producer: Producer) -> bool {
        if self.producer != producer && self.in_flight.is_none() {
            (self.producer, self.next_sequence) = (producer, 0);
        }
        self.producer == producer
    }

    /// Adds a group.
    pub fn push(&mut self, records: &[MapRecord], then: Then) {
        let records = records.iter().map(MapRecord::encode).collect();
        self.waiting.push_back(Group { records, then });
    }

    /// Whether all is on the log.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_none()
    }

    /// The next batch, if none is in flight.
    pub fn next_batch(&mut self, now: Now) -> Option<MapBatch> {
        if self.in_flight.is_some() || self.waiting.is_empty() {
            return None;
        }
        let (mut records, mut then, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(group) = self.waiting.pop_front() {
            let size: usize =
                group.records.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
            if bytes > 0 && bytes + size > BATCH_BYTES {
                self.waiting.push_front(group);
                break;
            }
            bytes += size;
            records.extend(group.records);
            then.push(group.then);
        }
        let count = records.len() as u64;
        let batch =
            MapBatch { producer: self.producer, sequence: self.next_sequence, timestamp_ms: now.wall_ms, records };
        self.next_sequence = sequence::advance(self.next_sequence, count);
        self.in_flight = Some((batch.clone(), then));
        Some(batch)
    }

    /// The batch in flight, to send it again as it is.
    pub fn in_flight(&self) -> Option<&MapBatch> {
        self.in_flight.as_ref().map(|(batch, _)| batch)
    }

    /// It is on the log: what follows from it.
    pub fn written(&mut self) -> Vec<Then> {
        self.in_flight.take().map(|(_, then)| then).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { mono_ms: 5, wall_ms: 7 };

    fn producer(epoch: i16) -> Producer {
        Producer { id: 4000, epoch }
    }

    /// A group of one record of some size.
    fn group(writer: &mut MapWriter, number: u64, bytes: usize) {
        let key = PartitionKey { topic: "orders".into(), partition: 0 };
        let halt = (alloc::string::String::new(), "x".repeat(bytes));
        writer.push(&[MapRecord::Halt(key, Some(halt))], Then::Plans(number));
    }

    #[test]
    fn groups_gather_while_a_batch_is_in_flight_and_stay_whole() {
        let mut writer = MapWriter::new(producer(0));
        assert_eq!((writer.next_batch(NOW), writer.is_idle()), (None, true));
        group(&mut writer, 1, 10);
        assert!(!writer.is_idle());
        let first = writer.next_batch(NOW).expect("a batch");
        assert_eq!((first.producer, first.sequence, first.timestamp_ms), (producer(0), 0, 7));
        assert_eq!(writer.in_flight(), Some(&first));
        assert!(!writer.is_idle(), "not yet on the log");
        group(&mut writer, 2, 10);
        group(&mut writer, 3, 10);
        assert_eq!(writer.next_batch(NOW), None, "one at a time");
        assert_eq!(writer.written(), [Then::Plans(1)]);
        let second = writer.next_batch(NOW).expect("a batch");
        assert_eq!((second.sequence, second.records.len()), (1, 2));
        assert_eq!(writer.written(), [Then::Plans(2), Then::Plans(3)]);
        assert_eq!((writer.in_flight(), writer.is_idle()), (None, true));
    }

    #[test]
    fn a_batch_ends_before_the_group_that_would_make_it_too_large() {
        let mut writer = MapWriter::new(producer(0));
        let overhead = {
            group(&mut writer, 0, 0);
            let batch = writer.next_batch(NOW).expect("a batch");
            let bytes: usize =
                batch.records.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
            drop(writer.written());
            // Lengths above 16383 take two bytes more.
            bytes + 2
        };
        // Two fill a batch to the byte, the third is too much, and the fourth is too large for any.
        let half = (256 << 10) / 2 - overhead;
        for (number, bytes) in [(1, half), (2, half), (3, 1), (4, 300 << 10)] {
            group(&mut writer, number, bytes);
        }
        let mut next = || {
            writer.next_batch(NOW).expect("a batch");
            writer.written()
        };
        assert_eq!(next(), [Then::Plans(1), Then::Plans(2)]);
        assert_eq!(next(), [Then::Plans(3)]);
        assert_eq!(next(), [Then::Plans(4)], "alone");
    }

    #[test]
    fn a_new_epoch_begins_when_nothing_is_on_its_way_under_the_old_one() {
        let mut writer = MapWriter::new(producer(0));
        group(&mut writer, 1, 1);
        writer.next_batch(NOW).expect("a batch");
        assert!(writer.go_on_as(producer(0)));
        assert!(!writer.go_on_as(producer(1)));
        drop(writer.written());
        assert!(writer.go_on_as(producer(1)));
        group(&mut writer, 2, 1);
        let batch = writer.next_batch(NOW).expect("a batch");
        assert_eq!((batch.producer, batch.sequence), (producer(1), 0));
        drop(writer.written());
        assert!(writer.go_on_as(producer(1)));
        group(&mut writer, 3, 1);
        assert_eq!(writer.next_batch(NOW).map(|batch| batch.sequence), Some(1), "asked again it is no new epoch");
    }
}
