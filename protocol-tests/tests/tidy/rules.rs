//! The rules. An exception stands beside its rule, with its reason.

use crate::text::File;

#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) line: usize,
    pub(crate) what: String,
}

pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) applies: fn(&File) -> bool,
    pub(crate) check: fn(&File) -> Vec<Finding>,
    /// Files that may break the rule, and why.
    pub(crate) exempt: &'static [(&'static str, &'static str)],
    /// Path and text that break the rule.
    pub(crate) breaks: &'static [(&'static str, &'static str)],
    /// Path and text that look alike and keep it.
    pub(crate) keeps: &'static [(&'static str, &'static str)],
}

impl Rule {
    pub(crate) fn is_exempt(&self, file: &File) -> bool {
        self.exempt.iter().any(|(path, _)| *path == file.path)
    }
}

const LINE_LENGTH_MAX: usize = 120;
const FILE_LINES_MAX: usize = 800;
const THIS_FILE: &str = "protocol-tests/tests/tidy/rules.rs";

pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "line length",
        applies: |_| true,
        check: long_lines,
        exempt: &[],
        breaks: &[("a.rs", LONG), ("README.md", LONG)],
        keeps: &[("a.rs", "fn short() {}\n"), ("README.md", LONG_TABLE_ROW)],
    },
    Rule {
        name: "file length",
        applies: File::is_rust,
        check: long_file,
        exempt: &[],
        breaks: &[("a.rs", MANY_LINES)],
        keeps: &[("a.rs", "fn short() {}\n")],
    },
    Rule {
        name: "words for the two sides",
        applies: File::is_rust,
        check: other_words_for_the_sides,
        exempt: &[(THIS_FILE, "names the words")],
        breaks: &[
            ("a.rs", "let src = 1;\n"),
            ("a.rs", "fn dst_topic() {}\n"),
            ("a.rs", "struct UpstreamPool;\n"),
            ("a.rs", "// the upstream cluster\n"),
        ],
        keeps: &[
            ("a.rs", "// see src/wire/lib.rs\nlet source = \"src\";\n"),
            ("a.rs", "let target = srcset;\n"),
            ("build.md", "src is a folder\n"),
        ],
    },
    Rule {
        name: "unfinished work",
        applies: |_| true,
        check: unfinished,
        exempt: &[(THIS_FILE, "names the words")],
        breaks: &[
            ("a.rs", "fn f() { todo!() }\n"),
            ("a.rs", "fn f() { unimplemented!(\"x\") }\n"),
            ("a.rs", "let x = dbg!(x);\n"),
            ("a.rs", "// FIXME: later\n"),
            ("a.md", "XXX\n"),
            ("a.rs", "#[allow(dead_code)]\n"),
            ("a.rs", "#![allow(unused, dead_code)]\n"),
        ],
        keeps: &[("a.rs", "let names = [\"todo!\", \"XXXL\"];\n"), ("a.rs", "fn todo() {}\n")],
    },
    Rule {
        name: "ignored tests say why",
        applies: File::is_rust,
        check: |file| lines_where(&file.code, |line| line.contains("#[ignore]"), "write #[ignore = \"why\"]"),
        exempt: &[],
        breaks: &[("a.rs", "#[test]\n#[ignore]\nfn slow() {}\n")],
        keeps: &[("a.rs", "#[test]\n#[ignore = \"needs a day\"]\nfn slow() {}\n")],
    },
    Rule {
        name: "no unsafe code anywhere",
        applies: |file| file.path.ends_with("Cargo.toml"),
        check: lints_of_the_workspace,
        exempt: &[(
            "fuzz/Cargo.toml",
            "libFuzzer calls a function by its plain name, and a nightly compiler has its own lints",
        )],
        breaks: &[
            ("src/wire/Cargo.toml", "[package]\nname = \"a\"\n"),
            ("src/wire/Cargo.toml", "[package]\n[lints.rust]\nunsafe_code = \"allow\"\n"),
            ("Cargo.toml", "[workspace.lints.rust]\nunsafe_code = \"deny\"\n[package]\n[lints]\nworkspace = true\n"),
        ],
        keeps: &[
            ("src/wire/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n"),
            ("Cargo.toml", "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n[package]\n[lints]\nworkspace = true\n"),
        ],
    },
    Rule {
        name: "core knows no standard library",
        applies: |file| file.path.starts_with("src/core/") && file.is_rust(),
        check: standard_library_in_core,
        exempt: &[],
        breaks: &[
            ("src/core/lib.rs", "//! Core.\nextern crate alloc;\n"),
            ("src/core/lib.rs", "#![no_std]\nextern crate std;\n"),
            ("src/core/a.rs", "use std::time::Instant;\n"),
            ("src/core/a.rs", "async fn f() {}\n"),
        ],
        keeps: &[
            ("src/core/lib.rs", "#![no_std]\nextern crate alloc;\n#[cfg(test)]\nextern crate std;\n"),
            ("src/core/a.rs", "// no std::time here\nuse core::time::Duration;\n"),
            ("src/core/a.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::string::String;\n}\n"),
            ("src/link/a.rs", "use std::time::Instant;\n"),
        ],
    },
    Rule {
        name: "wire is pure",
        applies: |file| file.path.starts_with("src/wire/") && !file.path.contains("/tests/") && file.is_rust(),
        check: impure_wire,
        exempt: &[],
        breaks: &[
            ("src/wire/a.rs", "use tokio::io::AsyncRead;\n"),
            ("src/wire/a.rs", "let now = std::time::Instant::now();\n"),
            ("src/wire/a.rs", "use std::{net::TcpStream, fmt};\n"),
            ("src/wire/a.rs", "pub async fn read() {}\n"),
            ("src/wire/a.rs", "let x = rand::random();\n"),
        ],
        keeps: &[
            ("src/wire/a.rs", "// not for tokio\nlet operand = 1;\n"),
            ("src/wire/tests/a.rs", "use std::time::Instant;\n"),
        ],
    },
];

const LONG: &str = "// 0123456789012345678901234567890123456789012345678901234567890123456789\
                    012345678901234567890123456789012345678901234567890123456789\n";
const LONG_TABLE_ROW: &str = "| 0123456789012345678901234567890123456789012345678901234567890123456789\
                    012345678901234567890123456789012345678901234567890123456789 |\n";
/// As many bytes as there are in here, all of them line breaks.
const MANY_LINES: &str = match str::from_utf8(&[b'\n'; FILE_LINES_MAX + 1]) {
    Ok(text) => text,
    Err(_) => "",
};

fn lines_where(text: &str, breaks: impl Fn(&str) -> bool, what: &str) -> Vec<Finding> {
    let numbered = text.lines().enumerate().filter(|(_, line)| breaks(line));
    numbered.map(|(index, _)| Finding { line: index + 1, what: what.to_owned() }).collect()
}

/// Rows of tables and lines that are one long address cannot be broken.
fn long_lines(file: &File) -> Vec<Finding> {
    let is_markdown = file.path.ends_with(".md");
    let breaks = |line: &str| {
        let fixed = is_markdown && (line.starts_with('|') || line.contains("://"));
        line.chars().count() > LINE_LENGTH_MAX && !fixed
    };
    lines_where(&file.text, breaks, "over 120 characters")
}

fn long_file(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().count();
    let finding =
        || Finding { line: lines, what: format!("{lines} lines, at most {FILE_LINES_MAX}: split it by state") };
    if lines > FILE_LINES_MAX { vec![finding()] } else { Vec::new() }
}

/// Always source and target; `src/` is a folder.
fn other_words_for_the_sides(file: &File) -> Vec<Finding> {
    let breaks = |line: &str| {
        words(line).any(|(word, before, after)| {
            let is_path = before == Some('/') || after == Some('/');
            !is_path && parts(word).any(|part| ["src", "dst", "upstream"].contains(&part.as_str()))
        })
    };
    lines_where(&file.without_strings, breaks, "say source or target")
}

/// Identifiers and plain words of a line, with the characters around them.
fn words(line: &str) -> impl Iterator<Item = (&str, Option<char>, Option<char>)> {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    line.split(move |c| !in_word(c)).filter(|word| !word.is_empty()).map(move |word| {
        // `word` is a piece of `line`, so its place is known.
        let start = word.as_ptr().addr() - line.as_ptr().addr();
        (word, line[..start].chars().next_back(), line[start + word.len()..].chars().next())
    })
}

/// `dst_topic` and `DstTopic` as `dst`, `topic`.
fn parts(word: &str) -> impl Iterator<Item = String> {
    let mut parts = vec![String::new()];
    let mut lower_before = false;
    for c in word.chars() {
        if c == '_' || (c.is_uppercase() && lower_before) {
            parts.push(String::new());
        }
        lower_before = c.is_lowercase();
        if let Some(part) = parts.last_mut().filter(|_| c != '_') {
            part.extend(c.to_lowercase());
        }
    }
    parts.into_iter()
}

fn unfinished(file: &File) -> Vec<Finding> {
    let in_code = |line: &str| {
        let allows = line.contains("allow(") && line.contains("dead_code");
        allows || ["todo!(", "unimplemented!(", "dbg!("].iter().any(|word| line.contains(word))
    };
    let mut findings = lines_where(&file.code, |line| file.is_rust() && in_code(line), "finish it or leave it out");
    let marked = |line: &str| words(line).any(|(word, ..)| ["FIXME", "XXX"].contains(&word));
    findings.extend(lines_where(&file.without_strings, marked, "open work belongs into an issue"));
    findings
}

fn lints_of_the_workspace(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut want = |there: bool, what: &str| {
        if !there {
            findings.push(Finding { line: 1, what: what.to_owned() });
        }
    };
    if file.text.contains("[package]") {
        want(file.text.contains("[lints]\nworkspace = true\n"), "take the workspace's lints");
    }
    if file.path == "Cargo.toml" {
        want(file.text.contains("unsafe_code = \"forbid\"\n"), "forbid unsafe code in the workspace's lints");
    }
    findings
}

/// The part of a file before its unit tests.
fn before_tests(code: &str) -> &str {
    code.split("#[cfg(test)]\nmod tests").next().unwrap_or(code)
}

fn standard_library_in_core(file: &File) -> Vec<Finding> {
    let code = before_tests(&file.code);
    let mut findings = lines_where(code, |line| line.contains("std::"), "core takes alloc and core only");
    findings.extend(lines_where(code, |line| line.contains("async "), "core waits for nothing"));
    if file.path == "src/core/lib.rs" && !code.contains("#![no_std]") {
        findings.push(Finding { line: 1, what: "begin with #![no_std]".to_owned() });
    }
    for (index, pair) in [""].into_iter().chain(code.lines()).collect::<Vec<_>>().windows(2).enumerate() {
        if pair[1].contains("extern crate std") && !pair[0].contains("#[cfg(test)]") {
            findings.push(Finding { line: index + 1, what: "the standard library is for tests alone".to_owned() });
        }
    }
    findings
}

fn impure_wire(file: &File) -> Vec<Finding> {
    let breaks = |line: &str| {
        let named: Vec<&str> = words(line).map(|(word, ..)| word).collect();
        let from_std =
            named.contains(&"std") && ["time", "net", "thread", "fs"].iter().any(|word| named.contains(word));
        from_std || ["tokio", "rand", "async", "SystemTime", "Instant"].iter().any(|word| named.contains(word))
    };
    lines_where(before_tests(&file.code), breaks, "wire is functions over bytes: no clock, socket, task or chance")
}
