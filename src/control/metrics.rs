//! Metrics in the text format of OpenMetrics, which Prometheus reads. Few labels: the link, and by choice topic and
//! partition.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use twinlog_core::objectives::behind_ms;
use twinlog_core::status::{LinkStatus, PartitionStatus, Standing};

use super::seen::Seen;

/// The format's name for HTTP.
pub(super) const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Whole = Family<Labels, Gauge>;
type Real = Family<Labels, Gauge<f64, AtomicU64>>;

/// All metrics as of now.
pub(super) fn text(seen: &Seen, now: SystemTime, of_partitions: bool) -> String {
    let mut registry = Registry::with_prefix("twinlog");
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The version that runs", version);
    let since = seen.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let started: Gauge<f64, AtomicU64> = Gauge::default();
    started.set(since.as_secs_f64());
    registry.register_with_unit("start_time", "When this process began, since 1970", Unit::Seconds, started);
    of_links(&mut registry, seen, now);
    if of_partitions {
        of_each_partition(&mut registry, seen, now);
    }
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => text,
        Err(error) => format!("# {error}\n"),
    }
}

fn of_links(registry: &mut Registry, seen: &Seen, now: SystemTime) {
    let (ready, lanes, owned, partitions) = (Whole::default(), Whole::default(), Whole::default(), Whole::default());
    let (lag, lag_bytes, lost) = (Whole::default(), Whole::default(), Whole::default());
    let breached = Whole::default();
    let lag_seconds = Real::default();
    let (records, bytes) = (Family::<Labels, Counter>::default(), Family::<Labels, Counter>::default());
    for link in seen.links() {
        let labels = labels_of(link);
        let instance = link.instance.unwrap_or_default();
        ready.get_or_create(&labels).set(i64::from(instance.ready));
        lanes.get_or_create(&labels).set(link.lanes.into());
        owned.get_or_create(&labels).set(instance.lanes.into());
        let mut states: BTreeMap<(Standing, &str), i64> = BTreeMap::new();
        for row in own(link) {
            *states.entry((row.standing, &row.state)).or_default() += 1;
        }
        for ((standing, state), count) in states {
            let mut labels = labels.clone();
            labels.extend([("standing", standing.name().to_owned()), ("state", state.to_owned())]);
            partitions.get_or_create(&labels).set(count);
        }
        if let Some(totals) = seen.totals(&link.link) {
            records.get_or_create(&labels).inc_by(totals.records);
            bytes.get_or_create(&labels).inc_by(totals.bytes);
        }
        // Before anything is known, 0 would say that nothing lags.
        if !instance.ready && own(link).next().is_none() {
            continue;
        }
        lag.get_or_create(&labels).set(own(link).filter_map(PartitionStatus::lag).map(narrow).sum());
        lag_bytes.get_or_create(&labels).set(own(link).filter_map(|row| row.lag_bytes).map(narrow).sum());
        lost.get_or_create(&labels).set(own(link).map(|row| narrow(row.lost)).sum());
        let is_breached = |row: &&PartitionStatus| row.breached == Some(true);
        breached.get_or_create(&labels).set(narrow(own(link).filter(is_breached).count() as u64));
        let longest = own(link).map(|row| behind(row, seen, now)).max().unwrap_or_default();
        lag_seconds.get_or_create(&labels).set(longest.as_secs_f64());
    }
    registry.register("ready", "Whether both clusters were reached and the lanes shared out", ready);
    registry.register("lanes", "Lanes of the link, of all its instances", lanes);
    registry.register("lanes_owned", "Lanes that this instance has", owned);
    registry.register("partitions", "Partitions that this instance has, by state", partitions);
    registry.register("records", "Records written to the target by this instance", records);
    registry.register_with_unit("written", "Batches written to the target by this instance", Unit::Bytes, bytes);
    registry.register("lag_records", "Offsets between what is on the target and the source's high watermarks", lag);
    let help = "Batches that lag behind, estimated by the mean size of what was copied";
    registry.register_with_unit("lag", help, Unit::Bytes, lag_bytes);
    let help = "How long ago the partition that is furthest behind was current";
    registry.register_with_unit("lag", help, Unit::Seconds, lag_seconds);
    let help = "Partitions that are further behind than the link's objective for them";
    registry.register("breached_partitions", help, breached);
    registry.register("lost_offsets", "Source offsets that were left out, as somebody or the policy decided", lost);
}

fn of_each_partition(registry: &mut Registry, seen: &Seen, now: SystemTime) {
    let (lag, lag_bytes, synced, lag_seconds) = (Whole::default(), Whole::default(), Whole::default(), Real::default());
    for link in seen.links() {
        for row in own(link) {
            let mut labels = labels_of(link);
            labels.extend([("topic", row.topic.clone()), ("partition", row.partition.to_string())]);
            if let Some(records) = row.lag() {
                lag.get_or_create(&labels).set(narrow(records));
            }
            if let Some(bytes) = row.lag_bytes {
                lag_bytes.get_or_create(&labels).set(narrow(bytes));
            }
            if let Some(offset) = row.synced {
                synced.get_or_create(&labels).set(offset);
            }
            lag_seconds.get_or_create(&labels).set(behind(row, seen, now).as_secs_f64());
        }
    }
    registry.register("partition_lag_records", "Offsets between the target and the source's high watermark", lag);
    registry.register_with_unit("partition_lag", "Batches that lag behind, estimated", Unit::Bytes, lag_bytes);
    registry.register_with_unit("partition_lag", "How long ago it was current", Unit::Seconds, lag_seconds);
    registry.register("partition_synced_offset", "Source offset up to which all is on the target", synced);
}

fn labels_of(link: &LinkStatus) -> Labels {
    vec![("link", link.link.clone())]
}

/// The partitions that this instance has.
fn own(link: &LinkStatus) -> impl Iterator<Item = &PartitionStatus> {
    link.partitions.iter().map(AsRef::as_ref).filter(|row| row.standing != Standing::Elsewhere)
}

/// How long ago a partition was current.
fn behind(row: &PartitionStatus, seen: &Seen, now: SystemTime) -> Duration {
    let ms = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    };
    Duration::from_millis(behind_ms(row, ms(seen.started), ms(now)))
}

fn narrow(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use twinlog_core::status::Instance;

    use super::*;
    use crate::cli::tests::partition;

    fn seen() -> Seen {
        let started = UNIX_EPOCH + Duration::from_secs(1_000);
        let mut seen = Seen::new(started);
        let elsewhere = PartitionStatus { standing: Standing::Elsewhere, records: 77, ..partition("orders", 1) };
        let current = PartitionStatus {
            records: 10,
            bytes: 1_000,
            lag_bytes: Some(500),
            current_as_of_ms: Some(1_007_500),
            breached: Some(true),
            ..partition("orders", 0)
        };
        seen.update(vec![LinkStatus {
            link: "dr".to_owned(),
            source: "a".to_owned(),
            target: "b".to_owned(),
            lanes: 4,
            instance: Some(Instance { ready: true, lanes: 1 }),
            partitions: vec![current.into(), elsewhere.into()],
        }]);
        seen
    }

    #[test]
    fn metrics_are_of_what_this_instance_has() {
        let text = text(&seen(), UNIX_EPOCH + Duration::from_secs(1_010), false);
        for line in [
            "# UNIT twinlog_lag_seconds seconds",
            "# TYPE twinlog_records counter",
            "twinlog_ready{link=\"dr\"} 1",
            "twinlog_lanes{link=\"dr\"} 4",
            "twinlog_lanes_owned{link=\"dr\"} 1",
            "twinlog_partitions{link=\"dr\",standing=\"copying\",state=\"copying\"} 1",
            "twinlog_records_total{link=\"dr\"} 10",
            "twinlog_written_bytes_total{link=\"dr\"} 1000",
            "twinlog_lag_records{link=\"dr\"} 5",
            "twinlog_lag_bytes{link=\"dr\"} 500",
            "twinlog_lag_seconds{link=\"dr\"} 2.5",
            "twinlog_breached_partitions{link=\"dr\"} 1",
            "twinlog_start_time_seconds 1000.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("topic="), "{text}");
    }

    #[test]
    fn partitions_are_named_by_choice() {
        let text = text(&seen(), UNIX_EPOCH + Duration::from_secs(1_010), true);
        let labels = "{link=\"dr\",topic=\"orders\",partition=\"0\"}";
        for (name, value) in
            [("lag_records", "5"), ("lag_bytes", "500"), ("lag_seconds", "2.5"), ("synced_offset", "95")]
        {
            let line = format!("twinlog_partition_{name}{labels} {value}");
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("partition=\"1\""), "{text}");
    }

    /// The names of metrics in a text.
    fn names(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("twinlog_")).collect()
    }

    #[test]
    fn alerts_and_the_dashboard_name_metrics_and_states_that_exist() {
        let shown = text(&seen(), UNIX_EPOCH, false);
        let exist: BTreeSet<&str> =
            shown.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split('{').next()).collect();
        let (alerts, dashboard) =
            (include_str!("../../monitoring/alerts.yaml"), include_str!("../../monitoring/grafana.json"));
        for (file, text) in [("alerts.yaml", alerts), ("grafana.json", dashboard)] {
            let named = names(text);
            assert!(named.len() >= 6, "{file} names {named:?}");
            let unknown: Vec<_> = named.difference(&exist).collect();
            assert!(unknown.is_empty(), "{file} names metrics that do not exist: {unknown:?}");
        }
        assert!(alerts.contains(&format!("standing=\"{}\"", Standing::Halted.name())), "{alerts}");
    }

    #[test]
    fn a_link_that_has_reached_nobody_yet_has_no_lag() {
        let mut seen = seen();
        let unready =
            LinkStatus { instance: Some(Instance::default()), partitions: Vec::new(), ..seen.links()[0].clone() };
        seen.update(vec![unready]);
        let text = text(&seen, UNIX_EPOCH + Duration::from_secs(1_010), false);
        assert!(text.contains("twinlog_ready{link=\"dr\"} 0"), "{text}");
        assert!(!text.contains("twinlog_lag_"), "{text}");
    }

    #[test]
    fn one_that_was_never_current_lags_since_the_start() {
        let mut seen = seen();
        let row = PartitionStatus { current_as_of_ms: None, ..partition("orders", 0) };
        let links = seen.links().iter().map(|link| LinkStatus { partitions: vec![row.clone().into()], ..link.clone() });
        let links = links.collect();
        seen.update(links);
        let text = text(&seen, UNIX_EPOCH + Duration::from_secs(1_010), false);
        assert!(text.contains("twinlog_lag_seconds{link=\"dr\"} 10.0"), "{text}");
    }
}
