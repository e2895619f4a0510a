//! `twinlog demo`: the product on two clusters of its own, killed half way and counted at the end.

use std::io::IsTerminal as _;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use twinlog_client::Address;
use twinlog_core::report::{Failure, FailureKind, Failures, Side, TranslateAnswer, Translation};

use super::numbers::{megabytes, thousands};
use super::output::{self, Answer, Format};
use super::{Exit, signals};
use crate::demo::{Clusters, DemoReport, Stage, picture, run as run_demo};

/// Columns and rows of the picture.
const PICTURE: (usize, usize) = (72, 10);

/// Show what twinlog does, on two clusters of its own
#[derive(Debug, Args)]
#[command(after_help = "\
Two small clusters are started in memory. A shop writes to one of them, a link copies to the other; half way the link
is killed with no clean end, and a new one goes on. Then every record on the target is counted, both sides are
compared, and an offset is translated. It ends by itself, with 0 if nothing is lost, doubled or different.

Examples:
  twinlog demo
  twinlog demo --keep                 look around with kcat or any other client, until Ctrl-C
  twinlog demo --real                 the same on two brokers of Apache Kafka (needs Java 17 and Maven)
  twinlog demo --records 2000000 -o json")]
pub(super) struct DemoArguments {
    /// Records that are committed on the source; some more are written and aborted
    #[arg(long, value_name = "COUNT", default_value_t = 400_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
    records: u64,

    /// Stay up at the end, with the link running, and print commands to look around
    #[arg(long)]
    keep: bool,

    /// Use two brokers of Apache Kafka instead, fetched with Maven the first time
    #[arg(long)]
    real: bool,
}

pub(super) async fn run(arguments: &DemoArguments, format: Format) -> Result<Exit, Failures> {
    let mut stop = signals::stop_requested()?;
    let clusters = clusters(arguments.real).await?;
    let (stage, seen) = watch::channel(Stage::default());
    let showing = tokio::spawn(show(seen));
    let end = tokio::select! {
        end = run_demo(&clusters, arguments.records, &stage) => end,
        _ = stop.wait_for(|stop| *stop) => {
            Err(Failure::new(FailureKind::Difference, "the demo was ended before its end"))
        }
    };
    drop(stage);
    // It ends with the stage.
    let _shown = showing.await;
    let (report, link) = end?;
    output::print(&report, format)?;
    if arguments.keep {
        output::say(&look_around(clusters.source(), clusters.target()));
        let _asked = stop.wait_for(|stop| *stop).await;
    }
    link.stop().await?;
    Ok(if report.is_good() { Exit::Fine } else { Exit::Difference })
}

async fn clusters(real: bool) -> Result<Clusters, Failure> {
    if !real {
        return Clusters::sandbox().await;
    }
    output::say("starting two brokers of Apache Kafka; the first time they are fetched");
    let started = tokio::task::spawn_blocking(Clusters::real).await;
    started.map_err(|error| Failure::new(FailureKind::Refused, format!("Apache Kafka cannot be started: {error}")))?
}

/// Shows what goes on, on stderr: a bar on a terminal, else a line for each change of words.
async fn show(mut seen: watch::Receiver<Stage>) {
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(1).with_style(style()),
        false => ProgressBar::hidden(),
    };
    let mut words = String::new();
    while seen.changed().await.is_ok() {
        let stage = seen.borrow_and_update().clone();
        if stage.words != words {
            bar.suspend(|| output::say(&stage.words));
            words.clone_from(&stage.words);
        }
        bar.set_length(stage.wanted);
        bar.set_position(stage.written);
        bar.set_message(format!("on the target: {:.1} %", 100.0 * stage.copied));
    }
    bar.finish_and_clear();
}

fn style() -> ProgressStyle {
    let template = "written: {bar:30} {human_pos} of {human_len} records, {msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Answer for DemoReport {
    const SCHEMA: &'static str = "twinlog.demo/1";
    type Line = Self;

    fn table(&self) -> String {
        let row = |name: &str, value: String| format!("  {name:<12}{value}\n");
        let mut text = String::from("\n  █ on the target   ░ only on the source yet   × no link\n\n");
        text.push_str(&picture::draw(&self.samples, PICTURE.0, PICTURE.1));
        text.push('\n');
        let aborted = thousands(self.aborted);
        text.push_str(&row("records", format!("{} ({aborted} more were aborted)", thousands(self.records))));
        let bytes = megabytes(self.bytes as f64);
        text.push_str(&row("bytes", format!("{bytes} MB of batches, copied as they are")));
        text.push_str(&row("records/s", thousands(self.records_per_second)));
        let (killed, recovery) = (self.killed_ms as f64 / 1e3, self.recovery_ms);
        text.push_str(&row(
            "killed",
            format!("after {killed:.1} s; the next link copied on {recovery} ms after its start"),
        ));
        text.push_str(&row("lost", thousands(self.lost)));
        text.push_str(&row("doubled", thousands(self.doubled)));
        text.push_str(&row("misplaced", thousands(self.misplaced)));
        let equal = format!("{} batches equal by their checksums", thousands(self.batches_equal));
        text.push_str(&row("verify", if self.differences.is_empty() { equal } else { self.differences.join("; ") }));
        for answer in &self.translations {
            text.push_str(&row("translate", translation(answer)));
        }
        text
    }

    fn lines(&self) -> Vec<Self> {
        vec![self.clone()]
    }
}

fn translation(answer: &TranslateAnswer) -> String {
    let other = if answer.asked_side == Side::Source { Side::Target } else { Side::Source };
    let found = match answer.answer {
        Translation::Exact { offset } => offset.to_string(),
        Translation::NextRange { offset } => format!("{offset}, the next record"),
        Translation::AtEnd { offset } => format!("{offset}, the end"),
        Translation::Clamped { offset } => format!("{offset}, where the log begins"),
        Translation::NotYet { synced } => format!("not there yet, only up to {synced}"),
    };
    let (side, topic, partition) = (answer.asked_side, &answer.asked_topic, answer.partition);
    format!("{topic}:{partition}@{} on the {side} is {found} on the {other}", answer.asked_offset)
}

/// What to type to look at both sides.
fn look_around(source: &[Address], target: &[Address]) -> String {
    let at = |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let (source, target) = (at(source), at(target));
    format!(
        "\nBoth clusters stay up and the link goes on, until Ctrl-C. Try:\n\n  \
         kcat -b {source} -L\n  \
         kcat -b {target} -L\n  \
         kcat -b {target} -C -t orders -p 0 -o -5 -e\n  \
         echo hello | kcat -b {source} -P -t orders -p 0\n  \
         kcat -b {target} -C -t orders -p 0 -o -1 -e\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::picture::Sample;

    fn report() -> DemoReport {
        let sample = |ms, source, target, running| Sample { ms, source, target, running };
        DemoReport {
            records: 400_000,
            aborted: 40_000,
            bytes: 12_300_000,
            records_per_second: 43_210,
            killed_ms: 4_250,
            recovery_ms: 180,
            lost: 0,
            doubled: 0,
            misplaced: 0,
            batches_equal: 2_000,
            differences: Vec::new(),
            translations: vec![TranslateAnswer {
                link: "demo".to_owned(),
                asked_side: Side::Source,
                asked_topic: "payments".to_owned(),
                partition: 1,
                asked_offset: 5_321,
                topic: "payments".to_owned(),
                answer: Translation::Exact { offset: 4_984 },
            }],
            samples: vec![sample(4_000, 50, 50, true), sample(6_000, 75, 50, false), sample(8_000, 100, 100, true)],
        }
    }

    #[test]
    fn the_summary_is_drawn() {
        let text = report().table();
        assert!(text.contains("  records     400,000 (40,000 more were aborted)\n"), "{text}");
        assert!(text.contains("  killed      after 4.2 s; the next link copied on 180 ms after its start\n"), "{text}");
        assert!(text.contains("  lost        0\n  doubled     0\n  misplaced   0\n"), "{text}");
        assert!(text.contains("  translate   payments:1@5321 on the source is 4984 on the target\n"), "{text}");
        assert!(text.contains('×') && text.contains('░') && text.contains('█'), "{text}");
    }

    #[test]
    fn a_loss_is_not_a_good_end() {
        assert!(report().is_good());
        assert!(!DemoReport { lost: 1, ..report() }.is_good());
        assert!(!DemoReport { differences: vec!["orders:0".to_owned()], ..report() }.is_good());
    }

    #[test]
    fn commands_name_both_sides() {
        let at = |port| vec![Address { host: "127.0.0.1".to_owned(), port }];
        let text = look_around(&at(1), &at(2));
        assert!(text.contains("kcat -b 127.0.0.1:1 -L") && text.contains("kcat -b 127.0.0.1:2 -C -t orders"), "{text}");
    }
}
