//! Which settings a mirror gets, and which settings of a topic that is there already would harm the copy.
//!
//! A mirror keeps bytes and records: the target must neither compress anew nor stamp nor refuse what the source took,
//! and must not delete earlier than the source. What counts at the source are its *effective* settings: a topic without
//! settings of its own lives by its brokers' defaults, and the target's brokers may have others.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::halt::Halt;

/// Effective settings by name.
pub type Settings = BTreeMap<String, String>;

const CLEANUP_POLICY: &str = "cleanup.policy";
const COMPRESSION: &str = "compression.type";
const DELETE_RETENTION: &str = "delete.retention.ms";
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
const MIN_COMPACTION_LAG: &str = "min.compaction.lag.ms";
const MIN_IN_SYNC: &str = "min.insync.replicas";
const RETENTION_BYTES: &str = "retention.bytes";
const RETENTION_MS: &str = "retention.ms";
const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";

/// Copied from the source as they work there.
const COPIED: [&str; 7] = [
    CLEANUP_POLICY,
    DELETE_RETENTION,
    "max.compaction.lag.ms",
    MAX_MESSAGE_BYTES,
    MIN_COMPACTION_LAG,
    RETENTION_BYTES,
    RETENTION_MS,
];
/// How far a record's timestamp may lie from the broker's clock (KIP-937).
const TIMESTAMP_BOUNDS: [&str; 2] = ["message.timestamp.after.max.ms", "message.timestamp.before.max.ms"];
/// The same on brokers before 3.6. Between 3.6 and 4.0 both exist and the new ones win.
const TIMESTAMP_BOUND_OLD: &str = "message.timestamp.difference.max.ms";

/// Two in sync need three replicas: with two, one broker less would stop all writes.
const IN_SYNC_FROM: i16 = 3;
const IN_SYNC: i64 = 2;

/// The settings that every topic gets that a link creates, mirrors and its own: nothing is changed on the way in and no
/// acknowledged record is given up. `known` are the names that the target knows: an unknown one fails the creation.
/// `replication_factor` is the effective one, none where it cannot be known.
pub fn exact_settings(known: &BTreeSet<String>, replication_factor: Option<i16>) -> Settings {
    let mut settings = Settings::new();
    let mut set = |name: &str, value: &str| {
        if known.contains(name) {
            settings.insert(name.to_owned(), value.to_owned());
        }
    };
    set(COMPRESSION, "producer");
    set(TIMESTAMP_TYPE, "CreateTime");
    set(UNCLEAN_ELECTION, "false");
    let unbounded = i64::MAX.to_string();
    for name in bound_names(|name| known.contains(name)) {
        set(name, &unbounded);
    }
    if replication_factor.is_some_and(|replicas| replicas >= IN_SYNC_FROM) {
        set(MIN_IN_SYNC, &IN_SYNC.to_string());
    }
    settings
}

/// The settings of a new mirror of a topic with the effective settings `source`.
pub fn mirror_settings(source: &Settings, known: &BTreeSet<String>, replication_factor: Option<i16>) -> Settings {
    let mut settings = exact_settings(known, replication_factor);
    for name in COPIED {
        if let Some(value) = source.get(name).filter(|_| known.contains(name)) {
            settings.insert(name.to_owned(), value.clone());
        }
    }
    settings
}

/// The settings of a link's map topic.
pub fn map_topic_settings(known: &BTreeSet<String>, replication_factor: Option<i16>) -> Settings {
    let mut settings = exact_settings(known, replication_factor);
    settings.insert(CLEANUP_POLICY.to_owned(), "compact".to_owned());
    // A head and the plans of one answer are small, but for sources that are all holes; then a megabyte is not enough.
    settings.insert(MAX_MESSAGE_BYTES.to_owned(), (16 << 20).to_string());
    settings
}

/// What a setting of a topic would do to the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Effect {
    /// The target would store other bytes than it was sent.
    ChangesBytes,
    /// The target would drop records that the source still has, or could lose acknowledged ones.
    LosesRecords,
    /// The target would refuse records that the source took.
    RefusesRecords,
}

/// A setting of a mirror that would harm the copy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HarmfulSetting {
    /// What it would do.
    pub effect: Effect,
    /// Name of the setting.
    pub setting: String,
    /// Its effective value on the target.
    pub value: String,
    /// What it should be.
    pub wanted: String,
}

impl HarmfulSetting {
    /// The state in which its partitions must stop, where copying would not be exact.
    pub fn halt(&self) -> Option<Halt> {
        let Self { effect, setting, value, wanted } = self.clone();
        (effect == Effect::ChangesBytes).then_some(Halt::MirrorSettings { setting, value, wanted })
    }

    /// What to do about it.
    pub fn to_do(&self) -> String {
        alloc::format!("set {}={} on the target topic", self.setting, self.wanted)
    }
}

impl fmt::Display for HarmfulSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.effect {
            Effect::ChangesBytes => "the target changes what is written to it",
            Effect::LosesRecords => "the target can lose records that the source has",
            Effect::RefusesRecords => "the target can refuse records that the source took",
        };
        write!(f, "{}={}, with which {effect}", self.setting, self.value)
    }
}

/// Which settings of a target topic would harm the copy, the worst first. Without `source` only those are looked at
/// that are harmful for any source. A setting that keeps more than the source does is harmless.
pub fn harmful_settings(
    source: Option<&Settings>,
    target: &Settings,
    replication_factor: Option<i16>,
) -> Vec<HarmfulSetting> {
    let mut look = Look { target, found: Vec::new() };
    look.must_be(Effect::ChangesBytes, COMPRESSION, "producer");
    look.must_be(Effect::ChangesBytes, TIMESTAMP_TYPE, "CreateTime");
    look.must_be(Effect::LosesRecords, UNCLEAN_ELECTION, "false");
    for name in bound_names(|name| target.contains_key(name)) {
        look.at_least(Effect::RefusesRecords, name, i64::MAX);
    }
    if replication_factor.is_some_and(|replicas| replicas >= IN_SYNC_FROM) {
        look.at_least(Effect::LosesRecords, MIN_IN_SYNC, IN_SYNC);
    }
    if let Some(source) = source {
        look.compare(source);
    }
    look.found.sort();
    look.found
}

/// The names of the timestamp bounds that count.
fn bound_names(is_known: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let new: Vec<_> = TIMESTAMP_BOUNDS.into_iter().filter(|name| is_known(name)).collect();
    if new.is_empty() && is_known(TIMESTAMP_BOUND_OLD) { Vec::from([TIMESTAMP_BOUND_OLD]) } else { new }
}

struct Look<'a> {
    target: &'a Settings,
    found: Vec<HarmfulSetting>,
}

impl Look<'_> {
    fn compare(&mut self, source: &Settings) {
        if let Some(wanted) = number(source, MAX_MESSAGE_BYTES) {
            self.at_least(Effect::RefusesRecords, MAX_MESSAGE_BYTES, wanted);
        }
        let (there, here) = (policies(source), policies(self.target));
        if here.difference(&there).next().is_some() {
            // Any policy that the source does not have drops records that the source keeps.
            let wanted = source.get(CLEANUP_POLICY).cloned().unwrap_or_default();
            self.harm(Effect::LosesRecords, CLEANUP_POLICY, wanted);
        }
        let both = |policy: &str| here.contains(policy) && there.contains(policy);
        let (delete, compact) = (both("delete"), both("compact"));
        if delete {
            self.kept_as_long(source, RETENTION_MS);
            self.kept_as_long(source, RETENTION_BYTES);
        }
        if compact {
            self.kept_as_long(source, DELETE_RETENTION);
            self.kept_as_long(source, MIN_COMPACTION_LAG);
        }
    }

    fn must_be(&mut self, effect: Effect, name: &str, wanted: &str) {
        if self.target.get(name).is_some_and(|value| value != wanted) {
            self.harm(effect, name, wanted.to_owned());
        }
    }

    fn at_least(&mut self, effect: Effect, name: &str, wanted: i64) {
        if number(self.target, name).is_some_and(|value| value < wanted) {
            self.harm(effect, name, wanted.to_string());
        }
    }

    /// Negative is without bound.
    fn kept_as_long(&mut self, source: &Settings, name: &str) {
        let bound = |value: i64| if value < 0 { i64::MAX } else { value };
        let (Some(wanted), Some(value)) = (number(source, name), number(self.target, name)) else { return };
        if bound(value) < bound(wanted) {
            self.harm(Effect::LosesRecords, name, wanted.to_string());
        }
    }

    fn harm(&mut self, effect: Effect, name: &str, wanted: String) {
        let value = self.target.get(name).cloned().unwrap_or_default();
        self.found.push(HarmfulSetting { effect, setting: name.to_owned(), value, wanted });
    }
}

fn number(settings: &Settings, name: &str) -> Option<i64> {
    settings.get(name)?.parse().ok()
}

/// The policies in any order, as brokers take them.
fn policies(settings: &Settings) -> BTreeSet<&str> {
    let text = settings.get(CLEANUP_POLICY).map_or("", String::as_str);
    text.split(',').map(str::trim).filter(|policy| !policy.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    const MAX: &str = "9223372036854775807";

    fn settings(of: &[(&str, &str)]) -> Settings {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// A topic as Kafka 4.1 describes it, with its own defaults.
    fn plain() -> Settings {
        settings(&[
            ("cleanup.policy", "delete"),
            ("compression.type", "producer"),
            ("delete.retention.ms", "86400000"),
            ("max.compaction.lag.ms", MAX),
            ("max.message.bytes", "1048588"),
            ("message.timestamp.after.max.ms", "3600000"),
            ("message.timestamp.before.max.ms", MAX),
            ("message.timestamp.type", "CreateTime"),
            ("min.compaction.lag.ms", "0"),
            ("min.insync.replicas", "1"),
            ("retention.bytes", "-1"),
            ("retention.ms", "604800000"),
            ("segment.bytes", "1073741824"),
            ("unclean.leader.election.enable", "false"),
        ])
    }

    fn with(changes: &[(&str, &str)]) -> Settings {
        let mut all = plain();
        all.extend(settings(changes));
        all
    }

    /// A mirror as a link makes it.
    fn mirror(changes: &[(&str, &str)]) -> Settings {
        let mut all = with(&[("message.timestamp.after.max.ms", MAX)]);
        all.extend(settings(changes));
        all
    }

    fn known() -> BTreeSet<String> {
        plain().into_keys().collect()
    }

    fn harm(source: &Settings, target: &Settings) -> Vec<String> {
        let found = harmful_settings(Some(source), target, Some(1)).into_iter();
        found.map(|s| alloc::format!("{:?} {} {}>{}", s.effect, s.setting, s.value, s.wanted)).collect()
    }

    #[test]
    fn a_mirror_keeps_bytes_and_has_the_sources_cleanup() {
        let source = with(&[
            ("cleanup.policy", "compact,delete"),
            ("compression.type", "lz4"),
            ("max.message.bytes", "5000000"),
            ("message.timestamp.type", "LogAppendTime"),
            ("min.insync.replicas", "2"),
            ("retention.ms", "1234567"),
            ("unclean.leader.election.enable", "true"),
        ]);
        let wanted = settings(&[
            ("cleanup.policy", "compact,delete"),
            ("compression.type", "producer"),
            ("delete.retention.ms", "86400000"),
            ("max.compaction.lag.ms", MAX),
            ("max.message.bytes", "5000000"),
            ("message.timestamp.after.max.ms", MAX),
            ("message.timestamp.before.max.ms", MAX),
            ("message.timestamp.type", "CreateTime"),
            ("min.compaction.lag.ms", "0"),
            ("retention.bytes", "-1"),
            ("retention.ms", "1234567"),
            ("unclean.leader.election.enable", "false"),
        ]);
        assert_eq!(mirror_settings(&source, &known(), Some(1)), wanted);
    }

    #[test]
    fn a_setting_counts_where_both_sides_have_its_policy() {
        let compacted = with(&[("cleanup.policy", "compact"), ("retention.ms", "-1")]);
        assert_eq!(harm(&compacted, &mirror(&[])), ["LosesRecords cleanup.policy delete>compact"]);
        let (kept, at_once) = (with(&[("retention.ms", "5")]), mirror(&[("retention.ms", "0")]));
        assert_eq!(harm(&kept, &at_once), ["LosesRecords retention.ms 0>5"], "only below 0 is without bound");
        let deleted = with(&[("delete.retention.ms", "99999999")]);
        let both = mirror(&[("cleanup.policy", "compact")]);
        assert_eq!(harm(&deleted, &both), ["LosesRecords cleanup.policy compact>delete"]);
    }

    #[test]
    fn a_mirror_harms_nothing() {
        for source in [plain(), with(&[("cleanup.policy", "compact"), ("min.compaction.lag.ms", "77")])] {
            for replication_factor in [Some(1), Some(3)] {
                let mut target = with(&[
                    ("compression.type", "gzip"),
                    ("max.message.bytes", "1000"),
                    ("message.timestamp.type", "LogAppendTime"),
                    ("retention.ms", "1"),
                ]);
                target.extend(mirror_settings(&source, &known(), replication_factor));
                assert_eq!(harmful_settings(Some(&source), &target, replication_factor), []);
            }
        }
    }

    #[test]
    fn two_in_sync_are_asked_for_from_three_replicas_on() {
        let in_sync = |replicas| mirror_settings(&plain(), &known(), replicas).remove("min.insync.replicas");
        assert_eq!([in_sync(None), in_sync(Some(1)), in_sync(Some(2))], [None, None, None]);
        assert_eq!(in_sync(Some(3)).as_deref(), Some("2"));
        assert_eq!(in_sync(Some(5)).as_deref(), Some("2"));
    }

    #[test]
    fn a_name_that_the_target_does_not_know_is_left_out() {
        let mut known = known();
        known.remove("message.timestamp.after.max.ms");
        known.remove("message.timestamp.before.max.ms");
        known.remove("max.compaction.lag.ms");
        known.insert("message.timestamp.difference.max.ms".to_owned());
        let made = mirror_settings(&plain(), &known, Some(3));
        assert!(made.keys().all(|name| known.contains(name)), "{made:?}");
        assert_eq!(made["message.timestamp.difference.max.ms"], MAX);
        assert_eq!(mirror_settings(&plain(), &BTreeSet::new(), Some(3)), Settings::new());
        // Brokers that know all three take the new ones.
        let all: BTreeSet<_> = known.into_iter().chain(plain().into_keys()).collect();
        assert!(!mirror_settings(&plain(), &all, Some(3)).contains_key("message.timestamp.difference.max.ms"));
    }

    #[test]
    fn the_map_topic_is_compacted_and_never_trimmed_by_time() {
        let made = map_topic_settings(&known(), Some(3));
        assert_eq!(made["cleanup.policy"], "compact");
        assert_eq!(made["compression.type"], "producer");
        assert_eq!(made["min.insync.replicas"], "2");
        assert_eq!(made["max.message.bytes"], "16777216");
        assert_eq!(made.get("retention.ms"), None);
    }

    #[test]
    fn what_changes_bytes_halts_and_comes_first() {
        let target = mirror(&[
            ("compression.type", "zstd"),
            ("message.timestamp.type", "LogAppendTime"),
            ("retention.ms", "1000"),
        ]);
        let found = harmful_settings(Some(&plain()), &target, None);
        let halts: Vec<_> = found.iter().filter_map(HarmfulSetting::halt).map(|halt| halt.to_string()).collect();
        assert_eq!(
            halts,
            [
                "the target topic has compression.type=zstd, with which the target changes what is written to it; \
                 set compression.type=producer, then `twinlog resolve` it by retry",
                "the target topic has message.timestamp.type=LogAppendTime, with which the target changes what is \
                 written to it; set message.timestamp.type=CreateTime, then `twinlog resolve` it by retry",
            ]
        );
        assert_eq!(found.len(), 3);
        assert_eq!(
            found[2].to_string(),
            "retention.ms=1000, with which the target can lose records that the source has"
        );
        assert_eq!(found[2].to_do(), "set retention.ms=604800000 on the target topic");
        assert_eq!(found[0].halt().map(|halt| halt.name()), Some("mirror-settings"));
    }

    #[test]
    fn an_uncompressed_mirror_changes_bytes_too() {
        let found = harm(&plain(), &mirror(&[("compression.type", "uncompressed")]));
        assert_eq!(found, ["ChangesBytes compression.type uncompressed>producer"]);
    }

    #[test]
    fn shorter_retention_is_found_and_longer_is_not() {
        let kept =
            |there: &str, here: &str| harm(&with(&[("retention.ms", there)]), &mirror(&[("retention.ms", here)]));
        assert_eq!(kept("1000", "999"), ["LosesRecords retention.ms 999>1000"]);
        assert_eq!(kept("-1", "999"), ["LosesRecords retention.ms 999>-1"]);
        for harmless in [kept("1000", "1000"), kept("1000", "1001"), kept("1000", "-1"), kept("-1", "-1")] {
            assert_eq!(harmless, [] as [String; 0]);
        }
        let found = harm(&plain(), &mirror(&[("retention.bytes", "1")]));
        assert_eq!(found, ["LosesRecords retention.bytes 1>-1"]);
    }

    #[test]
    fn a_policy_that_the_source_does_not_have_is_found() {
        let policy =
            |there: &str, here: &str| harm(&with(&[("cleanup.policy", there)]), &mirror(&[("cleanup.policy", here)]));
        assert_eq!(policy("delete", "compact"), ["LosesRecords cleanup.policy compact>delete"]);
        assert_eq!(policy("compact", "delete"), ["LosesRecords cleanup.policy delete>compact"]);
        assert_eq!(policy("compact", "delete,compact"), ["LosesRecords cleanup.policy delete,compact>compact"]);
        for harmless in [policy("compact,delete", "delete, compact"), policy("compact,delete", "compact")] {
            assert_eq!(harmless, [] as [String; 0]);
        }
    }

    #[test]
    fn compaction_times_count_only_where_there_is_compaction() {
        let changes = [("delete.retention.ms", "1"), ("min.compaction.lag.ms", "1")];
        let compact = [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "5")];
        assert_eq!(harm(&plain(), &mirror(&changes)), [] as [String; 0]);
        let mut target = mirror(&compact);
        target.extend(settings(&changes));
        assert_eq!(
            harm(&with(&compact), &target),
            ["LosesRecords delete.retention.ms 1>86400000", "LosesRecords min.compaction.lag.ms 1>5"]
        );
    }

    #[test]
    fn what_the_target_would_refuse_is_found() {
        let target = with(&[("max.message.bytes", "1000")]);
        assert_eq!(
            harm(&plain(), &target),
            [
                "RefusesRecords max.message.bytes 1000>1048588",
                "RefusesRecords message.timestamp.after.max.ms 3600000>9223372036854775807"
            ]
        );
        let mut old = mirror(&[("message.timestamp.difference.max.ms", "5")]);
        assert_eq!(harm(&plain(), &old), [] as [String; 0], "the new bounds win");
        old.retain(|name, _| !name.ends_with("before.max.ms") && !name.ends_with("after.max.ms"));
        assert_eq!(harm(&plain(), &old).len(), 1);
    }

    #[test]
    fn what_can_lose_acknowledged_records_is_found() {
        let target = mirror(&[("unclean.leader.election.enable", "true")]);
        let names = |replicas| -> Vec<_> {
            harmful_settings(None, &target, Some(replicas)).into_iter().map(|found| found.setting).collect()
        };
        assert_eq!(names(1), ["unclean.leader.election.enable"]);
        assert_eq!(names(3), ["min.insync.replicas", "unclean.leader.election.enable"]);
    }

    #[test]
    fn without_the_sources_settings_only_what_always_harms_is_found() {
        let target = mirror(&[("retention.ms", "1"), ("compression.type", "gzip"), ("cleanup.policy", "compact")]);
        let found = harmful_settings(None, &target, None);
        assert_eq!(found.iter().map(|found| found.setting.as_str()).collect::<Vec<_>>(), ["compression.type"]);
    }
}
