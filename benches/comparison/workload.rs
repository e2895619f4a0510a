//! What is copied.

use twinlog_testcontainers::{Codec, Headers, Produce};

/// Records of a topic on the source.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    /// What `--workload` names it; the topic's name, too.
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) records: u64,
    /// About how long a value is.
    value_bytes: u32,
    /// Values that no codec makes smaller, instead of JSON.
    is_noise: bool,
    codec: Codec,
    /// How long a batch may get, and what it waits for more records.
    batch_bytes: u32,
    linger_ms: u32,
    pub(crate) partitions: u32,
}

const JSON: Workload = Workload {
    name: "json",
    what: "JSON of 820 B, zstd, batches up to 128 KiB",
    records: 2_000_000,
    value_bytes: 820,
    is_noise: false,
    codec: Codec::Zstd,
    batch_bytes: 128 << 10,
    linger_ms: 20,
    partitions: 4,
};

/// All of them in the order of the result.
pub(crate) fn all() -> Vec<Workload> {
    vec![
        JSON,
        Workload {
            name: "noise",
            what: "incompressible values of 1 KB, batches up to 128 KiB",
            records: 500_000,
            value_bytes: 1_000,
            is_noise: true,
            codec: Codec::None,
            ..JSON
        },
        Workload {
            name: "small",
            what: "JSON of 100 B, linger 0, batches up to 16 KiB as they come",
            value_bytes: 100,
            codec: Codec::None,
            batch_bytes: 16 << 10,
            linger_ms: 0,
            ..JSON
        },
        Workload {
            name: "single",
            what: "JSON of 100 B, each a batch of its own",
            records: 200_000,
            value_bytes: 100,
            codec: Codec::None,
            // No record is so small: the Java client makes a batch for each.
            batch_bytes: 1,
            linger_ms: 0,
            ..JSON
        },
        Workload {
            name: "partitions-1000",
            what: "JSON of 820 B, zstd, batches up to 16 KiB, 1 000 partitions",
            records: 1_000_000,
            batch_bytes: 16 << 10,
            linger_ms: 500,
            partitions: 1_000,
            ..JSON
        },
    ]
}

impl Workload {
    /// So many records from this one on.
    pub(crate) fn produce(&self, first: u64, count: u64) -> Produce {
        let produce = Produce::new(self.name, count)
            .first(first)
            .headers(Headers::None)
            .codec(self.codec)
            .value_bytes(self.value_bytes)
            .batches(self.batch_bytes, self.linger_ms);
        if self.is_noise { produce.noise() } else { produce }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_workload_has_a_name_of_its_own_and_fills_all_partitions() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(|workload| workload.name).collect();
        assert_eq!(names.len(), all.len());
        for Workload { name, records, partitions, .. } in all {
            assert_eq!(records % u64::from(partitions), 0, "{name}: the last partitions would have less");
            assert!(records / u64::from(partitions) >= 1_000, "{name}: too few for a partition");
        }
    }
}
