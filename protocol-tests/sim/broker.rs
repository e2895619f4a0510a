//! Requests as the brokers of both clusters process them.

use twinlog_core::ids::{Producer, SourceOffset, TargetOffset};
use twinlog_core::io::{Ends, Failure, FenceOutcome, Input, LanePartition, MapEntry, Member, ReadResult};
use twinlog_wire::error_code::ErrorCode;

use super::coordinator::{Markers, lane_of};
use super::shell::refusal;
use super::source::Fetch;
use super::target::Payload;
use super::world::{Call, Event, Origin, Request, Target, Waiter, World};

/// A transaction that is open for so long is aborted by its coordinator, in ms.
pub(crate) const TRANSACTION_TIMEOUT_MS: u64 = 20_000;

impl World {
    /// A request reaches its broker.
    pub(crate) fn execute(&mut self, request: Request) {
        if matches!(request.call, Call::WriteMap(_) | Call::Produce { .. }) {
            return self.execute_produce(request);
        }
        if self.stumbles(&request) {
            return;
        }
        let origin = request.origin;
        let lane = self.instances[origin.instance].number;
        let former = self.instances[origin.instance].life != origin.life;
        let owner = self.coordinators[lane].owner.filter(|owner| *owner == origin.instance && !former);
        let stray = matches!(request.call, Call::Add { .. }) && (request.delayed || former)
            || matches!(request.call, Call::Init(_)) && (!request.heard || former);
        if stray {
            // An epoch that nobody got, or a transaction that nobody knows to be open: it fences whoever has the lane,
            // and only who sent it can tell that from another owner.
            self.coordinators[lane].owner = owner;
        }
        let input = match request.call {
            Call::Init(current) => {
                let before = self.coordinators[lane].id;
                let (answer, markers) = self.coordinators[lane].init(origin.instance, current);
                self.write_markers(markers);
                if stray {
                    self.coordinators[lane].owner = owner;
                }
                if self.coordinators[lane].id != before {
                    self.judge_new_id(lane, before);
                }
                if answer.is_ok() && current.is_none() {
                    self.count("lanes taken");
                }
                Input::ProducerId(answer.map_err(Failure::Code))
            }
            Call::Add { producer, members } => match self.add_partitions_to_transaction(lane, producer, &members) {
                None => {
                    if request.heard {
                        let delay = self.rng.delay();
                        self.after(delay, Event::Added { origin, producer });
                    }
                    return;
                }
                Some(outcome) => Input::Fenced(outcome),
            },
            Call::Commit(producer, alone) => {
                let (answer, markers) = self.coordinators[lane].commit(producer);
                self.write_markers(markers);
                Input::Fenced(FenceOutcome::of_commit(Some(answer.err().unwrap_or(ErrorCode::NONE)), alone))
            }
            Call::ReadMap(from) => Input::MapRead { from: TargetOffset(from), result: self.read_map(origin, from) },
            Call::ReadTarget { partition, from, epoch } => {
                let log = &self.targets[partition];
                let result = match log.diverges(from, epoch) {
                    Some(end) => ReadResult::OutOfRange { start: TargetOffset(log.start), end: TargetOffset(end) },
                    None => self.read_log(partition, from, |batch| vec![batch.meta()]),
                };
                Input::TargetRead { partition: id(partition), from: TargetOffset(from), result }
            }
            Call::Probe(partition, position) => {
                let (source, target) = (&self.sources[partition], &self.targets[partition]);
                Input::Probed {
                    partition: id(partition),
                    position,
                    ends: Ok(Ends {
                        source_start: SourceOffset(source.start),
                        source_end: SourceOffset(source.high_watermark),
                        target_start: TargetOffset(target.start),
                        target_end: TargetOffset(target.high_watermark),
                    }),
                }
            }
            Call::LookAtEnds { partition, expected, look } => {
                let log = &self.targets[partition];
                let (start, end) = (TargetOffset(log.start), TargetOffset(log.high_watermark));
                Input::TargetEnds { partition: id(partition), expected: TargetOffset(expected), look, start, end }
            }
            Call::Fetch { partition, position, epoch } => {
                return self.fetch(&request, partition, position, epoch);
            }
            Call::ReadTable => {
                let ((version, table), delay) = (self.table_as_read(), self.rng.delay());
                return self.after(delay, Event::TableRead(origin, version, table));
            }
            Call::EndMove { partition, number } => return self.end_move(partition, number),
            Call::ReadOther { partition, from, number } => {
                let (adoption, delay) = (self.read_other(partition, from, number), self.rng.delay());
                return self.after(delay, Event::OtherRead(origin, partition, adoption.map(Box::new), number));
            }
            Call::WriteMap(_) | Call::Produce { .. } => return,
        };
        if request.heard {
            let delay = self.rng.delay();
            let twice = matches!(input, Input::MapRead { .. } | Input::TargetRead { .. } | Input::TargetEnds { .. });
            if twice && self.rng.chance(self.profile.duplicate_answers) {
                self.after(3 * delay, Event::Input(origin, input.clone()));
            }
            self.after(delay, Event::Input(origin, input));
        }
    }

    /// A broker that is loading, or no longer the one to ask: nothing happens but an error.
    fn stumbles(&mut self, request: &Request) -> bool {
        let down = match request.call {
            Call::ReadTarget { partition, .. } | Call::Probe(partition, _) => {
                self.targets[partition].down_until > self.now
            }
            Call::ReadMap(_) => self.targets[self.map(request.origin)].down_until > self.now,
            Call::ReadOther { from, .. } => self.targets[self.map_of(from as usize)].down_until > self.now,
            _ => false,
        };
        if !down && (self.quiet || !self.rng.chance(self.profile.refusals)) {
            return false;
        }
        let code = match request.call {
            Call::Init(_) | Call::Add { .. } | Call::Commit(..) => {
                self.rng.pick(&[ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, ErrorCode::NOT_COORDINATOR])
            }
            _ => self.rng.pick(&[ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::OFFSET_NOT_AVAILABLE]),
        };
        if request.heard {
            let delay = self.rng.delay();
            // The coordinator's errors of AddPartitionsToTxn stand at each partition.
            let input = match &request.call {
                Call::Add { members, .. } if self.rng.chance(500) => {
                    let codes = members.iter().map(|member| (*member, code)).collect();
                    Some(Input::Fenced(FenceOutcome::NotAdded(codes)))
                }
                call => refusal(call, Failure::Code(code)),
            };
            if let Some(input) = input {
                self.after(delay, Event::Input(request.origin, input));
            }
        }
        true
    }

    /// None if they were added.
    fn add_partitions_to_transaction(
        &mut self,
        lane: usize,
        producer: Producer,
        members: &[Member],
    ) -> Option<FenceOutcome> {
        if !self.quiet && members.len() > 1 && self.rng.chance(self.profile.refusals) {
            // One unknown partition: the others are not tried.
            let bad = self.rng.index(members.len());
            let code =
                |at| if at == bad { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION } else { ErrorCode::OPERATION_NOT_ATTEMPTED };
            let codes = members.iter().enumerate().map(|(at, member)| (*member, code(at))).collect();
            return Some(FenceOutcome::NotAdded(codes));
        }
        let map = self.map_of(lane);
        let partitions: Vec<_> = members.iter().map(|member| partition_of(*member, map)).collect();
        match self.coordinators[lane].add(producer, &partitions, self.now) {
            Ok(()) => None,
            Err(code) if self.rng.chance(500) => Some(FenceOutcome::Failed(Failure::Code(code))),
            Err(code) => Some(FenceOutcome::NotAdded(members.iter().map(|member| (*member, code)).collect())),
        }
    }

    /// EndTxn has answered: the markers come later, one partition after the other.
    pub(crate) fn write_markers(&mut self, markers: Option<Markers>) {
        let Some(markers) = markers else { return };
        for partition in markers.partitions {
            let delay = if self.rng.chance(100) { self.rng.between(500, 3_000) } else { self.rng.delay() };
            let (transaction, producer) = (markers.transaction, markers.producer);
            self.after(delay, Event::Marker { transaction, producer, partition, again: false });
        }
    }

    pub(crate) fn write_marker(&mut self, transaction: u64, producer: Producer, partition: usize, again: bool) {
        if self.targets[partition].down_until > self.now {
            return self.after(50, Event::Marker { transaction, producer, partition, again });
        }
        let wall = self.wall();
        let written = self.targets[partition].mark(producer, wall);
        self.note(|world| {
            format!("marker {producer:?} in {partition}: {written:?}, end {}", world.targets[partition].end())
        });
        self.judge.marked(partition, producer);
        match written {
            // The coordinator takes it for done when all replicas have it, and writes it again if the leader goes.
            Ok(()) if !again => {
                let (base, end) = (0, self.targets[partition].end());
                let target = Target::Marker { transaction, producer };
                self.waiters[partition].push_back(Waiter { end, base, request: 0, origin: Origin::default(), target });
                self.appended(partition);
            }
            Ok(()) => self.appended(partition),
            Err(_) if !again => self.coordinators[lane_of(producer.id)].written(transaction, partition),
            Err(_) => {}
        }
        if !again && !self.quiet && self.rng.chance(self.profile.duplicate_markers) {
            // WriteTxnMarkers was sent again because its first answer was lost.
            self.count("markers twice");
            let delay = self.rng.delay();
            self.after(delay, Event::Marker { transaction, producer, partition, again: true });
        }
    }

    fn read_log<T>(
        &mut self,
        partition: usize,
        from: i64,
        entries_of: impl Fn(&super::target::Batch) -> Vec<T>,
    ) -> ReadResult<T> {
        let most = if self.rng.chance(300) { self.rng.between(1, 4) as usize } else { 1_000 };
        let log = &self.targets[partition];
        if from < log.start || from > log.end() {
            let (start, end) = (TargetOffset(log.start), TargetOffset(log.high_watermark));
            return ReadResult::OutOfRange { start, end };
        }
        let mut next = from;
        let mut entries = Vec::new();
        for batch in log.read(from).take(most) {
            next = next.max(batch.end());
            entries.extend(entries_of(batch));
        }
        ReadResult::Entries { entries, next: TargetOffset(next) }
    }

    fn read_map(&mut self, origin: Origin, from: i64) -> ReadResult<MapEntry> {
        let map = self.map(origin);
        let cleaned = self.targets[map].cleaned.clone();
        self.read_log(map, from, |batch| match &batch.payload {
            Payload::Marker => vec![MapEntry::Marker(batch.producer)],
            Payload::Map(records) => records
                .iter()
                .enumerate()
                // A real read may begin inside of a batch, too: what is before it is left out.
                .filter(|(at, _)| batch.base + *at as i64 >= from && !cleaned.contains(&(batch.base + *at as i64)))
                .map(|(_, (key, value))| MapEntry::Record {
                    producer_id: batch.producer.id,
                    key: key.clone(),
                    value: value.clone(),
                })
                .collect(),
            Payload::Records(_) | Payload::Foreign => Vec::new(),
        })
    }

    fn fetch(&mut self, request: &Request, partition: usize, position: i64, epoch: i32) {
        let most = if self.rng.chance(300) { self.rng.between(1, 3) as usize } else { 20 };
        let fetch = self.sources[partition].fetch(position, epoch, most);
        let mut delay = self.rng.delay();
        match &fetch {
            // The broker waits for more.
            Fetch::Batches { batches, .. } if batches.is_empty() => delay += self.rng.between(50, 300),
            Fetch::Batches { .. } => {}
            Fetch::OutOfRange => self.count("fetches out of range"),
            Fetch::Diverging(_) => self.count("fetches that diverge"),
        }
        if !request.heard {
            return;
        }
        if self.rng.chance(self.profile.duplicate_answers) {
            let again = self.sources[partition].fetch(position, epoch, most);
            self.after(2 * delay, Event::Fetched(request.origin, partition, position, again, false));
        }
        self.after(delay, Event::Fetched(request.origin, partition, position, fetch, true));
    }
}

fn id(partition: usize) -> LanePartition {
    LanePartition(partition as u32)
}

fn partition_of(member: Member, map: usize) -> usize {
    match member {
        Member::Map => map,
        Member::Data(id) => id.0 as usize,
    }
}
