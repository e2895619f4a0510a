//! Topics that go away or are made anew while the link runs.

use twinlog_client::Side;

use crate::kit::{KIT, Permission, copied, link, rule, stopped, told};

#[tokio::test]
async fn a_source_topic_made_anew_stops_its_partitions_alone() {
    for topic in ["anew", "anew-not"] {
        KIT.source().create_topic(topic, 1, &[]).unwrap();
    }
    let mut mirrors = KIT.mirrors("anew", link(&["anew.*"], "{topic}")).await;
    assert_eq!(copied(&mirrors.sync().await.unwrap()), ["anew:0", "anew-not:0"]);
    KIT.source().delete_topic("anew").unwrap();
    KIT.source().create_topic("anew", 2, &[]).unwrap();
    for _ in 0..2 {
        let round = mirrors.sync().await.unwrap();
        assert_eq!((copied(&round), stopped(&round)), (vec!["anew-not:0".into()], vec!["anew:0 recreated".to_owned()]));
    }
    assert_eq!(KIT.target().placement("anew").unwrap().len(), 1, "the new one's partitions are not added");
}

#[tokio::test]
async fn a_source_topic_is_gone_when_it_is_absent_twice() {
    KIT.source().create_topic("gone", 1, &[]).unwrap();
    let mut mirrors = KIT.mirrors("gone", link(&["gone"], "{topic}")).await;
    assert_eq!(copied(&mirrors.sync().await.unwrap()), ["gone:0"]);
    KIT.source().delete_topic("gone").unwrap();
    let once = mirrors.sync().await.unwrap();
    assert_eq!((copied(&once), stopped(&once)), (vec!["gone:0".to_owned()], vec![]));
    let twice = mirrors.sync().await.unwrap();
    assert_eq!((copied(&twice), stopped(&twice)), (vec![], vec!["gone:0 source-deleted".to_owned()]));
    assert_eq!(KIT.target().placement("gone").unwrap().len(), 1, "the mirror stays");
}

#[tokio::test]
async fn a_source_topic_that_may_not_be_described_is_not_gone() {
    const DESCRIBE: i8 = 8;
    KIT.source().create_topic("hidden", 1, &[]).unwrap();
    let mut mirrors = KIT.mirrors("hidden", link(&["hidden"], "{topic}")).await;
    assert_eq!(copied(&mirrors.sync().await.unwrap()), ["hidden:0"]);
    rule(&KIT.client(Side::Source), "hidden", DESCRIBE, Permission::Deny).await;
    let mut problems = Vec::new();
    for _ in 0..4 {
        let round = mirrors.sync().await.unwrap();
        assert_eq!((copied(&round), stopped(&round)), (vec!["hidden:0".to_owned()], vec![]));
        problems.extend(told(&round));
    }
    assert_eq!(
        problems,
        ["source topic hidden: it may not be described, so it may exist or not; \
          grant Describe, DescribeConfigs and Read on it to twinlog's user"]
    );
}

#[tokio::test]
async fn a_mirror_that_is_gone_is_not_made_anew() {
    KIT.source().create_topic("vanishes", 1, &[]).unwrap();
    let mut mirrors = KIT.mirrors("vanishes", link(&["vanishes"], "{topic}")).await;
    assert_eq!(copied(&mirrors.sync().await.unwrap()), ["vanishes:0"]);
    KIT.target().delete_topic("vanishes").unwrap();
    let mut problems = Vec::new();
    for _ in 0..3 {
        let round = mirrors.sync().await.unwrap();
        assert_eq!((copied(&round), stopped(&round)), (vec!["vanishes:0".to_owned()], vec![]));
        problems.extend(told(&round));
    }
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("target topic vanishes: it was a mirror of this link and is gone"), "{problems:?}");
    assert!(!KIT.client(Side::Target).refresh().await.unwrap().topics.contains_key("vanishes"));

    KIT.target().create_topic("vanishes", 1, &[]).unwrap();
    let round = mirrors.sync().await.unwrap();
    assert_eq!((copied(&round), stopped(&round)), (vec![], vec!["vanishes:0 target-recreated".to_owned()]));
}
