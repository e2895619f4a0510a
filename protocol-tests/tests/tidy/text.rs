//! A source file in three views: as it is, without strings, and without strings and comments.

/// A file with its path from the repository's root.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
    /// Strings are blank, comments are there.
    pub(crate) without_strings: String,
    /// Strings and comments are blank.
    pub(crate) code: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (without_strings, code) = if path.ends_with(".rs") { views(text) } else { (text.into(), text.into()) };
        Self { path: path.into(), text: text.into(), without_strings, code }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Blanks are as long as what they replace, so line numbers and columns stay.
fn views(text: &str) -> (String, String) {
    let mut views = Views::default();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, kind) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), Kind::Comment),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |end| end + 2), Kind::Comment),
            '"' => (1 + quoted_length(&rest[1..]), Kind::String),
            'r' if views.at_word_start() => match raw_string_length(rest) {
                Some(length) => (length, Kind::String),
                None => (1, Kind::Code),
            },
            '\'' => match char_length(rest) {
                Some(length) => (length, Kind::String),
                None => (1, Kind::Code),
            },
            other => (other.len_utf8(), Kind::Code),
        };
        let (piece, after) = rest.split_at(length);
        views.push(piece, kind);
        rest = after;
    }
    (views.without_strings, views.code)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    String,
}

#[derive(Default)]
struct Views {
    without_strings: String,
    code: String,
}

impl Views {
    fn push(&mut self, piece: &str, kind: Kind) {
        let blank = || piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' });
        match kind {
            Kind::String => self.without_strings.extend(blank()),
            _ => self.without_strings.push_str(piece),
        }
        match kind {
            Kind::Code => self.code.push_str(piece),
            _ => self.code.extend(blank()),
        }
    }

    /// `r"…"` begins a raw string, the `r` in `for"` would not; `br"…"` does.
    fn at_word_start(&self) -> bool {
        let before = self.code.chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_') || self.code.ends_with(" b")
    }
}

/// Length of a string's inside and its closing quote.
fn quoted_length(inside: &str) -> usize {
    let mut escaped = false;
    for (index, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    inside.len()
}

fn raw_string_length(text: &str) -> Option<usize> {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    let inside = text[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end)?;
    Some(1 + hashes + 1 + length + end.len())
}

/// A character literal; `None` for a lifetime.
fn char_length(text: &str) -> Option<usize> {
    let mut chars = text[1..].char_indices();
    match chars.next()? {
        (_, '\\') => text[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map(|(index, _)| 2 + index + 1),
        (_, first) => text[1 + first.len_utf8()..].starts_with('\'').then_some(1 + first.len_utf8() + 1),
    }
}

#[test]
fn strings_and_comments_are_blank_and_the_rest_stays() {
    let text = "let a = \"x\\\"y\"; // c\nlet b: &'a str = r#\"q\"r\"#; '\"' /* d\n */ e\n";
    let file = File::new("a.rs", text);
    let code = "let a =       ;     \nlet b: &'a str =         ;          \n    e\n";
    assert_eq!(file.code.split_whitespace().collect::<Vec<_>>(), code.split_whitespace().collect::<Vec<_>>());
    assert_eq!(file.code.lines().count(), text.lines().count());
    assert!(file.without_strings.contains("// c"));
    assert!(!file.without_strings.contains('q'));
}
