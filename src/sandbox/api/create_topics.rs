//! CreateTopics.

use std::collections::BTreeMap;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, text};
use crate::cluster::{Objection, Wanted};
use crate::settings;

/// From here on the answer describes the topic (KIP-525).
const DESCRIBES_SINCE: i16 = 5;
const TOPIC_ID_SINCE: i16 = 7;

impl Api for CreateTopicsRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<CreateTopicsResponse> {
        let topics = self.topics.iter().map(|topic| create(context, topic, self.validate_only));
        Attempt::Done(CreateTopicsResponse::default().with_topics(topics.collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> CreateTopicsResponse {
        let refused = |topic: &CreatableTopic| {
            CreatableTopicResult::default().with_name(topic.name.clone()).with_error_code(code.0)
        };
        CreateTopicsResponse::default().with_topics(self.topics.iter().map(refused).collect())
    }
}

fn create(context: &mut Context<'_>, topic: &CreatableTopic, only_try: bool) -> CreatableTopicResult {
    let result = CreatableTopicResult::default().with_name(topic.name.clone());
    let created = wanted(topic).and_then(|wanted| {
        let made = context.cluster.create_topic(&wanted, only_try)?;
        Ok((wanted, made))
    });
    let version = context.version();
    match created {
        Err(objection) => {
            let result = result.with_error_code(objection.code.0).with_error_message(Some(text(&objection.message)));
            if version < DESCRIBES_SINCE {
                return result;
            }
            result.with_num_partitions(-1).with_replication_factor(-1).with_configs(Some(Vec::new()))
        }
        Ok(_) if version < DESCRIBES_SINCE => result,
        Ok((wanted, (partitions, factor))) => {
            let result = result.with_num_partitions(partitions).with_replication_factor(factor);
            let configs = settings::TOPIC.iter().map(|setting| {
                let (value, origin) = context.cluster.settings.effective(&wanted.configs, setting);
                CreatableTopicConfigs::default()
                    .with_name(text(setting.name))
                    .with_value(Some(text(value)))
                    .with_config_source(origin as i8)
            });
            let result = result.with_configs(Some(configs.collect()));
            match context.cluster.topics.get(&wanted.name).filter(|_| version >= TOPIC_ID_SINCE && !only_try) {
                Some(topic) => result.with_topic_id(topic.id),
                None => result,
            }
        }
    }
}

fn wanted(topic: &CreatableTopic) -> Result<Wanted, Objection> {
    let mut assignments = BTreeMap::new();
    for assignment in &topic.assignments {
        let nodes = assignment.broker_ids.iter().map(|node| node.0).collect();
        assignments.insert(assignment.partition_index, nodes);
    }
    let mut configs = BTreeMap::new();
    for config in &topic.configs {
        let null = || Objection::new(ErrorCode::INVALID_CONFIG, "Null value not supported for topic configs.");
        let value = config.value.as_ref().ok_or_else(null)?;
        configs.insert(config.name.to_string(), value.to_string());
    }
    Ok(Wanted {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments,
        configs,
    })
}
