//! `twinlog lanes move`, `rebalance` and `resize`: the plan first, and then, if it is said so, the change.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use twinlog_core::link_state::LANES_MAX;
use twinlog_core::report::{ChangeProgress, Failures, LaneMove, LanesChange};
use twinlog_link::lanes::Waited;

use super::moves;
use crate::cli::doing::{self, Doing, TopicPlace};
use crate::cli::output::{self, Answer};
use crate::cli::{Context, Exit};
use crate::engine::{self, Change};

/// Moves a partition, or all of a topic, into another lane
#[derive(Debug, Args)]
#[command(after_help = "\
The lane that has the partition stops it, and the other one goes on where it stopped, also on another instance. Nothing
else stops, and no record is lost or doubled. Shows the plan; changes nothing without --yes.
Ends with 1 if something is still on its way after --wait. With no `twinlog run` up, the next one carries it out.

Examples:
  twinlog lanes move dr orders:3 --to 1
  twinlog lanes move dr orders --to 1 --yes")]
pub(super) struct MoveArguments {
    /// The link
    #[arg(value_name = "LINK")]
    link: String,

    /// Source topic, or one partition of it
    #[arg(value_name = "TOPIC[:PARTITION]")]
    what: TopicPlace,

    /// The lane that it goes to
    #[arg(long, value_name = "LANE")]
    to: u32,

    #[command(flatten)]
    doing: Doing,
}

/// Shares partitions out so that all lanes hold about as many bytes
#[derive(Debug, Args)]
#[command(after_help = "\
By the sizes of the mirrors on the target, with few moves. Shows the plan; changes nothing without --yes.
Ends with 1 if something is still on its way after --wait. With no `twinlog run` up, the next one carries it out.

Examples:
  twinlog lanes rebalance dr
  twinlog lanes rebalance dr --yes --wait 10m")]
pub(super) struct RebalanceArguments {
    /// The link
    #[arg(value_name = "LINK")]
    link: String,

    #[command(flatten)]
    doing: Doing,
}

/// Changes the number of lanes
#[derive(Debug, Args)]
#[command(after_help = "\
More lanes are there at once, and empty: `twinlog lanes rebalance` fills them. Of fewer, the last ones are emptied
first, and then they are gone. Shows the plan; changes nothing without --yes. `lanes` in the configuration counts only
for a new link.
Ends with 1 if something is still on its way after --wait. With no `twinlog run` up, the next one carries it out.

Examples:
  twinlog lanes resize dr 8
  twinlog lanes resize dr 2 --yes")]
pub(super) struct ResizeArguments {
    /// The link
    #[arg(value_name = "LINK")]
    link: String,

    /// How many lanes there are to be
    #[arg(value_name = "LANES", value_parser = clap::value_parser!(u32).range(1..=i64::from(LANES_MAX)))]
    lanes: u32,

    #[command(flatten)]
    doing: Doing,
}

/// One of the changes, as it was asked for.
pub(super) trait Wish {
    fn link(&self) -> &str;
    fn change(&self) -> Change;
    fn doing(&self) -> &Doing;
    /// The same, to be typed again.
    fn words(&self) -> String;
}

impl Wish for MoveArguments {
    fn link(&self) -> &str {
        &self.link
    }

    fn change(&self) -> Change {
        let TopicPlace { topic, partition } = self.what.clone();
        Change::Move { topic, partition, to: self.to }
    }

    fn doing(&self) -> &Doing {
        &self.doing
    }

    fn words(&self) -> String {
        format!("twinlog lanes move {} {} --to {}", self.link, self.what, self.to)
    }
}

impl Wish for RebalanceArguments {
    fn link(&self) -> &str {
        &self.link
    }

    fn change(&self) -> Change {
        Change::Rebalance
    }

    fn doing(&self) -> &Doing {
        &self.doing
    }

    fn words(&self) -> String {
        format!("twinlog lanes rebalance {}", self.link)
    }
}

impl Wish for ResizeArguments {
    fn link(&self) -> &str {
        &self.link
    }

    fn change(&self) -> Change {
        Change::Resize(self.lanes)
    }

    fn doing(&self) -> &Doing {
        &self.doing
    }

    fn words(&self) -> String {
        format!("twinlog lanes resize {} {}", self.link, self.lanes)
    }
}

pub(super) async fn run(context: &Context, wish: &(impl Wish + Sync)) -> Result<Exit, Failures> {
    let link = context.link(Some(wish.link()))?;
    let Doing { yes, wait } = *wish.doing();
    wish.doing().must_be_said("a change of lanes", &wish.words())?;
    let plan = engine::plan_lanes(link, &wish.change()).await?;
    let planned = plan.change().clone();
    if !yes || planned.progress == ChangeProgress::Nothing {
        output::print(&planned, context.format)?;
        output::say(&match planned.progress {
            ChangeProgress::Nothing => "nothing to change: all is so already".to_owned(),
            ChangeProgress::UnderWay => format!("it is under way; to wait for it: {} --yes", wish.words()),
            _ => format!("nothing was changed; to do it: {} --yes", wish.words()),
        });
        return Ok(Exit::Fine);
    }
    let bar = progress_bar(planned.moves.len());
    let waited = plan.carry_out(wait, &|left| show(&bar, left)).await;
    bar.finish_and_clear();
    let waited = waited?;
    output::print(&waited.change, context.format)?;
    output::say(&words(&waited, wait));
    Ok(doing::exit(waited.change.progress, waited.nobody, wait))
}

/// Off a terminal there is no bar.
fn progress_bar(moves: usize) -> ProgressBar {
    if moves == 0 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:30} {pos} of {len} partitions are there, {elapsed} so far";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(u64::try_from(moves).unwrap_or(u64::MAX)).with_style(style)
}

fn show(bar: &ProgressBar, left: u64) {
    bar.set_position(bar.length().unwrap_or_default().saturating_sub(left));
}

fn words(Waited { change, nobody }: &Waited, wait: Duration) -> String {
    let LanesChange { link, moving, .. } = change;
    let what = match moving {
        1 => "1 partition is".to_owned(),
        count => format!("{count} partitions are"),
    };
    match change.progress {
        ChangeProgress::Done => "done".to_owned(),
        _ if *nobody => {
            format!("written, and {what} to move: no instance of the link runs; start it: twinlog run {link}")
        }
        _ if wait.is_zero() => format!("written, and {what} on the way; see `twinlog lanes {link}`"),
        _ => format!("{what} still on the way, and will go on; see `twinlog lanes {link}` and `twinlog status {link}`"),
    }
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Line {
    Change {
        link: String,
        progress: ChangeProgress,
        lanes_before: u32,
        lanes_after: u32,
        moving: u64,
    },
    Move {
        link: String,
        #[serde(flatten)]
        one: LaneMove,
    },
}

impl Answer for LanesChange {
    const SCHEMA: &'static str = "twinlog.lanes-change/1";
    type Line = Line;

    fn table(&self) -> String {
        let mut text = String::new();
        if self.lanes_before != self.lanes_after {
            text.push_str(&format!("lanes of {}: {} > {}\n", self.link, self.lanes_before, self.lanes_after));
        }
        if !self.moves.is_empty() {
            text.push_str(&moves([(self.link.as_str(), self.moves.as_slice())].into_iter()));
        }
        text
    }

    fn lines(&self) -> Vec<Line> {
        let Self { link, progress, lanes_before, lanes_after, moves, moving } = self.clone();
        let moves = moves.into_iter().map(|one| Line::Move { link: self.link.clone(), one });
        std::iter::once(Line::Change { link, progress, lanes_before, lanes_after, moving }).chain(moves).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Format, render};

    fn change(progress: ChangeProgress, moving: u64) -> LanesChange {
        let one = LaneMove { topic: "orders".to_owned(), partition: 3, from: 1, to: 0, bytes: Some(1_000) };
        let moves = vec![one];
        LanesChange { link: "dr".to_owned(), progress, lanes_before: 2, lanes_after: 1, moves, moving }
    }

    #[test]
    fn the_plan_shows_lanes_and_moves() {
        let text = render(&change(ChangeProgress::Planned, 0), Format::Table).expect("renders");
        let wanted = "\
lanes of dr: 2 > 1
LINK  TOPIC   PARTITION  FROM  TO  BYTES
dr    orders          3     1   0  1,000
";
        assert_eq!(text, wanted);
        let text = render(&change(ChangeProgress::UnderWay, 1), Format::Jsonl).expect("renders");
        let first = concat!(
            r#"{"schema":"twinlog.lanes-change/1","kind":"change","link":"dr","progress":"under-way","#,
            r#""lanes_before":2,"lanes_after":1,"moving":1}"#
        );
        assert_eq!(text.lines().next(), Some(first));
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn what_is_still_on_its_way_ends_with_1_if_it_was_waited_for() {
        let waited = |moving, nobody| {
            let progress = if moving == 0 { ChangeProgress::Done } else { ChangeProgress::UnderWay };
            Waited { change: change(progress, moving), nobody }
        };
        let exit = |waited: &Waited, wait| doing::exit(waited.change.progress, waited.nobody, wait);
        let (minute, none) = (Duration::from_secs(60), Duration::ZERO);
        assert_eq!(exit(&waited(2, false), minute), Exit::Difference);
        for (waited, wait) in [(waited(0, false), minute), (waited(2, true), minute), (waited(2, false), none)] {
            assert_eq!(exit(&waited, wait), Exit::Fine);
        }
        let said = words(&waited(1, true), minute);
        assert_eq!(said, "written, and 1 partition is to move: no instance of the link runs; start it: twinlog run dr");
        assert!(words(&waited(2, false), minute).starts_with("2 partitions are still on the way"), "{said}");
    }
}
