//! Which lane a partition is in, and how it goes from one lane to another.
//!
//! ```text
//!  table: lane b, from a     a: copies ──► lets go: nothing in flight, last head and `released` in a's map
//!                            b: reads a's map until `released` is there ──► all of it in b's map ──► copies
//!  table: lane b             a: takes what is left of it out of its map
//! ```
//!
//! Each step is written down before the next one begins, and an owner finds its own step by the table and its lane's
//! map alone ([`order`]), so a crash at any point goes on from the records. One rule makes it safe: **an owner acts
//! only by a table that was read after it had taken the lane.** From there on what the table says of its partitions
//! changes by its own steps alone, or by those of a successor that has fenced it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::map_record::{Chunk, Head, Plan, Released};
use crate::map_state::MappedPartition;

/// Where a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The lane that it is in, or goes to.
    pub lane: u32,
    /// The lane that it comes from, while it is on its way.
    pub from: Option<u32>,
    /// How often it was moved so far, with the present move.
    pub number: u64,
}

/// What the map of a lane says of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// It is in this lane, and was not let go of.
    Held {
        /// The move by which it came, 0 where it was from the start.
        number: u64,
    },
    /// It was let go of.
    Released(Released),
    /// Remains of an earlier stay, or of an adoption that was not finished.
    Remains,
}

/// What a lane's owner has to do about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It is no concern of this lane, or all is done.
    Nothing,
    /// Copy it.
    Copy,
    /// Take it over from that lane, once that has let go of it by this move; then say so in the table.
    Adopt {
        /// The lane that it comes from.
        from: u32,
        /// Number of the move.
        number: u64,
    },
    /// It was taken over: say so in the table, and copy it.
    EndMove {
        /// Number of the move.
        number: u64,
    },
    /// Let go of it.
    Release {
        /// The lane that it goes to.
        to: u32,
        /// Number of the move.
        number: u64,
    },
    /// Take what is left of it out of the map; then look again.
    Forget,
}

/// What the owner of `lane` has to do about a partition.
pub fn order(lane: u32, place: Option<Place>, known: Known) -> Order {
    let Some(place) = place else { return Order::Nothing };
    if let Known::Released(released) = known
        && (place.number > released.number || (place.number == released.number && place.from.is_none()))
    {
        return Order::Forget;
    }
    match (place.from, known) {
        (None, Known::Nothing | Known::Held { .. } | Known::Remains) if place.lane == lane => Order::Copy,
        // A former owner that knows it from an earlier stay must not end a move that is not its own.
        (Some(_), Known::Held { number }) if place.lane == lane && number == place.number => Order::EndMove { number },
        (Some(from), Known::Nothing | Known::Remains) if place.lane == lane => {
            Order::Adopt { from, number: place.number }
        }
        (Some(from), Known::Held { number }) if from == lane && number >= place.number => Order::Nothing,
        (Some(from), Known::Nothing | Known::Held { .. } | Known::Remains) if from == lane => {
            Order::Release { to: place.lane, number: place.number }
        }
        (_, Known::Remains) => Order::Forget,
        _ => Order::Nothing,
    }
}

/// All that a lane needs to go on with a partition where another lane has let go of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    /// Number of the move.
    pub number: u64,
    /// Its last head; none if nothing was ever copied.
    pub head: Option<Head>,
    /// Its older ranges.
    pub chunks: BTreeMap<u64, Chunk>,
    /// Plans that the head does not cover.
    pub plans: Vec<Plan>,
    /// Why it stopped, name and words, if it did.
    pub halt: Option<(String, String)>,
    /// Producer ids of the lanes that it was in.
    pub earlier: Vec<i64>,
}

impl Adoption {
    /// From what the other lane's map says of the partition, and the producer ids that it names; none until that lane
    /// has let go of it by this move.
    pub fn of(
        mapped: &MappedPartition,
        ids: &BTreeSet<i64>,
        chunks: BTreeMap<u64, Chunk>,
        number: u64,
    ) -> Option<Self> {
        mapped.released.filter(|released| released.number == number)?;
        let plans: Vec<_> = mapped.plans.later().iter().map(|(_, plan)| *plan).collect();
        let mut earlier = mapped.plans.earlier().to_vec();
        let others: Vec<_> = ids.iter().copied().filter(|id| !earlier.contains(id)).collect();
        earlier.extend(others);
        Some(Self { number, head: mapped.head.clone(), chunks, plans, halt: mapped.halt.clone(), earlier })
    }
}

/// Which of several lanes' words on one partition counts for somebody who owns none: that of the lane that holds it,
/// else that of the lane that let go of it last. At each moment of a move it says the same.
pub fn true_one<'a, T>(all: impl Iterator<Item = (T, &'a MappedPartition)>) -> Option<(T, &'a MappedPartition)> {
    let rank = |mapped: &MappedPartition| match (&mapped.head, mapped.released) {
        (None, _) => (0, 0),
        (Some(_), Some(released)) => (1, released.number),
        (Some(_), None) => (2, mapped.came.unwrap_or_default()),
    };
    all.max_by_key(|(_, mapped)| rank(mapped))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(lane: u32, from: Option<u32>, number: u64) -> Option<Place> {
        Some(Place { lane, from, number })
    }

    fn held(number: u64) -> Known {
        Known::Held { number }
    }

    fn released(number: u64) -> Known {
        Known::Released(Released { to: 1, number })
    }

    #[test]
    fn a_move_goes_step_by_step() {
        let (a, b) = (0, 1);
        assert_eq!(order(a, place(a, None, 0), held(0)), Order::Copy);
        let moving = place(b, Some(a), 1);
        assert_eq!(order(a, moving, held(0)), Order::Release { to: b, number: 1 });
        assert_eq!(order(b, moving, Known::Nothing), Order::Adopt { from: a, number: 1 });
        assert_eq!(order(a, moving, released(1)), Order::Nothing);
        assert_eq!(order(b, moving, held(1)), Order::EndMove { number: 1 });
        let moved = place(b, None, 1);
        assert_eq!(order(a, moved, released(1)), Order::Forget);
        assert_eq!(order(a, moved, Known::Nothing), Order::Nothing);
        assert_eq!(order(b, moved, held(1)), Order::Copy);
    }

    #[test]
    fn what_is_left_of_an_earlier_stay_is_taken_out_before_it_comes_back() {
        assert_eq!(order(0, place(0, Some(1), 2), released(1)), Order::Forget);
        assert_eq!(order(0, place(0, Some(1), 2), Known::Remains), Order::Adopt { from: 1, number: 2 });
        assert_eq!(order(0, place(2, None, 4), released(1)), Order::Forget);
        assert_eq!(order(0, place(2, None, 4), Known::Remains), Order::Forget);
    }

    #[test]
    fn a_former_owner_ends_no_later_move() {
        assert_eq!(order(0, place(0, Some(1), 2), held(0)), Order::Nothing);
    }

    #[test]
    fn of_several_lanes_words_that_of_who_holds_it_counts_then_the_last_that_let_go() {
        let mapped = |head: bool, released: Option<u64>, came: Option<u64>| MappedPartition {
            head: head.then(crate::map_record::testing::head),
            released: released.map(|number| Released { to: 1, number }),
            came,
            ..MappedPartition::default()
        };
        let of = |all: &[&MappedPartition]| true_one((0..).zip(all.iter().copied())).map(|(place, _)| place);
        let (none, first, second) =
            (mapped(false, None, None), mapped(true, Some(1), None), mapped(true, Some(2), None));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[&first, &none]), Some(0));
        assert_eq!(of(&[&second, &first, &none]), Some(0));
        assert_eq!(of(&[&mapped(true, None, None), &second, &first]), Some(0));
        assert_eq!(of(&[&mapped(true, None, Some(3)), &mapped(true, None, Some(1)), &second]), Some(0));
    }

    #[test]
    fn what_is_held_is_never_taken_out() {
        assert_eq!(order(0, place(1, None, 3), held(1)), Order::Nothing);
        assert_eq!(order(0, place(1, Some(0), 3), held(3)), Order::Nothing, "it came back and goes on by this move");
        assert_eq!(order(0, None, held(0)), Order::Nothing);
    }

    #[test]
    fn what_moves_names_every_id_of_the_lanes_that_it_was_in() {
        let mut mapped =
            MappedPartition { released: Some(Released { to: 1, number: 2 }), ..MappedPartition::default() };
        mapped.plans.set_earlier(Vec::from([7, 4000]));
        let of = |number| Adoption::of(&mapped, &BTreeSet::from([4000, 4001, 4002]), BTreeMap::new(), number);
        assert_eq!(of(2).map(|adoption| adoption.earlier), Some(Vec::from([7, 4000, 4001, 4002])));
        assert_eq!(of(1), None, "let go of by an earlier move");
    }
}
