//! The only module that knows the YAML crate: text to [`Raw`], with a place for every scalar and every error.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, Location, Spanned};

use super::issue::{Issue, Place, suggest};
use super::raw::Raw;
use super::secrets::hide;

pub(super) fn parse(text: &str) -> Result<Raw, Issue> {
    serde_saphyr::from_str(text).map_err(|error| explain(text, error.without_snippet()))
}

/// The file as it stands, without places.
pub(super) fn tree(text: &str) -> Result<serde_json::Value, Issue> {
    serde_saphyr::from_str(text).map_err(|error| explain(text, error.without_snippet()))
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

/// A map by name that keeps the names' places.
#[derive(Clone, Debug)]
pub(super) struct ByName<T>(pub(super) Vec<(Text, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByName<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = ByName<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<ByName<T>, A::Error> {
                entries(access).map(ByName)
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
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

/// A map of maps, with the places of their keys; whatever else there is, is left out.
struct Keys(Vec<(Text, Self)>);

impl Keys {
    const NONE: Self = Self(Vec::new());
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;

        impl<'de> Visitor<'de> for Values {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Keys, A::Error> {
                entries(access).map(Keys)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Keys, A::Error> {
                while access.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Keys::NONE)
            }

            fn visit_unit<E>(self) -> Result<Keys, E> {
                Ok(Keys::NONE)
            }

            fn visit_bool<E>(self, _value: bool) -> Result<Keys, E> {
                Ok(Keys::NONE)
            }

            fn visit_i64<E>(self, _value: i64) -> Result<Keys, E> {
                Ok(Keys::NONE)
            }

            fn visit_u64<E>(self, _value: u64) -> Result<Keys, E> {
                Ok(Keys::NONE)
            }

            fn visit_f64<E>(self, _value: f64) -> Result<Keys, E> {
                Ok(Keys::NONE)
            }

            fn visit_str<E>(self, _value: &str) -> Result<Keys, E> {
                Ok(Keys::NONE)
            }
        }

        deserializer.deserialize_any(Values)
    }
}

/// Where a key stands that is named from the top of the file on, or the last one on the way to it that does.
pub(super) fn place_of(text: &str, path: &[String]) -> Place {
    let mut found = Place { line: 1, column: 1, length: 1 };
    let Ok(mut keys) = serde_saphyr::from_str::<Keys>(text) else { return found };
    for name in path {
        let Some((key, below)) = keys.0.into_iter().find(|(key, _)| key.as_str() == name) else { break };
        (found, keys) = (key.place(), below);
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

fn explain(text: &str, error: &Error) -> Issue {
    let place = error.location().map_or(Place { line: 1, column: 1, length: 1 }, place);
    let issue = |message: String| Issue::new(place, message);
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            issue(format!("unknown key `{}`", hide(field))).advise(suggest(field, expected.iter().copied()))
        }
        Error::SerdeMissingField { field, .. } if text.trim().is_empty() => {
            issue(format!("the file is empty: it needs the key `{field}`"))
        }
        Error::SerdeMissingField { field, .. } => issue(format!("the key `{field}` is missing here")),
        Error::DuplicateMappingKey { key: Some(key), .. } => issue(format!("the key `{}` is here twice", hide(key))),
        Error::MultipleDocuments { .. } => issue("a second document begins here: the file must hold one".into()),
        Error::Eof { .. } => issue("the file is empty".into()).advise("it needs the keys `clusters` and `links`"),
        Error::NullIntoString { .. } => issue("a value is missing here".into()),
        Error::Unexpected { expected, .. } => issue(match *expected {
            "mapping start" => "expected a map here, `key: value`".into(),
            "sequence start" => "expected a list here, `[…]`".into(),
            "string scalar" => "expected a single value here, not a map or a list".into(),
            other => format!("expected {other} here"),
        }),
        other => {
            // The crate ends its sentences with the place, which stands in front here.
            let full = other.to_string();
            issue(hide(full.rsplit_once(" at line ").map_or(full.as_str(), |(sentence, _)| sentence)))
        }
    }
}
