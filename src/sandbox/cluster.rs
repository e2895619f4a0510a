//! The cluster's state: topics, partitions with their leaders, transactions, groups. Plain functions that are told the
//! time; who calls them holds the one lock.

use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};

use twinlog_wire::error_code::ErrorCode;
use uuid::Uuid;

use crate::clock::Now;
use crate::codes;
use crate::fetch_sessions::FetchSessions;
use crate::group::Group;
use crate::log::Log;
use crate::settings::{self, BrokerSettings, Rules};
use crate::txn::Transactions;

/// More partitions than a test or a demo has; each costs some bytes, and anybody may ask for them.
const PARTITIONS_MAX: i32 = 100_000;
const NAME_LEN_MAX: usize = 249;

/// One partition. The replicas are names in the metadata only: there is one log.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) log: Log,
    pub(crate) leader: Option<i32>,
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<i32>,
}

impl Partition {
    fn new(replicas: Vec<i32>) -> Self {
        let mut log = Log::default();
        log.begin_epoch(0);
        Self { log, leader: replicas.first().copied(), leader_epoch: 0, replicas }
    }

    /// Another leader, or the same one again, or none: with a leader comes a new epoch.
    pub(crate) fn elect(&mut self, leader: Option<i32>) {
        self.leader = leader;
        if leader.is_some() {
            self.leader_epoch += 1;
            self.log.begin_epoch(self.leader_epoch);
        }
    }

    /// Whether a request may be answered here, which says that it knows this leader epoch (-1: says nothing).
    pub(crate) fn check_leader(&self, node: i32, known_epoch: i32) -> Result<(), ErrorCode> {
        if known_epoch >= 0 && known_epoch < self.leader_epoch {
            return Err(ErrorCode::FENCED_LEADER_EPOCH);
        }
        if known_epoch > self.leader_epoch {
            return Err(ErrorCode::UNKNOWN_LEADER_EPOCH);
        }
        if self.leader == Some(node) { Ok(()) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<Partition>,
    /// Its own settings.
    pub(crate) configs: BTreeMap<String, String>,
    pub(crate) rules: Rules,
}

impl Topic {
    pub(crate) fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn partition_mut(&mut self, index: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(index).ok()?)
    }
}

/// An administrator's request that is refused, with the broker's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Objection {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl Objection {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A topic that somebody wants; -1 stands for the brokers' defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    /// The replicas of each partition, leader first, where the asker chooses them.
    pub(crate) assignments: BTreeMap<i32, Vec<i32>>,
    pub(crate) configs: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) id: String,
    /// Node ids, ascending.
    pub(crate) nodes: Vec<i32>,
    pub(crate) settings: BrokerSettings,
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) transactions: Transactions,
    pub(crate) groups: BTreeMap<String, Group>,
    /// By node.
    fetch_sessions: BTreeMap<i32, FetchSessions>,
    rng: Rng,
    /// How many topics were ever made: each begins with another node as its first leader.
    made: usize,
    producers_checked_ms: u64,
    members: u64,
}

impl Cluster {
    pub(crate) fn new(id: String, nodes: Vec<i32>, settings: BrokerSettings, marker_delay_ms: u64, seed: u64) -> Self {
        Self {
            id,
            nodes,
            settings,
            topics: BTreeMap::new(),
            transactions: Transactions::new(marker_delay_ms),
            groups: BTreeMap::new(),
            fetch_sessions: BTreeMap::new(),
            rng: Rng::with_seed(seed),
            made: 0,
            producers_checked_ms: 0,
            members: 0,
        }
    }

    /// Does what is due: markers, time-outs, rebalances, the check for old producers. True if anything was done that
    /// somebody may wait for.
    pub(crate) fn tick(&mut self, now: Now) -> bool {
        let mut changed = false;
        for ending in self.transactions.due(now.elapsed_ms) {
            let mut left = BTreeSet::new();
            for (topic, index) in &ending.partitions {
                // A topic that is gone takes its markers with it.
                let Some(partition) = self.topics.get_mut(topic).and_then(|topic| topic.partition_mut(*index)) else {
                    continue;
                };
                if partition.leader.is_none() {
                    left.insert((topic.clone(), *index));
                    continue;
                }
                let (producer, epoch) = ((ending.producer.id, ending.producer.epoch), partition.leader_epoch);
                if let Err(code) = partition.log.mark(producer, ending.commit, epoch, now.wall_ms) {
                    tracing::debug!(topic, index, %code, "A marker of a former epoch is left out.");
                }
            }
            for group in &ending.groups {
                if let Some(group) = self.groups.get_mut(group) {
                    group.end_transaction(ending.producer.id, ending.commit);
                }
            }
            changed |= left.len() < ending.partitions.len() || !ending.groups.is_empty();
            self.transactions.written(&ending, left);
        }
        for group in self.groups.values_mut() {
            let before = (group.state, group.generation);
            group.tick(now.elapsed_ms);
            changed |= (group.state, group.generation) != before;
        }
        let interval = self.settings.number("producer.id.expiration.check.interval.ms").max(1);
        if now.elapsed_ms.saturating_sub(self.producers_checked_ms) >= interval.cast_unsigned() {
            self.producers_checked_ms = now.elapsed_ms;
            self.expire_producers(now.wall_ms);
        }
        changed
    }

    /// When something is due next, in ms of elapsed time. Old producers are looked for with whatever comes.
    pub(crate) fn next_due_ms(&self, now: Now) -> Option<u64> {
        let groups = self.groups.values().filter_map(Group::next_due_ms);
        self.transactions.next_due_ms(now.elapsed_ms).into_iter().chain(groups).min()
    }

    pub(crate) fn expire_producers(&mut self, now_ms: i64) {
        let expiration_ms = self.settings.number("producer.id.expiration.ms");
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            partition.log.producers.expire(now_ms, expiration_ms);
        }
    }

    /// The coordinator of a group or transactional id. Which node that is stays the same for good.
    pub(crate) fn coordinator(&self, key: &str) -> i32 {
        let hash = key.bytes().fold(0usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte)));
        self.nodes.get(hash % self.nodes.len().max(1)).copied().unwrap_or(-1)
    }

    pub(crate) fn check_coordinator(&self, key: &str, node: i32) -> Result<(), ErrorCode> {
        if self.coordinator(key) == node { Ok(()) } else { Err(ErrorCode::NOT_COORDINATOR) }
    }

    /// An id for a group's new member that nobody had before.
    pub(crate) fn new_member(&mut self, client_id: &str) -> String {
        self.members += 1;
        format!("{client_id}-{}", self.members)
    }

    pub(crate) fn topic_name(&self, id: Uuid) -> Option<&str> {
        self.topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name.as_str())
    }

    pub(crate) fn partition(&self, topic: &str, index: i32) -> Option<&Partition> {
        self.topics.get(topic)?.partition(index)
    }

    pub(crate) fn partition_mut(&mut self, topic: &str, index: i32) -> Option<&mut Partition> {
        self.topics.get_mut(topic)?.partition_mut(index)
    }

    /// A partition that this node leads, or why it does not.
    pub(crate) fn led(
        &mut self,
        topic: &str,
        index: i32,
        node: i32,
        known_epoch: i32,
    ) -> Result<&mut Partition, ErrorCode> {
        let partition = self.partition_mut(topic, index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        partition.check_leader(node, known_epoch)?;
        Ok(partition)
    }

    /// Creates a topic, or only says whether it could; how many partitions and replicas it has or would have.
    pub(crate) fn create_topic(&mut self, wanted: &Wanted, only_try: bool) -> Result<(i32, i16), Objection> {
        check_name(&wanted.name)?;
        if self.topics.contains_key(&wanted.name) {
            let words = format!("Topic '{}' already exists.", wanted.name);
            return Err(Objection::new(ErrorCode::TOPIC_ALREADY_EXISTS, words));
        }
        let (replicas, factor) = self.replicas(wanted)?;
        check_configs(&wanted.configs)?;
        let partitions = i32::try_from(replicas.len()).unwrap_or(i32::MAX);
        if !only_try {
            self.made += 1;
            let topic = Topic {
                id: self.new_topic_id(),
                partitions: replicas.into_iter().map(Partition::new).collect(),
                rules: self.settings.rules(&wanted.configs),
                configs: wanted.configs.clone(),
            };
            self.topics.insert(wanted.name.clone(), topic);
        }
        Ok((partitions, factor))
    }

    fn replicas(&self, wanted: &Wanted) -> Result<(Vec<Vec<i32>>, i16), Objection> {
        if !wanted.assignments.is_empty() {
            if wanted.partitions != -1 || wanted.replication_factor != -1 {
                let words = "Partitions and replication factor go with no assignment.";
                return Err(Objection::new(ErrorCode::INVALID_REQUEST, words));
            }
            return self.assigned(&wanted.assignments);
        }
        let or_default = |value: i64, name: &str| if value == -1 { self.settings.number(name) } else { value };
        let partitions = or_default(wanted.partitions.into(), "num.partitions");
        if !(1..=i64::from(PARTITIONS_MAX)).contains(&partitions) {
            let words = format!("Number of partitions must be from 1 to {PARTITIONS_MAX}.");
            return Err(Objection::new(ErrorCode::INVALID_PARTITIONS, words));
        }
        let factor = or_default(wanted.replication_factor.into(), "default.replication.factor");
        let Some(width) = usize::try_from(factor).ok().filter(|width| (1..=self.nodes.len()).contains(width)) else {
            let words = format!("Unable to replicate the partition {factor} time(s): there are {}.", self.nodes.len());
            return Err(Objection::new(ErrorCode::INVALID_REPLICATION_FACTOR, words));
        };
        let all = (0..usize::try_from(partitions).unwrap_or_default()).map(|index| self.spread(index, width));
        Ok((all.collect(), i16::try_from(width).unwrap_or(i16::MAX)))
    }

    fn assigned(&self, assignments: &BTreeMap<i32, Vec<i32>>) -> Result<(Vec<Vec<i32>>, i16), Objection> {
        let in_order = assignments.keys().copied().eq(0..i32::try_from(assignments.len()).unwrap_or(i32::MAX));
        let known = |nodes: &Vec<i32>| !nodes.is_empty() && nodes.iter().all(|node| self.nodes.contains(node));
        if !in_order || !assignments.values().all(known) {
            let words = "Partitions must count from 0 and name nodes of the cluster.";
            return Err(Objection::new(codes::INVALID_REPLICA_ASSIGNMENT, words));
        }
        let factor = assignments.values().next().map_or(0, Vec::len);
        Ok((assignments.values().cloned().collect(), i16::try_from(factor).unwrap_or(i16::MAX)))
    }

    /// Leaders go round the nodes, each topic beginning with another one.
    fn spread(&self, index: usize, width: usize) -> Vec<i32> {
        let round = self.nodes.iter().cycle();
        round.skip((self.made + index) % self.nodes.len().max(1)).take(width).copied().collect()
    }

    fn new_topic_id(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.rng.u64(..), self.rng.u64(..) | 1)
    }

    pub(crate) fn delete_topic(&mut self, name: &str) -> Option<Topic> {
        for group in self.groups.values_mut() {
            group.forget_topic(name);
        }
        self.topics.remove(name)
    }

    pub(crate) fn add_partitions(&mut self, name: &str, count: i32, only_try: bool) -> Result<(), Objection> {
        let unknown = || Objection::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "This server does not host it.");
        let topic = self.topics.get(name).ok_or_else(unknown)?;
        let present = topic.partitions.len();
        let width = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
        let Some(wanted) = usize::try_from(count).ok().filter(|wanted| *wanted > present && count <= PARTITIONS_MAX)
        else {
            let words = format!("The topic currently has {present} partition(s), and {count} is not an increase.");
            return Err(Objection::new(ErrorCode::INVALID_PARTITIONS, words));
        };
        let added: Vec<Partition> = (present..wanted).map(|index| Partition::new(self.spread(index, width))).collect();
        if let Some(topic) = self.topics.get_mut(name).filter(|_| !only_try) {
            topic.partitions.extend(added);
        }
        Ok(())
    }

    /// Sets a topic's own settings to these.
    pub(crate) fn set_configs(
        &mut self,
        name: &str,
        configs: BTreeMap<String, String>,
        only_try: bool,
    ) -> Result<(), Objection> {
        check_configs(&configs)?;
        let rules = self.settings.rules(&configs);
        let unknown = || Objection::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "The topic does not exist.");
        let topic = self.topics.get_mut(name).ok_or_else(unknown)?;
        if !only_try {
            (topic.configs, topic.rules) = (configs, rules);
        }
        Ok(())
    }

    /// Deletes what the topics' settings no longer keep.
    pub(crate) fn retain(&mut self, now_ms: i64) {
        for topic in self.topics.values_mut() {
            for partition in &mut topic.partitions {
                partition.log.retain(&topic.rules, now_ms);
            }
        }
    }

    pub(crate) fn fetch_sessions(&mut self, node: i32) -> &mut FetchSessions {
        self.fetch_sessions.entry(node).or_default()
    }

    /// What the clean restart of a node does to the partitions that it leads, and to its fetch sessions.
    pub(crate) fn restart(&mut self, node: i32, now_ms: i64) {
        self.fetch_sessions(node).forget();
        let expiration_ms = self.settings.number("producer.id.expiration.ms");
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            if partition.leader == Some(node) {
                partition.log.producers.restart();
                partition.log.producers.expire(now_ms, expiration_ms);
                partition.elect(Some(node));
            }
        }
    }
}

fn check_name(name: &str) -> Result<(), Objection> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
    let valid =
        !name.is_empty() && name.len() <= NAME_LEN_MAX && name.chars().all(legal) && ![".", ".."].contains(&name);
    let words = || Objection::new(ErrorCode::INVALID_TOPIC_EXCEPTION, format!("Topic name is invalid: '{name}'."));
    if valid { Ok(()) } else { Err(words()) }
}

fn check_configs(configs: &BTreeMap<String, String>) -> Result<(), Objection> {
    for (name, value) in configs {
        settings::check_topic(name, value)
            .map_err(|error| Objection::new(ErrorCode::INVALID_CONFIG, error.to_string()))?;
    }
    Ok(())
}
