//! The README's tutorial: `seq 10000` by Kafka's console producer comes out of its console consumer as 1 to 10000.

use twinlog_testcontainers::{ConsoleConsumer, KafkaTool};

use crate::pair::{Link, Pair, SHARED};

/// Given `seq 10000` on the source, when it is mirrored, then the target prints 1 to 10000 in order.
pub(crate) fn seq_10000(pair: &Pair, link: &str, topic: &str, rename: &str, target_topic: &str) {
    let topics = format!("{{ include: [{topic}], rename: '{rename}' }}");
    let link = Link::new(pair, link, &topics, &[]);
    link.source().create_topic(topic, 1, &[]).expect("the topic is created");
    let lines: String = (1..=10_000).map(|n| format!("{n}\n")).collect();
    let source = KafkaTool::new(&pair.source).expect("Kafka's tools");
    source.console_produce::<&str>(topic, &lines, &[]).expect("produced");

    link.catch_up();

    let target = KafkaTool::new(&pair.target).expect("Kafka's tools");
    let consumer = ConsoleConsumer::new(target_topic).from_beginning().max_messages(10_000);
    assert_eq!(target.console_consume(&consumer).expect("consumed"), lines);
    link.verify();
}

#[test]
fn seq_10000_comes_out_in_order() {
    seq_10000(&SHARED, "tutorial", "seq", "{topic}", "seq");
}

#[test]
fn seq_10000_comes_out_under_another_name() {
    seq_10000(&SHARED, "renamed", "seq2", "{topic}.replica", "seq2.replica");
}
