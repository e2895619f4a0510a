//! Transactional ids: who is fenced, when, and what stands still.

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::{CreateAclsRequest, EndTxnRequest, ProducerId, TransactionalId};

use crate::ask::{accepted, refused, words};
use crate::batch::{DAY_MS, Producer, now, with_bits};
use crate::peer::{Failed, Peer, Verdict, until};

pub(super) async fn not_ready(peer: Peer) -> Verdict {
    peer.kill_and_start().await?;
    let (code, _) = peer.init_once(None).await?;
    peer.same("the first InitProducerId", 14, code)?;
    let codes = until("a producer id", async || {
        let (code, producer) = peer.init_once(None).await?;
        if code != 0 && code != 14 {
            return Err(Failed(format!("InitProducerId: {code}")));
        }
        Ok((code == 0).then_some((code, producer.epoch)))
    })
    .await?;
    peer.same("a later one", (0, 0), codes)
}

pub(super) async fn plain_batches(peer: Peer) -> Verdict {
    peer.topic("plain-batches", 1, &[]).await?;
    let producer = peer.init(Some("plain-batches")).await?;
    for offset in 0..3 {
        let batch = producer.batch(offset, 1);
        peer.same("a plain batch", accepted(offset.into()), peer.produce("plain-batches", &batch).await?)?;
    }
    Ok(())
}

pub(super) async fn init_does_not_fence(peer: Peer) -> Verdict {
    peer.topic("init-only", 1, &[]).await?;
    let old = peer.init(Some("init-only")).await?;
    peer.same("before", accepted(0), peer.produce("init-only", &old.batch(0, 1)).await?)?;
    let new = peer.init(Some("init-only")).await?;
    peer.same("the same id, the next epoch", (old.id, old.epoch + 1), (new.id, new.epoch))?;
    peer.same("the old epoch", accepted(1), peer.produce("init-only", &old.batch(1, 1)).await?)
}

pub(super) async fn empty_transaction_fences(peer: Peer) -> Verdict {
    peer.topic("empty-transaction", 3, &[]).await?;
    let id = "empty-transaction";
    let old = peer.init(Some(id)).await?;
    for partition in 0..3 {
        let answer = peer.produce_to(id, partition, &old.batch(0, 1)).await?;
        peer.same("before", accepted(0), answer)?;
    }
    let new = peer.init(Some(id)).await?;
    let coordinator = peer.coordinator(id, 1).await?;
    coordinator.add(id, new, &[(id, 3)]).await?;
    peer.same("EndTxn", 0, coordinator.end_txn(id, new, true).await?)?;
    for partition in 0..3 {
        peer.same("one marker", 2, peer.await_end(id, partition, 2).await?)?;
        let marker = peer.log(id, partition).await?[1].0;
        peer.same("its kind", (true, true), (marker.is_control(), marker.is_transactional()))?;
        let owner = (marker.producer_id, marker.producer_epoch, marker.base_sequence, marker.record_count);
        peer.same("its producer", (new.id, new.epoch, -1, 1), owner)?;
        peer.same("the old epoch", refused(47), peer.produce_to(id, partition, &old.batch(1, 1)).await?)?;
    }
    peer.same("the new epoch begins at 0", accepted(2), peer.produce(id, &new.batch(0, 1)).await?)
}

pub(super) async fn data_fences(peer: Peer) -> Verdict {
    peer.topic("data-fences", 1, &[]).await?;
    let old = peer.init(Some("data-fences")).await?;
    peer.same("before", accepted(0), peer.produce("data-fences", &old.batch(0, 1)).await?)?;
    let new = peer.init(Some("data-fences")).await?;
    peer.same("the new epoch", accepted(1), peer.produce("data-fences", &new.batch(0, 1)).await?)?;
    peer.same("the old epoch", refused(47), peer.produce("data-fences", &old.batch(1, 1)).await?)
}

pub(super) async fn fifty_transactions(peer: Peer) -> Verdict {
    let id = "fifty";
    peer.topic(id, 8, &[]).await?;
    let owner = peer.init(Some(id)).await?;
    let coordinator = peer.coordinator(id, 1).await?;
    for _ in 0..50 {
        coordinator.add(id, owner, &[(id, 8)]).await?;
        peer.same("EndTxn", 0, coordinator.end_txn(id, owner, true).await?)?;
    }
    for partition in 0..8 {
        peer.await_end(id, partition, 50).await?;
        peer.same("one marker a transaction", 50, peer.end(id, partition).await?)?;
    }
    Ok(())
}

async fn one_transaction_over(peer: Peer, id: &str, partitions: i32) -> Verdict {
    peer.topic(id, partitions, &[]).await?;
    let owner = peer.init(Some(id)).await?;
    let coordinator = peer.coordinator(id, 1).await?;
    coordinator.add(id, owner, &[(id, partitions)]).await?;
    peer.same("EndTxn", 0, coordinator.end_txn(id, owner, true).await?)?;
    let mut markers = 0;
    for partition in 0..partitions {
        markers += peer.await_end(id, partition, 1).await?;
    }
    peer.same("one marker a partition", i64::from(partitions), markers)
}

pub(super) async fn many_partitions(peer: Peer) -> Verdict {
    one_transaction_over(peer, "many-partitions", 200).await
}

pub(super) async fn five_thousand_partitions(peer: Peer) -> Verdict {
    one_transaction_over(peer, "five-thousand", 5_000).await
}

pub(super) async fn zombie_after_restart(peer: Peer) -> Verdict {
    let id = "zombie-restart";
    peer.topic(id, 1, &[]).await?;
    let zombie = peer.init(Some(id)).await?;
    peer.same("before", accepted(0), peer.produce(id, &zombie.batch(0, 1)).await?)?;
    let owner = peer.init(Some(id)).await?;
    peer.same("the marker", 1, peer.fence(id, owner, id).await?)?;
    peer.same("the zombie is fenced", refused(47), peer.produce(id, &zombie.batch(1, 1)).await?)?;
    let old = owner.batch_of(0, 1, now() - 3 * DAY_MS);
    peer.same("old data of the owner", accepted(2), peer.produce(id, &old).await?)?;
    peer.same("the zombie still", refused(47), peer.produce(id, &zombie.batch(1, 1)).await?)?;
    peer.restart_cleanly(id).await?;
    peer.same("the zombie after a restart", accepted(3), peer.produce(id, &zombie.batch(1, 1)).await?)
}

pub(super) async fn fence_of_another_id(peer: Peer) -> Verdict {
    peer.topic("two-ids", 1, &[]).await?;
    let other = peer.init(Some("two-ids-other")).await?;
    peer.same("the other id", accepted(0), peer.produce("two-ids", &other.batch(0, 1)).await?)?;
    let owner = peer.init(Some("two-ids")).await?;
    peer.same("our marker", 1, peer.fence("two-ids", owner, "two-ids").await?)?;
    peer.same("our data", accepted(2), peer.produce("two-ids", &owner.batch(0, 1)).await?)?;
    peer.same("the other id still", accepted(3), peer.produce("two-ids", &other.batch(1, 1)).await?)
}

pub(super) async fn epochs_run_out(peer: Peer) -> Verdict {
    let id = "epochs";
    peer.topic(id, 1, &[]).await?;
    let first = peer.init(Some(id)).await?;
    let mut last = first;
    let mut calls = 1;
    while last.id == first.id && calls < 40_000 {
        let next = peer.init(Some(id)).await?;
        calls += 1;
        if next.id == first.id {
            last = next;
            continue;
        }
        peer.same("the call that gives another id", 32_768, calls)?;
        peer.same("the last epoch of the first id", 32_766, last.epoch)?;
        peer.same("the first epoch of the new id", 0, next.epoch)?;
        let answer = peer.produce(id, &last.batch(0, 1)).await?;
        peer.same("the first id's last epoch, at first", accepted(0), answer)?;
        peer.same("a marker of the new id", 1, peer.fence(id, next, id).await?)?;
        let answer = peer.produce(id, &last.batch(1, 1)).await?;
        return peer.same("the first id's last epoch after it", accepted(2), answer);
    }
    Err(Failed(format!("still the first id after {calls} calls")))
}

pub(super) async fn epochs_used_up(peer: Peer) -> Verdict {
    let id = "used-up";
    peer.topic(id, 1, &[]).await?;
    let mut last = peer.init(Some(id)).await?;
    while last.epoch < 32_766 {
        last = peer.init(Some(id)).await?;
    }
    let coordinator = peer.coordinator(id, 1).await?;
    let before = Producer { epoch: last.epoch - 1, ..last };
    peer.same("naming the epoch before the last", -1, coordinator.init_as(id, before).await?.0)?;
    let (code, next) = coordinator.init_as(id, last).await?;
    peer.same("naming the last epoch: another id with epoch 0", (0, true, 0), (code, next.id != last.id, next.epoch))?;
    peer.same("the same once more", (0, next), coordinator.init_as(id, last).await?)?;
    let codes = coordinator.add_once(id, last, &[(id, 1)]).await?;
    peer.same("AddPartitionsToTxn by the used-up id", vec![49], codes.iter().map(|(_, _, code)| *code).collect())
}

pub(super) async fn unknown_topic(peer: Peer) -> Verdict {
    let id = "unknown-topic";
    peer.topic(id, 2, &[]).await?;
    let owner = peer.init(Some(id)).await?;
    let coordinator = peer.coordinator(id, 1).await?;
    let codes = coordinator.add_once(id, owner, &[(id, 2), ("unknown-topic-none", 1)]).await?;
    let codes: Vec<i16> = codes.iter().map(|(_, _, code)| *code).collect();
    peer.same("two known partitions and an unknown one", vec![55, 55, 3], codes)?;
    coordinator.add(id, owner, &[(id, 2)]).await?;
    peer.same("EndTxn", 0, coordinator.end_txn(id, owner, true).await?)?;
    peer.same("the known ones alone: a marker", 1, peer.await_end(id, 1, 1).await?)
}

pub(super) async fn forbidden_topic(peer: Peer) -> Verdict {
    let id = "forbidden-beside";
    peer.topic(id, 1, &[]).await?;
    peer.topic("forbidden", 1, &[]).await?;
    // A topic (2) by its name (3): writing (4) is denied (2).
    let denied = AclCreation::default()
        .with_resource_type(2)
        .with_resource_name(words("forbidden"))
        .with_resource_pattern_type(3)
        .with_principal(words("User:ANONYMOUS"))
        .with_host(words("*"))
        .with_operation(4)
        .with_permission_type(2);
    let answer = peer.call(2, CreateAclsRequest::default().with_creations(vec![denied])).await?;
    peer.same("CreateAcls", vec![0], answer.results.iter().map(|result| result.error_code).collect())?;
    let owner = peer.init(Some(id)).await?;
    let coordinator = peer.coordinator(id, 1).await?;
    let codes = until("the rule is known", async || {
        let codes = coordinator.add_once(id, owner, &[("forbidden", 1), (id, 1)]).await?;
        let codes: Vec<i16> = codes.iter().map(|(_, _, code)| *code).collect();
        if codes == [0, 0] {
            coordinator.end_txn(id, owner, true).await?;
        }
        Ok((!codes.contains(&0) && !codes.contains(&51)).then_some(codes))
    })
    .await?;
    peer.same("a forbidden partition and another", vec![29, 55], codes)
}

pub(super) async fn nothing_to_commit(peer: Peer) -> Verdict {
    let (topic, id) = ("nothing-to-commit", "nothing-to-commit");
    peer.topic(topic, 1, &[]).await?;
    let coordinator = peer.coordinator(id, 1).await?;
    let owner = coordinator.init(Some(id)).await?;
    let former = Producer { id: owner.id - 1, ..owner };
    peer.same("EndTxn by another producer id", 49, coordinator.end_txn(id, former, true).await?)?;
    peer.same("EndTxn with nothing added", 48, coordinator.end_txn(id, owner, true).await?)?;
    coordinator.add(id, owner, &[(topic, 1)]).await?;
    peer.same("EndTxn of what was added", 0, coordinator.end_txn(id, owner, true).await?)?;
    peer.await_end(topic, 0, 1).await?;
    until("EndTxn once more answers 0", async || Ok((coordinator.end_txn(id, owner, true).await? == 0).then_some(())))
        .await
}

pub(super) async fn hanging(peer: Peer) -> Verdict {
    let id = "hanging";
    peer.topic(id, 1, &[]).await?;
    let plain = peer.producer().await?;
    peer.same("before", accepted(0), peer.produce(id, &plain.batch(0, 5)).await?)?;
    let owner = peer.init(Some(id)).await?;
    let coordinator = peer.coordinator(id, 1).await?;
    coordinator.add(id, owner, &[(id, 1)]).await?;
    let batch = with_bits(&owner.batch(0, 5), 0x10);
    peer.same("in the transaction", accepted(5), peer.produce_in(id, id, &batch).await?)?;
    peer.same("behind it", accepted(10), peer.produce(id, &plain.batch(5, 5)).await?)?;
    let fetched = peer.fetch(id, 0, 0, 1).await?;
    let found = (fetched.high_watermark, fetched.last_stable_offset);
    peer.same("high watermark and last stable offset", (15, 5), found)?;
    let mut records = 0;
    for entry in twinlog_wire::batch::Batches::new(fetched.records) {
        if let twinlog_wire::batch::Entry::V2(meta, _) = entry? {
            records += meta.record_count;
        }
    }
    peer.same("records for a read-committed reader", 5, records)
}

pub(super) async fn end_changes_epoch(peer: Peer) -> Verdict {
    let id = "end-changes-epoch";
    peer.topic(id, 1, &[]).await?;
    let owner = peer.init(Some(id)).await?;
    let coordinator = peer.coordinator(id, 1).await?;
    coordinator.add(id, owner, &[(id, 1)]).await?;
    let request = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(words(id)))
        .with_producer_id(ProducerId(owner.id))
        .with_producer_epoch(owner.epoch)
        .with_committed(true);
    let answer = coordinator.call(5, request).await?;
    let found = (answer.error_code, answer.producer_id.0, answer.producer_epoch);
    peer.same("EndTxn v5", (0, owner.id, owner.epoch + 1), found)?;
    peer.await_end(id, 0, 1).await?;
    let marker = peer.log(id, 0).await?[0].0;
    peer.same("the marker's epoch", owner.epoch + 1, marker.producer_epoch)?;
    peer.same("the epoch before", refused(47), peer.produce(id, &owner.batch(0, 1)).await?)?;
    let codes = until("the transaction has ended", async || {
        let codes = coordinator.add_once(id, owner, &[(id, 1)]).await?;
        let codes: Vec<i16> = codes.iter().map(|(_, _, code)| *code).collect();
        Ok((codes != [51]).then_some(codes))
    })
    .await?;
    peer.same("AddPartitionsToTxn with the epoch before", vec![47], codes)
}
