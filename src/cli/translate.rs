//! `twinlog translate`: an offset on one side, the right offset on the other.

use std::str::FromStr;

use clap::Args;
use comfy_table::CellAlignment::Left;
use twinlog_core::report::{Failures, Side, TranslateAnswer, Translation};
use twinlog_core::topics::is_legal_topic_name;

use super::output::{self, Answer};
use super::{Context, Exit};
use crate::engine::{self, Question};

/// The target offset of a source offset, or back
#[derive(Debug, Args)]
#[command(after_help = "\
Reads the map on the target alone: it answers with the source gone, and with no `twinlog run` up.

Answers:
  exact       the same record is at this offset
  next-range  the offset has no record on the other side; the next record that has one is at this offset
  at-end      everything before the offset is copied; the next record to come gets this offset
  clamped     the record is no longer there; the other side's log begins at this offset
  not-yet     not copied so far (ends with 1)

Examples:
  twinlog translate orders:3@1234
  twinlog translate orders:3@1198 --reverse
  twinlog translate --link dr orders:0@0 -o json")]
pub(super) struct TranslateArguments {
    /// Topic, partition and offset, on the source
    #[arg(value_name = "TOPIC:PARTITION@OFFSET")]
    place: OffsetPlace,

    /// The topic and offset are the target's: answer with the source's
    #[arg(long)]
    reverse: bool,

    /// Link whose map is asked [default: the only one]
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct OffsetPlace {
    topic: String,
    partition: i32,
    offset: i64,
}

impl FromStr for OffsetPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(topic, rest)| Some((topic, rest.split_once('@')?)));
        let Some((topic, (partition, offset))) = parts else {
            return Err("write TOPIC:PARTITION@OFFSET, as in orders:3@1234".into());
        };
        if !is_legal_topic_name(topic) {
            return Err(format!("`{topic}` is no topic name"));
        }
        let partition = partition.parse().ok().filter(|partition| *partition >= 0);
        let offset = offset.parse().ok().filter(|offset| *offset >= 0);
        match (partition, offset) {
            (Some(partition), Some(offset)) => Ok(Self { topic: topic.to_owned(), partition, offset }),
            (None, _) => Err("the partition is a number from 0 on".into()),
            (_, None) => Err("the offset is a number from 0 on".into()),
        }
    }
}

pub(super) async fn run(context: &Context, arguments: &TranslateArguments) -> Result<Exit, Failures> {
    let link = context.link(arguments.link.as_deref())?;
    let OffsetPlace { topic, partition, offset } = arguments.place.clone();
    let side = if arguments.reverse { Side::Target } else { Side::Source };
    let answer = engine::translate(link, &Question { side, topic, partition, offset }).await?;
    output::print(&answer, context.format)?;
    Ok(exit(&answer))
}

fn exit(answer: &TranslateAnswer) -> Exit {
    match answer.answer {
        Translation::NotYet { .. } => Exit::Difference,
        _ => Exit::Fine,
    }
}

impl Answer for TranslateAnswer {
    const SCHEMA: &'static str = "twinlog.translate/1";
    type Line = Self;

    fn table(&self) -> String {
        let asked = format!("{}:{}@{}", self.asked_topic, self.partition, self.asked_offset);
        let found = |offset: i64| format!("{}:{}@{offset}", self.topic, self.partition);
        let (found, answer) = match self.answer {
            Translation::Exact { offset } => (found(offset), "exact".to_owned()),
            Translation::NextRange { offset } => (found(offset), "next-range".to_owned()),
            Translation::AtEnd { offset } => (found(offset), "at-end".to_owned()),
            Translation::Clamped { offset } => (found(offset), "clamped".to_owned()),
            Translation::NotYet { synced } => ("-".to_owned(), format!("not-yet, copied up to {synced}")),
        };
        let (source, target) = match self.asked_side {
            Side::Source => (asked, found),
            Side::Target => (found, asked),
        };
        let columns = [("LINK", Left), ("SOURCE", Left), ("TARGET", Left), ("ANSWER", Left)];
        output::table(&columns, [vec![self.link.clone(), source, target, answer]])
    }

    fn lines(&self) -> Vec<Self> {
        vec![self.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Format, render};

    fn answer(asked_side: Side, answer: Translation) -> TranslateAnswer {
        TranslateAnswer {
            link: "dr".to_owned(),
            asked_side,
            asked_topic: "orders".to_owned(),
            partition: 3,
            asked_offset: 1234,
            topic: "orders.replica".to_owned(),
            answer,
        }
    }

    #[test]
    fn places_are_read() {
        let place = |text: &str| text.parse::<OffsetPlace>();
        let wanted = OffsetPlace { topic: "a.b-c_d".to_owned(), partition: 3, offset: 1234 };
        assert_eq!(place("a.b-c_d:3@1234"), Ok(wanted));
        for text in
            ["", "orders", "orders:3", "orders@3", "orders:x@1", "orders:-1@1", "orders:1@-1", ":1@1", "a b:1@1"]
        {
            place(text).expect_err(text);
        }
    }

    #[test]
    fn the_table_has_source_and_target_in_their_columns_both_ways() {
        let show = |side, translation| render(&answer(side, translation), Format::Table).expect("renders");
        assert_eq!(
            show(Side::Source, Translation::Exact { offset: 1198 }),
            "LINK  SOURCE         TARGET                 ANSWER\ndr    orders:3@1234  orders.replica:3@1198  exact\n"
        );
        assert_eq!(
            show(Side::Target, Translation::Clamped { offset: 9 }),
            "LINK  SOURCE              TARGET         ANSWER\ndr    orders.replica:3@9  orders:3@1234  clamped\n"
        );
        assert!(show(Side::Source, Translation::NotYet { synced: 7 }).ends_with("-       not-yet, copied up to 7\n"));
    }

    #[test]
    fn an_answer_that_is_not_there_yet_ends_with_1() {
        assert_eq!(exit(&answer(Side::Source, Translation::NotYet { synced: 7 })), Exit::Difference);
        for translation in [
            Translation::Exact { offset: 1 },
            Translation::NextRange { offset: 1 },
            Translation::AtEnd { offset: 1 },
            Translation::Clamped { offset: 1 },
        ] {
            assert_eq!(exit(&answer(Side::Source, translation)), Exit::Fine);
        }
    }

    #[test]
    fn json_names_the_kind_of_answer() {
        let text = render(&answer(Side::Source, Translation::NextRange { offset: 5 }), Format::Jsonl).expect("renders");
        let wanted = concat!(
            r#"{"schema":"twinlog.translate/1","link":"dr","asked_side":"source","asked_topic":"orders","#,
            r#""partition":3,"asked_offset":1234,"#,
            r#""topic":"orders.replica","answer":"next-range","offset":5}"#
        );
        assert_eq!(text.trim_end(), wanted);
    }
}
