//! AlterConfigs, the old way: all of a topic's own settings are replaced. Old clients know no other.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use twinlog_wire::error_code::ErrorCode;

use super::describe_configs::KIND_TOPIC;
use super::{Api, Attempt, Context, text};
use crate::cluster::Objection;

impl Api for AlterConfigsRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<AlterConfigsResponse> {
        let responses = self.resources.iter().map(|resource| {
            let answer = answer(resource, ErrorCode::NONE);
            match replace(context, resource, self.validate_only) {
                Ok(()) => answer,
                Err(objection) => {
                    answer.with_error_code(objection.code.0).with_error_message(Some(text(&objection.message)))
                }
            }
        });
        Attempt::Done(AlterConfigsResponse::default().with_responses(responses.collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> AlterConfigsResponse {
        let responses = self.resources.iter().map(|resource| answer(resource, code));
        AlterConfigsResponse::default().with_responses(responses.collect())
    }
}

fn answer(resource: &AlterConfigsResource, code: ErrorCode) -> AlterConfigsResourceResponse {
    AlterConfigsResourceResponse::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
        .with_error_code(code.0)
}

fn replace(context: &mut Context<'_>, resource: &AlterConfigsResource, only_try: bool) -> Result<(), Objection> {
    if resource.resource_type != KIND_TOPIC {
        return Err(Objection::new(ErrorCode::INVALID_REQUEST, "Only the settings of topics can be changed."));
    }
    let mut configs = BTreeMap::new();
    for config in &resource.configs {
        let null = || Objection::new(ErrorCode::INVALID_REQUEST, "Null value not supported.");
        configs.insert(config.name.to_string(), config.value.as_ref().ok_or_else(null)?.to_string());
    }
    context.cluster.set_configs(&resource.resource_name, configs, only_try)
}
