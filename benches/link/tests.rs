//! What the stubs let through, and what they must not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use twinlog_sandbox::TopicSpec;

use super::arena::Arena;
use super::cells::{self, Cell};
use super::contender::ASKED_MAX;
use super::report::Report;
use super::stub::{Stubs, TOPIC};
use crate::ask::ask;
use crate::bare::{self, Job};
use crate::net::Stream;

/// Long enough on any machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: usize = 3;
const BATCHES: u64 = 200;

fn cell() -> Cell {
    let base = cells::all().remove(0);
    Cell { batch_bytes: 5_000, partitions: PARTITIONS, ..base }
}

/// Stubs, and the bare loop at work between them.
fn begin(cell: &Cell, damage: impl FnOnce(&Arena)) -> Stubs {
    let arena = Arc::new(Arena::new(cell));
    damage(&arena);
    let bytes = BATCHES * (arena.batch_len() * PARTITIONS) as u64;
    let stubs = Stubs::start(cell, &arena, bytes, None);
    let target = stubs.target.sandbox();
    target.create_topic(&TopicSpec::new(TOPIC, PARTITIONS as i32)).unwrap();
    let job = Job {
        source: stubs.source_address(),
        target: stubs.target_address(),
        topic_id: stubs.source.topic_id().into_bytes(),
        mirror_id: target.topic_id(TOPIC).unwrap().into_bytes(),
        partitions: PARTITIONS,
        asked_max: ASKED_MAX,
    };
    // It ends with an error when the stubs do.
    thread::spawn(move || drop(bare::copy(&job, None)));
    stubs
}

/// The end of a partition, as ListOffsets tells it.
fn end(address: SocketAddr, partition: i32) -> i64 {
    let asked = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(-1);
    let name = TopicName(StrBytes::from_static_str(TOPIC));
    let topic = ListOffsetsTopic::default().with_name(name).with_partitions(vec![asked]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let mut stream = Stream::dial(address, None).unwrap();
    ask(&mut stream, 7, &request).unwrap().topics[0].partitions[0].offset
}

#[test]
fn a_copy_through_the_stubs_is_complete_and_both_logs_have_the_same_end() {
    let cell = cell();
    let stubs = begin(&cell, |_| {});
    assert!(stubs.source.wait_for_readers(PARTITIONS, PATIENCE), "nobody asks for records");
    assert_eq!(end(stubs.source_address(), 1), 0, "a source that shows nothing is empty");
    stubs.source.release();
    assert_eq!(stubs.wait(PATIENCE), Ok(true));
    assert_eq!(stubs.target.incomplete(), None);
    // Four records of about 1 KB in each batch.
    let records = i64::try_from(BATCHES).unwrap() * 4;
    assert_eq!(end(stubs.source_address(), 1), records);
    assert_eq!(end(stubs.target_address(), 1), records);
}

#[test]
fn a_copy_with_round_trips_is_complete() {
    let delay = Duration::from_millis(2);
    let cell = Cell { source_delay: delay, target_delay: delay, ..cell() };
    let stubs = begin(&cell, |_| {});
    stubs.source.release();
    assert_eq!(stubs.wait(PATIENCE), Ok(true));
    assert_eq!(stubs.target.incomplete(), None);
}

#[test]
fn a_damaged_batch_is_noticed() {
    let stubs = begin(&cell(), |arena| arena.lock(2)[100] ^= 1);
    stubs.source.release();
    let trouble = stubs.wait(PATIENCE).expect_err("the damage is noticed");
    assert!(trouble.contains("checksum"), "{trouble}");
}

#[test]
fn cells_are_found_by_name() {
    let found = cells::named(&["tls".to_owned(), "base".to_owned()]).unwrap();
    assert_eq!(found.iter().map(|cell| cell.name).collect::<Vec<_>>(), ["base", "tls"]);
    assert!(cells::named(&["bse".to_owned()]).unwrap_err().contains("`bse`"));
}

#[test]
fn the_committed_result_can_be_compared_with() {
    let committed = Report::newest(&crate::results()).unwrap();
    for cell in cells::all().iter().filter(|cell| cell.quick_bytes.is_some()) {
        let found = committed.cells.iter().find(|found| found.name == cell.name);
        assert!(found.and_then(|found| found.ratio_to_floor()).is_some(), "{}", cell.name);
    }
    assert_eq!(super::worse(&committed, &committed.cells), Ok(Vec::new()));
    let mut half = committed.clone();
    let rows = half.cells.iter_mut().flat_map(|cell| &mut cell.rows);
    rows.for_each(|row| row.ratio_to_floor.median = row.ratio_to_floor.min / 2.1);
    assert_eq!(super::worse(&half, &committed.cells).unwrap().len(), committed.cells.len());
}
