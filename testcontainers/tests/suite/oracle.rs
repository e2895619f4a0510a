//! The oracle tells equal from unequal.

use sha2::{Digest, Sha256};
use twinlog_testcontainers::{
    At, ClusterSpec, Codec, Committed, ConsoleConsumer, Headers, Isolation, KafkaTool, Oracle, OracleAt, Produce,
};

use crate::LONG;

const BASE: i64 = 1_700_000_000_000;

/// 1000 records over 2 partitions in 10 transactions, of which every third is aborted.
fn mixed(topic: &str) -> Produce {
    Produce::new(topic, 1000)
        .transactions(&format!("{topic}-id"), 100, 3)
        .timestamps(BASE, 10)
        .headers(Headers::Rich)
        .nulls()
}

#[test]
fn produces_digests_and_indexes_what_another_reader_confirms() {
    let cluster = ClusterSpec::new().start().unwrap();
    let oracle = Oracle::start().unwrap();
    let at = oracle.at(cluster.bootstrap_text());
    transactions_and_nulls(&at, &KafkaTool::new(&cluster).unwrap());
    hashes_are_those_of_the_records(&at, &KafkaTool::new(&cluster).unwrap());
    open_transaction(&at);
    codecs(&at);
    administration(&at);
}

fn transactions_and_nulls(at: &OracleAt<'_>, tool: &KafkaTool) {
    for topic in ["one", "two"] {
        at.create_topic(topic, 2, &[]).unwrap();
    }
    // The second is produced in other batches and codecs, and so at the same records at other offsets.
    let one = at.produce(&mixed("one")).unwrap();
    at.produce(&Produce::new("two", 50).timestamps(BASE, 1)).unwrap();
    for partition in [0, 1] {
        assert_eq!(at.delete_records("two", partition, 25).unwrap(), 25);
    }
    at.produce(&mixed("two").codec(Codec::Zstd).batches(2000, 0)).unwrap();
    assert_eq!((one.sent, one.aborts, one.committed_total(), one.acked_total()), (1000, 3, 700, 1000));

    let committed = at.digest("one", Isolation::ReadCommitted).unwrap();
    let uncommitted = at.digest("one", Isolation::ReadUncommitted).unwrap();
    let twin = at.digest("two", Isolation::ReadCommitted).unwrap();
    for partition in [0, 1] {
        assert_eq!(committed[&partition].count, one.committed[&partition]);
        assert_eq!(uncommitted[&partition].count, one.acked[&partition]);
        assert_eq!(committed[&partition].body(), twin[&partition].body());
        assert_ne!(committed[&partition].begin, twin[&partition].begin);
        assert_ne!(committed[&partition].body(), uncommitted[&partition].body());
    }
    assert_ne!(committed[&0].body().1, committed[&1].body().1);

    let index = at.index("one", Isolation::ReadCommitted).unwrap();
    let twins = at.index("two", Isolation::ReadCommitted).unwrap();
    let hashes = |partition| move |entry: &&twinlog_testcontainers::Entry| entry.partition == partition;
    for partition in [0, 1] {
        let of = |all: &[twinlog_testcontainers::Entry]| {
            all.iter().filter(hashes(partition)).map(|e| e.sha256.clone()).collect::<Vec<_>>()
        };
        assert_eq!(of(&index).len(), 350);
        assert_eq!(of(&index), of(&twins));
    }
    assert!(index.iter().all(|entry| entry.timestamp >= BASE));

    // Kafka's own console consumer sees the same number of records, null keys and tombstones among them.
    let consumer = ConsoleConsumer::new("one").from_beginning().read_committed();
    let consumer = consumer.max_messages(700).timeout(LONG);
    let headers = tool.console_consume(&consumer.clone().print("headers")).unwrap();
    assert!(headers.contains("n:0,twice:first,twice:"), "{headers}");
    let text = tool.console_consume(&consumer.print("key").print("timestamp")).unwrap();
    assert_eq!(text.lines().count(), 700);
    let nth = |n: i64| {
        let line = text.lines().find(|l| l.contains(&format!("CreateTime:{}\t", BASE + n * 10)));
        line.unwrap_or_default().to_owned()
    };
    assert!(nth(3).contains("\tnull\t{\"n\":3,"), "null key: {}", nth(3));
    assert!(nth(5).ends_with("k5\tnull"), "tombstone: {}", nth(5));
    assert!(nth(7).ends_with("k7\t"), "empty value: {}", nth(7));
}

/// Computes the digest again in Rust, from what the console consumer prints of each record.
fn hashes_are_those_of_the_records(at: &OracleAt<'_>, tool: &KafkaTool) {
    at.create_topic("hash", 1, &[]).unwrap();
    at.produce(&Produce::new("hash", 20).timestamps(BASE, 10).nulls()).unwrap();
    let consumer = ConsoleConsumer::new("hash").from_beginning().max_messages(20).timeout(LONG);
    let consumer = consumer.print("timestamp").print("key").property("null.literal", "NULL");
    let text = tool.console_consume(&consumer).unwrap();

    let mut whole = Vec::new();
    let mut each = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let mut columns = line.split('\t');
        let timestamp = columns.next().unwrap().strip_prefix("CreateTime:").unwrap();
        let mut record = timestamp.parse::<i64>().unwrap().to_be_bytes().to_vec();
        for column in columns {
            feed(&mut record, (column != "NULL").then_some(column));
        }
        record.extend(1_i32.to_be_bytes());
        feed(&mut record, Some("n"));
        feed(&mut record, Some(&n.to_string()));
        each.push(sha256(&record));
        whole.extend(record);
    }
    assert_eq!(at.digest("hash", Isolation::ReadCommitted).unwrap()[&0].sha256, sha256(&whole));
    let index = at.index("hash", Isolation::ReadUncommitted).unwrap();
    assert_eq!(index.into_iter().map(|entry| entry.sha256).collect::<Vec<_>>(), each);
}

fn feed(bytes: &mut Vec<u8>, text: Option<&str>) {
    let length = text.map_or(-1, |text| i32::try_from(text.len()).unwrap());
    bytes.extend(length.to_be_bytes());
    bytes.extend(text.unwrap_or_default().as_bytes());
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn open_transaction(at: &OracleAt<'_>) {
    at.create_topic("open", 1, &[]).unwrap();
    at.produce(&Produce::new("open", 10)).unwrap();
    let open = Produce::new("open", 5).first(10).transactions("open-id", 100, 0).leave_open();
    at.produce(&open).unwrap();
    assert_eq!(at.offsets("open", At::Stable).unwrap()[&0], 10);
    assert_eq!(at.offsets("open", At::End).unwrap()[&0], 15);
    assert_eq!(at.digest("open", Isolation::ReadCommitted).unwrap()[&0].count, 10);
    assert_eq!(at.digest("open", Isolation::ReadUncommitted).unwrap()[&0].count, 15);
    at.finish_transaction("open-id", true).unwrap();
    twinlog_testcontainers::eventually("the marker is written", LONG, || {
        (at.digest("open", Isolation::ReadCommitted).unwrap()[&0].count == 15).then_some(())
    });
}

fn codecs(at: &OracleAt<'_>) {
    let mut bodies = Vec::new();
    for (topic, codec) in [
        ("c-none", Codec::None),
        ("c-gzip", Codec::Gzip),
        ("c-snappy", Codec::Snappy),
        ("c-lz4", Codec::Lz4),
        ("c-zstd", Codec::Zstd),
    ] {
        at.create_topic(topic, 1, &[]).unwrap();
        at.produce(&Produce::new(topic, 100).codec(codec).timestamps(BASE, 1)).unwrap();
        bodies.push(at.digest(topic, Isolation::ReadCommitted).unwrap().remove(&0).unwrap());
    }
    assert!(bodies.iter().all(|digest| digest.body() == bodies[0].body()), "{bodies:?}");
}

fn administration(at: &OracleAt<'_>) {
    at.create_topic("admin", 1, &[("retention.ms", "1000000")]).unwrap();
    at.add_partitions("admin", 3).unwrap();
    assert_eq!(at.placement("admin").unwrap().len(), 3);
    at.alter_config("admin", &[("cleanup.policy", "compact,delete")], &["retention.ms"]).unwrap();
    let config = at.topic_config("admin").unwrap();
    assert_eq!(config.get("cleanup.policy").map(String::as_str), Some("compact,delete"));
    assert!(!config.contains_key("retention.ms"), "{config:?}");

    at.produce(&Produce::new("admin", 30)).unwrap();
    assert_eq!(at.delete_records("admin", 1, 4).unwrap(), 4);
    assert_eq!(at.offsets("admin", At::Begin).unwrap()[&1], 4);
    let committed = Committed { offset: 7, epoch: Some(0), metadata: "a: b=c\n".to_owned() };
    at.group_commit("group", "admin", 1, &committed).unwrap();
    let offsets = at.group_offsets("group").unwrap();
    assert_eq!(offsets[&("admin".to_owned(), 1)], committed);
    assert_eq!(offsets.len(), 1);

    at.delete_topic("admin").unwrap();
    let error = at.produce(&Produce::new("gone", 1).word("config.max.block.ms", "500"));
    assert!(error.unwrap_err().to_string().contains("gone"));
    let error = at.ask("no-such-verb", &[]).unwrap_err().to_string();
    assert!(error.contains("no such command: no-such-verb"), "{error}");
}
