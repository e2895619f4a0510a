//! The table of cases: each shows a row of docs/wire-facts.md.
//!
//! A case talks to a peer in Kafka's frames only, so that it can run against anything that speaks them; what it needs
//! besides is named here, and done through [`Acts`](crate::acts::Acts).

mod cluster;
mod groups;
mod logs;
mod members;
mod produce;
mod sequences;
mod transactions;

use std::pin::Pin;

use twinlog_testcontainers::KafkaVersion;

use crate::peer::{Peer, Verdict};
use crate::place::{Need, Place};

/// One case.
pub(crate) struct Case {
    /// What it is called in reports.
    pub(crate) name: &'static str,
    /// The row of docs/wire-facts.md that it shows.
    pub(crate) row: &'static str,
    /// The releases whose answers the row states.
    pub(crate) on: &'static [KafkaVersion],
    /// Where it runs.
    pub(crate) place: Place,
    /// What it needs besides what its place needs.
    pub(crate) needs: &'static [Need],
    /// The case itself.
    pub(crate) run: fn(Peer) -> Pin<Box<dyn Future<Output = Verdict>>>,
}

const BOTH: &[KafkaVersion] = &[KafkaVersion::V4_1_1, KafkaVersion::V3_9_1];
const V4: &[KafkaVersion] = &[KafkaVersion::V4_1_1];
const NOTHING: &[Need] = &[];
const BEYOND: &[Need] = &[Need::KafkaItself];
const LONG_BEYOND: &[Need] = &[Need::Long, Need::KafkaItself];

macro_rules! cases {
    ($(($row:literal, $name:literal, $on:expr, $place:ident, $needs:expr, $run:path);)*) => {
        &[$(Case {
            name: $name,
            row: $row,
            on: $on,
            place: Place::$place,
            needs: $needs,
            run: |peer| Box::pin($run(peer)),
        }),*]
    };
}

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = cases![
    ("P1", "base offset of a batch", BOTH, Calm, NOTHING, produce::base_offset);
    ("P2", "stored bytes", BOTH, Calm, NOTHING, produce::stored_bytes);
    ("P3", "two batches in one records section", BOTH, Calm, NOTHING, produce::two_batches);
    ("P4", "a partition twice in one request", BOTH, Calm, NOTHING, produce::partition_twice);
    ("P5", "count and last offset delta", BOTH, Calm, NOTHING, produce::count);
    ("P6", "control bit", BOTH, Calm, NOTHING, produce::control_bit);
    ("P7", "transactional bit", BOTH, Calm, NOTHING, produce::transactional_bit);
    ("P8", "damaged body", BOTH, Calm, NOTHING, produce::damaged_body);
    ("P9", "wrong max timestamp", BOTH, Calm, NOTHING, produce::wrong_max_timestamp);
    ("P10", "append time bit", BOTH, Calm, NOTHING, produce::append_time_bit);
    ("P11", "append time topic", BOTH, Calm, NOTHING, produce::append_time_topic);
    ("P12", "timestamps of the future", BOTH, Calm, NOTHING, produce::future);
    ("P13", "records without keys", BOTH, Calm, NOTHING, produce::no_keys);
    ("P14", "recompression", BOTH, Calm, NOTHING, produce::recompression);
    ("P15", "a million empty records", BOTH, Calm, NOTHING, produce::million_records);

    ("S1", "resends", BOTH, Calm, NOTHING, sequences::resend);
    ("S2", "a gap", BOTH, Calm, NOTHING, sequences::gap);
    ("S3", "any first sequence", BOTH, Calm, NOTHING, sequences::any_first);
    ("S4", "the end of the sequences", BOTH, Calm, NOTHING, sequences::wrap);
    ("S5", "other bytes, same sequences", BOTH, Calm, NOTHING, sequences::other_bytes);
    ("S6", "a topic recreated", BOTH, Calm, NOTHING, sequences::recreated);
    ("S7", "forgotten at a restart", BOTH, Restarted, NOTHING, sequences::forgotten_at_restart);
    ("S7", "forgotten at a check", BOTH, Quick, NOTHING, sequences::forgotten_at_check);
    ("S8", "the last batch counts", BOTH, Quick, NOTHING, sequences::last_batch_counts);
    ("S9", "a gap without state", BOTH, Quick, NOTHING, sequences::gap_without_state);
    ("S10", "one batch after a restart", BOTH, Restarted, NOTHING, sequences::one_batch_after_restart);
    ("S11", "without state, and with a marker", BOTH, Calm, NOTHING, sequences::no_state);
    ("S12", "a marker keeps the state", BOTH, Quick, NOTHING, sequences::marker_keeps_state);

    ("T1", "not ready after a start", BOTH, Killed, NOTHING, transactions::not_ready);
    ("T2", "plain batches of a transactional id", BOTH, Calm, NOTHING, transactions::plain_batches);
    ("T3", "InitProducerId does not fence", BOTH, Calm, NOTHING, transactions::init_does_not_fence);
    ("T4", "an empty transaction fences", BOTH, Calm, NOTHING, transactions::empty_transaction_fences);
    ("T5", "data fences", BOTH, Calm, NOTHING, transactions::data_fences);
    ("T6", "fifty empty transactions", BOTH, Calm, NOTHING, transactions::fifty_transactions);
    ("T7", "a transaction over 200 partitions", BOTH, Calm, NOTHING, transactions::many_partitions);
    ("T7", "a transaction over 5 000 partitions", BOTH, Last, &[Need::Long], transactions::five_thousand_partitions);
    ("T8", "a zombie after a restart", BOTH, Restarted, NOTHING, transactions::zombie_after_restart);
    ("T9", "a fence of another id", BOTH, Calm, NOTHING, transactions::fence_of_another_id);
    ("T10", "epochs run out", BOTH, Calm, &[Need::Long], transactions::epochs_run_out);
    ("T11", "an unknown topic in a transaction", BOTH, Calm, NOTHING, transactions::unknown_topic);
    ("T11", "a forbidden topic in a transaction", BOTH, Calm, &[Need::Acls], transactions::forbidden_topic);
    ("T12", "a transaction ends without a leader", BOTH, Three, NOTHING, cluster::end_without_leader);
    ("T13", "a hanging transaction", BOTH, Calm, NOTHING, transactions::hanging);
    ("T14", "EndTxn v5 changes the epoch", V4, Calm, BEYOND, transactions::end_changes_epoch);
    ("T15", "a used-up producer id", BOTH, Calm, &[Need::Long], transactions::epochs_used_up);
    ("T16", "nothing to commit", BOTH, Calm, NOTHING, transactions::nothing_to_commit);

    ("G1", "commit for an unused group", BOTH, Calm, NOTHING, groups::commit_for_unused);
    ("G1", "commit for a classic group in use", BOTH, Calm, NOTHING, groups::commit_for_classic);
    ("G1", "commit for a KIP-848 group in use", V4, Calm, BEYOND, groups::commit_for_kip_848);
    ("G2", "transactional commit for a group in use", BOTH, Calm, NOTHING, groups::transactional_commit);
    ("G3", "aborted commit", BOTH, Calm, BEYOND, groups::aborted_commit);
    ("G4", "offsets expire by the commit's own time", BOTH, Quick, BEYOND, groups::offsets_expire);
    ("G4", "offsets expire by the setting", BOTH, Quick, LONG_BEYOND, groups::offsets_expire_by_setting);
    ("G5", "heartbeats in a rebalance", BOTH, Calm, NOTHING, members::heartbeats_in_a_rebalance);
    ("G6", "heartbeats before the plan", BOTH, Calm, NOTHING, members::heartbeats_before_the_plan);
    ("G7", "silent members", BOTH, Calm, NOTHING, members::silent_members);

    ("L1", "log start after a kill", BOTH, Killed, NOTHING, logs::start_after_kill);
    ("L2", "old records and retention", BOTH, Quick, NOTHING, logs::retention);
    ("L3", "delete horizon", BOTH, Quick, &[Need::Cleaner], logs::delete_horizon);
    ("L4", "an unclean election", BOTH, Three, NOTHING, cluster::unclean_election);

    ("W1", "oldest versions", BOTH, Calm, NOTHING, logs::oldest_versions);
    ("W2", "topic ids", BOTH, Calm, NOTHING, logs::topic_ids);
    ("W3", "fetch sessions", BOTH, Calm, NOTHING, logs::fetch_session);
    ("W4", "idle connections", BOTH, Quick, BEYOND, logs::idle);
    ("W5", "a slow partition", BOTH, Three, NOTHING, cluster::slow_partition);
    ("W6", "the leader in answers of others", BOTH, Three, NOTHING, cluster::new_leader_in_answers);
    ("W7", "a slow partition is named", BOTH, Three, NOTHING, cluster::slow_partition_named);
];
