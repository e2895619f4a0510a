//! Mirrors that lost their end.

use alloc::vec;
use alloc::vec::Vec;

use twinlog_wire::batch::BatchMeta;

use super::script::{Script, spec};
use crate::halt::Halt;
use crate::ids::{SourceOffset, TargetOffset};
use crate::io::{Event, Failure, Input, LanePartition, MapEntry, Output, ReadResult};
use crate::lane::EpochLimits;
use crate::resolution::{Exit, Resolution};

/// A partition with so many ranges of one record.
fn copied(count: usize) -> (Script, LanePartition) {
    let (mut script, id) = Script::copying();
    script.copy_behind_holes(id, count);
    (script, id)
}

/// Only so much of the mirror is left.
fn lose(script: &mut Script, id: LanePartition, end: i64) {
    script.mirrors.get_mut(&id).expect("it was written to").retain(|batch| batch.base_offset < end);
}

fn cut_back(id: LanePartition, target: (i64, i64), source: (i64, i64)) -> Event {
    Event::CutBack {
        partition: id,
        target: (TargetOffset(target.0), TargetOffset(target.1)),
        source: (SourceOffset(source.0), SourceOffset(source.1)),
    }
}

#[test]
fn what_a_mirror_lost_is_cut_from_the_map_and_copied_again() {
    // Seven ranges: two chunks, and three in the head. So many are left; the head then has so many.
    let cases: [(i64, u64, usize); 6] = [(6, 2, 2), (5, 2, 1), (4, 2, 0), (3, 1, 1), (2, 1, 0), (1, 0, 1)];
    for (left, chunks, ranges) in cases {
        let (mut script, id) = copied(7);
        lose(&mut script, id, left + 1);
        // Where the marker is the last that is left of the log it looks like one that is still to come, for 20 s.
        script.pass(40_000);
        let told = script.events();
        // Where the first record was that is lost.
        let synced = SourceOffset(2 * left + 1);
        let cut = cut_back(id, (left + 1, 8), (synced.0, 14));
        assert!(told.contains(&cut), "{left}: {told:?}");
        assert!(told.contains(&Event::Copying(id, synced)), "{left}: {told:?}");
        let head = script.head();
        assert_eq!((head.chunks, head.ranges.len(), head.extent.synced), (chunks, ranges, synced), "{left}");
        assert_eq!(script.in_map("chunk/").len() as u64, chunks, "{left}");
        assert_eq!(script.lane.wants_fetch(script.now, id).map(|(position, _)| position), Some(synced));
    }
}

#[test]
fn a_mirror_that_lost_all_is_copied_again_from_the_first_record() {
    let (mut script, id) = copied(2);
    lose(&mut script, id, 0);
    script.pass(11_000);
    let told = script.events();
    assert!(told.contains(&cut_back(id, (0, 3), (1, 4))), "{told:?}");
    assert_eq!(told.last(), Some(&Event::Copying(id, SourceOffset(1))));
}

#[test]
fn while_chunks_are_on_their_way_to_the_map_they_are_waited_for() {
    let (mut script, id) = copied(7);
    lose(&mut script, id, 3);
    script.keep(|output| matches!(output, Output::ReadMap { .. }));
    script.pass(11_000);
    let told: Vec<_> = script.told().into_iter().filter(|output| matches!(output, Output::ReadMap { .. })).collect();
    assert_eq!(told, [Output::ReadMap { from: TargetOffset(0) }]);
    assert!(script.lane.partition(id).is_some_and(|partition| partition.is_truncated() && partition.is_cut()));
    script.keep(|_| false);
    script.answer(told[0].clone());
    script.pass(100);
    assert_eq!(script.events().last(), Some(&Event::Copying(id, SourceOffset(5))));
    assert!(script.lane.partition(id).is_some_and(|partition| !partition.is_truncated() && !partition.is_cut()));
}

/// A partition whose mirror lost its end, and what it reads of it next: (from, epoch).
fn reads(script: &mut Script) -> (i64, i32) {
    match script.told_one() {
        Output::ReadTarget { from, epoch, .. } => (from.0, epoch),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_log_that_changes_while_it_is_searched() {
    let (mut script, id) = copied(2);
    script.keep(|output| matches!(output, Output::ReadTarget { .. } | Output::Event(_)));
    lose(&mut script, id, 1);
    script.pass(11_000);
    script.told();
    let read = |script: &mut Script, from: i64, result| {
        script.tell(Input::TargetRead { partition: id, from: TargetOffset(from), result });
    };
    let beyond = |start: i64, end: i64| ReadResult::OutOfRange { start: TargetOffset(start), end: TargetOffset(end) };
    // The tail was asked for from the last record that was acknowledged; the log ends at 2.
    read(&mut script, 2, beyond(0, 1));
    let (from, _) = reads(&mut script);
    assert!(from < 2 && script.lane.partition(id).is_some_and(|partition| partition.is_truncated()));
    read(&mut script, from + 1, ReadResult::Failed(Failure::Lost));
    assert_eq!(script.told(), [], "the answer to another question");
    read(&mut script, from, ReadResult::Failed(Failure::Lost));
    let retrying = Event::Retrying(Some(id), Failure::Lost, "reading the mirror's end");
    assert_eq!(script.told_one(), Output::Event(retrying));
    script.pass(100);
    assert_eq!(reads(&mut script).0, from);
    // In range after all: the epoch that was named may be older than the log's first.
    read(&mut script, from, beyond(from, from));
    assert_eq!(script.told(), []);
    script.pass(100);
    assert_eq!(reads(&mut script), (from, -1));
    // Nothing yet: the marker is awaited.
    read(&mut script, from, ReadResult::Entries { entries: vec![], next: TargetOffset(from) });
    assert_eq!(script.told(), []);
    script.pass(200);
    assert_eq!(reads(&mut script), (from, -1));
    // Its start moved on.
    read(&mut script, from, beyond(from + 1, from + 1));
    assert_eq!(reads(&mut script), (from + 1, -1));
    read(&mut script, from + 1, beyond(from + 1, from + 1));
    script.pass(400);
    assert_eq!(reads(&mut script), (from + 1, -1));
    // It lost more of its end.
    read(&mut script, from + 1, beyond(0, from));
    assert_eq!(script.told(), []);
    script.pass(800);
    assert_eq!(reads(&mut script), (from, -1));
    read(&mut script, from, ReadResult::Entries { entries: vec![], next: TargetOffset(from + 2) });
    assert_eq!(reads(&mut script).0, from + 2, "there may be more behind it");
}

#[test]
fn older_ranges_are_read_part_by_part_and_again_while_they_are_not_there() {
    let (mut script, id) = copied(7);
    lose(&mut script, id, 3);
    script.keep(|output| matches!(output, Output::ReadMap { .. }));
    script.pass(11_000);
    script.told();
    let read = |from: i64| Output::ReadMap { from: TargetOffset(from) };
    let answer = |script: &mut Script, from: i64, result| {
        script.tell(Input::MapRead { from: TargetOffset(from), result });
    };
    let part = |script: &Script, from: usize, next: usize| ReadResult::Entries {
        entries: script.map[from..next].to_vec(),
        next: TargetOffset(next as i64),
    };
    let beyond = |start: i64| ReadResult::OutOfRange { start: TargetOffset(start), end: TargetOffset(99) };
    let first = part(&script, 0, 5);
    answer(&mut script, 0, first);
    assert_eq!(script.told_one(), read(5));
    answer(&mut script, 5, beyond(5));
    assert_eq!(script.told(), []);
    script.pass(100);
    assert_eq!(script.told_one(), read(5));
    answer(&mut script, 5, beyond(7));
    assert_eq!(script.told_one(), read(7));
    let nothing = |from: i64| ReadResult::Entries { entries: vec![], next: TargetOffset(from) };
    answer(&mut script, 7, nothing(7));
    assert_eq!(script.told(), [], "the chunks were not there");
    script.pass(100);
    assert_eq!(script.told_one(), read(0));
    let all = part(&script, 0, script.map.len());
    let end = script.map.len() as i64;
    answer(&mut script, 0, all);
    assert_eq!(script.told_one(), read(end));
    answer(&mut script, end, nothing(end));
    script.pass(100);
    assert_eq!(script.events().last(), Some(&Event::Copying(id, SourceOffset(5))));
}

/// The same, taken by a lane whose map lost its chunks.
fn without_chunks() -> Script {
    let (script, id) = copied(7);
    let (map, mirrors) = (script.map, script.mirrors);
    let mut script = Script::begun(EpochLimits::KAFKA, |_| true);
    let is_chunk = |entry: &MapEntry| matches!(entry, MapEntry::Record { key, .. } if key.starts_with(b"chunk/"));
    script.map = map.into_iter().filter(|entry| !is_chunk(entry)).collect();
    (script.mirrors, script.producer.epoch) = (mirrors, 5);
    script.keep(|_| false);
    let init = script.told_one();
    script.answer(init);
    assert!(script.lane.is_running());
    assert_eq!(script.lane.add(script.now, spec("orders")), Some(id));
    script.pass(500);
    assert_eq!(script.events().last(), Some(&Event::Copying(id, SourceOffset(14))));
    script
}

#[test]
fn where_the_map_lost_the_ranges_that_are_wanted_the_partition_stops() {
    let mut script = without_chunks();
    let id = LanePartition(0);
    lose(&mut script, id, 3);
    script.told();
    script.pass(40_000);
    let events = script.events();
    assert!(matches!(events.last(), Some(Event::Halted(_, Halt::TargetTruncated { .. }))), "{events:?}");
    // And what the source took back cannot be let be.
    let mut script = without_chunks();
    let (copied, end) = (SourceOffset(14), SourceOffset(3));
    let halt = Halt::SourceTruncated { copied, end };
    script.tell(Input::Stop(id, halt.clone()));
    script.told();
    let resolution = Resolution { number: 1, exit: Exit::Accept, state: halt.name().into(), at_ms: 0 };
    script.tell(Input::Resolve { partition: id, resolution, spec: spec("orders") });
    script.pass(1_000);
    assert_eq!(script.events(), []);
    assert!(script.lane.partition(id).is_some_and(|partition| partition.is_halted() && partition.resolved() == 1));
}

/// Somebody changes what the mirror has in the last record's place.
fn changed(change: fn(&mut BatchMeta)) -> Vec<Event> {
    let (mut script, id) = copied(3);
    let log = script.mirrors.get_mut(&id).expect("it was written to");
    change(log.last_mut().expect("the last record"));
    script.mark_twice(id);
    script.pass(11_000);
    script.events()
}

#[test]
fn what_stands_where_the_last_record_was_must_be_that_record() {
    let goes_on = |events: &[Event]| matches!(events, [Event::Resolving(_), Event::Copying(_, SourceOffset(6))]);
    assert!(goes_on(&changed(|_| {})));
    for change in [
        (|batch| batch.base_sequence += 5) as fn(&mut BatchMeta),
        |batch| batch.producer_epoch += 1,
        |batch| batch.producer_id = 98,
        |batch| batch.attributes = 0x30,
    ] {
        let events = changed(change);
        assert!(!goes_on(&events), "{events:?}");
    }
}

#[test]
fn a_tail_whose_end_is_lost_while_it_is_read_is_read_again() {
    let (mut script, id) = copied(1);
    script.mark_twice(id);
    script.keep(|output| matches!(output, Output::ReadTarget { .. }));
    script.pass(11_000);
    let Some(Output::ReadTarget { from, .. }) = script.told().pop() else { panic!("the tail is read") };
    assert_eq!(from, TargetOffset(1), "from the last record on");
    let entries = script.mirrors[&id][1..3].to_vec();
    script.tell(Input::TargetRead {
        partition: id,
        from,
        result: ReadResult::Entries { entries, next: TargetOffset(3) },
    });
    assert_eq!(reads(&mut script).0, 3);
    let beyond = |end: i64| ReadResult::OutOfRange { start: TargetOffset(0), end: TargetOffset(end) };
    script.tell(Input::TargetRead { partition: id, from: TargetOffset(3), result: beyond(3) });
    assert_eq!(script.told(), [], "in range after all");
    script.pass(100);
    assert_eq!(reads(&mut script), (3, -1));
    script.tell(Input::TargetRead { partition: id, from: TargetOffset(3), result: beyond(2) });
    assert_eq!(reads(&mut script).0, 1);
}

#[test]
fn what_was_taken_out_of_the_map_before_stays_known_when_it_is_cut() {
    // Of four ranges two are on neither side any more; then the mirror loses the last, or the source takes it back.
    let pruned = || {
        let (mut script, id) = copied(3);
        (script.source_start, script.mirror_start) = (4, 3);
        script.fetch_behind_holes(id, 1);
        let send = script.told_one();
        script.store(&send, 1);
        let pruned = script.head().pruned.expect("two were taken out");
        assert_eq!((pruned.source_end(), pruned.target_end()), (SourceOffset(4), TargetOffset(3)));
        script.told();
        (script, id, pruned)
    };
    let (mut script, id, before) = pruned();
    lose(&mut script, id, 4);
    script.pass(40_000);
    let events = script.events();
    assert!(events.contains(&cut_back(id, (4, 5), (7, 8))), "{events:?}");
    assert_eq!(script.head().pruned, Some(before));
    let (mut script, id, before) = pruned();
    let halt = Halt::SourceTruncated { copied: SourceOffset(8), end: SourceOffset(4) };
    script.tell(Input::Stop(id, halt.clone()));
    let resolution = Resolution { number: 1, exit: Exit::Accept, state: halt.name().into(), at_ms: 0 };
    script.tell(Input::Resolve { partition: id, resolution, spec: spec("orders") });
    assert_eq!(script.head().pruned, Some(before));
}
