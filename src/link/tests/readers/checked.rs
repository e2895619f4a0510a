//! `check`: every finding with what to do, and nothing changed.

use std::collections::BTreeSet;

use twinlog_core::config::{ExistingTopics, LinkConfig};
use twinlog_core::report::{Check, CheckReport, Side, Verdict};
use twinlog_link::check::{Addresses, check};
use twinlog_link::supervisor::LinkSetup;

use crate::kit::{addresses, cluster, create, nowhere, setup};
use crate::written::{Head0, Written};

async fn run(setup: &LinkSetup) -> CheckReport {
    let report = check(setup, &Addresses { source: addresses(), target: addresses() }, &[]).await;
    for check in &report.checks {
        let needs_help = check.verdict != Verdict::Ok;
        assert_eq!(check.what_to_do.is_some(), needs_help, "{check:?}");
    }
    report
}

fn found<'a>(report: &'a CheckReport, side: Option<Side>, subject: &str) -> Vec<&'a Check> {
    report.checks.iter().filter(|check| check.side == side && check.subject == subject).collect()
}

#[track_caller]
fn assert_one(report: &CheckReport, side: Option<Side>, subject: &str, verdict: Verdict, words: &str) {
    let found = found(report, side, subject);
    let fits = found.iter().any(|check| check.verdict == verdict && check.finding.contains(words));
    assert!(fits, "no {verdict:?} of {subject} with {words:?} in {found:#?}");
}

#[tokio::test]
async fn a_link_that_has_never_run_is_looked_at_and_nothing_is_made() {
    let link = setup("looked-at", "looked-at.orders");
    create(&link.source, "looked-at.orders", 3).await;
    create(&link.target, "looked-at.orders.twin", 3).await;
    let before: BTreeSet<String> = link.target.refresh().await.unwrap().topics.keys().cloned().collect();
    let report = run(&link).await;
    let after: BTreeSet<String> = link.target.refresh().await.unwrap().topics.keys().cloned().collect();
    assert_eq!(after.difference(&before).filter(|topic| topic.contains("looked-at")).count(), 0);

    let (source, target) = (Some(Side::Source), Some(Side::Target));
    assert_one(&report, None, "two clusters", Verdict::Failed, "source and target are the same cluster");
    for side in [source, target] {
        assert_one(&report, side, "reachable", Verdict::Ok, "1 address and 1 broker answer");
        assert_one(&report, side, "versions", Verdict::Ok, "Fetch v17");
        assert_one(&report, side, "rights", Verdict::Ok, "Read");
    }
    assert_one(&report, source, "include", Verdict::Ok, "1 topic with 3 partitions selected");
    assert_one(&report, target, "map", Verdict::Ok, "topic __twinlog.looked-at.map will be created");
    assert_one(&report, target, "existing", Verdict::Ok, "0 mirrors of this link, 1 empty topic to begin with");
    assert_one(&report, target, "batch size", Verdict::Ok, "1,048,588 bytes");
    assert_one(&report, target, "settings", Verdict::Warning, "message.timestamp.after.max.ms=3600000");
    assert_one(&report, target, "replicas", Verdict::Warning, "1 by the brokers' default");
    assert_one(&report, target, "room", Verdict::Ok, "0 bytes to copy");
    // To look for the group's coordinator would make a topic.
    assert_one(&report, target, "group", Verdict::Warning, "Read is allowed on group twinlog.looked-at");
    assert!(!after.contains("__consumer_offsets"));
    assert_one(&report, target, "transactional ids", Verdict::Ok, "no authorizer");
    assert_one(&report, target, "producer expiry", Verdict::Ok, "86,400,000");
    let failed = report.checks.iter().filter(|check| check.verdict == Verdict::Failed);
    assert_eq!(failed.map(|check| check.subject.as_str()).collect::<Vec<_>>(), ["two clusters"]);
}

#[tokio::test]
async fn a_topic_with_somebody_elses_records_is_refused_or_named() {
    let written = Written::good("taken", Head0::Fresh).await;
    let own = run(&written.setup).await;
    let target = Some(Side::Target);
    assert_one(&own, target, "existing", Verdict::Ok, "1 mirror of this link");
    assert_one(&own, target, "map", Verdict::Failed, "whose source is cluster a, this is ");

    // To another link the same topics are somebody else's.
    let other = setup("other", &written.topic);
    assert_one(&run(&other).await, target, "existing", Verdict::Failed, "taken.orders.twin holds 9 records");
    let config = LinkConfig { existing: ExistingTopics::Append, ..other.config.clone() };
    let appending = LinkSetup { config, ..other };
    assert_one(&run(&appending).await, target, "existing", Verdict::Warning, "taken.orders.twin holds 9 records");
}

#[tokio::test]
async fn what_the_rules_cannot_take_is_named() {
    let mut link = setup("ruled", "ruled\\..*");
    create(&link.source, "ruled.a", 1).await;
    create(&link.source, "ruled.b", 1).await;
    link.config.topics.include.push("absent.*".parse().unwrap());
    link.config.topics.rename = "one".parse().unwrap();
    link.config.replication_factor = Some(3);
    let report = run(&link).await;
    assert_one(&report, Some(Side::Source), "include", Verdict::Warning, "`absent.*` matches no topic");
    assert_one(&report, None, "names", Verdict::Failed, "source topic ruled.a would become one, and so would ruled.b");
    assert_one(&report, Some(Side::Target), "replicas", Verdict::Failed, "3 by the link's `replication_factor`");
}

#[tokio::test]
async fn every_address_that_does_not_answer_is_named() {
    let mut link = setup("halved", "halved");
    let mut some = addresses();
    some.extend(nowhere());
    link.target = cluster(Side::Target, nowhere());
    let report = check(&link, &Addresses { source: some, target: nowhere() }, &[]).await;
    assert_one(&report, Some(Side::Source), "reachable", Verdict::Warning, "source 127.0.0.1:1: connection refused");
    assert_one(&report, Some(Side::Target), "reachable", Verdict::Failed, "target 127.0.0.1:1: connection refused");
    assert_one(&report, Some(Side::Source), "include", Verdict::Warning, "`halved` matches no topic");
}
