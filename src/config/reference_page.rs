//! docs/configuration.md: every key with its default, its limits and its meaning, made from the schema.

use serde_json::Value;

use super::schema::{Key, schema, sections};

const HEAD: &str = "\
# Configuration reference

Made from the program's own types: a test holds this page to them, and `twinlog config schema` prints them as JSON
Schema for editors. How the file is found and what stands in it first is in the README.

Sizes are bytes or have a unit (`64MiB`, `1GB`), durations have one (`500ms`, `10s`, `5m`, `1h`). In any value
`${env:NAME}` and `${file:PATH}` are replaced after the file was parsed; `$${` is a plain `${`. Paths begin at the
file's folder. `NAME` stands for a name of your own, `[]` for each item of a list.

## While links run

`twinlog run` reads the file again on SIGHUP, and within two seconds when it has changed, or a file that `${file:PATH}`
names. What comes of it is told:

- `topics` that only adds (more in `include`, less in `exclude`), `existing`, `replication_factor`, `budget`,
  `intervals.topics` and `objectives` are taken over without a pause of any partition.
- For any other key of a link or of its clusters that link ends in order and begins again; other links go on. The
  clusters are asked first: one that does not answer, or is another one than before, is refused.
- A link that is new begins, one that is gone ends in order.
- `http`, and a link's `source` and `target`, stay as they are while `run` works.

What is wrong or refused is told with its line, and then all stays as it was. TLS files need none of this: they are read
again before each handshake. All instances of a link should have the same file.
";

/// The page.
pub fn reference_page() -> String {
    let mut page = HEAD.to_owned();
    for section in sections(&schema()) {
        let title = if section.path.is_empty() { "The file".to_owned() } else { format!("`{}`", section.path) };
        page.push_str(&format!("\n## {title}\n\n"));
        if !section.description.is_empty() {
            page.push_str(&format!("{}\n\n", section.description));
        }
        page.push_str("| key | default | values | meaning |\n|---|---|---|---|\n");
        for key in &section.keys {
            let meaning = key.text("description").replace('\n', " ");
            page.push_str(&format!("| `{}` | {} | {} | {meaning} |\n", key.name, default(key), values(key)));
        }
    }
    page
}

fn default(key: &Key) -> String {
    match key.schema.get("default") {
        Some(Value::String(text)) => format!("`{text}`"),
        Some(value) if !value.is_object() && !value.is_array() => format!("`{value}`"),
        _ if key.is_needed => "needed".to_owned(),
        _ => String::new(),
    }
}

fn values(key: &Key) -> String {
    let (from, to) = (key.text("x-from"), key.text("x-to"));
    if let Some(Value::Array(words)) = key.schema.get("x-words") {
        let words: Vec<_> = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    match key.text("x-form") {
        "secret" => "`${env:NAME}` or `${file:PATH}`".to_owned(),
        "" if key.schema.contains_key("properties") || key.schema.contains_key("additionalProperties") => "map".into(),
        "" if key.schema.contains_key("items") => "list".to_owned(),
        form if !from.is_empty() => format!("{form}, {from} to {to}"),
        "" => "text".to_owned(),
        form => form.to_owned(),
    }
}
