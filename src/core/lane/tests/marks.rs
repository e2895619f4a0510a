//! What the map is told of a copy, and when.

use alloc::vec::Vec;

use super::script::Script;
use crate::batch::testing::batch;
use crate::batch::{Aborted, BatchKind, FetchedBatch, Slot};
use crate::ids::{Producer, SourceOffset};
use crate::io::{FetchResult, Input, LanePartition, Output};
use crate::map_record::{Head, MapRecord};

fn heads(script: &Script) -> Vec<Head> {
    let head = |record| if let MapRecord::Head(_, head) = record { Some(head) } else { None };
    script.in_map("head/").into_iter().filter_map(head).collect()
}

fn synced(script: &Script) -> i64 {
    heads(script)[0].extent.synced.0
}

fn copy(script: &mut Script, id: LanePartition, records: &[i32]) {
    script.told();
    script.fetch(id, records);
    let mut left = records.iter();
    loop {
        let sent: Vec<_> = script.told().into_iter().filter(|output| matches!(output, Output::Send { .. })).collect();
        if sent.is_empty() {
            return;
        }
        for send in sent {
            script.store(&send, *left.next().expect("one a batch"));
        }
    }
}

#[test]
fn progress_is_written_down_at_the_next_mark() {
    let (mut script, id) = Script::copying();
    script.pass(1_000);
    copy(&mut script, id, &[1]);
    assert_eq!(synced(&script), 0);
    script.pass(1_000);
    assert_eq!(synced(&script), 1);
    let written = script.map.len();
    script.fetch(id, &[]);
    script.pass(60_000);
    assert_eq!(script.map.len(), written, "nothing moved");
}

#[test]
fn what_was_passed_over_at_the_sources_end_is_written_down_after_200_ms() {
    // All of an aborted transaction: no record comes of it, and the mirror does not tell that it was seen.
    let (mut script, id) = Script::copying();
    script.pass(999);
    let producer = Producer { id: 5, epoch: 0 };
    let meta = batch(producer, 0, 0, 0, 3);
    let batches = alloc::vec![FetchedBatch {
        slot: Slot(1),
        kind: BatchKind::Records(twinlog_wire::batch::BatchMeta { attributes: 0x10, ..meta }),
    }];
    let aborted = alloc::vec![Aborted { producer_id: 5, first_offset: SourceOffset(0) }];
    let (end, log_start) = (SourceOffset(3), SourceOffset(0));
    let result = FetchResult::Batches { high_watermark: end, last_stable: end, log_start, batches, aborted };
    script.pass(501);
    script.tell(Input::Fetched { partition: id, position: SourceOffset(0), result });
    script.pass(199);
    assert_eq!(synced(&script), 0);
    script.pass(1);
    assert_eq!(synced(&script), 3);
}

#[test]
fn plans_leave_the_map_when_no_head_needs_them() {
    let (mut script, id) = Script::copying();
    copy(&mut script, id, &[1]);
    assert_eq!(script.in_map("plan/").len(), 1);
    script.pass(1_000);
    assert_eq!(script.in_map("plan/").len(), 0, "the head knows");
    // A record with three plans stays while one of them is needed. Of the second batch the head itself says it.
    script.told();
    script.fetch_behind_holes(id, 3);
    let sent = script.told();
    for (row, plan_records) in [1, 0, 0].into_iter().enumerate() {
        script.store(&sent[row], 1);
        script.pass(1_000);
        assert_eq!(script.in_map("plan/").len(), plan_records, "{row}");
    }
}

#[test]
fn a_record_has_the_plans_of_all_that_came_at_once() {
    let (mut script, id) = Script::copying();
    let other = script.add("other");
    script.told();
    let fetched = |partition, slot: u64| {
        let nobody = Producer { id: -1, epoch: -1 };
        let kind = BatchKind::Records(batch(nobody, 0, 0, 0, 1));
        let batches = alloc::vec![FetchedBatch { slot: Slot(slot), kind }];
        let (end, log_start) = (SourceOffset(1), SourceOffset(0));
        let (high_watermark, last_stable, aborted) = (end, end, alloc::vec![]);
        let result = FetchResult::Batches { high_watermark, last_stable, log_start, batches, aborted };
        Input::Fetched { partition, position: SourceOffset(0), result }
    };
    script.lane.handle(script.now, fetched(id, 1));
    script.tell(fetched(other, 2));
    assert_eq!(script.in_map("plan/").len(), 1);
    let sent = script.told();
    script.store(&sent[0], 1);
    script.store(&sent[1], 1);
    script.pass(1_000);
    assert_eq!(script.in_map("plan/").len(), 0);
}

#[test]
fn older_ranges_leave_the_head_in_chunks_and_the_map_when_nothing_is_left_of_them() {
    // Behind each hole a range begins. A chunk is two of them; a head has three at most.
    let (mut script, id) = Script::copying();
    let mut seen = Vec::new();
    for _ in 0..6 {
        script.told();
        script.fetch_behind_holes(id, 1);
        let sent = script.told();
        script.store(&sent[0], 1);
        script.pass(1_000);
        let head = &heads(&script)[0];
        seen.push((script.in_map("chunk/").len() as u64, head.ranges.len()));
        assert_eq!((head.first_chunk, head.chunks), (0, seen[seen.len() - 1].0));
    }
    assert_eq!(seen, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 2)]);
    // Two records and two holes a chunk.
    script.source_start = 4;
    copy(&mut script, id, &[1]);
    script.pass(1_000);
    assert_eq!(script.in_map("chunk/").len(), 2, "the mirror has them");
    let left = |script: &Script| (script.in_map("chunk/").len(), heads(script)[0].first_chunk);
    // Where a mirror begins is heard from who looks after it, and from who writes to it.
    script.mirror_start = 3;
    script.pass(12_000);
    assert_eq!(left(&script), (1, 1));
    (script.source_start, script.mirror_start) = (8, 5);
    copy(&mut script, id, &[1]);
    script.pass(1_000);
    assert_eq!(left(&script), (0, 2));
}
