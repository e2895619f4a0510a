//! Who keeps partitions waiting.

use std::collections::BTreeMap;

use twinlog_client::Cluster;
use twinlog_client::admin::OpenTransaction;
use twinlog_core::map_record::PartitionKey;
use twinlog_core::status::{PartitionStatus, WAITING_FOR_TRANSACTIONS};

use super::at;

/// More are counted.
const NAMED_MAX: usize = 5;

/// Adds the producers of open transactions to the words of partitions that wait for them. Brokers before 2.8, and those
/// that do not let us, do not tell.
pub(super) async fn name(source: &Cluster, rows: &mut BTreeMap<PartitionKey, PartitionStatus>) {
    let asked: BTreeMap<_, _> =
        rows.iter().filter(|(_, row)| row.state == WAITING_FOR_TRANSACTIONS).map(|(key, _)| (at(key), ())).collect();
    if asked.is_empty() {
        return;
    }
    let open = source.open_transactions(&asked).await.unwrap_or_default();
    for (key, row) in rows {
        if let Some(Ok(open)) = open.get(&at(key))
            && let Some(detail) = row.detail.as_mut().filter(|_| !open.is_empty())
        {
            detail.push_str(&format!(": {}", words(open)));
        }
    }
}

fn words(open: &[OpenTransaction]) -> String {
    let named = open.iter().take(NAMED_MAX);
    let named = named.map(|open| format!("of producer {} since offset {}", open.producer_id, open.first_offset));
    let more = open.len().checked_sub(NAMED_MAX).filter(|more| *more > 0).map(|more| format!("and {more} more"));
    named.chain(more).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_named_and_the_rest_counted() {
        let open: Vec<_> =
            (0..7).map(|number| OpenTransaction { first_offset: 100 + number, producer_id: 4 + number }).collect();
        assert_eq!(words(&open[..2]), "of producer 4 since offset 100, of producer 5 since offset 101");
        let all = words(&open);
        assert!(all.ends_with("of producer 8 since offset 104, and 2 more"), "{all}");
        assert!(!words(&open[..5]).contains("more"));
    }
}
