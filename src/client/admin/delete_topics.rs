//! DeleteTopics, by name.

use std::collections::BTreeMap;

use kafka_protocol::messages::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;

use super::{check, fill_missing, timeout_ms, topic_name};
use crate::cluster::Cluster;
use crate::error::Result;

/// From v6 on a topic can be named by its id instead, which changes the request's form.
const STATES_SINCE: i16 = 6;

impl Cluster {
    /// Deletes topics. One result a topic.
    pub async fn delete_topics(&self, topics: &[String]) -> Result<BTreeMap<String, Result<()>>> {
        let connection = self.controller().await?;
        let version = connection.require_version::<DeleteTopicsRequest>(i16::MIN, i16::MAX)?;
        let request = DeleteTopicsRequest::default().with_timeout_ms(timeout_ms(&connection));
        let names = topics.iter().map(|topic| topic_name(topic));
        let request = match version >= STATES_SINCE {
            true => request.with_topics(names.map(|name| DeleteTopicState::default().with_name(Some(name))).collect()),
            false => request.with_topic_names(names.collect()),
        };
        let answer = connection.call_at(request, version, None).await?;
        let results = answer.responses.iter().filter_map(|topic| {
            let name = topic.name.as_ref()?.to_string();
            let (item, message) = (format!("topic {name}"), topic.error_message.as_ref());
            let result = check::<DeleteTopicsRequest>(&connection, topic.error_code, Some(&item), message);
            Some((name, result))
        });
        let mut results = results.collect();
        fill_missing::<DeleteTopicsRequest, _, _>(&connection, topics.iter().cloned(), &mut results);
        Ok(results)
    }
}
