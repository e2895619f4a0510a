//! What a configuration that has changed asks of the links that run by the one before it.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::{Config, LinkConfig, LinkName};
use crate::topics::TopicRules;

/// What becomes of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is new, and begins.
    Begins,
    /// It is gone, and ends in order.
    Ends,
    /// It takes over what has changed; none of its partitions pauses.
    TakesOver,
    /// It ends in order and begins again.
    BeginsAgain,
}

/// A key whose change is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// From the top of the file on.
    pub key: Vec<String>,
    /// Why.
    pub why: String,
}

/// What becomes of each link whose configuration differs. `named` are those that were asked for by name, or none if
/// all of the file's run.
///
/// # Errors
///
/// What cannot change; then nothing may.
pub fn compare(before: &Config, after: &Config, named: &[LinkName]) -> Result<BTreeMap<LinkName, Fate>, Vec<Refused>> {
    let mut fixed = Vec::new();
    let mut refuse = |key: &[&str], why: String| {
        fixed.push(Refused { key: key.iter().map(|part| (*part).to_owned()).collect(), why });
    };
    if before.http != after.http {
        refuse(&["http"], "the port for monitoring stays as it is while `run` works".into());
    }
    let mut fates = BTreeMap::new();
    let runs = |name: &LinkName| named.is_empty() || named.contains(name);
    for name in before.links.keys().filter(|name| runs(name) && !after.links.contains_key(*name)) {
        if named.is_empty() {
            fates.insert(name.clone(), Fate::Ends);
        } else {
            refuse(&["links"], format!("link {name} is gone, and `run` was asked for it by name"));
        }
    }
    if after.links.is_empty() {
        refuse(&["links"], "no link is left: end `run` instead".into());
    }
    for (name, link) in after.links.iter().filter(|(name, _)| runs(name)) {
        let Some(was) = before.links.get(name) else {
            fates.insert(name.clone(), Fate::Begins);
            continue;
        };
        for (key, was, is) in [("source", &was.source, &link.source), ("target", &was.target, &link.target)] {
            if was != is {
                refuse(&["links", name.as_str(), key], format!("the {key} of a link that runs stays {was}"));
            }
        }
        let cluster = |of: &Config, name: &str| of.clusters.get(name).cloned();
        let is_reached_alike =
            [&link.source, &link.target].into_iter().all(|side| cluster(before, side) == cluster(after, side));
        if !is_reached_alike || !takes_over(was, link) {
            fates.insert(name.clone(), Fate::BeginsAgain);
        } else if was != link {
            fates.insert(name.clone(), Fate::TakesOver);
        }
    }
    if fixed.is_empty() { Ok(fates) } else { Err(fixed) }
}

/// Whether a link can take over all in which two configurations of it differ.
fn takes_over(before: &LinkConfig, after: &LinkConfig) -> bool {
    if !only_adds(&before.topics, &after.topics) {
        return false;
    }
    let mut alike = after.clone();
    alike.topics = before.topics.clone();
    alike.groups = before.groups.clone();
    alike.existing = before.existing;
    alike.replication_factor = before.replication_factor;
    alike.budget_bytes = before.budget_bytes;
    alike.intervals.topics = before.intervals.topics;
    alike.objectives = before.objectives.clone();
    alike == *before
}

/// Whether the rules take all that they took before, under the same names. A topic that is mirrored and no longer
/// wanted must be let go of by its lane, which only an end does.
fn only_adds(before: &TopicRules, after: &TopicRules) -> bool {
    before.rename == after.rename
        && before.include.iter().all(|pattern| after.include.contains(pattern))
        && after.exclude.iter().all(|pattern| before.exclude.contains(pattern))
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::time::Duration;

    use super::*;
    use crate::config::{ClusterConfig, ExistingTopics, HTTP_LISTEN_DEFAULT, HttpConfig};

    fn rules(include: &[&str], exclude: &[&str]) -> TopicRules {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a pattern")).collect();
        let rename = "{topic}".parse().expect("a template");
        TopicRules { include: patterns(include), exclude: patterns(exclude), rename }
    }

    fn cluster(at: &str) -> ClusterConfig {
        let bootstrap = vec![at.parse().expect("an address")];
        ClusterConfig { bootstrap, tls: None, sasl: None, client_id: "twinlog".into() }
    }

    /// Links `dr` and `eu` between the same clusters.
    fn config() -> Config {
        let link = LinkConfig::new("here", "there", rules(&["orders", "bills"], &["bills-.*"]));
        let links = ["dr", "eu"].map(|name| (name.parse().expect("a name"), link.clone()));
        let clusters = ["here", "there"].map(|name| (name.to_owned(), cluster("127.0.0.1:9092")));
        Config { clusters: clusters.into(), links: links.into(), http: None }
    }

    fn name(text: &str) -> LinkName {
        text.parse().expect("a name")
    }

    /// What becomes of the links after this change of `dr`.
    fn changed(change: impl Fn(&mut LinkConfig)) -> Result<BTreeMap<LinkName, Fate>, Vec<Refused>> {
        let mut after = config();
        change(after.links.get_mut("dr").expect("it is there"));
        compare(&config(), &after, &[])
    }

    #[test]
    fn nothing_comes_of_a_file_that_says_the_same() {
        assert_eq!(compare(&config(), &config(), &[]), Ok(BTreeMap::new()));
    }

    #[test]
    fn what_a_link_takes_over_pauses_nothing() {
        let changes: [&dyn Fn(&mut LinkConfig); 7] = [
            &|link| link.topics = rules(&["bills", "orders", "more.*"], &["bills-.*"]),
            &|link| link.topics = rules(&["orders", "bills"], &[]),
            &|link| link.existing = ExistingTopics::Append,
            &|link| link.replication_factor = Some(3),
            &|link| link.budget_bytes *= 2,
            &|link| link.intervals.topics = Duration::from_secs(60),
            &|link| {
                let topics = vec!["orders".parse().expect("a pattern")];
                link.objectives.push(crate::objectives::Objective { topics, rpo: Duration::from_secs(9) });
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_eq!(changed(change), Ok([(name("dr"), Fate::TakesOver)].into()), "{number}");
        }
    }

    #[test]
    fn what_lanes_and_connections_are_made_with_begins_the_link_again_and_no_other() {
        let changes: [&dyn Fn(&mut LinkConfig); 5] = [
            &|link| link.topics = rules(&["orders"], &["bills-.*"]),
            &|link| link.topics = rules(&["orders", "bills"], &["bills-.*", "orders"]),
            &|link| link.topics.rename = "dr.{topic}".parse().expect("a template"),
            &|link| link.fetch.max_bytes += 1,
            &|link| link.rack = Some("a".into()),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_eq!(changed(change), Ok([(name("dr"), Fate::BeginsAgain)].into()), "{number}");
        }
    }

    #[test]
    fn a_cluster_that_is_reached_otherwise_begins_its_links_again() {
        let mut before = config();
        before.clusters.insert("far".to_owned(), cluster("127.0.0.1:1"));
        before.links.get_mut("eu").expect("it is there").target = "far".to_owned();
        let mut after = before.clone();
        after.clusters.insert("far".to_owned(), cluster("127.0.0.1:2"));
        assert_eq!(compare(&before, &after, &[]), Ok([(name("eu"), Fate::BeginsAgain)].into()));
    }

    #[test]
    fn links_come_and_go() {
        let mut after = config();
        let link = after.links.remove("eu").expect("it is there");
        after.links.insert(name("us"), link);
        let fates = [(name("eu"), Fate::Ends), (name("us"), Fate::Begins)];
        assert_eq!(compare(&config(), &after, &[]), Ok(fates.into()));
        assert_eq!(compare(&config(), &after, &[name("dr")]), Ok(BTreeMap::new()), "only dr runs");
    }

    #[test]
    fn what_cannot_change_is_named() {
        let keys = |result: Result<_, Vec<Refused>>| {
            let fixed = result.expect_err("refused");
            fixed.iter().map(|fixed| fixed.key.join(".")).collect::<Vec<_>>()
        };
        let mut after = config();
        after.http = Some(HttpConfig { listen: HTTP_LISTEN_DEFAULT, partition_metrics: false });
        after.links.get_mut("dr").expect("it is there").source = "there".to_owned();
        after.links.get_mut("dr").expect("it is there").target = "here".to_owned();
        assert_eq!(keys(compare(&config(), &after, &[])), ["http", "links.dr.source", "links.dr.target"]);
        let mut after = config();
        after.links.remove("dr");
        assert_eq!(keys(compare(&config(), &after, &[name("dr")])), ["links"]);
        after.links.clear();
        assert_eq!(keys(compare(&config(), &after, &[])), ["links"]);
    }
}
