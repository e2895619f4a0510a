//! One side out of reach, or a topic of it gone.

use twinlog_core::report::{FailureKind, Side, Translation};
use twinlog_core::status::Standing;
use twinlog_link::status::status;
use twinlog_link::supervisor::LinkSetup;
use twinlog_link::verify::verify;

use crate::kit::{cluster, nowhere};
use crate::looked::ask;
use crate::written::{Head0, Written};

#[tokio::test]
async fn with_the_source_gone_the_target_answers_alone() {
    let written = Written::good("alone", Head0::Fresh).await;
    let setup = LinkSetup { source: cluster(Side::Source, nowhere()), ..written.setup.clone() };
    let forward = ask(&setup, Side::Source, &written.topic, 10).await.unwrap();
    assert_eq!(forward, Translation::Exact { offset: 7 });
    let back = ask(&setup, Side::Target, &written.mirror, 7).await.unwrap();
    assert_eq!(back, Translation::Exact { offset: 10 });

    let seen = status(&setup).await.unwrap();
    let row = &seen.status.partitions[0];
    assert_eq!((row.standing, row.synced, row.high_watermark), (Standing::Waiting, Some(12), None));
    assert!(seen.words[0].starts_with("the source cannot be asked, so its columns are empty: source"), "{seen:?}");

    let failure = verify(&setup, &[], &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::OutOfReach);
    assert!(failure.what.starts_with("source "), "{failure:?}");
}

#[tokio::test]
async fn with_the_target_gone_nothing_is_known() {
    let written = Written::good("headless", Head0::Fresh).await;
    let setup = LinkSetup { target: cluster(Side::Target, nowhere()), ..written.setup.clone() };
    for failure in [
        ask(&setup, Side::Source, &written.topic, 10).await.unwrap_err(),
        status(&setup).await.map(|_| ()).unwrap_err(),
        verify(&setup, &[], &|_| {}).await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(failure.kind, FailureKind::OutOfReach);
        assert!(failure.what.starts_with("target "), "{failure:?}");
    }
}

#[tokio::test]
async fn a_mirror_that_was_deleted_is_named() {
    let written = Written::good("deleted", Head0::Fresh).await;
    written.setup.target.delete_topics(std::slice::from_ref(&written.mirror)).await.unwrap();
    let failure = ask(&written.setup, Side::Source, &written.topic, 10).await.unwrap_err();
    assert!(failure.what.starts_with("target topic deleted.orders.twin was deleted"), "{failure:?}");
    let seen = status(&written.setup).await.unwrap();
    assert_eq!(seen.status.partitions[0].state, "target-recreated");
    let report = verify(&written.setup, &[], &|_| {}).await.unwrap();
    let difference = report.partitions[0].difference.clone().unwrap();
    assert_eq!(difference.what, "the target topic was deleted");
}

#[tokio::test]
async fn a_source_topic_that_was_deleted_is_named() {
    let written = Written::good("lost", Head0::Fresh).await;
    written.setup.source.delete_topics(std::slice::from_ref(&written.topic)).await.unwrap();
    let forward = ask(&written.setup, Side::Source, &written.topic, 10).await.unwrap();
    assert_eq!(forward, Translation::Exact { offset: 7 });
    let seen = status(&written.setup).await.unwrap();
    assert_eq!(seen.status.partitions[0].state, "source-deleted");
    let report = verify(&written.setup, &[], &|_| {}).await.unwrap();
    let difference = report.partitions[0].difference.clone().unwrap();
    assert_eq!(difference.what, "the source topic was deleted, or deleted and made again");
}
