//! `twinlog status`: where each partition of a link stands.

use std::sync::Arc;

use clap::Args;
use comfy_table::CellAlignment::{Left, Right};
use serde::Serialize;
use twinlog_core::report::{Failures, StatusReport};
use twinlog_core::status::{LinkStatus, PartitionStatus};
use twinlog_link::status::Seen;

use super::output::{self, Answer, or_dash};
use super::{Context, Exit};
use crate::engine;

/// Where each partition stands: positions, lag, state
#[derive(Debug, Args)]
#[command(after_help = "\
Reads both clusters; no `twinlog run` need be up.

Examples:
  twinlog status
  twinlog status dr -o json")]
pub(super) struct StatusArguments {
    /// Links to look at [default: all]
    #[arg(value_name = "LINK")]
    links: Vec<String>,
}

pub(super) async fn run(context: &Context, arguments: &StatusArguments) -> Result<Exit, Failures> {
    let mut links = Vec::new();
    for link in context.links(&arguments.links)? {
        let Seen { status, words } = engine::status(link).await?;
        words.iter().for_each(|words| output::say(words));
        links.push(status);
    }
    output::print(&StatusReport { links }, context.format)?;
    Ok(Exit::Fine)
}

#[derive(Serialize)]
pub(super) struct Line {
    link: String,
    #[serde(flatten)]
    partition: Arc<PartitionStatus>,
    lag: Option<u64>,
}

impl Answer for StatusReport {
    const SCHEMA: &'static str = "twinlog.status/1";
    type Line = Line;

    fn table(&self) -> String {
        let columns = [
            ("LINK", Left),
            ("TOPIC", Left),
            ("PARTITION", Right),
            ("LANE", Right),
            ("STATE", Left),
            ("SYNCED", Right),
            ("LAST-STABLE", Right),
            ("HIGH-WATERMARK", Right),
            ("LAG", Right),
            ("DETAIL", Left),
        ];
        output::table(&columns, self.links.iter().flat_map(rows))
    }

    fn lines(&self) -> Vec<Line> {
        let of_link = |link: &LinkStatus| {
            let name = link.link.clone();
            let line = move |partition: &Arc<PartitionStatus>| Line {
                link: name.clone(),
                partition: Arc::clone(partition),
                lag: partition.lag(),
            };
            link.partitions.iter().map(line).collect::<Vec<_>>()
        };
        self.links.iter().flat_map(of_link).collect()
    }
}

fn rows(link: &LinkStatus) -> Vec<Vec<String>> {
    let row = |partition: &Arc<PartitionStatus>| {
        let mut topic = partition.topic.clone();
        if partition.target_topic != partition.topic {
            topic = format!("{topic} > {}", partition.target_topic);
        }
        vec![
            link.link.clone(),
            topic,
            partition.partition.to_string(),
            partition.lane.to_string(),
            partition.state.clone(),
            or_dash(partition.synced),
            or_dash(partition.last_stable_offset),
            or_dash(partition.high_watermark),
            or_dash(partition.lag()),
            partition.detail.clone().unwrap_or_default(),
        ]
    };
    link.partitions.iter().map(row).collect()
}
