//! A configuration that changes while its links run.

use twinlog_testcontainers::{Produce, Program, eventually};

use crate::pair::{LONG, Link, SESSION, SHARED, assert_runs, drain};

/// The configuration with `from` replaced by `to`, which must be there, written to the file's end.
fn edit(link: &Link<'_>, from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(link.folder.path().join("twinlog.yaml")).expect("the configuration");
    assert_eq!(text.matches(from).count(), 1, "{from:?} is not once in {text}");
    let text = text.replace(from, to);
    link.write("twinlog.yaml", &text);
    text
}

/// How often the program has said something.
fn count(run: &Program, words: &str) -> usize {
    run.stderr().matches(words).count()
}

fn await_count(run: &Program, words: &str, wanted: usize) {
    eventually(&format!("{words:?} is said {wanted} times"), LONG, || (count(run, words) == wanted).then_some(()));
}

const TAKEN: &str = "Lane taken.";
const STAYS: &str = "the configuration stays as it was";

/// Given two links that run, when their file changes, then a link takes over what it can without a pause, begins again
/// alone for the rest, and what is wrong or cannot change is told with its line and changes nothing.
#[test]
fn a_file_that_changes_changes_its_links_and_no_other() {
    let link = Link::new(&SHARED, "reload", "{ include: [reload-1] }", &[]);
    link.configure(&format!(
        "  reload-other:\n    source: a\n    target: b\n    topics: {{ include: [reload-9] }}\n    \
         members: {{ session_timeout: {SESSION:?} }}\nhttp: {{ listen: '127.0.0.1:0' }}\n"
    ));
    for topic in ["reload-1", "reload-2", "reload-9"] {
        link.source().create_topic(topic, 2, &[]).expect("the topic is created");
        link.source().produce(&Produce::new(topic, 200)).expect("produced");
    }
    let mut run = link.run("run");
    link.await_twins("reload-1", "reload-1");
    link.await_twins("reload-9", "reload-9");

    // A topic more: nobody pauses.
    let begun = count(&run, TAKEN);
    edit(&link, "include: [reload-1]", "include: [reload-1, reload-2]");
    await_count(&run, "configuration read again: link reload takes over what has changed, without a pause", 1);
    link.await_twins("reload-2", "reload-2");
    link.assert_twins("reload-2", "reload-2");
    assert_eq!(count(&run, TAKEN), begun, "no link has begun again:\n{}", run.stderr());

    // What cannot be read at all, and what can but cannot change.
    let good =
        edit(&link, "target: b\n    topics: { include: [reload-9]", "target: b\n    topic: { include: [reload-9]");
    await_count(&run, STAYS, 1);
    assert!(run.stderr().contains("twinlog.yaml:13:5: unknown key `topic`"), "{}", run.stderr());
    link.write("twinlog.yaml", &good.replace("topic: {", "topics: {").replace("127.0.0.1:0", "127.0.0.1:1"));
    await_count(&run, STAYS, 2);
    assert!(run.stderr().contains("twinlog.yaml:15:1: http: the port"), "{}", run.stderr());
    link.write("twinlog.yaml", &good.replace("topic: {", "topics: {"));
    await_count(&run, "nothing changes for the links", 1);
    run.hang_up().expect("a signal is sent");
    await_count(&run, "nothing changes for the links", 2);

    // A cluster that does not answer is found out before anybody ends.
    let there = format!("b: {{ bootstrap: {:?} }}", link.pair.target.bootstrap());
    edit(&link, &there, "b: { bootstrap: ['127.0.0.1:9'] }");
    await_count(&run, STAYS, 3);
    assert!(run.stderr().contains("twinlog.yaml:3:3: clusters.b: target"), "{}", run.stderr());
    // So are other clusters in the place of those.
    let text = edit(&link, "b: { bootstrap: ['127.0.0.1:9'] }", &there);
    await_count(&run, "nothing changes for the links", 3);
    link.write(
        "twinlog.yaml",
        &text.replace("  a: {", "  c: {").replace("  b: {", "  a: {").replace("  c: {", "  b: {"),
    );
    await_count(&run, STAYS, 4);
    assert_eq!(count(&run, "this is another cluster"), 2, "{}", run.stderr());
    link.write("twinlog.yaml", &text);
    await_count(&run, "nothing changes for the links", 4);
    assert_eq!(count(&run, TAKEN), begun, "no link has begun again:\n{}", run.stderr());

    // One link begins again; the other goes on.
    edit(&link, "include: [reload-1, reload-2]", "include: [reload-1]");
    await_count(&run, "link reload ends in order and begins again", 1);
    eventually("it has begun again", LONG, || (count(&run, TAKEN) > begun).then_some(()));
    let again = run.stderr();
    let since = &again[again.find("ends in order and begins again").expect("said")..];
    // Lanes are shared out again, too, once an instance has been there for a while; nobody stops for that.
    let of_the_other = |line: &&str| line.contains("link=\"reload-other\"") && !line.contains("Lanes are shared out");
    assert_eq!(since.lines().find(of_the_other), None, "the other link did something:\n{again}");
    for topic in ["reload-1", "reload-9"] {
        link.source().produce(&Produce::new(topic, 200)).expect("produced");
        link.await_twins(topic, topic);
        link.assert_twins(topic, topic);
    }

    // A link goes, and comes.
    let text = std::fs::read_to_string(link.folder.path().join("twinlog.yaml")).expect("the configuration");
    let (kept, other) = text.split_once("  reload-other:").expect("it is there");
    link.write("twinlog.yaml", &format!("{kept}http: {{ listen: '127.0.0.1:0' }}\n"));
    await_count(&run, "configuration read again: link reload-other ends", 1);
    link.write("twinlog.yaml", &format!("{kept}  reload-other:{other}"));
    await_count(&run, "configuration read again: link reload-other begins", 1);
    link.source().produce(&Produce::new("reload-9", 200)).expect("produced");
    link.await_twins("reload-9", "reload-9");
    link.assert_twins("reload-9", "reload-9");
    assert_runs(&mut run);
    drain(run);
}
