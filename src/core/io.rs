//! What a lane is told and what it asks for: plain values that can be logged, compared and replayed.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use twinlog_wire::batch::BatchMeta;
use twinlog_wire::error_code::ErrorCode;

use crate::batch::{Aborted, FetchedBatch, Repacked, Slot};
use crate::config::{ExistingTopics, GapPolicy};
use crate::halt::Halt;
use crate::ids::{Producer, SourceOffset, TargetOffset, TopicId};
use crate::map_record::PartitionKey;
use crate::moves::Adoption;
use crate::outbox::Answer;
use crate::resolution::{Exit, Resolution};

/// A partition's number within its lane, given by [`crate::lane::Lane::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LanePartition(pub u32);

/// A source partition that the lane is to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSpec {
    /// Source topic and partition.
    pub key: PartitionKey,
    /// Topic id of the source topic as it is now.
    pub source_topic_id: TopicId,
    /// Target topic; the partition number is the same.
    pub target_topic: String,
    /// Topic id of the target topic as it is now.
    pub target_topic_id: TopicId,
    /// What to do if the target holds records before the first run.
    pub existing: ExistingTopics,
    /// What to do if the source deletes records before they were copied.
    pub gap: GapPolicy,
}

/// Why an administrative request came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The broker said no.
    Code(ErrorCode),
    /// It was sent and no answer came.
    Lost,
    /// It never left.
    NotSent,
}

/// Why nothing can be written to a mirror's partition now. It passes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offline {
    /// It has no leader.
    NoLeader,
    /// Its leader, this broker, cannot be reached.
    Unreachable(i32),
}

/// What is tried again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retrying {
    /// In words that name the side.
    pub doing: &'static str,
    /// Why it failed the last time.
    pub failure: Failure,
}

/// What a partition waits for that does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// The mirror's partition is offline.
    TargetOffline(Offline),
    /// Something is tried again and again.
    Retrying(Retrying),
    /// The ends of both logs.
    Ends,
    /// A record in the map.
    Map,
    /// The lane's next fence.
    Fence,
    /// Its marker, or the tail before it.
    Marker,
    /// The answer to what was sent to the mirror.
    Answer,
    /// The source, or room for what it sends.
    Source,
}

/// One partition of a fence transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// The lane's partition of the map topic.
    Map,
    /// A mirror's partition.
    Data(LanePartition),
}

/// What came of a fence transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceOutcome {
    /// The commit was accepted: a marker will be written into every partition.
    Committed,
    /// No partition was added; the codes say why, 55 for those that were not tried because of the others.
    NotAdded(Vec<(Member, ErrorCode)>),
    /// The request failed as a whole before anything was added.
    Failed(Failure),
    /// The coordinator is not done with what was asked before: 51 (CONCURRENT_TRANSACTIONS) to the commit. That may
    /// have been this commit, for which a marker is missing.
    Ending,
    /// Partitions were added and what became of the commit is not known.
    Unknown,
}

impl FenceOutcome {
    /// What a coordinator's code for the commit says; none is no answer. `alone`: nothing was added before, so that 48
    /// (INVALID_TXN_STATE) says that nothing is left to do.
    pub fn of_commit(code: Option<ErrorCode>, alone: bool) -> Self {
        match code {
            Some(ErrorCode::NONE) => Self::Committed,
            Some(ErrorCode::INVALID_TXN_STATE) if alone => Self::Committed,
            Some(ErrorCode::CONCURRENT_TRANSACTIONS) => Self::Ending,
            Some(
                code @ (ErrorCode::INVALID_PRODUCER_EPOCH
                | ErrorCode::PRODUCER_FENCED
                | ErrorCode::INVALID_PRODUCER_ID_MAPPING),
            ) => Self::Failed(Failure::Code(code)),
            _ => Self::Unknown,
        }
    }
}

/// An entry of the map partition's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapEntry {
    /// A record.
    Record {
        /// Whose batch it is in, or -1.
        producer_id: i64,
        /// Key.
        key: Vec<u8>,
        /// Value, none for a tombstone.
        value: Option<Vec<u8>>,
    },
    /// A marker.
    Marker(Producer),
}

/// One answer to reading a log of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadResult<T> {
    /// Entries from the asked offset on.
    Entries {
        /// What was there, possibly nothing yet.
        entries: Vec<T>,
        /// The offset to read next.
        next: TargetOffset,
    },
    /// The asked offset is outside of the log, or what stood before it is gone.
    OutOfRange {
        /// Log start.
        start: TargetOffset,
        /// High watermark, or where the log parts from what was read (KIP-595's diverging epoch).
        end: TargetOffset,
    },
    /// It could not be read now.
    Failed(Failure),
}

/// One answer to a fetch from the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchResult {
    /// Batches from the asked position on; the first may begin before it.
    Batches {
        /// High watermark.
        high_watermark: SourceOffset,
        /// Last stable offset.
        last_stable: SourceOffset,
        /// Log start, or -1 from a broker that does not tell.
        log_start: SourceOffset,
        /// Batches in log order.
        batches: Vec<FetchedBatch>,
        /// Aborted transactions that overlap them.
        aborted: Vec<Aborted>,
    },
    /// The asked position is outside of the log.
    OutOfRange,
    /// The source's history parts from what was copied (KIP-595's diverging epoch).
    Diverging {
        /// Where it parts.
        end: SourceOffset,
    },
    /// It could not be read now.
    Failed(Failure),
}

/// Both logs' ends of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The source's log start.
    pub source_start: SourceOffset,
    /// The source's high watermark.
    pub source_end: SourceOffset,
    /// The target's log start.
    pub target_start: TargetOffset,
    /// The target's high watermark.
    pub target_end: TargetOffset,
}

/// What a lane is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Answer to [`Output::InitProducerId`].
    ProducerId(Result<Producer, Failure>),
    /// Answer to [`Output::Fence`].
    Fenced(FenceOutcome),
    /// Answer to [`Output::ReadMap`].
    MapRead {
        /// The asked offset.
        from: TargetOffset,
        /// What was there.
        result: ReadResult<MapEntry>,
    },
    /// Answer to [`Output::WriteMap`].
    MapWritten(Answer),
    /// Answer to [`Output::Probe`].
    Probed {
        /// Which partition.
        partition: LanePartition,
        /// The position that was asked for.
        position: SourceOffset,
        /// What was there.
        ends: Result<Ends, Failure>,
    },
    /// Answer to [`Output::ReadTarget`].
    TargetRead {
        /// Which partition.
        partition: LanePartition,
        /// The asked offset.
        from: TargetOffset,
        /// What was there.
        result: ReadResult<BatchMeta>,
    },
    /// Answer to [`Output::LookAtEnds`].
    TargetEnds {
        /// Which partition.
        partition: LanePartition,
        /// The end that was expected.
        expected: TargetOffset,
        /// The number of the look.
        look: u32,
        /// The target's log start.
        start: TargetOffset,
        /// The target's high watermark.
        end: TargetOffset,
    },
    /// Answer to [`Output::Repack`]; the error is in words.
    Repacked(LanePartition, Result<Repacked, String>),
    /// A fetch from the source was answered.
    Fetched {
        /// Which partition.
        partition: LanePartition,
        /// The asked position.
        position: SourceOffset,
        /// What came.
        result: FetchResult,
    },
    /// A batch was answered, or lost.
    Produced {
        /// Which partition.
        partition: LanePartition,
        /// Which batch.
        slot: Slot,
        /// Which attempt, as [`Output::Send`] said.
        attempt: u32,
        /// What came of it.
        answer: Answer,
    },
    /// The batch was not sent: the mirror's leader, or the connection to it, is not the one that took the last batch,
    /// and may have lost the mirror's end.
    MirrorMoved {
        /// Which partition.
        partition: LanePartition,
        /// Which batch.
        slot: Slot,
        /// Which attempt, as [`Output::Send`] said.
        attempt: u32,
    },
    /// The shell learned that nothing can be written to a mirror's partition now, or that it can again (none).
    TargetOffline(LanePartition, Option<Offline>),
    /// The shell learned from metadata that the partition must stop.
    Stop(LanePartition, Halt),
    /// Somebody decided how a partition goes on that stopped.
    Resolve {
        /// Which partition.
        partition: LanePartition,
        /// What was decided; what was carried out is not carried out again.
        resolution: Resolution,
        /// What is to be copied by now.
        spec: PartitionSpec,
    },
    /// The table says that the partition goes to another lane: [`crate::moves::Order::Release`].
    Release {
        /// Which partition.
        key: PartitionKey,
        /// The lane that it goes to.
        to: u32,
        /// Number of the move.
        number: u64,
    },
    /// The partition comes from another lane, which has let go of it: [`crate::moves::Order::Adopt`].
    Adopt(PartitionKey, Box<Adoption>),
    /// Another lane has it: what is left of it leaves the map ([`crate::moves::Order::Forget`]).
    Forget(PartitionKey),
    /// The source has no such partition any more, and its mirror was deleted: nothing of it stays in the map.
    Gone(PartitionKey),
    /// Finish what is in flight, write progress, end.
    Drain,
}

/// A batch of map records; the same bytes at every attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapBatch {
    /// Whose sequences these are.
    pub producer: Producer,
    /// Sequence of the first record.
    pub sequence: i32,
    /// Timestamp of all records, in ms.
    pub timestamp_ms: i64,
    /// Key and value of each record.
    pub records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// What a lane asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Get a producer id with a new epoch. With `current`, only if that is still the newest: another owner's epoch
    /// must not be fenced by us.
    InitProducerId {
        /// The lane's present producer, or none to take the lane over.
        current: Option<Producer>,
    },
    /// An empty transaction over these partitions: add them, then commit. Without partitions: commit what is open, if
    /// anything is.
    Fence {
        /// The lane's producer.
        producer: Producer,
        /// The partitions.
        members: Vec<Member>,
    },
    /// Read the lane's partition of the map topic.
    ReadMap {
        /// From this offset on.
        from: TargetOffset,
    },
    /// Write to the lane's partition of the map topic.
    WriteMap(MapBatch),
    /// Ask both clusters for a partition's ends.
    Probe {
        /// Which partition.
        partition: LanePartition,
        /// Where it is: what the source held before says nothing about later positions.
        position: SourceOffset,
    },
    /// Read batch headers of the mirror.
    ReadTarget {
        /// Which partition.
        partition: LanePartition,
        /// From this offset on.
        from: TargetOffset,
        /// The target's leader epoch of the batch before it, or -1: by it the broker sees whether that batch is still
        /// there.
        epoch: i32,
    },
    /// Ask for the mirror's start and end: the end should not have moved.
    LookAtEnds {
        /// Which partition.
        partition: LanePartition,
        /// Where it should be.
        expected: TargetOffset,
        /// The number of the look: an earlier one was at an earlier leader.
        look: u32,
    },
    /// Open a batch, keep records from `from` on, number them anew.
    Repack {
        /// Which partition.
        partition: LanePartition,
        /// Which batch; its bytes are replaced.
        slot: Slot,
        /// Source offsets below this are left out.
        from: SourceOffset,
    },
    /// Send a batch to the mirror's leader. The answer is [`Input::Produced`] or [`Input::MirrorMoved`], exactly one a
    /// send.
    Send {
        /// Which partition.
        partition: LanePartition,
        /// Which batch.
        slot: Slot,
        /// Which attempt this is.
        attempt: u32,
        /// Whose sequence it gets.
        producer: Producer,
        /// The sequence of its first record.
        sequence: i32,
    },
    /// The bytes are no longer needed.
    Release(Slot),
    /// Something that people or metrics want to know.
    Event(Event),
    /// The lane is over; the reason says what to do. Nothing follows.
    Over(Over),
}

/// Something that people or metrics want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The map was read: the lane is ours.
    Taken {
        /// The lane's producer.
        producer: Producer,
    },
    /// A partition is being copied, from this position on.
    Copying(LanePartition, SourceOffset),
    /// The partition's tail is read again because the fate of a batch is unknown.
    Resolving(LanePartition),
    /// The target takes nothing of the partition for now: what is from this position on is fetched again later.
    GaveWay(LanePartition, SourceOffset),
    /// The mirror lost its end; what it lost is copied again.
    CutBack {
        /// Which partition.
        partition: LanePartition,
        /// The target offsets that are gone: from, and up to.
        target: (TargetOffset, TargetOffset),
        /// The source offsets that are copied again: from, and up to.
        source: (SourceOffset, SourceOffset),
    },
    /// Nothing can be written to the mirror's partition for now; it goes on by itself.
    TargetOffline(LanePartition, Offline),
    /// The source has more, and the copy has not moved for long.
    Stalled(LanePartition, WaitsFor),
    /// A partition that was stalled or whose target was offline is no longer so.
    GoesOn(LanePartition, SourceOffset),
    /// The partition stopped.
    Halted(LanePartition, Halt),
    /// The partition goes on after it stopped, as somebody decided or the link's policy says.
    Resolved(LanePartition, Exit),
    /// The lane has let go of a partition, and says so in its map.
    Released(PartitionKey, u32),
    /// A partition of another lane is in this lane's map: it can be added.
    Adopted(PartitionKey),
    /// Nothing of a partition is in this lane's map any more.
    Forgotten(PartitionKey),
    /// Something is tried again, for the first time or for another reason than before.
    Retrying(Option<LanePartition>, Failure, &'static str),
}

/// Why a lane is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// Drained: all that was in flight is on the target and in the map.
    Drained,
    /// Another instance owns the lane.
    Lost,
    /// The lane's own state is in doubt: begin it again from its map.
    Restart(&'static str),
    /// The map topic holds something that this build does not understand, or that belongs to another link.
    BadMap(String),
    /// The target forbids what the lane needs.
    Forbidden(ErrorCode, &'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_coordinator_says_of_a_commit() {
        let of = |code: ErrorCode| FenceOutcome::of_commit(Some(code), false);
        assert_eq!(of(ErrorCode::NONE), FenceOutcome::Committed);
        assert_eq!(of(ErrorCode::CONCURRENT_TRANSACTIONS), FenceOutcome::Ending);
        for code in
            [ErrorCode::INVALID_PRODUCER_EPOCH, ErrorCode::PRODUCER_FENCED, ErrorCode::INVALID_PRODUCER_ID_MAPPING]
        {
            assert_eq!(of(code), FenceOutcome::Failed(Failure::Code(code)));
        }
        for code in [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE, ErrorCode::REQUEST_TIMED_OUT] {
            assert_eq!(of(code), FenceOutcome::Unknown, "{code}");
        }
        assert_eq!(FenceOutcome::of_commit(None, true), FenceOutcome::Unknown);
        // With partitions added, somebody else has ended the transaction.
        assert_eq!(of(ErrorCode::INVALID_TXN_STATE), FenceOutcome::Unknown);
        assert_eq!(FenceOutcome::of_commit(Some(ErrorCode::INVALID_TXN_STATE), true), FenceOutcome::Committed);
    }
}
