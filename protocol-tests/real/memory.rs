//! Memory: a budget of 64 MiB keeps the whole program below 128 MiB.

use std::time::Instant;

use twinlog_testcontainers::{Produce, eventually, peak_resident_bytes};

use crate::pair::{LONG, Link, SHARED, assert_runs, drain, scaled, turn};

const PARTITIONS: u32 = 8;
const RECORD_BYTES: u64 = 1_000;
const MIB: u64 = 1 << 20;

/// Given a backlog of much more than the budget, when it is mirrored, then the program never had 128 MiB in memory.
#[test]
fn a_budget_of_64_mib_keeps_the_program_below_128_mib() {
    let _turn = turn();
    let link = Link::new(&SHARED, "memory", "{ include: [memory] }", &["budget: 64MiB"]);
    link.source().create_topic("memory", PARTITIONS, &[]).expect("the topic is created");
    let count = scaled(300_000, 1_000_000);
    let produce = Produce::new("memory", count).value_bytes(1_000).noise().batches(65_536, 5);
    link.source().produce(&produce).expect("produced");

    let begin = Instant::now();
    let mut twinlog = link.run("run");
    eventually("all is copied", 2 * LONG, || {
        assert_runs(&mut twinlog);
        let ends = link.target().offsets("memory", twinlog_testcontainers::At::End).ok()?;
        let copied: i64 = ends.values().sum();
        // One marker in each partition.
        (copied >= i64::try_from(count).ok()? + i64::from(PARTITIONS)).then_some(())
    });
    let took = begin.elapsed();

    let peak = peak_resident_bytes(twinlog.pid()).expect("it is still there");
    let mb = count * RECORD_BYTES / 1_000_000;
    println!("{mb} MB in {took:?}, at most {} MiB resident", peak / MIB);
    assert!(peak < 128 * MIB, "{} MiB resident", peak / MIB);
    drain(twinlog);
    assert_eq!(link.assert_twins("memory", "memory"), count);
    for cluster in [link.source(), link.target()] {
        cluster.delete_topic("memory").expect("deleted");
    }
}
