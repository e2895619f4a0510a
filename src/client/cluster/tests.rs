use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, EndTxnResponse, FindCoordinatorResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use twinlog_wire::error_code::ErrorCode;

use super::*;
use crate::admin::{IsolationLevel, OffsetAt, ProducerId, TopicPartition};
use crate::testing::{Script, Seen};

/// A broker on a port of its own that answers from what the test has set.
struct Fake {
    address: Address,
    state: Arc<FakeState>,
}

#[derive(Default)]
struct FakeState {
    /// The broker's ports by node, as its metadata names them.
    brokers: std::sync::Mutex<Vec<(i32, u16)>>,
    end_txn_code: std::sync::Mutex<i16>,
    connections: AtomicUsize,
    metadata: AtomicUsize,
    coordinator: AtomicUsize,
}

impl FakeState {
    fn answer(&self, seen: &Seen) -> BytesMut {
        let mut body = BytesMut::new();
        match seen.api {
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(&mut seen.body.clone(), seen.version).unwrap();
                assert!(!request.allow_auto_topic_creation);
                self.metadata.fetch_add(1, Ordering::Relaxed);
                self.metadata().encode(&mut body, seen.version).unwrap();
            }
            ApiKey::FindCoordinator => {
                self.coordinator.fetch_add(1, Ordering::Relaxed);
                let coordinator =
                    Coordinator::default().with_key(StrBytes::from_static_str("tx")).with_node_id(BrokerId(1));
                let answer = FindCoordinatorResponse::default().with_coordinators(vec![coordinator]);
                answer.encode(&mut body, seen.version).unwrap();
            }
            ApiKey::EndTxn => {
                let answer = EndTxnResponse::default().with_error_code(*self.end_txn_code.lock().unwrap());
                answer.encode(&mut body, seen.version).unwrap();
            }
            other => panic!("{other:?} is not in the script"),
        }
        body
    }

    fn metadata(&self) -> MetadataResponse {
        let broker = |(node, port): &(i32, u16)| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(*node))
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(i32::from(*port))
        };
        let partition = |index, leader| {
            MetadataResponsePartition::default().with_partition_index(index).with_leader_id(BrokerId(leader))
        };
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("orders"))))
            .with_partitions(vec![partition(1, -1), partition(0, 1)]);
        MetadataResponse::default()
            .with_brokers(self.brokers.lock().unwrap().iter().map(broker).collect())
            .with_cluster_id(Some(StrBytes::from_static_str("c")))
            .with_controller_id(BrokerId(1))
            .with_topics(vec![topic])
    }

    fn count(count: &AtomicUsize) -> usize {
        count.load(Ordering::Relaxed)
    }
}

async fn fake() -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let state = Arc::new(FakeState::default());
    state.brokers.lock().unwrap().push((1, address.port));
    tokio::spawn(accept(listener, Arc::clone(&state)));
    Fake { address, state }
}

async fn accept(listener: TcpListener, state: Arc<FakeState>) {
    let mut sessions = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::Relaxed);
        let state = Arc::clone(&state);
        sessions.spawn(async move {
            let mut script = Script { stream };
            script.greet().await;
            while let Some(seen) = script.request().await {
                let body = state.answer(&seen);
                script.answer_bytes(&seen, &body).await;
            }
        });
    }
}

fn cluster(bootstrap: &[&Address]) -> Cluster {
    let bootstrap = bootstrap.iter().map(|address| (*address).clone()).collect();
    Cluster::new(Side::Source, bootstrap, DialConfig::default()).unwrap()
}

/// An address where nobody listens.
async fn nobody() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string().parse().unwrap()
}

#[tokio::test]
async fn metadata_is_read() {
    let fake = fake().await;
    let metadata = cluster(&[&fake.address]).metadata().await.unwrap();
    assert_eq!(metadata.cluster_id.as_deref(), Some("c"));
    assert_eq!(metadata.controller, Some(1));
    assert_eq!(metadata.brokers[&1].address, fake.address);
    assert_eq!(metadata.leader("orders", 0), Some(1));
    assert_eq!(metadata.leader("orders", 1), None);
    assert_eq!(metadata.partition("orders", 1).unwrap().index, 1);
    assert!(metadata.partition("orders", 2).is_none() && metadata.partition("other", 0).is_none());
}

#[tokio::test]
async fn refreshes_at_the_same_time_are_shared() {
    let fake = fake().await;
    let cluster = cluster(&[&fake.address]);
    let mut refreshes = JoinSet::new();
    for _ in 0..20 {
        let cluster = cluster.clone();
        refreshes.spawn(async move { cluster.refresh().await });
    }
    for refreshed in refreshes.join_all().await {
        refreshed.unwrap();
    }
    // The first one, and one for all who asked while it was under way.
    assert_eq!(FakeState::count(&fake.state.metadata), 2);
    cluster.metadata().await.unwrap();
    assert_eq!(FakeState::count(&fake.state.metadata), 2, "the snapshot is kept");
}

#[tokio::test]
async fn refreshes_one_after_the_other_are_fresh_and_paced() {
    let fake = fake().await;
    let cluster = cluster(&[&fake.address]);
    let begun = Instant::now();
    for _ in 0..3 {
        cluster.refresh().await.unwrap();
    }
    assert_eq!(FakeState::count(&fake.state.metadata), 3);
    assert!(begun.elapsed() >= REFRESH_PAUSE * 2);
}

#[tokio::test]
async fn bootstrap_goes_on_to_the_next_address() {
    let (fake, nobody) = (fake().await, nobody().await);
    for _ in 0..4 {
        cluster(&[&nobody, &fake.address]).metadata().await.unwrap();
    }
}

#[tokio::test]
async fn a_cluster_out_of_reach_names_every_address() {
    let (first, second) = (nobody().await, nobody().await);
    let error = cluster(&[&first, &second]).metadata().await.unwrap_err();
    let words = error.to_string();
    assert!(words.starts_with(&format!("source {first},{second}: no broker answered: ")), "{words}");
    assert_eq!(words.matches("connection refused").count(), 2, "{words}");
    assert_eq!((error.retry(), error.side()), (Retry::Backoff, Side::Source));
    let single = cluster(&[&first]).any().await.unwrap_err();
    assert!(single.to_string().starts_with(&format!("source {first}: connection refused")), "{single}");
}

#[test]
fn a_cluster_without_addresses_is_refused() {
    let error = Cluster::new(Side::Source, Vec::new(), DialConfig::default()).unwrap_err();
    assert_eq!(error.retry(), Retry::Never);
}

#[tokio::test]
async fn each_purpose_and_lane_has_its_own_connection_and_one_dial() {
    let fake = fake().await;
    let cluster = cluster(&[&fake.address]);
    cluster.metadata().await.unwrap();
    let before = FakeState::count(&fake.state.connections);
    let keys = [(Purpose::Fetch, 0), (Purpose::Fetch, 1), (Purpose::Produce, 0), (Purpose::Admin, 0)];
    let mut dials = JoinSet::new();
    for (purpose, lane) in keys.into_iter().cycle().take(40) {
        let cluster = cluster.clone();
        dials.spawn(async move { cluster.connection(1, purpose, lane).await.unwrap() });
    }
    dials.join_all().await;
    assert_eq!(FakeState::count(&fake.state.connections) - before, keys.len());
}

#[tokio::test]
async fn those_who_wait_for_a_dial_share_its_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let dials = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dials);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let cluster = cluster(&[&address]);
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let cluster = cluster.clone();
        calls.spawn(async move { cluster.any().await.unwrap_err() });
    }
    calls.join_all().await;
    assert_eq!(FakeState::count(&dials), 1);
    cluster.any().await.unwrap_err();
    assert_eq!(FakeState::count(&dials), 2, "a later call dials again");
}

#[tokio::test]
async fn a_broken_connection_is_replaced() {
    let fake = fake().await;
    let cluster = cluster(&[&fake.address]);
    let first = cluster.connection(1, Purpose::Fetch, 0).await.unwrap();
    assert!(Arc::ptr_eq(&first, &cluster.connection(1, Purpose::Fetch, 0).await.unwrap()));
    first.close();
    first.closed().await;
    let second = cluster.connection(1, Purpose::Fetch, 0).await.unwrap();
    assert!(!second.is_closed());
}

#[tokio::test]
async fn a_broker_that_moved_is_found_at_its_new_address() {
    let (old, new) = (fake().await, fake().await);
    let cluster = cluster(&[&old.address]);
    let first = cluster.connection(1, Purpose::Produce, 3).await.unwrap();
    assert_eq!(*first.peer().address, *old.address.to_string());
    old.state.brokers.lock().unwrap()[0].1 = new.address.port;
    cluster.refresh().await.unwrap();
    let second = cluster.connection(1, Purpose::Produce, 3).await.unwrap();
    assert_eq!(*second.peer().address, *new.address.to_string());
}

#[tokio::test]
async fn an_unknown_broker_is_looked_for_and_named() {
    let fake = fake().await;
    let cluster = cluster(&[&fake.address]);
    cluster.metadata().await.unwrap();
    let error = cluster.connection(9, Purpose::Admin, 0).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::UnknownBroker(9)), "{error}");
    assert_eq!(FakeState::count(&fake.state.metadata), 2);
    assert_eq!(error.retry(), Retry::AfterMetadata);
}

#[tokio::test]
async fn a_coordinator_is_kept_until_it_says_that_it_is_none() {
    let fake = fake().await;
    let cluster = cluster(&[&fake.address]);
    let producer = ProducerId { id: 5, epoch: 0 };
    for (code, lookups) in [(0, 1), (48, 1), (16, 1), (0, 2), (15, 2), (14, 3), (0, 4)] {
        *fake.state.end_txn_code.lock().unwrap() = code;
        let result = cluster.end_txn(0, "tx", producer, true).await;
        assert_eq!(result.err().and_then(|e| e.code()), (code != 0).then_some(ErrorCode(code)));
        assert_eq!(FakeState::count(&fake.state.coordinator), lookups, "after code {code}");
    }
    let error = cluster.coordinator("other", CoordinatorType::Group, Purpose::Admin, 0).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Missing(key) if key == "other"), "{error}");
}

#[tokio::test]
async fn a_partition_without_leader_fails_alone() {
    let fake = fake().await;
    let cluster = cluster(&[&fake.address]);
    let asked = [(TopicPartition::new("orders", 1), OffsetAt::Latest)].into();
    let results = cluster.list_offsets(&asked, IsolationLevel::ReadUncommitted).await.unwrap();
    let error = results[&TopicPartition::new("orders", 1)].as_ref().unwrap_err();
    assert!(matches!(error.cause(), Cause::NoLeader(at) if at == "orders-1"), "{error}");
    assert_eq!((error.outcome(), error.retry()), (Outcome::NotSent, Retry::AfterMetadata));
}

fn failing(cluster: &Cluster, code: ErrorCode) -> Error {
    let cause = Cause::Code { code, item: None, message: None };
    Error::new(cluster.peer(), Step::Setup, Outcome::Answered, cause)
}

#[tokio::test]
async fn retry_goes_on_until_it_succeeds_or_cannot() {
    let fake = fake().await;
    let cluster = cluster(&[&fake.address]);
    let deadline = Instant::now() + Duration::from_secs(60);
    let calls = AtomicUsize::new(0);
    let codes = [ErrorCode::NOT_CONTROLLER, ErrorCode::REQUEST_TIMED_OUT, ErrorCode::NONE];
    let call = || async {
        match codes[calls.fetch_add(1, Ordering::Relaxed)] {
            ErrorCode::NONE => Ok(7),
            code => Err(failing(&cluster, code)),
        }
    };
    assert_eq!(cluster.retry(deadline, call).await.unwrap(), 7);
    assert_eq!(FakeState::count(&fake.state.metadata), 1, "one of the codes asks for metadata");

    let calls = AtomicUsize::new(0);
    let call = || async {
        calls.fetch_add(1, Ordering::Relaxed);
        Err::<(), _>(failing(&cluster, ErrorCode::INVALID_CONFIG))
    };
    cluster.retry(deadline, call).await.unwrap_err();
    assert_eq!(FakeState::count(&calls), 1);
}

#[tokio::test]
async fn retry_ends_at_its_deadline() {
    let cluster = cluster(&[&nobody().await]);
    let calls = AtomicUsize::new(0);
    let call = || async {
        calls.fetch_add(1, Ordering::Relaxed);
        Err::<(), _>(failing(&cluster, ErrorCode::REQUEST_TIMED_OUT))
    };
    let deadline = Instant::now() + Duration::from_millis(350);
    cluster.retry(deadline, call).await.unwrap_err();
    assert!(Instant::now() < deadline);
    assert!((2..=4).contains(&FakeState::count(&calls)), "{calls:?}");
}
