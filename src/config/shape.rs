//! Whether the file has the form that the schema wants: known keys, those that are needed, maps, lists and single
//! values where they belong. All that is wrong is told at once, as it is of values.

use serde_json::Value;

use super::issue::{Issue, Place, nearest, suggest};
use super::schema::schema;
use super::secrets::hide;
use super::yaml::{Content, Node, Text};

const VALUE_MISSING: &str = "a value is missing here";

/// Everything about the form that is wrong, in the file's order.
pub(super) fn mistakes(file: &Node) -> Vec<Issue> {
    let mut issues = Vec::new();
    look(&mut issues, file, &schema(), Place::START);
    issues
}

/// `key` is where the node's key stands: what a map lacks is missing there.
fn look(issues: &mut Vec<Issue>, node: &Node, schema: &Value, key: Place) {
    let is_map = schema["properties"].is_object() || schema["additionalProperties"].is_object();
    let is_list = schema["items"].is_object();
    match &node.content {
        Content::Map(entries) if is_map => look_at_map(issues, entries, schema, key),
        Content::Nothing if is_map => look_at_map(issues, &[], schema, key),
        Content::List(items) if is_list => {
            for item in items {
                look(issues, item, &schema["items"], item.place);
            }
        }
        Content::Single if !is_map && !is_list => {}
        Content::Nothing => issues.push(Issue::new(key, VALUE_MISSING).advise("write one, or leave the key out")),
        _ => issues.push(Issue::new(
            node.place,
            match (is_map, is_list) {
                (true, _) => "expected a map here, `key: value`",
                (_, true) => "expected a list here, `[…]`",
                _ => "expected a single value here, not a map or a list",
            },
        )),
    }
}

fn look_at_map(issues: &mut Vec<Issue>, entries: &[(Text, Node)], schema: &Value, key: Place) {
    let of_each = &schema["additionalProperties"];
    let known = schema["properties"].as_object();
    let needed = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let missing: Vec<_> = needed.filter(|name| entries.iter().all(|(key, _)| key.as_str() != *name)).collect();
    // One that is misspelt is told as that.
    let misspelt: Vec<_> =
        entries.iter().filter_map(|(key, _)| nearest(key.as_str(), missing.iter().copied())).collect();
    for name in missing.iter().filter(|name| !misspelt.contains(name)) {
        issues.push(Issue::new(key, format!("the key `{name}` is missing here")));
    }
    for (name, value) in entries {
        match known.and_then(|known| known.get(name.as_str())) {
            Some(schema) => look(issues, value, schema, name.place()),
            None if of_each.is_object() => look(issues, value, of_each, name.place()),
            None => {
                let names = known.into_iter().flat_map(|known| known.keys().map(String::as_str));
                let issue = Issue::new(name.place(), format!("unknown key `{}`", hide(name.as_str())));
                issues.push(issue.advise(suggest(name.as_str(), names)));
            }
        }
    }
}
