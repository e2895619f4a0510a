//! A link of a thousand topics and ten thousand partitions, between clusters in memory.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests are tests to a reader, if not to the lint")]

#[path = "kit/cluster.rs"]
mod kit;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use twinlog_client::admin::{IsolationLevel, NewTopic, OffsetAt, TopicPartition};
use twinlog_client::{Cluster, Purpose, Side};
use twinlog_testcontainers::{Folder, Program, peak_resident_bytes};
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

use kit::cluster;

const TOPICS: usize = 1_000;
const PARTITIONS: i32 = 10;
/// All partitions together have more than the budget.
const RECORD_BYTES: usize = 10_000;
const MIB: u64 = 1 << 20;
const BUDGET: u64 = 64 * MIB;
/// What the program, its connections and what it knows of each partition may take besides: 4 KiB a partition, and a
/// part that does not grow with them.
const BESIDES: u64 = (TOPICS as u64) * (PARTITIONS as u64) * 4 * 1024 + 32 * MIB;
const PATIENCE: Duration = Duration::from_secs(300);

fn name(topic: usize) -> String {
    format!("topic-{topic:03}")
}

/// Makes the topics, with a record in each partition.
async fn fill(cluster: &Cluster) {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    let value = (0..RECORD_BYTES).map(|_| fastrand::u8(..)).collect::<Vec<_>>();
    batch.push(&NewRecord { value: Some(&value), ..Default::default() });
    let batch: Bytes = batch.finish().expect("a batch");
    let names: Vec<String> = (0..TOPICS).map(name).collect();
    for names in names.chunks(100) {
        let topic = |name: &String| NewTopic {
            name: name.clone(),
            partitions: PARTITIONS,
            replication_factor: 1,
            configs: BTreeMap::default(),
        };
        let topics: Vec<_> = names.iter().map(topic).collect();
        for (name, created) in cluster.create_topics(&topics, false).await.expect("asked") {
            created.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        // One node leads all.
        let leader = cluster.refresh().await.expect("metadata").leader(&names[0], 0).expect("a leader");
        let connection = cluster.connection(leader, Purpose::Produce, 0).await.expect("a connection");
        let of_partition = |index| PartitionProduceData::default().with_index(index).with_records(Some(batch.clone()));
        let of_topic = |name: &String| {
            TopicProduceData::default()
                .with_name(TopicName(StrBytes::from_string(name.clone())))
                .with_partition_data((0..PARTITIONS).map(of_partition).collect())
        };
        let topics = names.iter().map(of_topic).collect();
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(topics);
        let answer = connection.call_at(request, 9, None).await.expect("an answer");
        let codes = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
        assert!(codes.map(|partition| partition.error_code).all(|code| code == 0));
    }
}

/// Given ten thousand partitions with more in them than the budget, when a link copies them, then it stays within its
/// budget and what a partition may cost, and all is there.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_partitions_stay_in_their_budget() {
    let (_source, source_at, source) = cluster(Side::Source, 1).await;
    let (_target, target_at, target) = cluster(Side::Target, 1).await;
    fill(&source).await;
    let folder = Folder::new("many-topics").expect("a folder");
    let config = format!(
        "clusters: {{a: {{bootstrap: ['{source_at}']}}, b: {{bootstrap: ['{target_at}']}}}}\n\
         links: {{dr: {{source: a, target: b, topics: {{include: ['topic-.*']}}, budget: {BUDGET}}}}}\n"
    );
    std::fs::write(folder.path().join("twinlog.yaml"), config).expect("written");
    let program = env!("CARGO_BIN_EXE_twinlog").as_ref();
    let words = ["-c", "twinlog.yaml", "run", "--until-caught-up"];
    let mut run = Program::start("run", program, &words, &[], &folder).expect("it starts");
    let waited = tokio::task::spawn_blocking(move || {
        let begun = std::time::Instant::now();
        let (mut peak, mut code) = (0, None);
        while code.is_none() && begun.elapsed() < PATIENCE {
            peak = peak_resident_bytes(run.pid()).unwrap_or(peak);
            code = run.wait(Duration::from_millis(20)).expect("it can be waited for");
        }
        (peak, code, run.stderr())
    });
    let (peak, code, stderr) = waited.await.expect("no panic");
    assert_eq!(code, Some(0), "{stderr}");
    println!("at most {} MiB resident", peak / MIB);
    assert!(peak < BUDGET + BESIDES, "{} MiB resident", peak / MIB);

    let partitions = (0..TOPICS).flat_map(|topic| (0..PARTITIONS).map(move |p| TopicPartition::new(name(topic), p)));
    let asked = partitions.map(|at| (at, OffsetAt::Latest)).collect();
    let ends = target.list_offsets(&asked, IsolationLevel::ReadCommitted).await.expect("an answer");
    assert_eq!(ends.len(), TOPICS * PARTITIONS as usize);
    for (at, end) in ends {
        // A marker and the record.
        assert_eq!(end.expect("an end").offset, Some(2), "{at:?}");
    }
}
