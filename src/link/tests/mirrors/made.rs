//! What the link makes: mirrors with the source's effective settings, and partitions that came later.

use twinlog_client::Side;

use crate::kit::{KIT, Permission, SOURCE_RETENTION, copied, held, link, rule, settings, stopped, told};

const MAX: &str = "9223372036854775807";

#[tokio::test]
async fn a_mirror_has_the_sources_partitions_and_effective_settings() {
    let own = [
        ("cleanup.policy", "compact,delete"),
        ("compression.type", "lz4"),
        ("delete.retention.ms", "111"),
        ("max.compaction.lag.ms", "222222"),
        ("max.message.bytes", "3000000"),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.compaction.lag.ms", "5"),
        ("retention.bytes", "7654321"),
        ("retention.ms", "1234567"),
        ("segment.bytes", "2000000"),
    ];
    KIT.source().create_topic("made-own", 3, &own).unwrap();
    KIT.source().create_topic("made-plain", 1, &[]).unwrap();
    let mut mirrors = KIT.mirrors("made", link(&["made-.*"], "{source}.{topic}")).await;

    let round = mirrors.sync().await.unwrap();
    assert_eq!(copied(&round), ["made-own:0", "made-own:1", "made-own:2", "made-plain:0"]);
    assert_eq!((stopped(&round), told(&round), held(&round)), (vec![], vec![], vec![]));
    let exact = settings(&[
        ("compression.type", "producer"),
        ("message.timestamp.after.max.ms", MAX),
        ("message.timestamp.before.max.ms", MAX),
        ("message.timestamp.type", "CreateTime"),
        ("unclean.leader.election.enable", "false"),
    ]);
    let mut wanted = exact.clone();
    let copied_settings = |(name, _): &&(&str, &str)| !matches!(*name, "segment.bytes" | "compression.type");
    let copied_settings = own.iter().filter(copied_settings).copied();
    wanted.extend(settings(&copied_settings.filter(|(name, _)| *name != "message.timestamp.type").collect::<Vec<_>>()));
    assert_eq!(KIT.target().topic_config("a.made-own").unwrap(), wanted);
    let mut wanted = exact;
    wanted.extend(settings(&[
        ("cleanup.policy", "delete"),
        ("delete.retention.ms", "86400000"),
        ("max.compaction.lag.ms", MAX),
        ("max.message.bytes", "1048588"),
        ("min.compaction.lag.ms", "0"),
        ("retention.bytes", "-1"),
        ("retention.ms", SOURCE_RETENTION),
    ]));
    assert_eq!(KIT.target().topic_config("a.made-plain").unwrap(), wanted);

    // The ids are those of the topics, and nothing changes while nothing changes.
    let (source, target) = (KIT.client(Side::Source), KIT.client(Side::Target));
    let (source, target) = (source.refresh().await.unwrap(), target.refresh().await.unwrap());
    for spec in &round.partitions {
        assert_eq!(spec.target_topic, format!("a.{}", spec.key.topic));
        assert_eq!(spec.source_topic_id, *source.topics[&spec.key.topic].id.unwrap().as_bytes());
        assert_eq!(spec.target_topic_id, *target.topics[&spec.target_topic].id.unwrap().as_bytes());
    }
    assert_eq!(mirrors.sync().await.unwrap(), round);
}

#[tokio::test]
async fn partitions_are_added_on_the_target_before_they_are_reported() {
    KIT.source().create_topic("grows", 2, &[]).unwrap();
    let mut mirrors = KIT.mirrors("grows", link(&["grows"], "{topic}")).await;
    assert_eq!(copied(&mirrors.sync().await.unwrap()), ["grows:0", "grows:1"]);
    let before = KIT.target().topic_config("grows").unwrap();
    KIT.source().add_partitions("grows", 4).unwrap();

    let round = mirrors.sync().await.unwrap();
    assert_eq!(copied(&round), ["grows:0", "grows:1", "grows:2", "grows:3"]);
    assert_eq!(told(&round), [] as [String; 0]);
    assert_eq!(KIT.target().placement("grows").unwrap().len(), 4);
    assert_eq!(KIT.target().topic_config("grows").unwrap(), before);
}

#[tokio::test]
async fn a_topic_that_cannot_be_mirrored_holds_no_other() {
    // Brokers refuse names that differ in dots and underscores only.
    KIT.target().create_topic("refused.name", 1, &[]).unwrap();
    for topic in ["refused_name", "refused-not"] {
        KIT.source().create_topic(topic, 1, &[]).unwrap();
    }
    let mut mirrors = KIT.mirrors("refused", link(&["refused.*", "refuzed", "refuzed-.*"], "{topic}")).await;

    let round = mirrors.sync().await.unwrap();
    assert_eq!(copied(&round), ["refused-not:0"]);
    assert_eq!(held(&round), ["refused_name"]);
    assert!(round.held["refused_name"].contains("INVALID_TOPIC"), "it says why: {:?}", round.held);
    let told = told(&round);
    assert_eq!(told.len(), 3, "{told:?}");
    for (told, wanted) in told.iter().zip(["`refuzed-.*` matches no", "`refuzed` matches no topic", "refused_name: it"])
    {
        assert!(told.contains(wanted), "{told} lacks {wanted}");
    }
    assert!(told[2].contains("INVALID_TOPIC") && told[2].contains("choose another `rename`"), "{}", told[2]);
    assert_eq!(mirrors.sync().await.unwrap().problems, [], "told once");
}

#[tokio::test]
async fn two_topics_with_one_new_name_are_both_refused() {
    for topic in ["twins-1", "twins-2"] {
        KIT.source().create_topic(topic, 1, &[]).unwrap();
    }
    let mut mirrors = KIT.mirrors("twins", link(&["twins-."], "twins")).await;
    let round = mirrors.sync().await.unwrap();
    assert_eq!((copied(&round), held(&round)), (vec![], vec!["twins-1", "twins-2"]));
    assert_eq!(
        told(&round)[0],
        "source topic twins-1: source topic twins-1 would become twins, and so would twins-2; \
         exclude all but one, or change `rename` so that the names differ"
    );
    assert!(!KIT.client(Side::Target).refresh().await.unwrap().topics.contains_key("twins"));
}

#[tokio::test]
async fn no_mirror_is_made_with_guessed_retention() {
    // Read brings Describe with it, and not DescribeConfigs.
    const READ: i8 = 3;
    KIT.source().create_topic("guessed", 1, &[]).unwrap();
    rule(&KIT.client(Side::Source), "guessed", READ, Permission::Allow).await;
    let mut mirrors = KIT.mirrors("guessed", link(&["guessed"], "{topic}")).await;

    let round = mirrors.sync().await.unwrap();
    assert_eq!((copied(&round), held(&round)), (vec![], vec!["guessed"]));
    let told = told(&round);
    assert!(told[0].starts_with("source topic guessed: its settings cannot be read: "), "{told:?}");
    assert!(told[0].ends_with("grant DescribeConfigs on it to twinlog's user"), "{told:?}");
    assert!(!KIT.client(Side::Target).refresh().await.unwrap().topics.contains_key("guessed"));
}
