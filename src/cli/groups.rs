//! `twinlog groups`: where each consumer group stands on the target.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use comfy_table::CellAlignment::{Left, Right};
use twinlog_core::report::{Failures, GroupRow, GroupsReport};
use twinlog_link::groups::look::Positions;

use super::output::{self, Answer, or_dash};
use super::{Context, Exit};
use crate::engine;

/// Where each consumer group stands on the target, and why not where it should
#[derive(Debug, Args)]
#[command(after_help = "\
While a link runs, the positions that groups commit on the source are brought to the target, as soon as the records
before them are there. A group that somebody uses on the target is `taken-over` and left alone, until it is asked for
by --bring-again: then its positions there are replaced by those of the source.
Reads both clusters; no `twinlog run` need be up.

Examples:
  twinlog groups
  twinlog groups dr --group shop -o json
  twinlog groups dr --group shop --bring-again --yes")]
pub(super) struct GroupsArguments {
    /// Links to look at [default: all]
    #[arg(value_name = "LINK")]
    links: Vec<String>,

    /// Groups to look at [default: all]
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,

    /// Bring the positions of these groups again, though they were used on the target
    #[arg(long, requires = "groups")]
    bring_again: bool,

    /// Do it; without this it is only said what would be done
    #[arg(long, requires = "bring_again")]
    yes: bool,
}

pub(super) async fn run(context: &Context, arguments: &GroupsArguments) -> Result<Exit, Failures> {
    let mut positions = Vec::new();
    for link in context.links(&arguments.links)? {
        if arguments.bring_again && arguments.yes {
            for group in &arguments.groups {
                engine::bring_group_again(link, group).await?;
                output::say(&format!("link {}: the positions of group {group} are brought again", link.name));
            }
        }
        let Positions { rows, words } = engine::groups(link, &arguments.groups).await?;
        words.iter().for_each(|words| output::say(words));
        positions.extend(rows);
    }
    output::print(&GroupsReport { positions }, context.format)?;
    if arguments.bring_again && !arguments.yes {
        output::say("nothing was changed; with --yes what these groups have on the target is replaced");
    }
    Ok(Exit::Fine)
}

impl Answer for GroupsReport {
    const SCHEMA: &'static str = "twinlog.groups/1";
    type Line = GroupRow;

    fn table(&self) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.table_at(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn lines(&self) -> Vec<GroupRow> {
        self.positions.clone()
    }
}

trait Table {
    /// The table as of this time, in ms since 1970.
    fn table_at(&self, now_ms: i64) -> String;
}

impl Table for GroupsReport {
    fn table_at(&self, now_ms: i64) -> String {
        let columns = [
            ("LINK", Left),
            ("GROUP", Left),
            ("TOPIC", Left),
            ("PARTITION", Right),
            ("SOURCE", Right),
            ("TRANSLATED", Right),
            ("TARGET", Right),
            ("STATE", Left),
            ("WRITTEN", Right),
            ("DETAIL", Left),
        ];
        let row = |row: &GroupRow| {
            let mut topic = row.topic.clone();
            if row.target_topic != row.topic {
                topic = format!("{topic} > {}", row.target_topic);
            }
            vec![
                row.link.clone(),
                row.group.clone(),
                topic,
                row.partition.to_string(),
                or_dash(row.source),
                or_dash(row.translated),
                or_dash(row.target),
                row.state.name().to_owned(),
                or_dash(row.written_at_ms.map(|at| ago(now_ms - at))),
                row.detail.clone().unwrap_or_default(),
            ]
        };
        output::table(&columns, self.positions.iter().map(row))
    }
}

/// `7 s ago`, `3 min ago`, `2 h ago`.
fn ago(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlog_core::report::GroupState;

    #[test]
    fn each_position_is_a_line_with_why_it_is_not_there() {
        let row = |group: &str, source, target, state, detail: Option<&str>| GroupRow {
            link: "dr".to_owned(),
            group: group.to_owned(),
            topic: "orders".to_owned(),
            target_topic: "orders".to_owned(),
            partition: 2,
            source: Some(source),
            translated: target,
            target,
            state,
            written_at_ms: target.map(|_| 1_000),
            detail: detail.map(str::to_owned),
        };
        let positions = vec![
            row("audit", 120, Some(110), GroupState::Synced, None),
            row("shop", 140, None, GroupState::Waiting, Some("its records are on the target only up to 130")),
        ];
        let wanted = "\
LINK  GROUP  TOPIC   PARTITION  SOURCE  TRANSLATED  TARGET  STATE    WRITTEN  DETAIL
dr    audit  orders          2     120         110     110  synced   9 s ago
dr    shop   orders          2     140           -       -  waiting        -  \
its records are on the target only up to 130
";
        assert_eq!(GroupsReport { positions }.table_at(10_000), wanted);
        assert_eq!([ago(119_999), ago(120_000), ago(7_200_000)], ["119 s ago", "2 min ago", "2 h ago"]);
    }
}
