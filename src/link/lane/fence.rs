//! The lane's transactional id: producer ids with new epochs, and empty transactions that write markers.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use twinlog_client::admin::{ProducerId, TopicPartition};
use twinlog_client::{Cluster, Error, ErrorCode};
use twinlog_core::ids::Producer;
use twinlog_core::io::{Failure, FenceOutcome, Input, Member};
use twinlog_core::lane::Lane;

use super::{LaneSetup, Message, failure, refresh, tell};
use crate::failpoint;
use crate::names::{map_topic, transactional_id};

/// A transaction holds no data and is open for milliseconds. If the process sleeps in the middle of one for longer than
/// this, the coordinator ends it under a new epoch, as if another owner had come: so it is as long as brokers allow by
/// default (`transaction.max.timeout.ms`), with a shorter one for those that allow less.
const TRANSACTION_TIMEOUTS: [Duration; 2] = [Duration::from_secs(15 * 60), Duration::from_secs(60)];

pub(super) fn init(setup: &LaneSetup, sender: &mpsc::UnboundedSender<Message>, current: Option<Producer>) {
    let (target, lane, sender) = (setup.target.clone(), setup.lane, sender.clone());
    let id = transactional_id(&setup.link, lane);
    if !setup.lease.holds() {
        return tell(&sender, Message::Core(Input::ProducerId(Err(Failure::NotSent))));
    }
    tokio::spawn(async move {
        let current = current.map(|producer| ProducerId { id: producer.id, epoch: producer.epoch });
        let result = match init_producer_id(&target, lane, &id, current).await {
            Ok(producer) => Ok(Producer { id: producer.id, epoch: producer.epoch }),
            Err(error) => {
                tracing::debug!(%error, "No producer id yet.");
                Err(failure(&error))
            }
        };
        tell(&sender, Message::Core(Input::ProducerId(result)));
    });
}

/// A producer id with a new epoch, by the longest transaction timeout that the target allows.
pub(crate) async fn init_producer_id(
    target: &Cluster,
    lane: u32,
    id: &str,
    current: Option<ProducerId>,
) -> twinlog_client::Result<ProducerId> {
    let [long, short] = TRANSACTION_TIMEOUTS;
    match target.init_producer_id(lane, id, long, current).await {
        Err(error) if error.code() == Some(ErrorCode::INVALID_TRANSACTION_TIMEOUT) => {
            target.init_producer_id(lane, id, short, current).await
        }
        result => result,
    }
}

pub(super) fn fence(
    setup: &LaneSetup,
    sender: &mpsc::UnboundedSender<Message>,
    core: &Lane,
    producer: Producer,
    members: Vec<Member>,
) {
    let mut partitions: BTreeMap<TopicPartition, Member> = BTreeMap::new();
    for member in members {
        let at = match member {
            Member::Map => Some(TopicPartition::new(map_topic(&setup.link), setup.lane.cast_signed())),
            Member::Data(id) => core.partition(id).map(|partition| {
                let spec = partition.spec();
                TopicPartition::new(spec.target_topic.clone(), spec.key.partition)
            }),
        };
        if let Some(at) = at {
            partitions.insert(at, member);
        }
    }
    // A partition without a leader would keep the transaction open, and with it every later one of the lane.
    let metadata = setup.target.known();
    let has_leader =
        |at: &TopicPartition| metadata.as_ref().is_some_and(|m| m.leader(&at.topic, at.partition).is_some());
    let leaderless: Vec<_> = partitions
        .iter()
        .filter(|(at, _)| !has_leader(at))
        .map(|(_, member)| (*member, ErrorCode::LEADER_NOT_AVAILABLE))
        .collect();
    if !leaderless.is_empty() {
        refresh(&setup.target);
        return tell(sender, Message::Core(Input::Fenced(FenceOutcome::NotAdded(leaderless))));
    }
    if !setup.lease.holds() {
        return tell(sender, Message::Core(Input::Fenced(FenceOutcome::Failed(Failure::NotSent))));
    }
    let (target, lane, sender) = (setup.target.clone(), setup.lane, sender.clone());
    let id = transactional_id(&setup.link, lane);
    let producer = ProducerId { id: producer.id, epoch: producer.epoch };
    tokio::spawn(async move {
        let outcome = run(&target, lane, &id, producer, &partitions).await;
        if outcome == FenceOutcome::Committed {
            failpoint::hit(failpoint::AFTER_FENCE);
        }
        tell(&sender, Message::Core(Input::Fenced(outcome)));
    });
}

async fn run(
    target: &Cluster,
    lane: u32,
    id: &str,
    producer: ProducerId,
    partitions: &BTreeMap<TopicPartition, Member>,
) -> FenceOutcome {
    if partitions.is_empty() {
        return commit(target, lane, id, producer, true).await;
    }
    let asked = partitions.keys().cloned().collect();
    match target.add_partitions_to_txn(lane, id, producer, &asked).await {
        Ok(results) => {
            let codes: Vec<_> = results
                .iter()
                .filter_map(|(at, result)| {
                    let error = result.as_ref().err()?;
                    tracing::debug!(%error, "A partition cannot be added to the fence.");
                    let code = error.code().unwrap_or(ErrorCode::OPERATION_NOT_ATTEMPTED);
                    Some((*partitions.get(at)?, code))
                })
                .collect();
            if !codes.is_empty() {
                return not_added(codes);
            }
        }
        Err(error) => {
            tracing::debug!(%error, "Partitions cannot be added to the fence.");
            return match failure(&error) {
                Failure::Lost => FenceOutcome::Unknown,
                failure => FenceOutcome::Failed(failure),
            };
        }
    }
    commit(target, lane, id, producer, false).await
}

/// `alone`: no partition was added before.
async fn commit(target: &Cluster, lane: u32, id: &str, producer: ProducerId, alone: bool) -> FenceOutcome {
    let ended = target.end_txn(lane, id, producer, true).await;
    let code = ended.as_ref().map_or_else(Error::code, |()| Some(ErrorCode::NONE));
    let outcome = FenceOutcome::of_commit(code, alone);
    if let Err(error) = ended
        && outcome != FenceOutcome::Committed
    {
        tracing::debug!(%error, "The fence may not be committed.");
    }
    outcome
}

/// What is known of a fence whose partitions were not added. A coordinator whose write to its own log was not
/// acknowledged says 15 or 16 (7 in old versions), and that write may come to stand there all the same: then the
/// transaction is open.
fn not_added(codes: Vec<(Member, ErrorCode)>) -> FenceOutcome {
    let is_unknown = |code: ErrorCode| {
        matches!(code, ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR | ErrorCode::REQUEST_TIMED_OUT)
    };
    match codes.iter().any(|(_, code)| is_unknown(*code)) {
        true => FenceOutcome::Unknown,
        false => FenceOutcome::NotAdded(codes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_coordinator_may_have_written_is_not_taken_for_undone() {
        for code in [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE, ErrorCode::REQUEST_TIMED_OUT] {
            assert_eq!(not_added(vec![(Member::Map, code)]), FenceOutcome::Unknown, "{code}");
        }
        for code in [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::CONCURRENT_TRANSACTIONS] {
            assert_eq!(not_added(vec![(Member::Map, code)]), FenceOutcome::NotAdded(vec![(Member::Map, code)]));
        }
    }
}
