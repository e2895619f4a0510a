//! The shape of the file. What a key means, its unit, default and limits stand at the checked type of the same
//! name in `twinlog_core::config`; here is only which keys there are.

use serde::Deserialize;

use super::yaml::{ByName, List, Text, present};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) clusters: ByName<RawCluster>,
    pub(super) links: ByName<RawLink>,
    #[serde(default, deserialize_with = "present")]
    pub(super) http: Option<RawHttp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttp {
    pub(super) listen: Option<Text>,
    pub(super) partition_metrics: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCluster {
    pub(super) bootstrap: List,
    #[serde(default, deserialize_with = "present")]
    pub(super) tls: Option<RawTls>,
    #[serde(default, deserialize_with = "present")]
    pub(super) sasl: Option<RawSasl>,
    pub(super) client_id: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) ca_file: Option<Text>,
    pub(super) server_name: Option<Text>,
    pub(super) cert_file: Option<Text>,
    pub(super) key_file: Option<Text>,
}

/// Which of the keys are needed depends on the mechanism. Those of secrets are in `super::secrets`, too.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSasl {
    pub(super) mechanism: Text,
    pub(super) username: Option<Text>,
    pub(super) password: Option<Text>,
    pub(super) token_file: Option<Text>,
    pub(super) token_endpoint: Option<RawTokenEndpoint>,
    pub(super) extensions: Option<ByName<Text>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTokenEndpoint {
    pub(super) url: Text,
    pub(super) client_id: Text,
    pub(super) client_secret: Text,
    pub(super) scope: Option<Text>,
    pub(super) ca_file: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLink {
    pub(super) source: Text,
    pub(super) target: Text,
    pub(super) topics: RawTopics,
    pub(super) existing: Option<Text>,
    pub(super) gap: Option<Text>,
    pub(super) timestamps: Option<Text>,
    pub(super) replication_factor: Option<Text>,
    pub(super) lanes: Option<Text>,
    pub(super) budget: Option<Text>,
    #[serde(default)]
    pub(super) fetch: RawFetch,
    #[serde(default)]
    pub(super) produce: RawProduce,
    #[serde(default)]
    pub(super) sockets: RawSockets,
    #[serde(default)]
    pub(super) intervals: RawIntervals,
    #[serde(default)]
    pub(super) members: RawMembers,
    pub(super) rack: Option<Text>,
    #[serde(default)]
    pub(super) objectives: Vec<RawObjective>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawObjective {
    pub(super) topics: Option<List>,
    pub(super) rpo: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTopics {
    pub(super) include: List,
    pub(super) exclude: Option<List>,
    pub(super) rename: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFetch {
    pub(super) max_bytes: Option<Text>,
    pub(super) partition_max_bytes: Option<Text>,
    pub(super) max_wait: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProduce {
    pub(super) in_flight: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSockets {
    pub(super) receive_buffer: Option<Text>,
    pub(super) send_buffer: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIntervals {
    pub(super) topics: Option<Text>,
    pub(super) mark: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMembers {
    pub(super) session_timeout: Option<Text>,
    pub(super) settle: Option<Text>,
}
