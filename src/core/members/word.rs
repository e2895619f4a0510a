//! What members tell each other: their words when they join, and the leader's plan. Both are small, since a broker
//! keeps those of all members in one record of its own.
//!
//! Another format needs another name of the protocol: the coordinator keeps members apart that have no name in common.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::codec::{BadRecord, Reader, Writer};

/// A member in a plan: a hash of its id, which is eight times as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberKey(u64);

impl MemberKey {
    /// The key of a member's id: 64-bit FNV-1a.
    pub fn of(member_id: &str) -> Self {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(member_id.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    /// A number that differs from member to member.
    pub(super) fn spread(self) -> u64 {
        self.0
    }
}

/// A lane that a member owns when it joins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Bytes it copied a second lately; none if it is too new to say.
    pub bytes_per_s: Option<u64>,
    /// Whether the member is about to let it go.
    pub leaving: bool,
}

/// What a member says of itself when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// The generation whose plan it carried out last; 0 for none.
    pub generation: i32,
    /// Whether it has been a member for so long that lanes may be moved to it.
    pub settled: bool,
    /// For how long, in ms, members that this one cannot see may still own lanes: the group was begun anew.
    pub quiet_ms: u64,
    /// Its lanes.
    pub claims: BTreeMap<u32, Claim>,
    /// The newest plan that it knows.
    pub plan: Plan,
}

/// A lane in a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Who has it; none while nobody may take it yet.
    pub owner: Option<MemberKey>,
    /// Whether the owner is to let it go, or does so.
    pub leaving: bool,
    /// Bytes it copied a second when that was last known.
    pub bytes_per_s: u64,
}

/// Who has which lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The generation that it was made for; 0 for no plan at all.
    pub generation: i32,
    /// The lanes from 0 on.
    pub lanes: Vec<Share>,
}

impl Plan {
    /// A lane's share.
    pub fn share(&self, lane: u32) -> Option<&Share> {
        self.lanes.get(usize::try_from(lane).ok()?)
    }

    /// The lanes of a member, without those that it is to let go.
    pub fn lanes_of(&self, member: MemberKey) -> impl Iterator<Item = u32> {
        let has = move |share: &Share| share.owner == Some(member) && !share.leaving;
        (0..).zip(&self.lanes).filter(move |(_, share)| has(share)).map(|(lane, _)| lane)
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.write(&mut out);
        out.bytes
    }

    /// From bytes, all of them.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        let mut input = Reader::new(bytes)?;
        let plan = Self::read(&mut input)?;
        end(&input).map(|()| plan)
    }

    fn write(&self, out: &mut Writer) {
        let mut owners: Vec<MemberKey> = self.lanes.iter().filter_map(|share| share.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        out.unsigned(u64::from(self.generation.unsigned_abs()));
        out.unsigned(owners.len() as u64);
        for owner in &owners {
            out.bytes.extend_from_slice(&owner.0.to_be_bytes());
        }
        out.unsigned(self.lanes.len() as u64);
        for share in &self.lanes {
            let place = share.owner.and_then(|owner| owners.binary_search(&owner).ok());
            out.unsigned(place.map_or(0, |place| place as u64 + 1));
            out.unsigned(u64::from(share.leaving));
            out.unsigned(share.bytes_per_s);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, BadRecord> {
        let generation = generation(input)?;
        let mut owners = Vec::new();
        for _ in 0..input.unsigned()? {
            let mut key = [0; 8];
            key.copy_from_slice(input.take(8)?);
            owners.push(MemberKey(u64::from_be_bytes(key)));
        }
        let mut lanes = Vec::new();
        for _ in 0..input.unsigned()? {
            let owner = match usize::try_from(input.unsigned()?) {
                Ok(0) => None,
                Ok(place) => Some(*owners.get(place - 1).ok_or(BadRecord { reason: "no such owner" })?),
                Err(_) => return Err(BadRecord { reason: "no such owner" }),
            };
            lanes.push(Share { owner, leaving: input.flag()?, bytes_per_s: input.unsigned()? });
        }
        Ok(Self { generation, lanes })
    }
}

impl Word {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.unsigned(u64::from(self.generation.unsigned_abs()));
        out.unsigned(u64::from(self.settled));
        out.unsigned(self.quiet_ms);
        out.unsigned(self.claims.len() as u64);
        for (lane, claim) in &self.claims {
            out.unsigned(u64::from(*lane));
            out.unsigned(u64::from(claim.leaving));
            out.unsigned(claim.bytes_per_s.map_or(0, |bytes| bytes.saturating_add(1)));
        }
        self.plan.write(&mut out);
        out.bytes
    }

    /// From bytes, all of them.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        let mut input = Reader::new(bytes)?;
        let generation = generation(&mut input)?;
        let (settled, quiet_ms) = (input.flag()?, input.unsigned()?);
        let mut claims = BTreeMap::new();
        for _ in 0..input.unsigned()? {
            let lane = u32::try_from(input.unsigned()?).map_err(|_| BadRecord { reason: "no such lane" })?;
            let leaving = input.flag()?;
            claims.insert(lane, Claim { leaving, bytes_per_s: input.unsigned()?.checked_sub(1) });
        }
        let plan = Plan::read(&mut input)?;
        end(&input).map(|()| Self { generation, settled, quiet_ms, claims, plan })
    }
}

fn generation(input: &mut Reader<'_>) -> Result<i32, BadRecord> {
    i32::try_from(input.unsigned()?).map_err(|_| BadRecord { reason: "no such generation" })
}

fn end(input: &Reader<'_>) -> Result<(), BadRecord> {
    if input.rest.is_empty() { Ok(()) } else { Err(BadRecord { reason: "value goes on after its end" }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(members: u64, lanes: u64) -> Plan {
        let owner = |lane: u64| (lane % (members + 1)).checked_sub(1).map(MemberKey);
        let share = |lane| Share { owner: owner(lane), leaving: lane % 4 == 3, bytes_per_s: lane * 1_000_000 };
        Plan { generation: 7, lanes: (0..lanes).map(share).collect() }
    }

    fn word() -> Word {
        let claims = [
            (0, Claim { bytes_per_s: None, leaving: false }),
            (3, Claim { bytes_per_s: Some(0), leaving: true }),
            (255, Claim { bytes_per_s: Some(70_000_000), leaving: false }),
        ];
        Word { generation: 6, settled: true, quiet_ms: 10_000, claims: claims.into(), plan: plan(2, 5) }
    }

    #[test]
    fn words_and_plans_come_back() {
        for word in [word(), Word::default()] {
            assert_eq!(Word::decode(&word.encode()), Ok(word));
        }
        for plan in [plan(3, 20), plan(1, 1), Plan::default()] {
            assert_eq!(Plan::decode(&plan.encode()), Ok(plan));
        }
    }

    #[test]
    fn what_is_cut_lengthened_or_foreign_is_refused() {
        let bytes = word().encode();
        for len in 0..bytes.len() {
            Word::decode(&bytes[..len]).unwrap_err();
        }
        let mut longer = bytes.clone();
        longer.push(0);
        Word::decode(&longer).unwrap_err();
        let mut newer = bytes;
        newer[0] += 1;
        assert_eq!(Word::decode(&newer), Err(BadRecord { reason: "written by a newer twinlog" }));
        // An owner that is not in the list.
        Plan::decode(&[plan(1, 1).encode()[0], 1, 0, 1, 1, 0, 0]).unwrap_err();
    }

    #[test]
    fn a_hundred_members_fit_into_one_record() {
        let plan = plan(100, 256);
        let claims = (0..3).map(|lane| (lane, Claim { bytes_per_s: Some(u64::from(u32::MAX)), leaving: false }));
        let word = Word { plan: plan.clone(), claims: claims.collect(), ..word() };
        // A broker takes records up to 1 MB by default.
        assert!((word.encode().len() + plan.encode().len()) * 100 < 600_000);
    }
}
