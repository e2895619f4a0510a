//! What keys there are, with their defaults and limits, as JSON Schema: for editors, for the reference page and for
//! `config show`. Made from the types of [`super::raw`]; the limits are the constants that the checks use.

use std::time::Duration;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::raw::Raw;
use super::units;
use super::yaml::{ByName, List, Text};

/// Where a value stands for what is looked up.
const REFERENCE: &str = r"\$\{";

/// The schema of the file.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Raw>().to_value();
    tidy(&mut schema);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".into(), "Configuration of twinlog".into());
    }
    schema
}

/// An absent key is no `null`, and what a type is called says nothing to users.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("title");
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
            }
            // A section all of whose keys may be left out may stand there without any.
            if map.contains_key("properties") && !map.contains_key("required") {
                map.insert("type".into(), json!(["object", "null"]));
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(all) => all.iter_mut().for_each(tidy),
        _ => {}
    }
}

impl JsonSchema for Text {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

impl JsonSchema for List {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "List".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": Text::json_schema(generator) })
    }
}

impl<T: JsonSchema> JsonSchema for ByName<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("ByName{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

/// A whole number between these, both included.
pub(super) fn number(low: i64, high: i64, default: Option<i64>) -> impl Fn(&mut Schema) {
    move |schema| {
        let forms = json!([{ "type": "integer", "minimum": low, "maximum": high }, as_text(r"^[0-9]+$")]);
        become_one_of(schema, forms);
        say(schema, "number", Some((low.to_string(), high.to_string())), default.map(Value::from));
    }
}

/// Bytes, between these where they are known.
pub(super) fn size(bounds: Option<(u64, u64)>, default: Option<u64>) -> impl Fn(&mut Schema) {
    move |schema| {
        let forms = json!([{ "type": "integer", "minimum": 0 }, as_text(r"^[0-9]+ ?([KMG]i?)?B?$")]);
        become_one_of(schema, forms);
        let bounds = bounds.map(|(low, high)| (units::show_size(low), units::show_size(high)));
        say(schema, "size", bounds, default.map(|bytes| units::show_size(bytes).into()));
    }
}

/// A duration between these.
pub(super) fn duration((low, high): (Duration, Duration), default: Option<Duration>) -> impl Fn(&mut Schema) {
    move |schema| {
        become_one_of(schema, json!([as_text(r"^[0-9]+ ?(ms|s|m|h)$")]));
        let bounds = (units::show_duration(low), units::show_duration(high));
        say(schema, "duration", Some(bounds), default.map(|default| units::show_duration(default).into()));
    }
}

/// One of some words.
pub(super) fn one_of<T: PartialEq, const N: usize>(
    names: [(&'static str, T); N],
    default: Option<T>,
) -> impl Fn(&mut Schema) {
    let default = names.iter().find(|(_, value)| Some(value) == default.as_ref()).map(|(name, _)| *name);
    let all = names.iter().map(|(name, _)| *name).collect();
    move |schema| {
        words(Vec::clone(&all))(schema);
        if let Some(default) = default {
            schema.insert("default".into(), default.into());
        }
    }
}

/// What is switched on or off.
pub(super) fn yes_or_no(default: bool) -> impl Fn(&mut Schema) {
    move |schema| {
        become_one_of(schema, json!([{ "type": "boolean" }, as_text("^(true|false)$")]));
        say(schema, "word", None, Some(default.into()));
        schema.insert("x-words".into(), json!(["true", "false"]));
    }
}

/// One of these, none of which is the default.
pub(super) fn words(all: Vec<&'static str>) -> impl Fn(&mut Schema) {
    move |schema| {
        become_one_of(schema, json!([{ "enum": all }, as_text("")]));
        say(schema, "word", None, None);
        schema.insert("x-words".into(), json!(all));
    }
}

/// A text with this default.
pub(super) fn text(default: impl std::fmt::Display) -> impl Fn(&mut Schema) {
    let default = default.to_string();
    move |schema| say(schema, "text", None, Some(default.clone().into()))
}

/// A secret: a reference, never the value itself.
pub(super) fn secret(schema: &mut Schema) {
    become_one_of(schema, json!([{ "type": "string", "pattern": r"^\$\{(env|file):[^}]+\}$" }]));
    say(schema, "secret", None, None);
}

/// Text of this form, or with something to look up.
fn as_text(pattern: &str) -> Value {
    let pattern = if pattern.is_empty() { REFERENCE.to_owned() } else { format!("{pattern}|{REFERENCE}") };
    json!({ "type": "string", "pattern": pattern })
}

fn become_one_of(schema: &mut Schema, forms: Value) {
    schema.remove("type");
    schema.insert("anyOf".into(), forms);
}

fn say(schema: &mut Schema, form: &str, bounds: Option<(String, String)>, default: Option<Value>) {
    schema.insert("x-form".into(), form.into());
    if let Some((low, high)) = bounds {
        schema.insert("x-from".into(), low.into());
        schema.insert("x-to".into(), high.into());
    }
    if let Some(default) = default {
        schema.insert("default".into(), default);
    }
}

/// A section of the file: the keys of one map.
pub(super) struct Section {
    /// As `links.NAME.fetch`; empty for the file itself.
    pub(super) path: String,
    /// What it is for.
    pub(super) description: String,
    pub(super) keys: Vec<Key>,
}

/// A key of a map, as the schema has it.
pub(super) struct Key {
    pub(super) name: String,
    pub(super) is_needed: bool,
    pub(super) schema: Map<String, Value>,
}

impl Key {
    pub(super) fn text(&self, name: &str) -> &str {
        self.schema.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// All sections of a schema, each before those within it.
pub(super) fn sections(schema: &Value) -> Vec<Section> {
    let mut sections = Vec::new();
    gather(&mut sections, String::new(), schema);
    sections
}

fn gather(sections: &mut Vec<Section>, path: String, schema: &Value) {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(Value::Object(properties)) = schema.get("properties") {
        let needed = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|key| key == name));
        let key = |(name, schema): (&String, &Value)| {
            let schema = schema.as_object().cloned().unwrap_or_default();
            Key { name: name.clone(), is_needed: needed(name), schema }
        };
        let description = schema["description"].as_str().unwrap_or_default().to_owned();
        sections.push(Section { path: path.clone(), description, keys: properties.iter().map(key).collect() });
        for (name, schema) in properties {
            gather(sections, join(name), schema);
        }
    }
    match (schema.get("additionalProperties"), schema.get("items")) {
        (Some(of_each @ Value::Object(_)), _) => gather(sections, join("NAME"), of_each),
        (_, Some(items @ Value::Object(_))) => gather(sections, format!("{path}[]"), items),
        _ => {}
    }
}
