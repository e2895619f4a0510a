//! From the file's shape to a [`Config`] that a link can run with. Everything wrong is collected, so that one
//! look at the file is enough.

mod cluster;

pub(super) use self::cluster::{CLIENT_ID_DEFAULT, mechanism_names};

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use twinlog_core::config::{
    BUDGET_BYTES_DEFAULT, BUDGET_BYTES_MIN, ClusterConfig, Config, ExistingTopics, FETCH_MAX_WAIT_MAX,
    FETCH_MAX_WAIT_MIN, FetchConfig, GapPolicy, GroupRules, HTTP_LISTEN_DEFAULT, HttpConfig, Intervals, LANES_DEFAULT,
    LANES_MAX, LinkConfig, LinkName, Members, PRODUCE_IN_FLIGHT_MAX, ProduceConfig, RPO_MAX, RPO_MIN,
    SOCKET_BUFFER_MAX, SOCKET_BUFFER_MIN, SocketConfig, Timestamps,
};
use twinlog_core::objectives::Objective;
use twinlog_core::topics::TopicRules;

use super::issue::{Issue, Place, suggest};
use super::memory;
use super::raw::{
    Raw, RawFetch, RawGroups, RawHttp, RawIntervals, RawLink, RawMembers, RawObjective, RawProduce, RawSockets,
    RawTopics,
};
use super::reference::Resolver;
use super::units;
use super::yaml::{List, Text};

/// What is on its way may take a quarter of the memory: the rest is for what brokers and maps take, and for peaks.
const MEMORY_PART: u64 = 4;

/// A key that switches something on.
const YES_OR_NO: [(&str, bool); 2] = [("true", true), ("false", false)];
/// Above any machine: a typing error.
pub(super) const BUDGET_BYTES_MAX: u64 = 1 << 40;
/// Below a kilobyte every batch would come alone; above 1 GiB Kafka's own length fields end.
pub(super) const FETCH_BYTES_MIN: u64 = 1 << 10;
/// See [`FETCH_BYTES_MIN`].
pub(super) const FETCH_BYTES_MAX: u64 = 1 << 30;

pub(super) fn check(raw: &Raw, resolver: &Resolver<'_>, has_msk_iam: bool) -> Result<Config, Vec<Issue>> {
    let room = memory::limit(resolver.surroundings).unwrap_or(0) / MEMORY_PART;
    let links = u64::try_from(raw.links.entries().len()).unwrap_or(u64::MAX).max(1);
    let budget_default = BUDGET_BYTES_DEFAULT.max(room / links);
    let mut checker = Checker { resolver, budget_default, has_msk_iam, issues: Vec::new() };
    let config = checker.config(raw);
    match config {
        Some(config) if checker.issues.is_empty() => Ok(config),
        _ => {
            // In the file's order, whatever the order of the checks.
            checker.issues.sort_by_key(|issue| (issue.place.line, issue.place.column));
            Err(checker.issues)
        }
    }
}

/// Each method answers `None` after it has put down an issue, and goes on with the rest.
struct Checker<'a> {
    resolver: &'a Resolver<'a>,
    /// Of a link that says nothing of it, in bytes.
    budget_default: u64,
    /// Whether this build can log in by AWS_MSK_IAM.
    has_msk_iam: bool,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    fn refuse<T>(&mut self, place: Place, path: &str, message: impl Display, advice: Option<String>) -> Option<T> {
        let issue = Issue::new(place, format!("{path}: {message}"));
        self.issues.push(match advice {
            Some(advice) => issue.advise(advice),
            None => issue,
        });
        None
    }

    fn text(&mut self, path: &str, text: &Text) -> Option<String> {
        match self.resolver.expand(text.as_str()) {
            Ok(value) => Some(value),
            Err(message) => self.refuse(text.place(), path, message, None),
        }
    }

    fn parse<T>(&mut self, path: &str, text: &Text, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.text(path, text)?;
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(message) => self.refuse(text.place(), path, unexpanded(&message, &value, text.as_str()), None),
        }
    }

    /// An optional key: absent is the default, wrong is `None`.
    fn parse_or<T>(
        &mut self,
        path: &str,
        text: Option<&Text>,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match text {
            Some(text) => self.parse(path, text, parse),
            None => Some(default),
        }
    }

    fn list<T: FromStr<Err = String>>(&mut self, path: &str, list: &List) -> Option<Vec<T>> {
        let items: Vec<Option<T>> = list.items().iter().map(|item| self.parse(path, item, str::parse)).collect();
        items.into_iter().collect()
    }

    fn config(&mut self, raw: &Raw) -> Option<Config> {
        let mut clusters = BTreeMap::new();
        let mut whole = true;
        for (name, cluster) in raw.clusters.entries() {
            if name.as_str().is_empty() {
                self.refuse::<()>(name.place(), "clusters", "the name of a cluster must not be empty", None);
            }
            match self.cluster(&format!("clusters.{}", name.as_str()), cluster) {
                Some(cluster) => {
                    clusters.insert(name.as_str().to_owned(), cluster);
                }
                None => whole = false,
            }
        }
        let names: Vec<&str> = raw.clusters.entries().iter().map(|(name, _)| name.as_str()).collect();
        let mut links = BTreeMap::new();
        for (name, link) in raw.links.entries() {
            let path = format!("links.{}", name.as_str());
            let checked = self.parse(&path, name, str::parse::<LinkName>);
            match (checked, self.link(&path, link, &names, &clusters)) {
                (Some(name), Some(link)) => {
                    links.insert(name, link);
                }
                _ => whole = false,
            }
        }
        if raw.links.entries().is_empty() {
            return self.refuse(raw.links.place(), "links", "there is no link in this file", None);
        }
        let http = self.http(raw.http.as_ref());
        Some(Config { clusters, links, http: http? }).filter(|_| whole)
    }

    fn link(
        &mut self,
        path: &str,
        raw: &RawLink,
        names: &[&str],
        clusters: &BTreeMap<String, ClusterConfig>,
    ) -> Option<LinkConfig> {
        let key = |name: &str| format!("{path}.{name}");
        let ends = self.ends(path, raw, names, clusters);
        let topics = self.topics(&key("topics"), &raw.topics);
        let groups = self.groups(&key("groups"), &raw.groups);
        let existing = self.parse_or(&key("existing"), raw.existing.as_ref(), ExistingTopics::default(), |text| {
            one_of(text, ExistingTopics::NAMES)
        });
        let gap =
            self.parse_or(&key("gap"), raw.gap.as_ref(), GapPolicy::default(), |text| one_of(text, GapPolicy::NAMES));
        let timestamps = self.parse_or(&key("timestamps"), raw.timestamps.as_ref(), Timestamps::default(), |text| {
            one_of(text, Timestamps::NAMES)
        });
        let replication_factor =
            self.parse_or(&key("replication_factor"), raw.replication_factor.as_ref(), None, |text| {
                number(text, 1, i64::from(i16::MAX)).map(Some)
            });
        let lanes = self
            .parse_or(&key("lanes"), raw.lanes.as_ref(), LANES_DEFAULT, |text| number(text, 1, i64::from(LANES_MAX)));
        let budget_bytes = self.parse_or(&key("budget"), raw.budget.as_ref(), self.budget_default, |text| {
            size_within(text, BUDGET_BYTES_MIN, BUDGET_BYTES_MAX)
        });
        let fetch = self.fetch(&key("fetch"), &raw.fetch, budget_bytes);
        let produce = self.produce(&key("produce"), &raw.produce);
        let sockets = self.sockets(&key("sockets"), &raw.sockets);
        let intervals = self.intervals(&key("intervals"), &raw.intervals);
        let members = self.members(&key("members"), &raw.members);
        let rack = self.parse_or(&key("rack"), raw.rack.as_ref(), None, |text| not_empty(text).map(Some));
        let objectives = self.objectives(&key("objectives"), &raw.objectives);
        let (source, target) = ends?;
        Some(LinkConfig {
            source,
            target,
            topics: topics?,
            groups: groups?,
            existing: existing?,
            gap: gap?,
            timestamps: timestamps?,
            replication_factor: replication_factor?,
            lanes: lanes?,
            budget_bytes: budget_bytes?,
            fetch: fetch?,
            produce: produce?,
            sockets: sockets?,
            intervals: intervals?,
            members: members?,
            rack: rack?,
            objectives: objectives?,
        })
    }

    fn objectives(&mut self, path: &str, raw: &[RawObjective]) -> Option<Vec<Objective>> {
        let mut objectives = Vec::new();
        for (place, objective) in raw.iter().enumerate() {
            let topics = match &objective.topics {
                Some(topics) => self.list(&format!("{path}[{place}].topics"), topics),
                None => Some(Vec::new()),
            };
            let rpo = self
                .parse(&format!("{path}[{place}].rpo"), &objective.rpo, |text| duration_within(text, RPO_MIN, RPO_MAX));
            objectives.extend(topics.zip(rpo).map(|(topics, rpo)| Objective { topics, rpo }));
        }
        (objectives.len() == raw.len()).then_some(objectives)
    }

    fn http(&mut self, raw: Option<&RawHttp>) -> Option<Option<HttpConfig>> {
        let Some(raw) = raw else { return Some(None) };
        let listen = self.parse_or("http.listen", raw.listen.as_ref(), HTTP_LISTEN_DEFAULT, |text| {
            text.parse().map_err(|_| format!("`{text}` is no address with a port: write {HTTP_LISTEN_DEFAULT}"))
        });
        let partition_metrics =
            self.parse_or("http.partition_metrics", raw.partition_metrics.as_ref(), false, |text| {
                one_of(text, YES_OR_NO)
            });
        Some(Some(HttpConfig { listen: listen?, partition_metrics: partition_metrics? }))
    }

    fn ends(
        &mut self,
        path: &str,
        raw: &RawLink,
        names: &[&str],
        clusters: &BTreeMap<String, ClusterConfig>,
    ) -> Option<(String, String)> {
        let mut end = |key: &str, text: &Text| {
            let path = format!("{path}.{key}");
            let name = self.text(&path, text)?;
            if names.contains(&name.as_str()) {
                return Some(name);
            }
            let advice = suggest(&name, names.iter().copied());
            let message = format!("there is no cluster `{name}`");
            self.refuse(text.place(), &path, unexpanded(&message, &name, text.as_str()), Some(advice))
        };
        let (source, target) = (end("source", &raw.source), end("target", &raw.target));
        let (source, target) = (source?, target?);
        let target_path = format!("{path}.target");
        if source == target {
            let message = format!("source and target are the same cluster `{source}`");
            return self.refuse(raw.target.place(), &target_path, message, None);
        }
        // Two names for one cluster; the link looks deeper once it is connected.
        let ends = clusters.get(&source).zip(clusters.get(&target));
        let shared = ends.and_then(|(a, b)| a.bootstrap.iter().find(|address| b.bootstrap.contains(address)));
        if let Some(shared) = shared {
            let message = format!("clusters `{source}` and `{target}` both begin at {shared}: they are one cluster");
            return self.refuse(raw.target.place(), &target_path, message, None);
        }
        Some((source, target))
    }

    fn topics(&mut self, path: &str, raw: &RawTopics) -> Option<TopicRules> {
        let include_path = format!("{path}.include");
        let include = match raw.include.items() {
            [] => self.refuse(raw.include.place(), &include_path, "without a pattern the link mirrors nothing", None),
            _ => self.list(&include_path, &raw.include),
        };
        let exclude = match &raw.exclude {
            Some(list) => self.list(&format!("{path}.exclude"), list),
            None => Some(Vec::new()),
        };
        let rename = self.parse_or(&format!("{path}.rename"), raw.rename.as_ref(), Default::default(), str::parse);
        Some(TopicRules { include: include?, exclude: exclude?, rename: rename? })
    }

    fn groups(&mut self, path: &str, raw: &RawGroups) -> Option<GroupRules> {
        let include = match &raw.include {
            Some(list) => self.list(&format!("{path}.include"), list).map(Some),
            None => Some(None),
        };
        let exclude = match &raw.exclude {
            Some(list) => self.list(&format!("{path}.exclude"), list),
            None => Some(Vec::new()),
        };
        Some(GroupRules { include: include?, exclude: exclude? })
    }

    fn fetch(&mut self, path: &str, raw: &RawFetch, budget: Option<u64>) -> Option<FetchConfig> {
        let default = FetchConfig::default();
        let max_path = format!("{path}.max_bytes");
        let max_bytes = self.parse_or(&max_path, raw.max_bytes.as_ref(), default.max_bytes, fetch_size);
        let partition_path = format!("{path}.partition_max_bytes");
        let partition_default = default.partition_max_bytes.min(max_bytes.unwrap_or(default.max_bytes));
        let partition_max_bytes =
            self.parse_or(&partition_path, raw.partition_max_bytes.as_ref(), partition_default, fetch_size);
        let max_wait = self.parse_or(&format!("{path}.max_wait"), raw.max_wait.as_ref(), default.max_wait, |text| {
            duration_within(text, FETCH_MAX_WAIT_MIN, FETCH_MAX_WAIT_MAX)
        });
        let (max_bytes, partition_max_bytes) = (max_bytes?, partition_max_bytes?);
        if let (Some(text), Some(budget)) = (&raw.max_bytes, budget)
            && u64::try_from(max_bytes).is_ok_and(|bytes| bytes > budget)
        {
            let message = format!("one answer would not fit into the budget of {}", units::show_size(budget));
            return self.refuse(text.place(), &max_path, message, Some("lower it or raise `budget`".into()));
        }
        if let Some(text) = raw.partition_max_bytes.as_ref()
            && partition_max_bytes > max_bytes
        {
            let whole = units::show_size(u64::try_from(max_bytes).unwrap_or(0));
            let message = format!("more than the {whole} of a whole answer (`max_bytes`)");
            return self.refuse(text.place(), &partition_path, message, None);
        }
        Some(FetchConfig { max_bytes, partition_max_bytes, max_wait: max_wait? })
    }

    fn produce(&mut self, path: &str, raw: &RawProduce) -> Option<ProduceConfig> {
        let default = ProduceConfig::default().in_flight;
        let in_flight = self.parse_or(&format!("{path}.in_flight"), raw.in_flight.as_ref(), default, |text| {
            number(text, 1, i64::from(PRODUCE_IN_FLIGHT_MAX))
        });
        Some(ProduceConfig { in_flight: in_flight? })
    }

    fn sockets(&mut self, path: &str, raw: &RawSockets) -> Option<SocketConfig> {
        let mut buffer = |key: &str, text: Option<&Text>| {
            self.parse_or(&format!("{path}.{key}"), text, None, |text| socket_buffer(text).map(Some))
        };
        let receive_buffer = buffer("receive_buffer", raw.receive_buffer.as_ref());
        let send_buffer = buffer("send_buffer", raw.send_buffer.as_ref());
        Some(SocketConfig { receive_buffer: receive_buffer?, send_buffer: send_buffer? })
    }

    fn intervals(&mut self, path: &str, raw: &RawIntervals) -> Option<Intervals> {
        let default = Intervals::default();
        let mut interval = |key: &str, text: Option<&Text>, default, (low, high)| {
            self.parse_or(&format!("{path}.{key}"), text, default, |text| duration_within(text, low, high))
        };
        let topics = interval("topics", raw.topics.as_ref(), default.topics, Intervals::TOPICS_BOUNDS);
        let mark = interval("mark", raw.mark.as_ref(), default.mark, Intervals::MARK_BOUNDS);
        Some(Intervals { topics: topics?, mark: mark? })
    }

    fn members(&mut self, path: &str, raw: &RawMembers) -> Option<Members> {
        let default = Members::default();
        let mut duration = |key: &str, text: Option<&Text>, default, (low, high)| {
            self.parse_or(&format!("{path}.{key}"), text, default, |text| duration_within(text, low, high))
        };
        let session = raw.session_timeout.as_ref();
        let session_timeout =
            duration("session_timeout", session, default.session_timeout, Members::SESSION_TIMEOUT_BOUNDS);
        let settle = duration("settle", raw.settle.as_ref(), default.settle, Members::SETTLE_BOUNDS);
        Some(Members { session_timeout: session_timeout?, settle: settle? })
    }
}

/// A message about a value, without what came of references in it: that may be a secret at the wrong key.
fn unexpanded(message: &str, value: &str, written: &str) -> String {
    if value == written || value.is_empty() {
        return message.to_owned();
    }
    let of_reference = |part: &str| !part.is_empty() && value.contains(part) && !written.contains(part);
    let parts: Vec<String> = (message.split('`').enumerate())
        .map(|(number, part)| match number % 2 {
            1 if of_reference(part) => written.to_owned(),
            _ => part.replace(value, written),
        })
        .collect();
    parts.join("`")
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.to_owned()) }
}

fn one_of<T: Copy, const N: usize>(text: &str, names: [(&str, T); N]) -> Result<T, String> {
    let found = names.iter().find(|(name, _)| *name == text);
    let all = || names.map(|(name, _)| name).join(" or ");
    found.map(|(_, value)| *value).ok_or_else(|| format!("`{text}` is not known: write {}", all()))
}

fn number<T: TryFrom<i64>>(text: &str, low: i64, high: i64) -> Result<T, String> {
    let is_plain = !text.starts_with('+');
    let value = text.parse::<i64>().ok().filter(|_| is_plain).filter(|value| (low..=high).contains(value));
    value
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| format!("`{text}` is not a number from {low} to {high}"))
}

fn size_within(text: &str, low: u64, high: u64) -> Result<u64, String> {
    let bytes = units::size(text)?;
    if (low..=high).contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("`{text}` is not from {} to {}", units::show_size(low), units::show_size(high)))
}

fn fetch_size(text: &str) -> Result<i32, String> {
    let bytes = size_within(text, FETCH_BYTES_MIN, FETCH_BYTES_MAX)?;
    i32::try_from(bytes).map_err(|error| error.to_string())
}

fn socket_buffer(text: &str) -> Result<u32, String> {
    let bytes = size_within(text, u64::from(SOCKET_BUFFER_MIN), u64::from(SOCKET_BUFFER_MAX))?;
    u32::try_from(bytes).map_err(|error| error.to_string())
}

fn duration_within(text: &str, low: Duration, high: Duration) -> Result<Duration, String> {
    let value = units::duration(text)?;
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    Err(format!("`{text}` is not from {} to {}", units::show_duration(low), units::show_duration(high)))
}
