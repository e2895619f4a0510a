//! Least rights: the commands of docs/rights.md, given and taken away one by one.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use twinlog_testcontainers::{Acl, ClusterSpec, Committed, OracleAt, Produce, eventually};

use super::{Authority, cluster, sasl};
use crate::pair::{LONG, Link, Pair, assert_runs, drain};
use crate::refusals::assert_not_caught_up;
use crate::resolving::row;

/// The plain listener is the test's own.
fn strict(authority: &Authority) -> ClusterSpec {
    sasl::asking(authority)
        .config("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .config("super.users", "User:ANONYMOUS")
}

/// The rights under a heading of the page.
fn rights(heading: &str) -> Vec<Acl> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rights.md")).expect("the page");
    let section = page.split("\n## ").find(|section| section.starts_with(heading)).expect("the section");
    let commands = section.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("its commands");
    let commands = commands.replace("\\\n", " ");
    commands.lines().flat_map(acls).collect()
}

/// What one command gives.
fn acls(command: &str) -> Vec<Acl> {
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("kafka-acls.sh"));
    let (mut principal, mut pattern) = ("", "LITERAL");
    let (mut operations, mut resources) = (Vec::new(), Vec::new());
    while let Some(option) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("no value of {option} in {command}"));
        match option {
            "--add" => {}
            "--allow-principal" => principal = value(),
            "--operation" => operations.push(value()),
            "--topic" => resources.push(("Topic", value())),
            "--group" => resources.push(("Group", value())),
            "--transactional-id" => resources.push(("TransactionalId", value())),
            "--cluster" => resources.push(("Cluster", "kafka-cluster")),
            "--resource-pattern-type" => {
                assert_eq!(value(), "prefixed");
                pattern = "PREFIXED";
            }
            other => panic!("{other} in {command}"),
        }
    }
    let acl = |(resource, name): (&str, &str), operation: &&str| Acl {
        // The test's user.
        principal: principal.replace("twinlog", "twin"),
        resource: resource.to_owned(),
        name: name.to_owned(),
        pattern: pattern.to_owned(),
        operation: (*operation).to_owned(),
    };
    resources.iter().flat_map(|resource| operations.iter().map(|op| acl(*resource, op))).collect()
}

struct Strict<'a> {
    link: Link<'a>,
    sides: [(&'static str, OracleAt<'static>, Vec<Acl>); 2],
}

/// A link between two clusters, with the rights of the page, and 200 records in the topic `orders-1`.
fn begin<'a>(pair: &'a Pair, authority: &Authority) -> Strict<'a> {
    let keys = sasl::login("PLAIN");
    let clusters = [cluster(&pair.source.secured_bootstrap(), &keys), cluster(&pair.target.secured_bootstrap(), &keys)];
    let often = "intervals: { topics: 1s }";
    let link = Link::by(pair, &clusters, "orders-dr", "{ include: ['orders.*'] }", &[often]);
    link.write("ca.pem", &authority.0.pem());
    link.write("password", sasl::PASSWORD);
    let sides =
        [("source", link.source(), rights("On the source")), ("target", link.target(), rights("On the target"))];
    for (_, oracle, acls) in &sides {
        for acl in acls {
            oracle.allow(acl).expect("a right is given");
        }
    }
    link.source().create_topic("orders-1", 2, &[]).expect("the topic is created");
    link.source().produce(&Produce::new("orders-1", 200)).expect("produced");
    let committed = Committed { offset: 20, epoch: None, metadata: String::new() };
    link.source().group_commit("orders-shop", "orders-1", 0, &committed).expect("committed");
    Strict { link, sides }
}

/// What `check` finds that names this right as one that is not there.
fn named(link: &Link<'_>, side: &str, acl: &Acl) -> Option<Value> {
    // Each in files of its own.
    static CHECKS: AtomicU64 = AtomicU64::new(0);
    let name = format!("check-{}", CHECKS.fetch_add(1, Ordering::Relaxed));
    let ended = link.finish(&name, &["check", "-o", "json"]);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    let (subject, words) = match (&acl.resource[..], &acl.name[..], &acl.operation[..]) {
        ("Topic", name @ ("__consumer_offsets" | "__transaction_state"), _) => ("", vec!["without Describe", name]),
        // The source's topic is not to be seen without it.
        ("Topic", _, "Read") if side == "source" => ("include", vec!["matches no topic", "grant Read"]),
        ("Topic", "orders", operation) => ("rights", vec![operation, "orders-"]),
        ("Topic", name, operation) => ("rights", vec![operation, name]),
        ("Group", "orders", "Describe") => ("groups", vec!["Describe is not allowed on groups", "orders-shop"]),
        ("Cluster", _, "Describe") => ("room", vec![side, "grant Describe on both clusters"]),
        ("Cluster", _, operation) => ("producer expiry", vec![operation, "on the cluster"]),
        (_, name, operation) => ("", vec![operation, "is not allowed", name]),
    };
    let checks = report["links"][0]["checks"].as_array().unwrap_or_else(|| panic!("{report}"));
    let found = checks.iter().find(|check| {
        let text = check.to_string();
        let is_about = subject.is_empty() || check["subject"] == subject;
        let is_on = subject == "room" || check["side"] == side;
        is_about && is_on && check["verdict"] != "ok" && words.iter().all(|word| text.contains(word))
    });
    found.cloned()
}

/// Given clusters with authorizers, when a link has the rights of the page, then it is checked, copies and verifies;
/// when any one of them is taken away, then `check` names it, before the link's topics are there and after.
#[test]
fn the_rights_of_the_page_are_enough_and_check_names_each_that_is_missing() {
    let authority = Authority::named("brokers");
    let pair = Pair::start(strict(&authority), strict(&authority));
    let Strict { link, sides } = begin(&pair, &authority);

    let each_is_named = |are_there: bool| {
        let good = link.finish("check", &["check"]);
        assert_eq!(good.code, 0, "{good:#?}");
        for (side, oracle, acls) in &sides {
            for acl in acls {
                // Brokers make these topics themselves, when there is a link.
                let is_late = matches!(&acl.resource[..], "Group" | "TransactionalId") || acl.name.contains("_state");
                if is_late && !are_there {
                    continue;
                }
                // There is nothing left to make.
                if acl.operation == "Create" && are_there {
                    continue;
                }
                oracle.forbid(acl).expect("a right is taken");
                eventually(&format!("check names {acl:?} on the {side}"), LONG, || named(&link, side, acl));
                oracle.allow(acl).expect("a right is given");
            }
        }
    };
    each_is_named(false);
    link.catch_up();
    assert_eq!(link.assert_twins("orders-1", "orders-1"), 200);
    let shop = link.target().group_offsets("orders-shop").expect("the group's offsets");
    assert_eq!(shop.values().map(|committed| committed.offset).collect::<Vec<_>>(), [21], "behind the first marker");
    link.verify();
    each_is_named(true);
    only_decisions_need_delete(&link);
}

/// Given partitions that stopped, when somebody decides that what the target has is to be deleted, then the right to do
/// so is asked for, and nothing is decided without it.
fn only_decisions_need_delete(link: &Link<'_>) {
    let (source, target) = (link.source(), link.target());
    let delete = Acl {
        principal: "User:twin".to_owned(),
        resource: "Topic".to_owned(),
        name: "orders".to_owned(),
        pattern: "PREFIXED".to_owned(),
        operation: "Delete".to_owned(),
    };
    let decide = |what: &str, by: &str, state: &str| {
        assert_not_caught_up(link, what, 0, state);
        let refused = link.finish(&format!("refused-{by}"), &["resolve", &link.name, what, "--by", by, "--yes"]);
        let words = ["TOPIC_AUTHORIZATION_FAILED", "it needs Delete on the target topic; nothing was decided"];
        assert!(refused.code == 3 && words.iter().all(|word| refused.stderr.contains(word)), "{refused:#?}");
        assert_eq!(row(link, what, 0)["state"], state);
        target.allow(&delete).expect("a right is given");
        eventually("it is decided", LONG, || {
            let ended = link.finish("decided", &["resolve", &link.name, what, "--by", by, "--yes"]);
            (ended.code == 0).then_some(())
        });
        target.forbid(&delete).expect("a right is taken");
        link.catch_up();
        link.assert_twins(what, what);
    };
    source.create_topic("orders-2", 1, &[]).expect("the topic is created");
    source.produce(&Produce::new("orders-2", 100)).expect("produced");
    link.catch_up();
    target.produce(&Produce::new("orders-2", 3).first(10_000)).expect("produced");
    decide("orders-2", "resync", "diverged");
    source.delete_topic("orders-2").expect("deleted");
    eventually("it is made again", LONG, || source.create_topic("orders-2", 1, &[]).ok());
    source.produce(&Produce::new("orders-2", 50).seed(9)).expect("produced");
    decide("orders-2", "recreate", "recreated");
}

/// Given a link that runs, when a right is taken away, then one line names the side, the right and what it is for; when
/// it is given again, then the link goes on without a loss.
#[test]
fn a_right_that_is_taken_away_while_a_link_runs_is_named_and_waited_for() {
    let authority = Authority::named("brokers");
    let pair = Pair::start(strict(&authority), strict(&authority));
    let Strict { link, sides } = begin(&pair, &authority);
    let mut run = link.start("strict", &["run"], &[("TWINLOG_LOG", "info")]);
    link.await_twins("orders-1", "orders-1");
    link.source().produce_start("load", &Produce::endless("orders-1").first(200).rate(500)).expect("a load");
    link.await_twins("orders-1", "orders-1");
    let grant = "grant the right that `twinlog check` names";
    for (side, resource, name, operation, words) in [
        ("source", "Topic", "orders", "Read", ["Trying again.", "fetching from the source", "29 TOPIC_AUTH"]),
        ("target", "Topic", "orders", "Write", ["Trying again.", "writing to the mirror", "29 TOPIC_AUTH"]),
        ("target", "Topic", "__twinlog.orders-dr.", "Write", ["The target forbids", "writing to the map", "29 TOPIC"]),
        ("target", "Group", "twinlog.orders-dr", "Read", ["The target does not let", "Heartbeat", "30 GROUP_AUTH"]),
    ] {
        let (_, oracle, acls) = sides.iter().find(|(name, ..)| *name == side).expect("a side");
        let is_it = |acl: &&Acl| acl.resource == resource && acl.name == name && acl.operation == operation;
        let acl = acls.iter().find(is_it).expect("a right of the page");
        let before = run.stderr().len();
        let said = |said: &str| {
            let lines = said[before..].lines().filter(|line| words.iter().all(|word| line.contains(word)));
            lines.filter(|line| line.contains(grant)).map(str::to_owned).collect::<Vec<_>>()
        };
        oracle.forbid(acl).expect("a right is taken");
        eventually(&format!("{words:?}"), LONG, || (!said(&run.stderr()).is_empty()).then_some(()));
        // What is fetched or sent meanwhile does not make it said again.
        eventually(&format!("check names {acl:?}"), LONG, || named(&link, side, acl));
        oracle.allow(acl).expect("a right is given");
        link.await_twins("orders-1", "orders-1");
        let lines = said(&run.stderr());
        assert!(lines.len() <= 2, "more than once for each of two partitions or lanes: {lines:#?}");
    }
    let (_, target, acls) = &sides[1];
    let is_it = |acl: &&Acl| acl.operation == "Alter" && acl.name == "orders";
    let alter = acls.iter().find(is_it).expect("a right of the page");
    target.forbid(alter).expect("a right is taken");
    link.source().add_partitions("orders-1", 3).expect("a partition is added");
    let words = ["the partitions that the source has cannot be added", "Alter on it"];
    eventually(&format!("{words:?}"), LONG, || {
        run.stderr().lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
    });
    target.allow(alter).expect("a right is given");
    eventually("the mirror grows", LONG, || (target.placement("orders-1").ok()?.len() == 3).then_some(()));

    link.source().produce_stop("load").expect("the load ends");
    link.await_twins("orders-1", "orders-1");
    assert_runs(&mut run);
    drain(run);
    link.assert_twins("orders-1", "orders-1");
}
