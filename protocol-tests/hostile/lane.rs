//! A lane that is told anything, in any order: true answers to what it asked for, false ones, and what it never asked.

use std::collections::VecDeque;

use arbitrary::{Result, Unstructured};
use twinlog_core::batch::{Aborted, BatchKind, FetchedBatch, Repacked, Run, Slot};
use twinlog_core::config::{ExistingTopics, GapPolicy};
use twinlog_core::halt::Halt;
use twinlog_core::ids::{Now, Producer, SourceOffset, TargetOffset};
use twinlog_core::io::{
    Ends, Failure, FenceOutcome, FetchResult, Input, LanePartition, MapEntry, Member, Offline, Output, PartitionSpec,
    ReadResult,
};
use twinlog_core::lane::{EpochLimits, Lane, LaneConfig};
use twinlog_core::map_record::{LinkRecord, PartitionKey};
use twinlog_core::outbox::Answer;
use twinlog_core::resolution::{Exit, Resolution};
use twinlog_wire::batch::BatchMeta;
use twinlog_wire::error_code::ErrorCode;

const PARTITIONS: u32 = 3;
const STEPS_MAX: usize = 400;
/// Each output is asked for by an input or a timer: many more in one step would never end.
const OUTPUTS_MAX: usize = 10_000;

/// The events are what the bytes say, up to their end.
pub(super) fn events(data: &[u8]) {
    let mut driver = Driver::new();
    let mut bytes = Unstructured::new(data);
    for _ in 0..STEPS_MAX {
        if bytes.is_empty() || driver.is_over || driver.step(&mut bytes).is_err() {
            return;
        }
    }
}

struct Driver {
    lane: Lane,
    now: Now,
    /// What the lane waits for.
    asked: VecDeque<Output>,
    slots: u64,
    /// The last producer that it was given.
    producer: Producer,
    is_over: bool,
}

impl Driver {
    fn new() -> Self {
        let link = ["link", "source", "target"].map(str::to_owned);
        let [link, source_cluster, target_cluster] = link;
        let config = LaneConfig {
            link: LinkRecord { link, source_cluster, target_cluster },
            producer_expiration_ms: 60_000,
            mark_interval_ms: 1_000,
            queue_bytes_max: 10_000,
            chunk_ranges: 2,
            keep_alive_ms: 20_000,
            epochs: EpochLimits { change_from: 5, hold_from: 9 },
        };
        let now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };
        let lane = Lane::new(config, now);
        let producer = Producer { id: 7, epoch: 0 };
        Self { lane, now, asked: VecDeque::new(), slots: 0, producer, is_over: false }
    }

    fn step(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        match bytes.int_in_range(0..=9)? {
            0 => self.lane.handle_timeout(self.now),
            1 => {
                let ms = bytes.int_in_range(0..=40_000)?;
                self.now = Now { mono_ms: self.now.mono_ms + ms, wall_ms: self.now.wall_ms + ms.cast_signed() };
                self.lane.handle_timeout(self.now);
            }
            2 => {
                let number = bytes.int_in_range(0..=PARTITIONS - 1)?;
                self.lane.add(self.now, spec(number));
            }
            3 => {
                let input = self.input(bytes)?;
                self.lane.handle(self.now, input);
            }
            4 | 5 => {
                let id = LanePartition(bytes.int_in_range(0..=PARTITIONS)?);
                let wanted = self.lane.wants_fetch(self.now, id).map(|(position, _)| position);
                let position =
                    if bytes.ratio(1, 8)? { None } else { wanted }.unwrap_or(SourceOffset(self.number(bytes)?));
                let result = self.fetched(bytes, position)?;
                self.lane.handle(self.now, Input::Fetched { partition: id, position, result });
            }
            _ => {
                let place = bytes.choose_index(self.asked.len().max(1))?;
                if let Some(output) = self.asked.remove(place) {
                    let input = self.answer(bytes, output)?;
                    self.lane.handle(self.now, input);
                }
            }
        }
        for _ in 0..OUTPUTS_MAX {
            let Some(output) = self.lane.poll_output(self.now) else { return Ok(()) };
            assert!(!self.is_over, "{output:?} after the end");
            match output {
                Output::Event(_) | Output::Release(_) => {}
                Output::Over(_) => self.is_over = true,
                output => self.asked.push_back(output),
            }
        }
        panic!("{OUTPUTS_MAX} outputs and no end");
    }

    /// Small ones mostly, as they meet; sometimes any.
    fn number(&self, bytes: &mut Unstructured<'_>) -> Result<i64> {
        match bytes.ratio(1, 16)? {
            true => bytes.arbitrary(),
            false => bytes.int_in_range(-1..=60),
        }
    }

    fn source(&self, bytes: &mut Unstructured<'_>) -> Result<SourceOffset> {
        self.number(bytes).map(SourceOffset)
    }

    fn target(&self, bytes: &mut Unstructured<'_>) -> Result<TargetOffset> {
        self.number(bytes).map(TargetOffset)
    }

    fn code(&self, bytes: &mut Unstructured<'_>) -> Result<ErrorCode> {
        Ok(ErrorCode(bytes.int_in_range(-1..=120)?))
    }

    fn failure(&self, bytes: &mut Unstructured<'_>) -> Result<Failure> {
        Ok(match bytes.int_in_range(0..=2)? {
            0 => Failure::Code(self.code(bytes)?),
            1 => Failure::Lost,
            _ => Failure::NotSent,
        })
    }

    /// Mostly the lane's own.
    fn producer(&self, bytes: &mut Unstructured<'_>) -> Result<Producer> {
        Ok(match bytes.int_in_range(0..=3)? {
            0 => Producer { id: bytes.int_in_range(-1..=9)?, epoch: bytes.int_in_range(-1..=12)? },
            _ => self.producer,
        })
    }

    /// A header that can be read: what the shell hands on.
    fn meta(&self, bytes: &mut Unstructured<'_>, base_offset: i64) -> Result<Option<BatchMeta>> {
        let Producer { id: producer_id, epoch: producer_epoch } = self.producer(bytes)?;
        let last_offset_delta = bytes.int_in_range(0..=5)?;
        let meta = BatchMeta {
            base_offset,
            len: bytes.int_in_range(61..=2_000)?,
            leader_epoch: bytes.int_in_range(-1..=3)?,
            crc: 0,
            attributes: *bytes.choose(&[0, 0, 0, 4, 5, 8, 0x10, 0x30, 0x40])?,
            last_offset_delta,
            base_timestamp: self.now.wall_ms,
            max_timestamp: if bytes.ratio(1, 4)? { 0 } else { self.now.wall_ms },
            producer_id,
            producer_epoch,
            base_sequence: bytes.int_in_range(-1..=40)?,
            record_count: bytes.int_in_range(0..=last_offset_delta + 1)?,
        };
        let is_one = base_offset >= 0 && base_offset.checked_add(i64::from(last_offset_delta) + 1).is_some();
        Ok(is_one.then_some(meta))
    }

    fn fetched(&mut self, bytes: &mut Unstructured<'_>, position: SourceOffset) -> Result<FetchResult> {
        Ok(match bytes.int_in_range(0..=9)? {
            0 => FetchResult::OutOfRange,
            1 => FetchResult::Diverging { end: self.source(bytes)? },
            2 => FetchResult::Failed(self.failure(bytes)?),
            _ => {
                let mut batches = Vec::new();
                let mut next = position.0.saturating_add(bytes.int_in_range(-2..=2)?);
                for _ in 0..bytes.int_in_range(0..=4)? {
                    let Some(meta) = self.meta(bytes, next)? else { break };
                    next = meta.next_offset().saturating_add(bytes.int_in_range(0..=1)?);
                    self.slots += 1;
                    let kind = match bytes.int_in_range(0..=6)? {
                        _ if meta.is_control() => BatchKind::Control { meta, abort: bytes.arbitrary()? },
                        0 => BatchKind::Legacy {
                            first: SourceOffset(meta.base_offset),
                            last: SourceOffset(meta.last_offset()),
                        },
                        _ => BatchKind::Records(meta),
                    };
                    batches.push(FetchedBatch { slot: Slot(self.slots), kind });
                }
                let mut aborted = Vec::new();
                for _ in 0..bytes.int_in_range(0..=2)? {
                    let producer_id = self.producer(bytes)?.id;
                    aborted.push(Aborted { producer_id, first_offset: self.source(bytes)? });
                }
                FetchResult::Batches {
                    high_watermark: self.source(bytes)?,
                    last_stable: self.source(bytes)?,
                    log_start: self.source(bytes)?,
                    batches,
                    aborted,
                }
            }
        })
    }

    fn answer_to_write(&self, bytes: &mut Unstructured<'_>) -> Result<Answer> {
        Ok(match bytes.int_in_range(0..=7)? {
            0 => Answer::Lost,
            1 => Answer::NotSent,
            2 => Answer::Refused(self.code(bytes)?, String::new()),
            _ => Answer::Stored { base: self.target(bytes)?, log_start: self.target(bytes)? },
        })
    }

    fn read<T>(
        &self,
        bytes: &mut Unstructured<'_>,
        from: TargetOffset,
        mut entry: impl FnMut(&mut Unstructured<'_>, i64) -> Result<Option<(T, i64)>>,
    ) -> Result<ReadResult<T>> {
        Ok(match bytes.int_in_range(0..=7)? {
            0 => ReadResult::OutOfRange { start: self.target(bytes)?, end: self.target(bytes)? },
            1 => ReadResult::Failed(self.failure(bytes)?),
            _ => {
                let (mut entries, mut next) = (Vec::new(), from.0);
                for _ in 0..bytes.int_in_range(0..=4)? {
                    let Some((read, after)) = entry(bytes, next)? else { break };
                    entries.push(read);
                    next = after;
                }
                ReadResult::Entries { entries, next: TargetOffset(next) }
            }
        })
    }

    /// An answer of the right kind.
    fn answer(&mut self, bytes: &mut Unstructured<'_>, output: Output) -> Result<Input> {
        Ok(match output {
            Output::InitProducerId { .. } => Input::ProducerId(match bytes.ratio(1, 6)? {
                true => Err(self.failure(bytes)?),
                false => {
                    let Producer { id, epoch } = self.producer;
                    self.producer = match bytes.ratio(1, 8)? {
                        true => Producer { id: id.wrapping_add(1), epoch: 0 },
                        false => Producer { id, epoch: epoch.saturating_add(1) },
                    };
                    Ok(self.producer)
                }
            }),
            Output::Fence { members, .. } => Input::Fenced(match bytes.int_in_range(0..=7)? {
                0 => FenceOutcome::NotAdded(
                    members.into_iter().map(|member| Ok((member, self.code(bytes)?))).collect::<Result<_>>()?,
                ),
                1 => FenceOutcome::Failed(self.failure(bytes)?),
                2 => FenceOutcome::Ending,
                3 => FenceOutcome::Unknown,
                _ => FenceOutcome::Committed,
            }),
            Output::ReadMap { from } => Input::MapRead { from, result: self.map_read(bytes, from)? },
            Output::WriteMap(_) => Input::MapWritten(self.answer_to_write(bytes)?),
            Output::Probe { partition, position } => {
                let ends = match bytes.ratio(1, 6)? {
                    true => Err(self.failure(bytes)?),
                    false => Ok(Ends {
                        source_start: self.source(bytes)?,
                        source_end: self.source(bytes)?,
                        target_start: self.target(bytes)?,
                        target_end: self.target(bytes)?,
                    }),
                };
                Input::Probed { partition, position, ends }
            }
            Output::ReadTarget { partition, from, .. } => {
                let batch = |bytes: &mut Unstructured<'_>, next: i64| {
                    Ok(self.meta(bytes, next)?.map(|meta| (meta, meta.next_offset())))
                };
                Input::TargetRead { partition, from, result: self.read(bytes, from, batch)? }
            }
            Output::LookAtEnds { partition, expected, look } => {
                let end = if bytes.ratio(1, 2)? { expected } else { self.target(bytes)? };
                Input::TargetEnds { partition, expected, look, start: self.target(bytes)?, end }
            }
            Output::Repack { partition, from, .. } => Input::Repacked(
                partition,
                match bytes.ratio(1, 6)? {
                    true => Err("damaged".to_owned()),
                    false => Ok(self.repacked(bytes, from)?),
                },
            ),
            Output::Send { partition, slot, attempt, .. } => match bytes.ratio(1, 8)? {
                true => Input::MirrorMoved { partition, slot, attempt },
                false => Input::Produced { partition, slot, attempt, answer: self.answer_to_write(bytes)? },
            },
            Output::Release(_) | Output::Event(_) | Output::Over(_) => Input::Drain,
        })
    }

    fn map_read(&self, bytes: &mut Unstructured<'_>, from: TargetOffset) -> Result<ReadResult<MapEntry>> {
        self.read(bytes, from, |bytes, next| {
            let entry = match bytes.ratio(1, 2)? {
                true => MapEntry::Marker(self.producer(bytes)?),
                false => MapEntry::Record {
                    producer_id: self.producer(bytes)?.id,
                    key: bytes.arbitrary()?,
                    value: bytes.arbitrary()?,
                },
            };
            Ok(next.checked_add(1).map(|after| (entry, after)))
        })
    }

    fn repacked(&self, bytes: &mut Unstructured<'_>, from: SourceOffset) -> Result<Repacked> {
        let (mut runs, mut next) = (Vec::new(), from);
        for _ in 0..bytes.int_in_range(0..=3)? {
            let start = next.plus(bytes.int_in_range(0..=2)?);
            let run = Run { start, len: bytes.int_in_range(1..=4)? };
            next = run.end();
            runs.push(run);
        }
        Ok(Repacked { bytes: bytes.int_in_range(61..=2_000)?, max_timestamp: self.now.wall_ms, runs })
    }

    /// What the lane may not have asked for.
    fn input(&mut self, bytes: &mut Unstructured<'_>) -> Result<Input> {
        let partition = LanePartition(bytes.int_in_range(0..=PARTITIONS)?);
        let key = || spec(partition.0).key;
        Ok(match bytes.int_in_range(0..=10)? {
            0 => Input::Drain,
            1 => Input::TargetOffline(
                partition,
                match bytes.int_in_range(0..=2)? {
                    0 => None,
                    1 => Some(Offline::NoLeader),
                    _ => Some(Offline::Unreachable(1)),
                },
            ),
            2 => Input::Stop(partition, if bytes.arbitrary()? { Halt::SourceDeleted } else { Halt::Recreated }),
            3 => Input::Release { key: key(), to: 1, number: bytes.int_in_range(0..=3)? },
            4 => Input::Forget(key()),
            5 => Input::Fenced(FenceOutcome::NotAdded(vec![(Member::Data(partition), self.code(bytes)?)])),
            6 => {
                let slot = Slot(bytes.int_in_range(0..=20)?);
                let attempt = bytes.int_in_range(0..=3)?;
                Input::Produced { partition, slot, attempt, answer: self.answer_to_write(bytes)? }
            }
            7 => {
                let from = self.target(bytes)?;
                Input::MapRead { from, result: self.map_read(bytes, from)? }
            }
            8 => {
                let from = self.source(bytes)?;
                Input::Repacked(partition, Ok(self.repacked(bytes, from)?))
            }
            9 => Input::Gone(key()),
            _ => {
                let exit = bytes.choose(&Exit::NAMES)?.1;
                let (number, state) = (bytes.int_in_range(0..=5)?, *bytes.choose(&["gap", "recreated", "diverged"])?);
                let resolution = Resolution { number, exit, state: state.to_owned(), at_ms: 0 };
                let target_topic_id = [bytes.int_in_range(2..=3)?; 16];
                let spec = PartitionSpec { target_topic_id, ..spec(partition.0) };
                Input::Resolve { partition, resolution, spec }
            }
        })
    }
}

fn spec(number: u32) -> PartitionSpec {
    PartitionSpec {
        key: PartitionKey { topic: "topic".to_owned(), partition: number.cast_signed() },
        source_topic_id: [1; 16],
        target_topic: "topic".to_owned(),
        target_topic_id: [2; 16],
        existing: ExistingTopics::Append,
        gap: GapPolicy::Halt,
    }
}
