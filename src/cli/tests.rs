//! The command as a whole: help, groups, choice of links.

use std::path::Path;

use clap::CommandFactory as _;
use twinlog_config::Surroundings;
use twinlog_core::map_record::PartitionKey;
use twinlog_core::report::StatusReport;
use twinlog_core::status::{LinkStatus, PartitionStatus, Standing};

use super::output::{Format, render};
use super::*;

/// A partition that is being copied, 5 offsets behind.
pub(crate) fn partition(topic: &str, partition: i32) -> PartitionStatus {
    let key = PartitionKey { topic: topic.to_owned(), partition };
    PartitionStatus {
        position: Some(97),
        synced: Some(95),
        high_watermark: Some(100),
        last_stable_offset: Some(100),
        ..PartitionStatus::new(key, topic.to_owned(), 0, Standing::Copying, "copying")
    }
}

/// A configuration that refers to nothing outside of it.
pub(crate) fn read(text: &str) -> Result<Config, Failures> {
    let variable = |_: &str| Err(std::env::VarError::NotPresent);
    let open = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    let surroundings = Surroundings { variable: &variable, open: &open };
    twinlog_config::read(Path::new("twinlog.yaml"), text, &surroundings)
}

fn context(links: &[&str]) -> Context {
    let mut text = "clusters: {a: {bootstrap: [a:1]}, b: {bootstrap: [b:1]}}\nlinks:\n".to_owned();
    for link in links {
        text.push_str(&format!("  {link}: {{source: a, target: b, topics: {{include: [x]}}}}\n"));
    }
    let config = read(&text).expect("a configuration");
    Context { config, format: Format::Table }
}

#[test]
fn the_parser_is_sound() {
    command().debug_assert();
}

#[test]
fn every_verb_is_in_one_group_with_an_example() {
    let help = command().render_help().to_string();
    for verb in Arguments::command().get_subcommands() {
        let groups = GROUPS.iter().filter(|(_, names)| names.contains(&verb.get_name())).count();
        assert_eq!(groups, 1, "{}", verb.get_name());
        let about = verb.get_about().expect("says what it does").to_string();
        assert!(help.contains(&about), "{help}");
        let examples = verb.get_after_help().expect("has examples").to_string();
        assert!(examples.contains(&format!("twinlog {}", verb.get_name())), "{examples}");
    }
}

#[test]
fn the_link_may_be_left_out_where_there_is_one() {
    let one = context(&["dr"]);
    assert_eq!(one.link(None).expect("the only one").name.as_str(), "dr");
    let two = context(&["dr", "back"]);
    let failures = two.link(None).expect_err("which?").to_string();
    assert_eq!(
        failures,
        "error: the configuration has 2 links: which one?\n  what to do: name one: --link back, --link dr\n"
    );
    let failures = two.link(Some("drr")).expect_err("unknown");
    assert_eq!(
        failures.to_string(),
        "error: there is no link `drr`\n  what to do: links of this configuration: back, dr\n"
    );
    assert_eq!(Exit::from(&failures), Exit::Usage);
}

#[test]
fn no_link_named_is_all_of_them_and_one_named_twice_is_one() {
    let two = context(&["dr", "back"]);
    let names = |named: &[&str]| {
        let named: Vec<String> = named.iter().map(ToString::to_string).collect();
        let links = two.links(&named).expect("known links");
        links.iter().map(|link| link.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["back", "dr"]);
    assert_eq!(names(&["dr", "dr"]), ["dr"]);
}

#[test]
fn status_has_a_line_a_partition() {
    let renamed = PartitionStatus { target_topic: "orders.replica".to_owned(), ..partition("orders", 0) };
    let unknown = PartitionStatus { synced: None, high_watermark: None, ..partition("payments", 11) };
    let (link, source, target) = ("dr".to_owned(), "a".to_owned(), "b".to_owned());
    let link =
        LinkStatus { link, source, target, lanes: 4, instance: None, partitions: vec![renamed.into(), unknown.into()] };
    let report = StatusReport { links: vec![link] };
    let wanted = "\
LINK  TOPIC                    PARTITION  LANE  STATE    SYNCED  LAST-STABLE  HIGH-WATERMARK  LAG  DETAIL
dr    orders > orders.replica          0     0  copying      95          100             100    5
dr    payments                        11     0  copying       -          100               -    -
";
    assert_eq!(render(&report, Format::Table).expect("renders"), wanted);
    let text = render(&report, Format::Jsonl).expect("renders");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON a line")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["schema"], "twinlog.status/1");
    assert_eq!(lines[0]["lag"], 5);
    assert_eq!(lines[1]["lag"], serde_json::Value::Null);
    let text = render(&report, Format::Json).expect("renders");
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["links"][0]["partitions"][1]["partition"], 11);
}
