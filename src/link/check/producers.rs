//! What the target's brokers do with producers: who may use the lanes' transactional ids, and when a producer is
//! forgotten.

use twinlog_client::admin::ProducerId;
use twinlog_client::{ErrorCode, Metadata};
use twinlog_core::mirror_settings::Settings;
use twinlog_core::report::Side;

use super::{About, BrokerSettings, Checks, thousands};
use crate::map_topic::memory;
use crate::names;
use crate::supervisor::LinkSetup;

/// Below this, an hour, many batches are older than half of it, and old ones are copied one at a time.
const EXPIRATION_MS_LOW: i64 = 3_600_000;

pub(super) async fn look(checks: &mut Checks, setup: &LinkSetup, target: &Metadata, brokers: &BrokerSettings) {
    transactional_ids(checks, setup, target, brokers).await;
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

/// Where brokers keep transactions. It is made when somebody first looks for a coordinator, which must not be us.
const TRANSACTIONS: &str = "__transaction_state";
/// Nobody's. The end of a transaction that is not there changes nothing, and is refused by the right first.
const NOBODY: ProducerId = ProducerId { id: -1, epoch: -1 };

async fn transactional_ids(checks: &mut Checks, setup: &LinkSetup, target: &Metadata, brokers: &BrokerSettings) {
    let about = About(Some(Side::Target), "transactional ids");
    if have_no_authorizer(brokers) {
        return checks.ok(about, "the brokers have no authorizer: all may be used");
    }
    let id = names::transactional_id(&setup.name, 0);
    let prefix = id.trim_end_matches('0');
    let to_do = format!("grant Write on the transactional ids that begin with {prefix}");
    if !target.topics.contains_key(TRANSACTIONS) {
        let finding = format!("whether {prefix}* may be used cannot be known without Describe on topic {TRANSACTIONS}");
        return checks.warn(about, finding, to_do);
    }
    match setup.target.end_txn(0, &id, NOBODY, false).await {
        Err(error) if error.code() == Some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED) => {
            checks.fail(about, format!("Write is not allowed on transactional ids {prefix}*"), to_do);
        }
        Err(error) if error.code() == Some(ErrorCode::INVALID_PRODUCER_ID_MAPPING) => {
            checks.ok(about, format!("Write on {prefix}*"));
        }
        Err(error) => checks.warn(about, format!("whether {prefix}* may be used cannot be known: {error}"), to_do),
        Ok(()) => checks.warn(about, format!("the broker ended a transaction of {id} that nobody began"), to_do),
    }
}

fn have_no_authorizer(brokers: &BrokerSettings) -> bool {
    let free = |settings: &Settings| settings.get("authorizer.class.name").is_some_and(String::is_empty);
    brokers.values().all(|settings| settings.as_ref().is_ok_and(free))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_authorizer_if_each_broker_says_so() {
        let settings = |name: &str| Ok(Settings::from([("authorizer.class.name".to_owned(), name.to_owned())]));
        assert!(have_no_authorizer(&BrokerSettings::from([(1, settings(""))])));
        let one = BrokerSettings::from([(1, settings("")), (2, settings("a.b.StandardAuthorizer"))]);
        assert!(!have_no_authorizer(&one));
        assert!(!have_no_authorizer(&BrokerSettings::from([(1, Ok(Settings::new()))])));
    }
}
