//! Two links with different names and the same mirror.

use std::thread::scope;

use serde_json::Value;
use twinlog_testcontainers::Produce;

use crate::pair::{Ended, Link, SHARED};

fn link(name: &str, topic: &str, existing: &str) -> Link<'static> {
    Link::new(&SHARED, name, &format!("{{ include: [{topic}] }}"), &[&format!("existing: {existing}")])
}

fn source(link: &Link<'_>, topic: &str) {
    link.source().create_topic(topic, 2, &[]).expect("the topic is created");
    link.source().produce(&Produce::new(topic, 500)).expect("produced");
}

fn catch_up(link: &Link<'_>, name: &str) -> Ended {
    link.finish(name, &["run", "--until-caught-up", "-o", "json"])
}

/// All partitions are refused because of the link that has the mirror.
fn assert_refused(ended: &Ended, owner: &str) {
    assert_eq!(ended.code, 1, "{ended:#?}");
    let end: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    let missing = end["missing"].as_array().unwrap_or_else(|| panic!("{end}"));
    assert_eq!(missing.len(), 2, "{end}");
    for partition in missing {
        assert_eq!(partition["state"], "claimed", "{end}");
        let detail = partition["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(&format!("mirror of link {owner};")), "{end}");
    }
}

/// Given a link that has copied, when another one has the same mirror, then it is refused by the first one's name,
/// whatever it may do with topics that hold records; `check` says so beforehand; and the first goes on.
#[test]
fn a_second_link_with_the_same_mirror_is_refused_by_name() {
    let first = link("claims-first", "claimed", "refuse");
    source(&first, "claimed");
    first.catch_up();

    for existing in ["refuse", "append"] {
        let second = link(&format!("claims-{existing}"), "claimed", existing);
        let check = second.finish("check", &["check"]);
        assert_eq!(check.code, 1, "{check:#?}");
        assert!(check.stdout.contains("topic claimed is a mirror of link claims-first"), "{check:#?}");
        assert_refused(&catch_up(&second, "run"), "claims-first");
    }

    first.source().produce(&Produce::new("claimed", 500).first(500)).expect("produced");
    first.catch_up();
    assert_eq!(first.assert_twins("claimed", "claimed"), 1_000);
    first.verify();
}

/// Given a mirror that nobody has begun, when two links that may write to it start at the same time, then one of them
/// copies it and the other is refused by its name.
#[test]
fn of_two_links_that_start_together_one_has_the_mirror() {
    let links = ["claims-a", "claims-b"].map(|name| link(name, "contested", "append"));
    source(&links[0], "contested");

    let [a, b] = scope(|scope| {
        let runs = links.each_ref().map(|link| scope.spawn(|| catch_up(link, "together")));
        runs.map(|run| run.join().expect("the run's thread ends"))
    });

    // The other one may have ended before it could look at the mirror that the first was making.
    match (a.code, b.code) {
        (0, 1) => assert_refused(&catch_up(&links[1], "again"), "claims-a"),
        (1, 0) => assert_refused(&catch_up(&links[0], "again"), "claims-b"),
        codes => panic!("{codes:?}: {a:#?} {b:#?}"),
    }
    assert_eq!(links[0].assert_twins("contested", "contested"), 500);
}

/// The state of each partition of a link, as `status` tells it.
fn states(link: &Link<'_>, run: &str, name: &str) -> Vec<String> {
    let ended = link.finish(run, &["status", "-o", "json", name]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    let status: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    let rows = status["links"][0]["partitions"].as_array().unwrap_or_else(|| panic!("{status}"));
    rows.iter().map(|row| format!("{} {}", row["topic"], row["state"]).replace('"', "")).collect()
}

/// Given two links of one configuration with the same mirror and nothing begun, then `check` names each to the other;
/// and `status` says what would stop each before it was ever begun.
#[test]
fn links_of_one_file_with_the_same_mirror_are_found_before_they_begin() {
    let link = link("claims-one", "(siblings|claims-filled)", "refuse");
    link.configure(
        "  claims-other:\n    source: a\n    target: b\n    topics: { include: [siblings] }\n    \
         members: { session_timeout: 6s, settle: 1s }\n",
    );
    source(&link, "siblings");
    source(&link, "claims-filled");
    link.target().create_topic("claims-filled", 2, &[]).expect("created");
    link.target().produce(&Produce::new("claims-filled", 10)).expect("produced");

    let check = link.finish("check", &["check"]);
    assert_eq!(check.code, 1, "{check:#?}");
    for words in ["link claims-other has the same mirrors: siblings", "link claims-one has the same mirrors: siblings"]
    {
        assert!(check.stdout.contains(words), "{words}: {check:#?}");
    }
    let of = |topic: &str, state: &str| vec![format!("{topic} {state}"); 2];
    let unbegun = [of("claims-filled", "target-not-empty"), of("siblings", "waiting")].concat();
    assert_eq!(states(&link, "before-one", "claims-one"), unbegun);
    assert_eq!(states(&link, "before-other", "claims-other"), of("siblings", "waiting"));

    let first = link.finish("first", &["run", "claims-other", "--until-caught-up"]);
    assert_eq!(first.code, 0, "{first:#?}");
    let stopped = [of("claims-filled", "target-not-empty"), of("siblings", "claimed")].concat();
    assert_eq!(states(&link, "after-one", "claims-one"), stopped);
    assert_eq!(states(&link, "after-other", "claims-other"), of("siblings", "caught-up"));
}
