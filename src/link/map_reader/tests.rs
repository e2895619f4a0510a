use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use twinlog_client::admin::{IsolationLevel, TopicPartition};
use twinlog_client::{Cluster, DialConfig, Side};
use twinlog_core::ids::{Producer, SourceOffset, TargetOffset};
use twinlog_core::map_record::{Came, Chunk, FORMAT, Head, MapRecord, PartitionKey, Plan, Released};
use twinlog_core::map_state::MappedPartition;
use twinlog_core::offset_map::{Extent, OffsetMap, Range};
use twinlog_core::plans::Plans;
use twinlog_core::resolution::Lost;
use twinlog_wire::batch::{BatchMeta, Codec, ControlType, Entry};
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};
use twinlog_wire::patch::Stamp;

use super::snapshot::{MirrorEnd, assemble};
use super::walk::Walk;
use super::{Contents, Keep, Lane, MapReader, Told};
use crate::log::{LogPart, LogReader};

const OWNER: Producer = Producer { id: 4000, epoch: 3 };

fn stamp(producer: Producer, base_sequence: i32) -> Stamp {
    Stamp { producer_id: producer.id, producer_epoch: producer.epoch, base_sequence }
}

fn key() -> PartitionKey {
    PartitionKey { topic: "orders".into(), partition: 2 }
}

fn range(source: i64, target: i64, len: u64) -> Range {
    Range { source_start: SourceOffset(source), target_start: TargetOffset(target), len }
}

fn head(chunks: u64, ranges: Vec<Range>) -> Head {
    let last = ranges.last().copied();
    Head {
        source_topic_id: [1; 16],
        target_topic: "orders".into(),
        target_topic_id: [2; 16],
        extent: Extent {
            synced: last.map_or(SourceOffset(0), |range| range.source_end()),
            next_target: last.map_or(TargetOffset(1), |range| range.target_end()),
        },
        leader_epoch: 0,
        verified_epoch: 0,
        cursor: None,
        first_chunk: 0,
        chunks,
        pruned: None,
        ranges,
        resolved: 0,
        lost: Lost::default(),
    }
}

fn plan(producer: Producer, sequence: i32, source: i64) -> Plan {
    let (source_start, target_start) = (SourceOffset(source), TargetOffset(2 + i64::from(sequence)));
    Plan { producer, sequence, source_start, target_start, leader_epoch: 0 }
}

fn entry(bytes: Bytes) -> Entry {
    Entry::V2(BatchMeta::parse(&bytes).unwrap(), bytes)
}

fn marker(base_offset: i64, producer: Producer) -> Entry {
    let options = BatchOptions { base_offset, stamp: stamp(producer, -1), ..Default::default() };
    entry(BatchBuilder::marker(options, ControlType::Commit, 0, 0).unwrap())
}

fn raw(base_offset: i64, records: &[(&[u8], Option<&[u8]>)]) -> Entry {
    let options = BatchOptions { base_offset, codec: Codec::Zstd, stamp: stamp(OWNER, 0), ..Default::default() };
    let mut builder = BatchBuilder::new(options);
    for (key, value) in records {
        builder.push(&NewRecord { key: Some(key), value: *value, ..Default::default() });
    }
    entry(builder.finish().unwrap())
}

fn map_batch(base_offset: i64, records: &[MapRecord]) -> Entry {
    let encoded: Vec<_> = records.iter().map(MapRecord::encode).collect();
    let records: Vec<(&[u8], Option<&[u8]>)> =
        encoded.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
    raw(base_offset, &records)
}

fn data(base_offset: i64, producer: Producer, sequence: i32, count: usize) -> Entry {
    let stamp = if producer.id < 0 { Stamp::NONE } else { stamp(producer, sequence) };
    let mut builder = BatchBuilder::new(BatchOptions { base_offset, stamp, ..Default::default() });
    for _ in 0..count {
        builder.push(&NewRecord { value: Some(b"v"), ..Default::default() });
    }
    entry(builder.finish().unwrap())
}

fn part(entries: Vec<Entry>) -> LogPart {
    LogPart { entries, aborted: Vec::new(), high_watermark: 0, last_stable: 0 }
}

fn all() -> Keep {
    Box::new(|_| true)
}

#[test]
fn the_maps_log_is_read_up_to_the_end_and_no_further() {
    let part = part(vec![
        marker(5, OWNER),
        map_batch(6, &[MapRecord::Chunk(key(), 0, Chunk { ranges: vec![range(0, 1, 5)] })]),
        map_batch(7, &[MapRecord::Head(key(), head(1, vec![range(10, 7, 5)]))]),
        map_batch(8, &[MapRecord::Halt(key(), Some(("diverged".into(), "words".into())))]),
    ]);
    let mut contents = Contents::default();
    // The batch before the asked offset comes along with it.
    assert_eq!(contents.take(&part, 6, 8, &all()), Ok(8));
    assert_eq!(contents.chunks(&key()).len(), 1);
    let mapped = &contents.state.partitions[&key()];
    assert!(mapped.head.is_some() && mapped.halt.is_none());
    assert_eq!(contents.take(&part, 8, 9, &all()), Ok(9));
    assert!(contents.state.partitions[&key()].halt.is_some());
    assert_eq!(contents.state.producer_ids, BTreeSet::from([OWNER.id]));
    let gone = LogPart { entries: vec![map_batch(9, &[MapRecord::ChunkGone(key(), 0)])], ..part.clone() };
    assert_eq!(contents.take(&gone, 9, 10, &all()), Ok(10));
    assert_eq!(contents.chunks(&key()).len(), 0);

    let mut heads_only = Contents::default();
    heads_only.take(&part, 0, 9, &(Box::new(|_: &PartitionKey| false) as Keep)).unwrap();
    assert_eq!(heads_only.chunks(&key()).len(), 0);
    assert!(heads_only.state.partitions[&key()].head.is_some());
}

#[test]
fn a_newer_map_is_told_from_a_damaged_one() {
    let take = |value: &[u8]| {
        let part = part(vec![raw(3, &[(b"head/orders/2", Some(value))])]);
        Contents::default().take(&part, 0, 9, &all()).unwrap_err()
    };
    let newer = take(&[FORMAT + 1, 0]);
    assert!(newer.newer);
    assert_eq!((newer.offset, newer.what.as_str()), (3, "record \"head/orders/2\": written by a newer twinlog"));
    let damaged = take(&[FORMAT, 0]);
    assert!(!damaged.newer);
    assert_eq!(damaged.what, "record \"head/orders/2\": value ends too early");
}

#[test]
fn chunks_come_before_the_heads_ranges() {
    let mapped = MappedPartition { head: Some(head(3, vec![range(60, 55, 5)])), ..Default::default() };
    let chunks: Vec<Chunk> =
        [range(0, 1, 5), range(20, 20, 5), range(40, 40, 5)].map(|range| Chunk { ranges: vec![range] }).into();
    let of = |numbers: &[u64]| -> BTreeMap<u64, &Chunk> {
        numbers.iter().map(|number| (*number, &chunks[usize::try_from(*number).unwrap()])).collect()
    };
    let starts = |numbers: &[u64], first_chunk, whole| {
        let mut mapped = mapped.clone();
        mapped.head.as_mut().unwrap().first_chunk = first_chunk;
        let map = assemble(&key(), Told { lane: 0, mapped: &mapped }, &of(numbers), whole)?.map;
        Ok::<_, String>(map.ranges().iter().map(|range| range.source_start.0).collect::<Vec<_>>())
    };
    assert_eq!(starts(&[0, 1, 2], 0, true), Ok(vec![0, 20, 40, 60]));
    // The first ones are taken out when both logs start behind them; the head says so.
    assert_eq!(starts(&[1, 2], 1, true), Ok(vec![20, 40, 60]));
    assert_eq!(starts(&[1, 2], 0, true), Err("orders:2 has no chunk 0".into()));
    assert_eq!(starts(&[0, 2], 0, true), Err("orders:2 has no chunk 1".into()));
    assert_eq!(starts(&[], 3, false), Ok(vec![60]));

    let back = MappedPartition { head: Some(head(1, vec![range(3, 55, 5)])), ..Default::default() };
    let error = assemble(&key(), Told { lane: 0, mapped: &back }, &of(&[0]), true).unwrap_err();
    assert_eq!(error, "the ranges of orders:2 go back at source offset 3");
}

/// A walk from target offset 1 on, with a plan from source offset 100 on.
fn walk(end: i64, producer_ids: &[i64]) -> Walk {
    let mut plans = Plans::default();
    plans.push(0, plan(OWNER, 0, 100));
    plans.push(1, plan(OWNER, 10, 200));
    let extent = Extent { synced: SourceOffset(100), next_target: TargetOffset(1) };
    Walk::new(OffsetMap::new(), extent, plans, producer_ids.iter().copied().collect(), TargetOffset(end))
}

#[test]
fn what_was_written_after_the_last_mark_is_in_the_map() {
    let mut walk = walk(22, &[OWNER.id]);
    walk.take(&part(vec![marker(1, OWNER), data(2, OWNER, 0, 12), data(14, OWNER, 12, 8)]));
    let (map, extent, end) = walk.finish();
    assert!(matches!(end, MirrorEnd::Ours));
    assert_eq!(map.ranges(), [range(100, 2, 10), range(200, 12, 10)]);
    assert_eq!(extent, Extent { synced: SourceOffset(210), next_target: TargetOffset(22) });
}

#[test]
fn what_comes_behind_the_end_is_left_to_the_next_look() {
    // The owner planned and sent this after the map was read: no plan is known for it.
    let mut walk = walk(12, &[OWNER.id]);
    walk.take(&part(vec![data(2, OWNER, 0, 10), data(12, Producer { epoch: 9, ..OWNER }, 0, 5)]));
    let (_, extent, end) = walk.finish();
    assert!(matches!(end, MirrorEnd::Ours), "{end:?}");
    assert_eq!(extent.next_target, TargetOffset(12));
}

#[test]
fn a_marker_of_a_new_owner_with_another_id_is_ours() {
    let successor = Producer { id: 4777, epoch: 0 };
    let entries = || part(vec![data(2, OWNER, 0, 5), marker(7, successor)]);
    let mut known = walk(8, &[OWNER.id, successor.id]);
    known.take(&entries());
    let (_, extent, end) = known.finish();
    assert!(matches!(end, MirrorEnd::Ours), "{end:?}");
    assert_eq!(extent, Extent { synced: SourceOffset(105), next_target: TargetOffset(8) });

    let mut unknown = walk(8, &[OWNER.id]);
    unknown.take(&entries());
    let (_, _, end) = unknown.finish();
    assert!(matches!(end, MirrorEnd::Foreign { expected: TargetOffset(7), found: TargetOffset(7) }), "{end:?}");
}

#[test]
fn somebody_elses_batch_ends_the_walk_with_both_offsets() {
    for foreign in [data(7, Producer { id: -1, epoch: -1 }, 0, 1), data(7, Producer { id: 17, epoch: 0 }, 0, 1)] {
        let mut walk = walk(20, &[OWNER.id]);
        walk.take(&part(vec![data(2, OWNER, 0, 5), foreign, data(8, OWNER, 5, 5)]));
        let (_, extent, end) = walk.finish();
        assert!(matches!(end, MirrorEnd::Foreign { expected: TargetOffset(7), found: TargetOffset(7) }), "{end:?}");
        assert_eq!(extent.synced, SourceOffset(105));
    }
}

/// A map of two lanes; nobody is dialled.
fn reader() -> MapReader {
    let cluster = Cluster::new(Side::Target, vec!["127.0.0.1:1".parse().unwrap()], DialConfig::default()).unwrap();
    let lane = |partition| Lane {
        log: LogReader {
            cluster: cluster.clone(),
            lane: 0,
            at: TopicPartition::new("map", partition),
            topic_id: [0; 16],
            isolation: IsolationLevel::ReadUncommitted,
            max_wait: Duration::ZERO,
        },
        next: None,
        contents: Contents::default(),
    };
    MapReader { topic: "map".into(), keep: all(), lanes: vec![lane(0), lane(1)] }
}

fn write(reader: &mut MapReader, lane: usize, records: &[MapRecord]) {
    let part = part(vec![map_batch(0, records)]);
    reader.lanes[lane].contents.take(&part, 0, 1, &all()).unwrap();
}

/// The lane whose word on the partition counts, and how far the copy is by it.
fn counts(reader: &MapReader) -> Option<(u32, i64)> {
    let told = reader.told().remove(&key())?;
    Some((told.lane, told.mapped.head.as_ref()?.extent.synced.0))
}

#[test]
fn at_each_moment_of_a_move_one_lane_counts() {
    let (a, b) = (0, 1);
    let at = |synced| MapRecord::Head(key(), head(0, vec![range(0, 1, synced)]));
    let mut reader = reader();
    write(&mut reader, a, &[at(5)]);
    assert_eq!(counts(&reader), Some((0, 5)));
    write(&mut reader, a, &[at(10), MapRecord::Released(key(), Some(Released { to: 1, number: 1 }))]);
    assert_eq!(counts(&reader), Some((0, 10)));
    write(&mut reader, b, &[MapRecord::Chunk(key(), 0, Chunk { ranges: vec![range(0, 1, 5)] })]);
    assert_eq!(counts(&reader), Some((0, 10)), "not adopted yet");
    let came = Came { number: 1, earlier: vec![OWNER.id] };
    write(&mut reader, b, &[MapRecord::Came(key(), Some(came)), at(10)]);
    assert_eq!(counts(&reader), Some((1, 10)));
    write(&mut reader, b, &[at(20)]);
    let gone = [MapRecord::HeadGone(key()), MapRecord::Halt(key(), None), MapRecord::Released(key(), None)];
    write(&mut reader, a, &gone);
    assert_eq!(counts(&reader), Some((1, 20)));
    assert!(!reader.lost_sight());
}

#[test]
fn what_was_forgotten_while_it_came_to_a_lane_that_was_read_before_is_looked_for_again() {
    let mut reader = reader();
    write(&mut reader, 1, &[MapRecord::Head(key(), head(0, vec![]))]);
    assert!(!reader.lost_sight());
    write(&mut reader, 1, &[MapRecord::HeadGone(key())]);
    assert!(reader.lost_sight());
    assert!(!reader.lost_sight(), "one more look tells");
}

#[test]
fn of_lanes_that_copied_nothing_the_one_that_has_it_says_whether_it_stopped() {
    let stopped = |reader: &MapReader| reader.stopped().map(|(_, (name, _))| name.clone()).collect::<Vec<_>>();
    let halt = |name: &str| MapRecord::Halt(key(), Some((name.into(), "words".into())));
    let mut reader = reader();
    write(&mut reader, 0, &[halt("claimed"), MapRecord::Released(key(), Some(Released { to: 1, number: 1 }))]);
    assert_eq!(stopped(&reader), ["claimed"]);
    write(&mut reader, 1, &[MapRecord::Came(key(), Some(Came { number: 1, earlier: vec![] })), halt("too-large")]);
    assert_eq!(stopped(&reader), ["too-large"]);
    write(&mut reader, 1, &[MapRecord::Halt(key(), None)]);
    assert_eq!(stopped(&reader), [] as [&str; 0]);
}
