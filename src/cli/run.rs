//! `twinlog run`: the links at work, until a signal or until everything is on the target.

use std::time::Duration;

use clap::Args;
use comfy_table::CellAlignment::{Left, Right};
use tokio::sync::{mpsc, watch};
use twinlog_config::{Loaded, show_size};
use twinlog_core::config::LinkName;
use twinlog_core::report::{Failures, Missing, RunEnd, StatusReport};
use twinlog_link::environment::lane_threads;
use twinlog_link::supervisor::LinkSetup;

use super::live::Display;
use super::output::{self, Answer, Format, or_dash};
use super::{Context, Exit, reload, signals};
use crate::control::Port;
use crate::engine::{self, NamedLink, Orders};

/// The links that run, ready to begin.
type Setups = Vec<(LinkName, LinkSetup)>;

/// How often the display is drawn at least where it shows rates.
const TICK: Duration = Duration::from_secs(1);

/// Mirror topics from source to target
#[derive(Debug, Args)]
#[command(after_help = "\
SIGTERM or SIGINT ends it in order: what is in flight is waited for. A second one ends it at once.
SIGHUP reads the configuration again, and so does a change of its file. Links take over new topics, objectives, budgets
and intervals without a pause; one that must begin again for other keys does so alone. What is wrong or cannot change
is told with its line, and then nothing changes.
On a terminal a live table is shown, elsewhere one line for each change of state.
With --until-caught-up it ends with 0 when everything up to the last stable offset at the start is on the target, and
with 1 if a partition halted, even one that has nothing to copy: those are listed.

Examples:
  twinlog run
  twinlog run dr --until-caught-up
  twinlog -c /etc/twinlog/dr.yaml run -o jsonl")]
pub(super) struct RunArguments {
    /// Links to run [default: all]
    #[arg(value_name = "LINK")]
    links: Vec<String>,

    /// End when everything that is on the source now is on the target
    #[arg(long)]
    until_caught_up: bool,
}

pub(super) async fn run(loaded: Loaded, format: Format, arguments: &RunArguments) -> Result<Exit, Failures> {
    let context = Context { config: loaded.config.clone(), format };
    let links = context.links(&arguments.links)?;
    let stop = signals::stop_requested()?;
    let (setups, port) = prepare(&context, &links).await?;
    for link in &links {
        output::say(&resources(link));
    }
    let (status, mut snapshots) = watch::channel(Vec::new());
    let to_json = |links| output::json(StatusReport::SCHEMA, &StatusReport { links });
    let _shown = port.map(|port| port.serve(snapshots.clone(), to_json));
    let (changes, changed) = mpsc::channel(1);
    let (told, mut news) = mpsc::unbounded_channel();
    if arguments.until_caught_up {
        reload::ignore_hangup(told)?;
    } else {
        reload::follow(loaded, changes, told)?;
    }
    let named = if arguments.links.is_empty() { &[][..] } else { &links };
    let orders = Orders {
        config: context.config.clone(),
        setups,
        named: named.iter().map(|link| link.name.clone()).collect(),
        until_caught_up: arguments.until_caught_up,
        stop: stop.clone(),
        changes: changed,
    };
    let mut display = Display::new(format);
    let mut asked = stop.clone();
    let end = {
        let work = engine::run(orders, status);
        tokio::pin!(work);
        // Rates change also while nothing happens.
        let mut tick = tokio::time::interval(TICK);
        let mut asked_to_stop = false;
        loop {
            tokio::select! {
                biased;
                end = &mut work => break end,
                Ok(()) = asked.changed(), if !asked_to_stop => {
                    asked_to_stop = true;
                    display.say("stopping: what is in flight is waited for; a second signal ends at once");
                }
                Some(words) = news.recv() => display.say(&words),
                Ok(()) = snapshots.changed() => display.show(&snapshots.borrow_and_update())?,
                _ = tick.tick(), if display.is_live() => display.show(&snapshots.borrow())?,
            }
        }
    };
    display.finish();
    let end = end?;
    if arguments.until_caught_up {
        output::say(&summary(&end, *stop.borrow()));
    }
    output::print(&end, format)?;
    Ok(exit(&end))
}

/// Makes the links ready, and opens the port for monitoring if there is to be one. What is in the way on this machine
/// is told at once.
async fn prepare(context: &Context, links: &[NamedLink<'_>]) -> Result<(Setups, Option<Port>), Failures> {
    let (mut setups, mut problems) = (Vec::new(), Vec::new());
    for link in links {
        match link.setup() {
            Ok(setup) => setups.push((link.name.clone(), setup)),
            Err(problem) => problems.push(problem),
        }
    }
    // Links may have a cluster in common.
    problems.dedup();
    let port = match &context.config.http {
        Some(http) => Port::open(http).await.map_err(|problem| problems.push(problem)).ok(),
        None => None,
    };
    if problems.is_empty() { Ok((setups, port)) } else { Err(Failures(problems)) }
}

/// What a link may use of this machine.
fn resources(link: &NamedLink<'_>) -> String {
    let threads = lane_threads(link.link.lanes.into());
    let budget = show_size(link.link.budget_bytes);
    let plural = if threads == 1 { "" } else { "s" };
    format!("link {}: {threads} thread{plural} for lanes, {budget} for records on their way", link.name)
}

fn summary(end: &RunEnd, stopped: bool) -> String {
    match (end.missing.len(), stopped) {
        (0, false) if end.wanted == 0 => "nothing to copy: no topic on the source is included".to_owned(),
        (0, false) => "caught up: everything up to the last stable offset at the start is on the target".to_owned(),
        (0, true) => "stopped after everything wanted was on the target".to_owned(),
        (1, _) => "not caught up: 1 partition is not complete on the target".to_owned(),
        (count, _) => format!("not caught up: {count} partitions are not complete on the target"),
    }
}

fn exit(end: &RunEnd) -> Exit {
    if end.missing.is_empty() { Exit::Fine } else { Exit::Difference }
}

impl Answer for RunEnd {
    const SCHEMA: &'static str = "twinlog.run/1";
    type Line = Missing;

    fn table(&self) -> String {
        if self.missing.is_empty() {
            return String::new();
        }
        let columns = [
            ("LINK", Left),
            ("TOPIC", Left),
            ("PARTITION", Right),
            ("SYNCED", Right),
            ("WANTED", Right),
            ("STATE", Left),
            ("DETAIL", Left),
        ];
        let row = |missing: &Missing| {
            vec![
                missing.link.clone(),
                missing.topic.clone(),
                or_dash(missing.partition),
                or_dash(missing.synced),
                or_dash(missing.wanted),
                missing.state.clone(),
                missing.detail.clone().unwrap_or_default(),
            ]
        };
        output::table(&columns, self.missing.iter().map(row))
    }

    fn lines(&self) -> Vec<Missing> {
        self.missing.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::render;

    fn halted() -> RunEnd {
        let missing = Missing {
            link: "dr".to_owned(),
            topic: "orders".to_owned(),
            partition: Some(2),
            synced: Some(1_000),
            wanted: Some(1_200),
            state: "diverged".to_owned(),
            detail: Some("expected target offset 1001, found 1002".to_owned()),
        };
        RunEnd { wanted: 4, missing: vec![missing] }
    }

    #[test]
    fn what_is_missing_is_listed_and_ends_with_1() {
        let wanted = "\
LINK  TOPIC   PARTITION  SYNCED  WANTED  STATE     DETAIL
dr    orders          2    1000    1200  diverged  expected target offset 1001, found 1002
";
        assert_eq!(render(&halted(), Format::Table).expect("renders"), wanted);
        assert_eq!(exit(&halted()), Exit::Difference);
        assert_eq!(summary(&halted(), false), "not caught up: 1 partition is not complete on the target");
    }

    #[test]
    fn an_end_with_nothing_missing_is_fine_and_says_nothing_on_stdout() {
        assert_eq!(render(&RunEnd::default(), Format::Table).expect("renders"), "");
        assert_eq!(exit(&RunEnd::default()), Exit::Fine);
        let json = render(&RunEnd::default(), Format::Json).expect("renders");
        assert_eq!(json, "{\n  \"schema\": \"twinlog.run/1\",\n  \"wanted\": 0,\n  \"missing\": []\n}\n");
    }
}
