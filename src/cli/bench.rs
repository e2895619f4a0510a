//! `twinlog bench`: which settings copy fastest between a link's clusters.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use comfy_table::CellAlignment::{Left as ToLeft, Right};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use twinlog_core::report::{Failure, FailureKind, Failures};

use super::numbers::megabytes;
use super::output::{self, Answer};
use super::{Context, Exit, signals};
use crate::bench::{Bench, BenchReport, Limits, Load, SettingReport, Stage, plot};

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(250);

/// Find the settings that copy fastest between your clusters
#[derive(Debug, Args)]
#[command(after_help = "\
A topic of its own on the source is filled with random records, and links of its own copy it to the target, each with
other settings: lanes, fetch sizes, requests in flight and socket buffers. Everything is removed at the end, and after
SIGINT or SIGTERM; a second one ends at once and names what is left. Your own links go on meanwhile, and share clusters
and machine with it.
Settings are recommended only if each of at least three runs was faster than the fastest of yours, and the median by
more than 5 %. What would be written is said first. Without --yes it asks on a terminal, and ends with 2 elsewhere.

Examples:
  twinlog bench
  twinlog bench dr --max-time 10m --max-bytes 10GB --yes
  twinlog bench dr --partitions 32 --batch-bytes 16KiB --plot dr.svg
  twinlog bench dr --yes -o json")]
pub(super) struct BenchArguments {
    /// The link whose clusters and settings are taken [default: the only one]
    #[arg(value_name = "LINK")]
    link: Option<String>,

    /// From the first write until everything is removed; 10s to 1h
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = max_time)]
    max_time: Duration,

    /// Written to both clusters together, before they replicate it; from 1MB on
    #[arg(long, value_name = "SIZE", default_value = "2GB", value_parser = max_bytes)]
    max_bytes: u64,

    /// Partitions of the topic, 1 to 1000: about as many as the link has that are busy
    #[arg(long, value_name = "COUNT", default_value_t = 12)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    partitions: u16,

    /// Size of a record, 1 byte to 768KiB
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = record_bytes)]
    record_bytes: u32,

    /// Size of a batch: what producers send at once, after compression; up to 768KiB
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = record_bytes)]
    batch_bytes: u32,

    /// Where the plot goes, an SVG file
    #[arg(long, value_name = "FILE", default_value = "twinlog-bench.svg")]
    plot: PathBuf,

    /// Do it without asking; needed where there is no terminal
    #[arg(long)]
    yes: bool,
}

fn max_time(text: &str) -> Result<Duration, String> {
    let time = twinlog_config::duration(text)?;
    let (low, high) = (Duration::from_secs(10), Duration::from_secs(3600));
    if (low..=high).contains(&time) { Ok(time) } else { Err(format!("`{text}` is not from 10s to 1h")) }
}

fn max_bytes(text: &str) -> Result<u64, String> {
    let bytes = twinlog_config::size(text)?;
    if bytes >= 1_000_000 { Ok(bytes) } else { Err(format!("`{text}` is less than 1MB")) }
}

fn record_bytes(text: &str) -> Result<u32, String> {
    let bytes = u32::try_from(twinlog_config::size(text)?).ok().filter(|bytes| (1..=768 << 10).contains(bytes));
    bytes.ok_or_else(|| format!("`{text}` is not from 1 to 768KiB"))
}

pub(super) async fn run(context: &Context, arguments: &BenchArguments) -> Result<Exit, Failures> {
    let links = context.links(arguments.link.as_slice())?;
    let [link] = links.as_slice() else {
        let names: Vec<String> = links.iter().map(|link| format!("twinlog bench {}", link.name)).collect();
        let what = format!("the configuration has {} links: which one?", links.len());
        return Err(Failure::new(FailureKind::Usage, what).advise(format!("name one: {}", names.join(", "))).into());
    };
    let BenchArguments { partitions, record_bytes, batch_bytes, max_time, max_bytes, .. } = *arguments;
    let (load, limits) = (Load { partitions, record_bytes, batch_bytes }, Limits { time: max_time, bytes: max_bytes });
    let bench = Bench::look(*link, load, limits).await?;
    output::say(&format!("twinlog bench for link {} would write:", link.name));
    bench.plan().iter().for_each(|words| output::say(&format!("  {words}")));
    output::say(&format!("  here: the plot {}", arguments.plot.display()));
    if !arguments.yes && !is_agreed().await? {
        output::say("nothing was written");
        return Ok(Exit::Fine);
    }
    let left = bench.left();
    let stop = signals::stop_requested_or(move || left.words().iter().for_each(|words| output::say(words)))?;
    let (stage, seen) = watch::channel(Stage::default());
    let showing = tokio::spawn(show(seen, limits));
    let report = bench.run(&stage, stop).await;
    drop(stage);
    // It ends with the stage.
    let _shown = showing.await;
    let report = report?;
    output::print(&report, context.format)?;
    write_plot(&report, &arguments.plot);
    report.left.iter().for_each(|words| output::say(words));
    Ok(if report.left.is_empty() { Exit::Fine } else { Exit::Difference })
}

/// Asks on a terminal.
async fn is_agreed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        let failure = Failure::new(FailureKind::Usage, "without a terminal a bench needs --yes; nothing was written");
        return Err(failure.advise("add --yes if that may be written"));
    }
    let _nobody_reads = write!(std::io::stderr(), "Do it? [y/N] ");
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    // A signal ends the program here as it does by default: nothing is there to be removed.
    let line = answer.await.ok().and_then(Result::ok).unwrap_or_default();
    Ok(["y", "yes"].contains(&line.trim().to_lowercase().as_str()))
}

/// Shows what goes on, on stderr: a bar on a terminal, else a line for each change of words.
async fn show(mut seen: watch::Receiver<Stage>, limits: Limits) {
    let is_terminal = std::io::stderr().is_terminal();
    let seconds = limits.time.as_secs();
    let bar = if is_terminal { ProgressBar::new(seconds).with_style(style()) } else { ProgressBar::hidden() };
    let (begun, mut words) = (Instant::now(), String::new());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { break },
            _ = ticks.tick() => {}
        }
        let stage = seen.borrow_and_update().clone();
        let left = limits.bytes.saturating_sub(stage.bytes);
        let seconds_left = seconds.saturating_sub(begun.elapsed().as_secs());
        bar.set_position(seconds - seconds_left);
        bar.set_message(format!("{seconds_left} s and {} MB left, {}", megabytes(left as f64), stage.words));
        if stage.words != words {
            words = stage.words;
            if !is_terminal {
                output::say(&words);
            }
        }
    }
    bar.finish_and_clear();
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A plot that cannot be written takes nothing from the answer.
fn write_plot(report: &BenchReport, path: &Path) {
    let written = plot::draw(report).and_then(|text| std::fs::write(path, text).map_err(|error| error.to_string()));
    output::say(&match written {
        Ok(()) => format!("plot written: {}", path.display()),
        Err(error) => format!("the plot {} cannot be written: {error}", path.display()),
    });
}

impl Answer for BenchReport {
    const SCHEMA: &'static str = "twinlog.bench/1";
    type Line = SettingReport;

    fn table(&self) -> String {
        let columns = [
            ("SETTINGS", ToLeft),
            ("RUNS", Right),
            ("MB/S", Right),
            ("SLOWEST", Right),
            ("FASTEST", Right),
            ("CPU S/GB", Right),
        ];
        let row = |row: &SettingReport| {
            let cpu = format!("{:.2}", row.cpu_s_per_gb);
            let [median, low, high] = [row.bytes_per_s_median, row.bytes_per_s_min, row.bytes_per_s_max].map(megabytes);
            vec![row.words.clone(), row.runs.to_string(), median, low, high, cpu]
        };
        let mut text = output::table(&columns, self.settings.iter().map(row));
        text.push_str(&format!("\nlink     {}\nresult   {}\n", self.link, self.verdict));
        text.push_str(&format!("limit    {}\n", self.limit.words()));
        let mb = megabytes(self.topic_bytes as f64);
        text.push_str(&format!("copied   {mb} MB on {} partitions in each run\n", self.partitions));
        if let Some(yaml) = &self.yaml {
            text.push_str(&format!("\n{yaml}"));
        }
        text
    }

    fn lines(&self) -> Vec<SettingReport> {
        self.settings.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Cause, Limit, Settings};
    use crate::cli::output::{Format, render};

    fn report() -> BenchReport {
        let start = Settings::default();
        let row = |settings: Settings, runs, mb: [f64; 3], is_recommended| SettingReport {
            words: settings.words(start),
            settings,
            is_present: settings == start,
            is_recommended,
            runs,
            bytes_per_s_min: mb[0] * 1e6,
            bytes_per_s_median: mb[1] * 1e6,
            bytes_per_s_max: mb[2] * 1e6,
            cpu_s_per_gb: 0.5,
        };
        let better = Settings { lanes: 8, ..start };
        let limit = Limit { cause: Cause::Target, grounds: "for 70 % of the time".to_owned() };
        BenchReport {
            link: "dr".to_owned(),
            topic_bytes: 62_500_000,
            partitions: 12,
            verdict: "better by more than the spread: lanes 8".to_owned(),
            settings: vec![row(start, 4, [90.0, 100.0, 110.0], false), row(better, 3, [120.0, 125.0, 130.0], true)],
            yaml: Some(better.yaml(start, "dr")),
            limit,
            untried: Vec::new(),
            left: Vec::new(),
        }
    }

    #[test]
    fn the_table_ends_with_what_follows() {
        let wanted = "\
SETTINGS       RUNS   MB/S  SLOWEST  FASTEST  CPU S/GB
as configured     4  100.0     90.0    110.0      0.50
lanes 8           3  125.0    120.0    130.0      0.50

link     dr
result   better by more than the spread: lanes 8
limit    the target, or the network to it: for 70 % of the time
copied   62.5 MB on 12 partitions in each run

links:
  dr:
    lanes: 8 # of a link that is there: twinlog lanes resize dr 8
";
        assert_eq!(render(&report(), Format::Table).expect("renders"), wanted);
    }

    #[test]
    fn json_has_all_settings_with_their_runs() {
        let text = render(&report(), Format::Json).expect("renders");
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(document["schema"], "twinlog.bench/1");
        assert_eq!(document["settings"][1]["lanes"], 8);
        assert_eq!(document["settings"][1]["is_recommended"], true);
        assert_eq!((&document["limit"]["cause"], &document["left"]), (&"target".into(), &serde_json::json!([])));
        assert_eq!(render(&report(), Format::Jsonl).expect("renders").lines().count(), 2);
    }

    #[test]
    fn the_plot_shows_each_setting() {
        let plot = plot::draw(&report()).expect("drawn");
        assert!(plot.starts_with("<svg ") && plot.ends_with("</svg>\n"), "{plot}");
        assert!(
            plot.contains("as configured") && plot.contains("lanes 8") && plot.contains("125.0 (3 runs)"),
            "{plot}"
        );
        plot::draw(&BenchReport { settings: Vec::new(), ..report() }).expect("drawn without any");
    }

    #[test]
    fn limits_have_limits() {
        assert_eq!(max_time("10s"), Ok(Duration::from_secs(10)));
        max_time("9s").expect_err("too short to say anything");
        max_time("61m").expect_err("too long");
        max_bytes("999KB").expect_err("too little");
        assert_eq!(record_bytes("768KiB"), Ok(768 << 10));
        record_bytes("0").expect_err("nothing");
        record_bytes("1MiB").expect_err("above what brokers take by default");
    }
}
