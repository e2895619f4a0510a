//! The transaction calls that take and fence a producer id. Each is one attempt at the coordinator; what to do next is
//! the caller's decision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProducerId as WireProducerId, TransactionalId,
};
use twinlog_wire::error_code::{ErrorCode, Retry};

use super::{TopicPartition, by_topic, check, fill_missing, str_bytes, topic_name};
use crate::cluster::{Cluster, CoordinatorType, Purpose};
use crate::connection::Connection;
use crate::error::Result;

/// From v3 on the current id and epoch can be given; v5 is for clients that know KIP-890.
const INIT_CURRENT_SINCE: i16 = 3;
const INIT_VERSION_MAX: i16 = 4;
/// From v4 on the request is for brokers among themselves.
const ADD_VERSION_MAX: i16 = 3;
/// From v5 on the answer changes the epoch (KIP-890).
const END_VERSION_MAX: i16 = 4;

/// A producer's id and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProducerId {
    /// The id.
    pub id: i64,
    /// The epoch.
    pub epoch: i16,
}

impl Cluster {
    /// Takes the producer id of a transactional id with a new epoch. With `current` the call succeeds only while that
    /// is still the owner's id and epoch.
    ///
    /// `lane` is the lane whose connection to the coordinator is used, here and in the other transaction calls.
    pub async fn init_producer_id(
        &self,
        lane: u32,
        transactional_id: &str,
        timeout: Duration,
        current: Option<ProducerId>,
    ) -> Result<ProducerId> {
        let answer = async {
            let connection = self.transaction_coordinator(lane, transactional_id).await?;
            let version_min = if current.is_some() { INIT_CURRENT_SINCE } else { i16::MIN };
            let version = connection.require_version::<InitProducerIdRequest>(version_min, INIT_VERSION_MAX)?;
            let mut request = InitProducerIdRequest::default()
                .with_transactional_id(Some(TransactionalId(str_bytes(transactional_id))))
                .with_transaction_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
                .with_producer_id(WireProducerId(-1))
                .with_producer_epoch(-1);
            if let Some(current) = current {
                request = request.with_producer_id(WireProducerId(current.id)).with_producer_epoch(current.epoch);
            }
            let answer = connection.call_at(request, version, None).await?;
            let item = item(transactional_id);
            check::<InitProducerIdRequest>(&connection, answer.error_code, Some(&item), None)?;
            Ok(ProducerId { id: answer.producer_id.0, epoch: answer.producer_epoch })
        };
        self.note_coordinator(transactional_id, answer.await)
    }

    /// Adds partitions to the open transaction. One code a partition: one that cannot be added makes the others 55.
    pub async fn add_partitions_to_txn(
        &self,
        lane: u32,
        transactional_id: &str,
        producer: ProducerId,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Result<()>>> {
        let answer = async {
            let connection = self.transaction_coordinator(lane, transactional_id).await?;
            let version = connection.require_version::<AddPartitionsToTxnRequest>(i16::MIN, ADD_VERSION_MAX)?;
            let topics = by_topic(partitions.iter().map(|at| (at, ()))).into_iter().map(|(name, partitions)| {
                AddPartitionsToTxnTopic::default()
                    .with_name(topic_name(name))
                    .with_partitions(partitions.into_iter().map(|(index, ())| index).collect())
            });
            let request = AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(TransactionalId(str_bytes(transactional_id)))
                .with_v3_and_below_producer_id(WireProducerId(producer.id))
                .with_v3_and_below_producer_epoch(producer.epoch)
                .with_v3_and_below_topics(topics.collect());
            let answer = connection.call_at(request, version, None).await?;
            let mut results = BTreeMap::new();
            for topic in &answer.results_by_topic_v3_and_below {
                for partition in &topic.results_by_partition {
                    let at = TopicPartition::new(topic.name.to_string(), partition.partition_index);
                    let code = partition.partition_error_code;
                    let result = check::<AddPartitionsToTxnRequest>(&connection, code, Some(&at), None);
                    results.insert(at, result);
                }
            }
            fill_missing::<AddPartitionsToTxnRequest, _, _>(&connection, partitions.iter().cloned(), &mut results);
            Ok(results)
        };
        let results = self.note_coordinator(transactional_id, answer.await)?;
        if results.values().any(|result| result.as_ref().is_err_and(|e| e.code().is_some_and(is_elsewhere))) {
            self.forget_coordinator(transactional_id, CoordinatorType::Transaction);
        }
        Ok(results)
    }

    /// Ends the open transaction. The answer comes before the markers are written.
    pub async fn end_txn(&self, lane: u32, transactional_id: &str, producer: ProducerId, commit: bool) -> Result<()> {
        let answer = async {
            let connection = self.transaction_coordinator(lane, transactional_id).await?;
            let version = connection.require_version::<EndTxnRequest>(i16::MIN, END_VERSION_MAX)?;
            let request = EndTxnRequest::default()
                .with_transactional_id(TransactionalId(str_bytes(transactional_id)))
                .with_producer_id(WireProducerId(producer.id))
                .with_producer_epoch(producer.epoch)
                .with_committed(commit);
            let answer = connection.call_at(request, version, None).await?;
            check::<EndTxnRequest>(&connection, answer.error_code, Some(&item(transactional_id)), None)
        };
        self.note_coordinator(transactional_id, answer.await)
    }

    async fn transaction_coordinator(&self, lane: u32, transactional_id: &str) -> Result<Arc<Connection>> {
        self.coordinator(transactional_id, CoordinatorType::Transaction, Purpose::Admin, lane).await
    }

    /// After an answer that says "not here", or a connection that failed, the next call looks for the coordinator anew.
    fn note_coordinator<T>(&self, transactional_id: &str, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && (error.code().is_some_and(is_elsewhere) || error.retry() == Retry::AfterMetadata)
        {
            self.forget_coordinator(transactional_id, CoordinatorType::Transaction);
        }
        result
    }
}

fn is_elsewhere(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS | ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR
    )
}

fn item(transactional_id: &str) -> String {
    format!("transactional id {transactional_id}")
}
