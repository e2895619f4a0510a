//! Fetch sessions (KIP-227) with the source, as far as a client of one topic can tell.

use std::collections::BTreeMap;

use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::FetchPartition;
use twinlog_wire::error_code::ErrorCode;

/// The sessions that are open.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    last_id: i32,
    open: BTreeMap<i32, Session>,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    /// By partition.
    asked: BTreeMap<i32, FetchPartition>,
    /// How much was shown when it was told last.
    shown: Option<u64>,
}

impl Sessions {
    /// Takes a request in: one in a session names all partitions of it after that. The session's id, or 0.
    pub(super) fn begin(&mut self, request: &mut FetchRequest) -> Result<i32, ErrorCode> {
        let named =
            request.topics.iter().flat_map(|topic| &topic.partitions).map(|asked| (asked.partition, asked.clone()));
        if request.session_epoch <= 0 {
            self.open.remove(&request.session_id);
            if request.session_epoch < 0 {
                return Ok(0);
            }
            self.last_id += 1;
            self.open.insert(self.last_id, Session { epoch: 1, asked: named.collect(), shown: None });
            return Ok(self.last_id);
        }
        let session = self.open.get_mut(&request.session_id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        session.epoch += 1;
        session.asked.extend(named);
        for partition in request.forgotten_topics_data.iter().flat_map(|topic| &topic.partitions) {
            session.asked.remove(partition);
        }
        Ok(request.session_id)
    }

    /// What a session asks for; none if there is none.
    pub(super) fn asked(&self, id: i32) -> Option<Vec<FetchPartition>> {
        self.open.get(&id).map(|session| session.asked.values().cloned().collect())
    }

    /// Whether the ends of partitions may be new to a session; they are told now.
    pub(super) fn tell(&mut self, id: i32, shown: u64) -> bool {
        self.open.get_mut(&id).is_none_or(|session| session.shown.replace(shown) != Some(shown))
    }
}
