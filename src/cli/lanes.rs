//! `twinlog lanes`: what is in each lane of a link, and changes of it.

mod change;

use clap::{Args, Subcommand};
use comfy_table::CellAlignment::{Left, Right};
use serde::Serialize;
use twinlog_core::report::{Failures, LaneMove, LaneReport, LanesReport, LinkLanes};
use twinlog_link::lanes::Seen;

use self::change::{MoveArguments, RebalanceArguments, ResizeArguments};
use super::numbers::thousands;
use super::output::{self, Answer, or_dash};
use super::{Context, Exit};
use crate::engine;

/// Which partitions are copied together; moves them, changes the number of lanes
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
A lane is a share of a link's partitions: one instance has it, copies all that is in it on one thread, and hands it over
as a whole. Shown is what is in each lane, who has it, and what is on its way to another one. Reads the target alone; no
`twinlog run` need be up.

Examples:
  twinlog lanes
  twinlog lanes dr -o json
  twinlog lanes move dr orders:3 --to 1
  twinlog lanes rebalance dr
  twinlog lanes resize dr 8")]
pub(super) struct LanesArguments {
    #[command(subcommand)]
    verb: Option<LanesVerb>,

    /// Links to look at [default: all]
    #[arg(value_name = "LINK")]
    links: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum LanesVerb {
    Show(ShowArguments),
    Move(MoveArguments),
    Rebalance(RebalanceArguments),
    Resize(ResizeArguments),
}

/// What is in each lane, who has it, and what moves
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twinlog lanes show
  twinlog lanes show dr -o jsonl")]
struct ShowArguments {
    /// Links to look at [default: all]
    #[arg(value_name = "LINK")]
    links: Vec<String>,
}

pub(super) async fn run(context: &Context, arguments: &LanesArguments) -> Result<Exit, Failures> {
    match &arguments.verb {
        None => show(context, &arguments.links).await,
        Some(LanesVerb::Show(show_arguments)) => show(context, &show_arguments.links).await,
        Some(LanesVerb::Move(arguments)) => change::run(context, arguments).await,
        Some(LanesVerb::Rebalance(arguments)) => change::run(context, arguments).await,
        Some(LanesVerb::Resize(arguments)) => change::run(context, arguments).await,
    }
}

async fn show(context: &Context, links: &[String]) -> Result<Exit, Failures> {
    let mut report = LanesReport { links: Vec::new() };
    for link in context.links(links)? {
        let Seen { lanes, words } = engine::lanes(link).await?;
        words.iter().for_each(|words| output::say(words));
        report.links.push(lanes);
    }
    output::print(&report, context.format)?;
    Ok(Exit::Fine)
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Line {
    Lane {
        link: String,
        #[serde(flatten)]
        lane: LaneReport,
    },
    Move {
        link: String,
        #[serde(flatten)]
        one: LaneMove,
    },
}

impl Answer for LanesReport {
    const SCHEMA: &'static str = "twinlog.lanes/1";
    type Line = Line;

    fn table(&self) -> String {
        let columns = [
            ("LINK", Left),
            ("LANE", Right),
            ("PARTITIONS", Right),
            ("COMING", Right),
            ("GOING", Right),
            ("BYTES", Right),
            ("OWNER", Left),
            ("STATE", Left),
        ];
        let mut text = output::table(&columns, self.links.iter().flat_map(rows));
        if self.links.iter().any(|link| !link.moves.is_empty()) {
            text.push('\n');
            text.push_str(&moves(self.links.iter().map(|link| (link.link.as_str(), link.moves.as_slice()))));
        }
        text
    }

    fn lines(&self) -> Vec<Line> {
        let of_link = |LinkLanes { link, lanes, moves, .. }: &LinkLanes| {
            let lanes = lanes.iter().map(|lane| Line::Lane { link: link.clone(), lane: lane.clone() });
            let moves = moves.iter().map(|one| Line::Move { link: link.clone(), one: one.clone() });
            lanes.chain(moves).collect::<Vec<_>>()
        };
        self.links.iter().flat_map(of_link).collect()
    }
}

fn rows(link: &LinkLanes) -> Vec<Vec<String>> {
    let row = |lane: &LaneReport| {
        vec![
            link.link.clone(),
            lane.lane.to_string(),
            lane.partitions.to_string(),
            lane.coming.to_string(),
            lane.going.to_string(),
            or_dash(lane.bytes.map(thousands)),
            or_dash(lane.owner.clone()),
            if lane.closing { "closing" } else { "open" }.to_owned(),
        ]
    };
    link.lanes.iter().map(row).collect()
}

/// Partitions on their way, of each link.
fn moves<'a>(links: impl Iterator<Item = (&'a str, &'a [LaneMove])>) -> String {
    let columns =
        [("LINK", Left), ("TOPIC", Left), ("PARTITION", Right), ("FROM", Right), ("TO", Right), ("BYTES", Right)];
    let row = |link: &str, one: &LaneMove| {
        vec![
            link.to_owned(),
            one.topic.clone(),
            one.partition.to_string(),
            one.from.to_string(),
            one.to.to_string(),
            or_dash(one.bytes.map(thousands)),
        ]
    };
    output::table(&columns, links.flat_map(|(link, moves)| moves.iter().map(move |one| row(link, one))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Format, render};

    fn report() -> LanesReport {
        let lane = |lane, partitions, coming, going| LaneReport {
            lane,
            partitions,
            coming,
            going,
            bytes: Some(1_200_000),
            owner: Some("twinlog at 10.0.0.1".to_owned()),
            closing: false,
        };
        let closing = LaneReport { bytes: None, owner: None, closing: true, ..lane(1, 0, 0, 1) };
        let one = LaneMove { topic: "orders".to_owned(), partition: 3, from: 1, to: 0, bytes: Some(1_000) };
        let (link, lanes) = ("dr".to_owned(), vec![lane(0, 12, 1, 0), closing]);
        LanesReport { links: vec![LinkLanes { link, wanted: 1, lanes, moves: vec![one] }] }
    }

    #[test]
    fn lanes_come_first_and_moves_below() {
        let text = render(&report(), Format::Table).expect("renders");
        let wanted = "\
LINK  LANE  PARTITIONS  COMING  GOING      BYTES  OWNER                STATE
dr       0          12       1      0  1,200,000  twinlog at 10.0.0.1  open
dr       1           0       0      1          -  -                    closing

LINK  TOPIC   PARTITION  FROM  TO  BYTES
dr    orders          3     1   0  1,000
";
        assert_eq!(text, wanted);
        let mut still = report();
        still.links[0].moves.clear();
        assert!(!render(&still, Format::Table).expect("renders").contains("TOPIC"));
    }

    #[test]
    fn jsonl_tells_lanes_from_moves() {
        let text = render(&report(), Format::Jsonl).expect("renders");
        let lines: Vec<&str> = text.lines().collect();
        let lane = concat!(
            r#"{"schema":"twinlog.lanes/1","kind":"lane","link":"dr","lane":1,"partitions":0,"coming":0,"going":1,"#,
            r#""bytes":null,"owner":null,"closing":true}"#
        );
        let one = concat!(
            r#"{"schema":"twinlog.lanes/1","kind":"move","link":"dr","topic":"orders","partition":3,"from":1,"to":0,"#,
            r#""bytes":1000}"#
        );
        assert_eq!(lines[1..], [lane, one]);
    }
}
