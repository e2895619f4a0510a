//! A client in another language: a small program that does what one line says, and answers with one line.
//!
//! Both lines are JSON objects. `do` names the verb; an answer with `error` is a failure.
//!
//! | `do` | with | answer |
//! |---|---|---|
//! | `write` | `topic`, `how` (`plain`, `idempotent`, `commit`, `abort`), `codec`, `transactional_id`, `records` | |
//! | `read` | `topic`, `partitions`, `committed`, `count` | `records` |
//! | `topics` | | `topics`: partitions by name |
//! | `ends` | `topic`, `partitions` | `ends`: a list |
//! | `join` | `member` (a name), `group`, `topic` | |
//! | `poll` | `member` | `records` since the last poll, now committed; `assigned`: its partitions |
//! | `leave` | `member` | |
//!
//! All but `poll` and `leave` have `bootstrap`. A record has `partition`, `offset`, `timestamp` (read only where the
//! client chooses them itself), `key`, `value` and `headers`, a list of pairs.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use twinlog_testcontainers::{Dialogue, eventually};

use crate::client::{Client, Header, How, Read, Record, Shared, Skills, Writing};
use crate::place::LONG;

/// A client in another language.
pub(crate) struct Speaker {
    dialogue: Dialogue,
    skills: Skills,
}

impl Speaker {
    pub(crate) fn new(dialogue: Dialogue, skills: Skills) -> Self {
        Self { dialogue, skills }
    }

    fn ask(&self, question: &Value) -> Value {
        let answer = self.dialogue.ask(&question.to_string(), LONG).unwrap_or_else(|error| panic!("{error}"));
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        if let Some(error) = answer.get("error") {
            panic!("{} at {}: {error}\n{}", question["do"], question["bootstrap"], self.dialogue.log());
        }
        answer
    }

    fn join(&self, member: &str, at: &str, group: &str, topic: &str) {
        let question = json!({ "do": "join", "member": member, "bootstrap": at, "group": group, "topic": topic });
        self.ask(&question);
    }

    fn poll(&self, member: &str) -> (Vec<Read>, Vec<i32>) {
        let answer = self.ask(&json!({ "do": "poll", "member": member }));
        let number = |value: &Value| i32::try_from(value.as_i64().expect("a number")).expect("a partition");
        let assigned = answer["assigned"].as_array().expect("a list").iter().map(number).collect();
        (records(&answer), assigned)
    }

    fn leave(&self, member: &str) {
        self.ask(&json!({ "do": "leave", "member": member }));
    }
}

impl Client for Speaker {
    fn skills(&self) -> Skills {
        self.skills
    }

    fn write(&self, at: &str, topic: &str, writing: &Writing) {
        let how = match writing.how {
            How::Plain => "plain",
            How::Idempotent => "idempotent",
            How::Commit => "commit",
            How::Abort => "abort",
        };
        let record = |record: &Record| {
            json!({
                "key": record.key, "value": record.value, "headers": record.headers, "timestamp": record.timestamp,
            })
        };
        let records: Vec<Value> = writing.records.iter().map(record).collect();
        self.ask(&json!({
            "do": "write", "bootstrap": at, "topic": topic, "how": how, "codec": writing.codec,
            "transactional_id": topic, "records": records,
        }));
    }

    fn read(&self, at: &str, topic: &str, partitions: i32, committed: bool, count: usize) -> Vec<Read> {
        records(&self.ask(&json!({
            "do": "read", "bootstrap": at, "topic": topic, "partitions": partitions, "committed": committed,
            "count": count,
        })))
    }

    fn topics(&self, at: &str) -> BTreeMap<String, i32> {
        let answer = self.ask(&json!({ "do": "topics", "bootstrap": at }));
        let topics = answer["topics"].as_object().expect("an object").iter();
        let number = |value: &Value| i32::try_from(value.as_i64().expect("a number")).expect("few partitions");
        topics.map(|(name, partitions)| (name.clone(), number(partitions))).collect()
    }

    fn ends(&self, at: &str, topic: &str, partitions: i32) -> BTreeMap<i32, i64> {
        let answer = self.ask(&json!({ "do": "ends", "bootstrap": at, "topic": topic, "partitions": partitions }));
        let ends = answer["ends"].as_array().expect("a list").iter();
        (0..).zip(ends.map(|end| end.as_i64().expect("a number"))).collect()
    }

    fn read_in_group(&self, at: &str, group: &str, topic: &str, count: usize) -> Vec<Read> {
        self.join("alone", at, group, topic);
        let mut all = Vec::new();
        eventually(&format!("{count} records of {topic} for the group {group}"), LONG, || {
            all.extend(self.poll("alone").0);
            (all.len() >= count).then_some(())
        });
        self.leave("alone");
        all
    }

    fn share(&self, at: &str, group: &str, topic: &str, partitions: i32) -> Shared {
        let all = usize::try_from(partitions).expect("a count");
        self.join("first", at, group, topic);
        let alone = eventually("the first member has all partitions", LONG, || {
            let (_, assigned) = self.poll("first");
            (assigned.len() == all).then_some(assigned)
        });
        self.join("second", at, group, topic);
        let (first, second) = eventually("both members have partitions", LONG, || {
            let (first, second) = (self.poll("first").1, self.poll("second").1);
            (first.len() == all / 2 && second.len() == all / 2).then_some((first, second))
        });
        self.leave("first");
        let left = eventually("the second member has all partitions", LONG, || {
            let (_, assigned) = self.poll("second");
            (assigned.len() == all).then_some(assigned)
        });
        self.leave("second");
        Shared { alone, first, second, left }
    }
}

fn records(answer: &Value) -> Vec<Read> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let header = |pair: &Value| -> Header { (text(&pair[0]).unwrap_or_default(), text(&pair[1])) };
    let record = |record: &Value| {
        let number = |name: &str| record[name].as_i64().unwrap_or_else(|| panic!("no {name} in {record}"));
        Read {
            partition: i32::try_from(number("partition")).expect("a partition"),
            offset: number("offset"),
            timestamp: number("timestamp"),
            key: text(&record["key"]),
            value: text(&record["value"]),
            headers: record["headers"].as_array().expect("a list").iter().map(header).collect(),
        }
    };
    answer["records"].as_array().expect("a list").iter().map(record).collect()
}
