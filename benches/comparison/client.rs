//! The bench's own look at a cluster of one broker: it costs the broker little, and starts no Java.

use std::io;
use std::net::SocketAddr;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::ask::{ask, read_frame};
use crate::bare::Partition;
use crate::bare::fetch;
use crate::net::Stream;

const METADATA_VERSION: i16 = 12;
const LIST_OFFSETS_VERSION: i16 = 7;
/// What stands for "the end" where a time is asked for.
const LATEST: i64 = -1;

/// A topic that is there.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: [u8; 16],
    pub(crate) partitions: usize,
}

/// What a topic holds, without markers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) records: u64,
    pub(crate) batches: u64,
    pub(crate) bytes: u64,
}

/// A connection to the broker.
#[derive(Debug)]
pub(crate) struct Client {
    stream: Stream,
}

impl Client {
    pub(crate) fn dial(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { stream: Stream::dial(address, None)? })
    }

    /// The names of all topics.
    pub(crate) fn names(&mut self) -> io::Result<Vec<String>> {
        let answer = ask(&mut self.stream, METADATA_VERSION, &metadata(None))?;
        Ok(answer.topics.into_iter().filter_map(|topic| Some(topic.name?.to_string())).collect())
    }

    /// The topic, if it is there.
    pub(crate) fn topic(&mut self, name: &str) -> io::Result<Option<Topic>> {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let answer = ask(&mut self.stream, METADATA_VERSION, &metadata(Some(vec![asked])))?;
        let found = answer.topics.into_iter().find(|topic| topic.error_code == 0);
        Ok(found.map(|topic| Topic {
            name: name.to_owned(),
            id: topic.topic_id.into_bytes(),
            partitions: topic.partitions.len(),
        }))
    }

    /// The end of each partition; none while some have no leader.
    pub(crate) fn ends(&mut self, topic: &Topic) -> io::Result<Option<Vec<i64>>> {
        let asked = (0..topic.partitions).map(|index| {
            let index = i32::try_from(index).unwrap_or(i32::MAX);
            ListOffsetsPartition::default().with_partition_index(index).with_timestamp(LATEST)
        });
        let asked = ListOffsetsTopic::default().with_name(topic_name(&topic.name)).with_partitions(asked.collect());
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
        let answer = ask(&mut self.stream, LIST_OFFSETS_VERSION, &request)?;
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let ends = partitions.map(|partition| (partition.error_code == 0).then_some(partition.offset));
        let ends: Option<Vec<i64>> = ends.collect();
        Ok(ends.filter(|ends| ends.len() == topic.partitions))
    }

    /// Reads a topic up to its end as of now, and counts.
    pub(crate) fn content(&mut self, topic: &Topic) -> io::Result<Content> {
        let ends = self.ends(topic)?.ok_or_else(|| io::Error::other(format!("{} has no leader", topic.name)))?;
        let mut partitions = vec![Partition::default(); topic.partitions];
        let (mut content, mut buffer, mut turn) = (Content::default(), Vec::new(), 0);
        while partitions.iter().zip(&ends).any(|(partition, end)| partition.next_offset < *end) {
            fetch::ask(&mut self.stream, topic.id, &partitions, topic.partitions, &mut turn)?;
            let frame = read_frame(&mut self.stream, &mut buffer)?;
            for fetched in fetch::parts(frame, &mut partitions)? {
                let mut rest = &frame[fetched.rest];
                while let Some(batch) = fetch::whole_batch(rest)? {
                    rest = &rest[batch.len as usize..];
                    if !batch.is_control() {
                        content.records += u64::from(batch.record_count.unsigned_abs());
                        content.batches += 1;
                        content.bytes += u64::from(batch.len);
                    }
                }
            }
        }
        Ok(content)
    }
}

fn metadata(topics: Option<Vec<MetadataRequestTopic>>) -> MetadataRequest {
    MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false)
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use twinlog_sandbox::{Sandbox, SandboxSpec, TopicSpec};

    use super::*;

    #[test]
    fn a_cluster_is_asked_for_topics_and_their_ends() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let sandbox = Sandbox::new(SandboxSpec::new()).unwrap();
        let address = runtime.block_on(sandbox.listen(&[0])).unwrap()[0];
        sandbox.create_topic(&TopicSpec::new("there", 3)).unwrap();
        let mut client = Client::dial(address).unwrap();
        assert!(client.names().unwrap().contains(&"there".to_owned()));
        assert!(client.topic("not-there").unwrap().is_none());
        let topic = client.topic("there").unwrap().unwrap();
        assert_eq!(topic.id, sandbox.topic_id("there").unwrap().into_bytes());
        assert_eq!(client.ends(&topic).unwrap(), Some(vec![0; 3]));
        assert_eq!(client.content(&topic).unwrap(), Content::default());
    }
}
