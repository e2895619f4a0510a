//! What the records of a map partition add up to, read in log order. The owner and readers without ownership share it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::map_record::{Came, Head, LinkRecord, MapRecord, PartitionKey, Released};
use crate::offset_map::Range;
use crate::plans::Plans;

/// One source partition as the map knows it.
#[derive(Clone, Debug, Default)]
pub struct MappedPartition {
    /// The newest head; none of a partition of which nothing was copied, or of which only remains are there.
    pub head: Option<Head>,
    /// Plans that the head does not cover.
    pub plans: Plans,
    /// The last range of each chunk that is there, by the chunk's number.
    pub chunks: BTreeMap<u64, Range>,
    /// Why it stopped, name and words, if it did.
    pub halt: Option<(String, String)>,
    /// By which move it came from another lane, if it did.
    pub came: Option<u64>,
    /// That the lane let go of it, if it did.
    pub released: Option<Released>,
}

impl MappedPartition {
    /// Whether the map says nothing of it any more.
    pub fn is_empty(&self) -> bool {
        let Self { head, plans, chunks, halt, came, released } = self;
        let forgotten = plans.later().is_empty() && chunks.is_empty() && came.is_none();
        head.is_none() && halt.is_none() && released.is_none() && forgotten
    }

    /// Whether the lane that this is of has it: there is a head, or it came, and it was not let go of.
    pub fn is_held(&self) -> bool {
        (self.head.is_some() || self.came.is_some()) && self.released.is_none()
    }

    /// Takes that it came from another lane, or that it is no longer here.
    pub fn set_came(&mut self, came: Option<Came>) {
        self.came = came.as_ref().map(|came| came.number);
        self.plans.set_earlier(came.map(|came| came.earlier).unwrap_or_default());
    }
}

/// All that one map partition says.
#[derive(Clone, Debug, Default)]
pub struct MapState {
    /// Whose map it is.
    pub link: Option<LinkRecord>,
    /// Source partitions.
    pub partitions: BTreeMap<PartitionKey, MappedPartition>,
    /// The number that no plan record has used yet.
    pub next_plan_record: u64,
    /// Plan records that are still in the log, whether needed or not.
    pub plan_records: Vec<u64>,
    /// Producer ids that the map names: every id that the lane had before the one that is reading.
    pub producer_ids: BTreeSet<i64>,
    /// Those of them that its `ids` record names.
    pub recorded_ids: BTreeSet<i64>,
}

impl MapState {
    /// A batch or marker of the log is by this producer. Only owners of the lane write to it, so the id is the lane's
    /// own in the mirrors, too; -1 is none.
    pub fn written_by(&mut self, producer_id: i64) {
        if producer_id >= 0 {
            self.producer_ids.insert(producer_id);
        }
    }

    /// Takes the next record of the log.
    pub fn apply(&mut self, record: MapRecord) {
        match record {
            MapRecord::Link(link) => self.link = Some(link),
            MapRecord::Head(key, head) => {
                let partition = self.partitions.entry(key).or_default();
                partition.plans.set_cursor(head.cursor, u64::MAX);
                partition.head = Some(head);
            }
            MapRecord::HeadGone(key) => {
                if let Some(partition) = self.partitions.get_mut(&key) {
                    partition.head = None;
                }
            }
            MapRecord::Released(key, released) => self.partitions.entry(key).or_default().released = released,
            MapRecord::Came(key, came) => self.partitions.entry(key).or_default().set_came(came),
            MapRecord::Halt(key, halt) => self.partitions.entry(key).or_default().halt = halt,
            MapRecord::Chunk(key, number, chunk) => {
                let chunks = &mut self.partitions.entry(key).or_default().chunks;
                chunks.extend(chunk.ranges.last().map(|last| (number, *last)));
            }
            MapRecord::ChunkGone(key, number) => {
                if let Some(partition) = self.partitions.get_mut(&key) {
                    partition.chunks.remove(&number);
                }
            }
            MapRecord::Plans(number, plans) => {
                self.next_plan_record = self.next_plan_record.max(number + 1);
                self.plan_records.push(number);
                for (key, plan) in plans.entries {
                    self.partitions.entry(key).or_default().plans.push(number, plan);
                }
            }
            MapRecord::PlansGone(number) => {
                self.next_plan_record = self.next_plan_record.max(number + 1);
                self.plan_records.retain(|other| *other != number);
            }
            MapRecord::Ids(ids) => {
                self.producer_ids.extend(&ids);
                self.recorded_ids = ids;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SourceOffset, TargetOffset};
    use crate::map_record::testing::{head, plan};
    use crate::map_record::{Chunk, PlanList};

    fn key() -> PartitionKey {
        PartitionKey { topic: "orders".into(), partition: 0 }
    }

    fn after(records: impl IntoIterator<Item = MapRecord>) -> MapState {
        let mut state = MapState::default();
        records.into_iter().for_each(|record| state.apply(record));
        state
    }

    fn partition(records: impl IntoIterator<Item = MapRecord>) -> MappedPartition {
        after(records).partitions.remove(&key()).unwrap_or_default()
    }

    fn plans(number: u64) -> MapRecord {
        MapRecord::Plans(number, PlanList { entries: [(key(), plan(811, 900))].into() })
    }

    fn came() -> MapRecord {
        MapRecord::Came(key(), Some(Came { number: 3, earlier: [7].into() }))
    }

    fn released() -> MapRecord {
        MapRecord::Released(key(), Some(Released { to: 1, number: 4 }))
    }

    #[test]
    fn who_has_a_head_or_came_holds_it_until_it_is_let_go_of() {
        let held = |records: &[MapRecord]| partition(records.iter().cloned()).is_held();
        assert!(!held(&[]) && !held(&[plans(0)]) && !held(&[released()]));
        assert!(held(&[MapRecord::Head(key(), head())]) && held(&[came()]));
        assert!(!held(&[MapRecord::Head(key(), head()), released()]) && !held(&[came(), released()]));
        assert!(!held(&[MapRecord::Head(key(), head()), MapRecord::HeadGone(key())]));
        assert!(!held(&[came(), MapRecord::Came(key(), None)]));
    }

    #[test]
    fn nothing_is_said_of_a_partition_only_without_any_record_of_it() {
        let range = Range { source_start: SourceOffset(0), target_start: TargetOffset(1), len: 9 };
        let chunk = |number| MapRecord::Chunk(key(), number, Chunk { ranges: [range].into() });
        assert!(partition([]).is_empty());
        let some = [
            MapRecord::Head(key(), head()),
            plans(0),
            chunk(2),
            MapRecord::Halt(key(), Some(("gap".into(), "words".into()))),
            came(),
            released(),
        ];
        for record in some {
            assert!(!partition([record.clone()]).is_empty(), "{record:?}");
        }
        assert!(!partition([chunk(2), chunk(3), MapRecord::ChunkGone(key(), 2)]).is_empty());
        assert!(partition([chunk(2), MapRecord::ChunkGone(key(), 2)]).is_empty());
    }

    #[test]
    fn records_of_plans_are_numbered_behind_all_that_ever_were() {
        let state = after([plans(4), plans(6), MapRecord::PlansGone(4)]);
        assert_eq!((state.next_plan_record, state.plan_records), (7, [6].into()));
        let state = after([MapRecord::PlansGone(4)]);
        assert_eq!(state.next_plan_record, 5);
    }

    #[test]
    fn the_ids_of_a_lane_are_those_that_it_names_and_those_that_wrote() {
        let mut state = after([MapRecord::Ids([5, 9].into())]);
        state.written_by(7);
        state.written_by(-1);
        assert_eq!((state.producer_ids, state.recorded_ids), ([5, 7, 9].into(), [5, 9].into()));
    }
}
