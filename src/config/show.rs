//! The configuration as it is in effect: what stands in the file, and by wish what does not and has a default. Nothing
//! that the file refers to is looked up, so no secret is shown.

use serde_json::{Map, Value};

use super::schema::schema;
use super::units::show_size;

/// The file's keys as YAML, with those that have a default marked. `budget` is what a link has in bytes that says
/// nothing of it: that depends on the machine.
pub(super) fn show(file: &Value, defaults: bool, budget: Option<u64>) -> String {
    let (mut text, mut schema) = (String::new(), schema());
    if let Some(bytes) = budget {
        let link = &mut schema["properties"]["links"]["additionalProperties"];
        link["properties"]["budget"]["default"] = show_size(bytes).into();
    }
    write_map(&mut text, 0, file, &schema, defaults);
    text
}

fn write_map(text: &mut String, depth: usize, file: &Value, schema: &Value, defaults: bool) {
    let nothing = Map::new();
    let written = file.as_object().unwrap_or(&nothing);
    let known = schema["properties"].as_object().unwrap_or(&nothing);
    let indent = "  ".repeat(depth);
    for (name, value) in written {
        let schema = known.get(name).unwrap_or_else(|| &schema["additionalProperties"]);
        match value {
            Value::Object(map) if map.is_empty() && !defaults => text.push_str(&format!("{indent}{name}: {{}}\n")),
            Value::Object(_) | Value::Null => {
                text.push_str(&format!("{indent}{name}:\n"));
                write_map(text, depth + 1, value, schema, defaults);
            }
            // JSON is YAML, too.
            _ => text.push_str(&format!("{indent}{name}: {value}\n")),
        }
    }
    for (name, schema) in known.iter().filter(|(name, _)| defaults && !written.contains_key(*name)) {
        match schema.get("default") {
            Some(default) if !default.is_object() && !default.is_array() => {
                text.push_str(&format!("{indent}{name}: {default}  # default\n"));
            }
            // Sections that may be left out, but not those that switch something on.
            _ if is_always_there(schema) => {
                let mut section = String::new();
                write_map(&mut section, depth + 1, &Value::Null, schema, defaults);
                if !section.is_empty() {
                    text.push_str(&format!("{indent}{name}:\n{section}"));
                }
            }
            _ => {}
        }
    }
}

/// Whether a section counts where it is left out, too: each of its keys may be.
fn is_always_there(schema: &Value) -> bool {
    schema["x-always"] == true
}
