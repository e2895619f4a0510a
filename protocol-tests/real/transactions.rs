//! Transactions on the source: consumers of the mirror see what was committed, in the order of the log, and nothing of
//! what is still open.

use twinlog_testcontainers::{At, Isolation, Produce, eventually};

use crate::ask::Load;
use crate::map::assert_map;
use crate::pair::{LONG, Link, SHARED, assert_runs, drain, scaled};
use crate::resolving::row;

const PRODUCERS: u64 = 4;
const RECORDS: u64 = 7;

/// Given producers whose transactions lie across each other in the same partitions, some 30 % of them aborted, with
/// plain records in between, when a link copies along with them, then the committed records are there once and in
/// order.
#[test]
fn transactions_that_lie_across_each_other_are_told_apart() {
    let transactions = scaled(500, 25_000);
    let link = Link::new(&SHARED, "crossed", "{ include: [crossed] }", &[]);
    link.source().create_topic("crossed", 3, &[]).expect("the topic is created");
    let bootstrap = || SHARED.source.bootstrap_text();
    let mut twinlog = link.run("along");
    let plain = Load::start(bootstrap(), "crossed-plain", &Produce::endless("crossed").rate(100));
    let of_producer = |number: u64| {
        let (id, count) = (format!("crossed-{number}"), transactions * RECORDS);
        // Every third, and of one producer every other.
        let abort_every = if number == 0 { 2 } else { 3 };
        let produce = Produce::new("crossed", count).seed(number + 2).batches(500, 0);
        (count, Load::start(bootstrap(), &id, &produce.transactions(&id, RECORDS, abort_every)))
    };
    let loads: Vec<_> = (0..PRODUCERS).map(of_producer).collect();
    let produced: Vec<_> = loads.into_iter().map(|(count, load)| load.finished(count)).collect();
    let plain = plain.stop().acked_total();
    assert_runs(&mut twinlog);
    drain(twinlog);

    link.catch_up();

    let aborted: u64 = produced.iter().map(|one| one.aborts).sum();
    let share = aborted * 100 / (PRODUCERS * transactions);
    assert!((30..45).contains(&share), "{share} % of all transactions were aborted");
    let committed: u64 = produced.iter().map(|one| one.committed_total()).sum();
    assert_eq!(link.assert_twins("crossed", "crossed"), plain + committed);
    assert_map(&link, "crossed", "crossed");
    link.verify();
}

/// Given one transaction of 50 000 records that was committed, and one that was aborted, over several partitions, when
/// they are mirrored, then all records of the one are there and none of the other.
#[test]
fn a_large_transaction_is_copied_as_a_whole() {
    let count = scaled(50_000, 1_000_000);
    let link = Link::new(&SHARED, "vast", "{ include: [vast] }", &[]);
    link.source().create_topic("vast", 3, &[]).expect("the topic is created");
    let produced = link.source().produce(&Produce::new("vast", 2 * count).transactions("vast", count, 2));
    let produced = produced.expect("produced");
    assert_eq!((produced.aborts, produced.committed_total()), (1, count));

    link.catch_up();

    assert_eq!(link.assert_twins("vast", "vast"), count);
    assert_map(&link, "vast", "vast");
    link.verify();
}

/// Given a transaction that stays open with plain records behind it, when a link copies, then the mirror has what lies
/// before it and nothing more; when it is committed or aborted, or its producer is fenced, then the rest follows.
#[test]
fn nothing_behind_an_open_transaction_is_copied_until_it_ends() {
    let link = Link::new(&SHARED, "open", "{ include: ['open\\..*'] }", &[]);
    let (source, target) = (link.source(), link.target());
    let topics = ["open.committed", "open.aborted", "open.fenced"];
    for topic in topics {
        source.create_topic(topic, 1, &[]).expect("the topic is created");
        source.produce(&Produce::new(topic, 100)).expect("produced");
        source.produce(&Produce::new(topic, 50).first(100).transactions(topic, 50, 0).leave_open()).expect("produced");
        source.produce(&Produce::new(topic, 30).first(150)).expect("produced");
    }
    let mut twinlog = link.run("run");
    for topic in topics {
        let count = || Some(target.digest(topic, Isolation::ReadUncommitted).ok()?.get(&0)?.count);
        eventually(&format!("{topic} has what lies before the transaction"), LONG, || count().filter(|n| *n >= 100));
        let line = format!("open {topic}:0 waiting-for-transactions");
        eventually(&format!("{topic} is said to wait"), LONG, || twinlog.stderr().contains(&line).then_some(()));
        assert_eq!(count(), Some(100), "{topic}");
        let stable = source.offsets(topic, At::Stable).expect("the last stable offset");
        assert_eq!(stable[&0], 100, "{topic}");
        // The map has it a moment later.
        let waits = || Some(row(&link, topic, 0)).filter(|row| row["state"] == "waiting-for-transactions");
        let detail = eventually(&format!("status says that {topic} waits"), LONG, waits)["detail"].to_string();
        assert!(detail.contains("between 100 and 180: of producer") && detail.contains("since offset 100"), "{detail}");
    }

    source.finish_transaction("open.committed", true).expect("committed");
    source.finish_transaction("open.aborted", false).expect("aborted");
    // Another producer of the same id: the coordinator aborts what the first one left.
    source.produce(&Produce::new("open.fenced", 20).first(180).transactions("open.fenced", 20, 0)).expect("produced");

    for (topic, wanted) in topics.into_iter().zip([180, 130, 150]) {
        link.await_twins(topic, topic);
        assert_eq!(link.assert_twins(topic, topic), wanted, "{topic}");
    }
    assert_runs(&mut twinlog);
    drain(twinlog);
    link.catch_up();
    link.verify();
}
