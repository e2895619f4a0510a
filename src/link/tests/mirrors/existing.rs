//! Target topics that somebody else made: taken where the configuration says so, and left as they are.

use twinlog_testcontainers::Produce;

use crate::kit::{KIT, append, copied, link, settings, stopped, told};

#[tokio::test]
async fn a_topic_with_somebody_elses_records_is_left_alone() {
    KIT.source().create_topic("taken", 3, &[]).unwrap();
    KIT.target().create_topic("taken", 2, &[("retention.ms", "77")]).unwrap();
    KIT.target().produce(&Produce::new("taken", 10).partitions(1)).unwrap();
    let mut mirrors = KIT.mirrors("taken", link(&["taken"], "{topic}")).await;
    for _ in 0..2 {
        let round = mirrors.sync().await.unwrap();
        assert_eq!(copied(&round), [] as [String; 0]);
        assert_eq!(
            stopped(&round),
            ["taken:0 target-not-empty", "taken:1 target-not-empty", "taken:2 target-not-empty"]
        );
        assert!(round.stops[0].1.to_string().contains("already holds 10 records"), "{}", round.stops[0].1);
    }
    assert_eq!(KIT.target().placement("taken").unwrap().len(), 2);
    assert_eq!(KIT.target().topic_config("taken").unwrap(), settings(&[("retention.ms", "77")]));

    // Asked to append, the link takes it: partitions are added, settings stay and are named.
    let mut mirrors = KIT.mirrors("taken", append(link(&["taken"], "{topic}"))).await;
    let round = mirrors.sync().await.unwrap();
    assert_eq!(copied(&round), ["taken:0", "taken:1", "taken:2"]);
    assert_eq!(
        told(&round),
        [
            "target topic taken: message.timestamp.after.max.ms=3600000, with which the target can refuse records that \
             the source took; set message.timestamp.after.max.ms=9223372036854775807 on the target topic",
            "target topic taken: retention.ms=77, with which the target can lose records that the source has; \
             set retention.ms=18000000 on the target topic",
        ]
    );
    assert_eq!(KIT.target().topic_config("taken").unwrap(), settings(&[("retention.ms", "77")]));
    assert_eq!(told(&mirrors.sync().await.unwrap()), [] as [String; 0]);
}

#[tokio::test]
async fn an_empty_topic_with_more_partitions_is_taken_and_told_once() {
    KIT.source().create_topic("wide", 1, &[]).unwrap();
    let exact = [("message.timestamp.after.max.ms", "9223372036854775807"), ("retention.ms", "-1")];
    KIT.target().create_topic("wide", 3, &exact).unwrap();
    let mut mirrors = KIT.mirrors("wide", link(&["wide"], "{topic}")).await;
    let round = mirrors.sync().await.unwrap();
    assert_eq!(copied(&round), ["wide:0"]);
    let told_first = told(&round);
    assert_eq!(told_first.len(), 1, "{told_first:?}");
    assert!(told_first[0].contains("it has 3 partitions and the source topic 1"), "{told_first:?}");
    assert_eq!(told(&mirrors.sync().await.unwrap()), [] as [String; 0]);
}

#[tokio::test]
async fn a_topic_that_would_change_the_bytes_is_not_written_to() {
    KIT.source().create_topic("squeezed", 1, &[]).unwrap();
    KIT.target().create_topic("squeezed", 1, &[("compression.type", "zstd")]).unwrap();
    let mut mirrors = KIT.mirrors("squeezed", append(link(&["squeezed"], "{topic}"))).await;
    let round = mirrors.sync().await.unwrap();
    assert_eq!((copied(&round), stopped(&round)), (vec![], vec!["squeezed:0 mirror-settings".to_owned()]));
    assert_eq!(
        round.stops[0].1.to_string(),
        "the target topic has compression.type=zstd, with which the target changes what is written to it; \
         set compression.type=producer, then `twinlog resolve` it by retry"
    );
    KIT.target().alter_config("squeezed", &[("compression.type", "producer")], &[]).unwrap();
    let round = mirrors.sync().await.unwrap();
    assert_eq!((copied(&round), stopped(&round)), (vec!["squeezed:0".to_owned()], vec![]));
}
