//! Faults on purpose.

use std::time::Duration;

use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, ProduceRequest};
use tokio::time::{Instant, sleep, timeout};
use twinlog_sandbox::{ApiKey, ErrorCode, Fault, SandboxSpec, TopicSpec};

use crate::kit::{Client, TOPIC, batch, plain, produce_request, sandbox_of, simple, stamp};

#[tokio::test(start_paused = true)]
async fn a_delay_holds_one_request_and_those_behind_it() {
    let (sandbox, _clock, mut client) = simple();
    let fault = sandbox.fault(Fault::delay(Duration::from_millis(700)).on(ApiKey::Produce).nth(2));
    for (expected_ms, offset) in [(0, 0), (700, 1), (0, 2)] {
        let began = Instant::now();
        assert_eq!(client.append(plain(1)).await, Ok(offset));
        assert_eq!(began.elapsed().as_millis(), expected_ms);
    }
    assert_eq!(sandbox.hits(fault), 1);
}

#[tokio::test(start_paused = true)]
async fn an_overtaken_request_changes_places_with_the_next() {
    let (sandbox, _clock, mut first) = simple();
    let mut second = Client::new(&sandbox, 1);
    let fault = Fault::overtake(Duration::from_secs(5)).on(ApiKey::Produce).nth(1);
    sandbox.fault(fault.clone());
    first.send(&produce_request(None, plain(1)), 9).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(second.append(plain(2)).await, Ok(0), "what came later is there first");
    let answer = first.receive::<ProduceRequest>(9).await;
    assert_eq!(answer.unwrap().responses[0].partition_responses[0].base_offset, 2);

    // Nobody comes: it goes on by itself.
    sandbox.fault(fault);
    let began = Instant::now();
    assert_eq!(first.append(plain(1)).await, Ok(3));
    assert_eq!(began.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_never_processed_and_a_lost_answer_is() {
    let (sandbox, _clock, mut client) = simple();
    sandbox.fault(Fault::lose_request().on(ApiKey::Produce).times(1));
    let lost = timeout(Duration::from_secs(60), client.append(plain(1))).await;
    assert!(lost.is_err());
    assert_eq!(sandbox.offsets(TOPIC, 0).unwrap().1, 0);

    let mut client = Client::new(&sandbox, 1);
    sandbox.fault(Fault::lose_answer().on(ApiKey::Produce).times(1));
    assert!(timeout(Duration::from_secs(60), client.append(plain(1))).await.is_err());
    assert_eq!(sandbox.offsets(TOPIC, 0).unwrap().1, 1);
    client.send(&produce_request(None, plain(1)), 9).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(sandbox.offsets(TOPIC, 0).unwrap().1, 2, "what follows is processed");
    assert!(timeout(Duration::from_secs(60), client.receive::<ProduceRequest>(9)).await.is_err(), "and not answered");
}

#[tokio::test]
async fn a_connection_is_cut_before_or_after_its_request_is_processed() {
    for (fault, stored) in [(Fault::cut_before(), 0), (Fault::cut_after(), 1)] {
        let (sandbox, _clock, mut client) = simple();
        sandbox.fault(fault.on(ApiKey::Produce));
        assert_eq!(client.try_call(&produce_request(None, plain(1)), 9).await, None);
        assert_eq!(sandbox.offsets(TOPIC, 0).unwrap().1, stored);
    }
}

#[tokio::test]
async fn an_error_is_answered_before_or_after_the_request_is_processed() {
    for (fault, stored) in
        [(Fault::refuse(ErrorCode::NOT_ENOUGH_REPLICAS), 0), (Fault::refuse_after(ErrorCode::REQUEST_TIMED_OUT), 1)]
    {
        let (sandbox, _clock, mut client) = simple();
        sandbox.fault(fault.on(ApiKey::Produce).times(1));
        assert!(client.append(plain(1)).await.is_err());
        assert_eq!(sandbox.offsets(TOPIC, 0).unwrap().1, stored);
        assert_eq!(client.append(plain(1)).await, Ok(stored));
    }
}

#[tokio::test]
async fn processing_twice_doubles_what_has_no_producer() {
    let (sandbox, _clock, mut client) = simple();
    let fault = sandbox.fault(Fault::process_twice().on(ApiKey::Produce));
    assert_eq!(client.append(plain(1)).await, Ok(0));
    assert_eq!(client.append(batch(stamp((7, 0), 0), 1)).await, Ok(2));
    assert_eq!(sandbox.offsets(TOPIC, 0).unwrap().1, 3);
    sandbox.remove_fault(fault);
    assert_eq!(client.append(plain(1)).await, Ok(3));
}

#[tokio::test]
async fn a_fault_hits_whom_it_is_meant_for() {
    let (sandbox, _clock) = sandbox_of(SandboxSpec::new().nodes(2).topic(TopicSpec::new(TOPIC, 1)));
    let mut one = Client::new(&sandbox, 1);
    let mut two = Client::new(&sandbox, 2);
    one.call(&ApiVersionsRequest::default(), 0).await;
    two.call(&ApiVersionsRequest::default(), 0).await;
    let connections = sandbox.connections();
    assert_eq!(connections.len(), 2);
    let (first, ..) = connections[0];
    let faults = [
        sandbox.fault(Fault::process_twice().at_node(2)),
        sandbox.fault(Fault::process_twice().on_connection(first)),
        sandbox.fault(Fault::process_twice().from_client("somebody else")),
        sandbox.fault(Fault::process_twice().on(ApiKey::Metadata)),
    ];
    one.call(&MetadataRequest::default(), 9).await;
    one.call(&ApiVersionsRequest::default(), 0).await;
    two.call(&ApiVersionsRequest::default(), 0).await;
    assert_eq!(faults.map(|fault| sandbox.hits(fault)), [1, 2, 0, 1]);
    sandbox.clear_faults();
    assert_eq!(sandbox.hits(faults[0]), 0);
    sandbox.cut(first);
    assert_eq!(one.try_call(&ApiVersionsRequest::default(), 0).await, None);
    assert_eq!(sandbox.cut_client("test"), 1);
    assert_eq!(two.try_call(&ApiVersionsRequest::default(), 0).await, None);
}

#[tokio::test]
async fn chance_is_the_same_for_the_same_seed() {
    let run = async |seed: u64| {
        let (sandbox, _clock) = sandbox_of(SandboxSpec::new().seed(seed).topic(TopicSpec::new(TOPIC, 1)));
        let mut client = Client::new(&sandbox, 1);
        sandbox.fault(Fault::refuse(ErrorCode::NOT_ENOUGH_REPLICAS).on(ApiKey::Produce).chance(300));
        let mut refused = Vec::new();
        for _ in 0..100 {
            refused.push(client.append(plain(1)).await.is_err());
        }
        (refused, sandbox.topic_id(TOPIC))
    };
    let (first, id) = run(5).await;
    assert_eq!((first.clone(), id), run(5).await);
    assert_ne!(first, run(6).await.0);
    let hits = first.iter().filter(|refused| **refused).count();
    assert!((15..=45).contains(&hits), "{hits}");
}

#[tokio::test(start_paused = true)]
async fn a_paused_node_answers_when_it_goes_on() {
    let (sandbox, _clock, mut client) = simple();
    sandbox.pause(1).unwrap();
    assert!(timeout(Duration::from_secs(60), client.append(plain(1))).await.is_err());
    assert_eq!(sandbox.offsets(TOPIC, 0).unwrap().1, 0);
    sandbox.resume(1).unwrap();
    let answer = client.receive::<ProduceRequest>(9).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].base_offset, 0);
}

#[tokio::test]
async fn a_moved_leader_is_another_node_with_the_next_epoch() {
    let (sandbox, _clock) = sandbox_of(SandboxSpec::new().nodes(2).topic(TopicSpec::new(TOPIC, 1)));
    let mut former = Client::new(&sandbox, 1);
    assert_eq!(former.append(batch(stamp((7, 0), 0), 1)).await, Ok(0));
    sandbox.move_leader(TOPIC, 0, 2).unwrap();
    let code = former.append(batch(stamp((7, 0), 1), 1)).await;
    assert_eq!(code, Err(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    let mut leader = Client::new(&sandbox, 2);
    assert_eq!(leader.append(batch(stamp((7, 0), 0), 1)).await, Ok(0), "it knows the producer");
    assert_eq!(leader.append(batch(stamp((7, 0), 1), 1)).await, Ok(1));
    assert_eq!(sandbox.leader(TOPIC, 0).unwrap(), (Some(2), 1));
}
