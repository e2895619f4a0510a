//! The map does not grow for ever: what both clusters have deleted leaves it.

use std::time::Duration;

use twinlog_core::report::{Side, Translation};
use twinlog_testcontainers::{ConsoleConsumer, KafkaTool, Produce};

use crate::ask::end;
use crate::map::assert_map;
use crate::pair::{Link, SHARED, drain};
use crate::translator::Translator;

/// Given a partition with so many gaps that its oldest ranges fill chunks of the map, when both clusters have deleted
/// their records, then the chunks get their tombstones, later offsets translate as before, and earlier ones to the
/// start of the other side's log.
#[test]
fn ranges_that_both_sides_deleted_leave_the_map() {
    let link = Link::new(&SHARED, "pruned", "{ include: [pruned] }", &["lanes: 1", "intervals: { mark: 200ms }"]);
    link.source().create_topic("pruned", 1, &[]).expect("the topic is created");
    // Each commit's marker is a gap, and so ends a range.
    let produce = Produce::new("pruned", 2_200).transactions("pruned-transactions", 1, 0);
    link.source().produce(&produce).expect("produced");
    link.catch_up();
    assert_map(&link, "pruned", "pruned");
    assert_eq!(chunk_records(), ["chunk/pruned/0/0 kept"]);

    let everything = end(&link.source(), "pruned", 0);
    let translator = Translator::new(&link);
    let before = translator.all(Side::Source, "pruned", 0, 0..=everything);
    let kept = everything / 2;
    let Translation::Exact { offset: target_start } = before[usize::try_from(kept).expect("from 0")] else {
        panic!("{kept} is a record");
    };
    link.source().delete_records("pruned", 0, kept).expect("deleted");
    link.target().delete_records("pruned", 0, target_start).expect("deleted");
    let run = link.run("pruning");
    twinlog_testcontainers::eventually("the chunk's tombstone", Duration::from_secs(60), || {
        (chunk_records() == ["chunk/pruned/0/0 kept", "chunk/pruned/0/0 gone"]).then_some(())
    });
    drain(run);

    let after = translator.all(Side::Source, "pruned", 0, 0..=everything);
    let clamped = Translation::Clamped { offset: target_start };
    for (position, (before, after)) in before.iter().zip(&after).enumerate() {
        let expected = match *before {
            _ if i64::try_from(position).expect("small") < kept - 1 => clamped,
            // The second run's marker stands there now.
            Translation::AtEnd { offset } => Translation::AtEnd { offset: offset + 1 },
            before => before,
        };
        assert_eq!(*after, expected, "at {position}");
    }
    let back = translator.all(Side::Target, "pruned", 0, 0..=0);
    assert_eq!(back, [Translation::Clamped { offset: kept }]);
}

/// The map's records about chunks, in log order, as Kafka's console consumer prints them.
fn chunk_records() -> Vec<String> {
    let consumer = ConsoleConsumer::new("__twinlog.pruned.map")
        .from_beginning()
        .print("key")
        .property("null.literal", "gone")
        .timeout(Duration::from_secs(5));
    let tool = KafkaTool::new(&SHARED.target).expect("Kafka's tools");
    let printed = tool.console_consume(&consumer).expect("the map is read");
    let chunks = printed.lines().filter_map(|line| line.split_once('\t')).filter(|(key, _)| key.starts_with("chunk/"));
    chunks.map(|(key, value)| format!("{key} {}", if value == "gone" { "gone" } else { "kept" })).collect()
}
