//! Which source topics a link mirrors, and what they are called on the target.
//!
//! Names are matched by anchored regular expressions over ASCII, which is all that Kafka allows in a topic name.
//! Selection is a pure function of the rules and the source's topic list, so `run`, `check` and `status` agree.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use regex::bytes::{Regex, RegexBuilder};

/// Longest topic name that a broker takes.
const TOPIC_NAME_LENGTH_MAX: usize = 249;
/// Names that brokers and clients keep for themselves begin like this.
const INTERNAL_PREFIX: &str = "__";
/// twinlog's own topics; never the target of a mirror.
const OWN_PREFIX: &str = "__twinlog.";

/// Which topics a link mirrors, and under which names.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicRules {
    /// A topic is taken if one of these matches, at least one.
    pub include: Vec<Pattern>,
    /// A topic that one of these matches is left out, also if an include names it.
    pub exclude: Vec<Pattern>,
    /// The mirror's name. Default: the same as the source's.
    pub rename: RenameTemplate,
}

/// A regular expression that must match the whole topic name.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// The expression as the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole name matches.
    pub fn matches(&self, topic: &str) -> bool {
        self.regex.is_match(topic.as_bytes())
    }

    /// Whether the expression is just this name, perhaps with escaped dots. This is what internal topics ask for:
    /// `.*` was not meant to copy `__consumer_offsets`.
    fn names_literally(&self, topic: &str) -> bool {
        self.text == topic || self.text.replace("\\.", ".") == topic
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty pattern matches no topic".into());
        }
        let build = |text: &str| RegexBuilder::new(text).unicode(false).size_limit(1 << 20).build();
        // The bare text first: its error shows the user's own expression, and `a)(b` must not pass inside our group.
        build(text).map_err(|error| describe_regex_error(text, &error))?;
        let regex = build(&format!("^(?:{text})$")).map_err(|error| describe_regex_error(text, &error))?;
        Ok(Self { text: text.to_owned(), regex })
    }
}

fn describe_regex_error(text: &str, error: &regex::Error) -> String {
    let full = format!("{error}");
    // The crate prints the expression with a caret over several lines; the last one says what is wrong.
    let reason = full.lines().last().unwrap_or("").trim_start_matches("error: ");
    format!("`{text}` is no regular expression: {reason}")
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The name of a mirror, from `{topic}` (the source topic) and `{source}` (the source cluster's name in the config).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenameTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Topic,
    Source,
}

impl RenameTemplate {
    /// The mirror's name.
    pub fn apply(&self, source_cluster: &str, topic: &str) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Topic => topic,
            Part::Source => source_cluster,
        });
        parts.collect()
    }
}

impl Default for RenameTemplate {
    fn default() -> Self {
        Self(Vec::from([Part::Topic]))
    }
}

impl FromStr for RenameTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, from_open) = rest.split_at(open);
            push_text(&mut parts, before)?;
            let Some(close) = from_open.find('}') else {
                return Err(format!("`{text}`: a `{{` is never closed"));
            };
            parts.push(match &from_open[..=close] {
                "{topic}" => Part::Topic,
                "{source}" => Part::Source,
                other => return Err(format!("`{other}` is not known, only {{topic}} and {{source}} are")),
            });
            rest = &from_open[close + 1..];
        }
        push_text(&mut parts, rest)?;
        if parts.is_empty() {
            return Err("an empty template gives no name".into());
        }
        Ok(Self(parts))
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), String> {
    if let Some(illegal) = text.chars().find(|c| !legal_in_topic_name(*c)) {
        return Err(format!("`{illegal}` cannot be in a topic name: only a-z, A-Z, 0-9, `.`, `_` and `-`"));
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(())
}

fn legal_in_topic_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// A source topic and the topic on the target that mirrors it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mirror {
    /// Name on the source.
    pub source_topic: String,
    /// Name on the target.
    pub target_topic: String,
}

/// A source topic that the rules take but that cannot be mirrored under its new name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedTopic {
    /// Name on the source.
    pub source_topic: String,
    /// What the template made of it.
    pub target_topic: String,
    /// Why that name cannot be used.
    pub why: NameRefusal,
}

/// Why a target name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameRefusal {
    /// No broker would take it.
    Illegal,
    /// It is kept for twinlog's own topics.
    Reserved,
    /// Another source topic gets the same name.
    Collision {
        /// The other source topics, in order.
        with: Vec<String>,
    },
}

impl fmt::Display for RefusedTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source_topic, target_topic, why } = self;
        write!(f, "source topic {source_topic} would become {target_topic}, ")?;
        match why {
            NameRefusal::Illegal => {
                write!(f, "which is no legal topic name (1 to {TOPIC_NAME_LENGTH_MAX} of a-z, A-Z, 0-9, `.`, `_`, `-`)")
            }
            NameRefusal::Reserved => write!(f, "and {OWN_PREFIX}* is kept for twinlog's own topics"),
            NameRefusal::Collision { with } => write!(f, "and so would {}", with.join(", ")),
        }
    }
}

/// What the rules make of a source's topic list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Topics to mirror, by source name.
    pub mirrors: Vec<Mirror>,
    /// Topics that were meant but cannot be mirrored.
    pub refused: Vec<RefusedTopic>,
    /// Includes that matched nothing: often a typing error, and worth a word.
    pub unmatched: Vec<String>,
}

impl TopicRules {
    /// Applies the rules to the source's topic names, in any order.
    pub fn select<'a>(&self, source_cluster: &str, topics: impl IntoIterator<Item = &'a str>) -> Selection {
        let mut used = Vec::from_iter(self.include.iter().map(|_| false));
        let mut by_target: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for topic in topics {
            let mut taken = false;
            for (pattern, used) in self.include.iter().zip(&mut used) {
                if Self::includes(pattern, topic) {
                    *used = true;
                    taken = true;
                }
            }
            if taken && !self.exclude.iter().any(|pattern| pattern.matches(topic)) {
                by_target.entry(self.rename.apply(source_cluster, topic)).or_default().push(topic);
            }
        }
        let mut selection = Selection::default();
        for (target_topic, mut sources) in by_target {
            sources.sort_unstable();
            for &source_topic in &sources {
                let others = || sources.iter().filter(|other| **other != source_topic).map(|&other| other.into());
                let why = if !is_legal_topic_name(&target_topic) {
                    NameRefusal::Illegal
                } else if target_topic.starts_with(OWN_PREFIX) {
                    NameRefusal::Reserved
                } else if sources.len() > 1 {
                    NameRefusal::Collision { with: others().collect() }
                } else {
                    let mirror = Mirror { source_topic: source_topic.into(), target_topic: target_topic.clone() };
                    selection.mirrors.push(mirror);
                    continue;
                };
                let source_topic = source_topic.into();
                selection.refused.push(RefusedTopic { source_topic, target_topic: target_topic.clone(), why });
            }
        }
        selection.mirrors.sort_unstable();
        selection.refused.sort_unstable_by(|a, b| a.source_topic.cmp(&b.source_topic));
        selection.unmatched =
            self.include.iter().zip(used).filter(|(_, used)| !used).map(|(pattern, _)| pattern.text.clone()).collect();
        selection
    }

    fn includes(pattern: &Pattern, topic: &str) -> bool {
        if topic.starts_with(INTERNAL_PREFIX) { pattern.names_literally(topic) } else { pattern.matches(topic) }
    }
}

/// Whether a broker takes this as a topic's name.
pub fn is_legal_topic_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= TOPIC_NAME_LENGTH_MAX
        && name != "."
        && name != ".."
        && name.chars().all(legal_in_topic_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    fn rules(include: &[&str], exclude: &[&str], rename: &str) -> TopicRules {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a pattern")).collect();
        TopicRules { include: parse(include), exclude: parse(exclude), rename: rename.parse().expect("a template") }
    }

    fn selected(rules: &TopicRules, topics: &[&str]) -> Vec<String> {
        let selection = rules.select("a", topics.iter().copied());
        selection.mirrors.into_iter().map(|m| format!("{}>{}", m.source_topic, m.target_topic)).collect()
    }

    #[test]
    fn patterns_are_what_the_user_wrote() {
        let pattern = |text: &str| text.parse::<Pattern>().expect("a pattern");
        assert_eq!(pattern("a|b").as_str(), "a|b");
        assert_eq!(pattern("a|b"), pattern("a|b"));
        assert_ne!(pattern("a|b"), pattern("b|a"));
    }

    #[test]
    fn patterns_match_whole_names_only() {
        let rules = rules(&["orders", "payments\\..*"], &[], "{topic}");
        let topics = ["orders", "orders2", "old-orders", "payments.eu", "payments", "paymentsXeu"];
        assert_eq!(selected(&rules, &topics), ["orders>orders", "payments.eu>payments.eu"]);
    }

    #[test]
    fn alternation_is_anchored_on_both_sides() {
        let rules = rules(&["a|b"], &[], "{topic}");
        assert_eq!(selected(&rules, &["a", "b", "ax", "xb"]), ["a>a", "b>b"]);
    }

    #[test]
    fn classes_are_ascii() {
        assert_eq!(selected(&rules(&["\\w+\\d"], &[], "{topic}"), &["ab1", "ab"]), ["ab1>ab1"]);
    }

    #[test]
    fn an_exclude_wins() {
        let rules = rules(&[".*"], &["b.*"], "{topic}");
        assert_eq!(selected(&rules, &["a", "b", "bc"]), ["a>a"]);
    }

    #[test]
    fn internal_topics_must_be_named_literally() {
        let topics = ["__consumer_offsets", "__a.b", "plain"];
        assert_eq!(selected(&rules(&[".*", "__.*"], &[], "{topic}"), &topics), ["plain>plain"]);
        assert_eq!(selected(&rules(&["__consumer_offsets"], &[], "{topic}"), &topics).len(), 1);
        assert_eq!(selected(&rules(&["__a\\.b"], &[], "{topic}"), &topics), ["__a.b>__a.b"]);
    }

    #[test]
    fn templates_know_topic_and_source() {
        let name = |template: &str| template.parse::<RenameTemplate>().expect("legal").apply("eu-west", "t");
        assert_eq!(name("{topic}.replica"), "t.replica");
        assert_eq!(name("{source}.{topic}"), "eu-west.t");
        assert_eq!(name("fixed"), "fixed");
        for (text, wanted) in
            [("{topik}", "{topik}"), ("{topic", "never closed"), ("", "empty"), ("{topic}/x", "`/`"), ("a}", "`}`")]
        {
            let error = text.parse::<RenameTemplate>().expect_err(text);
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn two_topics_never_share_a_mirror() {
        let selection = rules(&["a", "b", "c"], &[], "one").select("s", ["c", "a"]);
        assert_eq!(selection.mirrors, []);
        assert_eq!(
            selection.refused.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["source topic a would become one, and so would c", "source topic c would become one, and so would a"]
        );
        assert_eq!(selection.unmatched, ["b"]);
    }

    #[test]
    fn a_target_name_no_broker_takes_is_refused() {
        let long = "x".repeat(240);
        let selection = rules(&[".*"], &[], "{topic}.replica-of").select("s", [long.as_str(), "ok"]);
        assert_eq!(selection.mirrors.len(), 1);
        assert_eq!(selection.refused.len(), 1);
        assert_eq!(selection.refused[0].why, NameRefusal::Illegal);
        for illegal in ["", ".", "..", "a b", "ä", "a/b"] {
            assert!(!is_legal_topic_name(illegal), "{illegal}");
        }
        assert!(is_legal_topic_name(&"x".repeat(249)));
        assert!(!is_legal_topic_name(&"x".repeat(250)));
    }

    #[test]
    fn the_names_of_our_own_topics_are_kept() {
        let selection = rules(&["dr.map"], &[], "__twinlog.{topic}").select("s", ["dr.map"]);
        assert_eq!(selection.refused[0].why, NameRefusal::Reserved);
    }

    #[test]
    fn a_bad_expression_is_shown_with_its_reason() {
        let error = "orders(".parse::<Pattern>().expect_err("unclosed");
        assert_eq!(error, "`orders(` is no regular expression: unclosed group");
        "a)(b".parse::<Pattern>().expect_err("closes the group that anchors it");
        "".parse::<Pattern>().expect_err("empty");
    }

    #[test]
    fn the_order_of_the_list_changes_nothing() {
        let rules = rules(&[".*"], &[], "{topic}");
        let forward = rules.select("s", ["a", "b", "c"]);
        assert_eq!(forward, rules.select("s", ["c", "a", "b"]));
        assert_eq!(forward.unmatched, vec![] as Vec<String>);
    }
}
