//! One thing that is wrong in the file, and how it is shown: place, sentence, the line itself, what to do.

use std::fmt::Write as _;
use std::path::Path;

use twinlog_core::report::{Failure, FailureKind};

use super::secrets;

/// So many characters of a line are shown.
const SHOWN_MAX: usize = 400;

/// Where in the file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    /// Characters to underline.
    pub(super) length: usize,
}

impl Place {
    /// Where the file begins.
    pub(super) const START: Self = Self { line: 1, column: 1, length: 1 };
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issue {
    pub(super) place: Place,
    pub(super) message: String,
    pub(super) advice: Option<String>,
}

impl Issue {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), advice: None }
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The issue as the user sees it, with the line out of `text`.
    pub(super) fn show(&self, path: &Path, text: &str) -> Failure {
        let Place { line, column, length } = self.place;
        let message = self.message.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}");
        let mut what = format!("{}:{line}:{column}: {message}", path.display());
        if let Some(source_line) = secrets::shown_line(text, line) {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            // A tab would move the caret, and other control characters whatever they like.
            let shown: String =
                source_line.chars().take(SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
            let left = shown.chars().count().saturating_sub(column - 1).max(1);
            let carets = "^".repeat(length.clamp(1, left));
            let indent = " ".repeat((column - 1).min(SHOWN_MAX));
            let written = write!(what, "\n {margin} |\n {number} | {shown}\n {margin} | {indent}{carets}");
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
        }
        let failure = Failure::new(FailureKind::Usage, what);
        match &self.advice {
            Some(advice) => failure.advise(advice.clone()),
            None => failure,
        }
    }
}

/// `did you mean …` for the nearest of `known`, else the whole list, which is short everywhere here.
pub(super) fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(wrong, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The one of `known` that was probably meant. A third of the word wrong is a typing error; more is another word.
pub(super) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let nearest = known.into_iter().map(|name| (strsim::damerau_levenshtein(wrong, name), name)).min();
    nearest.filter(|(distance, _)| *distance <= wrong.chars().count() / 3).map(|(_, name)| name)
}
