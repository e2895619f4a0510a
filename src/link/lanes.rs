//! The lanes of a link for people: what is in each, and changes of it. All is read from the target alone; a change is
//! written into the link's state, and the instances that run carry it out.

mod change;

use std::collections::{BTreeMap, BTreeSet};

use twinlog_client::Error;
use twinlog_client::admin::{GroupMemberSeen, TopicPartition};
use twinlog_core::link_state::LinkState;
use twinlog_core::map_record::PartitionKey;
use twinlog_core::members::{MemberKey, Plan};
use twinlog_core::moves::Place;
use twinlog_core::report::{Failure, LaneMove, LaneReport, LinkLanes};

pub use self::change::{Change, Planned, Waited, plan};
use crate::log_dirs::{leader_bytes, log_dirs};
use crate::map_reader::MapReader;
use crate::names;
use crate::reach::out_of_reach;
use crate::state::StateTopic;
use crate::state::look::{open, read};
use crate::supervisor::LinkSetup;

/// The lanes of a link, and what somebody should know besides.
#[derive(Debug)]
pub struct Seen {
    /// The lanes.
    pub lanes: LinkLanes,
    /// Plain sentences: what could not be had, and why.
    pub words: Vec<String>,
}

/// The lanes of a link as of now.
pub async fn lanes(setup: &LinkSetup) -> Result<Seen, Failure> {
    let mut words = Vec::new();
    let state = match known(setup).await? {
        Some((_, state)) => state,
        None => {
            words.push(no_lanes(setup));
            LinkState::default()
        }
    };
    let bytes = mirror_bytes(setup, &state).await?;
    let bytes =
        bytes.map_err(|error| words.push(format!("the target does not tell how large mirrors are: {error}"))).ok();
    let members = setup.target.group_members(&names::group(&setup.name)).await;
    let members = members.map_err(|error| words.push(format!("the target does not tell who has which lane: {error}")));
    let owners = members.map(|members| owners(&members)).unwrap_or_default();
    Ok(Seen { lanes: report(&setup.name, &state, bytes.as_ref(), &owners), words })
}

/// The state topic and what it says; none if the link has never run.
async fn known(setup: &LinkSetup) -> Result<Option<(StateTopic, LinkState)>, Failure> {
    let Some(topic) = open(setup).await? else { return Ok(None) };
    let state = read(&topic).await?;
    Ok(state.lanes().is_some().then_some((topic, state)))
}

fn no_lanes(setup: &LinkSetup) -> String {
    format!("link {} has no lanes yet: nothing is in target topic {}", setup.name, names::state_topic(&setup.name))
}

/// The bytes of each partition's mirror.
async fn mirror_bytes(
    setup: &LinkSetup,
    state: &LinkState,
) -> Result<Result<BTreeMap<PartitionKey, u64>, Error>, Failure> {
    let mirrors = mirrors(setup, state).await;
    let metadata = setup.target.metadata().await.map_err(|error| out_of_reach(&error))?;
    let sizes = match log_dirs(&setup.target, &metadata).await {
        Ok(dirs) => leader_bytes(&dirs, &metadata),
        Err(error) => return Ok(Err(error)),
    };
    let size = |(key, mirror): (&PartitionKey, &String)| {
        Some((key.clone(), *sizes.get(&TopicPartition::new(mirror.as_str(), key.partition))?))
    };
    Ok(Ok(mirrors.iter().filter_map(size).collect()))
}

/// The mirrors' names: by the map, or as the configuration would call them.
async fn mirrors(setup: &LinkSetup, state: &LinkState) -> BTreeMap<PartitionKey, String> {
    let mut known = BTreeMap::new();
    match by_the_map(setup).await {
        Ok(names) => known = names,
        // Whoever looks at lanes may do so just because of that.
        Err(failure) => tracing::warn!(link = setup.name, what = failure.what, "Sizes are by the configured names."),
    }
    let named = |key: &PartitionKey| setup.config.topics.rename.apply(&setup.config.source, &key.topic);
    let mirror = |(key, _): (PartitionKey, Place)| {
        let mirror = known.remove(&key).unwrap_or_else(|| named(&key));
        (key, mirror)
    };
    state.places().map(mirror).collect()
}

async fn by_the_map(setup: &LinkSetup) -> Result<BTreeMap<PartitionKey, String>, Failure> {
    let Some(mut map) = MapReader::open(setup, Box::new(|_| false)).await? else { return Ok(BTreeMap::new()) };
    map.read().await?;
    Ok(map.heads().map(|(key, head)| (key.clone(), head.target_topic.clone())).collect())
}

/// Who has which lane, by the newest plan that a member was given.
fn owners(members: &[GroupMemberSeen]) -> BTreeMap<u32, String> {
    let plans = members.iter().filter_map(|member| Plan::decode(&member.part).ok());
    let Some(plan) = plans.max_by_key(|plan| plan.generation) else { return BTreeMap::new() };
    let names: BTreeSet<&str> = members.iter().map(|member| member.client_id.as_str()).collect();
    let mut owners = BTreeMap::new();
    for member in members {
        // Those of one name on one host are told apart by their ids.
        let unique = names.len() == members.len();
        let name = if unique { &member.client_id } else { &member.member_id };
        let owned = plan.lanes_of(MemberKey::of(&member.member_id));
        owners.extend(owned.map(|lane| (lane, format!("{name} at {}", member.client_host))));
    }
    owners
}

fn report(
    link: &str,
    state: &LinkState,
    bytes: Option<&BTreeMap<PartitionKey, u64>>,
    owners: &BTreeMap<u32, String>,
) -> LinkLanes {
    let (count, wanted) = state.lanes().map_or((0, 0), |lanes| (lanes.count, lanes.wanted));
    let lane = |lane| LaneReport {
        lane,
        partitions: 0,
        coming: 0,
        going: 0,
        bytes: bytes.map(|_| 0),
        owner: owners.get(&lane).cloned(),
        closing: lane >= wanted,
    };
    let mut lanes: Vec<_> = (0..count).map(lane).collect();
    let index = |lane: u32| usize::try_from(lane).unwrap_or(usize::MAX);
    for (key, place) in state.places() {
        if let Some(lane) = lanes.get_mut(index(place.lane)) {
            lane.partitions += 1;
            lane.coming += u64::from(place.from.is_some());
            let size = bytes.and_then(|bytes| bytes.get(&key)).copied().unwrap_or_default();
            lane.bytes = lane.bytes.map(|sum| sum.saturating_add(size));
        }
        if let Some(lane) = place.from.and_then(|from| lanes.get_mut(index(from))) {
            lane.going += 1;
        }
    }
    let moves = moves(state.moves_since(&LinkState::default()), bytes);
    LinkLanes { link: link.to_owned(), wanted, lanes, moves }
}

fn moves(moves: Vec<(PartitionKey, Place)>, bytes: Option<&BTreeMap<PartitionKey, u64>>) -> Vec<LaneMove> {
    let shown = |(key, place): (PartitionKey, Place)| LaneMove {
        bytes: bytes.and_then(|bytes| bytes.get(&key)).copied(),
        from: place.from.unwrap_or(place.lane),
        to: place.lane,
        partition: key.partition,
        topic: key.topic,
    };
    moves.into_iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlog_core::members::Share;
    use twinlog_core::state_record::{Lanes, StateRecord};

    #[test]
    fn a_lane_counts_what_is_in_it_and_what_comes() {
        let mut state = LinkState::default();
        state.apply(StateRecord::Lanes(Lanes { count: 3, wanted: 2 }));
        let rests = |lane| Place { lane, from: None, number: 0 };
        let comes = Place { lane: 0, from: Some(2), number: 1 };
        state.apply(StateRecord::Table("orders".into(), vec![rests(0), rests(1), comes]));
        let key = |partition| PartitionKey { topic: "orders".into(), partition };
        let bytes = BTreeMap::from([(key(0), 10), (key(2), 5)]);
        let owners = BTreeMap::from([(1, "twinlog at 10.0.0.1".to_owned())]);
        let LinkLanes { lanes, moves, wanted, .. } = report("dr", &state, Some(&bytes), &owners);
        let row = |lane: &LaneReport| (lane.partitions, lane.coming, lane.going, lane.bytes, lane.closing);
        let rows: Vec<_> = lanes.iter().map(row).collect();
        let expected = [(2, 1, 0, Some(15), false), (1, 0, 0, Some(0), false), (0, 0, 1, Some(0), true)];
        assert_eq!((wanted, rows.as_slice()), (2, &expected[..]));
        assert_eq!(lanes[1].owner.as_deref(), Some("twinlog at 10.0.0.1"));
        assert_eq!(moves, [LaneMove { topic: "orders".into(), partition: 2, from: 2, to: 0, bytes: Some(5) }]);
        assert_eq!(report("dr", &state, None, &owners).lanes[0].bytes, None);
    }

    #[test]
    fn the_newest_plan_names_the_owners() {
        let share = |member: &str| Share { owner: Some(MemberKey::of(member)), leaving: false, bytes_per_s: 0 };
        let plan = |generation, lanes: Vec<Share>| Plan { generation, lanes }.encode().into();
        let member = |id: &str, part| GroupMemberSeen {
            member_id: id.to_owned(),
            client_id: "twinlog".to_owned(),
            client_host: "10.0.0.1".to_owned(),
            part,
        };
        let old = plan(1, vec![share("b"), share("b")]);
        let new = plan(2, vec![share("a"), Share::default(), share("b")]);
        let found = owners(&[member("a", new), member("b", old)]);
        assert_eq!(found, BTreeMap::from([(0, "a at 10.0.0.1".to_owned()), (2, "b at 10.0.0.1".to_owned())]));
        let alone = owners(&[member("a", plan(1, vec![share("a")]))]);
        assert_eq!(alone, BTreeMap::from([(0, "twinlog at 10.0.0.1".to_owned())]));
        assert_eq!(owners(&[member("a", "junk".into())]), BTreeMap::new());
    }
}
