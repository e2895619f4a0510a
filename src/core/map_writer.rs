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
