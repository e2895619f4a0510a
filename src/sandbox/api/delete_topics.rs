//! DeleteTopics, by name or by id.

use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use twinlog_wire::error_code::ErrorCode;
use uuid::Uuid;

use super::{Api, Attempt, Context, topic_name};

/// From here on topics can be named by id, in another list.
const BY_ID_SINCE: i16 = 6;

impl Api for DeleteTopicsRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<DeleteTopicsResponse> {
        let version = context.version();
        let responses = self.asked().into_iter().map(|(name, id)| {
            let found = match &name {
                Some(name) => Some(name.to_string()),
                None => context.cluster.topic_name(id).map(str::to_owned),
            };
            let deleted = found.and_then(|name| Some((context.cluster.delete_topic(&name)?, name)));
            match deleted {
                Some((topic, name)) => answer(Some(topic_name(&name)), topic.id, ErrorCode::NONE, version),
                None if name.is_none() => answer(None, id, ErrorCode::UNKNOWN_TOPIC_ID, version),
                None => answer(name, id, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, version),
            }
        });
        Attempt::Done(DeleteTopicsResponse::default().with_responses(responses.collect()))
    }

    fn refusal(&self, code: ErrorCode, version: i16) -> DeleteTopicsResponse {
        let responses = self.asked().into_iter().map(|(name, id)| answer(name, id, code, version));
        DeleteTopicsResponse::default().with_responses(responses.collect())
    }
}

trait Asks {
    fn asked(&self) -> Vec<(Option<TopicName>, Uuid)>;
}

impl Asks for DeleteTopicsRequest {
    /// The topics of both lists; each version has one of them.
    fn asked(&self) -> Vec<(Option<TopicName>, Uuid)> {
        let named = self.topic_names.iter().map(|name| (Some(name.clone()), Uuid::nil()));
        named.chain(self.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id))).collect()
    }
}

fn answer(name: Option<TopicName>, id: Uuid, code: ErrorCode, version: i16) -> DeletableTopicResult {
    let answer = DeletableTopicResult::default().with_name(name).with_error_code(code.0);
    if version >= BY_ID_SINCE { answer.with_topic_id(id) } else { answer }
}
