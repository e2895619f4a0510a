//! What must not be shown: the values of some keys.

use super::issue::nearest;

/// Keys whose values are secrets.
const KEYS: [&str; 4] = ["password", "client_secret", "secret_access_key", "session_token"];
/// Keys that sound like those and whose values are none.
const NOT_SECRET: [&str; 2] = ["token_file", "token_endpoint"];

/// Whether the value of a key is a reference and nothing else.
pub(super) fn is_reference(text: &str) -> bool {
    let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|inner| !inner.contains(['{', '}']) && (inner.starts_with("env:") || inner.starts_with("file:")))
}

/// The line of this number (from 1) of a file, without the secrets that stand in it, right or wrong.
pub(super) fn shown_line(text: &str, number: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().take(number).collect();
    let (line, before) = lines.split_last().filter(|_| lines.len() == number)?;
    // The value of a key may stand in lines of its own.
    let parent = before.iter().rev().find(|other| !other.trim().is_empty() && indent(other) < indent(line));
    if parent.is_some_and(|parent| secret_key_end(parent).is_some()) {
        return Some(format!("{}{HIDDEN}", " ".repeat(indent(line))));
    }
    Some(hide(line))
}

/// A text without what follows the key of a secret, and without what stands before the host of an address.
pub(super) fn hide(text: &str) -> String {
    let shown = match secret_key_end(text) {
        Some(end) if !text[end..].trim_matches([' ', ':', '\'', '"', '`']).is_empty() => {
            let colon = if text[end..].starts_with(':') { ": " } else { " " };
            format!("{}{colon}{HIDDEN}", &text[..end])
        }
        _ => text.to_owned(),
    };
    match (shown.find("://"), shown.rfind('@')) {
        (Some(scheme), Some(host)) if scheme < host => {
            format!("{}{HIDDEN}{}", &shown[..scheme + "://".len()], &shown[host..])
        }
        _ => shown,
    }
}

const HIDDEN: &str = "…";

/// Where a key ends that is one of a secret, or was probably meant to be.
fn secret_key_end(line: &str) -> Option<usize> {
    let known = KEYS.iter().filter_map(|key| Some(line.find(key)? + key.len()));
    known.chain(keys(line).filter(|(key, _)| is_nearly_secret(key)).map(|(_, end)| end)).min()
}

/// The words of a line that a colon follows, and where each ends.
fn keys(line: &str) -> impl Iterator<Item = (&str, usize)> {
    line.match_indices(':').filter_map(|(colon, _)| {
        let before = line[..colon].trim_end_matches([' ', '\t', '"', '\'']);
        let begin = before
            .rfind(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-'))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let key = &before[begin..];
        (!key.is_empty()).then_some((key, before.len()))
    })
}

/// `passwrd`, `Password`, `client-secret`: somebody who writes those means a secret.
fn is_nearly_secret(key: &str) -> bool {
    let key = key.to_lowercase().replace('-', "_");
    if NOT_SECRET.contains(&key.as_str()) {
        return false;
    }
    ["pass", "secret", "token"].iter().any(|part| key.contains(part)) || nearest(&key, KEYS).is_some()
}

fn indent(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_reference_is_one() {
        for text in ["${env:PASSWORD}", "${file:secrets/password}"] {
            assert!(is_reference(text), "{text}");
        }
        for text in ["s3cret", "${env:A}s3cret", "${s3cret}", "${env:A}${env:B}", "$${env:A}", ""] {
            assert!(!is_reference(text), "{text}");
        }
    }

    #[test]
    fn values_of_secrets_are_hidden_wherever_they_stand() {
        let text =
            "a: 1\nsasl: { password: s3cret, x: 1 }\nsasl:\n  password:\n\n    s3cret\n  username: u\npassword s3cret";
        let shown: Vec<String> = (1..=8).map(|number| shown_line(text, number).expect("a line")).collect();
        assert_eq!(
            shown,
            ["a: 1", "sasl: { password: …", "sasl:", "  password:", "", "    …", "  username: u", "password …"]
        );
        assert_eq!(shown_line(text, 9), None);
        for key in ["Password", "passwrd", "PASSWORD", "pass", "\"passwort\"", "client-secret", "clientsecrt", "token"]
        {
            let shown = shown_line(&format!("    {key}: s3cret"), 1).expect("a line");
            assert!(shown.contains(key.trim_matches('"')) && !shown.contains("s3cret"), "{shown}");
        }
        for line in
            ["token_file: /run/token", "access_key_id: A", "username: ${env:NAME}", "- { topics: [a], rpo: 5s }"]
        {
            assert_eq!(shown_line(line, 1).as_deref(), Some(line));
        }
        assert_eq!(hide("url: https://c:s3cret@idp/x"), "url: https://…@idp/x");
    }
}
