//! The leader's plan: who gets which lane.
//!
//! A lane is given to somebody only when nobody in this generation owns it. A lane that is to move is left out of the
//! plan: its owner lets it go and joins again without it. Nothing else ever takes a lane from a member that lives.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use super::word::{MemberKey, Plan, Share, Word};

/// Lanes of living members move only if the largest load becomes smaller than this share of what it was, in percent:
/// rates change all the time. To a member that has none they move all the same.
const WORTHWHILE_PERCENT: u64 = 85;

/// A plan, and whether another one must follow because lanes had to be left as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) plan: Plan,
    pub(super) incomplete: bool,
}

/// Makes the plan of a generation. With `quiet` nothing is given out.
pub(super) fn make(generation: i32, lanes: u32, members: &[(String, Word)], quiet: bool) -> Made {
    let known = members.iter().map(|(_, word)| &word.plan).max_by_key(|plan| plan.generation);
    let known = known.cloned().unwrap_or_default();
    // A request to join that was held up speaks for a member as it was once. What it may have got since stands in the
    // plan of the generation before this one. If nobody here knows that plan, it must not be guessed: this generation
    // only says who has what, and then everybody joins again.
    let careful = quiet || known.generation != generation - 1;
    let mut table = Table::new(lanes, members, &known);
    table.claims(members);
    table.presume(members, &known);
    let claimed = table.owners.clone();
    table.give_out();
    table.move_some();
    // What was presumed could neither be moved nor given out.
    let incomplete = (careful && table.owners != claimed) || !table.presumed.is_empty();
    if careful {
        table.owners = claimed;
    }
    let share = |(owner, rate): (&Owner, &u64)| {
        let (member, leaving) = match owner {
            Owner::Nobody => (None, false),
            Owner::Member(member) => (Some(*member), false),
            Owner::Leaving(member) => (Some(*member), true),
        };
        Share { owner: member.map(|member| table.members[member].key), leaving, bytes_per_s: *rate }
    };
    let lanes = table.owners.iter().zip(&table.rates).map(share);
    Made { plan: Plan { generation, lanes: lanes.collect() }, incomplete }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Nobody,
    Member(usize),
    /// This member owns it and lets it go.
    Leaving(usize),
}

impl Owner {
    fn member(self) -> Option<usize> {
        match self {
            Self::Member(member) => Some(member),
            Self::Nobody | Self::Leaving(_) => None,
        }
    }
}

struct Candidate {
    key: MemberKey,
    settled: bool,
    load: u64,
}

struct Table {
    members: Vec<Candidate>,
    owners: Vec<Owner>,
    /// Bytes a second, by lane.
    rates: Vec<u64>,
    weights: Vec<u64>,
    /// Lanes that a member may not know of yet: it would not let them go.
    presumed: BTreeSet<usize>,
}

impl Table {
    fn new(lanes: u32, members: &[(String, Word)], known: &Plan) -> Self {
        let measured: BTreeMap<u32, u64> = members
            .iter()
            .flat_map(|(_, word)| &word.claims)
            .filter_map(|(lane, claim)| Some((*lane, claim.bytes_per_s?)))
            .collect();
        let remembered = |lane| known.share(lane).map_or(0, |share| share.bytes_per_s);
        let rates: Vec<u64> =
            (0..lanes).map(|lane| measured.get(&lane).copied().unwrap_or_else(|| remembered(lane))).collect();
        // Idle lanes count, too: they may not be idle for ever.
        let sum = rates.iter().fold(0u64, |sum, rate| sum.saturating_add(*rate));
        let floor = sum / u64::from(lanes.max(1)) / 4 + 1;
        let weights = rates.iter().map(|rate| rate.saturating_add(floor)).collect();
        let members = members
            .iter()
            .map(|(id, word)| Candidate { key: MemberKey::of(id), settled: word.settled, load: 0 })
            .collect();
        let owners = (0..lanes).map(|_| Owner::Nobody).collect();
        Self { members, owners, rates, weights, presumed: BTreeSet::new() }
    }

    fn set(&mut self, lane: usize, owner: Owner) {
        let (Some(place), Some(weight)) = (self.owners.get_mut(lane), self.weights.get(lane)) else { return };
        if let Some(former) = place.member().and_then(|member| self.members.get_mut(member)) {
            former.load -= weight;
        }
        *place = owner;
        if let Some(next) = owner.member().and_then(|member| self.members.get_mut(member)) {
            next.load += weight;
        }
    }

    /// What members say that they own. If two claim one lane, the one whose claim is younger is right.
    fn claims(&mut self, members: &[(String, Word)]) {
        let mut by_age: Vec<(usize, &Word)> = members.iter().map(|(_, word)| word).enumerate().collect();
        by_age.sort_by_key(|(_, word)| word.generation);
        for (member, word) in by_age {
            for (lane, claim) in &word.claims {
                let owner = if claim.leaving { Owner::Leaving(member) } else { Owner::Member(member) };
                self.set(*lane as usize, owner);
            }
        }
    }

    /// What members got by the last plan, or were to let go by it, and do not speak of: a request that came late says
    /// what was before it.
    fn presume(&mut self, members: &[(String, Word)], known: &Plan) {
        for (member, (id, word)) in members.iter().enumerate() {
            if word.generation >= known.generation {
                continue;
            }
            for (lane, share) in known.lanes.iter().enumerate() {
                let is_theirs = share.owner == Some(MemberKey::of(id));
                if is_theirs && self.owners.get(lane) == Some(&Owner::Nobody) {
                    self.presumed.insert(lane);
                    self.set(lane, if share.leaving { Owner::Leaving(member) } else { Owner::Member(member) });
                }
            }
        }
    }

    /// Gives lanes that nobody owns to those who have the least, the heaviest first. Members that came just now get
    /// some only if there are no others: one that ends soon after each start would take lanes down with it.
    fn give_out(&mut self) {
        let mut free: Vec<usize> = (0..self.owners.len()).filter(|lane| self.owners[*lane] == Owner::Nobody).collect();
        free.sort_by_key(|lane| core::cmp::Reverse(self.weights[*lane]));
        let any_settled = self.members.iter().any(|member| member.settled);
        for lane in free {
            let able = self.members.iter().enumerate().filter(|(_, member)| member.settled || !any_settled);
            if let Some((member, _)) = able.min_by_key(|(_, member)| (member.load, member.key)) {
                self.set(lane, Owner::Member(member));
            }
        }
    }

    /// Takes lanes back from those who have the most, if those who have the least may get them and it is worth it.
    fn move_some(&mut self) {
        // One step at a time: what is on its way is not in anybody's load.
        if self.owners.iter().any(|owner| matches!(owner, Owner::Leaving(_))) {
            return;
        }
        let owners = self.owners.clone();
        let loads: Vec<u64> = self.members.iter().map(|member| member.load).collect();
        let (mut moved, mut concerned, mut had_none) = (BTreeSet::new(), BTreeSet::new(), false);
        while let Some((lane, donor, receiver)) = self.best_move(&moved) {
            moved.insert(lane);
            had_none |= loads[receiver] == 0;
            concerned.extend([donor, receiver]);
            self.set(lane, Owner::Member(receiver));
        }
        let before = concerned.iter().map(|member| loads[*member]).max().unwrap_or_default();
        let after = concerned.iter().map(|member| self.members[*member].load).max().unwrap_or_default();
        if !had_none && after.saturating_mul(100) > before.saturating_mul(WORTHWHILE_PERCENT) {
            self.owners = owners;
            return;
        }
        for lane in moved {
            if let Some(Owner::Member(donor)) = owners.get(lane) {
                self.set(lane, Owner::Leaving(*donor));
            }
        }
    }

    /// The lane that brings a member with much and the settled one with the least nearest together: lane, giver, taker.
    /// A member whose one lane is more than others have together cannot give.
    fn best_move(&self, moved: &BTreeSet<usize>) -> Option<(usize, usize, usize)> {
        let settled = self.members.iter().enumerate().filter(|(_, member)| member.settled);
        let (receiver, least) = settled.min_by_key(|(_, member)| (member.load, member.key))?;
        let mut donors: Vec<usize> = (0..self.members.len()).filter(|donor| *donor != receiver).collect();
        donors.sort_by_key(|donor| core::cmp::Reverse((self.members[*donor].load, self.members[*donor].key)));
        donors.into_iter().find_map(|donor| {
            let difference = self.members[donor].load.checked_sub(least.load)?;
            let fits = |lane: &usize| {
                self.owners[*lane] == Owner::Member(donor)
                    && !moved.contains(lane)
                    && !self.presumed.contains(lane)
                    && self.weights[*lane] < difference
            };
            let lanes = (0..self.owners.len()).filter(fits);
            let lane = lanes.min_by_key(|lane| (self.weights[*lane].abs_diff(difference / 2), *lane))?;
            Some((lane, donor, receiver))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::word::Claim;

    const GENERATION: i32 = 8;

    /// A member that carried out the plan of the generation before, with lanes and their rates.
    fn member(id: &str, settled: bool, lanes: &[(u32, u64)]) -> (String, Word) {
        let claim = |rate| Claim { bytes_per_s: Some(rate), leaving: false };
        let claims = lanes.iter().map(|(lane, rate)| (*lane, claim(*rate))).collect();
        (id.into(), Word { generation: GENERATION - 1, settled, claims, plan: plan(&[]), ..Word::default() })
    }

    /// A member that came just now.
    fn fresh(id: &str) -> (String, Word) {
        (id.into(), Word::default())
    }

    fn plan(owners: &[(usize, &str)]) -> Plan {
        let mut lanes = alloc::vec![Share::default(); 8];
        for (lane, owner) in owners {
            lanes[*lane].owner = Some(MemberKey::of(owner));
        }
        Plan { generation: GENERATION - 1, lanes }
    }

    fn made(lanes: u32, members: &[(String, Word)]) -> BTreeMap<&str, Vec<u32>> {
        let made = make(GENERATION, lanes, members, false);
        assert!(!made.incomplete);
        members.iter().map(|(id, _)| (id.as_str(), made.plan.lanes_of(MemberKey::of(id)).collect())).collect()
    }

    #[test]
    fn the_first_members_share_at_once() {
        let made = make(1, 4, &[fresh("a"), fresh("b")], false);
        let of = |id| made.plan.lanes_of(MemberKey::of(id)).count();
        assert_eq!((of("a"), of("b"), made.incomplete), (2, 2, false));
    }

    #[test]
    fn lanes_stay_and_free_ones_go_to_whom_has_least() {
        let members = [member("a", true, &[(0, 100), (1, 100)]), member("b", true, &[(2, 100)])];
        let plan = made(4, &members);
        assert_eq!((&plan["a"][..], &plan["b"][..]), (&[0, 1][..], &[2, 3][..]));
        // By bytes, not by number.
        let members = [member("a", true, &[(0, 10), (1, 10)]), member("b", true, &[(2, 100)])];
        assert_eq!(made(4, &members)["a"], [0, 1, 3]);
    }

    #[test]
    fn nothing_moves_to_a_member_that_came_just_now() {
        let members = [member("a", true, &[(0, 1), (1, 1), (2, 1), (3, 1)]), fresh("b")];
        assert_eq!(made(4, &members)["a"], [0, 1, 2, 3]);
        // Nor does it get what is free, while there are others.
        assert_eq!(made(5, &members)["a"], [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_settled_member_gets_its_part_after_it_was_let_go() {
        let members = [member("a", true, &[(0, 1), (1, 1), (2, 1), (3, 1)]), member("b", true, &[])];
        let plan = made(4, &members);
        assert_eq!((plan["a"].len(), plan["b"].len()), (2, 0));
        // While lanes are on their way no others are taken.
        let mut giving = member("a", true, &[(0, 1), (1, 1), (2, 1), (3, 1)]);
        for lane in [0, 1] {
            giving.1.claims.insert(lane, Claim { leaving: true, bytes_per_s: None });
        }
        let members = [giving, member("b", true, &[])];
        assert_eq!(made(4, &members)["a"], [2, 3]);
        let members = [member("a", true, &[(2, 1), (3, 1)]), member("b", true, &[])];
        assert_eq!(made(4, &members)["b"], [0, 1]);
    }

    #[test]
    fn several_settled_members_get_their_parts_at_once() {
        let of = |lanes: &[u32]| lanes.iter().map(|lane| (*lane, 0)).collect::<Vec<_>>();
        let members = [
            member("a", true, &of(&[0, 1, 2])),
            member("b", true, &of(&[3, 4, 5])),
            member("c", true, &of(&[6, 7])),
            member("d", true, &[]),
            member("e", true, &[]),
        ];
        let plan = made(8, &members);
        assert_eq!(["a", "b", "c", "d", "e"].map(|id| plan[id].len()), [2, 2, 2, 0, 0]);
    }

    #[test]
    fn a_small_gain_moves_nothing() {
        let members = [member("a", true, &[(0, 60), (1, 50)]), member("b", true, &[(2, 50), (3, 45)])];
        let plan = made(4, &members);
        assert_eq!((&plan["a"][..], &plan["b"][..]), (&[0, 1][..], &[2, 3][..]));
        let members = [member("a", true, &[(0, 60), (1, 50), (2, 10)]), member("b", true, &[(3, 50), (4, 50)])];
        assert_eq!(made(5, &members)["a"], [0, 1, 2], "110 and 110 is little better than 120 and 100");
        // One lane that is more than all others cannot be shared, the others can.
        let few = [(1, 10), (2, 10), (3, 10), (4, 10)];
        let members = [member("a", true, &[(0, 1_000)]), member("b", true, &few), member("c", true, &[])];
        let plan = made(5, &members);
        assert_eq!((&plan["a"][..], plan["b"].len(), plan["c"].len()), (&[0][..], 2, 0));
    }

    #[test]
    fn the_lane_moves_that_brings_two_members_nearest_together() {
        let members = [member("a", true, &[(0, 10), (1, 80), (2, 120)]), member("b", true, &[(3, 50)])];
        assert_eq!(made(4, &members)["a"], [0, 2]);
    }

    #[test]
    fn a_settled_member_with_nothing_gets_a_lane_however_uneven_lanes_are() {
        // One lane catches up: whoever has it has the most, wherever it is.
        for busy in 0..4 {
            let rate = |lane| (lane, if lane == busy { 5_000_000 } else { 100_000 });
            let members =
                [member("a", true, &[0, 1].map(rate)), member("b", true, &[2, 3].map(rate)), member("c", true, &[])];
            let plan = made(4, &members);
            assert_eq!(plan["a"].len() + plan["b"].len(), 3, "{busy}: {plan:?}");
            assert!(!plan["a"].is_empty() && !plan["b"].is_empty(), "{busy}: {plan:?}");
        }
    }

    #[test]
    fn of_two_claims_the_younger_is_right() {
        let mut old = member("a", true, &[(0, 1), (1, 1)]);
        old.1.generation = GENERATION - 4;
        for members in [[old.clone(), member("b", true, &[(1, 1)])], [member("b", true, &[(1, 1)]), old]] {
            let plan = made(2, &members);
            assert_eq!((&plan["a"][..], &plan["b"][..]), (&[0][..], &[1][..]));
        }
    }

    #[test]
    fn what_a_member_got_and_does_not_know_of_yet_is_not_given_to_others() {
        let mut stale = member("a", true, &[(0, 1)]);
        stale.1.generation = GENERATION - 2;
        // Nor can it be asked back, since it may not be there.
        for settled in [false, true] {
            let mut other = member("b", settled, &[]);
            other.1.plan = plan(&[(0, "a"), (1, "a"), (2, "a")]);
            let made = make(GENERATION, 3, &[stale.clone(), other], false);
            let lanes: Vec<u32> = made.plan.lanes_of(MemberKey::of("a")).collect();
            assert!(lanes.ends_with(&[1, 2]), "{lanes:?}");
            assert!(made.incomplete, "another plan must follow, by what it says then");
        }
    }

    #[test]
    fn what_a_member_was_to_let_go_is_its_own_until_it_says_so() {
        let mut stale = member("a", true, &[]);
        stale.1.generation = GENERATION - 2;
        let mut other = member("b", true, &[]);
        other.1.plan = plan(&[(0, "a"), (1, "a")]);
        other.1.plan.lanes[1].leaving = true;
        let Made { plan: made, incomplete } = make(GENERATION, 2, &[stale, other], false);
        assert!(incomplete, "it may have said so already");
        assert_eq!(made.lanes.iter().map(|share| share.leaving).collect::<Vec<_>>(), [false, true]);
        assert!(made.lanes.iter().all(|share| share.owner == Some(MemberKey::of("a"))));
    }

    #[test]
    fn without_the_plan_before_it_a_generation_gives_nothing_out() {
        let members = [member("a", true, &[(0, 1)]), fresh("b")];
        let first = make(GENERATION + 1, 2, &members, false);
        assert_eq!(first.plan.lanes_of(MemberKey::of("a")).collect::<Vec<_>>(), [0]);
        assert!(first.incomplete && first.plan.lanes[1].owner.is_none());
        assert!(make(GENERATION, 2, &members, true).incomplete);
        assert!(!make(GENERATION, 1, &members, true).incomplete);
    }

    #[test]
    fn lanes_that_are_no_more_are_nobodys() {
        let members = [member("a", true, &[(0, 1), (7, 1)])];
        assert_eq!(made(2, &members)["a"], [0, 1]);
        assert_eq!(make(GENERATION, 0, &members, false).plan.lanes, []);
    }
}
