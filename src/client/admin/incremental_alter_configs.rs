//! IncrementalAlterConfigs: changes the named settings and no others.

use std::collections::BTreeMap;

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};

use super::brokers::{by_broker, connect};
use super::{ConfigResource, check, fill_missing, str_bytes};
use crate::cluster::Cluster;
use crate::error::Result;

/// What to do with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOp {
    /// Give it this value.
    Set(String),
    /// Take the resource's own value away, so that the default counts.
    Delete,
}

/// Changes to one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// What has the settings.
    pub resource: ConfigResource,
    /// The changes by the setting's name.
    pub ops: BTreeMap<String, ConfigOp>,
}

impl Cluster {
    /// Changes settings, or only tries whether they could be changed. One result a resource: a broker takes all changes
    /// of a resource or none.
    pub async fn incremental_alter_configs(
        &self,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<BTreeMap<ConfigResource, Result<()>>> {
        let mut results = BTreeMap::new();
        for (broker, changes) in by_broker(changes, |change| &change.resource) {
            match alter(self, broker, &changes, validate_only).await {
                Ok(mut part) => results.append(&mut part),
                // Other brokers may have changed something: their results must not be lost.
                Err(error) => results.extend(changes.into_iter().map(|c| (c.resource.clone(), Err(error.clone())))),
            }
        }
        Ok(results)
    }
}

async fn alter(
    cluster: &Cluster,
    broker: Option<i32>,
    changes: &[&ConfigChange],
    validate_only: bool,
) -> Result<BTreeMap<ConfigResource, Result<()>>> {
    let connection = connect(cluster, broker).await?;
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(changes.iter().map(|change| resource(change)).collect())
        .with_validate_only(validate_only);
    let answer = connection.call(request).await?;
    let results = answer.responses.iter().filter_map(|result| {
        let resource = ConfigResource::read(result.resource_type, &result.resource_name)?;
        let message = result.error_message.as_ref();
        let checked = check::<IncrementalAlterConfigsRequest>(&connection, result.error_code, Some(&resource), message);
        Some((resource, checked))
    });
    let mut results = results.collect();
    let asked = changes.iter().map(|change| change.resource.clone());
    fill_missing::<IncrementalAlterConfigsRequest, _, _>(&connection, asked, &mut results);
    Ok(results)
}

fn resource(change: &ConfigChange) -> AlterConfigsResource {
    let op = |(name, op): (&String, &ConfigOp)| {
        let config = AlterableConfig::default().with_name(str_bytes(name));
        match op {
            ConfigOp::Set(value) => config.with_config_operation(0).with_value(Some(str_bytes(value))),
            ConfigOp::Delete => config.with_config_operation(1).with_value(None),
        }
    };
    AlterConfigsResource::default()
        .with_resource_type(change.resource.kind())
        .with_resource_name(str_bytes(&change.resource.name()))
        .with_configs(change.ops.iter().map(op).collect())
}
