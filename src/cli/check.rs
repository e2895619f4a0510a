//! `twinlog check`: both clusters looked at before anything is started. Changes nothing.

use clap::Args;
use comfy_table::CellAlignment::Left;
use serde::Serialize;
use twinlog_core::report::{Check, CheckReport, Failures, Verdict};

use super::output::{self, Answer};
use super::{Context, Exit};
use crate::engine;

/// Look at both clusters before a start; changes nothing
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twinlog check
  twinlog check dr -o json

Ends with 1 if a check failed; warnings end with 0.")]
pub(super) struct CheckArguments {
    /// Links to check [default: all]
    #[arg(value_name = "LINK")]
    links: Vec<String>,
}

pub(super) async fn run(context: &Context, arguments: &CheckArguments) -> Result<Exit, Failures> {
    let mut links = Vec::new();
    let siblings = context.links(&[])?;
    for link in context.links(&arguments.links)? {
        links.push(engine::check(link, &siblings).await);
    }
    let answer = Checks { links };
    output::print(&answer, context.format)?;
    Ok(answer.exit())
}

#[derive(Serialize)]
struct Checks {
    links: Vec<CheckReport>,
}

#[derive(Serialize)]
struct Line {
    link: String,
    #[serde(flatten)]
    check: Check,
}

impl Checks {
    fn exit(&self) -> Exit {
        let failed = self.each().any(|(_, check)| check.verdict == Verdict::Failed);
        if failed { Exit::Difference } else { Exit::Fine }
    }

    fn each(&self) -> impl Iterator<Item = (&str, &Check)> {
        self.links.iter().flat_map(|report| report.checks.iter().map(|check| (report.link.as_str(), check)))
    }
}

impl Answer for Checks {
    const SCHEMA: &'static str = "twinlog.check/1";
    type Line = Line;

    fn table(&self) -> String {
        self.table_within(output::terminal_width())
    }

    fn lines(&self) -> Vec<Line> {
        self.each().map(|(link, check)| Line { link: link.to_owned(), check: check.clone() }).collect()
    }
}

impl Checks {
    fn table_within(&self, width: Option<u16>) -> String {
        let columns =
            [("LINK", Left), ("RESULT", Left), ("SIDE", Left), ("CHECK", Left), ("FOUND", Left), ("WHAT TO DO", Left)];
        let row = |(link, check): (&str, &Check)| {
            vec![
                link.to_owned(),
                check.verdict.name().to_owned(),
                check.side.map_or("both", |side| side.name()).to_owned(),
                check.subject.clone(),
                check.finding.clone(),
                check.what_to_do.clone().unwrap_or_default(),
            ]
        };
        output::table_within(width, &columns, self.each().map(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Format, render};
    use twinlog_core::report::Side;

    fn checks(verdict: Verdict) -> Checks {
        let check = |side, subject: &str, verdict, finding: &str, what_to_do: Option<&str>| Check {
            side,
            subject: subject.to_owned(),
            verdict,
            finding: finding.to_owned(),
            what_to_do: what_to_do.map(str::to_owned),
        };
        let checks = vec![
            check(Some(Side::Source), "reachable", Verdict::Ok, "3 brokers, 4.1.1", None),
            check(
                Some(Side::Target),
                "batch size",
                verdict,
                "orders: batches up to 2,000,000 bytes, max.message.bytes is 1,048,588",
                Some("raise message.max.bytes on the target"),
            ),
            check(None, "include", Verdict::Warning, "payments\\..* matches no topic", None),
        ];
        Checks { links: vec![CheckReport { link: "dr".to_owned(), checks }] }
    }

    #[test]
    fn one_line_a_check_with_what_to_do() {
        let text = render(&checks(Verdict::Failed), Format::Table).expect("renders");
        let wanted = "\
LINK  RESULT   SIDE    CHECK       FOUND                                                                  WHAT TO DO
dr    ok       source  reachable   3 brokers, 4.1.1
dr    failed   target  batch size  orders: batches up to 2,000,000 bytes, max.message.bytes is 1,048,588  \
raise message.max.bytes on the target
dr    warning  both    include     payments\\..* matches no topic
";
        assert_eq!(text, wanted);
    }

    #[test]
    fn on_a_terminal_sentences_are_broken_at_its_width() {
        let text = checks(Verdict::Failed).table_within(Some(100));
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(text.contains("dr    failed   target  batch size  orders: batches"), "{text}");
    }

    #[test]
    fn the_exit_code_is_1_only_for_a_failed_check() {
        assert_eq!(checks(Verdict::Failed).exit(), Exit::Difference);
        assert_eq!(checks(Verdict::Warning).exit(), Exit::Fine);
    }

    #[test]
    fn jsonl_has_the_schema_in_every_line() {
        let text = render(&checks(Verdict::Ok), Format::Jsonl).expect("renders");
        let first = concat!(
            r#"{"schema":"twinlog.check/1","link":"dr","side":"source","subject":"reachable","verdict":"ok","#,
            r#""finding":"3 brokers, 4.1.1","what_to_do":null}"#
        );
        assert_eq!(text.lines().next(), Some(first));
        assert_eq!(text.lines().count(), 3);
    }
}
