//! Keys and values of the map topic `__twinlog.<link>.map`, one partition a lane.
//!
//! | key | value | life |
//! |---|---|---|
//! | `link` | [`LinkRecord`]: whose map this is | as long as the link |
//! | `head/<topic>/<partition>` | [`Head`]: progress and newest ranges of a partition | rewritten while it moves |
//! | `halt/<topic>/<partition>` | name and words of the [`crate::halt::Halt`] | until it goes on |
//! | `chunk/<topic>/<partition>/<n>` | [`Chunk`]: older ranges | until both logs start behind it |
//! | `released/<topic>/<partition>` | [`Released`]: this lane let go of it | until the lane that it went to has it |
//! | `came/<topic>/<partition>` | [`Came`]: it came from another lane | as long as it is in this lane |
//! | `plan/<n>` | [`PlanList`]: which sequence stands for which source offset | until all its heads are past it |
//! | `ids` | every producer id that the lane ever had | as long as the link |
//!
//! Keys are text so that any console consumer shows what is there. Values are numbers of variable length (zigzag
//! where they can be negative), after one byte for the version of the format.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub use crate::codec::{BadRecord, FORMAT};
use crate::codec::{Reader, Writer, number};
use crate::ids::{Producer, SourceOffset, TargetOffset, TopicId};
use crate::offset_map::{Extent, Range};
use crate::resolution::{Lost, LostRange};

/// A record of the map topic. No value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapRecord {
    /// Whose map this is.
    Link(LinkRecord),
    /// Progress of one partition.
    Head(PartitionKey, Head),
    /// The partition is no longer in this lane.
    HeadGone(PartitionKey),
    /// Why a partition stopped, name and words; none once it goes on.
    Halt(PartitionKey, Option<(String, String)>),
    /// Older ranges of one partition; its number counts from 0.
    Chunk(PartitionKey, u64, Chunk),
    /// A chunk is no longer needed.
    ChunkGone(PartitionKey, u64),
    /// The lane let go of a partition; none once another lane has it for good.
    Released(PartitionKey, Option<Released>),
    /// The partition came from another lane; none once it is no longer in this one.
    Came(PartitionKey, Option<Came>),
    /// Plans; the number grows by one a record.
    Plans(u64, PlanList),
    /// A plan record is no longer needed.
    PlansGone(u64),
    /// Every producer id that the lane ever had.
    Ids(BTreeSet<i64>),
}

/// A source partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// Source topic.
    pub topic: String,
    /// Partition number, the same on both sides.
    pub partition: i32,
}

/// Whose map this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRecord {
    /// The link's name.
    pub link: String,
    /// Cluster id of the source.
    pub source_cluster: String,
    /// Cluster id of the target.
    pub target_cluster: String,
}

/// A lane has let go of a partition: nothing of it is in flight, and nothing of an earlier epoch can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// The lane that it goes to.
    pub to: u32,
    /// Which of the partition's moves this is, counted from 1.
    pub number: u64,
}

/// A partition came from another lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    /// Which of the partition's moves that was.
    pub number: u64,
    /// Producer ids of the lanes that it was in before: markers of theirs may still come to be on the mirror.
    pub earlier: Vec<i64>,
}

/// Which source offset a sequence stands for, acknowledged before the first such batch is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whose sequences these are.
    pub producer: Producer,
    /// The sequence of the record at `source_start`.
    pub sequence: i32,
    /// The source offset of that record; the following ones are one apart.
    pub source_start: SourceOffset,
    /// The target offset that it will get if nothing else is written before it: never a lower one.
    pub target_start: TargetOffset,
    /// Leader epoch of the source when it was written, or -1.
    pub leader_epoch: i32,
}

/// Progress and newest ranges of one source partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Topic id of the source topic.
    pub source_topic_id: TopicId,
    /// Name of the target topic.
    pub target_topic: String,
    /// Topic id of the target topic.
    pub target_topic_id: TopicId,
    /// Up to where the copy was when this was written.
    pub extent: Extent,
    /// Leader epoch of the source's batch before `extent.synced`, or -1.
    pub leader_epoch: i32,
    /// The target's leader epoch when its log was last read up to a marker, or -1.
    pub verified_epoch: i32,
    /// The sequence that follows the last acknowledged record, and the source offset it was planned for.
    pub cursor: Option<Plan>,
    /// The first chunk of older ranges that is still needed: those before it were taken out.
    pub first_chunk: u64,
    /// The number that the next chunk gets.
    pub chunks: u64,
    /// The last range that was taken out because both logs start behind it.
    pub pruned: Option<Range>,
    /// Ranges since the last chunk.
    pub ranges: Vec<Range>,
    /// The number of the last decision about it that was carried out, or 0.
    pub resolved: u64,
    /// Source offsets that were left out.
    pub lost: Lost,
}

/// Older ranges of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Ranges, in order.
    pub ranges: Vec<Range>,
}

/// New plans, of all partitions that one fetch answer had new ranges for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanList {
    /// One entry a new range, in the order in which they were made.
    pub entries: Vec<(PartitionKey, Plan)>,
}

impl MapRecord {
    /// The key bytes, and the value bytes unless the record is a tombstone.
    pub fn encode(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut out = Writer::new();
        let key = match self {
            Self::Link(link) => {
                out.text(&link.link);
                out.text(&link.source_cluster);
                out.text(&link.target_cluster);
                "link".to_string()
            }
            Self::Head(key, head) => {
                head.write(&mut out);
                format!("head/{}/{}", key.topic, key.partition)
            }
            Self::HeadGone(key) => return (format!("head/{}/{}", key.topic, key.partition).into_bytes(), None),
            Self::Halt(key, halt) => {
                let name = format!("halt/{}/{}", key.topic, key.partition);
                let Some((state, words)) = halt else { return (name.into_bytes(), None) };
                out.text(state);
                out.text(words);
                name
            }
            Self::Chunk(key, number, chunk) => {
                out.ranges(&chunk.ranges);
                format!("chunk/{}/{}/{number}", key.topic, key.partition)
            }
            Self::ChunkGone(key, number) => {
                return (format!("chunk/{}/{}/{number}", key.topic, key.partition).into_bytes(), None);
            }
            Self::Released(key, released) => {
                let name = format!("released/{}/{}", key.topic, key.partition);
                let Some(released) = released else { return (name.into_bytes(), None) };
                out.unsigned(u64::from(released.to));
                out.unsigned(released.number);
                name
            }
            Self::Came(key, came) => {
                let name = format!("came/{}/{}", key.topic, key.partition);
                let Some(came) = came else { return (name.into_bytes(), None) };
                out.unsigned(came.number);
                came.earlier.iter().for_each(|id| out.signed(*id));
                name
            }
            Self::Plans(number, plans) => {
                plans.write(&mut out);
                format!("plan/{number}")
            }
            Self::PlansGone(number) => return (format!("plan/{number}").into_bytes(), None),
            Self::Ids(ids) => {
                out.unsigned(ids.len() as u64);
                ids.iter().for_each(|id| out.signed(*id));
                "ids".to_string()
            }
        };
        (key.into_bytes(), Some(out.bytes))
    }

    /// Reads a record; `Ok(None)` is a tombstone that says nothing.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, BadRecord> {
        let key = core::str::from_utf8(key).map_err(|_| BadRecord { reason: "key is not text" })?;
        let mut parts = key.split('/');
        let kind = parts.next().unwrap_or_default();
        let Some(value) = value else {
            return match kind {
                "plan" => Ok(Some(Self::PlansGone(number(parts.next())?))),
                "head" => Ok(Some(Self::HeadGone(partition_key(&mut parts)?))),
                "halt" => Ok(Some(Self::Halt(partition_key(&mut parts)?, None))),
                "released" => Ok(Some(Self::Released(partition_key(&mut parts)?, None))),
                "came" => Ok(Some(Self::Came(partition_key(&mut parts)?, None))),
                "chunk" => Ok(Some(Self::ChunkGone(partition_key(&mut parts)?, number(parts.next())?))),
                _ => Ok(None),
            };
        };
        let mut input = Reader::new(value)?;
        let record = match kind {
            "link" => Self::Link(LinkRecord {
                link: input.text()?,
                source_cluster: input.text()?,
                target_cluster: input.text()?,
            }),
            "head" => Self::Head(partition_key(&mut parts)?, Head::read(&mut input)?),
            "halt" => Self::Halt(partition_key(&mut parts)?, Some((input.text()?, input.text()?))),
            "chunk" => {
                let key = partition_key(&mut parts)?;
                Self::Chunk(key, number(parts.next())?, Chunk { ranges: input.ranges()? })
            }
            "released" => Self::Released(
                partition_key(&mut parts)?,
                Some(Released { to: input.lane()?, number: input.unsigned()? }),
            ),
            "came" => {
                let key = partition_key(&mut parts)?;
                let mut came = Came { number: input.unsigned()?, earlier: Vec::new() };
                while !input.rest.is_empty() {
                    came.earlier.push(input.signed()?);
                }
                Self::Came(key, Some(came))
            }
            "plan" => Self::Plans(number(parts.next())?, PlanList::read(&mut input)?),
            "ids" => Self::Ids((0..input.unsigned()?).map(|_| input.signed()).collect::<Result<_, _>>()?),
            _ => return Err(BadRecord { reason: "unknown kind of key" }),
        };
        if input.rest.is_empty() { Ok(Some(record)) } else { Err(BadRecord { reason: "bytes left over" }) }
    }
}

fn partition_key<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<PartitionKey, BadRecord> {
    let topic = parts.next().ok_or(BadRecord { reason: "key without a topic" })?.to_string();
    let partition =
        parts.next().and_then(|text| text.parse().ok()).ok_or(BadRecord { reason: "key without a partition" })?;
    Ok(PartitionKey { topic, partition })
}

impl Head {
    fn write(&self, out: &mut Writer) {
        out.bytes.extend_from_slice(&self.source_topic_id);
        out.text(&self.target_topic);
        out.bytes.extend_from_slice(&self.target_topic_id);
        out.signed(self.extent.synced.0);
        out.signed(self.extent.next_target.0);
        out.signed(i64::from(self.leader_epoch));
        out.signed(i64::from(self.verified_epoch));
        match &self.cursor {
            None => out.unsigned(0),
            Some(plan) => {
                out.unsigned(1);
                plan.write(out);
            }
        }
        out.unsigned(self.first_chunk);
        out.unsigned(self.chunks);
        out.ranges(self.pruned.as_slice());
        out.ranges(&self.ranges);
        out.unsigned(self.resolved);
        out.unsigned(self.lost.offsets);
        out.unsigned(self.lost.ranges.len() as u64);
        for range in &self.lost.ranges {
            out.signed(range.from.0);
            out.signed(range.to.0);
            out.signed(range.at_ms);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, BadRecord> {
        Ok(Self {
            source_topic_id: input.topic_id()?,
            target_topic: input.text()?,
            target_topic_id: input.topic_id()?,
            extent: Extent { synced: SourceOffset(input.signed()?), next_target: TargetOffset(input.signed()?) },
            leader_epoch: input.int()?,
            verified_epoch: input.int()?,
            cursor: if input.flag()? { Some(Plan::read(input)?) } else { None },
            first_chunk: input.unsigned()?,
            chunks: input.unsigned()?,
            pruned: input.ranges()?.pop(),
            ranges: input.ranges()?,
            resolved: input.unsigned()?,
            lost: Lost { offsets: input.unsigned()?, ranges: lost_ranges(input)? },
        })
    }
}

fn lost_ranges(input: &mut Reader<'_>) -> Result<Vec<LostRange>, BadRecord> {
    let count = input.unsigned()?;
    let mut read = || {
        let (from, to) = (SourceOffset(input.signed()?), SourceOffset(input.signed()?));
        Ok(LostRange { from, to, at_ms: input.signed()? })
    };
    (0..count).map(|_| read()).collect()
}

impl Plan {
    fn write(&self, out: &mut Writer) {
        out.signed(self.producer.id);
        out.signed(i64::from(self.producer.epoch));
        out.signed(i64::from(self.sequence));
        out.signed(self.source_start.0);
        out.signed(self.target_start.0);
        out.signed(i64::from(self.leader_epoch));
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, BadRecord> {
        Ok(Self {
            producer: Producer {
                id: input.signed()?,
                epoch: i16::try_from(input.signed()?).map_err(|_| BadRecord { reason: "epoch out of range" })?,
            },
            sequence: input.int()?,
            source_start: SourceOffset(input.signed()?),
            target_start: TargetOffset(input.signed()?),
            leader_epoch: input.int()?,
        })
    }
}

impl PlanList {
    /// Entries of one partition after another share its name.
    fn write(&self, out: &mut Writer) {
        let mut rest = self.entries.as_slice();
        while let Some((key, _)) = rest.first() {
            let run = rest.iter().take_while(|(other, _)| other == key).count();
            let (now, later) = rest.split_at(run);
            out.text(&key.topic);
            out.signed(i64::from(key.partition));
            out.unsigned(run as u64);
            for (_, plan) in now {
                plan.write(out);
            }
            rest = later;
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, BadRecord> {
        let mut entries = Vec::new();
        while !input.rest.is_empty() {
            let key = PartitionKey { topic: input.text()?, partition: input.int()? };
            for _ in 0..input.unsigned()? {
                entries.push((key.clone(), Plan::read(input)?));
            }
        }
        Ok(Self { entries })
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) fn plan(sequence: i32, source: i64) -> Plan {
        Plan {
            producer: Producer { id: 4000, epoch: 7 },
            sequence,
            source_start: SourceOffset(source),
            target_start: TargetOffset(source),
            leader_epoch: -1,
        }
    }

    /// With something in each field.
    pub(crate) fn head() -> Head {
        Head {
            source_topic_id: [1; 16],
            target_topic: "orders.eu.replica".into(),
            target_topic_id: [2; 16],
            extent: Extent { synced: SourceOffset(900), next_target: TargetOffset(812) },
            leader_epoch: 5,
            verified_epoch: 3,
            cursor: Some(plan(811, 900)),
            first_chunk: 1,
            chunks: 3,
            pruned: Some(Range { source_start: SourceOffset(-9), target_start: TargetOffset(-8), len: 7 }),
            ranges: alloc::vec![
                Range { source_start: SourceOffset(0), target_start: TargetOffset(1), len: 100 },
                Range { source_start: SourceOffset(101), target_start: TargetOffset(101), len: 700 },
            ],
            resolved: 300,
            lost: Lost {
                offsets: 90,
                ranges: alloc::vec![LostRange {
                    from: SourceOffset(9),
                    to: SourceOffset(99),
                    at_ms: 1_700_000_000_000
                }],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{head, plan};
    use super::*;
    use alloc::vec;

    fn key(partition: i32) -> PartitionKey {
        PartitionKey { topic: "orders.eu".into(), partition }
    }

    fn samples() -> Vec<MapRecord> {
        vec![
            MapRecord::Link(LinkRecord {
                link: "dr".into(),
                source_cluster: "aaa".into(),
                target_cluster: "bbb".into(),
            }),
            MapRecord::Head(key(3), head()),
            MapRecord::Head(key(4), Head { cursor: None, pruned: None, ranges: vec![], ..head() }),
            MapRecord::Halt(key(3), Some(("diverged".into(), "expected 5, found 6".into()))),
            MapRecord::Halt(key(3), None),
            MapRecord::Chunk(key(3), 2, Chunk { ranges: head().ranges }),
            MapRecord::ChunkGone(key(3), 0),
            MapRecord::HeadGone(key(3)),
            MapRecord::Released(key(3), Some(Released { to: 7, number: 2 })),
            MapRecord::Released(key(3), None),
            MapRecord::Came(key(3), Some(Came { number: 2, earlier: vec![4000, 4001] })),
            MapRecord::Came(key(3), None),
            MapRecord::Plans(
                17,
                PlanList {
                    entries: vec![
                        (key(0), plan(i32::MAX, i64::MAX)),
                        (key(0), plan(0, 0)),
                        (key(9), plan(5, 5)),
                        (key(0), plan(1, 1)),
                    ],
                },
            ),
            MapRecord::PlansGone(16),
            MapRecord::Ids(BTreeSet::from([4000, i64::MAX])),
        ]
    }

    #[test]
    fn every_record_comes_back() {
        for record in samples() {
            let (key, value) = record.encode();
            assert_eq!(MapRecord::decode(&key, value.as_deref()), Ok(Some(record)));
        }
    }

    #[test]
    fn cut_or_lengthened_values_are_refused() {
        for record in samples() {
            let (key, value) = record.encode();
            let Some(value) = value else { continue };
            for len in 0..value.len() {
                let cut = MapRecord::decode(&key, Some(&value[..len]));
                // A list may end after any whole entry: that is a shorter one, not a damaged one.
                if !matches!(record, MapRecord::Plans(..) | MapRecord::Came(..)) {
                    assert!(cut.is_err(), "{record:?} cut to {len}");
                }
            }
            if !matches!(record, MapRecord::Plans(..) | MapRecord::Came(..)) {
                let longer = [value.as_slice(), &[0]].concat();
                assert!(MapRecord::decode(&key, Some(&longer)).is_err());
            }
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let error = MapRecord::decode(b"link", Some(&[FORMAT + 1, 0])).unwrap_err();
        assert_eq!(error.reason, "written by a newer twinlog");
    }

    #[test]
    fn a_range_of_a_steady_stream_takes_about_five_bytes() {
        let mut ranges = vec![];
        for n in 0..4096 {
            ranges.push(Range {
                source_start: SourceOffset(5_000_000_000 + n * 101),
                target_start: TargetOffset(4_000_000_000 + n * 100),
                len: 100,
            });
        }
        let (_, value) = MapRecord::Chunk(key(0), 0, Chunk { ranges }).encode();
        assert!(value.unwrap().len() < 4096 * 5);
    }
}
