//! `twinlog verify`: what the two sides hold, compared batch by batch.

use std::io::IsTerminal as _;

use clap::Args;
use comfy_table::CellAlignment::{Left, Right};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use twinlog_core::report::{Failures, PartitionVerdict, VerifyProgress, VerifyReport};
use twinlog_core::topics::Pattern;

use super::numbers::thousands;
use super::output::{self, Answer};
use super::{Context, Exit};
use crate::engine;

/// Compare source and target, batch by batch
#[derive(Debug, Args)]
#[command(after_help = "\
Batches that went through untouched are compared by the checksum of their bodies, others record by record, up to
what is on both sides now. The first difference of a partition is named by both offsets, and ends with 1.

Examples:
  twinlog verify
  twinlog verify orders 'payments\\..*'
  twinlog verify --link dr -o jsonl")]
pub(super) struct VerifyArguments {
    /// Source topics, as anchored regular expressions [default: all of the link]
    #[arg(value_name = "TOPIC", value_parser = str::parse::<Pattern>)]
    topics: Vec<Pattern>,

    /// Link to verify [default: the only one]
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
}

pub(super) async fn run(context: &Context, arguments: &VerifyArguments) -> Result<Exit, Failures> {
    let link = context.link(arguments.link.as_deref())?;
    let bar = progress_bar();
    let report = engine::verify(link, &arguments.topics, &|progress| show(&bar, &progress)).await;
    bar.finish_and_clear();
    let report = report?;
    output::print(&report, context.format)?;
    Ok(exit(&report))
}

/// Off a terminal there is no bar.
fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:30} {percent:>3}% {msg}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

fn show(bar: &ProgressBar, progress: &VerifyProgress) {
    bar.set_length(progress.total);
    bar.set_position(progress.done);
    bar.set_message(format!("{}:{}", progress.topic, progress.partition));
}

fn exit(report: &VerifyReport) -> Exit {
    let differs = report.partitions.iter().any(|partition| partition.difference.is_some());
    if differs { Exit::Difference } else { Exit::Fine }
}

#[derive(Serialize)]
pub(super) struct Line {
    link: String,
    #[serde(flatten)]
    partition: PartitionVerdict,
}

impl Answer for VerifyReport {
    const SCHEMA: &'static str = "twinlog.verify/1";
    type Line = Line;

    fn table(&self) -> String {
        let columns = [
            ("LINK", Left),
            ("TOPIC", Left),
            ("PARTITION", Right),
            ("FROM", Right),
            ("TO", Right),
            ("BY-CHECKSUM", Right),
            ("BY-RECORD", Right),
            ("RECORDS", Right),
            ("RESULT", Left),
        ];
        let row = |partition: &PartitionVerdict| {
            let result = partition.difference.as_ref().map_or_else(
                || "equal".to_owned(),
                |difference| {
                    let (topic, number) = (&partition.topic, partition.partition);
                    let (source, target) = (difference.source_offset, difference.target_offset);
                    let target_topic = &partition.target_topic;
                    let what = &difference.what;
                    format!(
                        "differs at source {topic}:{number}@{source}, target {target_topic}:{number}@{target}: {what}"
                    )
                },
            );
            vec![
                self.link.clone(),
                partition.topic.clone(),
                partition.partition.to_string(),
                partition.from.to_string(),
                partition.to.to_string(),
                thousands(partition.batches_by_checksum),
                thousands(partition.batches_by_record),
                thousands(partition.records),
                result,
            ]
        };
        output::table(&columns, self.partitions.iter().map(row))
    }

    fn lines(&self) -> Vec<Line> {
        let line = |partition: &PartitionVerdict| Line { link: self.link.clone(), partition: partition.clone() };
        self.partitions.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Format, render};
    use twinlog_core::report::Difference;

    fn report(difference: Option<Difference>) -> VerifyReport {
        let partition = PartitionVerdict {
            topic: "orders".to_owned(),
            target_topic: "orders.replica".to_owned(),
            partition: 3,
            from: 0,
            to: 10_000,
            batches_by_checksum: 1_200,
            batches_by_record: 3,
            records: 9_998,
            difference,
        };
        VerifyReport { link: "dr".to_owned(), partitions: vec![partition] }
    }

    fn difference() -> Difference {
        Difference { source_offset: 41, target_offset: 42, what: "body checksum 1f00 is 2e11".to_owned() }
    }

    #[test]
    fn the_table_says_equal_or_names_both_offsets() {
        let text = render(&report(None), Format::Table).expect("renders");
        let wanted = "\
LINK  TOPIC   PARTITION  FROM     TO  BY-CHECKSUM  BY-RECORD  RECORDS  RESULT
dr    orders          3     0  10000        1,200          3    9,998  equal
";
        assert_eq!(text, wanted);
        let text = render(&report(Some(difference())), Format::Table).expect("renders");
        let wanted = "differs at source orders:3@41, target orders.replica:3@42: body checksum 1f00 is 2e11\n";
        assert!(text.ends_with(wanted), "{text}");
    }

    #[test]
    fn a_difference_ends_with_1() {
        assert_eq!(exit(&report(None)), Exit::Fine);
        assert_eq!(exit(&report(Some(difference()))), Exit::Difference);
    }

    #[test]
    fn json_carries_schema_and_difference() {
        let text = render(&report(Some(difference())), Format::Json).expect("renders");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["schema"], "twinlog.verify/1");
        assert_eq!(value["partitions"][0]["difference"]["target_offset"], 42);
    }
}
