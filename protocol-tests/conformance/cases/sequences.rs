//! What a broker remembers of producers, and what it forgets.

use bytes::Bytes;

use crate::ask::{Answered, accepted, refused};
use crate::batch::{DAY_MS, Draft, Producer, now};
use crate::peer::{Peer, Verdict, until};

/// Older than a broker remembers a producer by default.
const OLD_MS: i64 = 3 * DAY_MS;

pub(super) async fn resend(peer: Peer) -> Verdict {
    peer.topic("resend", 1, &[]).await?;
    let producer = peer.producer().await?;
    let batches: Vec<Bytes> = (0..12).map(|sequence| producer.batch(sequence, 1)).collect();
    for (offset, batch) in (0..).zip(&batches) {
        peer.same("the next", accepted(offset), peer.produce("resend", batch).await?)?;
    }
    for offset in [11, 7] {
        let again = peer.produce("resend", &batches[offset]).await?;
        peer.same("one of the last five again", accepted(offset as i64), again)?;
    }
    peer.same("the sixth from the end again", refused(45), peer.produce("resend", &batches[6]).await?)?;
    peer.same("ten batches back again", refused(45), peer.produce("resend", &batches[1]).await?)?;
    peer.same("the end", 12, peer.end("resend", 0).await?)
}

pub(super) async fn gap(peer: Peer) -> Verdict {
    peer.topic("gap", 1, &[]).await?;
    let producer = peer.producer().await?;
    peer.same("the first", accepted(0), peer.produce("gap", &producer.batch(0, 2)).await?)?;
    peer.same("one too high", refused(45), peer.produce("gap", &producer.batch(3, 1)).await?)?;
    peer.same("the next", accepted(2), peer.produce("gap", &producer.batch(2, 1)).await?)
}

pub(super) async fn any_first(peer: Peer) -> Verdict {
    peer.topic("any-first", 1, &[]).await?;
    let producer = peer.producer().await?;
    peer.same("from 100 000 on", accepted(0), peer.produce("any-first", &producer.batch(100_000, 1)).await?)?;
    peer.same("the next", accepted(1), peer.produce("any-first", &producer.batch(100_001, 1)).await?)
}

pub(super) async fn wrap(peer: Peer) -> Verdict {
    peer.topic("wrap", 1, &[]).await?;
    let producer = peer.producer().await?;
    let last = i32::MAX;
    peer.same("up to 2^31 - 1", accepted(0), peer.produce("wrap", &producer.batch(last - 1, 2)).await?)?;
    peer.same("1 is a gap", refused(45), peer.produce("wrap", &producer.batch(1, 1)).await?)?;
    peer.same("0 is the next", accepted(2), peer.produce("wrap", &producer.batch(0, 1)).await?)?;
    peer.topic("wrap-inside", 1, &[]).await?;
    peer.same("over the end", accepted(0), peer.produce("wrap-inside", &producer.batch(last - 1, 4)).await?)?;
    peer.same("2 is the next", accepted(4), peer.produce("wrap-inside", &producer.batch(2, 1)).await?)
}

pub(super) async fn other_bytes(peer: Peer) -> Verdict {
    peer.topic("other-bytes", 1, &[]).await?;
    let producer = peer.producer().await?;
    let first = producer.batch(0, 3);
    peer.same("the first", accepted(0), peer.produce("other-bytes", &first).await?)?;
    let other = Draft::new(3).stamp(producer.stamp(0)).word("other").build();
    peer.same("others with its sequences", accepted(0), peer.produce("other-bytes", &other).await?)?;
    let log = peer.log("other-bytes", 0).await?;
    peer.same("batches on the log", 1, log.len())?;
    peer.same("the first is the one", &first[17..], &log[0].1[17..])
}

pub(super) async fn recreated(peer: Peer) -> Verdict {
    peer.topic("recreated", 1, &[]).await?;
    let producer = peer.producer().await?;
    peer.same("before", accepted(0), peer.produce("recreated", &producer.batch(0, 3)).await?)?;
    peer.delete_topic("recreated").await?;
    peer.topic("recreated", 1, &[]).await?;
    peer.same("the next batch", accepted(0), peer.produce("recreated", &producer.batch(3, 1)).await?)
}

pub(super) async fn forgotten_at_restart(peer: Peer) -> Verdict {
    peer.topic("restart-resend", 1, &[]).await?;
    let (old, young) = (peer.producer().await?, peer.producer().await?);
    let old = old.batch_of(0, 2, now() - OLD_MS);
    let young = young.batch(0, 2);
    for (batch, offset) in [(&old, 0), (&young, 2)] {
        peer.same("the first time", accepted(offset), peer.produce("restart-resend", batch).await?)?;
        peer.same("again", accepted(offset), peer.produce("restart-resend", batch).await?)?;
    }
    peer.restart_cleanly("restart-resend").await?;
    peer.same("a young one again", accepted(2), peer.produce("restart-resend", &young).await?)?;
    peer.same("an old one is stored again", accepted(4), peer.produce("restart-resend", &old).await?)?;
    peer.same("the end", 6, peer.end("restart-resend", 0).await?)
}

pub(super) async fn one_batch_after_restart(peer: Peer) -> Verdict {
    peer.topic("restart-five", 1, &[]).await?;
    let producer = peer.producer().await?;
    let batches: Vec<Bytes> = (0..5).map(|sequence| producer.batch(sequence, 1)).collect();
    for (offset, batch) in (0..).zip(&batches) {
        peer.same("the first time", accepted(offset), peer.produce("restart-five", batch).await?)?;
    }
    peer.same("the third again", accepted(2), peer.produce("restart-five", &batches[2]).await?)?;
    peer.restart_cleanly("restart-five").await?;
    peer.same("the third after the restart", refused(45), peer.produce("restart-five", &batches[2]).await?)?;
    peer.same("the last after the restart", accepted(4), peer.produce("restart-five", &batches[4]).await?)?;
    peer.same("the next", accepted(5), peer.produce("restart-five", &producer.batch(5, 1)).await?)
}

/// Waits until the broker has looked for forgotten producers of a partition, after the time of this call: it forgets
/// one that writes an old batch now. Gives the answer to that batch's second coming.
async fn await_expiry_check(peer: &Peer, topic: &str, partition: i32) -> Verdict<Answered> {
    let canary = peer.producer().await?.batch_of(0, 1, now() - OLD_MS);
    let first = peer.produce_to(topic, partition, &canary).await?;
    until("the broker forgets an old producer", async || {
        let again = peer.produce_to(topic, partition, &canary).await?;
        Ok((again != first).then_some(again))
    })
    .await
}

pub(super) async fn forgotten_at_check(peer: Peer) -> Verdict {
    peer.topic("expiry-resend", 1, &[]).await?;
    let (old, young) = (peer.producer().await?, peer.producer().await?);
    let old = old.batch_of(0, 2, now() - OLD_MS);
    let young = young.batch(0, 2);
    for (batch, offset) in [(&old, 0), (&young, 2)] {
        peer.same("the first time", accepted(offset), peer.produce("expiry-resend", batch).await?)?;
    }
    let canary = await_expiry_check(&peer, "expiry-resend", 0).await?;
    peer.same("the old producer that was waited for is stored again", accepted(5), canary)?;
    peer.same("a young one again", accepted(2), peer.produce("expiry-resend", &young).await?)?;
    peer.same("an old one is stored again", accepted(6), peer.produce("expiry-resend", &old).await?)
}

pub(super) async fn last_batch_counts(peer: Peer) -> Verdict {
    peer.topic("last-batch-counts", 2, &[]).await?;
    let producer = peer.producer().await?;
    // In partition 0 an old batch after a young one, in partition 1 the other way round.
    let at = |index: usize| if index == 1 { now() - OLD_MS } else { now() };
    let of = |partition: usize, index: usize| producer.batch_of(index as i32, 1, at((index + partition) % 2));
    for partition in [0, 1] {
        for index in [0, 1] {
            let answer = peer.produce_to("last-batch-counts", partition, &of(partition as usize, index)).await?;
            peer.same("the first time", accepted(index as i64), answer)?;
        }
    }
    for partition in [0, 1] {
        await_expiry_check(&peer, "last-batch-counts", partition).await?;
    }
    let answer = peer.produce_to("last-batch-counts", 1, &of(1, 1)).await?;
    peer.same("a young last batch keeps the state", accepted(1), answer)?;
    let end = peer.end("last-batch-counts", 0).await?;
    let answer = peer.produce_to("last-batch-counts", 0, &of(0, 0)).await?;
    peer.same("with an old last batch it is gone", accepted(end), answer)
}

pub(super) async fn gap_without_state(peer: Peer) -> Verdict {
    peer.topic("expiry-gap", 1, &[]).await?;
    let producer = peer.producer().await?;
    let batch = |sequence| producer.batch_of(sequence, 1, now() - OLD_MS);
    peer.same("batch 1", accepted(0), peer.produce("expiry-gap", &batch(0)).await?)?;
    await_expiry_check(&peer, "expiry-gap", 0).await?;
    let end = peer.end("expiry-gap", 0).await?;
    peer.same("batch 3 without batch 2", accepted(end), peer.produce("expiry-gap", &batch(2)).await?)?;
    peer.same("batch 2 after it", refused(45), peer.produce("expiry-gap", &batch(1)).await?)?;
    peer.same("batch 2 once more", refused(45), peer.produce("expiry-gap", &batch(1)).await?)
}

pub(super) async fn marker_keeps_state(peer: Peer) -> Verdict {
    peer.topic("expiry-marker", 1, &[]).await?;
    let zombie = peer.init(Some("expiry-marker")).await?;
    let old = |producer: Producer, sequence| producer.batch_of(sequence, 1, now() - OLD_MS);
    peer.same("the owner", accepted(0), peer.produce("expiry-marker", &old(zombie, 0)).await?)?;
    let owner = peer.init(Some("expiry-marker")).await?;
    peer.same("the marker", 1, peer.fence("expiry-marker", owner, "expiry-marker").await?)?;
    await_expiry_check(&peer, "expiry-marker", 0).await?;
    let answer = peer.produce("expiry-marker", &old(zombie, 1)).await?;
    peer.same("the fenced one after the check", refused(47), answer)?;
    let end = peer.end("expiry-marker", 0).await?;
    let answer = peer.produce("expiry-marker", &old(owner, 0)).await?;
    peer.same("the new owner writes an old batch", accepted(end), answer)?;
    await_expiry_check(&peer, "expiry-marker", 0).await?;
    let end = peer.end("expiry-marker", 0).await?;
    let answer = peer.produce("expiry-marker", &old(zombie, 1)).await?;
    peer.same("the fenced one when that is forgotten", accepted(end), answer)
}

pub(super) async fn no_state(peer: Peer) -> Verdict {
    peer.topic("no-state", 2, &[]).await?;
    let zombie = peer.init(Some("no-state")).await?;
    let owner = peer.init(Some("no-state")).await?;
    let answer = peer.produce_to("no-state", 0, &zombie.batch(0, 1)).await?;
    peer.same("a zombie's batch without state", accepted(0), answer)?;
    let answer = peer.produce_to("no-state", 1, &owner.batch(1, 1)).await?;
    peer.same("a second batch before a failed first", accepted(0), answer)?;
    peer.same("the first after it", refused(45), peer.produce_to("no-state", 1, &owner.batch(0, 1)).await?)?;

    peer.topic("marked", 1, &[]).await?;
    let owner = peer.init(Some("no-state")).await?;
    peer.same("the marker's offset", 0, peer.fence("no-state", owner, "marked").await?)?;
    peer.same("a zombie after the marker", refused(47), peer.produce("marked", &zombie.batch(0, 1)).await?)?;
    peer.same("a second before the first", refused(45), peer.produce("marked", &owner.batch(1, 1)).await?)?;
    peer.same("the first", accepted(1), peer.produce("marked", &owner.batch(0, 1)).await?)
}
