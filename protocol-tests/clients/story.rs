//! The story that each client tells: it writes in all ways and codecs that it has, reads it back, lists topics and
//! ends, and reads in a group that remembers where it was and shares its work. On a mirror it reads what it wrote to
//! the source, and it must be the same.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::client::{Client, Header, How, Read, Record, Skills, Writing};
use crate::place::{Peer, Place};

/// Records of one writing: enough that compression is worth it.
const RECORDS: usize = 60;
const PARTITIONS: i32 = 4;
/// A time that is not now: an hour ago.
const AGO_MS: i64 = 3_600_000;

/// A record that was written, and when it was, as the test's clock saw it.
struct Written {
    record: Record,
    aborted: bool,
    within_ms: (i64, i64),
}

/// Tells the story. Topics begin with `name`.
pub(crate) fn tell(client: &dyn Client, place: &dyn Place, name: &str) {
    let (log, shared) = (format!("{name}.log"), format!("{name}.shared"));
    place.create(&log, 1);
    place.create(&shared, PARTITIONS);
    let mut writer = Writer { client, at: place.written_at(), next: 0 };

    let in_log = write_all_ways(&mut writer, &log);
    let first = writer.write(&shared, How::Plain, "none");
    place.settle();
    assert_codecs(place, &log, client.skills());

    let committed: Vec<&Written> = in_log.iter().filter(|one| !one.aborted).collect();
    let mut reads = Vec::new();
    for peer in place.peers() {
        let read = client.read(&peer.at, &log, 1, true, committed.len());
        assert_written(&read, &committed, &format!("{name} at {}, read committed", peer.name));
        reads.push(read);
    }
    let peer = place.reading();
    let told = format!("{name} at {}", peer.name);
    assert_mirrored(&reads, &told);
    assert_ends(client, &peer.at, &log, reads.last().expect("a peer"), &told);
    // What was aborted is not on a mirror at all.
    let all: Vec<&Written> = in_log.iter().filter(|one| !(peer.is_mirror && one.aborted)).collect();
    let uncommitted = client.read(&peer.at, &log, 1, false, all.len());
    assert_written(&uncommitted, &all, &format!("{told}, read uncommitted"));

    let topics = client.topics(&peer.at);
    assert_eq!(topics.get(&log), Some(&1), "{told}: {topics:?}");
    assert_eq!(topics.get(&shared), Some(&PARTITIONS), "{told}: {topics:?}");

    let group = format!("{name}.group");
    let read = client.read_in_group(&peer.at, &group, &shared, first.len());
    assert_any_order(read, &first, &format!("{told}, the group's first look"));
    let second = writer.write(&shared, How::Plain, "none");
    place.settle();
    let read = client.read_in_group(&peer.at, &group, &shared, second.len());
    assert_any_order(read, &second, &format!("{told}, the group's second look"));
    if client.skills().shares {
        assert_shares(client, &peer.at, &format!("{name}.sharing"), &shared, &told);
    }
    if peer.is_mirror {
        let count = first.len() + second.len();
        let read = |peer: Peer| in_order(client.read(&peer.at, &shared, PARTITIONS, true, count));
        assert_mirrored(&place.peers().into_iter().map(read).collect::<Vec<_>>(), &told);
    }
}

/// Writes with numbers that go on.
struct Writer<'a> {
    client: &'a dyn Client,
    at: String,
    next: usize,
}

impl Writer<'_> {
    fn write(&mut self, topic: &str, how: How, codec: &'static str) -> Vec<Written> {
        let skills = self.client.skills();
        let numbers = self.next..self.next + RECORDS;
        self.next = numbers.end;
        let begin = now_ms();
        let records: Vec<Record> = numbers.map(|number| record(number, skills, begin)).collect();
        let writing = Writing { how, codec, records };
        self.client.write(&self.at, topic, &writing);
        let within_ms = (begin, now_ms());
        let written = |record| Written { record, aborted: how == How::Abort, within_ms };
        writing.records.into_iter().map(written).collect()
    }
}

/// Every codec, and every kind of producer.
fn write_all_ways(writer: &mut Writer<'_>, topic: &str) -> Vec<Written> {
    let skills = writer.client.skills();
    let mut written = Vec::new();
    for (index, codec) in skills.codecs.iter().enumerate() {
        let is_idempotent = skills.idempotent && index % 2 == 1;
        written.extend(writer.write(topic, if is_idempotent { How::Idempotent } else { How::Plain }, codec));
    }
    let codec = skills.codecs.last().copied().unwrap_or("none");
    let ways = [
        (skills.commits, How::Commit, "none"),
        (skills.aborts, How::Abort, codec),
        (skills.commits, How::Commit, codec),
        (skills.aborts, How::Abort, "none"),
        // So that something follows what was aborted.
        (skills.aborts, How::Plain, codec),
    ];
    for (_, how, codec) in ways.into_iter().filter(|(has, ..)| *has) {
        written.extend(writer.write(topic, how, codec));
    }
    written
}

/// Some have no key or an empty one, others no value or an empty one; none has both, so all differ.
fn record(number: usize, skills: Skills, now_ms: i64) -> Record {
    let key = match number % 10 {
        8 => None,
        4 if skills.empty => Some(String::new()),
        _ => Some(format!("key-{number}")),
    };
    let value = match number % 10 {
        6 => None,
        5 if skills.empty => Some(String::new()),
        _ => Some(format!(
            "{{\"n\":{number},\"text\":\"zwölf Boxkämpfer jagen Viktor\",\"fill\":\"{}\"}}",
            "=".repeat(90)
        )),
    };
    // Not in order, as those of several devices would be.
    let timestamp = i64::try_from(number ^ 1).expect("a small number") * 7 + now_ms - AGO_MS;
    Record { key, value, headers: headers(number, skills), timestamp: skills.timestamps.then_some(timestamp) }
}

fn headers(number: usize, skills: Skills) -> Vec<Header> {
    let header = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    if skills.own_headers && number % 5 == 4 {
        return Vec::new();
    }
    let mut headers = vec![header("trace", "straße"), header("trace", "again")];
    if skills.own_headers {
        headers.push(header("n", &number.to_string()));
    }
    if skills.null_headers {
        headers.push(("none".to_owned(), None));
    }
    headers
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a clock before the year 292 million")
}

/// All of it, in the order in which it was written.
#[track_caller]
fn assert_written(found: &[Read], wanted: &[&Written], told: &str) {
    for (found, wanted) in found.iter().zip(wanted) {
        assert_one(found, wanted, told);
    }
    assert_eq!(found.len(), wanted.len(), "{told}: records");
    let grows = found.windows(2).all(|two| two[0].offset < two[1].offset);
    assert!(grows, "{told}: offsets do not grow");
}

#[track_caller]
fn assert_one(found: &Read, wanted: &Written, told: &str) {
    let Written { record, within_ms: (begin, end), .. } = wanted;
    let seen = (&found.key, &found.value, &found.headers);
    assert_eq!(seen, (&record.key, &record.value, &record.headers), "{told}: {found:?}");
    match record.timestamp {
        Some(timestamp) => assert_eq!(found.timestamp, timestamp, "{told}: {found:?}"),
        // The client's clock is the test's.
        None => assert!((*begin..=*end).contains(&found.timestamp), "{told}: not of {begin} to {end}: {found:?}"),
    }
}

/// All of it, each once; records of several partitions come in any order.
#[track_caller]
fn assert_any_order(mut found: Vec<Read>, wanted: &[Written], told: &str) {
    let mut wanted: Vec<&Written> = wanted.iter().collect();
    wanted.sort_by_key(|one| (&one.record.key, &one.record.value));
    found.sort_by_key(|one| (one.key.clone(), one.value.clone()));
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_one(found, wanted, told);
    }
    assert_eq!(found.len(), wanted.len(), "{told}: records");
}

/// Partition after partition.
fn in_order(mut reads: Vec<Read>) -> Vec<Read> {
    reads.sort_by_key(|read| (read.partition, read.offset));
    reads
}

/// Source and mirror, read by the same client, differ in nothing but the offsets.
#[track_caller]
fn assert_mirrored(reads: &[Vec<Read>], told: &str) {
    let without = |reads: &[Read]| reads.iter().map(|read| Read { offset: 0, ..read.clone() }).collect::<Vec<_>>();
    for two in reads.windows(2) {
        assert_eq!(without(&two[0]), without(&two[1]), "{told}: source and mirror");
    }
}

/// The end is behind the last record. Only markers may lie between.
#[track_caller]
fn assert_ends(client: &dyn Client, at: &str, topic: &str, read: &[Read], told: &str) {
    let skills = client.skills();
    let ends = client.ends(at, topic, 1);
    let last = read.last().map_or(0, |last| last.offset + 1);
    let end = ends.get(&0).copied().unwrap_or_else(|| panic!("{told}: no end of {topic} in {ends:?}"));
    let fits = if skills.commits { end >= last } else { end == last };
    assert!(fits, "{told}: {topic} ends at {end}, the last record read is before {last}");
}

/// On real disks: each codec is there, on the mirror as on the source.
fn assert_codecs(place: &dyn Place, topic: &str, skills: Skills) {
    for (name, codecs) in place.codecs(topic) {
        for codec in skills.codecs {
            assert!(codecs.contains(*codec), "{topic} at {name} has {codecs:?} and not {codec}");
        }
    }
}

#[track_caller]
fn assert_shares(client: &dyn Client, at: &str, group: &str, topic: &str, told: &str) {
    let all: Vec<i32> = (0..PARTITIONS).collect();
    let shared = client.share(at, group, topic, PARTITIONS);
    assert_eq!(shared.alone, all, "{told}: {shared:?}");
    assert_eq!(shared.left, all, "{told}: {shared:?}");
    let mut both: Vec<i32> = shared.first.iter().chain(&shared.second).copied().collect();
    both.sort_unstable();
    assert_eq!(both, all, "{told}: {shared:?}");
    assert_eq!(shared.first.len(), all.len() / 2, "{told}: {shared:?}");
}
