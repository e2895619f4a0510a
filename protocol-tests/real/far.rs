//! A source that is far away.

use std::sync::Arc;
use std::time::Duration;

use twinlog_testcontainers::{ClusterSpec, Produce};

use crate::map::assert_map;
use crate::pair::{Link, Pair, SHARED, drain};
use crate::relay::Relay;

const WAY: Duration = Duration::from_millis(30);
const TOPICS: [&str; 2] = ["far.uneven", "far.aborts"];
/// How often an answer must have been asked for ahead and been of use, or not.
const AHEAD: [(&str, usize); 2] = [("is_of_use=true", 20), ("is_of_use=false", 1)];

/// Given a backlog of small and large records, of transactions and of aborted ones on a source whose answers take long,
/// when it is copied, then the next answers are asked for before the last one has come, those that do not lead on are
/// thrown away, and each record is there once and in order.
#[test]
fn a_source_that_is_far_away_is_fetched_ahead() {
    let relay = Relay::listen();
    let source = ClusterSpec::new().config("advertised.listeners", format!("PLAINTEXT://{}", relay.address()));
    let source = source.start().expect("the source starts");
    relay.lead_to(source.broker(0).address());
    let pair = Pair { source: Arc::new(source), target: Arc::clone(&SHARED.target) };
    let more = ["lanes: 1", "fetch: { max_bytes: 256KiB }"];
    let link = Link::new(&pair, "far", "{ include: ['far\\..*'] }", &more);
    for topic in TOPICS {
        link.source().create_topic(topic, 1, &[]).expect("the topic is created");
    }
    // A guess from small records goes too far among large ones.
    let mut first = 0;
    for (count, value_bytes) in [(20_000, 100), (1_000, 4_000)].into_iter().cycle().take(8) {
        let uneven = Produce::new("far.uneven", count).first(first).value_bytes(value_bytes).batches(16 << 10, 1);
        link.source().produce(&uneven).expect("produced");
        first += count;
    }
    let aborts = Produce::new("far.aborts", 60_000).batches(4 << 10, 1).transactions("far", 500, 3);
    link.source().produce(&aborts).expect("produced");

    relay.lengthen(WAY);
    let said = [("TWINLOG_LOG", "info,twinlog_link::lane::intake=trace")];
    let twinlog = link.start("run", &["run"], &said);
    for topic in TOPICS {
        link.await_twins(topic, topic);
    }
    let ended = drain(twinlog);
    for (which, least) in AHEAD {
        let is_such = |line: &&str| line.contains("Fetched ahead.") && line.contains(which);
        let times = ended.stderr.lines().filter(is_such).count();
        assert!(times >= least, "{which} {times} times");
    }
    relay.lengthen(Duration::ZERO);
    for topic in TOPICS {
        link.assert_twins(topic, topic);
        assert_map(&link, topic, topic);
    }
    link.verify();
}
