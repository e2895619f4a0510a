//! Every key of the schema, wrong in each way in which it can be: the error is at its line and column.

use std::env::VarError;
use std::io;
use std::path::Path;

use serde_json::Value;

use crate::schema::schema;
use crate::tests::PEM;
use crate::{Surroundings, units};

/// A key of a file, as the schema has it.
struct Written {
    path: String,
    schema: Value,
    /// Of the key and of its value, counted from 1. A map's value begins on the next line.
    line: usize,
    key_column: usize,
    value_column: usize,
    /// How many lines it takes.
    lines: usize,
}

/// A file with every key that its clusters' mechanisms have a use for.
#[derive(Default)]
struct Full {
    lines: Vec<String>,
    keys: Vec<Written>,
}

/// What is not of one file: one cluster of each kind.
const LEFT_OUT: [(&str, &[&[&str]]); 4] = [
    ("clusters.a.sasl", &[OF_TOKENS, OF_ACCESS_KEYS]),
    ("clusters.b.sasl", &[OF_PASSWORDS, &["token_file"], OF_ACCESS_KEYS]),
    ("clusters.c.sasl", &[OF_PASSWORDS, &["token_endpoint"], OF_ACCESS_KEYS]),
    ("clusters.d.sasl", &[OF_PASSWORDS, OF_TOKENS]),
];
const OF_PASSWORDS: &[&str] = &["username", "password"];
const OF_TOKENS: &[&str] = &["token_file", "token_endpoint", "extensions"];
const OF_ACCESS_KEYS: &[&str] = &["region", "access_key_id", "secret_access_key", "session_token"];

/// Values where neither a default nor a limit tells one.
fn sample(path: &str) -> &'static str {
    let name = path.rsplit('.').next().unwrap_or_default();
    match (path, name) {
        ("clusters.b.sasl.mechanism" | "clusters.c.sasl.mechanism", _) => "OAUTHBEARER",
        ("clusters.d.sasl.mechanism", _) => "AWS_MSK_IAM",
        (_, "mechanism") => "PLAIN",
        (_, "password" | "client_secret" | "secret_access_key" | "session_token") => "${env:SECRET}",
        (_, "url") => "https://x/",
        ("links.dr.source", _) => "a",
        ("links.dr.target", _) => "b",
        (_, "replication_factor") => "3",
        (_, "budget") => "64MiB",
        _ => "x",
    }
}

impl Full {
    fn new() -> Self {
        let mut full = Self::default();
        full.write("", &schema(), 0);
        full
    }

    fn write(&mut self, path: &str, schema: &Value, depth: usize) {
        let left_out = LEFT_OUT.iter().find(|(of, _)| *of == path).map_or(&[][..], |(_, keys)| keys);
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            if !left_out.iter().any(|keys| keys.contains(&name.as_str())) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                self.key(&path, name, schema, depth);
            }
        }
        let of_each = &schema["additionalProperties"];
        if of_each.is_object() {
            let names: &[&str] = match path {
                "clusters" => &["a", "b", "c", "d"],
                "links" => &["dr"],
                _ => &["logicalCluster"],
            };
            for name in names {
                self.key(&format!("{path}.{name}"), name, of_each, depth);
            }
        }
    }

    fn key(&mut self, path: &str, name: &str, schema: &Value, depth: usize) {
        let (line, indent) = (self.lines.len() + 1, "  ".repeat(depth));
        let key_column = indent.len() + 1;
        let value_column = key_column + name.len() + 2;
        let is_map = schema["properties"].is_object() || schema["additionalProperties"].is_object();
        match schema {
            _ if is_map => {
                self.lines.push(format!("{indent}{name}:"));
                self.write(path, schema, depth + 1);
            }
            _ if path.ends_with("bootstrap") => {
                let cluster = path.split('.').nth(1).unwrap_or_default();
                self.lines.push(format!("{indent}{name}: [{cluster}:1]"));
            }
            _ if path.ends_with("objectives") => self.lines.push(format!("{indent}{name}: [{{ rpo: 1m }}]")),
            _ if schema["items"].is_object() => self.lines.push(format!("{indent}{name}: [x]")),
            _ => {
                let value = match &schema["default"] {
                    Value::String(text) => format!("\"{text}\""),
                    Value::Null => match schema["x-from"].as_str() {
                        Some(from) if sample(path) == "x" => from.to_owned(),
                        _ => format!("\"{}\"", sample(path)),
                    },
                    other => other.to_string(),
                };
                self.lines.push(format!("{indent}{name}: {value}"));
            }
        }
        let lines = self.lines.len() + 1 - line;
        let path = path.to_owned();
        self.keys.push(Written { path, schema: schema.clone(), line, key_column, value_column, lines });
    }

    /// The file with other lines in the place of a key's.
    fn with(&self, key: &Written, other: &[String]) -> String {
        let (before, rest) = self.lines.split_at(key.line - 1);
        let all = before.iter().chain(other).chain(&rest[key.lines..]);
        all.map(|line| format!("{line}\n")).collect()
    }

    fn own<'a>(&'a self, key: &Written) -> &'a [String] {
        &self.lines[key.line - 1..key.line - 1 + key.lines]
    }
}

fn read(text: &str) -> Result<(), String> {
    let variable = |_: &str| Ok::<_, VarError>("s3cret".to_owned());
    let open = |path: &Path| match path.starts_with("/proc") {
        true => Err(io::ErrorKind::NotFound.into()),
        false => Ok(Box::new(PEM.as_bytes()) as Box<dyn io::Read>),
    };
    let surroundings = Surroundings { variable: &variable, open: &open };
    crate::read_with_values(true, Path::new("f"), text, &surroundings)
        .map(drop)
        .map_err(|failures| failures.to_string())
}

/// The error is the first, at this place, with these words.
#[track_caller]
fn assert_refused(text: &str, (line, column): (usize, usize), words: &str, what: &str) {
    let Err(transcript) = read(text) else { panic!("{what}: accepted\n{text}") };
    let wanted = format!("error: f:{line}:{column}: ");
    assert!(transcript.starts_with(&wanted), "{what}: wanted {wanted}\n{transcript}\n{text}");
    assert!(transcript.contains(words), "{what}: {words} is not in\n{transcript}");
    assert!(!transcript.contains("s3cret"), "{what}: {transcript}");
}

#[test]
fn every_key_is_right_in_the_full_file() {
    let full = Full::new();
    let text = full.lines.join("\n");
    assert_eq!(read(&text), Ok(()), "{text}");
    assert!(full.keys.len() > 60, "{} keys", full.keys.len());
}

#[test]
fn a_key_of_the_wrong_kind_is_refused_at_its_value() {
    let full = Full::new();
    for key in full.keys.iter().filter(|key| !key.path.contains("extensions.")) {
        let line = &full.own(key)[0];
        let named = &line[..key.value_column - 3];
        let is_map = line.ends_with(':');
        let (value, words) = match key.schema["items"].is_object() {
            _ if is_map => ("x", "expected a map here"),
            true => ("x", "expected a list here"),
            false => ("{ x: 1 }", "expected a single value here"),
        };
        let text = full.with(key, &[format!("{named}: {value}")]);
        assert_refused(&text, (key.line, key.value_column), words, &key.path);
    }
}

#[test]
fn a_key_that_is_misspelt_is_refused_with_the_nearest() {
    let full = Full::new();
    let is_fixed = |key: &&Written| {
        let own_names = ["clusters.a", "clusters.b", "clusters.c", "clusters.d", "links.dr"];
        !own_names.contains(&key.path.as_str()) && !key.path.contains("extensions.")
    };
    for key in full.keys.iter().filter(is_fixed) {
        let mut lines = full.own(key).to_vec();
        let name = key.path.rsplit('.').next().expect("a name");
        lines[0] = lines[0].replacen(name, &format!("{name}x"), 1);
        // What might be a secret is not shown, even in a key.
        let is_secret = key.schema["x-form"] == "secret";
        let words = if is_secret { "unknown key `".to_owned() } else { format!("unknown key `{name}x`") };
        let text = full.with(key, &lines);
        assert_refused(&text, (key.line, key.key_column), &words, &key.path);
        assert!(read(&text).is_err_and(|said| said.contains(&format!("did you mean `{name}`?"))), "{}", key.path);
    }
}

#[test]
fn a_key_that_is_there_twice_is_refused_at_the_second() {
    let full = Full::new();
    for key in &full.keys {
        let twice = [full.own(key), full.own(key)].concat();
        let name = key.path.rsplit('.').next().expect("a name");
        let words = format!("the key `{name}` is here twice");
        assert_refused(&full.with(key, &twice), (key.line + key.lines, key.key_column), &words, &key.path);
    }
}

#[test]
fn a_value_out_of_its_limits_is_refused_with_them() {
    let full = Full::new();
    let mut tried = 0;
    for key in full.keys.iter().filter(|key| key.schema["x-form"].is_string()) {
        let bound = |name: &str| key.schema[name].as_str().unwrap_or_default();
        let (from, to) = (bound("x-from"), bound("x-to"));
        let ms = |text: &str| units::duration(text).expect("a duration").as_millis();
        let bytes = |text: &str| units::size(text).expect("a size");
        let number = |text: &str| text.parse::<i64>().expect("a number");
        let values = match bound("x-form") {
            "number" => vec![(number(from) - 1).to_string(), (number(to) + 1).to_string(), "many".into()],
            "size" => vec![(bytes(from) - 1).to_string(), (bytes(to) + 1).to_string(), "1XB".into()],
            "duration" if ms(from) == 0 => vec![format!("{}ms", ms(to) + 1), "5".into()],
            "duration" => vec![format!("{}ms", ms(from) - 1), format!("{}ms", ms(to) + 1), "5".into()],
            "word" => vec!["nonsense".into()],
            "secret" => vec!["s3cret".into()],
            _ => continue,
        };
        for value in values {
            let named = &full.own(key)[0][..key.value_column - 3];
            let text = full.with(key, &[format!("{named}: {value}")]);
            assert_refused(&text, (key.line, key.value_column), &key.path, &format!("{} is {value}", key.path));
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried}");
}
