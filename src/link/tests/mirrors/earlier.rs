//! What an earlier run of the link has left: its mirrors hold records, and the map knows them.

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use twinlog_client::{Cluster, Purpose, Side};
use twinlog_core::ids::{SourceOffset, TargetOffset, TopicId};
use twinlog_core::map_record::{Head, MapRecord, PartitionKey};
use twinlog_core::offset_map::Extent;
use twinlog_core::resolution::Lost;
use twinlog_link::names;
use twinlog_testcontainers::Produce;
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

use crate::kit::{KIT, copied, held, link, stopped, told};

/// Writes into a link's map that it has copied to a topic.
async fn map(link: &str, topic: &str, target_topic_id: TopicId) {
    let target = KIT.client(Side::Target);
    let head = Head {
        source_topic_id: [1; 16],
        target_topic: topic.to_owned(),
        target_topic_id,
        extent: Extent { synced: SourceOffset(0), next_target: TargetOffset(0) },
        leader_epoch: -1,
        verified_epoch: 0,
        cursor: None,
        first_chunk: 0,
        chunks: 0,
        pruned: None,
        ranges: Vec::new(),
        resolved: 0,
        lost: Lost::default(),
    };
    let key = PartitionKey { topic: topic.to_owned(), partition: 0 };
    let (key, value) = MapRecord::Head(key, head).encode();
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.push(&NewRecord { key: Some(&key), value: value.as_deref(), ..Default::default() });
    // Whichever lane it is in.
    produce(&target, &names::map_topic(link), 1, batch.finish().unwrap()).await;
}

async fn produce(cluster: &Cluster, topic: &str, partition: i32, batch: Bytes) {
    let leader = cluster.refresh().await.unwrap().leader(topic, partition).unwrap();
    let connection = cluster.connection(leader, Purpose::Produce, 0).await.unwrap();
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let name = TopicName(StrBytes::from_string(topic.to_owned()));
    let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(vec![topic]);
    // Topics are named by id from v13 on.
    let answer = connection.call_at(request, 9, None).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{answer:?}");
}

#[tokio::test]
async fn mirrors_of_an_earlier_run_are_known_by_the_map() {
    for topic in ["earlier", "earlier-gone", "earlier-other"] {
        KIT.source().create_topic(topic, 2, &[]).unwrap();
    }
    let config = link(&["earlier.*"], "{topic}");
    let mut mirrors = KIT.mirrors("earlier", config).await;
    for topic in ["earlier", "earlier-other"] {
        KIT.target().create_topic(topic, 1, &[]).unwrap();
        KIT.target().produce(&Produce::new(topic, 5)).unwrap();
    }
    let metadata = KIT.client(Side::Target).refresh().await.unwrap();
    map("earlier", "earlier", *metadata.topics["earlier"].id.unwrap().as_bytes()).await;
    map("earlier", "earlier-gone", [2; 16]).await;
    map("earlier", "earlier-other", [3; 16]).await;

    let round = mirrors.sync().await.unwrap();
    assert_eq!(copied(&round), ["earlier:0", "earlier:1"], "with records in it, and grown");
    assert_eq!(stopped(&round), ["earlier-other:0 target-recreated", "earlier-other:1 target-recreated"]);
    assert_eq!(held(&round), ["earlier-gone"]);
    let told = told(&round);
    let gone = told.iter().find(|told| told.contains("earlier-gone")).unwrap();
    assert!(gone.contains("it was a mirror of this link and is gone"), "{told:?}");
    assert!(!KIT.client(Side::Target).refresh().await.unwrap().topics.contains_key("earlier-gone"));
}
