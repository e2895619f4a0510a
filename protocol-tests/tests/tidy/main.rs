//! The repository's own rules, checked over its files.
//!
//! A rule that nobody checks is a wish. Each rule here carries an example that breaks it and one that does not,
//! so that the check itself is known to work.

#![allow(clippy::expect_used, reason = "helpers of tests are tests to a reader, if not to the lint")]

mod rules;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

use rules::{Finding, RULES};
use text::File;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every text file of the repository that people write.
fn files() -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).expect("a readable folder") {
            let entry = entry.expect("a readable entry");
            let name = entry.file_name().into_string().expect("a UTF-8 name");
            let path = folder.join(&name);
            let kind = entry.file_type().expect("a known kind");
            if kind.is_dir() && name != ".git" && !name.starts_with("target") {
                folders.push(path);
            } else if kind.is_file() && is_written_by_people(&path) {
                let text = std::fs::read_to_string(root().join(&path)).expect("UTF-8 text");
                files.push(File::new(path.to_str().expect("UTF-8"), &text));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn is_written_by_people(path: &Path) -> bool {
    let known = ["rs", "toml", "md", "java", "py", "go", "js", "sh", "yaml", "yml"];
    path.extension().is_some_and(|end| known.iter().any(|known| end == *known)) || path.ends_with(".ci/run")
}

#[test]
fn the_repository_keeps_its_rules() {
    let files = files();
    assert!(files.len() > 30, "only {} files found: the walk is broken", files.len());
    let mut findings = Vec::new();
    for rule in RULES {
        for file in files.iter().filter(|file| (rule.applies)(file) && !rule.is_exempt(file)) {
            for Finding { line, what } in (rule.check)(file) {
                findings.push(format!("{}:{line}: {}: {what}", file.path, rule.name));
            }
        }
        for (path, reason) in rule.exempt {
            let file = files.iter().find(|file| file.path == *path);
            assert!(file.is_some(), "{}: the exception {path} ({reason}) is gone: remove it", rule.name);
        }
    }
    assert!(findings.is_empty(), "{} findings\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn each_rule_finds_what_breaks_it_and_nothing_else() {
    for rule in RULES {
        assert!(!rule.breaks.is_empty(), "{} has no example", rule.name);
        for (path, text) in rule.breaks {
            let file = File::new(path, text);
            assert!((rule.applies)(&file), "{} does not look at {path}", rule.name);
            assert!(!(rule.check)(&file).is_empty(), "{} does not find: {text}", rule.name);
        }
        for (path, text) in rule.keeps {
            let file = File::new(path, text);
            let findings = if (rule.applies)(&file) { (rule.check)(&file) } else { Vec::new() };
            assert!(findings.is_empty(), "{} finds {findings:?} in: {text}", rule.name);
        }
    }
}

/// Crates that would bring a clock, a socket, a thread pool or randomness into a pure crate.
const IMPURE: [&str; 9] = ["async-std", "fastrand", "getrandom", "mio", "rand", "rustix", "smol", "socket2", "tokio"];

/// Names of all crates that `package` is built from.
fn dependency_names(package: &str) -> Vec<String> {
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "tree",
        "--offline",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--package",
        package,
    ]);
    let output = command.current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn impure(names: &[String]) -> Vec<&String> {
    names.iter().filter(|name| IMPURE.contains(&name.as_str())).collect()
}

#[test]
fn the_pure_crates_are_built_from_pure_crates() {
    for package in ["twinlog-wire", "twinlog-core"] {
        let names = dependency_names(package);
        assert!(names.len() > 3, "{package}: {names:?}");
        assert_eq!(impure(&names), [] as [&String; 0], "{package}");
    }
    // And the look finds something where there is something to find.
    assert!(!impure(&dependency_names("twinlog-client")).is_empty());
}
