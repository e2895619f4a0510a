//! DeleteRecords: moves the start of partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};

use super::leaders::by_leader;
use super::{TopicPartition, by_topic, check, fill_missing, timeout_ms, topic_name};
use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::error::{Result, Step};

impl Cluster {
    /// Deletes the records before an offset (-1: all). One result a partition: its new start.
    ///
    /// A broker that is killed within about a minute has forgotten it.
    pub async fn delete_records(
        &self,
        before: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, Result<i64>>> {
        by_leader(self, Step::of::<DeleteRecordsRequest>(), before, delete).await
    }
}

async fn delete(
    connection: Arc<Connection>,
    before: BTreeMap<TopicPartition, i64>,
) -> Result<BTreeMap<TopicPartition, Result<i64>>> {
    let request = DeleteRecordsRequest::default()
        .with_timeout_ms(timeout_ms(&connection))
        .with_topics(by_topic(&before).into_iter().map(topic).collect());
    let answer = connection.call(request).await?;
    let mut results = BTreeMap::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let at = TopicPartition::new(topic.name.to_string(), partition.partition_index);
            let result = check::<DeleteRecordsRequest>(&connection, partition.error_code, Some(&at), None);
            results.insert(at, result.map(|()| partition.low_watermark));
        }
    }
    fill_missing::<DeleteRecordsRequest, _, _>(&connection, before.into_keys(), &mut results);
    Ok(results)
}

fn topic((name, partitions): (&str, Vec<(i32, &i64)>)) -> DeleteRecordsTopic {
    let partition = |(index, before): (i32, &i64)| {
        DeleteRecordsPartition::default().with_partition_index(index).with_offset(*before)
    };
    DeleteRecordsTopic::default()
        .with_name(topic_name(name))
        .with_partitions(partitions.into_iter().map(partition).collect())
}
