//! A lane in a world that answers at once, but for what a test keeps to itself.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;

use twinlog_wire::batch::BatchMeta;

use crate::batch::{BatchKind, FetchedBatch, Slot, testing::batch};
use crate::config::{ExistingTopics, GapPolicy};
use crate::ids::{Now, Producer, SourceOffset, TargetOffset};
use crate::io::{
    Ends, Event, FenceOutcome, FetchResult, Input, LanePartition, MapEntry, Member, Output, PartitionSpec, ReadResult,
};
use crate::lane::{EpochLimits, Lane, LaneConfig};
use crate::map_record::{Head, LinkRecord, MapRecord, PartitionKey};
use crate::outbox::Answer;

pub(super) const KEEP_ALIVE_MS: i64 = 1_000_000;
pub(super) const EXPIRATION_MS: i64 = 40_000_000;

/// What keeps a question from being answered.
pub(super) type Kept = fn(&Output) -> bool;

pub(super) struct Script {
    pub(super) lane: Lane,
    pub(super) now: Now,
    /// The newest epoch that the coordinator handed out.
    pub(super) producer: Producer,
    /// The map topic's log.
    pub(super) map: Vec<MapEntry>,
    /// What each mirror's log holds.
    pub(super) mirrors: BTreeMap<LanePartition, Vec<BatchMeta>>,
    /// The source's log of each partition begins here.
    pub(super) source_start: i64,
    /// What the mirrors still have begins here.
    pub(super) mirror_start: i64,
    kept: Kept,
    /// What was kept, and what wants no answer.
    told: VecDeque<Output>,
    slots: u64,
}

fn config(epochs: EpochLimits) -> LaneConfig {
    LaneConfig {
        link: LinkRecord { link: "dr".into(), source_cluster: "a".into(), target_cluster: "b".into() },
        producer_expiration_ms: EXPIRATION_MS,
        mark_interval_ms: 1_000,
        queue_bytes_max: 1_000,
        chunk_ranges: 2,
        keep_alive_ms: KEEP_ALIVE_MS,
        epochs,
    }
}

pub(super) fn spec(topic: &str) -> PartitionSpec {
    PartitionSpec {
        key: PartitionKey { topic: topic.into(), partition: 0 },
        source_topic_id: [1; 16],
        target_topic: topic.into(),
        target_topic_id: [2; 16],
        existing: ExistingTopics::Refuse,
        gap: GapPolicy::Halt,
    }
}

/// Whether it is a question to the coordinator of transactions.
pub(super) fn asks_the_coordinator(output: &Output) -> bool {
    matches!(output, Output::InitProducerId { .. } | Output::Fence { .. })
}

impl Script {
    /// A lane that was just begun, of which these are the questions that the test answers.
    pub(super) fn begun(epochs: EpochLimits, kept: Kept) -> Self {
        let now = Now { mono_ms: 50_000_000, wall_ms: 1_700_000_000_000 };
        let lane = Lane::new(config(epochs), now);
        let producer = Producer { id: 7, epoch: -1 };
        let (map, mirrors) = (Vec::new(), BTreeMap::new());
        let mut script = Self {
            lane,
            now,
            producer,
            map,
            mirrors,
            source_start: 0,
            mirror_start: 0,
            kept,
            told: VecDeque::new(),
            slots: 0,
        };
        script.collect();
        script
    }

    /// A lane that owns its map.
    pub(super) fn running() -> Self {
        let mut script = Self::begun(EpochLimits::KAFKA, |_| false);
        assert!(script.lane.is_running());
        script.told();
        script
    }

    /// One that copies a topic, too.
    pub(super) fn copying() -> (Self, LanePartition) {
        let mut script = Self::running();
        let id = script.add("orders");
        (script, id)
    }

    /// Adds a partition and copies it.
    pub(super) fn add(&mut self, topic: &str) -> LanePartition {
        let id = self.lane.add(self.now, spec(topic)).expect("the lane runs");
        self.collect();
        let told = self.told();
        assert!(told.contains(&Output::Event(Event::Copying(id, SourceOffset(self.source_start)))), "{told:?}");
        id
    }

    /// From now on the test answers these itself.
    pub(super) fn keep(&mut self, kept: Kept) {
        self.kept = kept;
    }

    /// What was kept or wants no answer, since it was last asked for.
    pub(super) fn told(&mut self) -> Vec<Output> {
        self.told.drain(..).collect()
    }

    /// The only one since then.
    pub(super) fn told_one(&mut self) -> Output {
        let mut told = self.told();
        assert_eq!(told.len(), 1, "{told:?}");
        told.remove(0)
    }

    /// The events since then.
    pub(super) fn events(&mut self) -> Vec<Event> {
        let event = |output| if let Output::Event(event) = output { Some(event) } else { None };
        self.told().into_iter().filter_map(event).collect()
    }

    pub(super) fn tell(&mut self, input: Input) {
        self.lane.handle(self.now, input);
        self.collect();
    }

    /// So many ms later, by both clocks; what is due on the way is done in time.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        while let Some(at) = self.lane.poll_timeout().filter(|at| *at <= end) {
            self.jump(at.saturating_sub(self.now.mono_ms));
            self.lane.handle_timeout(self.now);
            self.collect();
        }
        self.jump(end - self.now.mono_ms);
    }

    /// The clocks go on while the process stands still.
    pub(super) fn jump(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms as i64;
    }

    fn collect(&mut self) {
        while let Some(output) = self.lane.poll_output(self.now) {
            match (self.kept)(&output) {
                true => self.told.push_back(output),
                false => self.answer(output),
            }
        }
    }

    /// Answers as a world does in which all goes well.
    pub(super) fn answer(&mut self, output: Output) {
        let input = match output {
            Output::InitProducerId { .. } => {
                self.producer.epoch += 1;
                Input::ProducerId(Ok(self.producer))
            }
            Output::Fence { producer, members } => {
                for member in &members {
                    self.mark(producer, *member);
                }
                Input::Fenced(FenceOutcome::Committed)
            }
            Output::ReadMap { from } => {
                let entries = self.map.iter().skip(from.0 as usize).cloned().collect();
                let next = TargetOffset(self.map.len() as i64);
                Input::MapRead { from, result: ReadResult::Entries { entries, next } }
            }
            Output::WriteMap(batch) => {
                let base = TargetOffset(self.map.len() as i64);
                let producer_id = batch.producer.id;
                let record = |(key, value)| MapEntry::Record { producer_id, key, value };
                self.map.extend(batch.records.into_iter().map(record));
                Input::MapWritten(Answer::Stored { base, log_start: TargetOffset(0) })
            }
            Output::Probe { partition, position } => {
                let end = self.end(partition);
                let start = SourceOffset(self.source_start);
                let (target_start, target_end) = (TargetOffset(0), end);
                let ends = Ends { source_start: start, source_end: start, target_start, target_end };
                Input::Probed { partition, position, ends: Ok(ends) }
            }
            Output::ReadTarget { partition, from, .. } if from > self.end(partition) => {
                let (start, end) = (TargetOffset(self.mirror_start), self.end(partition));
                Input::TargetRead { partition, from, result: ReadResult::OutOfRange { start, end } }
            }
            Output::ReadTarget { partition, from, .. } => {
                let behind = |batch: &&BatchMeta| batch.next_offset() > from.0;
                let entries = self.mirrors.entry(partition).or_default().iter().filter(behind).copied().collect();
                let next = self.end(partition);
                Input::TargetRead { partition, from, result: ReadResult::Entries { entries, next } }
            }
            Output::LookAtEnds { partition, expected, look } => {
                let end = self.end(partition);
                Input::TargetEnds { partition, expected, look, start: TargetOffset(self.mirror_start), end }
            }
            told => return self.told.push_back(told),
        };
        self.tell(input);
    }

    /// A marker is in a member's log.
    pub(super) fn mark(&mut self, producer: Producer, member: Member) {
        match member {
            Member::Map => self.map.push(MapEntry::Marker(producer)),
            Member::Data(id) => self.append(id, producer, -1, 1),
        }
    }

    /// A marker of ours is in a mirror twice: the lane will look into it.
    pub(super) fn mark_twice(&mut self, id: LanePartition) {
        self.mark(self.producer, Member::Data(id));
    }

    /// Somebody writes to a mirror; a marker has no sequence.
    pub(super) fn append(&mut self, id: LanePartition, producer: Producer, sequence: i32, records: i32) {
        let end = self.end(id);
        self.mirrors.entry(id).or_default().push(batch(producer, 0, sequence, end.0, records));
    }

    /// Where a mirror ends.
    pub(super) fn end(&self, id: LanePartition) -> TargetOffset {
        let last = self.mirrors.get(&id).and_then(|log| log.last());
        TargetOffset(last.map_or(0, BatchMeta::next_offset))
    }

    /// The source sends batches of so many records from the present position on, written now.
    pub(super) fn fetch(&mut self, id: LanePartition, records: &[i32]) -> Vec<Slot> {
        let now = self.now.wall_ms;
        let batches: Vec<_> = records.iter().map(|count| (0, *count, now)).collect();
        self.fetch_batches(id, &batches)
    }

    /// It sends batches of one record, before each of which one was compacted away.
    pub(super) fn fetch_behind_holes(&mut self, id: LanePartition, count: usize) -> Vec<Slot> {
        let batches = vec![(1, 1, self.now.wall_ms); count];
        self.fetch_batches(id, &batches)
    }

    /// It sends batches of one record that were written then.
    pub(super) fn fetch_stamped(&mut self, id: LanePartition, written_ms: &[i64]) -> Vec<Slot> {
        let batches: Vec<_> = written_ms.iter().map(|written| (0, 1, *written)).collect();
        self.fetch_batches(id, &batches)
    }

    /// Of each batch how far it is behind the last, its records, and their time.
    fn fetch_batches(&mut self, id: LanePartition, batches: &[(u64, i32, i64)]) -> Vec<Slot> {
        let position = self.lane.partition(id).expect("it was added").progress().position;
        let nobody = Producer { id: -1, epoch: -1 };
        let mut end = position;
        let mut fetched = Vec::new();
        for (hole, records, max_timestamp) in batches {
            self.slots += 1;
            let base = end.plus(*hole).0;
            let meta = BatchMeta { max_timestamp: *max_timestamp, ..batch(nobody, 0, 0, base, *records) };
            fetched.push(FetchedBatch { slot: Slot(self.slots), kind: BatchKind::Records(meta) });
            end = SourceOffset(meta.next_offset());
        }
        let slots = fetched.iter().map(|batch| batch.slot).collect();
        self.fetched(id, position, fetched, end);
        slots
    }

    fn fetched(&mut self, id: LanePartition, position: SourceOffset, batches: Vec<FetchedBatch>, end: SourceOffset) {
        let log_start = SourceOffset(self.source_start);
        let result =
            FetchResult::Batches { high_watermark: end, last_stable: end, log_start, batches, aborted: vec![] };
        self.tell(Input::Fetched { partition: id, position, result });
    }

    /// A mirror takes what was sent.
    pub(super) fn store(&mut self, send: &Output, records: i32) {
        let Output::Send { partition, slot, attempt, producer, sequence } = send else { panic!("{send:?}") };
        let base = self.end(*partition);
        self.append(*partition, *producer, *sequence, records);
        let answer = Answer::Stored { base, log_start: TargetOffset(self.mirror_start) };
        self.tell(Input::Produced { partition: *partition, slot: *slot, attempt: *attempt, answer });
    }

    /// Copies records behind holes, with a mark after each: the source offsets 1, 3, 5 and so on from the start, which
    /// are at the target offsets 1, 2, 3 and so on behind the marker. A chunk of the map is two of these ranges, and
    /// its head has three at most.
    pub(super) fn copy_behind_holes(&mut self, id: LanePartition, count: usize) {
        for _ in 0..count {
            self.told();
            self.fetch_behind_holes(id, 1);
            let send = self.told_one();
            self.store(&send, 1);
            self.pass(1_000);
        }
        self.told();
    }

    /// The head of the first partition that the map names, as it is after the next mark.
    pub(super) fn head(&mut self) -> Head {
        self.pass(1_000);
        match self.in_map("head/").into_iter().next() {
            Some(MapRecord::Head(_, head)) => head,
            other => panic!("{other:?}"),
        }
    }

    /// What the map topic holds under keys that begin so, none where it was taken out.
    pub(super) fn in_map(&self, prefix: &str) -> Vec<MapRecord> {
        let mut newest = BTreeMap::new();
        for entry in &self.map {
            if let MapEntry::Record { key, value, .. } = entry
                && key.starts_with(prefix.as_bytes())
            {
                newest.insert(key.clone(), value.clone());
            }
        }
        let there = newest.into_iter().filter_map(|(key, value)| Some((key, value?)));
        there.filter_map(|(key, value)| MapRecord::decode(&key, Some(&value)).expect("it was encoded")).collect()
    }
}
