//! Names of what a bench makes in the clusters: nobody else's begin so, and they say by when the bench is over.
//!
//! | name | what |
//! |---|---|
//! | `__twinlog-bench.<id>` | the source topic |
//! | `__twinlog-bench.<id>.<n>` | its mirror in trial `n` |
//! | `twinlog-bench-<id>-<n>` | the link of trial `n`, and so `__twinlog.twinlog-bench-<id>-<n>.map` and `.state` |
//!
//! An id is 16 hexadecimal digits: the time by which the bench is over, in s since 1970, and 8 by chance.

use twinlog_link::names::{map_topic, state_topic};

/// What names of topics begin with. Links copy topics that begin with `__` only if they are named literally.
pub(crate) const TOPICS: &str = "__twinlog-bench.";
const LINKS: &str = "twinlog-bench-";

/// A bench.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(String);

impl Id {
    /// Of a bench that is over by then.
    pub(crate) fn new(over_by_s: u32, chance: u32) -> Self {
        Self(format!("{over_by_s:08x}{chance:08x}"))
    }

    /// In s since 1970.
    pub(crate) fn over_by_s(&self) -> u32 {
        self.0.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(u32::MAX)
    }

    pub(crate) fn source_topic(&self) -> String {
        format!("{TOPICS}{}", self.0)
    }

    /// How the mirror of a trial is named, from the source topic.
    pub(crate) fn rename(trial: u32) -> String {
        format!("{{topic}}.{trial}")
    }

    pub(crate) fn mirror(&self, trial: u32) -> String {
        format!("{TOPICS}{}.{trial}", self.0)
    }

    pub(crate) fn link(&self, trial: u32) -> String {
        format!("{LINKS}{}-{trial}", self.0)
    }

    /// All topics of a trial on the target.
    pub(crate) fn topics(&self, trial: u32) -> [String; 3] {
        let link = self.link(trial);
        [self.mirror(trial), map_topic(&link), state_topic(&link)]
    }
}

/// Whose a topic is, and which trial's, if it is a bench's.
pub(crate) fn of_topic(topic: &str) -> Option<(Id, Option<u32>)> {
    if let Some(rest) = topic.strip_prefix(TOPICS) {
        return match rest.split_once('.') {
            None => Some((id(rest)?, None)),
            Some((text, trial)) => Some((id(text)?, Some(number(trial)?))),
        };
    }
    let rest = topic.strip_prefix("__twinlog.")?.strip_prefix(LINKS)?;
    let link = rest.strip_suffix(".map").or_else(|| rest.strip_suffix(".state"))?;
    let (text, trial) = link.split_once('-')?;
    Some((id(text)?, Some(number(trial)?)))
}

fn id(text: &str) -> Option<Id> {
    let is_digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    (text.len() == 16 && text.bytes().all(is_digit)).then(|| Id(text.to_owned()))
}

/// As it is written, so that no name has two forms.
fn number(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|number| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use twinlog_core::config::LinkName;

    use super::*;

    #[test]
    fn what_is_made_is_known_again() {
        let id = Id::new(1_760_000_000, 0xab);
        assert_eq!(id.over_by_s(), 1_760_000_000);
        assert_eq!(id.source_topic(), "__twinlog-bench.68e77800000000ab");
        assert_eq!(of_topic(&id.source_topic()), Some((id.clone(), None)));
        for topic in id.topics(12) {
            assert_eq!(of_topic(&topic), Some((id.clone(), Some(12))), "{topic}");
        }
        let rename: twinlog_core::topics::RenameTemplate = Id::rename(12).parse().expect("a template");
        assert_eq!(rename.apply("a", &id.source_topic()), id.mirror(12));
        id.link(u32::MAX).parse::<LinkName>().expect("a link's name");
    }

    #[test]
    fn other_topics_are_nobody_s() {
        for topic in [
            "orders",
            "__twinlog.claims",
            "__twinlog.dr.map",
            "__twinlog-bench.orders",
            "__twinlog-bench.68e77800000000ab.map",
            "__twinlog-bench.68e77800000000ab.01",
            "__twinlog-bench.68E77800000000AB",
            "__twinlog.twinlog-bench-68e77800000000ab.map",
            "__twinlog.twinlog-bench-68e77800000000ab-1.claims",
            "__twinlog.twinlog-bench-dr.map",
            "twinlog-bench-68e77800000000ab-1",
        ] {
            assert_eq!(of_topic(topic), None, "{topic}");
        }
    }
}
