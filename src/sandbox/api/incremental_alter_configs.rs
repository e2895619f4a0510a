//! IncrementalAlterConfigs of topics; brokers' settings are given with the sandbox's spec.

use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use twinlog_wire::error_code::ErrorCode;

use super::describe_configs::KIND_TOPIC;
use super::{Api, Attempt, Context, text};
use crate::cluster::Objection;
use crate::settings::{Kind, TOPIC};

/// What to do with a setting (`AlterConfigOp.OpType`).
mod operation {
    pub(super) const SET: i8 = 0;
    pub(super) const DELETE: i8 = 1;
    pub(super) const APPEND: i8 = 2;
    pub(super) const SUBTRACT: i8 = 3;
}

impl Api for IncrementalAlterConfigsRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<IncrementalAlterConfigsResponse> {
        let responses = self.resources.iter().map(|resource| {
            let answer = answer(resource, ErrorCode::NONE);
            match alter(context, resource, self.validate_only) {
                Ok(()) => answer,
                Err(objection) => {
                    answer.with_error_code(objection.code.0).with_error_message(Some(text(&objection.message)))
                }
            }
        });
        Attempt::Done(IncrementalAlterConfigsResponse::default().with_responses(responses.collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> IncrementalAlterConfigsResponse {
        let responses = self.resources.iter().map(|resource| answer(resource, code));
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
    }
}

fn answer(resource: &AlterConfigsResource, code: ErrorCode) -> AlterConfigsResourceResponse {
    AlterConfigsResourceResponse::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
        .with_error_code(code.0)
}

fn alter(context: &mut Context<'_>, resource: &AlterConfigsResource, only_try: bool) -> Result<(), Objection> {
    let invalid = |words: &str| Objection::new(ErrorCode::INVALID_REQUEST, words);
    if resource.resource_type != KIND_TOPIC {
        return Err(invalid("Only the settings of topics can be changed."));
    }
    let name = resource.resource_name.as_str();
    let unknown = || Objection::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "The topic does not exist.");
    let mut configs = context.cluster.topics.get(name).ok_or_else(unknown)?.configs.clone();
    for config in &resource.configs {
        let key = config.name.to_string();
        let value = || config.value.as_ref().map(|value| value.to_string()).ok_or_else(|| invalid("Null value."));
        match config.config_operation {
            operation::SET => drop(configs.insert(key, value()?)),
            operation::DELETE => drop(configs.remove(&key)),
            operation::APPEND | operation::SUBTRACT => {
                let setting = TOPIC.iter().find(|setting| setting.name == key && setting.kind == Kind::List);
                let setting = setting.ok_or_else(|| invalid("Only lists can be appended to or subtracted from."))?;
                let present = context.cluster.settings.effective(&configs, setting).0.to_owned();
                let given = value()?;
                let mut items: Vec<&str> = present.split(',').filter(|item| !item.is_empty()).collect();
                let adds = config.config_operation == operation::APPEND;
                for item in given.split(',') {
                    items.retain(|present| *present != item);
                    items.extend(adds.then_some(item));
                }
                configs.insert(key, items.join(","));
            }
            _ => return Err(invalid("Unknown operation.")),
        }
    }
    context.cluster.set_configs(name, configs, only_try)
}
