//! Which link a mirror belongs to: keys and values of the topic `__twinlog.claims`, which all links that write into a
//! cluster share.
//!
//! | key | value |
//! |---|---|
//! | `claim/<target topic>/<link>` | `1 <source cluster id> <ms since 1970>` |
//!
//! The target topic is its id in hexadecimal, or its name where the brokers have no ids. The first claim in the log
//! counts, of the links that still exist. A claim is written once: the topic is compacted, and a second one would stand
//! behind others'.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::codec::BadRecord;
use crate::ids::TopicId;

/// Version of the value's format that this build writes.
const FORMAT: &str = "1";

/// How claims name a target topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimedTopic(String);

impl ClaimedTopic {
    /// A topic with this name and id; the id is all zero where the brokers have none.
    pub fn new(name: &str, id: TopicId) -> Self {
        match id == TopicId::default() {
            true => Self(name.to_owned()),
            false => Self(id.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }

    /// The key of a link's claim.
    pub fn key(&self, link: &str) -> Vec<u8> {
        format!("claim/{}/{link}", self.0).into_bytes()
    }
}

/// The value of a claim: who reads the topic with any console sees where a link comes from and since when.
pub fn value(source_cluster: &str, wall_ms: i64) -> Vec<u8> {
    format!("{FORMAT} {source_cluster} {wall_ms}").into_bytes()
}

/// All claims that stand, in the order of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    links: BTreeMap<ClaimedTopic, Vec<String>>,
}

impl Claims {
    /// Takes the next record of the log.
    pub fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), BadRecord> {
        let key = core::str::from_utf8(key).map_err(|_| BadRecord { reason: "key is not text" })?;
        let mut parts = key.split('/');
        let (Some("claim"), Some(topic), Some(link), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadRecord { reason: "unknown kind of key" });
        };
        let links = self.links.entry(ClaimedTopic(topic.to_owned())).or_default();
        match value {
            None => links.retain(|other| other != link),
            Some(value) => {
                let text = core::str::from_utf8(value).map_err(|_| BadRecord { reason: "value is not text" })?;
                if text.split(' ').next() != Some(FORMAT) {
                    return Err(BadRecord { reason: "written by a newer twinlog" });
                }
                if !links.iter().any(|other| other == link) {
                    links.push(link.to_owned());
                }
            }
        }
        Ok(())
    }

    /// The links that claim a topic, first come first.
    pub fn of(&self, topic: &ClaimedTopic) -> &[String] {
        self.links.get(topic).map_or(&[], Vec::as_slice)
    }

    /// The links that claim something, once for each topic.
    pub fn links(&self) -> impl Iterator<Item = &str> {
        self.links.values().flatten().map(String::as_str)
    }

    /// The topics that a link claims, whoever has them.
    pub fn claimed_by(&self, link: &str) -> impl Iterator<Item = &ClaimedTopic> {
        self.links.iter().filter(move |(_, links)| links.iter().any(|other| other == link)).map(|(topic, _)| topic)
    }

    /// The link that a topic belongs to, given which links exist.
    pub fn owner(&self, topic: &ClaimedTopic, exists: impl Fn(&str) -> bool) -> Option<&str> {
        self.of(topic).iter().map(String::as_str).find(|link| exists(link))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(records: &[(&str, bool)]) -> Claims {
        let (topic, mut claims) = (ClaimedTopic::new("orders", [7; 16]), Claims::default());
        for (link, stands) in records {
            let value = stands.then(|| value("source-id", 1_760_000_000_000));
            claims.apply(&topic.key(link), value.as_deref()).unwrap();
        }
        claims
    }

    fn owner(claims: &Claims, exists: &[&str]) -> Option<String> {
        let topic = ClaimedTopic::new("orders", [7; 16]);
        claims.owner(&topic, |link| exists.contains(&link)).map(str::to_owned)
    }

    #[test]
    fn the_first_link_that_exists_has_the_topic() {
        let claims = claims(&[("a", true), ("b", true), ("a", true)]);
        assert_eq!(owner(&claims, &["a", "b"]).as_deref(), Some("a"));
        assert_eq!(owner(&claims, &["b"]).as_deref(), Some("b"));
        assert_eq!(owner(&claims, &[]), None);
    }

    #[test]
    fn who_withdraws_comes_last_if_it_comes_again() {
        let claims = claims(&[("a", true), ("b", true), ("a", false), ("a", true)]);
        assert_eq!(owner(&claims, &["a", "b"]).as_deref(), Some("b"));
    }

    #[test]
    fn what_a_link_claims_is_known_until_it_is_withdrawn() {
        let topic = ClaimedTopic::new("orders", [7; 16]);
        let standing = claims(&[("a", true), ("b", true), ("c", true), ("b", false)]);
        let claims_it = |link: &str| standing.claimed_by(link).eq([&topic]);
        assert!(claims_it("a") && claims_it("c"));
        assert_eq!(standing.claimed_by("b").next(), None);
        assert_eq!(standing.links().collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn a_topic_is_named_by_its_id_where_it_has_one() {
        let (by_id, by_name) = (ClaimedTopic::new("orders", [0xab; 16]), ClaimedTopic::new("orders", [0; 16]));
        assert_eq!(by_id.key("dr"), alloc::format!("claim/{}/dr", "ab".repeat(16)).into_bytes());
        assert_eq!(by_name.key("dr"), b"claim/orders/dr");
    }

    #[test]
    fn other_records_are_refused_by_name() {
        let mut claims = Claims::default();
        let mut reason = |key: &[u8], value: Option<&[u8]>| claims.apply(key, value).unwrap_err().reason;
        assert_eq!(reason(b"claim/orders", None), "unknown kind of key");
        assert_eq!(reason(b"claim/orders/dr/more", None), "unknown kind of key");
        assert_eq!(reason(b"\xff", None), "key is not text");
        assert_eq!(reason(b"claim/orders/dr", Some(b"2 source")), "written by a newer twinlog");
        assert_eq!(reason(b"claim/orders/dr", Some(b"\xff")), "value is not text");
    }
}
