//! The only module that knows the YAML crate: text to [`Raw`], with a place for every scalar and every error.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, Location, Spanned};

use super::issue::{Issue, Place};
use super::raw::Raw;
use super::secrets::hide;
use super::shape;

/// The file's shape; else everything about it that is wrong, or the first place that is no YAML.
pub(super) fn parse(text: &str) -> Result<Raw, Vec<Issue>> {
    let wrong = |error: Error| vec![explain(error.without_snippet())];
    if text.trim().is_empty() {
        return Err(vec![explain_emptiness()]);
    }
    let file: Node = serde_saphyr::from_str(text).map_err(wrong)?;
    let mistakes = shape::mistakes(&file);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    serde_saphyr::from_str(text).map_err(wrong)
}

fn explain_emptiness() -> Issue {
    Issue::new(Place::START, "the file is empty").advise("it needs the keys `clusters` and `links`")
}

/// The file as it stands, without places.
pub(super) fn tree(text: &str) -> Result<serde_json::Value, Issue> {
    serde_saphyr::from_str(text).map_err(|error| explain(error.without_snippet()))
}

/// A scalar as it stands in the file. Numbers come as their text, so that `64`, `"64"` and `${env:N}` pass the
/// same check, and so that the check's own words are shown and not a parser's.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Text(Spanned<String>);

impl Text {
    pub(super) fn as_str(&self) -> &str {
        &self.0.value
    }

    pub(super) fn place(&self) -> Place {
        place(self.0.defined)
    }
}

/// A list of scalars; it has a place of its own, for when it is empty.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct List(Spanned<Vec<Text>>);

impl List {
    pub(super) fn items(&self) -> &[Text] {
        &self.0.value
    }

    pub(super) fn place(&self) -> Place {
        place(self.0.defined)
    }
}

/// A map by name that keeps the names' places, and its own, for when it is empty.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent, bound = "T: Deserialize<'de>")]
pub(super) struct ByName<T>(Spanned<Entries<T>>);

impl<T> ByName<T> {
    pub(super) fn entries(&self) -> &[(Text, T)] {
        &self.0.value.0
    }

    pub(super) fn place(&self) -> Place {
        place(self.0.defined)
    }
}

#[derive(Clone, Debug)]
struct Entries<T>(Vec<(Text, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Maps<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Maps<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Entries<T>, A::Error> {
                entries(access).map(Entries)
            }
        }

        deserializer.deserialize_map(Maps(PhantomData))
    }
}

/// A map in the order of the file.
fn entries<'de, T: Deserialize<'de>, A: MapAccess<'de>>(mut access: A) -> Result<Vec<(Text, T)>, A::Error> {
    let mut entries = Vec::new();
    while let Some(entry) = access.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

/// A key that is there without a value counts as there: `tls:` alone must not mean a plain connection.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Anything that a file can hold, with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Map(Vec<(Text, Node)>),
    List(Vec<Node>),
    /// A number, a word, whatever is one value.
    Single,
    /// A key without a value.
    Nothing,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { place: place(spanned.defined), content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;

        impl<'de> Visitor<'de> for Values {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Content, A::Error> {
                entries(access).map(Content::Map)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(Content::List(items))
            }

            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::Nothing)
            }

            fn visit_bool<E>(self, _value: bool) -> Result<Content, E> {
                Ok(Content::Single)
            }

            fn visit_i64<E>(self, _value: i64) -> Result<Content, E> {
                Ok(Content::Single)
            }

            fn visit_u64<E>(self, _value: u64) -> Result<Content, E> {
                Ok(Content::Single)
            }

            fn visit_i128<E>(self, _value: i128) -> Result<Content, E> {
                Ok(Content::Single)
            }

            fn visit_u128<E>(self, _value: u128) -> Result<Content, E> {
                Ok(Content::Single)
            }

            fn visit_f64<E>(self, _value: f64) -> Result<Content, E> {
                Ok(Content::Single)
            }

            fn visit_str<E>(self, _value: &str) -> Result<Content, E> {
                Ok(Content::Single)
            }
        }

        deserializer.deserialize_any(Values)
    }
}

/// Where a key stands that is named from the top of the file on, or the last one on the way to it that does.
pub(super) fn place_of(text: &str, path: &[String]) -> Place {
    let mut found = Place::START;
    let Ok(mut node) = serde_saphyr::from_str::<Node>(text) else { return found };
    for name in path {
        let Content::Map(entries) = node.content else { break };
        let Some((key, below)) = entries.into_iter().find(|(key, _)| key.as_str() == name) else { break };
        (found, node) = (key.place(), below);
    }
    found
}

fn place(location: Location) -> Place {
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Place {
        line: number(location.line()).max(1),
        column: number(location.column()).max(1),
        length: number(location.span().len()),
    }
}

fn explain(error: &Error) -> Issue {
    let place = error.location().map_or(Place::START, place);
    let issue = |message: String| Issue::new(place, message);
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => issue(format!("the key `{}` is here twice", hide(key))),
        Error::MultipleDocuments { .. } => issue("a second document begins here: the file must hold one".into()),
        Error::Eof { .. } => explain_emptiness(),
        other => {
            // The crate ends its sentences with the place, which stands in front here.
            let full = other.to_string();
            let sentence = full.rsplit_once(" at line ").map_or(full.as_str(), |(sentence, _)| sentence);
            let issue = issue(hide(sentence));
            // Where it is noticed may be lines below.
            if sentence.contains("quoted scalar") { issue.advise("close the quote that is open above") } else { issue }
        }
    }
}
