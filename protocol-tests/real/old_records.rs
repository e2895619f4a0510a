//! Records that the target's brokers take for forgotten: three days old, and of 1970. A resend of such a batch after a
//! lost answer is stored a second time by a broker that was restarted, so twinlog has to find out instead.

use twinlog_testcontainers::{ClusterSpec, Produce, eventually};

use crate::map::assert_map;
use crate::pair::{LONG, Link, Pair, days_ago, ended, scaled, turn};
use crate::relay::Relay;
use crate::segments::bytes_on_disk;

const PARTITIONS: u32 = 2;

/// Given a backlog of old records in small batches, when answers are lost, twinlog is killed, and the target is stopped
/// and killed in the middle, then each record is there once and in order.
#[test]
fn old_records_survive_kills_restarts_and_lost_answers() {
    let _turn = turn();
    let relay = Relay::listen();
    let target = ClusterSpec::new()
        .config("advertised.listeners", format!("PLAINTEXT://{}", relay.address()))
        // Ten minutes by default; so the broker forgets as often as it can.
        .config("producer.id.expiration.check.interval.ms", "1000");
    let pair = Pair::onto(target);
    relay.lead_to(pair.target.broker(0).address());
    let more = ["intervals: { mark: 200ms }"];
    let link = Link::to(&pair, &[relay.address()], "old", "{ include: ['old\\..*'] }", &more);
    let count = scaled(20_000, 100_000);
    let step = (days_ago(0) - days_ago(2)) / i64::try_from(count).expect("a count");
    // The last two are not old: one comes from two days ago up to now, the other is of now.
    let topics = [
        ("old.days", days_ago(3), 1),
        ("old.1970", 1_000, 1),
        ("old.up", days_ago(2), step),
        ("old.not", days_ago(0), 0),
    ];
    for (topic, base, step) in topics {
        link.source().create_topic(topic, PARTITIONS, &[("retention.ms", "-1")]).expect("the topic is created");
        let produce = Produce::new(topic, count).batches(2_048, 5).timestamps(base, step);
        link.source().produce(&produce).expect("produced");
    }
    let source = bytes_on_disk(&pair.source, "old.1970");
    let reach = |share: u64| {
        let copied = || bytes_on_disk(&pair.target, "old.1970");
        eventually(&format!("{share} % copied"), LONG, || (copied() > source * share / 100).then_some(()));
        let copied = copied();
        assert!(copied < source, "all is copied at {share} %: {copied} of {source} bytes");
    };

    relay.lose_answers(25);
    let broker = pair.target.broker(0);
    let mut twinlog = link.run("first");
    reach(5);
    twinlog.kill().expect("killed");
    let mut twinlog = link.run("second");
    reach(20);
    broker.restart().expect("restarted");
    reach(35);
    broker.kill().expect("killed");
    broker.start().expect("started");
    reach(45);
    twinlog.kill().expect("killed");
    broker.restart().expect("restarted");
    let twinlog = link.run("third");
    reach(60);
    broker.kill().expect("killed");
    broker.start().expect("started");
    relay.lose_answers(0);
    assert!(relay.lost() > 10, "only {} answers were lost", relay.lost());
    for (topic, ..) in topics {
        link.await_twins(topic, topic);
    }
    twinlog.terminate().expect("a signal is sent");
    assert_eq!(ended(twinlog).code, 0);

    link.catch_up();
    for (topic, ..) in topics {
        assert_eq!(link.assert_twins(topic, topic), count);
        assert_map(&link, topic, topic);
    }
    link.verify();
}
