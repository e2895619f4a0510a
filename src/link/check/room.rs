//! Bytes to copy against the free bytes of the target's log dirs.

use std::collections::BTreeSet;

use twinlog_client::Metadata;
use twinlog_client::admin::TopicPartition;
use twinlog_core::report::Side;

use super::settings::effective_replicas;
use super::topics::Selected;
use super::{About, BrokerSettings, Checks, count};
use crate::log_dirs::{LogDirs, leader_bytes, log_dirs};
use crate::supervisor::LinkSetup;

/// Above this share of the free bytes, in percent, it is worth a word.
const TIGHT_PERCENT: u64 = 80;

const ABOUT: About = About(Some(Side::Target), "room");

pub(super) async fn look(
    checks: &mut Checks,
    setup: &LinkSetup,
    selected: &Selected,
    source: &Metadata,
    target: &Metadata,
    brokers: &BrokerSettings,
) {
    if selected.mirrors.is_empty() {
        return;
    }
    let unknown = "compare the sizes yourself; grant Describe on both clusters to have it done here";
    let (there, here) = tokio::join!(log_dirs(&setup.source, source), log_dirs(&setup.target, target));
    let (there, here) = match (there, here) {
        (Ok(there), Ok(here)) => (there, here),
        (Err(error), _) | (_, Err(error)) => {
            return checks.warn(ABOUT, format!("bytes to copy and free bytes cannot be known: {error}"), unknown);
        }
    };
    let (there, mirrored) = (leader_bytes(&there, source), leader_bytes(&here, target));
    let mut to_copy = 0;
    for mirror in &selected.mirrors {
        for partition in source.topics.get(&mirror.source_topic).iter().flat_map(|topic| &topic.partitions) {
            let at = |topic: &str| TopicPartition::new(topic, partition.index);
            let bytes = there.get(&at(&mirror.source_topic)).copied().unwrap_or(0);
            to_copy += bytes.saturating_sub(mirrored.get(&at(&mirror.target_topic)).copied().unwrap_or(0));
        }
    }
    let replicas = u64::try_from(effective_replicas(setup, brokers).unwrap_or(1)).unwrap_or(1);
    judge(checks, to_copy, replicas, free_bytes(&here), target.brokers.len());
}

fn judge(checks: &mut Checks, to_copy: u64, replicas: u64, free: Option<u64>, brokers: usize) {
    let needed = to_copy.saturating_mul(replicas);
    let copies = if replicas == 1 { "1 replica".to_owned() } else { format!("{replicas} replicas") };
    let need = format!("{} to copy, with {copies} {}", readable(to_copy), readable(needed));
    let Some(free) = free else {
        let finding = format!("{need}; the target's brokers do not tell their free bytes (Kafka before 3.3)");
        return checks.warn(ABOUT, finding, "compare with the free space of their log dirs yourself");
    };
    let finding = format!("{need}; {} free on {}", readable(free), count(brokers, "broker"));
    if needed > free {
        checks.fail(ABOUT, finding, "add room on the target, or mirror less");
    } else if u128::from(needed) * 100 > u128::from(free) * u128::from(TIGHT_PERCENT) {
        checks.warn(ABOUT, finding, "add room on the target: partitions never spread evenly, and records go on coming");
    } else {
        checks.ok(ABOUT, finding);
    }
}

/// The free bytes of all brokers; none if one does not tell. Log dirs of a broker with the same sizes are taken for one
/// file system.
fn free_bytes(dirs: &LogDirs) -> Option<u64> {
    let mut free = 0;
    for dirs in dirs.values() {
        let usable = dirs.iter().filter(|dir| dir.result.is_ok());
        let sizes: Option<BTreeSet<_>> = usable.map(|dir| Some((dir.total_bytes?, dir.usable_bytes?))).collect();
        free += sizes?.into_iter().map(|(_, usable)| u64::try_from(usable).unwrap_or(0)).sum::<u64>();
    }
    Some(free)
}

/// Bytes as people read them, in powers of 1000.
fn readable(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, "bytes");
    for larger in UNITS {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, larger);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlog_client::admin::LogDir;
    use twinlog_core::report::Verdict;

    fn dir(path: &str, sizes: Option<(i64, i64)>) -> LogDir {
        LogDir {
            path: path.into(),
            result: Ok(()),
            total_bytes: sizes.map(|(total, _)| total),
            usable_bytes: sizes.map(|(_, usable)| usable),
            replicas: Vec::new(),
        }
    }

    #[test]
    fn free_bytes_count_a_file_system_once_a_broker() {
        let one = vec![dir("/a", Some((100, 40))), dir("/b", Some((100, 40))), dir("/c", Some((500, 40)))];
        let dirs = LogDirs::from([(1, one), (2, vec![dir("/a", Some((100, 7)))])]);
        assert_eq!(free_bytes(&dirs), Some(87));
        assert_eq!(free_bytes(&LogDirs::from([(1, vec![dir("/a", None)])])), None);
    }

    #[test]
    fn what_does_not_fit_fails_and_what_is_tight_is_named() {
        let verdict = |to_copy, replicas, free| {
            let mut checks = Checks::default();
            judge(&mut checks, to_copy, replicas, free, 3);
            let check = checks.0.remove(0);
            (check.verdict, check.finding)
        };
        assert_eq!(verdict(30, 3, Some(89)).0, Verdict::Failed);
        assert_eq!(verdict(30, 3, Some(90)).0, Verdict::Warning);
        assert_eq!(verdict(30, 3, Some(113)).0, Verdict::Ok);
        assert_eq!(verdict(30, 3, None).0, Verdict::Warning);
        let (_, words) = verdict(2_500_000_000, 2, Some(40_000_000_000));
        assert_eq!(words, "2.5 GB to copy, with 2 replicas 5.0 GB; 40.0 GB free on 3 brokers");
    }
}
