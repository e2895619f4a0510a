//! What verbs that change something have in common: what it is about, and whether and how long.

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use twinlog_core::report::{ChangeProgress, Failure, FailureKind};
use twinlog_core::topics::is_legal_topic_name;

use super::Exit;

#[derive(Debug, Args)]
pub(super) struct Doing {
    /// Do it; needed where there is no terminal
    #[arg(long)]
    pub(super) yes: bool,

    /// How long to wait until it is over; 0 for not at all
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = wait)]
    pub(super) wait: Duration,
}

impl Doing {
    /// Without a terminal nobody is asked: it must have been said that it is to be done. `what` needs it, and `words`
    /// are those to be typed again.
    pub(super) fn must_be_said(&self, what: &str, words: &str) -> Result<(), Failure> {
        if self.yes || std::io::stderr().is_terminal() {
            return Ok(());
        }
        let failure = Failure::new(FailureKind::Usage, format!("without a terminal {what} needs --yes"));
        Err(failure.advise(format!("{words} --yes")))
    }
}

/// The end of a verb that has waited for so long: what goes on was waited for in vain, if somebody is there to do it.
pub(super) fn exit(progress: ChangeProgress, nobody: bool, wait: Duration) -> Exit {
    match progress == ChangeProgress::Done || nobody || wait.is_zero() {
        true => Exit::Fine,
        false => Exit::Difference,
    }
}

/// A source topic, or one partition of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicPlace {
    pub(super) topic: String,
    pub(super) partition: Option<i32>,
}

impl FromStr for TopicPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, partition) = match text.split_once(':') {
            Some((topic, partition)) => {
                let number = partition.parse().ok().filter(|number: &i32| *number >= 0);
                (topic, Some(number.ok_or("the partition is a number from 0 on, as in orders:3")?))
            }
            None => (text, None),
        };
        match is_legal_topic_name(topic) {
            true => Ok(Self { topic: topic.to_owned(), partition }),
            false => Err(format!("`{topic}` is no topic name")),
        }
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { twinlog_config::duration(text) }
}

impl fmt::Display for TopicPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.topic)?;
        self.partition.map_or(Ok(()), |number| write!(f, ":{number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_partitions_are_read() {
        let place = |text: &str| text.parse::<TopicPlace>();
        assert_eq!(place("a.b"), Ok(TopicPlace { topic: "a.b".to_owned(), partition: None }));
        assert_eq!(place("a.b:3"), Ok(TopicPlace { topic: "a.b".to_owned(), partition: Some(3) }));
        for text in ["", ":3", "orders:", "orders:-1", "orders:x", "orders:3@4", "a b"] {
            place(text).expect_err(text);
        }
        assert_eq!(wait("0"), Ok(Duration::ZERO));
        assert_eq!(wait("2m"), Ok(Duration::from_secs(120)));
        wait("60").expect_err("no unit");
    }
}
