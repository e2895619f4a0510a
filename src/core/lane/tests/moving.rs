//! Partitions that go to another lane, come from one, or are forgotten.

use alloc::boxed::Box;
use alloc::vec;

use super::script::{EXPIRATION_MS, Script, spec};
use crate::halt::Halt;
use crate::ids::{Producer, SourceOffset, TargetOffset};
use crate::io::{Event, Input, LanePartition, Member, Output, ReadResult};
use crate::map_record::{MapRecord, PartitionKey, Released};
use crate::moves::{Adoption, Known};
use crate::resolution::{Exit, Resolution};

const RELEASED: Released = Released { to: 1, number: 4 };

fn key() -> PartitionKey {
    spec("orders").key
}

fn release(script: &mut Script) {
    script.tell(Input::Release { key: key(), to: RELEASED.to, number: RELEASED.number });
}

fn was_released() -> Event {
    Event::Released(key(), RELEASED.to)
}

fn synced(script: &Script) -> i64 {
    match &script.in_map("head/")[..] {
        [MapRecord::Head(_, head)] => head.extent.synced.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_idle_partition_is_let_go_of_at_once_with_its_last_head() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    let send = script.told_one();
    script.store(&send, 1);
    script.told();
    assert_eq!(synced(&script), 0);
    assert!(script.lane.partition(id).is_some_and(|partition| !partition.is_leaving()));
    assert_eq!(script.lane.known(&key()), Known::Held { number: 0 });
    release(&mut script);
    assert_eq!(script.events(), [was_released()]);
    assert_eq!((synced(&script), script.in_map("released/")), (1, vec![MapRecord::Released(key(), Some(RELEASED))]));
    assert_eq!((script.lane.find(&key()), script.lane.known(&key())), (None, Known::Released(RELEASED)));
    assert!(script.lane.known_keys().any(|known| *known == key()));
    assert!(script.lane.partition(id).is_some_and(|partition| partition.is_leaving() && !partition.is_halted()));
    release(&mut script);
    assert_eq!(script.told(), [], "it was");
    script.pass(60_000);
    assert_eq!(script.told(), [], "it is only a name");
    // The plan of its record stays until another lane has it.
    assert_eq!(script.in_map("plan/").len(), 1);
    script.tell(Input::Forget(key()));
    assert_eq!(script.in_map("plan/"), []);
}

#[test]
fn one_that_the_broker_may_forget_gets_a_marker_before_it_goes() {
    let (mut script, _) = Script::copying();
    script.now.wall_ms += EXPIRATION_MS / 4 * 3 + 1;
    script.pass(500);
    script.told();
    script.keep(|output| matches!(output, Output::InitProducerId { .. }));
    release(&mut script);
    let init = script.told_one();
    assert_eq!(init, Output::InitProducerId { current: Some(script.producer) });
    script.keep(|_| false);
    script.answer(init);
    assert_eq!(script.events().last(), Some(&was_released()));
}

#[test]
fn what_is_in_flight_is_answered_first_and_what_was_never_sent_goes() {
    let (mut script, id) = Script::copying();
    let slots = script.fetch(id, &[1; 7]);
    let sent = script.told();
    release(&mut script);
    assert_eq!(script.told(), [Output::Release(slots[6]), Output::Release(slots[5])]);
    assert_eq!(script.lane.wants_fetch(script.now, id), None);
    for send in &sent[..4] {
        script.store(send, 1);
    }
    assert_eq!(script.events(), []);
    script.store(&sent[4], 1);
    assert_eq!(script.events(), [was_released()]);
    assert_eq!(synced(&script), 5);
}

#[test]
fn one_that_stopped_gets_a_marker_behind_which_nothing_can_come() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    let Output::Send { producer, sequence, .. } = script.told_one() else { panic!("it is sent") };
    script.tell(Input::Stop(id, Halt::SourceDeleted));
    script.told();
    // What was in flight comes after all, and something of somebody else's.
    script.append(id, producer, sequence, 1);
    script.append(id, Producer { id: 99, epoch: 0 }, 0, 1);
    script.keep(|output| matches!(output, Output::InitProducerId { .. } | Output::ReadTarget { .. }));
    release(&mut script);
    let init = script.told_one();
    script.answer(init);
    let read = script.told_one();
    let Output::ReadTarget { partition, from, .. } = read else { panic!("{read:?}") };
    let failed = ReadResult::Failed(crate::io::Failure::Lost);
    script.tell(Input::TargetRead { partition, from, result: failed });
    script.told();
    script.pass(20);
    assert_eq!(script.told_one(), read);
    // Its log begins later by now, then it ends earlier.
    let beyond = |start: i64, end: i64| ReadResult::OutOfRange { start: TargetOffset(start), end: TargetOffset(end) };
    script.tell(Input::TargetRead { partition, from, result: beyond(from.0 + 1, from.0 + 5) });
    script.pass(40);
    let from = from.plus(1);
    assert_eq!(script.told_one(), Output::ReadTarget { partition, from, epoch: -1 });
    script.tell(Input::TargetRead { partition, from, result: beyond(0, from.0 - 1) });
    script.pass(80);
    let from = TargetOffset(from.0 - 1);
    let read = Output::ReadTarget { partition, from, epoch: -1 };
    assert_eq!(script.told_one(), read);
    script.tell(Input::TargetRead { partition, from, result: beyond(0, from.0 + 9) });
    script.pass(160);
    assert_eq!(script.told_one(), read, "it is in range: the epoch was not");
    // The first part has no marker of this epoch.
    let entries = script.mirrors[&partition][from.0 as usize..3].to_vec();
    script.tell(Input::TargetRead { partition, from, result: ReadResult::Entries { entries, next: TargetOffset(3) } });
    let read = script.told_one();
    assert!(matches!(read, Output::ReadTarget { from: TargetOffset(3), .. }), "{read:?}");
    script.answer(read);
    assert_eq!(script.events(), [was_released()]);
    assert_eq!(synced(&script), 0, "the map knows of what was acknowledged when it stopped");
    assert_eq!(script.in_map("halt/").len(), 1);
}

#[test]
fn nothing_is_on_its_way_to_a_mirror_that_is_gone_or_was_never_written_to() {
    let (mut script, id) = Script::copying();
    script.fetch(id, &[1]);
    script.tell(Input::Stop(id, Halt::TargetRecreated));
    script.told();
    let own = script.producer;
    release(&mut script);
    assert_eq!((script.events(), script.producer), (vec![was_released()], own));
    let MapRecord::Head(_, head) = script.in_map("head/").remove(0) else { panic!("a head") };
    assert_eq!(head.cursor.map(|cursor| cursor.sequence), Some(0), "as when it stopped");
    // One that is not in the map.
    let mut script = Script::running();
    script.append(LanePartition(0), Producer { id: 99, epoch: 0 }, 0, 4);
    script.lane.add(script.now, spec("orders"));
    script.tell(Input::Forget(spec("other").key));
    let halted = Event::Halted(LanePartition(0), Halt::TargetNotEmpty { records: 4 });
    assert_eq!(script.events(), [halted]);
    let own = script.producer;
    release(&mut script);
    assert_eq!((script.events(), script.producer), (vec![was_released()], own));
    assert_eq!(script.in_map("head/"), []);
}

#[test]
fn a_partition_that_the_lane_knows_nothing_of_is_let_go_of_by_its_name() {
    let mut script = Script::running();
    release(&mut script);
    assert_eq!(script.events(), [was_released()]);
    assert_eq!(
        script.in_map(""),
        [MapRecord::Ids([7].into()), script.in_map("link").remove(0), MapRecord::Released(key(), Some(RELEASED)),]
    );
    assert_eq!(script.lane.known(&key()), Known::Released(RELEASED));
}

/// A partition with five ranges, two of them in a chunk, that was let go of.
fn released() -> Script {
    let (mut script, id) = Script::copying();
    script.copy_behind_holes(id, 5);
    release(&mut script);
    assert_eq!(script.events(), [was_released()]);
    assert_eq!(script.in_map("chunk/").len(), 1);
    script
}

#[test]
fn what_is_left_of_one_that_another_lane_has_is_taken_out() {
    let mut script = released();
    script.tell(Input::Forget(key()));
    assert_eq!(script.events(), [Event::Forgotten(key())]);
    assert_eq!(script.in_map("").len(), 2, "the link, and the lane's ids: {:?}", script.in_map(""));
    assert_eq!(script.lane.known(&key()), Known::Nothing);
    script.tell(Input::Forget(key()));
    assert_eq!(script.told(), [], "there is nothing of it");
}

#[test]
fn what_is_held_or_on_its_way_is_not_forgotten() {
    let (mut script, _) = Script::copying();
    script.tell(Input::Forget(key()));
    assert_eq!(script.told(), []);
    assert_eq!(script.in_map("head/").len(), 1);
    script.keep(|output| matches!(output, Output::WriteMap(_)));
    release(&mut script);
    let write = script.told_one();
    script.tell(Input::Forget(key()));
    script.tell(Input::Gone(key()));
    script.tell(Input::Adopt(key(), Box::new(Adoption { number: 9, ..Adoption::default() })));
    script.keep(|_| false);
    script.answer(write);
    assert_eq!(script.events(), [was_released()]);
    assert_eq!(script.in_map("released/").len(), 1);
}

#[test]
fn one_that_comes_is_written_down_before_it_is_copied() {
    let mut script = released();
    let mut adoption = Adoption { number: 5, earlier: vec![3], ..Adoption::default() };
    for record in script.in_map("") {
        match record {
            MapRecord::Head(_, head) => adoption.head = Some(head),
            MapRecord::Chunk(_, number, chunk) => drop(adoption.chunks.insert(number, chunk)),
            _ => {}
        }
    }
    adoption.plans = vec![adoption.head.as_ref().and_then(|head| head.cursor).expect("it was copied")];
    adoption.halt = Some(("refused".into(), "words".into()));
    script.keep(|output| matches!(output, Output::WriteMap(_)));
    script.tell(Input::Adopt(key(), Box::new(adoption.clone())));
    let write = script.told_one();
    script.tell(Input::Adopt(key(), Box::new(Adoption { number: 9, ..Adoption::default() })));
    script.tell(Input::Forget(key()));
    release(&mut script);
    assert_eq!(script.told(), [], "it is on its way");
    script.keep(|_| false);
    script.answer(write);
    assert_eq!(script.events(), [Event::Forgotten(key()), Event::Adopted(key())]);
    assert_eq!(script.lane.known(&key()), Known::Held { number: 5 });
    let kinds = ["head/", "chunk/", "plan/", "halt/", "came/", "released/"];
    assert_eq!(kinds.map(|kind| script.in_map(kind).len()), [1, 1, 1, 1, 1, 0]);
    // It is copied from there, under another number, and the map says that it goes on.
    let log = script.mirrors.remove(&LanePartition(0)).expect("it was written to");
    let id = script.lane.add(script.now, spec("orders")).expect("it runs");
    script.mirrors.insert(id, log);
    script.pass(20);
    script.tell(Input::Forget(spec("other").key));
    script.pass(1_000);
    let told = script.events();
    assert_eq!(told, [Event::Copying(id, SourceOffset(10))]);
    assert_eq!(kinds.map(|kind| script.in_map(kind).len()), [1, 1, 0, 0, 1, 0]);
    // Markers of the lane that it was in may still come, also once it is begun anew.
    let resolution = Resolution { number: 1, exit: Exit::Resync, state: "diverged".into(), at_ms: 0 };
    script.tell(Input::Resolve { partition: id, resolution, spec: spec("orders") });
    script.pass(100);
    script.told();
    script.mark(Producer { id: 3, epoch: 0 }, Member::Data(id));
    script.pass(11_000);
    assert_eq!(script.events(), [Event::Resolving(id), Event::Copying(id, SourceOffset(0))]);
}

#[test]
fn a_partition_that_is_nowhere_any_more_leaves_the_map_once_it_stopped() {
    let (mut script, id) = Script::copying();
    script.tell(Input::Gone(key()));
    assert_eq!((script.told(), script.in_map("head/").len()), (vec![], 1), "it is copied");
    script.tell(Input::Stop(id, Halt::SourceDeleted));
    script.told();
    script.tell(Input::Gone(key()));
    assert_eq!(script.events(), [Event::Forgotten(key())]);
    assert_eq!(script.in_map("").len(), 2, "{:?}", script.in_map(""));
    assert_eq!((script.lane.find(&key()), script.lane.known(&key())), (None, Known::Nothing));
}
