//! `check`: both clusters looked at before anything is started. Nothing is created, taken or changed, so what only a
//! trial could tell is called unknown.

mod producers;
mod reach;
mod rights;
mod room;
mod settings;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::BTreeMap;

use twinlog_client::admin::ConfigResource;
use twinlog_client::{Address, Cluster, Error, Metadata};
use twinlog_core::mirror_settings::Settings;
use twinlog_core::report::{Check, CheckReport, Side, Verdict};

use crate::same_cluster::refuse_same_cluster;
use crate::supervisor::LinkSetup;

/// Names that one line shows.
const NAMES_SHOWN_MAX: usize = 5;

/// The addresses that the configuration gives, each of which is tried.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Of the source.
    pub source: Vec<Address>,
    /// Of the target.
    pub target: Vec<Address>,
}

/// Looks at both clusters of a link, and at its `siblings`, the links of the same configuration, for mirrors in common.
/// A cluster out of reach is a failed check.
pub async fn check(setup: &LinkSetup, addresses: &Addresses, siblings: &[LinkSetup]) -> CheckReport {
    let mut checks = Checks::default();
    let (source, target) = tokio::join!(
        reach::look(Side::Source, &setup.source, &addresses.source),
        reach::look(Side::Target, &setup.target, &addresses.target),
    );
    let (source, target) = (checks.join(source), checks.join(target));
    if let (Some(source), Some(target)) = (&source, &target) {
        same_cluster(&mut checks, source, target);
    }
    let topics = match &source {
        Some(source) => topics::select(&mut checks, setup, source),
        None => topics::Selected::default(),
    };
    if source.is_some() {
        rights::source(&mut checks, setup, &topics).await;
    }
    if let Some(target) = &target {
        let brokers = broker_settings(&setup.target, target).await;
        let present = topics::present(&mut checks, setup, siblings, &topics, source.as_deref(), target).await;
        rights::target(&mut checks, setup, &topics, &present, target).await;
        if source.is_some() {
            rights::on_groups(&mut checks, setup, target).await;
        }
        settings::look(&mut checks, setup, &topics, &present, target, &brokers).await;
        settings::replicas(&mut checks, setup, target, &brokers);
        if let Some(source) = &source {
            room::look(&mut checks, setup, &topics, source, target, &brokers).await;
        }
        producers::look(&mut checks, setup, target, &brokers).await;
    }
    CheckReport { link: setup.name.clone(), checks: checks.0 }
}

/// Effective settings of brokers, by id.
type BrokerSettings = BTreeMap<i32, Result<Settings, Error>>;

async fn broker_settings(cluster: &Cluster, metadata: &Metadata) -> BrokerSettings {
    let brokers: Vec<_> = metadata.brokers.keys().map(|node| ConfigResource::Broker(*node)).collect();
    let answers = match cluster.describe_configs(&brokers).await {
        Ok(answers) => answers,
        Err(error) => brokers.into_iter().map(|broker| (broker, Err(error.clone()))).collect(),
    };
    let values = |(resource, settings): (ConfigResource, Result<BTreeMap<_, _>, Error>)| match resource {
        ConfigResource::Broker(node) => Some((node, settings.map(values))),
        ConfigResource::Topic(_) => None,
    };
    answers.into_iter().filter_map(values).collect()
}

fn values(entries: BTreeMap<String, twinlog_client::admin::ConfigEntry>) -> Settings {
    entries.into_iter().map(|(name, entry)| (name, entry.value.unwrap_or_default())).collect()
}

/// A setting's number on every broker that told.
fn numbers(brokers: &BrokerSettings, name: &str) -> Vec<i64> {
    brokers.values().filter_map(|settings| settings.as_ref().ok()?.get(name)?.parse().ok()).collect()
}

fn same_cluster(checks: &mut Checks, source: &Metadata, target: &Metadata) {
    let about = About(None, "two clusters");
    match refuse_same_cluster(source, target) {
        Ok(None) => checks.ok(about, "source and target have no topic id and no broker in common"),
        Ok(Some(warning)) => checks.warn(about, warning.to_string(), "nothing, if that is so"),
        Err(refused) => checks.fail(about, refused.to_string(), "name two different clusters in the link"),
    }
}

/// What a check is about.
#[derive(Clone, Copy, Debug)]
struct About(Option<Side>, &'static str);

/// The checks so far.
#[derive(Debug, Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn ok(&mut self, about: About, finding: impl Into<String>) {
        self.push(about, Verdict::Ok, finding.into(), None);
    }

    fn warn(&mut self, about: About, finding: impl Into<String>, what_to_do: impl Into<String>) {
        self.push(about, Verdict::Warning, finding.into(), Some(what_to_do.into()));
    }

    fn fail(&mut self, about: About, finding: impl Into<String>, what_to_do: impl Into<String>) {
        self.push(about, Verdict::Failed, finding.into(), Some(what_to_do.into()));
    }

    fn push(&mut self, About(side, subject): About, verdict: Verdict, finding: String, what_to_do: Option<String>) {
        self.0.push(Check { side, subject: subject.to_owned(), verdict, finding, what_to_do });
    }

    /// Takes checks that were made beside.
    fn join<T>(&mut self, (mut other, found): (Self, T)) -> T {
        self.0.append(&mut other.0);
        found
    }
}

/// The first of some names, and how many more there are.
fn some_of<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(NAMES_SHOWN_MAX);
    let mut text = names.take(NAMES_SHOWN_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// `1234567` as `1,234,567`.
fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 partition`, `2 partitions`, `2 addresses`.
fn count(number: usize, word: &str) -> String {
    let ending = match number {
        1 => "",
        _ if word.ends_with('s') => "es",
        _ => "s",
    };
    format!("{number} {word}{ending}")
}
