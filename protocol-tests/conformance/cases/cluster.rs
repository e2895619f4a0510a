//! What only a cluster of several brokers shows: followers, leaders that move, and logs that lose their end.

use std::collections::BTreeMap;

use kafka_protocol::messages::fetch_request::FetchTopic;
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use tokio::task::JoinHandle;
use twinlog_wire::fetch_response::EpochEnd;

use crate::ask::{PRODUCE_VERSION, accepted, asked_partition, fetch_request, produce_request, refused};
use crate::batch::{DAY_MS, Draft, now};
use crate::peer::{Peer, Verdict, until};

/// A Produce request on its way, on this handle's connection.
fn on_its_way(peer: &Peer, request: ProduceRequest) -> JoinHandle<Verdict<ProduceResponse>> {
    let peer = peer.clone();
    tokio::task::spawn_local(async move { peer.call(PRODUCE_VERSION, request).await })
}

/// The codes for the partitions of one topic by their numbers: brokers answer in no order.
fn codes(answer: &ProduceResponse) -> Vec<i16> {
    let answers = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
    let by_number: BTreeMap<i32, i16> = answers.map(|answer| (answer.index, answer.error_code)).collect();
    by_number.into_values().collect()
}

pub(super) async fn slow_partition(peer: Peer) -> Verdict {
    let topic = "slow-partition";
    // Broker 1 leads both; the follower of partition 1 will be slow.
    let peer = peer.at(1);
    peer.topic_on(topic, &[&[1, 3], &[1, 2]], &[("min.insync.replicas", "1")]).await?;
    let batch = Draft::new(1).build();
    for partition in [0, 1] {
        peer.same("before", accepted(0), peer.produce_to(topic, partition, &batch).await?)?;
    }
    let other = peer.apart();
    other.connection().await?;
    peer.act(|acts| acts.pause(2)).await?;
    let both = on_its_way(&peer, produce_request(&[(topic, 0, &batch), (topic, 1, &batch)]));
    // The broker has the request when the healthy partition has its batch.
    until("the healthy partition has the batch", async || Ok((other.end(topic, 0).await? == 2).then_some(()))).await?;
    let behind = on_its_way(&peer, produce_request(&[(topic, 0, &batch)]));
    let alone = other.produce_to(topic, 0, &batch).await?;
    peer.same("the healthy one alone on another connection", accepted(2), alone)?;
    let waiting = (both.is_finished(), behind.is_finished());
    peer.same("meanwhile the two on the slow connection are answered", (false, false), waiting)?;
    peer.same("the one behind is not even appended", 3, other.end(topic, 0).await?)?;
    peer.act(|acts| acts.resume(2)).await?;
    peer.same("both, when the follower goes on", vec![0, 0], codes(&both.await??))?;
    peer.same("and the one behind", vec![0], codes(&behind.await??))
}

pub(super) async fn slow_partition_named(peer: Peer) -> Verdict {
    let topic = "slow-named";
    let peer = peer.at(1);
    peer.topic_on(topic, &[&[1, 3], &[1, 2]], &[("min.insync.replicas", "1")]).await?;
    let producer = peer.init(Some(topic)).await?;
    let (first, batch) = (producer.batch(0, 1), Draft::new(1).build());
    // Followers of a new topic take a while before they fetch.
    for partition in [0, 1] {
        peer.same("before", accepted(0), peer.produce_to(topic, partition, &batch).await?)?;
    }
    peer.act(|acts| acts.pause(2)).await?;
    let request = produce_request(&[(topic, 0, &batch), (topic, 1, &first)]).with_timeout_ms(1_000);
    let answer = peer.call(PRODUCE_VERSION, request).await?;
    peer.same("after the timeout, for the healthy one and the slow one", vec![0, 7], codes(&answer))?;
    peer.act(|acts| acts.resume(2)).await?;
    peer.same("the slow one's batch once more", accepted(1), peer.produce_to(topic, 1, &first).await?)?;
    peer.same("it is there once", 2, peer.end(topic, 1).await?)
}

pub(super) async fn new_leader_in_answers(peer: Peer) -> Verdict {
    let topic = "new-leader";
    peer.topic_on(topic, &[&[1, 2]], &[]).await?;
    let batch = Draft::new(1).build();
    peer.same("the leader", accepted(0), peer.at(1).produce(topic, &batch).await?)?;
    let leader = peer.at(1).address()?;
    for (who, node) in [("a follower", 2), ("a stranger", 3)] {
        let request = produce_request(&[(topic, 0, &batch)]);
        let answer = peer.at(node).call(10, request).await?;
        let partition = &answer.responses[0].partition_responses[0];
        let found = (partition.error_code, partition.current_leader.leader_id.0);
        peer.same(&format!("Produce v10 to {who}: code and leader"), (6, 1), found)?;
        let endpoints = answer.node_endpoints.iter();
        let endpoints: Vec<_> = endpoints.map(|node| (node.node_id.0, node.host.to_string(), node.port)).collect();
        let expected = vec![(1, leader.host.clone(), i32::from(leader.port))];
        peer.same("and where the leader is", expected, endpoints)?;
    }
    let fetched = until("the follower has the record", async || {
        let fetched = peer.at(2).fetch(topic, 0, 0, 0).await?;
        Ok((fetched.high_watermark == 1).then_some(fetched))
    })
    .await?;
    peer.same("Fetch v12 from a follower is served", (0, false), (fetched.error.0, fetched.records.is_empty()))?;
    let asked = fetch_request(topic, asked_partition(0, 0), 0);
    let by_name = peer.at(3).fetch_whole(12, asked.clone()).await?;
    peer.same("Fetch v12 from a stranger", 6, by_name.topics[0].partitions[0].error.0)?;
    let id = peer.topic_id(topic).await?;
    let by_id = FetchTopic::default().with_topic_id(id).with_partitions(vec![asked_partition(0, 0)]);
    let answer = peer.at(3).fetch_whole(16, asked.with_topics(vec![by_id])).await?;
    let partition = &answer.topics[0].partitions[0];
    let found = (partition.error.0, partition.current_leader.map(|leader| leader.id));
    peer.same("Fetch v16 from a stranger: code and leader", (6, Some(1)), found)?;
    let endpoints: Vec<i32> = answer.node_endpoints.iter().map(|node| node.id).collect();
    peer.same("and where the leader is", vec![1], endpoints)
}

/// Loses the acknowledged end of partition 0, which stands on brokers 1 and 2: `write` writes to broker 1 while 2 is
/// down, then 1 is killed and 2 takes over what it has.
async fn lose_end(peer: &Peer, topic: &str, write: impl AsyncFn(&Peer) -> Verdict) -> Verdict<Peer> {
    let (old, new) = (peer.at(1), peer.at(2));
    let other = peer.at(3);
    peer.act(|acts| acts.stop(2)).await?;
    until("broker 1 is alone", async || {
        let known = other.partitions(topic).await?;
        Ok((known[&0].isr_nodes.iter().map(|node| node.0).eq([1])).then_some(()))
    })
    .await?;
    write(&old).await?;
    peer.act(|acts| {
        acts.kill(1)?;
        acts.start(2)
    })
    .await?;
    until("broker 2 leads", async || {
        let Ok(known) = other.partitions(topic).await else { return Ok(None) };
        Ok((known.get(&0).is_some_and(|partition| partition.leader_id.0 == 2)).then_some(()))
    })
    .await?;
    new.await_leader(topic, 0).await?;
    Ok(new)
}

async fn bring_back(peer: &Peer) -> Verdict {
    peer.act(|acts| acts.start(1)).await?;
    let other = peer.at(3);
    until("all brokers are there", async || {
        let known = other.partitions("__transaction_state").await?;
        Ok(known.values().all(|partition| partition.isr_nodes.len() == 3).then_some(()))
    })
    .await
}

pub(super) async fn unclean_election(peer: Peer) -> Verdict {
    let topic = "unclean";
    let configs = [("min.insync.replicas", "1"), ("unclean.leader.election.enable", "true")];
    peer.topic_on(topic, &[&[1, 2]], &configs).await?;
    let (young, old) = (peer.init(Some("unclean-young")).await?, peer.init(Some("unclean-old")).await?);
    let at = now() - 3 * DAY_MS;
    let first = peer.at(1);
    peer.same("before, young", accepted(0), first.produce(topic, &young.batch(0, 5)).await?)?;
    peer.same("before, old", accepted(5), first.produce(topic, &old.batch_of(0, 5, at)).await?)?;
    let epoch = first.partitions(topic).await?[&0].leader_epoch;
    let new = lose_end(&peer, topic, async |leader| {
        peer.same("lost later, young", accepted(10), leader.produce(topic, &young.batch(5, 30)).await?)?;
        peer.same("lost later, old", accepted(40), leader.produce(topic, &old.batch_of(5, 30, at)).await?)
    })
    .await?;
    peer.same("the end of the new leader", 10, new.end(topic, 0).await?)?;
    let mut asked = asked_partition(0, 70);
    asked.last_fetched_epoch = epoch;
    let fetched = new.fetch_asked(topic, asked, 0).await?;
    let diverging = fetched.diverging_epoch;
    peer.same("a consumer that read the lost end", Some(EpochEnd { epoch, end_offset: 10 }), diverging)?;
    peer.same("the next young batch", refused(45), new.produce(topic, &young.batch(35, 1)).await?)?;
    let answer = new.produce(topic, &old.batch_of(35, 1, at)).await?;
    peer.same("the next old batch, at the wrong place", accepted(10), answer)?;
    bring_back(&peer).await
}

pub(super) async fn end_without_leader(peer: Peer) -> Verdict {
    let (topic, id) = ("no-leader", "no-leader");
    let coordinator = peer.coordinator(id, 1).await?;
    let healthy = coordinator.node();
    let down = if healthy == 3 { 2 } else { 3 };
    coordinator.topic_on(topic, &[&[healthy], &[down]], &[("min.insync.replicas", "1")]).await?;
    let owner = coordinator.init(Some(id)).await?;
    coordinator.add(id, owner, &[(topic, 2)]).await?;
    peer.act(move |acts| acts.stop(down)).await?;
    until("partition 1 has no leader", async || {
        Ok((coordinator.partitions(topic).await?[&1].leader_id.0 == -1).then_some(()))
    })
    .await?;
    peer.same("EndTxn", 0, coordinator.end_txn(id, owner, true).await?)?;
    peer.same("the healthy partition has its marker", 1, coordinator.await_end(topic, 0, 1).await?)?;
    let codes = coordinator.add_once(id, owner, &[(topic, 1)]).await?;
    let codes: Vec<i16> = codes.into_iter().map(|(_, _, code)| code).collect();
    peer.same("AddPartitionsToTxn meanwhile", vec![51], codes)?;
    peer.same("InitProducerId meanwhile", 51, coordinator.init_once(Some(id)).await?.0)?;
    peer.same("EndTxn meanwhile", 51, coordinator.end_txn(id, owner, true).await?)?;
    peer.act(move |acts| acts.start(down)).await?;
    let next = coordinator.init(Some(id)).await?;
    peer.same("InitProducerId with the leader back", (owner.id, owner.epoch + 1), (next.id, next.epoch))?;
    let back = peer.at(down);
    let end = until("partition 1 is led again", async || {
        let Ok((0, end)) = back.list(topic, 1, -1).await else { return Ok(None) };
        Ok((end > 0).then_some(end))
    })
    .await?;
    peer.same("its marker", 1, end)
}
