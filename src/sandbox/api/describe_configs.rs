//! DescribeConfigs: effective settings of topics and brokers, with where each value comes from.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, text};
use crate::cluster::Objection;
use crate::settings::{BROKER, Kind, Origin, Setting, TOPIC};

/// Numbers of the kinds of resources (`ConfigResource.Type`).
pub(super) const KIND_TOPIC: i8 = 2;
pub(super) const KIND_BROKER: i8 = 4;

/// From here on a setting's type is in the answer.
const TYPES_SINCE: i16 = 3;

impl Api for DescribeConfigsRequest {
    const READS_ONLY: bool = true;

    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<DescribeConfigsResponse> {
        let results = self.resources.iter().map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match describe(context, resource) {
                Ok(mut entries) => {
                    if let Some(keys) = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
                        entries.retain(|entry| keys.contains(&text(entry.name)));
                    }
                    let configs =
                        entries.into_iter().map(|entry| entry.answer(context.version(), self.include_synonyms));
                    result.with_configs(configs.collect())
                }
                Err(objection) => {
                    result.with_error_code(objection.code.0).with_error_message(Some(text(&objection.message)))
                }
            }
        });
        Attempt::Done(DescribeConfigsResponse::default().with_results(results.collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> DescribeConfigsResponse {
        let results = self.resources.iter().map(|resource| {
            DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(code.0)
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }
}

struct Entry {
    name: &'static str,
    kind: Kind,
    value: String,
    origin: Origin,
    is_read_only: bool,
}

impl Entry {
    fn answer(self, version: i16, with_synonyms: bool) -> DescribeConfigsResourceResult {
        let mut answer = DescribeConfigsResourceResult::default()
            .with_name(text(self.name))
            .with_value(Some(text(&self.value)))
            .with_read_only(self.is_read_only)
            .with_config_source(self.origin as i8);
        if with_synonyms {
            let synonym = DescribeConfigsSynonym::default()
                .with_name(text(self.name))
                .with_value(Some(text(&self.value)))
                .with_source(self.origin as i8);
            answer.synonyms.push(synonym);
        }
        if version >= TYPES_SINCE { answer.with_config_type(self.kind as i8) } else { answer }
    }
}

fn describe(context: &Context<'_>, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, Objection> {
    let cluster = &context.cluster;
    match resource.resource_type {
        KIND_TOPIC => {
            let unknown = || Objection::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "The topic does not exist.");
            let topic = cluster.topics.get(resource.resource_name.as_str()).ok_or_else(unknown)?;
            let entry = |setting: &Setting| {
                let (value, origin) = cluster.settings.effective(&topic.configs, setting);
                let (name, kind, value) = (setting.name, setting.kind, value.to_owned());
                Entry { name, kind, value, origin, is_read_only: false }
            };
            Ok(TOPIC.iter().map(entry).collect())
        }
        KIND_BROKER => {
            let node = resource.resource_name.parse().unwrap_or(-1);
            if node != context.node() {
                let words = format!("Unexpected broker id, expected {}, but received {node}.", context.node());
                return Err(Objection::new(ErrorCode::INVALID_REQUEST, words));
            }
            let entry = |name: &'static str, kind, default: &str| {
                let given = cluster.settings.given(name);
                let origin = if given.is_some() { Origin::StaticBroker } else { Origin::Default };
                Entry { name, kind, value: given.unwrap_or(default).to_owned(), origin, is_read_only: true }
            };
            let own = BROKER.iter().map(|setting| entry(setting.name, setting.kind, setting.default));
            let inherited = TOPIC.iter().filter(|setting| !setting.broker.is_empty());
            let inherited = inherited.map(|setting| entry(setting.broker, setting.kind, setting.default));
            let (name, origin, value) = ("node.id", Origin::StaticBroker, node.to_string());
            let id = Entry { name, kind: Kind::Int, value, origin, is_read_only: true };
            Ok(own.chain(inherited).chain([id]).collect())
        }
        other => Err(Objection::new(ErrorCode::INVALID_REQUEST, format!("Unsupported resource type {other}."))),
    }
}
