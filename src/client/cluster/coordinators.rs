//! Which broker coordinates a group or a transactional id.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use twinlog_wire::error_code::ErrorCode;

use super::Cluster;
use crate::error::{Cause, Outcome, Result, Step};

/// From v1 on the kind can be named, from v4 on several keys can be asked for; v6 is for share
/// groups.
const VERSION_MIN: i16 = 1;
const VERSION_MAX: i16 = 5;
const KEYS_SINCE: i16 = 4;
const STEP: Step = Step::of::<FindCoordinatorRequest>();

/// What a coordinator coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i8)]
pub enum CoordinatorType {
    /// A consumer group.
    Group = 0,
    /// A transactional id.
    Transaction = 1,
}

#[derive(Debug, Default)]
pub(super) struct Coordinators {
    nodes: Mutex<HashMap<(CoordinatorType, String), i32>>,
}

impl Coordinators {
    pub(super) async fn find(&self, cluster: &Cluster, key: &str, kind: CoordinatorType) -> Result<i32> {
        let cached = self.nodes().get(&(kind, key.to_owned())).copied();
        if let Some(node) = cached {
            return Ok(node);
        }
        let node = ask(cluster, key, kind).await?;
        self.nodes().insert((kind, key.to_owned()), node);
        Ok(node)
    }

    pub(super) fn forget(&self, key: &str, kind: CoordinatorType) {
        self.nodes().remove(&(kind, key.to_owned()));
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<(CoordinatorType, String), i32>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(cluster: &Cluster, key: &str, kind: CoordinatorType) -> Result<i32> {
    let connection = cluster.any().await?;
    let version = connection.require_version::<FindCoordinatorRequest>(VERSION_MIN, VERSION_MAX)?;
    let name = StrBytes::from_string(key.to_owned());
    let request = FindCoordinatorRequest::default().with_key_type(kind as i8);
    let request = match version >= KEYS_SINCE {
        true => request.with_coordinator_keys(vec![name]),
        false => request.with_key(name),
    };
    let answer = connection.call_at(request, version, None).await?;
    let cause = match read(answer, key, version) {
        Some((ErrorCode::NONE, node, _)) => return Ok(node),
        Some((code, _, message)) => {
            Cause::Code { code, item: Some(key.to_owned()), message: message.map(|m| m.to_string()) }
        }
        None => Cause::Missing(key.to_owned()),
    };
    Err(connection.error(STEP, Outcome::Answered, cause))
}

fn read(answer: FindCoordinatorResponse, key: &str, version: i16) -> Option<(ErrorCode, i32, Option<StrBytes>)> {
    if version < KEYS_SINCE {
        return Some((ErrorCode(answer.error_code), answer.node_id.0, answer.error_message));
    }
    let found = answer.coordinators.into_iter().find(|c| c.key.as_str() == key)?;
    Some((ErrorCode(found.error_code), found.node_id.0, found.error_message))
}
