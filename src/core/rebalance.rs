//! Which partitions change lanes so that every lane holds about as many bytes: few moves, the largest first.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::link_state::LinkState;
use crate::map_record::PartitionKey;

/// Lanes whose difference is at most this part of their mean are left alone: a move stops a partition for a moment.
const GOOD_ENOUGH: u128 = 10;
/// Steps for each partition; each makes the lanes more alike, so that this is only a bound.
const STEPS_MAX: usize = 4;
/// What a move must bring at the least: this part of what each partition of the lane had to bring on average.
const WORTH: u128 = 4;

/// The lanes that partitions should go to; those that stay are not named. What is on its way counts where it goes, and
/// goes on. A partition of unknown size counts as one byte, so that empty ones are spread, too.
pub fn rebalance(state: &LinkState, bytes: &BTreeMap<PartitionKey, u64>) -> BTreeMap<PartitionKey, u32> {
    let Some(lanes) = state.lanes() else { return BTreeMap::new() };
    let count = usize::try_from(lanes.wanted).unwrap_or_default();
    let mut loads: Vec<u128> = alloc::vec![0; count];
    let mut movable: Vec<Vec<(u64, PartitionKey)>> = alloc::vec![Vec::new(); count];
    for (key, place) in state.places() {
        let lane = usize::try_from(place.lane).unwrap_or(usize::MAX);
        let (Some(load), Some(here)) = (loads.get_mut(lane), movable.get_mut(lane)) else { continue };
        let size = bytes.get(&key).copied().unwrap_or_default().max(1);
        *load += u128::from(size);
        if place.from.is_none() {
            here.push((size, key));
        }
    }
    let mut to = BTreeMap::new();
    let steps = STEPS_MAX * movable.iter().map(Vec::len).sum::<usize>();
    for _ in 0..steps {
        let Some((from, index, onto)) = next_step(&loads, &movable) else { break };
        let (size, key) = movable[from].swap_remove(index);
        loads[from] -= u128::from(size);
        loads[onto] += u128::from(size);
        to.insert(key.clone(), onto);
        movable[onto].push((size, key));
    }
    let lane = |index: usize| u32::try_from(index).unwrap_or_default();
    let all = to.into_iter().map(|(key, onto)| (key, lane(onto)));
    all.filter(|(key, onto)| state.place(key).is_some_and(|place| place.lane != *onto)).collect()
}

/// From the fullest lane that has something fitting onto the emptiest one: the partition that brings the two nearest to
/// each other, as lane, index in it, and lane.
fn next_step(loads: &[u128], movable: &[Vec<(u64, PartitionKey)>]) -> Option<(usize, usize, usize)> {
    let mean = loads.iter().sum::<u128>() / loads.len().max(1) as u128;
    let onto = (0..loads.len()).min_by_key(|lane| loads[*lane])?;
    let mut fullest: Vec<usize> = (0..loads.len()).collect();
    fullest.sort_by_key(|lane| core::cmp::Reverse(loads[*lane]));
    fullest.into_iter().find_map(|from| {
        let gap = loads[from].saturating_sub(loads[onto]);
        if gap <= mean / GOOD_ENOUGH {
            return None;
        }
        let gain = |size: u64| u128::from(size).min(gap.saturating_sub(u128::from(size)));
        let worth = (gap / (WORTH * movable[from].len().max(1) as u128)).max(1);
        let fitting = movable[from].iter().enumerate().filter(|(_, (size, _))| gain(*size) >= worth);
        let best = fitting.min_by_key(|(_, (size, key))| ((2 * u128::from(*size)).abs_diff(gap), size, key));
        best.map(|(index, _)| (from, index, onto))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moves::Place;
    use crate::state_record::{Lanes, StateRecord};

    fn key(partition: usize) -> PartitionKey {
        PartitionKey { topic: "orders".into(), partition: i32::try_from(partition).unwrap() }
    }

    /// One topic; of each partition its lane and its bytes.
    fn link(lanes: Lanes, partitions: &[(u32, u64)]) -> (LinkState, BTreeMap<PartitionKey, u64>) {
        let mut state = LinkState::default();
        state.apply(StateRecord::Lanes(lanes));
        let place = |(lane, _): &(u32, u64)| Place { lane: *lane, from: None, number: 0 };
        state.apply(StateRecord::Table("orders".into(), partitions.iter().map(place).collect()));
        (state, partitions.iter().enumerate().map(|(index, (_, bytes))| (key(index), *bytes)).collect())
    }

    fn lanes(count: u32) -> Lanes {
        Lanes { count, wanted: count }
    }

    fn plan(lanes: Lanes, partitions: &[(u32, u64)]) -> Vec<(usize, u32)> {
        let (state, bytes) = link(lanes, partitions);
        let plan = rebalance(&state, &bytes).into_iter();
        plan.map(|(key, lane)| (usize::try_from(key.partition).unwrap(), lane)).collect()
    }

    #[test]
    fn new_lanes_get_their_share_by_few_moves() {
        let partitions = [(0, 400), (0, 100), (0, 500), (1, 900), (1, 500)];
        assert_eq!(plan(lanes(4), &partitions), [(2, 3), (4, 2)]);
    }

    #[test]
    fn what_is_balanced_is_left_alone() {
        assert_eq!(plan(lanes(2), &[(0, 1000), (0, 40), (0, 40), (1, 1000)]), []);
        assert_eq!(plan(lanes(2), &[(0, 1000), (0, 300), (1, 1000)]), [], "the other way round is no better");
        assert_eq!(plan(lanes(2), &[(0, 1000), (0, 150), (0, 150), (1, 1000)]), [(1, 1)]);
        assert_eq!(plan(lanes(3), &[(0, 5000), (1, 10), (2, 10)]), [], "one partition is not split");
        assert_eq!(plan(lanes(1), &[(0, 5000), (0, 10)]), []);
        assert_eq!(plan(lanes(2), &[]), []);
    }

    #[test]
    fn what_would_change_next_to_nothing_stays() {
        assert_eq!(plan(lanes(3), &[(0, 0), (1, 1000), (0, 2000), (1, 3000)]), [(1, 2)]);
        let many: Vec<_> = core::iter::repeat_n((0, 10), 1000).collect();
        let moved = plan(lanes(2), &many).len();
        assert!((450..=500).contains(&moved), "{moved} of many small ones");
    }

    #[test]
    fn a_lane_of_one_large_partition_does_not_hide_the_others() {
        assert_eq!(plan(lanes(3), &[(0, 9000), (1, 2000), (1, 2000)]), [(1, 2)]);
    }

    #[test]
    fn empty_partitions_are_spread() {
        let found = plan(lanes(2), &[(0, 0), (0, 0), (0, 0), (0, 0)]);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn what_moves_counts_where_it_goes_and_goes_on() {
        let (mut state, bytes) = link(lanes(2), &[(0, 1000), (0, 1000)]);
        let moving = Place { lane: 1, from: Some(0), number: 1 };
        state.apply(StateRecord::Table("orders".into(), Vec::from([moving, Place { from: None, ..moving }])));
        assert_eq!(rebalance(&state, &bytes), BTreeMap::from([(key(1), 0)]), "not the one on its way");
    }

    #[test]
    fn lanes_that_go_get_nothing() {
        let found = plan(Lanes { count: 4, wanted: 2 }, &[(0, 1000), (0, 1000), (0, 1000), (1, 1000), (3, 500)]);
        assert_eq!(found, [(0, 1)], "what is in them is sent on by the change of their number");
    }

    #[test]
    fn sizes_beyond_all_bounds_do_not_stop_it() {
        plan(lanes(3), &[(0, u64::MAX), (0, u64::MAX), (1, u64::MAX)]);
        assert_eq!(rebalance(&LinkState::default(), &BTreeMap::new()), BTreeMap::new());
    }
}
