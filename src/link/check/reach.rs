//! Whether every address and every broker answers, and speaks the versions that the link needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, CreatePartitionsRequest, CreateTopicsRequest, DescribeConfigsRequest, EndTxnRequest,
    FetchRequest, FindCoordinatorRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
    OffsetForLeaderEpochRequest, ProduceRequest,
};
use kafka_protocol::protocol::Request;
use tokio::task::JoinSet;
use twinlog_client::{Address, Cluster, Connection, Error, Metadata, Purpose};
use twinlog_core::report::Side;

use super::{About, Checks, count};
use crate::fetch::LAST_EPOCH_SINCE;
use crate::reach::remedy;

/// Topics have ids from this version of Metadata on (KIP-516).
const TOPIC_IDS_SINCE: i16 = 10;

/// Tries each address, then each broker at the address that it advertises. None if nobody answers.
pub(super) async fn look(side: Side, cluster: &Cluster, addresses: &[Address]) -> (Checks, Option<Arc<Metadata>>) {
    let mut checks = Checks::default();
    let about = About(Some(side), "reachable");
    let answers = try_addresses(cluster, addresses).await;
    let silent: Vec<_> = answers.iter().filter_map(|(address, answer)| Some((address, answer.as_ref()?))).collect();
    if silent.len() == answers.len() {
        for (_, error) in silent {
            let otherwise = "start the broker, or correct the address in the configuration";
            checks.fail(about, error.to_string(), remedy(error).unwrap_or(otherwise));
        }
        return (checks, None);
    }
    for (address, error) in &silent {
        let otherwise = format!("start the broker, or take {address} out of the configuration");
        checks.warn(about, error.to_string(), remedy(error).map_or(otherwise, str::to_owned));
    }
    let metadata = match cluster.refresh().await {
        Ok(metadata) => metadata,
        Err(error) => {
            checks.fail(about, error.to_string(), "see whether the brokers are overloaded or just start");
            return (checks, None);
        }
    };
    let brokers = try_brokers(cluster, &metadata).await;
    let mut there = Vec::new();
    for (node, answer) in brokers {
        match answer {
            Ok(connection) => there.push((node, connection)),
            Err(error) => {
                let otherwise = "start it, or correct its advertised.listeners: clients must reach every broker";
                checks.fail(about, error.to_string(), remedy(&error).unwrap_or(otherwise));
            }
        }
    }
    if there.len() == metadata.brokers.len() && silent.is_empty() {
        let names: Vec<String> = metadata.brokers.values().map(|broker| broker.address.to_string()).collect();
        let id = metadata.cluster_id.as_deref().unwrap_or("unknown");
        let finding = format!(
            "cluster {id}: {} and {} answer ({})",
            count(answers.len(), "address"),
            count(there.len(), "broker"),
            names.join(", ")
        );
        checks.ok(about, finding);
    }
    versions(&mut checks, side, &there);
    (checks, Some(metadata))
}

/// Each address by itself: none where it answered.
async fn try_addresses(cluster: &Cluster, addresses: &[Address]) -> BTreeMap<Address, Option<Error>> {
    let mut tries = JoinSet::new();
    for address in addresses {
        let (side, config, address) = (cluster.side(), cluster.config().clone(), address.clone());
        tries.spawn(async move {
            let answer = match Cluster::new(side, vec![address.clone()], config) {
                Ok(alone) => alone.any().await.err(),
                Err(error) => Some(error),
            };
            (address, answer)
        });
    }
    tries.join_all().await.into_iter().collect()
}

async fn try_brokers(cluster: &Cluster, metadata: &Metadata) -> BTreeMap<i32, Result<Arc<Connection>, Error>> {
    let mut tries = JoinSet::new();
    for node in metadata.brokers.keys().copied() {
        let cluster = cluster.clone();
        tries.spawn(async move { (node, cluster.connection(node, Purpose::Admin, 0).await) });
    }
    tries.join_all().await.into_iter().collect()
}

/// An API that the link uses: its name, and the highest version in common.
type Api = (&'static str, Option<i16>);

fn versions(checks: &mut Checks, side: Side, brokers: &[(i32, Arc<Connection>)]) {
    let about = About(Some(side), "versions");
    let mut lowest: BTreeMap<&str, i16> = BTreeMap::new();
    for (node, connection) in brokers {
        let apis = apis(side, connection);
        let missing: Vec<&str> = apis.iter().filter(|(_, version)| version.is_none()).map(|(name, _)| *name).collect();
        if !missing.is_empty() {
            let finding = format!("broker {node} has no usable version of {}", missing.join(", "));
            checks.fail(about, finding, "use Apache Kafka from 2.1 on");
            continue;
        }
        for (name, version) in apis {
            let version = version.unwrap_or_default();
            lowest.entry(name).and_modify(|lowest| *lowest = version.min(*lowest)).or_insert(version);
        }
    }
    let Some(metadata) = lowest.get("Metadata") else { return };
    if *metadata < TOPIC_IDS_SINCE {
        let finding = "the brokers give topics no ids (Kafka before 2.8): a topic made anew under its name is not told";
        checks.warn(about, finding, "do not delete and create topics again while the link runs");
    }
    let names: Vec<String> = lowest.iter().map(|(name, version)| format!("{name} v{version}")).collect();
    checks.ok(about, format!("in common: {}", names.join(", ")));
}

fn apis(side: Side, connection: &Connection) -> Vec<Api> {
    fn api<R: Request>(name: &'static str, connection: &Connection, min: i16, max: i16) -> Api {
        (name, connection.version_up_to::<R>(max).filter(|version| *version >= min))
    }
    let mut apis = vec![
        api::<DescribeConfigsRequest>("DescribeConfigs", connection, 0, i16::MAX),
        api::<FetchRequest>("Fetch", connection, 4, 17),
        api::<ListOffsetsRequest>("ListOffsets", connection, 2, i16::MAX),
        api::<MetadataRequest>("Metadata", connection, 4, i16::MAX),
    ];
    if connection.version_up_to::<FetchRequest>(LAST_EPOCH_SINCE).is_none_or(|version| version < LAST_EPOCH_SINCE) {
        apis.push(api::<OffsetForLeaderEpochRequest>("OffsetForLeaderEpoch", connection, 2, i16::MAX));
    }
    if side == Side::Target {
        apis.extend([
            api::<AddPartitionsToTxnRequest>("AddPartitionsToTxn", connection, 0, 3),
            api::<CreatePartitionsRequest>("CreatePartitions", connection, 0, i16::MAX),
            api::<CreateTopicsRequest>("CreateTopics", connection, 4, i16::MAX),
            api::<EndTxnRequest>("EndTxn", connection, 0, 4),
            api::<FindCoordinatorRequest>("FindCoordinator", connection, 1, 5),
            api::<InitProducerIdRequest>("InitProducerId", connection, 3, 4),
            api::<ProduceRequest>("Produce", connection, 3, 13),
        ]);
    }
    apis
}
