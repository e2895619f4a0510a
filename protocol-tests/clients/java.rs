//! Kafka's own tools: the console producer and consumer, and those that list topics, groups and offsets.

use std::collections::BTreeMap;

use twinlog_testcontainers::{ConsoleConsumer, KafkaTool, KafkaVersion, Kit};

use crate::client::{Client, Header, How, Read, Record, Shared, Skills, Writing};

/// Stands for null; no text of the stories is it.
const NULL: &str = "NULL";

/// Kafka's own tools.
pub(crate) struct JavaTools {
    kit: std::sync::Arc<Kit>,
}

impl JavaTools {
    /// Those of the newest release.
    pub(crate) fn install() -> Self {
        let kit = Kit::install(KafkaVersion::default());
        Self { kit: kit.unwrap_or_else(|error| panic!("{error}")) }
    }

    fn at(&self, at: &str) -> KafkaTool {
        KafkaTool::at(std::sync::Arc::clone(&self.kit), at)
    }

    fn consume(&self, at: &str, consumer: ConsoleConsumer, count: usize) -> Vec<Read> {
        let mut consumer = consumer.from_beginning().max_messages(u64::try_from(count).expect("a count"));
        for what in ["key", "headers", "timestamp", "offset", "partition"] {
            consumer = consumer.print(what);
        }
        let consumer = consumer.property("null.literal", NULL);
        let printed = self.at(at).console_consume(&consumer).unwrap_or_else(|error| panic!("{error}"));
        printed.lines().map(read).collect()
    }
}

impl Client for JavaTools {
    fn skills(&self) -> Skills {
        Skills {
            codecs: &["none", "gzip", "snappy", "lz4", "zstd"],
            idempotent: true,
            commits: false,
            aborts: false,
            timestamps: false,
            own_headers: true,
            empty: true,
            null_headers: true,
            shares: false,
        }
    }

    fn write(&self, at: &str, topic: &str, writing: &Writing) {
        let idempotence = match writing.how {
            How::Plain => "enable.idempotence=false",
            How::Idempotent => "enable.idempotence=true",
            How::Commit | How::Abort => panic!("the console producer has no transactions"),
        };
        let marker = format!("null.marker={NULL}");
        let args = ["--compression-codec", writing.codec, "--producer-property", idempotence].into_iter().chain([
            "--property",
            "parse.key=true",
            "--property",
            "parse.headers=true",
            "--property",
            &marker,
        ]);
        let args: Vec<&str> = args.collect();
        let lines: String = writing.records.iter().map(line).collect();
        self.at(at).console_produce(topic, &lines, &args).unwrap_or_else(|error| panic!("{error}"));
    }

    /// It ends only by a time-out or a count; so the end of the log is looked at besides.
    fn read(&self, at: &str, topic: &str, _partitions: i32, committed: bool, count: usize) -> Vec<Read> {
        let consumer = ConsoleConsumer::new(topic);
        self.consume(at, if committed { consumer.read_committed() } else { consumer }, count)
    }

    fn topics(&self, at: &str) -> BTreeMap<String, i32> {
        let answer = self.at(at).topics(&["--describe"]).unwrap_or_else(|error| panic!("{error}"));
        // `Topic: orders	TopicId: …	PartitionCount: 6	ReplicationFactor: 1	Configs: `
        let heads = answer.lines().filter(|line| line.contains("PartitionCount:"));
        let entry = |line: &str| {
            let value = |name: &str| line.split('\t').find_map(|pair| pair.strip_prefix(name)).map(str::trim);
            Some((value("Topic:")?.to_owned(), value("PartitionCount:")?.parse().ok()?))
        };
        heads.map(|line| entry(line).unwrap_or_else(|| panic!("not understood: {line}"))).collect()
    }

    fn ends(&self, at: &str, topic: &str, _partitions: i32) -> BTreeMap<i32, i64> {
        let answer = self.at(at).get_offsets(&["--topic", topic]).unwrap_or_else(|error| panic!("{error}"));
        // `orders:0:17`
        let entry = |line: &str| {
            let mut words = line.rsplit(':');
            let end = words.next()?.parse().ok()?;
            Some((words.next()?.parse().ok()?, end))
        };
        answer.lines().map(|line| entry(line).unwrap_or_else(|| panic!("not understood: {line}"))).collect()
    }

    /// And the group tool says that nothing is left to read.
    fn read_in_group(&self, at: &str, group: &str, topic: &str, count: usize) -> Vec<Read> {
        let read = self.consume(at, ConsoleConsumer::new(topic).group(group), count);
        let described = self.at(at).consumer_groups(&["--describe", "--group", group]);
        let described = described.unwrap_or_else(|error| panic!("{error}"));
        // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG …
        let rows: Vec<Vec<&str>> = described.lines().map(|line| line.split_whitespace().collect()).collect();
        let rows: Vec<&Vec<&str>> = rows.iter().filter(|row| row.get(1) == Some(&topic)).collect();
        assert!(!rows.is_empty(), "nothing of {topic} in:\n{described}");
        assert!(rows.iter().all(|row| row.get(5) == Some(&"0")), "not all was committed:\n{described}");
        read
    }

    fn share(&self, _at: &str, _group: &str, _topic: &str, _partitions: i32) -> Shared {
        panic!("the console consumer tells of no partitions")
    }
}

/// A record as the console producer takes it: headers, key and value with tabs between.
fn line(record: &Record) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| NULL.to_owned());
    let headers: Vec<String> = record.headers.iter().map(|(name, value)| format!("{name}:{}", text(value))).collect();
    let headers = if headers.is_empty() { NULL.to_owned() } else { headers.join(",") };
    format!("{headers}\t{}\t{}\n", text(&record.key), text(&record.value))
}

/// A record as the console consumer prints it: time, partition, offset, headers, key and value with tabs between.
fn read(line: &str) -> Read {
    let words: Vec<&str> = line.split('\t').collect();
    let [time, partition, offset, headers, key, value] = words[..] else { panic!("not understood: {line:?}") };
    let number = |word: &str, name: &str| -> i64 {
        let number = word.strip_prefix(name).and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in {line:?}"))
    };
    let text = |word: &str| (word != NULL).then(|| word.to_owned());
    let header = |pair: &str| -> Header {
        let (name, value) = pair.split_once(':').unwrap_or_else(|| panic!("not a header: {pair:?} in {line:?}"));
        (name.to_owned(), text(value))
    };
    let headers = if headers == "NO_HEADERS" { Vec::new() } else { headers.split(',').map(header).collect() };
    Read {
        partition: i32::try_from(number(partition, "Partition:")).expect("a partition"),
        offset: number(offset, "Offset:"),
        timestamp: number(time, "CreateTime:"),
        key: text(key),
        value: text(value),
        headers,
    }
}
