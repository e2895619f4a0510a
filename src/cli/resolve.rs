//! `twinlog resolve`: how a partition goes on that stopped.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use comfy_table::CellAlignment::{Left, Right};
use indicatif::ProgressBar;
use serde::Serialize;
use twinlog_core::report::{ChangeProgress, Failures, ResolveReport, ResolveRow};
use twinlog_core::resolution;
use twinlog_link::resolve::{Waited, Wish};

use super::doing::{self, Doing, TopicPlace};
use super::output::{self, Answer};
use super::{Context, Exit};
use crate::engine;

/// Lets a partition go on that stopped
#[derive(Debug, Args)]
#[command(after_help = "\
A partition stops in a named state where going on by itself could lose or double records: `twinlog status` shows it. The
ways out; each state has one or more of them:
  retry     go on where it stopped: what was wrong has been put right
  skip-gap  leave out what cannot be had or copied, and note it as lost
  accept    take things as they are: what is on the mirror stays, the copy goes on behind it
  resync    delete all records of the mirror's partition, and copy it again from the source's start
  recreate  delete the mirror, and copy the topic anew
Shows what would be done; changes nothing without --yes. The decision is kept in the link's state, and `twinlog status`
shows it. With no `twinlog run` up, the next one carries it out.
Ends with 1 if it is not carried out after --wait.

Examples:
  twinlog resolve dr orders:3 --by skip-gap
  twinlog resolve dr orders --by recreate --yes")]
pub(super) struct ResolveArguments {
    /// The link
    #[arg(value_name = "LINK")]
    link: String,

    /// Source topic, for all its partitions that stopped, or one partition of it
    #[arg(value_name = "TOPIC[:PARTITION]")]
    what: TopicPlace,

    /// The way out
    #[arg(long, value_name = "WAY", value_parser = ways())]
    by: resolution::Exit,

    #[command(flatten)]
    doing: Doing,
}

/// The ways out by their names, of which the parser takes no other.
fn ways() -> impl TypedValueParser<Value = resolution::Exit> {
    let names = resolution::Exit::NAMES.map(|(name, _)| name);
    PossibleValuesParser::new(names).try_map(|name| resolution::Exit::named(&name).ok_or("no way out"))
}

impl ResolveArguments {
    /// The same, to be typed again.
    fn words(&self) -> String {
        format!("twinlog resolve {} {} --by {}", self.link, self.what, self.by.name())
    }
}

pub(super) async fn run(context: &Context, arguments: &ResolveArguments) -> Result<Exit, Failures> {
    let link = context.link(Some(&arguments.link))?;
    let Doing { yes, wait } = arguments.doing;
    arguments.doing.must_be_said("a decision", &arguments.words())?;
    let TopicPlace { topic, partition } = arguments.what.clone();
    let plan = engine::plan_resolve(link, &Wish { topic, partition, exit: arguments.by }).await?;
    if !yes {
        output::print(plan.report(), context.format)?;
        output::say(&format!("nothing was changed; to do it: {} --yes", arguments.words()));
        return Ok(Exit::Fine);
    }
    let spinner = match std::io::stderr().is_terminal() {
        true => ProgressBar::new_spinner().with_message("until it is carried out"),
        false => ProgressBar::hidden(),
    };
    spinner.enable_steady_tick(Duration::from_millis(100));
    let waited = plan.carry_out(wait).await;
    spinner.finish_and_clear();
    let waited = waited?;
    output::print(&waited.report, context.format)?;
    output::say(&words(&waited, wait));
    Ok(doing::exit(waited.report.progress, waited.nobody, wait))
}

fn words(Waited { report, nobody }: &Waited, wait: Duration) -> String {
    let ResolveReport { link, progress, .. } = report;
    match progress {
        ChangeProgress::Done => format!("done; see `twinlog status {link}`"),
        _ if *nobody => format!("written: no instance of the link runs; start it: twinlog run {link}"),
        _ if wait.is_zero() => format!("written; see `twinlog status {link}`"),
        _ => format!("written, and not carried out yet; see `twinlog status {link}`"),
    }
}

#[derive(Serialize)]
pub(super) struct Line {
    link: String,
    by: String,
    progress: ChangeProgress,
    #[serde(flatten)]
    row: ResolveRow,
}

impl Answer for ResolveReport {
    const SCHEMA: &'static str = "twinlog.resolve/1";
    type Line = Line;

    fn table(&self) -> String {
        let columns =
            [("LINK", Left), ("TOPIC", Left), ("PARTITION", Right), ("STATE", Left), ("BY", Left), ("DOES", Left)];
        let row = |row: &ResolveRow| {
            let (link, by) = (self.link.clone(), self.by.clone());
            vec![link, row.topic.clone(), row.partition.to_string(), row.state.clone(), by, row.doing.clone()]
        };
        output::table(&columns, self.partitions.iter().map(row))
    }

    fn lines(&self) -> Vec<Line> {
        let Self { link, by, progress, partitions } = self;
        let line =
            |row: &ResolveRow| Line { link: link.clone(), by: by.clone(), progress: *progress, row: row.clone() };
        partitions.iter().map(line).collect()
    }
}
