//! DescribeProducers: who writes to partitions, of which only open transactions are told here (KIP-664, Kafka 2.8).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_request::TopicRequest;

use super::leaders::by_leader;
use super::{TopicPartition, by_topic, check, fill_missing, topic_name};
use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::error::{Result, Step};

/// A transaction that is open in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenTransaction {
    /// Offset of its first record there.
    pub first_offset: i64,
    /// Id of its producer.
    pub producer_id: i64,
}

impl Cluster {
    /// The open transactions of partitions, oldest first. One result a partition.
    pub async fn open_transactions(
        &self,
        partitions: &BTreeMap<TopicPartition, ()>,
    ) -> Result<BTreeMap<TopicPartition, Result<Vec<OpenTransaction>>>> {
        by_leader(self, Step::of::<DescribeProducersRequest>(), partitions, describe).await
    }
}

async fn describe(
    connection: Arc<Connection>,
    partitions: BTreeMap<TopicPartition, ()>,
) -> Result<BTreeMap<TopicPartition, Result<Vec<OpenTransaction>>>> {
    let topic = |(name, partitions): (&str, Vec<(i32, &())>)| {
        let indexes = partitions.into_iter().map(|(index, ())| index).collect();
        TopicRequest::default().with_name(topic_name(name)).with_partition_indexes(indexes)
    };
    let topics = by_topic(&partitions).into_iter().map(topic).collect();
    let answer = connection.call(DescribeProducersRequest::default().with_topics(topics)).await?;
    let mut results = BTreeMap::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let at = TopicPartition::new(topic.name.to_string(), partition.partition_index);
            let open = partition.active_producers.iter().filter(|producer| producer.current_txn_start_offset >= 0);
            let mut open: Vec<_> = open
                .map(|producer| OpenTransaction {
                    first_offset: producer.current_txn_start_offset,
                    producer_id: producer.producer_id.0,
                })
                .collect();
            open.sort_unstable();
            let result = check::<DescribeProducersRequest>(&connection, partition.error_code, Some(&at), None);
            results.insert(at, result.map(|()| open));
        }
    }
    fill_missing::<DescribeProducersRequest, _, _>(&connection, partitions.into_keys(), &mut results);
    Ok(results)
}
