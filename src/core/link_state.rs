//! What the state topic adds up to, and every decision about it: which partition is placed where, what moves, and how
//! the number of lanes changes. Each decision is what to write; made again after it was written, it writes nothing.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::map_record::PartitionKey;
use crate::moves::Place;
use crate::resolution::Resolution;
use crate::state_record::{Lanes, StateRecord};

/// More lanes than this no link can have.
pub const LANES_MAX: u32 = 256;

/// All that the state topic says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    lanes: Option<Lanes>,
    table: BTreeMap<String, Vec<Place>>,
    resolutions: BTreeMap<PartitionKey, Resolution>,
}

/// Why something asked for is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The link has never run: there are no lanes.
    NoLanes,
    /// There is no such lane, or it is to go.
    NoLane {
        /// What was asked for.
        lane: u32,
        /// How many there are, counted from 0.
        lanes: u32,
    },
    /// The partition is in no lane.
    Unknown(PartitionKey),
    /// The partition is on its way.
    Moving(PartitionKey, Place),
    /// So many lanes cannot be.
    Count(u32),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLanes => f.write_str("the link has no lanes yet: it has never run"),
            Self::NoLane { lane, lanes: 1 } => write!(f, "there is no lane {lane}: the link has lane 0 alone"),
            Self::NoLane { lane, lanes } => {
                write!(f, "there is no lane {lane}: the link has lanes 0 to {}", lanes.saturating_sub(1))
            }
            Self::Unknown(key) => write!(f, "source {}:{} is in no lane of the link", key.topic, key.partition),
            Self::Moving(key, place) => {
                write!(f, "source {}:{} is on its way to lane {}", key.topic, key.partition, place.lane)?;
                place.from.map_or(Ok(()), |from| write!(f, " from lane {from}"))
            }
            Self::Count(count) => write!(f, "a link has 1 to {LANES_MAX} lanes, not {count}"),
        }
    }
}

impl LinkState {
    /// Takes the next record of the log.
    pub fn apply(&mut self, record: StateRecord) {
        match record {
            StateRecord::Lanes(lanes) => self.lanes = Some(lanes),
            StateRecord::Table(topic, places) => {
                self.table.insert(topic, places);
            }
            StateRecord::Resolution(key, resolution) => {
                self.resolutions.insert(key, resolution);
            }
        }
    }

    /// How many lanes there are, and are to be.
    pub fn lanes(&self) -> Option<Lanes> {
        self.lanes
    }

    /// The last decision about each partition that stopped once.
    pub fn resolutions(&self) -> &BTreeMap<PartitionKey, Resolution> {
        &self.resolutions
    }

    /// Writes decisions down, each by its number: one that has been written, or was overtaken, is not written again.
    pub fn resolve(&self, decisions: &BTreeMap<PartitionKey, Resolution>) -> Vec<StateRecord> {
        let is_next = |(key, decision): &(&PartitionKey, &Resolution)| {
            decision.number == self.resolutions.get(*key).map_or(0, |last| last.number) + 1
        };
        let new = decisions.iter().filter(is_next);
        new.map(|(key, decision)| StateRecord::Resolution(key.clone(), decision.clone())).collect()
    }

    /// Where a partition is.
    pub fn place(&self, key: &PartitionKey) -> Option<Place> {
        self.table.get(&key.topic)?.get(usize::try_from(key.partition).ok()?).copied()
    }

    /// Where every partition is.
    pub fn places(&self) -> impl Iterator<Item = (PartitionKey, Place)> {
        self.table.iter().flat_map(|(topic, places)| {
            (0..).zip(places).map(|(partition, place)| (PartitionKey { topic: topic.clone(), partition }, *place))
        })
    }

    /// Where partitions are that are on their way and were not, or were on another one, in a state before this one.
    pub fn moves_since(&self, before: &Self) -> Vec<(PartitionKey, Place)> {
        let moves = self.places().filter(|(_, place)| place.from.is_some());
        moves.filter(|(key, place)| before.place(key) != Some(*place)).collect()
    }

    /// Whether a partition is still on its way by the move of this number.
    pub fn is_moving(&self, key: &PartitionKey, number: u64) -> bool {
        self.place(key).is_some_and(|place| place.number == number && place.from.is_some())
    }

    /// Partitions that have to leave before the number of lanes is what it is to be.
    pub fn to_leave(&self) -> usize {
        let Some(lanes) = self.lanes.filter(|lanes| lanes.wanted < lanes.count) else { return 0 };
        let goes = |lane: u32| lane >= lanes.wanted;
        self.places().filter(|(_, place)| goes(place.lane) || place.from.is_some_and(goes)).count()
    }

    /// The first record of a link, where there is none.
    pub fn begin(&self, lanes: u32) -> Vec<StateRecord> {
        let lanes = lanes.clamp(1, LANES_MAX);
        self.lanes.is_none().then_some(StateRecord::Lanes(Lanes { count: lanes, wanted: lanes })).into_iter().collect()
    }

    /// Places what is in no table yet, before anybody copies it: a partition that a map knows stays where it is (the
    /// table may have been lost), any other is spread by its name. `partitions` says how many each topic has.
    pub fn place_new(
        &self,
        partitions: &BTreeMap<String, i32>,
        mapped: &BTreeMap<PartitionKey, Place>,
    ) -> Vec<StateRecord> {
        let Some(lanes) = self.lanes else { return Vec::new() };
        let mut records = Vec::new();
        for (topic, count) in partitions {
            let mut places = self.table.get(topic).cloned().unwrap_or_default();
            let known = places.len();
            for partition in i32::try_from(known).unwrap_or(i32::MAX)..*count {
                let key = PartitionKey { topic: topic.clone(), partition };
                let new = || Place { lane: spread(topic, partition, lanes.wanted), from: None, number: 0 };
                places.push(mapped.get(&key).copied().unwrap_or_else(new));
            }
            if places.len() > known {
                records.push(StateRecord::Table(topic.clone(), places));
            }
        }
        records
    }

    /// Sends partitions to other lanes. One that is there already is left alone.
    pub fn send(&self, to: &BTreeMap<PartitionKey, u32>) -> Result<Vec<StateRecord>, Refusal> {
        let lanes = self.lanes.ok_or(Refusal::NoLanes)?;
        let mut changed: BTreeMap<&str, Vec<Place>> = BTreeMap::new();
        for (key, lane) in to {
            if *lane >= lanes.wanted {
                return Err(Refusal::NoLane { lane: *lane, lanes: lanes.wanted });
            }
            let place = self.place(key).ok_or_else(|| Refusal::Unknown(key.clone()))?;
            if place.lane == *lane {
                continue;
            }
            if place.from.is_some() {
                return Err(Refusal::Moving(key.clone(), place));
            }
            self.change(&mut changed, key, Place { lane: *lane, from: Some(place.lane), number: place.number + 1 });
        }
        Ok(records(changed))
    }

    /// Partitions have come to their lanes, by the moves of these numbers.
    pub fn arrived(&self, moves: &BTreeMap<PartitionKey, u64>) -> Vec<StateRecord> {
        let mut changed = BTreeMap::new();
        for (key, number) in moves {
            if let Some(place) = self.place(key).filter(|place| place.number == *number && place.from.is_some()) {
                self.change(&mut changed, key, Place { from: None, ..place });
            }
        }
        records(changed)
    }

    /// Changes the number of lanes. More are there at once (the map topic must have them before); of fewer, the others
    /// are emptied first: what is in them is spread over those that stay.
    pub fn resize(&self, wanted: u32) -> Result<Vec<StateRecord>, Refusal> {
        let lanes = self.lanes.ok_or(Refusal::NoLanes)?;
        if wanted == 0 || wanted > LANES_MAX {
            return Err(Refusal::Count(wanted));
        }
        let next = Lanes { count: lanes.count.max(wanted), wanted };
        let mut records = self.empty_out(wanted);
        if next != lanes {
            records.push(StateRecord::Lanes(next));
        }
        Ok(records)
    }

    /// What brings a smaller number of lanes further: partitions that have come into one that goes since are sent on,
    /// and when nothing is in them any more, they are gone.
    pub fn go_on_shrinking(&self) -> Vec<StateRecord> {
        let Some(lanes) = self.lanes.filter(|lanes| lanes.wanted < lanes.count) else { return Vec::new() };
        if self.to_leave() > 0 {
            return self.empty_out(lanes.wanted);
        }
        alloc::vec![StateRecord::Lanes(Lanes { count: lanes.wanted, ..lanes })]
    }

    /// Sends on what rests in lanes from `wanted` on; what is on its way there follows when it has come.
    fn empty_out(&self, wanted: u32) -> Vec<StateRecord> {
        let mut changed = BTreeMap::new();
        for (key, place) in self.places().filter(|(_, place)| place.lane >= wanted && place.from.is_none()) {
            let lane = spread(&key.topic, key.partition, wanted);
            self.change(&mut changed, &key, Place { lane, from: Some(place.lane), number: place.number + 1 });
        }
        records(changed)
    }

    fn change<'a>(&'a self, changed: &mut BTreeMap<&'a str, Vec<Place>>, key: &PartitionKey, place: Place) {
        let Some((topic, places)) = self.table.get_key_value(&key.topic) else { return };
        let places = changed.entry(topic).or_insert_with(|| places.clone());
        if let Some(old) = usize::try_from(key.partition).ok().and_then(|index| places.get_mut(index)) {
            *old = place;
        }
    }
}

fn records(changed: BTreeMap<&str, Vec<Place>>) -> Vec<StateRecord> {
    changed.into_iter().map(|(topic, places)| StateRecord::Table(topic.into(), places)).collect()
}

/// The lane that a new partition is placed in: FNV-1a over the topic's name plus the number, so that a topic's
/// partitions are spread evenly and every build gives the same answer.
pub fn spread(topic: &str, partition: i32, lanes: u32) -> u32 {
    let hash = topic
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let lane = (hash >> 32).wrapping_add(u64::from(partition.unsigned_abs())) % u64::from(lanes.max(1));
    u32::try_from(lane).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    fn key(partition: i32) -> PartitionKey {
        PartitionKey { topic: "orders".into(), partition }
    }

    fn take(state: &mut LinkState, records: Vec<StateRecord>) -> usize {
        let count = records.len();
        records.into_iter().for_each(|record| state.apply(record));
        count
    }

    /// Six partitions of one topic in four lanes: 2, 3, 0, 1, 2, 3.
    fn state() -> LinkState {
        let mut state = LinkState::default();
        let first = state.begin(4);
        take(&mut state, first);
        let placed = state.place_new(&BTreeMap::from([("orders".into(), 6)]), &BTreeMap::new());
        take(&mut state, placed);
        state
    }

    fn lane(state: &LinkState, partition: i32) -> Option<u32> {
        state.place(&key(partition)).map(|place| place.lane)
    }

    #[test]
    fn new_partitions_are_spread_and_known_ones_stay() {
        let mut state = state();
        let lanes: Vec<_> = (0..6).filter_map(|partition| lane(&state, partition)).collect();
        assert_eq!(lanes, [2, 3, 0, 1, 2, 3]);
        assert_eq!(state.begin(9), [], "only a new link has its lanes from the configuration");
        let wanted = BTreeMap::from([("orders".into(), 8)]);
        let more = state.place_new(&wanted, &BTreeMap::from([(key(6), Place { lane: 3, from: None, number: 2 })]));
        assert_eq!(take(&mut state, more), 1);
        assert_eq!((lane(&state, 6), lane(&state, 7)), (Some(3), Some(1)), "what a map knows is where it is");
        assert_eq!(state.place_new(&wanted, &BTreeMap::new()), []);
    }

    /// Instances of different releases must place alike.
    #[test]
    fn the_lane_of_a_new_partition_never_changes() {
        let lanes = ["orders", "payments", "a", ""].map(|topic| (spread(topic, 0, 256), spread(topic, 5, 7)));
        assert_eq!(lanes, [(146, 6), (104, 1), (76, 4), (228, 4)]);
    }

    #[test]
    fn a_move_is_written_once_and_ends_by_its_own_number() {
        let before = state();
        let mut state = before.clone();
        let to = BTreeMap::from([(key(0), 1)]);
        let sent = state.send(&to).unwrap();
        assert_eq!(take(&mut state, sent), 1);
        assert_eq!(state.place(&key(0)), Some(Place { lane: 1, from: Some(2), number: 1 }));
        assert_eq!(state.send(&to), Ok(alloc::vec![]), "asked for again");
        let moving = state.place(&key(0)).unwrap();
        assert_eq!(state.moves_since(&before), [(key(0), moving)]);
        assert_eq!(state.moves_since(&state), []);
        assert!(state.is_moving(&key(0), 1) && !state.is_moving(&key(0), 2) && !state.is_moving(&key(1), 0));
        assert_eq!(state.send(&BTreeMap::from([(key(0), 3)])), Err(Refusal::Moving(key(0), moving)));
        assert_eq!(state.arrived(&BTreeMap::from([(key(0), 2)])), [], "another move");
        let arrived = state.arrived(&BTreeMap::from([(key(0), 1)]));
        assert_eq!(take(&mut state, arrived), 1);
        assert_eq!(state.place(&key(0)), Some(Place { lane: 1, from: None, number: 1 }));
        assert!(!state.is_moving(&key(0), 1));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let state = state();
        assert_eq!(state.send(&BTreeMap::from([(key(0), 4)])), Err(Refusal::NoLane { lane: 4, lanes: 4 }));
        assert_eq!(state.send(&BTreeMap::from([(key(9), 0)])), Err(Refusal::Unknown(key(9))));
        assert_eq!(state.resize(0), Err(Refusal::Count(0)));
        assert_eq!(state.resize(257), Err(Refusal::Count(257)));
        assert_eq!(state.resize(256).map(|records| records.len()), Ok(1));
        assert_eq!(LinkState::default().resize(3), Err(Refusal::NoLanes));
    }

    #[test]
    fn refusals_are_plain_words() {
        let moving = Place { lane: 1, from: Some(2), number: 1 };
        for (refusal, words) in [
            (Refusal::NoLanes, "the link has no lanes yet: it has never run"),
            (Refusal::NoLane { lane: 4, lanes: 4 }, "there is no lane 4: the link has lanes 0 to 3"),
            (Refusal::NoLane { lane: 1, lanes: 1 }, "there is no lane 1: the link has lane 0 alone"),
            (Refusal::Unknown(key(9)), "source orders:9 is in no lane of the link"),
            (Refusal::Moving(key(0), moving), "source orders:0 is on its way to lane 1 from lane 2"),
            (Refusal::Count(257), "a link has 1 to 256 lanes, not 257"),
        ] {
            assert_eq!(refusal.to_string(), words);
        }
    }

    #[test]
    fn fewer_lanes_are_emptied_before_they_go() {
        let mut state = state();
        let sent = state.send(&BTreeMap::from([(key(2), 3)])).unwrap();
        take(&mut state, sent);
        let shrink = state.resize(2).unwrap();
        take(&mut state, shrink);
        assert_eq!(state.place(&key(0)).map(|place| place.number), Some(1), "a move of its own");
        assert_eq!(state.lanes(), Some(Lanes { count: 4, wanted: 2 }));
        assert_eq!(state.to_leave(), 5, "with one on its way to them");
        assert_eq!(state.resize(2), Ok(alloc::vec![]), "asked for again");
        for _ in 0..3 {
            assert_eq!(state.lanes().map(|lanes| lanes.count), Some(4), "something is still in them");
            let moving = state.places().filter(|(_, place)| place.from.is_some());
            let moving: BTreeMap<_, _> = moving.map(|(key, place)| (key, place.number)).collect();
            let arrived = state.arrived(&moving);
            take(&mut state, arrived);
            let next = state.go_on_shrinking();
            take(&mut state, next);
            if state.lanes() == Some(Lanes { count: 2, wanted: 2 }) {
                break;
            }
        }
        assert_eq!(state.lanes(), Some(Lanes { count: 2, wanted: 2 }));
        assert!(state.places().all(|(_, place)| place.lane < 2 && place.from.is_none()));
        assert_eq!(state.to_leave(), 0);
        assert_eq!(state.go_on_shrinking(), []);
    }

    #[test]
    fn a_decision_is_written_once() {
        use crate::resolution::Exit;
        let mut state = state();
        let decision = |number| Resolution { number, exit: Exit::Retry, state: "too-large".into(), at_ms: 5 };
        let first = BTreeMap::from([(key(0), decision(1))]);
        let written = state.resolve(&first);
        assert_eq!(take(&mut state, written), 1);
        assert_eq!(state.resolutions().get(&key(0)), Some(&decision(1)));
        assert_eq!(state.resolve(&first), []);
        assert_eq!(state.resolve(&BTreeMap::from([(key(0), decision(3))])), []);
        assert_eq!(state.resolve(&BTreeMap::from([(key(0), decision(2))])).len(), 1);
    }

    #[test]
    fn more_lanes_are_there_at_once() {
        let mut state = state();
        let grow = state.resize(6).unwrap();
        assert_eq!(take(&mut state, grow), 1);
        assert_eq!(state.lanes(), Some(Lanes { count: 6, wanted: 6 }));
    }
}
