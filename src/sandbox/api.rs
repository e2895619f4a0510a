//! The APIs that the sandbox offers: one table, from which ApiVersions answers and by which requests find their file.
//!
//! What is not in [`APIS`] is not advertised, and a request for it ends the connection, as at a broker; only an
//! ApiVersions request of an unknown version is answered, with 35 in version 0 (KIP-511).

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, Request, StrBytes};
use tokio::time::sleep_until;
use twinlog_wire::error_code::ErrorCode;

use crate::clock::Now;
use crate::cluster::Cluster;
use crate::decode::decode;
use crate::faults::{Fate, Verdict};
use crate::session::End;
use crate::shared::{Listener, Shared};

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_configs;
mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod end_txn;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;
mod txn_offset_commit;

pub(crate) use api_versions::unsupported as unsupported_api_versions;

/// An API with the versions that the sandbox speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRange {
    /// The API.
    pub api: ApiKey,
    /// The oldest version.
    pub min: i16,
    /// The newest version.
    pub max: i16,
}

macro_rules! apis {
    ($($api:ident($request:ty) $min:literal to $max:literal,)*) => {
        /// Every API with its versions: what both Apache Kafka 4.1 and kafka-protocol have, but for these limits.
        ///
        /// - AddPartitionsToTxn up to 3, TxnOffsetCommit and EndTxn up to 4: later ones are for brokers among
        ///   themselves or for transactions by KIP-890, which the sandbox does not have.
        /// - Fetch up to 17: v18 is for followers.
        /// - OffsetCommit and OffsetFetch up to 9: v10 names topics by id.
        pub const APIS: &[ApiRange] = &[$(ApiRange { api: ApiKey::$api, min: $min, max: $max },)*];

        /// Processes a request; none if it wants no answer.
        pub(crate) async fn dispatch(
            exchange: &Exchange<'_>,
            body: Bytes,
            verdict: &Verdict,
        ) -> Result<Option<Bytes>, End> {
            match exchange.api {
                $(ApiKey::$api => serve::<$request>(exchange, body, verdict).await,)*
                api => Err(End::UnsupportedVersion { api, version: exchange.version }),
            }
        }
    };
}

apis! {
    Produce(ProduceRequest) 3 to 13,
    Fetch(FetchRequest) 4 to 17,
    ListOffsets(ListOffsetsRequest) 1 to 10,
    Metadata(MetadataRequest) 0 to 13,
    OffsetCommit(OffsetCommitRequest) 2 to 9,
    OffsetFetch(OffsetFetchRequest) 1 to 9,
    FindCoordinator(FindCoordinatorRequest) 0 to 6,
    JoinGroup(JoinGroupRequest) 0 to 9,
    Heartbeat(HeartbeatRequest) 0 to 4,
    LeaveGroup(LeaveGroupRequest) 0 to 5,
    SyncGroup(SyncGroupRequest) 0 to 5,
    DescribeGroups(DescribeGroupsRequest) 0 to 6,
    ListGroups(ListGroupsRequest) 0 to 5,
    ApiVersions(ApiVersionsRequest) 0 to 4,
    CreateTopics(CreateTopicsRequest) 2 to 7,
    DeleteTopics(DeleteTopicsRequest) 1 to 6,
    DeleteRecords(DeleteRecordsRequest) 0 to 2,
    InitProducerId(InitProducerIdRequest) 0 to 5,
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest) 2 to 4,
    AddPartitionsToTxn(AddPartitionsToTxnRequest) 0 to 3,
    AddOffsetsToTxn(AddOffsetsToTxnRequest) 0 to 4,
    EndTxn(EndTxnRequest) 0 to 4,
    TxnOffsetCommit(TxnOffsetCommitRequest) 0 to 4,
    DescribeConfigs(DescribeConfigsRequest) 1 to 4,
    AlterConfigs(AlterConfigsRequest) 0 to 2,
    DescribeLogDirs(DescribeLogDirsRequest) 1 to 4,
    CreatePartitions(CreatePartitionsRequest) 0 to 3,
    DeleteGroups(DeleteGroupsRequest) 0 to 2,
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest) 0 to 1,
    DescribeCluster(DescribeClusterRequest) 0 to 2,
}

pub(crate) fn is_offered(api: ApiKey, version: i16) -> bool {
    APIS.iter().any(|range| range.api == api && (range.min..=range.max).contains(&version))
}

/// A request on its way, but for its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) node: i32,
    pub(crate) listener: Listener,
    pub(crate) client_id: &'a str,
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
}

/// What a request finds when it is processed, or looks again after something has changed.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) exchange: &'a Exchange<'a>,
    pub(crate) now: Now,
    /// When it was first processed, in ms of elapsed time.
    pub(crate) began_ms: u64,
    /// Whether it is processed for the first time.
    pub(crate) is_first: bool,
}

impl Context<'_> {
    pub(crate) fn version(&self) -> i16 {
        self.exchange.version
    }

    pub(crate) fn node(&self) -> i32 {
        self.exchange.node
    }

    /// Host and port of a node, as this client sees it.
    pub(crate) fn address(&self, node: i32) -> (StrBytes, i32) {
        let (host, port) = self.exchange.shared.address(node, self.exchange.listener);
        (StrBytes::from_string(host), port.into())
    }
}

/// What comes of processing a request.
#[derive(Debug)]
pub(crate) enum Attempt<T> {
    Done(T),
    /// To be looked at again when something has changed, or at this time (ms of elapsed time).
    Wait {
        until_ms: u64,
    },
}

/// How one API is answered.
pub(crate) trait Api: Request + Clone + Send + Sync {
    /// Whether it leaves the state as it is, so that nobody needs to look again because of it.
    const READS_ONLY: bool = false;

    /// Processes the request, or looks again whether it can be answered now.
    fn attempt(&mut self, context: &mut Context<'_>) -> Attempt<Self::Response>;

    /// The answer that says nothing but this error, wherever the answer has a place for one.
    fn refusal(&self, code: ErrorCode, version: i16) -> Self::Response;

    /// Whether the client waits for an answer.
    fn wants_answer(&self) -> bool {
        true
    }
}

async fn serve<A: Api>(exchange: &Exchange<'_>, body: Bytes, verdict: &Verdict) -> Result<Option<Bytes>, End>
where
    A::Response: Send,
{
    let Exchange { api, version, .. } = *exchange;
    let request: A = decode(body, version).map_err(|error| End::Decode { api, version, error })?;
    let answer = match verdict.before {
        Fate::Refuse(code) => request.refusal(code, version),
        _ => {
            let answer = settle(exchange, request.clone()).await;
            if verdict.twice {
                // Its answer goes nowhere: the client has sent one request.
                drop(settle(exchange, request.clone()).await);
            }
            match verdict.after {
                Fate::Refuse(code) => request.refusal(code, version),
                _ => answer,
            }
        }
    };
    if request.wants_answer() { encode(&answer, api, version).map(Some) } else { Ok(None) }
}

pub(crate) fn encode<R: Encodable>(answer: &R, api: ApiKey, version: i16) -> Result<Bytes, End> {
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, version).map_err(|error| End::Encode { api, version, words: error.to_string() })?;
    Ok(bytes.freeze())
}

/// Processes a request until it has an answer.
async fn settle<A: Api>(exchange: &Exchange<'_>, mut request: A) -> A::Response
where
    A::Response: Send,
{
    let shared = exchange.shared;
    let mut began_ms = None;
    loop {
        let mut changed = std::pin::pin!(shared.changed().notified());
        // From here on nothing is missed that happens between the look and the wait.
        changed.as_mut().enable();
        let is_first;
        let attempt = {
            let (mut cluster, now) = shared.cluster();
            is_first = began_ms.is_none();
            let began_ms = *began_ms.get_or_insert(now.elapsed_ms);
            request.attempt(&mut Context { cluster: &mut cluster, exchange, now, began_ms, is_first })
        };
        // Looking again changes nothing, so it wakes nobody.
        if is_first && !A::READS_ONLY {
            shared.changed().notify_waiters();
        }
        match attempt {
            Attempt::Done(answer) => return answer,
            Attempt::Wait { until_ms } => tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(shared.instant(until_ms)) => {}
            },
        }
    }
}

/// A code as it stands in answers.
pub(crate) fn number(result: Result<(), ErrorCode>) -> i16 {
    result.err().unwrap_or(ErrorCode::NONE).0
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Ms of a time-out; negative ones are none.
pub(crate) fn wait_ms(ms: i32) -> u64 {
    u64::try_from(ms).unwrap_or_default()
}
