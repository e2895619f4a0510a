//! Fetch: waits until there is enough to read, or its time is over, or a partition has bad news.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ProducerId};
use twinlog_wire::error_code::ErrorCode;

use super::{Api, Attempt, Context, wait_ms};
use crate::log::{Isolation, Unreadable};

/// From here on topics are named by id (KIP-516).
const TOPIC_ID_SINCE: i16 = 13;
/// From here on a new leader is named together with its address (KIP-951).
const LEADER_SINCE: i16 = 16;

impl Api for FetchRequest {
    const READS_ONLY: bool = true;

    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<FetchResponse> {
        if context.is_first
            && let Err(code) = self.begin(context)
        {
            return Attempt::Done(self.refusal(code, context.version()));
        }
        let until_ms = context.began_ms + wait_ms(self.max_wait_ms);
        let wants_more = context.now.elapsed_ms < until_ms && !self.is_ripe(context);
        let has_partitions = self.topics.iter().any(|topic| !topic.partitions.is_empty());
        if wants_more && has_partitions {
            return Attempt::Wait { until_ms };
        }
        Attempt::Done(self.read(context))
    }

    fn refusal(&self, code: ErrorCode, version: i16) -> FetchResponse {
        // From v7 on there is a place for an error of the whole request.
        if version >= 7 {
            return FetchResponse::default().with_error_code(code.0);
        }
        let responses = self.topics.iter().map(|topic| {
            let refused = |asked: &FetchPartition| empty(asked.partition, code);
            let partitions = topic.partitions.iter().map(refused).collect();
            FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(partitions)
        });
        FetchResponse::default().with_responses(responses.collect())
    }
}

trait Reads {
    /// Takes it into its session.
    fn begin(&mut self, context: &mut Context<'_>) -> Result<(), ErrorCode>;
    fn is_ripe(&self, context: &mut Context<'_>) -> bool;
    fn read(&self, context: &mut Context<'_>) -> FetchResponse;
}

impl Reads for FetchRequest {
    fn begin(&mut self, context: &mut Context<'_>) -> Result<(), ErrorCode> {
        let by_id = context.version() >= TOPIC_ID_SINCE;
        context.cluster.fetch_sessions(context.node()).begin(self, by_id)
    }

    /// Whether there are as many bytes as wanted, or an error.
    fn is_ripe(&self, context: &mut Context<'_>) -> bool {
        let isolation = Isolation::read(self.isolation_level);
        let wanted = usize::try_from(self.min_bytes).unwrap_or_default();
        let mut found = 0;
        for topic in &self.topics {
            let name = name(context, topic);
            for asked in &topic.partitions {
                let Ok(name) = &name else { return true };
                let node = context.node();
                let Ok(partition) = context.cluster.led(name, asked.partition, node, asked.current_leader_epoch) else {
                    return true;
                };
                if partition.log.check_position(asked.fetch_offset, asked.last_fetched_epoch).is_err() {
                    return true;
                }
                let limit = usize::try_from(asked.partition_max_bytes).unwrap_or_default();
                // The first batch comes whole, so one that is larger than the limit counts with the limit at least.
                found += partition.log.readable_bytes(asked.fetch_offset, isolation, limit.max(1));
            }
        }
        found >= wanted
    }

    fn read(&self, context: &mut Context<'_>) -> FetchResponse {
        let mut left = usize::try_from(self.max_bytes).unwrap_or_default();
        let mut is_empty = true;
        let mut moved = Vec::new();
        let mut answers = Vec::with_capacity(self.topics.len());
        for topic in &self.topics {
            let name = name(context, topic);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let data = match &name {
                    Ok(name) => read_partition(self, context, name, asked, left, is_empty, &mut moved),
                    Err(code) => empty(asked.partition, *code),
                };
                let len = data.records.as_ref().map_or(0, |records| records.len());
                is_empty &= len == 0;
                left = left.saturating_sub(len);
                partitions.push(data);
            }
            answers.push((topic, partitions));
        }
        moved.sort_unstable();
        moved.dedup();
        let endpoint = |node: i32| {
            let (host, port) = context.address(node);
            NodeEndpoint::default().with_node_id(BrokerId(node)).with_host(host).with_port(port)
        };
        let endpoints = moved.into_iter().map(endpoint).collect();
        let by_id = context.version() >= TOPIC_ID_SINCE;
        context.cluster.fetch_sessions(context.node()).answer(self, by_id, answers).with_node_endpoints(endpoints)
    }
}

fn name(context: &Context<'_>, topic: &FetchTopic) -> Result<String, ErrorCode> {
    if context.version() < TOPIC_ID_SINCE {
        return Ok(topic.topic.to_string());
    }
    context.cluster.topic_name(topic.topic_id).map(str::to_owned).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
}

fn read_partition(
    request: &FetchRequest,
    context: &mut Context<'_>,
    topic: &str,
    asked: &FetchPartition,
    left: usize,
    is_empty: bool,
    moved: &mut Vec<i32>,
) -> PartitionData {
    let (node, version) = (context.node(), context.version());
    let isolation = Isolation::read(request.isolation_level);
    let partition = match context.cluster.led(topic, asked.partition, node, asked.current_leader_epoch) {
        Ok(partition) => partition,
        Err(code) => {
            let mut data = empty(asked.partition, code);
            let partition = context.cluster.partition(topic, asked.partition);
            let leader = partition.and_then(|partition| Some((partition.leader?, partition.leader_epoch)));
            let names_leader = [ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::FENCED_LEADER_EPOCH].contains(&code);
            if let Some((leader, epoch)) = leader.filter(|_| names_leader && version >= LEADER_SINCE) {
                moved.push(leader);
                data.current_leader =
                    LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader)).with_leader_epoch(epoch);
            }
            return data;
        }
    };
    let log = &partition.log;
    let data = empty(asked.partition, ErrorCode::NONE)
        .with_high_watermark(log.end())
        .with_last_stable_offset(log.last_stable())
        .with_log_start_offset(log.start());
    match log.check_position(asked.fetch_offset, asked.last_fetched_epoch) {
        Ok(()) => {}
        Err(Unreadable::OutOfRange) => return empty(asked.partition, ErrorCode::OFFSET_OUT_OF_RANGE),
        Err(Unreadable::Diverging { epoch, end_offset }) => {
            return data.with_diverging_epoch(EpochEndOffset::default().with_epoch(epoch).with_end_offset(end_offset));
        }
    }
    let limit = usize::try_from(asked.partition_max_bytes).unwrap_or_default().min(left);
    let read = log.read(asked.fetch_offset, isolation, limit, is_empty);
    let aborted = read.aborted.iter().map(|aborted| {
        AbortedTransaction::default()
            .with_producer_id(ProducerId(aborted.producer_id))
            .with_first_offset(aborted.first_offset)
    });
    let aborted = (isolation == Isolation::Committed).then(|| aborted.collect());
    data.with_records(Some(read.records)).with_aborted_transactions(aborted)
}

fn empty(index: i32, code: ErrorCode) -> PartitionData {
    PartitionData::default()
        .with_partition_index(index)
        .with_error_code(code.0)
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_preferred_read_replica(BrokerId(-1))
        .with_records(Some(bytes::Bytes::new()))
}
