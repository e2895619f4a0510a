//! DescribeConfigs: effective settings of topics and brokers, with where each value comes from.

use std::collections::BTreeMap;
use std::fmt;

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};

use super::brokers::{by_broker, connect};
use super::{check, fill_missing, str_bytes};
use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::error::Result;

/// What has settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic by name.
    Topic(String),
    /// A broker by id.
    Broker(i32),
}

impl ConfigResource {
    /// Kafka's number of the kind.
    pub(super) fn kind(&self) -> i8 {
        match self {
            Self::Topic(_) => 2,
            Self::Broker(_) => 4,
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Topic(name) => name.clone(),
            Self::Broker(node) => node.to_string(),
        }
    }

    pub(super) fn read(kind: i8, name: &str) -> Option<Self> {
        match kind {
            2 => Some(Self::Topic(name.to_owned())),
            4 => name.parse().ok().map(Self::Broker),
            _ => None,
        }
    }
}

impl fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Broker(node) => write!(f, "broker {node}"),
        }
    }
}

/// Where a value comes from, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigSource {
    /// The topic's own setting.
    Topic,
    /// Set at run time for this broker.
    DynamicBroker,
    /// Set at run time for all brokers.
    DynamicDefaultBroker,
    /// The broker's file.
    StaticBroker,
    /// Kafka's own default.
    Default,
    /// A number that twinlog does not know.
    Other(i8),
}

impl ConfigSource {
    fn read(number: i8) -> Self {
        match number {
            1 => Self::Topic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefaultBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            other => Self::Other(other),
        }
    }
}

/// The effective value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// None where the setting is sensitive or has no value.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed at run time.
    pub is_read_only: bool,
    /// Whether its value is kept secret.
    pub is_sensitive: bool,
}

impl Cluster {
    /// All effective settings by name, one result a resource. Brokers are asked themselves; one that cannot be reached
    /// fails its own resource only.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
    ) -> Result<BTreeMap<ConfigResource, Result<BTreeMap<String, ConfigEntry>>>> {
        let mut results = BTreeMap::new();
        for (broker, resources) in by_broker(resources, |resource| resource) {
            match describe(self, broker, &resources).await {
                Ok(mut part) => results.append(&mut part),
                Err(error) if broker.is_none() => return Err(error),
                Err(error) => results.extend(resources.into_iter().map(|r| (r.clone(), Err(error.clone())))),
            }
        }
        Ok(results)
    }
}

async fn describe(
    cluster: &Cluster,
    broker: Option<i32>,
    resources: &[&ConfigResource],
) -> Result<BTreeMap<ConfigResource, Result<BTreeMap<String, ConfigEntry>>>> {
    let connection = connect(cluster, broker).await?;
    let resource = |resource: &&ConfigResource| {
        DescribeConfigsResource::default()
            .with_resource_type(resource.kind())
            .with_resource_name(str_bytes(&resource.name()))
            .with_configuration_keys(None)
    };
    let request = DescribeConfigsRequest::default().with_resources(resources.iter().map(resource).collect());
    let answer = connection.call(request).await?;
    let results = answer.results.iter().filter_map(|result| {
        let resource = ConfigResource::read(result.resource_type, &result.resource_name)?;
        let entries = entries(&connection, &resource, result);
        Some((resource, entries))
    });
    let mut results = results.collect();
    let asked = resources.iter().map(|resource| (*resource).clone());
    fill_missing::<DescribeConfigsRequest, _, _>(&connection, asked, &mut results);
    Ok(results)
}

fn entries(
    connection: &Connection,
    resource: &ConfigResource,
    result: &DescribeConfigsResult,
) -> Result<BTreeMap<String, ConfigEntry>> {
    let message = result.error_message.as_ref();
    check::<DescribeConfigsRequest>(connection, result.error_code, Some(resource), message)?;
    let entry = |config: &DescribeConfigsResourceResult| ConfigEntry {
        value: config.value.as_ref().map(|value| value.to_string()),
        source: ConfigSource::read(config.config_source),
        is_read_only: config.read_only,
        is_sensitive: config.is_sensitive,
    };
    Ok(result.configs.iter().map(|config| (config.name.to_string(), entry(config))).collect())
}
