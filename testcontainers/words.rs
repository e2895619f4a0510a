//! The words of the oracle's lines: `key=value`, percent-encoded as Java's URLEncoder does.

use std::collections::BTreeMap;

/// A text that has no space, no line end and no `=`.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'*' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Back again; none when it is not well formed.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2)?;
                bytes.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
                rest = tail;
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// A line's words after its first, by key.
pub(crate) fn parse(words: &str) -> Option<BTreeMap<String, String>> {
    let pairs = words.split_ascii_whitespace().map(|word| {
        let (key, value) = word.split_once('=')?;
        Some((decode(key)?, decode(value)?))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back() {
        for text in ["", "plain", "a b=c\n%+", "Zürich ☃", "127.0.0.1:9,127.0.0.1:10"] {
            let encoded = encode(text);
            assert!(!encoded.contains([' ', '=', '\n', '+']), "{encoded}");
            assert_eq!(decode(&encoded).as_deref(), Some(text));
        }
    }

    #[test]
    fn java_writes_a_space_as_plus() {
        assert_eq!(decode("a+b%2Bc").as_deref(), Some("a b+c"));
        assert_eq!(decode("%4"), None);
        assert_eq!(decode("%zz"), None);
    }

    #[test]
    fn words_are_found_by_key() {
        let words = parse("p0=1%3A2 message=no+such").unwrap();
        assert_eq!(words["p0"], "1:2");
        assert_eq!(words["message"], "no such");
        assert!(parse("alone").is_none());
    }
}
