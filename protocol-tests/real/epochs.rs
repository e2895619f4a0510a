//! The epochs of a lane's producer id run out while it copies.

use std::time::Duration;

use twinlog_client::admin::ProducerId;
use twinlog_client::{Cluster, DialConfig, Side};
use twinlog_testcontainers::eventually;

use crate::chance::Chance;
use crate::kills::UnderLoad;
use crate::pair::{LONG, SHARED, assert_runs, drain};

/// The lane that all of the link's partitions are in.
const LANE: &str = "twinlog.epochs.0";
/// A link changes its producer id from this epoch on.
const CHANGE_FROM: i16 = 31_766;

/// Given a link that copies under load and a lane whose epochs are nearly used up, when it is killed and started again
/// until it is over the edge, then it goes on under another producer id, and each record is there once.
#[test]
fn a_lane_goes_on_under_another_producer_id_before_its_epochs_run_out() {
    let scenario = UnderLoad::start_with(&SHARED, "epochs", &["lanes: 1"]);
    let first = scenario.link.run("first");
    scenario.link.await_growth(&scenario.plain, 100_000);
    drain(first);
    let used_up = use_up(&scenario.link.pair.target.bootstrap(), CHANGE_FROM - 2);

    scenario.kill_at_random_moments(&mut Chance::new("epochs"), 6);
    let mut last = scenario.link.run("last");
    eventually("the lane is taken under another producer id", LONG, || {
        let said = last.stderr();
        let taken = said.lines().rfind(|line| line.contains("Lane taken."))?.to_owned();
        (!taken.contains(&format!("producer_id={} ", used_up.id))).then_some(())
    });
    scenario.link.await_growth(&scenario.plain, 100_000);
    assert_runs(&mut last);

    drain(last);
    scenario.finish();
}

/// Takes epochs of the lane's transactional id, up to this one.
fn use_up(bootstrap: &[String], last: i16) -> ProducerId {
    let bootstrap = bootstrap.iter().map(|address| address.parse().expect("an address")).collect();
    let cluster = Cluster::new(Side::Target, bootstrap, DialConfig::default()).expect("a client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let minute = Duration::from_secs(60);
        loop {
            match cluster.init_producer_id(0, LANE, minute, None).await {
                Ok(producer) if producer.epoch >= last => return producer,
                Ok(_) => {}
                Err(error) => assert!(error.code().is_some(), "{error}"),
            }
        }
    })
}
