//! The three forms of an answer. JSON carries a schema with a version, so that a script can tell when a field's
//! meaning changed; new fields alone do not raise it.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;
use twinlog_core::report::{Failure, FailureKind};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    Jsonl,
}

/// An answer that can be shown in every form.
pub(super) trait Answer: Serialize + Sized {
    /// Name and version of the JSON form.
    const SCHEMA: &'static str;
    /// What stands in one line of the third form.
    type Line: Serialize;

    fn table(&self) -> String;
    fn lines(&self) -> Vec<Self::Line>;
}

/// A JSON document: the answer with its schema in front.
#[derive(Serialize)]
struct Document<'a, T> {
    schema: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

pub(super) fn json<T: Serialize>(schema: &'static str, body: &T) -> Result<String, Failure> {
    serde_json::to_string(&Document { schema, body }).map_err(unwritable)
}

pub(super) fn render<A: Answer>(answer: &A, format: Format) -> Result<String, Failure> {
    Ok(match format {
        Format::Table => answer.table(),
        Format::Json => {
            let document = Document { schema: A::SCHEMA, body: answer };
            serde_json::to_string_pretty(&document).map_err(unwritable)? + "\n"
        }
        Format::Jsonl => {
            let mut text = String::new();
            for line in answer.lines() {
                text.push_str(&json(A::SCHEMA, &line)?);
                text.push('\n');
            }
            text
        }
    })
}

/// Writes the answer to stdout. A reader that has seen enough (`| head`) is no failure.
pub(super) fn print<A: Answer>(answer: &A, format: Format) -> Result<(), Failure> {
    print_text(&render(answer, format)?)
}

pub(super) fn print_text(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritable(error)),
        _ => Ok(()),
    }
}

fn unwritable(error: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Difference, format!("cannot write the answer: {error}"))
}

/// Writes a line of words to stderr. Nobody to read them is no failure.
pub(super) fn say(words: &str) {
    let _nobody_reads = writeln!(io::stderr(), "{words}");
}

/// A plain table: columns apart by spaces, numbers to the right, so that `awk` reads it too.
pub(super) fn table(columns: &[(&str, CellAlignment)], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    table_within(None, columns, rows)
}

/// How wide the terminal is that stdout goes to, in characters; none if it goes elsewhere.
pub(super) fn terminal_width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col >= NARROW).then_some(size.ws_col)
}

/// Below it lines are broken by the terminal: there is nothing to be arranged.
const NARROW: u16 = 60;

/// A table whose sentences are broken at this width.
pub(super) fn table_within(
    width: Option<u16>,
    columns: &[(&str, CellAlignment)],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.load_style(NOTHING).set_header(columns.iter().map(|(title, _)| *title));
    table.add_rows(rows);
    for (column, (_, alignment)) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2)).set_cell_alignment(*alignment);
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// An unknown number in a table.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_plain_and_aligned() {
        let columns = [("NAME", CellAlignment::Left), ("COUNT", CellAlignment::Right)];
        let rows = [vec!["a".to_owned(), "7".to_owned()], vec!["longer".to_owned(), "1234567".to_owned()]];
        assert_eq!(table(&columns, rows), "NAME      COUNT\na             7\nlonger  1234567\n");
    }
}
