//! Fetch sessions (KIP-227): a broker remembers which partitions a client reads and from where, so that a request names
//! only what has changed, and an answer has only what is new.

use std::collections::BTreeMap;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use twinlog_wire::error_code::ErrorCode;
use uuid::Uuid;

/// How many sessions a node keeps (max.incremental.fetch.session.cache.slots).
const SESSIONS_MAX: usize = 1_000;
/// The epoch of a request that begins a session.
const FIRST_EPOCH: i32 = 0;
/// The epoch of a request without one.
const NO_EPOCH: i32 = -1;

/// The sessions of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct FetchSessions {
    last_id: i32,
    open: BTreeMap<i32, Session>,
}

#[derive(Clone, Debug)]
struct Session {
    epoch: i32,
    by_id: bool,
    members: BTreeMap<Key, Member>,
    /// The turn of the one that was put last.
    last_turn: u64,
}

/// A partition as requests name it.
type Key = (TopicName, Uuid, i32);

#[derive(Clone, Debug)]
struct Member {
    asked: FetchPartition,
    /// Its place among the others: who was given records comes last.
    turn: u64,
    high_watermark: i64,
    log_start: i64,
}

impl FetchSessions {
    /// Takes a request in: one that belongs to a session names all partitions of it after that.
    pub(crate) fn begin(&mut self, request: &mut FetchRequest, by_id: bool) -> Result<(), ErrorCode> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        if epoch == FIRST_EPOCH || epoch == NO_EPOCH {
            self.open.remove(&id);
            return Ok(());
        }
        let session = self.open.get_mut(&id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        session.name(&request.topics);
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                session.members.remove(&(topic.topic.clone(), topic.topic_id, *partition));
            }
        }
        session.epoch = next_epoch(epoch);
        request.topics = session.in_turn();
        if request.topics.is_empty() {
            self.open.remove(&id);
            request.session_epoch = NO_EPOCH;
        }
        Ok(())
    }

    /// The answer to a request that was taken in: of a session only what is new. What it says is remembered.
    pub(crate) fn answer(
        &mut self,
        request: &FetchRequest,
        by_id: bool,
        answers: Vec<(&FetchTopic, Vec<PartitionData>)>,
    ) -> FetchResponse {
        let answered = |topic: &FetchTopic, partitions: Vec<PartitionData>| {
            let answered = FetchableTopicResponse::default().with_partitions(partitions);
            if by_id { answered.with_topic_id(topic.topic_id) } else { answered.with_topic(topic.topic.clone()) }
        };
        let mut id = request.session_id;
        if request.session_epoch == FIRST_EPOCH {
            id = self.open(&request.topics, by_id);
        }
        let session = self.open.get_mut(&id).filter(|_| request.session_epoch != NO_EPOCH);
        let id = if session.is_some() { id } else { 0 };
        let mut responses = Vec::with_capacity(answers.len());
        match session {
            None => responses.extend(answers.into_iter().map(|(topic, all)| answered(topic, all))),
            Some(session) => {
                for (topic, mut partitions) in answers {
                    let is_first = request.session_epoch == FIRST_EPOCH;
                    partitions.retain(|data| session.is_news(topic, data) || is_first);
                    if !partitions.is_empty() {
                        responses.push(answered(topic, partitions));
                    }
                }
            }
        }
        FetchResponse::default().with_session_id(id).with_responses(responses)
    }

    /// Ends all of them.
    pub(crate) fn forget(&mut self) {
        self.open.clear();
    }

    /// A new session, or 0 where there is no room.
    fn open(&mut self, topics: &[FetchTopic], by_id: bool) -> i32 {
        if self.open.len() >= SESSIONS_MAX || topics.iter().all(|topic| topic.partitions.is_empty()) {
            return 0;
        }
        let mut session = Session { epoch: next_epoch(FIRST_EPOCH), by_id, members: BTreeMap::new(), last_turn: 0 };
        session.name(topics);
        self.last_id += 1;
        self.open.insert(self.last_id, session);
        self.last_id
    }
}

impl Session {
    /// Takes in partitions, or new positions of them.
    fn name(&mut self, topics: &[FetchTopic]) {
        for topic in topics {
            for asked in &topic.partitions {
                let key = (topic.topic.clone(), topic.topic_id, asked.partition);
                if let Some(member) = self.members.get_mut(&key) {
                    member.asked = asked.clone();
                    continue;
                }
                self.last_turn += 1;
                let member = Member { asked: asked.clone(), turn: self.last_turn, high_watermark: -1, log_start: -1 };
                self.members.insert(key, member);
            }
        }
    }

    /// Whether a partition's answer belongs into the session's; what it says is remembered. Who is given records comes
    /// last after that.
    fn is_news(&mut self, topic: &FetchTopic, data: &PartitionData) -> bool {
        let key = (topic.topic.clone(), topic.topic_id, data.partition_index);
        let Some(member) = self.members.get_mut(&key) else { return true };
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        if has_records {
            self.last_turn += 1;
            member.turn = self.last_turn;
        }
        member.remember(data) || has_records
    }

    /// All partitions as a request would name them.
    fn in_turn(&self) -> Vec<FetchTopic> {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_unstable_by_key(|(_, member)| member.turn);
        let mut topics: Vec<FetchTopic> = Vec::new();
        for ((name, id, _), member) in members {
            match topics.last_mut().filter(|topic| topic.topic == *name && topic.topic_id == *id) {
                Some(topic) => topic.partitions.push(member.asked.clone()),
                None => topics.push(
                    FetchTopic::default()
                        .with_topic(name.clone())
                        .with_topic_id(*id)
                        .with_partitions(vec![member.asked.clone()]),
                ),
            }
        }
        topics
    }
}

impl Member {
    /// Whether an answer without records says something new. After an error or a diverging epoch the next one does.
    fn remember(&mut self, data: &PartitionData) -> bool {
        let is_bad = data.error_code != 0 || data.diverging_epoch.epoch >= 0;
        let is_new = is_bad || (self.high_watermark, self.log_start) != (data.high_watermark, data.log_start_offset);
        self.high_watermark = if is_bad { -1 } else { data.high_watermark };
        self.log_start = data.log_start_offset;
        is_new
    }
}

fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}
