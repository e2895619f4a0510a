//! What the target's brokers do with producers: who may use the lanes' transactional ids, and when a producer is
//! forgotten.

use twinlog_core::report::Side;

use super::{About, BrokerSettings, Checks, thousands};
use crate::map_topic::memory;
use crate::names;
use crate::supervisor::LinkSetup;

/// Below this, an hour, many batches are older than half of it, and old ones are copied one at a time.
const EXPIRATION_MS_LOW: i64 = 3_600_000;

pub(super) async fn look(checks: &mut Checks, setup: &LinkSetup, brokers: &BrokerSettings) {
    transactional_ids(checks, &setup.name, brokers);
    let about = About(Some(Side::Target), "producer expiry");
    match memory(&setup.target).await.map(|memory| memory.producer_expiration_ms) {
        Ok(ms) if ms < EXPIRATION_MS_LOW => {
            let finding = format!("producer.id.expiration.ms is {} on a broker", thousands(ms));
            let to_do = "raise it to a day (86400000), the default: records older than half of it are copied slowly";
            checks.warn(about, finding, to_do);
        }
        Ok(ms) => checks.ok(about, format!("producer.id.expiration.ms is {}", thousands(ms))),
        Err(error) => {
            let finding = format!("producer.id.expiration.ms cannot be read: {error}");
            checks.fail(about, finding, "grant DescribeConfigs on the cluster");
        }
    }
}

/// Only taking an id would tell whether it may be taken, and that would fence a link that runs.
fn transactional_ids(checks: &mut Checks, link: &str, brokers: &BrokerSettings) {
    let about = About(Some(Side::Target), "transactional ids");
    let settings = || brokers.values().filter_map(|settings| settings.as_ref().ok());
    let free = |settings: &twinlog_core::mirror_settings::Settings| {
        settings.get("authorizer.class.name").is_some_and(String::is_empty)
    };
    if settings().count() == brokers.len() && settings().all(free) {
        return checks.ok(about, "the brokers have no authorizer: all may be used");
    }
    let prefix = names::transactional_id(link, 0);
    let prefix = prefix.trim_end_matches('0');
    let finding = format!("whether {prefix}* may be used cannot be known without taking one");
    checks.warn(about, finding, format!("see that Write and Describe are granted on the prefix {prefix}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlog_core::mirror_settings::Settings;
    use twinlog_core::report::Verdict;

    #[test]
    fn without_an_authorizer_every_id_may_be_used() {
        let settings = |name: &str| Ok(Settings::from([("authorizer.class.name".to_owned(), name.to_owned())]));
        let verdict = |brokers: &BrokerSettings| {
            let mut checks = Checks::default();
            transactional_ids(&mut checks, "dr", brokers);
            checks.0.remove(0)
        };
        assert_eq!(verdict(&BrokerSettings::from([(1, settings(""))])).verdict, Verdict::Ok);
        let check = verdict(&BrokerSettings::from([(1, settings("")), (2, settings("a.b.StandardAuthorizer"))]));
        assert_eq!(check.verdict, Verdict::Warning);
        assert_eq!(check.finding, "whether twinlog.dr.* may be used cannot be known without taking one");
        assert_eq!(verdict(&BrokerSettings::from([(1, Ok(Settings::new()))])).verdict, Verdict::Warning);
    }
}
