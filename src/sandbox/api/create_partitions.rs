//! CreatePartitions: more of them, never fewer. Assignments are not looked at.

use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, text};

impl Api for CreatePartitionsRequest {
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<CreatePartitionsResponse> {
        let results = self.topics.iter().map(|topic| {
            let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
            match context.cluster.add_partitions(&topic.name, topic.count, self.validate_only) {
                Ok(()) => result,
                Err(objection) => {
                    result.with_error_code(objection.code.0).with_error_message(Some(text(&objection.message)))
                }
            }
        });
        Attempt::Done(CreatePartitionsResponse::default().with_results(results.collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> CreatePartitionsResponse {
        let results = self
            .topics
            .iter()
            .map(|topic| CreatePartitionsTopicResult::default().with_name(topic.name.clone()).with_error_code(code.0));
        CreatePartitionsResponse::default().with_results(results.collect())
    }
}
