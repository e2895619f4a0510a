//! kcat, from Debian's package.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use twinlog_testcontainers::{Finder, Folder, Program, eventually};

use crate::client::{Client, Header, How, Read, Shared, Skills, Writing};
use crate::place::LONG;

/// Between key and value; no text of the stories has it.
const BETWEEN: &str = "|";

/// kcat.
pub(crate) struct Kcat {
    program: PathBuf,
    folder: Folder,
    runs: Cell<u32>,
}

impl Kcat {
    /// The one of this machine.
    pub(crate) fn find() -> Self {
        let program = Finder::from_env().needed("kcat", "kcat", "apt-get install kcat");
        let program = program.unwrap_or_else(|error| panic!("{error}"));
        Self { program, folder: Folder::new("kcat").expect("a folder"), runs: Cell::new(0) }
    }

    fn start(&self, at: &str, args: &[&str]) -> Program {
        self.runs.set(self.runs.get() + 1);
        let name = format!("kcat-{}", self.runs.get());
        // -m: how long a question may take; 5 seconds are short on a busy machine.
        let all: Vec<&str> = ["-b", at, "-m", "60"].iter().chain(args).copied().collect();
        Program::start(&name, &self.program, &all, &[], &self.folder).expect("kcat starts")
    }

    fn run(&self, at: &str, args: &[&str]) -> String {
        let ended = self.start(at, args).finish(LONG);
        ended.unwrap_or_else(|error| panic!("kcat {args:?}: {error}")).stdout
    }

    /// A member of a group that prints what it reads, and who has which partitions.
    fn join(&self, at: &str, group: &str, topic: &str, more: &[&str]) -> Program {
        let quick = ["-X", "heartbeat.interval.ms=200", "-X", "session.timeout.ms=6000"];
        let mut args = vec!["-G", group, "-J", "-u", "-X", "auto.offset.reset=earliest"];
        args.extend(quick.iter().chain(more));
        args.push(topic);
        self.start(at, &args)
    }
}

impl Client for Kcat {
    fn skills(&self) -> Skills {
        Skills {
            codecs: &["none", "gzip", "snappy", "lz4", "zstd"],
            idempotent: true,
            commits: true,
            // It takes a transaction back only when it is interrupted in the middle of it.
            aborts: false,
            timestamps: false,
            own_headers: false,
            // With -Z they are all null.
            empty: false,
            null_headers: true,
            shares: true,
        }
    }

    fn write(&self, at: &str, topic: &str, writing: &Writing) {
        let mut lines = String::new();
        let mut headers = Vec::new();
        for record in &writing.records {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            lines.push_str(&format!("{}{BETWEEN}{}\n", text(&record.key), text(&record.value)));
            headers = record.headers.iter().map(|(name, value)| argument(name, value.as_deref())).collect();
        }
        let file = self.folder.path().join(format!("lines-{}", self.runs.get()));
        fs::write(&file, lines).expect("a file is written");
        let transaction = format!("transactional.id={topic}");
        // A little patience, or the first record travels alone.
        let mut args = vec!["-P", "-t", topic, "-K", BETWEEN, "-Z", "-X", "linger.ms=20", "-z", writing.codec];
        match writing.how {
            How::Plain => {}
            How::Idempotent => args.extend(["-X", "enable.idempotence=true"]),
            How::Commit => args.extend(["-X", &transaction]),
            How::Abort => panic!("kcat takes no transaction back"),
        }
        args.extend(headers.iter().flat_map(|header| ["-H", header]));
        let file = file.to_str().expect("UTF-8").to_owned();
        args.extend(["-l", &file]);
        self.run(at, &args);
    }

    fn read(&self, at: &str, topic: &str, _partitions: i32, committed: bool, _count: usize) -> Vec<Read> {
        let level = if committed { "isolation.level=read_committed" } else { "isolation.level=read_uncommitted" };
        let wait = "fetch.wait.max.ms=100";
        records(&self.run(at, &["-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J", "-X", level, "-X", wait]))
    }

    fn topics(&self, at: &str) -> BTreeMap<String, i32> {
        let all: Value = serde_json::from_str(&self.run(at, &["-L", "-J"])).expect("JSON");
        let topics = all["topics"].as_array().unwrap_or_else(|| panic!("no topics in {all}"));
        let entry = |topic: &Value| {
            let partitions = topic["partitions"].as_array().map_or(0, Vec::len);
            (topic["topic"].as_str().unwrap_or_default().to_owned(), i32::try_from(partitions).expect("few"))
        };
        topics.iter().map(entry).collect()
    }

    fn ends(&self, at: &str, topic: &str, partitions: i32) -> BTreeMap<i32, i64> {
        let mut ends = BTreeMap::new();
        for partition in 0..partitions {
            // `<topic> [<partition>] offset <offset>`
            let answer = self.run(at, &["-Q", "-t", &format!("{topic}:{partition}:-1")]);
            let end = answer.split_whitespace().last().and_then(|word| word.parse().ok());
            ends.insert(partition, end.unwrap_or_else(|| panic!("no offset in {answer:?}")));
        }
        ends
    }

    fn read_in_group(&self, at: &str, group: &str, topic: &str, count: usize) -> Vec<Read> {
        let mut member = self.join(at, group, topic, &["-c", &count.to_string()]);
        let ended = member.finish(LONG).unwrap_or_else(|error| panic!("kcat -G: {error}"));
        records(&ended.stdout)
    }

    fn share(&self, at: &str, group: &str, topic: &str, partitions: i32) -> Shared {
        let all = usize::try_from(partitions).expect("a count");
        let has = |member: &Program, count: usize| {
            eventually(&format!("a member with {count} partitions"), LONG, || {
                assigned(&member.stderr(), topic).filter(|assigned| assigned.len() == count)
            })
        };
        let mut first = self.join(at, group, topic, &[]);
        let alone = has(&first, all);
        let second = self.join(at, group, topic, &[]);
        let shared = (has(&first, all / 2), has(&second, all / 2));
        first.terminate().expect("a signal is sent");
        first.wait(LONG).expect("it is waited for").unwrap_or_else(|| panic!("kcat does not end"));
        Shared { alone, first: shared.0, second: shared.1, left: has(&second, all) }
    }
}

/// As `-H` takes it: without `=`, the value is null.
fn argument(name: &str, value: Option<&str>) -> String {
    value.map_or_else(|| name.to_owned(), |value| format!("{name}={value}"))
}

/// The partitions of the last rebalance that a member tells of; none before its first, and while it has none.
fn assigned(stderr: &str, topic: &str) -> Option<Vec<i32>> {
    let line = stderr.lines().rfind(|line| line.contains(" rebalanced "))?;
    let (_, assigned) = line.split_once("): assigned: ")?;
    let number = |one: &str| one.strip_prefix(topic)?.trim().strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let mut partitions: Vec<i32> = assigned.split(", ").filter_map(number).collect();
    partitions.sort_unstable();
    Some(partitions)
}

/// What `-J` prints: one object a line, headers as a flat list of names and values.
fn records(stdout: &str) -> Vec<Read> {
    let record = |line: &str| {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let number = |name: &str| object[name].as_i64().unwrap_or_else(|| panic!("no {name} in {line}"));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let headers = object["headers"].as_array().cloned().unwrap_or_default();
        let header = |pair: &[Value]| -> Header { (text(&pair[0]).unwrap_or_default(), text(&pair[1])) };
        Read {
            partition: i32::try_from(number("partition")).expect("a partition"),
            offset: number("offset"),
            timestamp: number("ts"),
            key: text(&object["key"]),
            value: text(&object["payload"]),
            headers: headers.chunks_exact(2).map(header).collect(),
        }
    };
    stdout.lines().map(record).collect()
}
