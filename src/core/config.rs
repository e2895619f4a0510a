//! The checked configuration: types that cannot hold what a link cannot run with.
//!
//! Parsing lies outside (the root package reads YAML and reports places). These types hold the rules, so that
//! every way in, a file or a test, passes the same checks. Each rule answers with a plain sentence that says
//! what is wrong; the caller adds the place.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::str::FromStr;
use core::time::Duration;

use twinlog_wire::repack::AppendTime;

use crate::objectives::Objective;
use crate::topics::{Pattern, TopicRules};

pub mod security;

use security::{SaslConfig, TlsConfig};

/// The whole configuration. Every link in it names two clusters that are in it, too.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Clusters by name.
    pub clusters: BTreeMap<String, ClusterConfig>,
    /// Links by name.
    pub links: BTreeMap<LinkName, LinkConfig>,
    /// Where `run` answers monitoring; without it, it listens nowhere.
    pub http: Option<HttpConfig>,
}

/// What `run` shows of itself over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Address to listen on. Default: [`HTTP_LISTEN_DEFAULT`].
    pub listen: SocketAddr,
    /// Whether there are metrics of each partition. Default: no.
    pub partition_metrics: bool,
}

/// On this machine alone: whoever reaches the port reads all that it shows.
pub const HTTP_LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfig {
    /// Addresses to start from, at least one. The cluster's own answer replaces them.
    pub bootstrap: Vec<HostPort>,
    /// TLS; without it connections are plain.
    pub tls: Option<TlsConfig>,
    /// SASL; without it brokers know us by our certificate, or not at all.
    pub sasl: Option<SaslConfig>,
    /// Name that brokers show in their logs and quotas. Default: `twinlog`.
    pub client_id: String,
}

/// One direction between two clusters.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// Name of the cluster to read from.
    pub source: String,
    /// Name of the cluster to write to; never the source's.
    pub target: String,
    /// Which topics are mirrored, and under which names.
    pub topics: TopicRules,
    /// Whose positions are brought to the target. Default: all groups'.
    pub groups: GroupRules,
    /// What to do where a target topic with records in it is there already. Default: refuse.
    pub existing: ExistingTopics,
    /// What becomes of a partition whose source deleted records before they were copied. Default: it stops.
    pub gap: GapPolicy,
    /// What records have as timestamps that the source's broker gave a time. Default: that time.
    pub timestamps: Timestamps,
    /// Replication factor of mirrors that the link creates. Default: the target's own default.
    pub replication_factor: Option<i16>,
    /// Number of lanes of a new link, 1 to [`LANES_MAX`]; later its state says it. Default: [`LANES_DEFAULT`].
    pub lanes: u16,
    /// Bytes of fetched frames that may wait in memory at once, from [`BUDGET_BYTES_MIN`] on.
    /// Default: the links' share of a quarter of the memory that the process may have, at least
    /// [`BUDGET_BYTES_DEFAULT`].
    pub budget_bytes: u64,
    /// Limits of one Fetch request.
    pub fetch: FetchConfig,
    /// How mirrors are written.
    pub produce: ProduceConfig,
    /// The buffers of connections.
    pub sockets: SocketConfig,
    /// How often the link looks again at what changes slowly.
    pub intervals: Intervals,
    /// How instances of the link share its lanes.
    pub members: Members,
    /// Rack of this instance, by which the source's brokers name a nearer replica to read from (KIP-392).
    /// Default: none, and all is read from leaders.
    pub rack: Option<String>,
    /// How far behind partitions may be. Default: nothing is said.
    pub objectives: Vec<Objective>,
}

/// Which consumer groups' positions a link brings to the target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupRules {
    /// A group is taken if one of these matches; none stands for all groups.
    pub include: Option<Vec<Pattern>>,
    /// A group that one of these matches is left out, also if an include names it.
    pub exclude: Vec<Pattern>,
}

impl GroupRules {
    /// Whether a group's positions are brought to the target.
    pub fn take(&self, group: &str) -> bool {
        let matches = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(group));
        self.include.as_deref().is_none_or(matches) && !matches(&self.exclude)
    }

    /// Whether no group can be taken.
    pub fn are_off(&self) -> bool {
        self.include.as_ref().is_some_and(Vec::is_empty)
    }
}

impl LinkConfig {
    /// With the default of all that may be left out.
    pub fn new(source: &str, target: &str, topics: TopicRules) -> Self {
        Self {
            source: source.into(),
            target: target.into(),
            topics,
            groups: GroupRules::default(),
            existing: ExistingTopics::default(),
            gap: GapPolicy::default(),
            timestamps: Timestamps::default(),
            replication_factor: None,
            lanes: LANES_DEFAULT,
            budget_bytes: BUDGET_BYTES_DEFAULT,
            fetch: FetchConfig::default(),
            produce: ProduceConfig::default(),
            sockets: SocketConfig::default(),
            intervals: Intervals::default(),
            members: Members::default(),
            rack: None,
            objectives: Vec::new(),
        }
    }
}

/// Partitions are known to be current about once a second; below this an objective would be breached by that alone.
pub const RPO_MIN: Duration = Duration::from_secs(3);
/// A week: above it an objective says nothing.
pub const RPO_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Lanes of a link that names no number.
pub const LANES_DEFAULT: u16 = 2;
/// Each lane is a partition of the map topic and a producer id: more than this helps no machine.
pub const LANES_MAX: u16 = 256;
/// Memory budget of a link that names none, at least: 64 MiB.
pub const BUDGET_BYTES_DEFAULT: u64 = 64 << 20;
/// Below 8 MiB a single batch of the usual largest size could stop all others.
pub const BUDGET_BYTES_MIN: u64 = 8 << 20;

/// What to do where a target topic with records in it is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingTopics {
    /// Only empty topics and the link's own mirrors are written to.
    #[default]
    Refuse,
    /// The map starts at the target's present end.
    Append,
}

impl ExistingTopics {
    /// All values, as the file spells them.
    pub const NAMES: [(&'static str, Self); 2] = [("refuse", Self::Refuse), ("append", Self::Append)];
}

/// What becomes of a partition whose source deleted records before they were copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GapPolicy {
    /// It stops, until somebody decides.
    #[default]
    Halt,
    /// It goes on behind them; what is lost is noted.
    Skip,
}

impl GapPolicy {
    /// All values, as the file spells them.
    pub const NAMES: [(&'static str, Self); 2] = [("halt", Self::Halt), ("skip", Self::Skip)];
}

/// What records have as timestamps where the source's broker gave them a time (`LogAppendTime`); mirrors keep what they
/// are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// That time: consumers of the mirror see what those of the source see.
    #[default]
    Append,
    /// The time that their producer gave them, which no consumer of the source sees.
    Create,
}

impl Timestamps {
    /// All values, as the file spells them.
    pub const NAMES: [(&'static str, Self); 2] = [("append", Self::Append), ("create", Self::Create)];

    /// What becomes of the broker's time where a batch is opened.
    pub fn append_time(self) -> AppendTime {
        match self {
            Self::Append => AppendTime::Keep,
            Self::Create => AppendTime::Drop,
        }
    }
}

/// Limits of one Fetch request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchConfig {
    /// Bytes of one answer, all partitions together; at most the link's budget. Default: 8 MiB.
    pub max_bytes: i32,
    /// Bytes of one partition in an answer; at most `max_bytes`. Default: 8 MiB. A larger batch still comes whole.
    pub partition_max_bytes: i32,
    /// How long a broker may wait for the first byte, up to 30 s. Default: 500 ms.
    pub max_wait: Duration,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self { max_bytes: 8 << 20, partition_max_bytes: 8 << 20, max_wait: Duration::from_millis(500) }
    }
}

/// Below this an idle link would ask its brokers without a pause.
pub const FETCH_MAX_WAIT_MIN: Duration = Duration::from_millis(10);

/// The broker holds a waiting Fetch that long; above this a stop would take as long as the wait.
pub const FETCH_MAX_WAIT_MAX: Duration = Duration::from_secs(30);

/// How mirrors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceConfig {
    /// Produce requests of a lane that may be in flight to one broker, 1 to [`PRODUCE_IN_FLIGHT_MAX`]. A broker works
    /// on one at a time; the others are on their way meanwhile. Default: 4.
    pub in_flight: u16,
}

impl Default for ProduceConfig {
    fn default() -> Self {
        Self { in_flight: 4 }
    }
}

/// A connection takes no more requests at once than twice this.
pub const PRODUCE_IN_FLIGHT_MAX: u16 = 32;

/// The kernel's buffers of connections, in bytes, from [`SOCKET_BUFFER_MIN`] to [`SOCKET_BUFFER_MAX`]. Default: the
/// kernel sizes them. Linux gives no more than `net.core.rmem_max` and `net.core.wmem_max`, and says nothing of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketConfig {
    /// Receive buffer of connections to the source.
    pub receive_buffer: Option<u32>,
    /// Send buffer of connections to the target.
    pub send_buffer: Option<u32>,
}

/// Below 16 KiB a batch of the usual size would be many writes.
pub const SOCKET_BUFFER_MIN: u32 = 16 << 10;
/// Enough for 10 Gbit/s over half a second.
pub const SOCKET_BUFFER_MAX: u32 = 512 << 20;

/// How often the link looks again at what changes slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// New topics, new partitions, changed settings. From 1 s to 1 h. Default: 10 s.
    pub topics: Duration,
    /// Progress marks in the map, while moving: recovery reads the target's tail from the last one.
    /// From 100 ms to 1 min. Default: 2 s.
    pub mark: Duration,
}

impl Intervals {
    /// Bounds of `topics`.
    pub const TOPICS_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
    /// Bounds of `mark`.
    pub const MARK_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
}

impl Default for Intervals {
    fn default() -> Self {
        Self { topics: Duration::from_secs(10), mark: Duration::from_secs(2) }
    }
}

/// How instances of a link share its lanes. All must have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Members {
    /// Without a sign of life for so long, an instance's lanes go to others; the target's brokers bound it by
    /// `group.min.session.timeout.ms` and `group.max.session.timeout.ms`. From 1 s to 5 min. Default: 10 s.
    pub session_timeout: Duration,
    /// How long an instance must have been there before lanes of others are moved to it. From 0 s to 1 h.
    /// Default: 30 s.
    pub settle: Duration,
}

impl Members {
    /// Bounds of `session_timeout`.
    pub const SESSION_TIMEOUT_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
    /// Bounds of `settle`.
    pub const SETTLE_BOUNDS: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(3600));
}

impl Default for Members {
    fn default() -> Self {
        Self { session_timeout: Duration::from_secs(10), settle: Duration::from_secs(30) }
    }
}

/// The name of a link. It becomes part of topic names and transactional ids, so it is narrow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName(String);

impl LinkName {
    /// Longest link name: `__twinlog.<link>.map` stays far below Kafka's limit for topic names.
    pub const LENGTH_MAX: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::borrow::Borrow<str> for LinkName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LinkName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if text.is_empty() || text.len() > Self::LENGTH_MAX {
            return Err(format!("a link name has 1 to {} characters, this one {}", Self::LENGTH_MAX, text.len()));
        }
        if !text.bytes().all(legal) || text.starts_with('-') || text.ends_with('-') {
            return Err(format!(
                "link name `{text}`: only a-z, 0-9 and inner hyphens, \
                 since it becomes part of topic names and transactional ids"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// An address to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Host name or IP address, an IPv6 address without its brackets.
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(',') {
            return Err(format!("`{text}` is more than one address: write each as an item of its own"));
        }
        let Some((host, port)) = text.rsplit_once(':').filter(|_| !text.ends_with(']')) else {
            return Err(format!("`{text}` has no port: write host:port"));
        };
        let host = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) => inner,
            None if host.contains("://") => {
                return Err(format!("`{text}` is a URL: write host:port alone"));
            }
            None if host.contains(':') => {
                return Err(format!("`{text}`: write an IPv6 address in brackets, [::1]:9092"));
            }
            None => host,
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '[' | ']')) {
            return Err(format!("`{text}` has no usable host name: write host:port"));
        }
        match port.parse::<u16>() {
            // A number may have a sign for Rust.
            Ok(number) if number > 0 && !port.starts_with('+') => Ok(Self { host: host.to_string(), port: number }),
            _ => Err(format!("`{text}` has no usable port: 1 to 65535")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_back() {
        for text in ["127.0.0.1:19092", "kafka-1.example:9092", "[::1]:9092"] {
            assert_eq!(text.parse::<HostPort>().expect("legal").to_string(), text);
        }
    }

    #[test]
    fn an_address_without_a_port_or_host_is_refused() {
        for (text, wanted) in [
            ("kafka", "no port"),
            ("kafka:", "usable port"),
            ("kafka:0", "usable port"),
            ("kafka:70000", "usable port"),
            (":9092", "host name"),
            ("::1:9092", "brackets"),
            ("[::1]", "no port"),
            ("a:9092,b:9092", "more than one address"),
            ("a,b:9092", "more than one address"),
            ("kafka:+9092", "no usable port"),
            ("kafka://a:9092", "URL"),
        ] {
            let error = text.parse::<HostPort>().expect_err(text);
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn link_names_are_narrow() {
        for text in ["dr", "a-b-2", "0"] {
            assert_eq!(text.parse::<LinkName>().expect("legal").as_str(), text);
        }
        for text in ["", "DR", "a_b", "a.b", "-a", "a-", "ä"] {
            text.parse::<LinkName>().expect_err(text);
        }
        "a".repeat(LinkName::LENGTH_MAX).parse::<LinkName>().expect("at the limit");
        "a".repeat(LinkName::LENGTH_MAX + 1).parse::<LinkName>().expect_err("above the limit");
    }
}
