//! `translate`, `status` and `verify` with both sides there.

use std::sync::{Arc, Mutex};

use twinlog_client::admin::TopicPartition;
use twinlog_core::map_record::{FORMAT, MapRecord, PartitionKey};
use twinlog_core::report::{Difference, Failure, FailureKind, PartitionVerdict, Side, Translation};
use twinlog_core::status::{PartitionStatus, Standing};
use twinlog_link::status::status;
use twinlog_link::supervisor::LinkSetup;
use twinlog_link::translate::{Question, translate};
use twinlog_link::verify::verify;

use crate::kit::{create, setup};
use crate::written::{Head0, LANE, NEXT_TARGET, SYNCED, Written};

pub(crate) async fn ask(setup: &LinkSetup, side: Side, topic: &str, offset: i64) -> Result<Translation, Failure> {
    let question = Question { side, topic: topic.to_owned(), partition: 0, offset };
    Ok(translate(setup, &question).await?.answer)
}

async fn row(written: &Written) -> Arc<PartitionStatus> {
    let seen = status(&written.setup).await.unwrap();
    assert_eq!(seen.words, [] as [&str; 0]);
    let [row] = seen.status.partitions.try_into().unwrap();
    row
}

async fn verdict(written: &Written) -> PartitionVerdict {
    let report = verify(&written.setup, &[], &|_| {}).await.unwrap();
    let [verdict] = report.partitions.try_into().unwrap();
    verdict
}

async fn translates(written: &Written) {
    let forward = async |offset| ask(&written.setup, Side::Source, &written.topic, offset).await.unwrap();
    assert_eq!(forward(0).await, Translation::Exact { offset: 1 });
    assert_eq!(forward(4).await, Translation::Exact { offset: 5 });
    assert_eq!(forward(6).await, Translation::NextRange { offset: 6 }, "aborted");
    assert_eq!(forward(11).await, Translation::Exact { offset: 8 });
    assert_eq!(forward(SYNCED).await, Translation::AtEnd { offset: NEXT_TARGET });
    assert_eq!(forward(SYNCED + 1).await, Translation::NotYet { synced: SYNCED });
    let back = async |offset| ask(&written.setup, Side::Target, &written.mirror, offset).await.unwrap();
    assert_eq!(back(0).await, Translation::NextRange { offset: 0 }, "the marker");
    assert_eq!(back(7).await, Translation::Exact { offset: 10 });
    assert_eq!(back(NEXT_TARGET).await, Translation::AtEnd { offset: SYNCED });
}

async fn is_equal(written: &Written) {
    let row = row(written).await;
    assert_eq!((row.standing, row.state.as_str(), row.lag()), (Standing::CaughtUp, "caught-up", Some(0)), "{row:?}");
    assert_eq!((row.synced, row.last_stable_offset, row.high_watermark), (Some(12), Some(12), Some(12)));
    let verdict = verdict(written).await;
    assert_eq!((verdict.from, verdict.to, verdict.difference), (0, SYNCED, None));
    assert_eq!((verdict.batches_by_checksum, verdict.batches_by_record, verdict.records), (2, 0, 8));
}

#[tokio::test]
async fn a_map_that_is_behind_is_completed_by_the_mirrors_log() {
    let written = Written::good("fresh", Head0::Fresh).await;
    translates(&written).await;
    is_equal(&written).await;
}

#[tokio::test]
async fn older_ranges_come_out_of_chunks() {
    let written = Written::good("chunks", Head0::Complete).await;
    translates(&written).await;
    is_equal(&written).await;
}

#[tokio::test]
async fn at_each_moment_of_a_move_the_answers_are_the_same() {
    let written = Written::good("moved", Head0::Complete).await;
    let lane = async || row(&written).await.lane;
    assert_eq!(lane().await, 1);
    written.release().await;
    translates(&written).await;
    is_equal(&written).await;
    assert_eq!(lane().await, 1, "until the other one has it");
    written.adopt().await;
    translates(&written).await;
    is_equal(&written).await;
    assert_eq!(lane().await, 0);
    written.forget().await;
    translates(&written).await;
    is_equal(&written).await;
    // A late marker of the lane that it came from.
    written.fence(NEXT_TARGET).await;
    let asked = ask(&written.setup, Side::Source, &written.topic, SYNCED).await.unwrap();
    assert_eq!(asked, Translation::AtEnd { offset: NEXT_TARGET + 1 });
    assert_eq!(row(&written).await.state, "caught-up");
}

#[tokio::test]
async fn a_new_owners_marker_is_no_foreign_write() {
    let written = Written::good("marked", Head0::Fresh).await;
    written.fence(NEXT_TARGET).await;
    is_equal(&written).await;
    let end = ask(&written.setup, Side::Source, &written.topic, SYNCED).await.unwrap();
    assert_eq!(end, Translation::AtEnd { offset: NEXT_TARGET + 1 });
}

#[tokio::test]
async fn somebody_elses_record_is_named_by_both_offsets() {
    let written = Written::good("foreign", Head0::Fresh).await;
    assert_eq!(written.foreign().await, NEXT_TARGET);
    let row = row(&written).await;
    assert_eq!((row.standing, row.state.as_str()), (Standing::Halted, "diverged"), "{row:?}");
    assert!(row.detail.as_deref().unwrap().contains("expected offset 9, found 9"));
    let verdict = verdict(&written).await;
    let what = "the target has a batch that this link did not write".to_owned();
    let wanted = Difference { source_offset: SYNCED, target_offset: NEXT_TARGET, what };
    assert_eq!((verdict.records, verdict.difference), (8, Some(wanted)));
    let inside = ask(&written.setup, Side::Source, &written.topic, 10).await.unwrap();
    assert_eq!(inside, Translation::Exact { offset: 7 }, "what was copied still is where it was");
}

#[tokio::test]
async fn a_record_that_differs_is_named_by_both_offsets() {
    let written = Written::new("differs", Head0::Complete, [&["a", "b", "c", "d", "e"], &["f", "G", "h"]]).await;
    let verdict = verdict(&written).await;
    let difference = verdict.difference.unwrap();
    assert_eq!((difference.source_offset, difference.target_offset), (10, 7), "{difference:?}");
    assert!(difference.what.starts_with("value: 1 bytes with hash "), "{difference:?}");
    assert_eq!((verdict.to, verdict.batches_by_checksum, verdict.batches_by_record), (10, 1, 1));
}

#[tokio::test]
async fn what_a_log_no_longer_has_is_clamped_and_not_compared() {
    let written = Written::good("trimmed", Head0::Fresh).await;
    let at = TopicPartition::new(written.mirror.as_str(), 0);
    written.setup.target.delete_records(&[(at, 4)].into()).await.unwrap();
    let early = ask(&written.setup, Side::Source, &written.topic, 1).await.unwrap();
    assert_eq!(early, Translation::Clamped { offset: 4 });
    let verdict = verdict(&written).await;
    assert_eq!((verdict.from, verdict.records, verdict.difference), (3, 5, None));

    let at = TopicPartition::new(written.topic.as_str(), 0);
    written.setup.source.delete_records(&[(at, 9)].into()).await.unwrap();
    let early = ask(&written.setup, Side::Target, &written.mirror, 5).await.unwrap();
    assert_eq!(early, Translation::Clamped { offset: 9 });
    let verdict = self::verdict(&written).await;
    assert_eq!((verdict.from, verdict.records, verdict.difference), (9, 3, None));
}

#[tokio::test]
async fn progress_counts_up_to_the_whole() {
    let written = Written::good("progress", Head0::Complete).await;
    let seen = Mutex::new(Vec::new());
    let progress = |progress: twinlog_core::report::VerifyProgress| seen.lock().unwrap().push(progress);
    verify(&written.setup, &[written.topic.parse().unwrap()], &progress).await.unwrap();
    let seen = seen.into_inner().unwrap();
    let last = seen.last().unwrap();
    assert_eq!((last.done, last.total), (12, 12), "{seen:?}");
    assert!(seen.is_sorted_by_key(|progress| progress.done));
    let failure = verify(&written.setup, &["nothing".parse().unwrap()], &|_| {}).await.unwrap_err();
    assert_eq!(failure.what, "no mirrored topic of link progress matches nothing");
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let written = Written::good("asked", Head0::Fresh).await;
    let unknown = ask(&written.setup, Side::Source, "asked.order", 0).await.unwrap_err();
    assert_eq!(unknown.kind, FailureKind::Difference);
    assert_eq!(unknown.advice, ["the nearest source topics that are: asked.orders"]);
    let never = setup("never", "asked.orders");
    let failure = ask(&never, Side::Source, "asked.orders", 0).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Difference);
    assert_eq!(failure.what, "link never has never run: the target has no topic __twinlog.never.map");
    let seen = status(&never).await.unwrap();
    assert_eq!(seen.words, ["link never has never run: nothing is copied so far"]);
    let row = &seen.status.partitions[0];
    assert_eq!(
        (row.state.as_str(), row.synced, row.high_watermark),
        ("target-not-empty", None, Some(12)),
        "the other's"
    );
    assert_eq!(row.target_topic, "asked.orders.twin");
}

#[tokio::test]
async fn a_newer_map_is_refused_and_a_damaged_one_named() {
    let written = Written::good("newer", Head0::Fresh).await;
    written.write_raw(LANE, &[(b"head/newer.orders/0", Some(&[FORMAT + 1]))]).await;
    let failure = ask(&written.setup, Side::Source, &written.topic, 0).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused, "{failure:?}");
    assert!(failure.what.ends_with("record \"head/newer.orders/0\": written by a newer twinlog"), "{failure:?}");

    let written = Written::good("damaged", Head0::Fresh).await;
    written.write_raw(LANE, &[(b"head/damaged.orders/0", Some(&[FORMAT]))]).await;
    let failure = ask(&written.setup, Side::Source, &written.topic, 0).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Difference, "{failure:?}");
    assert!(failure.what.contains("target __twinlog.damaged.map:"), "{failure:?}");
}

#[tokio::test]
async fn a_partition_that_stopped_before_it_began_says_why() {
    let written = Written::good("unbegun", Head0::Fresh).await;
    let halt = Some(("target-not-empty".to_owned(), "words".to_owned()));
    let other = setup("unbegun", "unbegun.other");
    create(&other.source, "unbegun.other", 1).await;
    let key = PartitionKey { topic: "unbegun.other".into(), partition: 0 };
    written.write(&[MapRecord::Halt(key, halt)]).await;
    let seen = status(&other).await.unwrap();
    let states: Vec<_> = seen.status.partitions.iter().map(|row| (row.topic.as_str(), row.state.as_str())).collect();
    assert_eq!(states, [("unbegun.orders", "not-selected"), ("unbegun.other", "target-not-empty")]);
}
