//! The shape of the file, and what is said of each key to those who write it: these words stand in the JSON Schema and
//! in docs/configuration.md. What comes of the keys is in the checked type of the same name in `twinlog_core::config`.

use schemars::JsonSchema;
use serde::Deserialize;
use twinlog_core::config::{
    BUDGET_BYTES_MIN, ExistingTopics, FETCH_MAX_WAIT_MAX, FETCH_MAX_WAIT_MIN, FetchConfig, GapPolicy,
    HTTP_LISTEN_DEFAULT, Intervals, LANES_DEFAULT, LANES_MAX, Members, PRODUCE_IN_FLIGHT_MAX, ProduceConfig, RPO_MAX,
    RPO_MIN, SOCKET_BUFFER_MAX, SOCKET_BUFFER_MIN, Timestamps,
};

use super::check::{BUDGET_BYTES_MAX, CLIENT_ID_DEFAULT, FETCH_BYTES_MAX, FETCH_BYTES_MIN, mechanism_names};
use super::schema::{duration, number, one_of, secret, size, text, words, yes_or_no};
use super::yaml::{ByName, List, Text, present};

/// The file has clusters, and links between them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    /// Clusters by names of your own.
    pub(super) clusters: ByName<RawCluster>,
    /// Links by their names: lower-case letters, digits and inner hyphens, at most 64.
    pub(super) links: ByName<RawLink>,
    /// `http: {}` opens a port for monitoring while `run` works; without it none is open.
    #[serde(default, deserialize_with = "present")]
    pub(super) http: Option<RawHttp>,
}

/// Metrics, health and status on one port while `run` works.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttp {
    /// Address and port. Nobody is asked who he is, so keep it among yourselves.
    #[schemars(transform = text(HTTP_LISTEN_DEFAULT))]
    pub(super) listen: Option<Text>,
    /// Metrics of each partition, too: four for each.
    #[schemars(transform = yes_or_no(false))]
    pub(super) partition_metrics: Option<Text>,
}

/// How a cluster is reached.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCluster {
    /// Addresses to start from, as `host:port`; the brokers name the others.
    pub(super) bootstrap: List,
    /// `tls: {}` for TLS; without it connections are plain.
    #[serde(default, deserialize_with = "present")]
    pub(super) tls: Option<RawTls>,
    /// How to log in; without it brokers know the link by its certificate, or not at all.
    #[serde(default, deserialize_with = "present")]
    pub(super) sasl: Option<RawSasl>,
    /// Name in the brokers' logs and quotas.
    #[schemars(transform = text(CLIENT_ID_DEFAULT))]
    pub(super) client_id: Option<Text>,
}

/// TLS. Files are read again when they change, without a restart.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    /// PEM file of the authorities to trust; without it the system's are.
    pub(super) ca_file: Option<Text>,
    /// Name that the brokers' certificates must carry; without it the host that is dialled.
    pub(super) server_name: Option<Text>,
    /// PEM file of the certificate that is shown to brokers that ask for one.
    pub(super) cert_file: Option<Text>,
    /// PEM file of its private key, without a passphrase.
    pub(super) key_file: Option<Text>,
}

// Which of the keys are needed depends on the mechanism. Those of secrets are in `super::secrets`, too.
/// How to log in. PLAIN and SCRAM have `username` and `password`, OAUTHBEARER `token_file` or `token_endpoint`,
/// AWS_MSK_IAM `region`, `access_key_id` and `secret_access_key`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSasl {
    /// As the brokers name it. AWS_MSK_IAM, for Amazon MSK, needs `tls` and a build with `--features msk-iam`; it was
    /// tested against AWS's published signing vectors and a stand-in for a broker's answer, never against a live MSK
    /// cluster.
    #[schemars(transform = words(mechanism_names()))]
    pub(super) mechanism: Text,
    /// The user's name.
    pub(super) username: Option<Text>,
    /// The user's password: a reference.
    #[schemars(transform = secret)]
    pub(super) password: Option<Text>,
    /// File with a token that somebody else keeps fresh; read for each login.
    pub(super) token_file: Option<Text>,
    /// Where tokens are asked for.
    pub(super) token_endpoint: Option<RawTokenEndpoint>,
    /// Names and values that some services want beside the token, as `logicalCluster`.
    pub(super) extensions: Option<ByName<Text>>,
    /// Region of AWS where the cluster is, as `eu-central-1`.
    pub(super) region: Option<Text>,
    /// The access key's name at AWS.
    pub(super) access_key_id: Option<Text>,
    /// The access key's secret: a reference.
    #[schemars(transform = secret)]
    pub(super) secret_access_key: Option<Text>,
    /// The token of a key that is good for some hours only: a reference. Links begin again by the next key
    /// when the files that hold it change.
    #[schemars(transform = secret)]
    pub(super) session_token: Option<Text>,
}

/// Where tokens are asked for by client credentials (RFC 6749, section 4.4).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTokenEndpoint {
    /// An `https` address, or `http` on this machine.
    pub(super) url: Text,
    /// The client's name there.
    pub(super) client_id: Text,
    /// The client's secret: a reference.
    #[schemars(transform = secret)]
    pub(super) client_secret: Text,
    /// What the token is to be good for.
    pub(super) scope: Option<Text>,
    /// PEM file of the authorities to trust; without it the system's are.
    pub(super) ca_file: Option<Text>,
}

/// One direction between two clusters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLink {
    /// Name of the cluster to read from.
    pub(super) source: Text,
    /// Name of the cluster to write to.
    pub(super) target: Text,
    /// Which topics are mirrored, and under which names.
    pub(super) topics: RawTopics,
    /// Whose positions are brought to the target.
    #[serde(default)]
    #[schemars(extend("x-always" = true))]
    pub(super) groups: RawGroups,
    /// `refuse` writes only to empty topics and the link's own mirrors, `append` also behind records of others.
    #[schemars(transform = one_of(ExistingTopics::NAMES, Some(ExistingTopics::default())))]
    pub(super) existing: Option<Text>,
    /// Where the source deleted records before they were copied: `halt` stops the partition until somebody decides,
    /// `skip` goes on behind them, and what is lost is noted.
    #[schemars(transform = one_of(GapPolicy::NAMES, Some(GapPolicy::default())))]
    pub(super) gap: Option<Text>,
    /// Of records whose source topic has `message.timestamp.type=LogAppendTime`: `append` is the broker's time, as
    /// its consumers see it, `create` the producer's.
    #[schemars(transform = one_of(Timestamps::NAMES, Some(Timestamps::default())))]
    pub(super) timestamps: Option<Text>,
    /// Of mirrors that the link creates; without it the target's own default.
    #[schemars(transform = number(1, i16::MAX.into(), None))]
    pub(super) replication_factor: Option<Text>,
    /// Shares of the partitions of a new link: each is one thread's work. Later `twinlog lanes resize` changes their
    /// number.
    #[schemars(transform = number(1, LANES_MAX.into(), Some(LANES_DEFAULT.into())))]
    pub(super) lanes: Option<Text>,
    /// Fetched bytes that may wait in memory; lanes that copy something share it. Without it a quarter of the memory
    /// limit of the container, shared by the links, at least 64MiB.
    #[schemars(transform = size(Some((BUDGET_BYTES_MIN, BUDGET_BYTES_MAX)), None))]
    pub(super) budget: Option<Text>,
    /// Limits of one Fetch request.
    #[serde(default)]
    #[schemars(extend("x-always" = true))]
    pub(super) fetch: RawFetch,
    /// How mirrors are written.
    #[serde(default)]
    #[schemars(extend("x-always" = true))]
    pub(super) produce: RawProduce,
    /// The kernel's buffers of connections.
    #[serde(default)]
    #[schemars(extend("x-always" = true))]
    pub(super) sockets: RawSockets,
    /// How often the link looks again at what changes slowly.
    #[serde(default)]
    #[schemars(extend("x-always" = true))]
    pub(super) intervals: RawIntervals,
    /// How instances of the link share its lanes. All must have the same.
    #[serde(default)]
    #[schemars(extend("x-always" = true))]
    pub(super) members: RawMembers,
    /// Rack or zone of this instance: where the source's brokers have a `replica.selector.class`, records are read
    /// from a replica there (KIP-392). Without it all is read from leaders. `${env:NAME}` lets each instance have its
    /// own.
    pub(super) rack: Option<Text>,
    /// How far behind partitions may be; one that is breached is told in the log and the metrics.
    #[serde(default)]
    pub(super) objectives: Vec<RawObjective>,
}

/// An objective; the first that fits a topic counts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawObjective {
    /// Regular expressions of source topics; without it all.
    pub(super) topics: Option<List>,
    /// How long ago each partition may have been current at most.
    #[schemars(transform = duration((RPO_MIN, RPO_MAX), None))]
    pub(super) rpo: Text,
}

/// Which topics are mirrored, and under which names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTopics {
    /// Regular expressions for whole names; `__…` topics only when they are named literally.
    pub(super) include: List,
    /// Regular expressions of what is left out all the same.
    pub(super) exclude: Option<List>,
    /// Name of the mirror, from `{topic}` and the source cluster's name, `{source}`.
    #[schemars(transform = text("{topic}"))]
    pub(super) rename: Option<Text>,
}

/// Consumer groups whose positions are brought to the target, as soon as the records before them are there. A group
/// that is used on the target is not touched.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGroups {
    /// Regular expressions for whole names; without it all groups, and with an empty list none.
    pub(super) include: Option<List>,
    /// Regular expressions of what is left out all the same.
    pub(super) exclude: Option<List>,
}

/// Limits of one Fetch request.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFetch {
    /// Bytes of one answer, at most the budget; less is asked of brokers that are near.
    #[schemars(transform = size(Some((FETCH_BYTES_MIN, FETCH_BYTES_MAX)), Some(fetch_default().0)))]
    pub(super) max_bytes: Option<Text>,
    /// Bytes of one partition in an answer: at most its share of it and 64KiB, or two of the largest batches.
    #[schemars(transform = size(Some((FETCH_BYTES_MIN, FETCH_BYTES_MAX)), Some(fetch_default().1)))]
    pub(super) partition_max_bytes: Option<Text>,
    /// How long a broker may wait for data.
    #[schemars(transform = duration((FETCH_MAX_WAIT_MIN, FETCH_MAX_WAIT_MAX), Some(FetchConfig::default().max_wait)))]
    pub(super) max_wait: Option<Text>,
}

fn fetch_default() -> (u64, u64) {
    let FetchConfig { max_bytes, partition_max_bytes, .. } = FetchConfig::default();
    (u64::try_from(max_bytes).unwrap_or_default(), u64::try_from(partition_max_bytes).unwrap_or_default())
}

/// How mirrors are written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProduce {
    /// Produce requests of a lane that may be in flight to one broker.
    #[schemars(transform = number(1, PRODUCE_IN_FLIGHT_MAX.into(), Some(ProduceConfig::default().in_flight.into())))]
    pub(super) in_flight: Option<Text>,
}

/// The kernel's buffers of connections; without them it sizes them itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSockets {
    /// Of connections to the source; Linux gives at most `net.core.rmem_max`.
    #[schemars(transform = size(Some((SOCKET_BUFFER_MIN.into(), SOCKET_BUFFER_MAX.into())), None))]
    pub(super) receive_buffer: Option<Text>,
    /// Of connections to the target; Linux gives at most `net.core.wmem_max`.
    #[schemars(transform = size(Some((SOCKET_BUFFER_MIN.into(), SOCKET_BUFFER_MAX.into())), None))]
    pub(super) send_buffer: Option<Text>,
}

/// How often the link looks again at what changes slowly.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIntervals {
    /// For new topics and partitions.
    #[schemars(transform = duration(Intervals::TOPICS_BOUNDS, Some(Intervals::default().topics)))]
    pub(super) topics: Option<Text>,
    /// Between two marks of the progress in the map: after a start the mirrors are read from the last one.
    #[schemars(transform = duration(Intervals::MARK_BOUNDS, Some(Intervals::default().mark)))]
    pub(super) mark: Option<Text>,
}

/// How instances of the link share its lanes. All must have the same.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMembers {
    /// Without a sign of life for so long, an instance's lanes go to others. The target's brokers bound it, by
    /// `group.min.session.timeout.ms` (6s by default) and `group.max.session.timeout.ms`.
    #[schemars(transform = duration(Members::SESSION_TIMEOUT_BOUNDS, Some(Members::default().session_timeout)))]
    pub(super) session_timeout: Option<Text>,
    /// How long an instance must have been there before lanes of others move to it.
    #[schemars(transform = duration(Members::SETTLE_BOUNDS, Some(Members::default().settle)))]
    pub(super) settle: Option<Text>,
}
