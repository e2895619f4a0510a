//! What brokers have on their disks, read without any client: the bodies of both sides compared batch by batch.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use twinlog_testcontainers::Cluster;
use twinlog_wire::batch::{BatchMeta, Batches, Entry, split_head, verify_crc};

/// Where the number of the format stands in a batch of any.
const MAGIC_AT: usize = 16;

/// A batch of a segment file.
pub(crate) struct Stored {
    pub(crate) meta: BatchMeta,
    pub(crate) body: Bytes,
}

/// The message formats of a partition, by their number.
pub(crate) fn magics(cluster: &Cluster, topic: &str, partition: i32) -> BTreeSet<u8> {
    entries(cluster, topic, partition).iter().map(|entry| entry.bytes()[MAGIC_AT]).collect()
}

/// All batches with records of a partition, markers left out, from the segment files of a broker.
pub(crate) fn stored(cluster: &Cluster, topic: &str, partition: i32) -> Vec<Stored> {
    let mut batches = Vec::new();
    for entry in entries(cluster, topic, partition) {
        let Entry::V2(meta, batch) = entry else { panic!("{topic}:{partition}: old format") };
        assert!(verify_crc(&batch), "{topic}:{partition}: the checksum of batch {} is wrong", meta.base_offset);
        if !meta.is_control() {
            let (_, body) = split_head(&batch).expect("a whole batch");
            batches.push(Stored { meta, body });
        }
    }
    batches
}

fn entries(cluster: &Cluster, topic: &str, partition: i32) -> Vec<Entry> {
    let data = cluster.broker(0).data_path().expect("the broker is a process");
    let folder = data.join(format!("{topic}-{partition}"));
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    let mut entries = Vec::new();
    for file in files {
        let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        entries.extend(Batches::new(Bytes::from(bytes)).map(|entry| entry.expect("a batch")));
    }
    entries
}

/// How long a topic's log is, all partitions together: of each the longest copy that a broker has.
pub(crate) fn bytes_on_disk(cluster: &Cluster, topic: &str) -> u64 {
    (0..).map_while(|partition| longest_copy(cluster, topic, partition)).sum()
}

/// The length of a partition's log; none where no broker has it.
pub(crate) fn longest_copy(cluster: &Cluster, topic: &str, partition: i32) -> Option<u64> {
    let copies = cluster.brokers().iter().filter_map(|broker| {
        let data = broker.data_path().expect("the broker is a process");
        let files = fs::read_dir(data.join(format!("{topic}-{partition}"))).ok()?;
        let logs = files.filter_map(Result::ok).filter(|file| file.path().extension().is_some_and(|e| e == "log"));
        Some(logs.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum())
    });
    copies.max()
}

/// Fails unless both sides hold the same batches: the same bytes behind the header, and in the header the same codec,
/// counts and timestamps. Answers how many there are.
pub(crate) fn assert_same_batches(source: &Cluster, target: &Cluster, topic: &str, partitions: i32) -> usize {
    let mut count = 0;
    for partition in 0..partitions {
        let (wanted, found) = (stored(source, topic, partition), stored(target, topic, partition));
        for (wanted, found) in wanted.iter().zip(&found) {
            let at = format!("{topic}:{partition}, source {:?}, target {:?}", wanted.meta, found.meta);
            assert!(wanted.body == found.body, "other bytes at {at}");
            assert_eq!(wanted.meta.attributes & 0x07, found.meta.attributes & 0x07, "codec at {at}");
            assert_eq!(wanted.meta.record_count, found.meta.record_count, "records at {at}");
            assert_eq!(wanted.meta.last_offset_delta, found.meta.last_offset_delta, "offsets at {at}");
            assert_eq!(wanted.meta.base_timestamp, found.meta.base_timestamp, "first timestamp at {at}");
            assert_eq!(wanted.meta.max_timestamp, found.meta.max_timestamp, "largest timestamp at {at}");
        }
        assert_eq!(wanted.len(), found.len(), "batches in {topic}:{partition}");
        count += wanted.len();
    }
    count
}
