//! Partitions that stopped, and the ways on.

use alloc::vec;
use alloc::vec::Vec;

use twinlog_wire::error_code::ErrorCode;

use super::script::{Script, spec};
use crate::config::GapPolicy;
use crate::halt::Halt;
use crate::ids::{SourceOffset, TargetOffset};
use crate::io::{Ends, Event, FetchResult, Input, LanePartition, Offline, Output, PartitionSpec};
use crate::map_record::{Head, MapRecord};
use crate::offset_map::Range;
use crate::partition::Phase;
use crate::resolution::{Exit, LostRange, Resolution};

fn too_large() -> Halt {
    let code = ErrorCode::MESSAGE_TOO_LARGE;
    Halt::TooLarge { offset: SourceOffset(0), next: SourceOffset(1), bytes: 100, code }
}

/// Decides, by decision number 1, on a topic that is as it was.
fn resolve(script: &mut Script, id: LanePartition, exit: Exit, state: &str) {
    resolve_for(script, id, 1, exit, state, spec("orders"));
}

fn resolve_for(script: &mut Script, id: LanePartition, number: u64, exit: Exit, state: &str, spec: PartitionSpec) {
    let resolution = Resolution { number, exit, state: state.into(), at_ms: 0 };
    script.tell(Input::Resolve { partition: id, resolution, spec });
}

fn stopped(halt: Halt) -> (Script, LanePartition) {
    let (mut script, id) = Script::copying();
    script.tell(Input::Stop(id, halt.clone()));
    assert_eq!(script.events(), [Event::Halted(id, halt.clone())]);
    let words = (halt.name().into(), alloc::string::ToString::to_string(&halt));
    assert_eq!(script.in_map("halt/"), [MapRecord::Halt(spec("orders").key, Some(words))]);
    (script, id)
}

fn copy(script: &mut Script, id: LanePartition, records: i32) {
    script.told();
    script.fetch(id, &[records]);
    let send = script.told_one();
    script.store(&send, records);
}

#[test]
fn what_is_tried_again_goes_on_where_it_was() {
    let (mut script, id) = stopped(too_large());
    assert_eq!(script.lane.wants_fetch(script.now, id), None);
    resolve(&mut script, id, Exit::Retry, "too-large");
    script.pass(20);
    assert_eq!(script.events(), [Event::Resolved(id, Exit::Retry), Event::Copying(id, SourceOffset(0))]);
    assert_eq!(script.in_map("halt/").len(), 0);
    assert_eq!(script.head().resolved, 1);
    script.tell(Input::Stop(id, too_large()));
    assert_eq!(script.events(), [Event::Halted(id, too_large())], "it is told again");
    resolve(&mut script, id, Exit::Retry, "too-large");
    assert_eq!(script.told(), [], "that was carried out");
}

#[test]
fn what_is_skipped_is_lost_and_noted() {
    let (from, to) = (SourceOffset(0), SourceOffset(5));
    let (mut script, id) = stopped(Halt::Gap { from, to });
    script.source_start = 5;
    resolve(&mut script, id, Exit::SkipGap, "gap");
    let at_ms = script.now.wall_ms;
    script.pass(20);
    assert_eq!(script.events(), [Event::Resolved(id, Exit::SkipGap), Event::Copying(id, to)]);
    let head = script.head();
    assert_eq!((head.lost.offsets, head.lost.ranges), (5, vec![LostRange { from, to, at_ms }]));
    assert_eq!((head.extent.synced, head.leader_epoch), (to, -1));
}

#[test]
fn where_the_policy_is_to_skip_nobody_has_to_decide() {
    let mut script = Script::running();
    let skipping = PartitionSpec { gap: GapPolicy::Skip, ..spec("orders") };
    let id = script.lane.add(script.now, skipping).expect("it runs");
    script.pass(0);
    script.tell(Input::Forget(spec("other").key));
    script.told();
    script.keep(|output| matches!(output, Output::Probe { .. }));
    let position = SourceOffset(0);
    script.tell(Input::Fetched { partition: id, position, result: FetchResult::OutOfRange });
    let (source_start, source_end) = (SourceOffset(3), SourceOffset(9));
    let ends = Ends { source_start, source_end, target_start: TargetOffset(0), target_end: TargetOffset(1) };
    script.told();
    script.tell(Input::Probed { partition: id, position, ends: Ok(ends) });
    script.pass(20);
    assert_eq!(script.events(), [Event::Resolved(id, Exit::SkipGap), Event::Copying(id, source_start)]);
    // The policy is about gaps alone.
    script.tell(Input::Stop(id, too_large()));
    assert_eq!(script.events(), [Event::Halted(id, too_large())]);
}

#[test]
fn a_decision_that_is_no_way_out_of_the_state_is_noted_and_changes_nothing() {
    let halt = Halt::Gap { from: SourceOffset(0), to: SourceOffset(5) };
    let (mut script, id) = stopped(halt);
    resolve(&mut script, id, Exit::Retry, "gap");
    script.pass(20);
    assert_eq!(script.told(), []);
    assert!(script.lane.partition(id).is_some_and(|partition| partition.is_halted()));
    assert_eq!(script.head().resolved, 1);
    // A source that is gone has nothing more to copy.
    let (mut script, id) = stopped(Halt::SourceDeleted);
    resolve(&mut script, id, Exit::Accept, "source-deleted");
    script.pass(20);
    assert_eq!(script.told(), []);
    assert_eq!(script.head().resolved, 1);
}

#[test]
fn what_has_gone_on_by_itself_is_not_decided_about() {
    let (mut script, id) = Script::copying();
    resolve(&mut script, id, Exit::Retry, "refused");
    assert_eq!(script.head().resolved, 1);
    // Of others it is kept until the source has answered.
    script.told();
    resolve_for(&mut script, id, 3, Exit::SkipGap, "gap", spec("orders"));
    resolve_for(&mut script, id, 2, Exit::SkipGap, "gap", spec("orders"));
    assert_eq!((script.told(), script.head().resolved), (vec![], 1));
    copy(&mut script, id, 1);
    assert_eq!(script.head().resolved, 3, "the newest one");
}

#[test]
fn nothing_is_begun_anew_that_was_not_begun() {
    let mut script = Script::running();
    script.keep(|output| matches!(output, Output::Probe { .. }));
    let id = script.lane.add(script.now, spec("orders")).expect("it runs");
    let resolved = |script: &Script| script.lane.partition(id).map(|partition| partition.resolved());
    resolve(&mut script, id, Exit::SkipGap, "gap");
    assert_eq!(resolved(&script), Some(0), "the state may be met");
    resolve_for(&mut script, id, 2, Exit::Resync, "gap", spec("orders"));
    assert_eq!(resolved(&script), Some(2));
}

#[test]
fn nothing_is_decided_here_about_a_partition_that_leaves() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    script.tell(Input::Release { key: spec("orders").key, to: 1, number: 1 });
    script.told();
    resolve(&mut script, id, Exit::Resync, "diverged");
    script.pass(500);
    assert_eq!(script.told(), []);
}

/// A partition that stopped as somebody else wrote to its mirror.
fn diverged() -> (Script, LanePartition) {
    let (mut script, id) = Script::copying();
    script.append(id, crate::ids::Producer { id: 99, epoch: 0 }, 0, 1);
    script.pass(11_000);
    assert!(matches!(script.events().last(), Some(Event::Halted(_, Halt::Diverged { .. }))));
    (script, id)
}

#[test]
fn what_somebody_else_wrote_stays_where_that_is_accepted_and_only_there() {
    let (mut script, id) = diverged();
    resolve(&mut script, id, Exit::Accept, "diverged");
    script.pass(100);
    assert_eq!(script.events(), [Event::Resolved(id, Exit::Accept), Event::Copying(id, SourceOffset(0))]);
    let (mut script, id) = diverged();
    resolve(&mut script, id, Exit::Retry, "diverged");
    script.pass(100);
    let told = script.events();
    assert!(matches!(told[..], [Event::Resolved(..), Event::Halted(_, Halt::Diverged { .. })]), "{told:?}");
}

#[test]
fn a_topic_that_was_made_again_meanwhile_has_no_way_on_with_its_offsets() {
    let (mut script, id) = stopped(too_large());
    let another = PartitionSpec { source_topic_id: [9; 16], ..spec("orders") };
    resolve_for(&mut script, id, 1, Exit::Retry, "too-large", another);
    assert_eq!(script.events(), [Event::Halted(id, Halt::Recreated)]);
    assert!(matches!(&script.in_map("halt/")[..], [MapRecord::Halt(_, Some((state, _)))] if state == "recreated"));
}

#[test]
fn records_that_were_on_the_mirror_before_are_accepted_and_the_copy_begins_behind_them() {
    let mut script = Script::running();
    let id = LanePartition(0);
    script.append(id, crate::ids::Producer { id: 99, epoch: 0 }, 0, 4);
    assert_eq!(script.lane.add(script.now, spec("orders")), Some(id));
    script.tell(Input::Forget(spec("other").key));
    assert_eq!(script.events(), [Event::Halted(id, Halt::TargetNotEmpty { records: 4 })]);
    resolve(&mut script, id, Exit::Accept, "target-not-empty");
    script.pass(20);
    assert_eq!(script.events(), [Event::Resolved(id, Exit::Accept), Event::Copying(id, SourceOffset(0))]);
    let head = script.head();
    assert_eq!((head.extent.synced, head.extent.next_target), (SourceOffset(0), TargetOffset(5)));
}

/// A partition whose source took back what is from `end` on, where that is accepted, and what its map says then.
fn parted(ranges: usize, end: i64) -> (Vec<Event>, Head, usize) {
    let (mut script, id) = Script::copying();
    script.copy_behind_holes(id, ranges);
    let copied = SourceOffset(2 * ranges as i64);
    script.tell(Input::Stop(id, Halt::SourceTruncated { copied, end: SourceOffset(end) }));
    script.told();
    resolve(&mut script, id, Exit::Accept, "source-truncated");
    script.pass(20);
    let events = script.events();
    let (head, chunks) = (script.head(), script.in_map("chunk/").len());
    // What follows gets the sequences and offsets that follow.
    let next = script.end(id);
    copy(&mut script, id, 1);
    assert_eq!(script.told().len(), 1);
    assert_eq!(script.end(id), next.plus(1));
    let range = Range { source_start: SourceOffset(end), target_start: next, len: 1 };
    let after = script.head();
    assert_eq!(after.ranges.last(), Some(&range));
    (events, head, chunks)
}

#[test]
fn what_a_source_took_back_stays_on_the_mirror_and_leaves_the_map() {
    // Eight ranges: three chunks of two, and two in the head.
    let cases: [(i64, usize, usize); 8] =
        [(16, 3, 2), (15, 3, 1), (14, 3, 1), (12, 3, 0), (11, 2, 1), (9, 2, 0), (8, 2, 0), (0, 0, 0)];
    for (end, chunks, ranges) in cases {
        let (events, head, chunk_records) = parted(8, end);
        let id = LanePartition(0);
        let end = SourceOffset(end);
        assert_eq!(events[0], Event::Resolved(id, Exit::Accept), "{end}: {events:?}");
        assert_eq!(events.last(), Some(&Event::Copying(id, end)), "{end}: {events:?}");
        assert_eq!(head.extent.synced, end);
        let cursor = head.cursor.expect("it goes on behind what was sent");
        assert_eq!((cursor.source_start, cursor.leader_epoch), (end, -1));
        assert_eq!((head.chunks as usize, chunk_records, head.ranges.len()), (chunks, chunks, ranges), "{end}");
        assert!(head.ranges.iter().all(|range| range.source_end() <= end), "{end}: {:?}", head.ranges);
    }
}

#[test]
fn a_range_that_was_taken_back_in_part_is_cut() {
    let (mut script, id) = Script::copying();
    copy(&mut script, id, 5);
    let (copied, end) = (SourceOffset(5), SourceOffset(3));
    script.tell(Input::Stop(id, Halt::SourceTruncated { copied, end }));
    resolve(&mut script, id, Exit::Accept, "source-truncated");
    let MapRecord::Head(_, cut) = script.in_map("head/").remove(0) else { panic!("its head") };
    let cursor = cut.cursor.expect("a successor goes on behind what was sent");
    assert_eq!((cursor.source_start, cursor.leader_epoch), (end, -1));
    script.pass(20);
    let head = script.head();
    assert_eq!(head.ranges.iter().map(|range| range.len).collect::<Vec<_>>(), [3]);
    assert!(head.extent.next_target.0 > 6, "the mirror keeps it: {:?}", head.extent);
    assert_eq!((head.extent.synced, head.leader_epoch), (end, -1));
}

#[test]
fn a_mirror_that_is_begun_anew_has_an_empty_map() {
    let (mut script, id) = Script::copying();
    script.copy_behind_holes(id, 5);
    assert_eq!(
        (script.in_map("chunk/").len(), script.lane.partition(id).map(|at| at.progress().records)),
        (1, Some(5))
    );
    script.fetch_behind_holes(id, 1);
    assert_eq!(script.in_map("plan/").len(), 1);
    script.tell(Input::Stop(id, Halt::TargetRecreated));
    script.told();
    script.mirrors.clear();
    script.source_start = 2;
    let other = PartitionSpec { target_topic_id: [3; 16], ..spec("orders") };
    resolve_for(&mut script, id, 1, Exit::Recreate, "target-recreated", other);
    script.pass(20);
    assert_eq!(script.events(), [Event::Resolved(id, Exit::Recreate), Event::Copying(id, SourceOffset(2))]);
    let head = script.head();
    assert_eq!((head.target_topic_id, head.resolved, head.chunks, head.ranges), ([3; 16], 1, 0, vec![]));
    assert_eq!((script.in_map("chunk/").len(), script.in_map("plan/").len(), script.in_map("halt/").len()), (0, 0, 0));
    let progress = script.lane.partition(id).expect("it is there").progress();
    assert_eq!((progress.records, progress.bytes), (5, 500), "the totals go on");
}

#[test]
fn a_copy_that_is_begun_anew_while_it_runs_keeps_what_is_in_flight_from_the_new_mirror() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    script.told();
    let own = script.producer;
    script.keep(|output| matches!(output, Output::InitProducerId { .. } | Output::Probe { .. }));
    resolve(&mut script, id, Exit::Resync, "diverged");
    script.pass(20);
    let told = script.told();
    assert_eq!(told[0], Output::Event(Event::Resolving(id)));
    assert_eq!(told[1..], vec![Output::InitProducerId { current: Some(own) }], "a marker first");
    script.answer(told[1].clone());
    let told = script.told();
    assert!(told.contains(&Output::Event(Event::Resolved(id, Exit::Resync))), "{told:?}");
    let probe = Output::Probe { partition: id, position: SourceOffset(0) };
    assert_eq!(told.last(), Some(&probe));
    // The mirror has markers, and what was on its way comes after the question: all of it may stay.
    script.keep(|output| matches!(output, Output::ReadTarget { .. }));
    script.answer(probe);
    let read = script.told().pop().expect("its tail is read");
    let marker = script.mirrors.get_mut(&id).and_then(|log| log.pop()).expect("its marker");
    script.append(id, own, 0, 1);
    script.append(id, crate::ids::Producer::of(&marker), -1, 1);
    script.keep(|_| false);
    script.answer(read);
    script.pass(100);
    assert_eq!(script.events().last(), Some(&Event::Copying(id, SourceOffset(0))));
    // Where the mirror is another topic nothing that was sent can come to it.
    let (mut script, id) = Script::copying();
    copy(&mut script, id, 1);
    script.told();
    script.keep(|output| matches!(output, Output::InitProducerId { .. } | Output::Probe { .. }));
    let position = SourceOffset(1);
    script.tell(Input::Fetched { partition: id, position, result: FetchResult::OutOfRange });
    script.told();
    let other = PartitionSpec { target_topic_id: [3; 16], ..spec("orders") };
    script.tell(Input::TargetOffline(id, Some(Offline::NoLeader)));
    resolve_for(&mut script, id, 1, Exit::Recreate, "recreated", other);
    assert!(script.lane.partition(id).is_some_and(|partition| partition.offline().is_some()), "it is still");
    let told = script.told();
    let probe = Output::Probe { partition: id, position: SourceOffset(0) };
    assert_eq!(told, [Output::Event(Event::Resolved(id, Exit::Recreate)), probe]);
    let (source_start, source_end) = (SourceOffset(0), SourceOffset(1));
    let ends = Ends { source_start, source_end, target_start: TargetOffset(0), target_end: TargetOffset(3) };
    script.tell(Input::Probed { partition: id, position, ends: Ok(ends) });
    assert_eq!(
        script.lane.partition(id).map(|partition| partition.phase()),
        Some(&Phase::Probing),
        "of the former one"
    );
}
