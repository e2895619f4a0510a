//! What `run` shows while it works: a live table on a terminal, else one line for each change of state.
//!
//! Both are drawn from snapshots alone. Snapshots hold totals; rates are the difference of two of them.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comfy_table::CellAlignment::{Left, Right};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;
use twinlog_core::report::Failure;
use twinlog_core::status::{LinkStatus, PartitionStatus, Standing};

use super::numbers::{megabytes, runs, thousands};
use super::output::{self, Format, or_dash};

/// Below a second the rates jump, and nobody reads faster.
const REDRAW_INTERVAL: Duration = Duration::from_secs(1);
/// Topics shown at once; a screen has 24 lines.
const TOPICS_SHOWN_MAX: usize = 20;
const CHANGE_SCHEMA: &str = "twinlog.change/1";

#[derive(Debug)]
pub(super) enum Display {
    Live { live: Live, seen: Seen },
    Lines { seen: Seen, format: Format },
}

impl Display {
    pub(super) fn new(format: Format) -> Self {
        if format == Format::Table && std::io::stderr().is_terminal() {
            return Self::Live { live: Live::default(), seen: Seen::default() };
        }
        Self::Lines { seen: Seen::default(), format }
    }

    /// Whether it shows rates.
    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Live { .. })
    }

    /// Shows a snapshot.
    pub(super) fn show(&mut self, links: &[LinkStatus]) -> Result<(), Failure> {
        match self {
            Self::Live { live, seen } => {
                // A row has no room for why a partition stands still, and that must not be missed.
                for change in seen.changes(links).iter().filter(|change| change.standing == Standing::Halted) {
                    live.say(&change.words());
                }
                live.draw(links);
            }
            Self::Lines { seen, format } => {
                for change in seen.changes(links) {
                    match format {
                        Format::Jsonl => output::print_text(&(output::json(CHANGE_SCHEMA, &change)? + "\n"))?,
                        Format::Table | Format::Json => output::say(&change.words()),
                    }
                }
            }
        }
        Ok(())
    }

    /// A line of words, above the table where there is one.
    pub(super) fn say(&self, words: &str) {
        match self {
            Self::Live { live, .. } => live.say(words),
            Self::Lines { .. } => output::say(words),
        }
    }

    /// Takes the table off the screen; the end is told in plain words.
    pub(super) fn finish(&self) {
        if let Self::Live { live, .. } = self {
            live.lines.iter().for_each(ProgressBar::finish_and_clear);
        }
    }
}

/// The states that were shown last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    states: BTreeMap<(String, String, i32), (Standing, String)>,
    /// The rows of each link: what is the same row has not changed.
    rows: Vec<Vec<Arc<PartitionStatus>>>,
}

impl Seen {
    /// What is new since the last snapshot. Partitions of a topic that changed alike come as one.
    fn changes(&mut self, links: &[LinkStatus]) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        let none = Vec::new();
        let before = self.rows.iter().chain(std::iter::repeat(&none));
        let rows = links.iter().zip(before).flat_map(|(link, before)| {
            let before = before.iter().map(Some).chain(std::iter::repeat(None));
            link.partitions.iter().zip(before).map(move |(row, before)| (link, row, before))
        });
        for (link, partition, before) in rows {
            if before.is_some_and(|before| Arc::ptr_eq(before, partition)) {
                continue;
            }
            let key = (link.link.clone(), partition.topic.clone(), partition.partition);
            let state = (partition.standing, partition.state.clone());
            let shown = self.states.get(&key);
            if shown == Some(&state) || shown.is_some_and(|shown| is_no_news(shown, &state)) {
                continue;
            }
            self.states.insert(key, state);
            match changes.iter_mut().rev().find(|change| change.is_alike(link, partition)) {
                Some(change) => change.partitions.push(partition.partition),
                None => changes.push(Change {
                    link: link.link.clone(),
                    topic: partition.topic.clone(),
                    partitions: vec![partition.partition],
                    standing: partition.standing,
                    state: partition.state.clone(),
                    detail: partition.detail.clone(),
                }),
            }
        }
        self.rows = links.iter().map(|link| link.partitions.clone()).collect();
        changes
    }
}

/// Under light load a partition catches up several times a second, and waits for others' transactions in between: each
/// is told once, until something else happens.
fn is_no_news((shown, shown_state): &(Standing, String), (standing, state): &(Standing, String)) -> bool {
    let goes_on = matches!(shown, Standing::CaughtUp | Standing::Copying) && *standing == Standing::Copying;
    let begins_to_wait = shown_state == Standing::Copying.name() && state != Standing::Copying.name();
    goes_on && !begins_to_wait
}

/// Some partitions of a topic that went into a state together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Change {
    link: String,
    topic: String,
    partitions: Vec<i32>,
    standing: Standing,
    state: String,
    detail: Option<String>,
}

impl Change {
    fn is_alike(&self, link: &LinkStatus, partition: &PartitionStatus) -> bool {
        self.link == link.link
            && self.topic == partition.topic
            && self.standing == partition.standing
            && self.state == partition.state
            && self.detail == partition.detail
    }

    fn words(&self) -> String {
        let mut words = format!("{} {}:{} {}", self.link, self.topic, runs(&self.partitions), self.state);
        if self.state != self.standing.name() {
            words.push_str(&format!(" ({})", self.standing.name()));
        }
        if let Some(detail) = &self.detail {
            words.push_str(": ");
            words.push_str(detail);
        }
        words
    }
}

/// The table on a terminal.
#[derive(Debug, Default)]
pub(super) struct Live {
    screen: MultiProgress,
    lines: Vec<ProgressBar>,
    last: Option<(Instant, Vec<LinkStatus>)>,
}

impl Live {
    fn say(&self, words: &str) {
        self.screen.suspend(|| output::say(words));
    }

    fn draw(&mut self, links: &[LinkStatus]) {
        let now = Instant::now();
        let (elapsed, before) = match &self.last {
            Some((at, before)) => (now.duration_since(*at), before.as_slice()),
            None => (Duration::ZERO, links),
        };
        if self.last.is_some() && elapsed < REDRAW_INTERVAL {
            return;
        }
        let text = live_table(&topic_rows(before, links, elapsed));
        let wanted: Vec<&str> = text.lines().collect();
        while self.lines.len() < wanted.len() {
            let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            self.lines.push(self.screen.add(ProgressBar::new(0).with_style(style)));
        }
        for (index, line) in self.lines.iter().enumerate() {
            line.set_message(wanted.get(index).copied().unwrap_or_default().to_owned());
        }
        self.last = Some((now, links.to_vec()));
    }
}

/// A topic of a link, all its partitions together.
#[derive(Clone, Debug, PartialEq)]
struct TopicRow {
    link: String,
    topic: String,
    partitions: usize,
    records_per_s: f64,
    bytes_per_s: f64,
    lag: Option<u64>,
    standing: Standing,
    state: String,
}

fn topic_rows(before: &[LinkStatus], now: &[LinkStatus], elapsed: Duration) -> Vec<TopicRow> {
    let then = totals(before);
    let mut rows = Vec::new();
    for ((link, topic), current) in by_topic(now) {
        let (records, bytes) = total(&current);
        let (records_then, bytes_then) = then.get(&(link, topic)).copied().unwrap_or((0, 0));
        let rate = |now: u64, then: u64| match elapsed {
            Duration::ZERO => 0.0,
            // A partition that was given away takes its totals with it: never a negative rate.
            elapsed => now.saturating_sub(then) as f64 / elapsed.as_secs_f64(),
        };
        let lags: Vec<u64> = current.iter().filter_map(|partition| partition.lag()).collect();
        let worst = current.iter().max_by_key(|partition| partition.standing);
        let Some(worst) = worst else { continue };
        let alike = current.iter().filter(|partition| partition.state == worst.state).count();
        let state = if alike == current.len() {
            worst.state.clone()
        } else {
            format!("{alike} of {} {}", current.len(), worst.state)
        };
        rows.push(TopicRow {
            link: link.to_owned(),
            topic: topic.to_owned(),
            partitions: current.len(),
            records_per_s: rate(records, records_then),
            bytes_per_s: rate(bytes, bytes_then),
            lag: (!lags.is_empty()).then(|| lags.iter().sum()),
            standing: worst.standing,
            state,
        });
    }
    // What wants to be seen comes first: a screen is short.
    rows.sort_by(|a, b| b.standing.cmp(&a.standing).then(b.lag.cmp(&a.lag)));
    rows
}

type Topic<'a> = (&'a str, &'a str);

fn by_topic(links: &[LinkStatus]) -> BTreeMap<Topic<'_>, Vec<&PartitionStatus>> {
    let mut topics: BTreeMap<Topic<'_>, Vec<&PartitionStatus>> = BTreeMap::new();
    for link in links {
        for partition in &link.partitions {
            topics.entry((&link.link, &partition.topic)).or_default().push(partition);
        }
    }
    topics
}

fn totals(links: &[LinkStatus]) -> BTreeMap<Topic<'_>, (u64, u64)> {
    by_topic(links).into_iter().map(|(topic, partitions)| (topic, total(&partitions))).collect()
}

fn total(partitions: &[&PartitionStatus]) -> (u64, u64) {
    let sum = |of: fn(&PartitionStatus) -> u64| partitions.iter().map(|partition| of(partition)).sum();
    (sum(|partition| partition.records), sum(|partition| partition.bytes))
}

fn live_table(rows: &[TopicRow]) -> String {
    let columns = [
        ("LINK", Left),
        ("TOPIC", Left),
        ("PARTITIONS", Right),
        ("RECORDS/S", Right),
        ("MB/S", Right),
        ("LAG", Right),
        ("STATE", Left),
    ];
    let row = |row: &TopicRow| {
        vec![
            row.link.clone(),
            row.topic.clone(),
            row.partitions.to_string(),
            // Rates are whole numbers to a reader.
            thousands(row.records_per_s.round() as u64),
            megabytes(row.bytes_per_s),
            or_dash(row.lag.map(thousands)),
            row.state.clone(),
        ]
    };
    let mut text = output::table(&columns, rows.iter().take(TOPICS_SHOWN_MAX).map(row));
    if let Some(more) = rows.len().checked_sub(TOPICS_SHOWN_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("and {more} more topics\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::partition;

    fn link(partitions: Vec<PartitionStatus>) -> Vec<LinkStatus> {
        let (link, source, target) = ("dr".to_owned(), "a".to_owned(), "b".to_owned());
        let partitions = partitions.into_iter().map(Arc::new).collect();
        vec![LinkStatus { link, source, target, lanes: 4, instance: None, partitions }]
    }

    fn halted(topic: &str, number: i32) -> PartitionStatus {
        PartitionStatus {
            standing: Standing::Halted,
            state: "diverged".to_owned(),
            detail: Some("expected 5, found 7".to_owned()),
            synced: Some(100),
            ..partition(topic, number)
        }
    }

    fn words(changes: &[Change]) -> Vec<String> {
        changes.iter().map(Change::words).collect()
    }

    #[test]
    fn a_state_is_told_once_and_alike_partitions_together() {
        let mut seen = Seen::default();
        let first = link(vec![partition("orders", 0), partition("orders", 1), partition("payments", 0)]);
        assert_eq!(words(&seen.changes(&first)), ["dr orders:0-1 copying", "dr payments:0 copying"]);
        assert_eq!(words(&seen.changes(&first)), [] as [&str; 0]);
        let second = link(vec![partition("orders", 0), halted("orders", 1), partition("payments", 0)]);
        assert_eq!(words(&seen.changes(&second)), ["dr orders:1 diverged (halted): expected 5, found 7"]);
    }

    #[test]
    fn progress_alone_is_no_change() {
        let mut seen = Seen::default();
        assert_eq!(seen.changes(&link(vec![partition("orders", 0)])).len(), 1);
        let moved = PartitionStatus { records: 10_000, synced: Some(9_000), ..partition("orders", 0) };
        assert_eq!(seen.changes(&link(vec![moved])), []);
    }

    #[test]
    fn catching_up_is_told_once_until_something_else_happens() {
        let mut seen = Seen::default();
        let standing = |standing, state: &str| {
            link(vec![PartitionStatus { standing, state: state.into(), ..partition("orders", 0) }])
        };
        let told: Vec<usize> = [
            standing(Standing::Copying, "copying"),
            standing(Standing::CaughtUp, "caught-up"),
            standing(Standing::Copying, "copying"),
            standing(Standing::CaughtUp, "caught-up"),
            standing(Standing::Waiting, "retrying"),
            standing(Standing::Copying, "copying"),
        ]
        .iter()
        .map(|links| seen.changes(links).len())
        .collect();
        assert_eq!(told, [1, 1, 0, 0, 1, 1]);
    }

    #[test]
    fn waiting_for_transactions_is_told_once_also_to_those_who_saw_it_copying() {
        let mut seen = Seen::default();
        let states = ["copying", "waiting-for-transactions", "copying", "waiting-for-transactions"];
        let told: Vec<usize> = states
            .iter()
            .map(|state| link(vec![PartitionStatus { state: state.to_string(), ..partition("orders", 0) }]))
            .map(|links| seen.changes(&links).len())
            .collect();
        assert_eq!(told, [1, 1, 0, 0]);
    }

    #[test]
    fn rates_come_from_two_snapshots() {
        let then = link(vec![PartitionStatus { records: 100, bytes: 1_000, ..partition("orders", 0) }]);
        let now = link(vec![
            PartitionStatus { records: 2_100, bytes: 3_001_000, ..partition("orders", 0) },
            PartitionStatus { records: 400, ..partition("orders", 1) },
        ]);
        let rows = topic_rows(&then, &now, Duration::from_secs(2));
        assert_eq!(rows[0].records_per_s, 1_200.0);
        assert_eq!(rows[0].bytes_per_s, 1_500_000.0);
        assert_eq!(rows[0].partitions, 2);
        // The very first picture has no rate yet, and a total that went down is no rate.
        assert_eq!(topic_rows(&now, &now, Duration::ZERO)[0].records_per_s, 0.0);
        assert_eq!(topic_rows(&now, &then, Duration::from_secs(1))[0].records_per_s, 0.0);
    }

    #[test]
    fn what_halted_comes_first_and_the_rest_is_counted() {
        let mut partitions: Vec<_> = (0..25).map(|number| partition(&format!("t{number:02}"), 0)).collect();
        // The smallest lag of all, so that it is the halt alone that brings it up.
        partitions.push(PartitionStatus { synced: Some(99), ..partition("z", 0) });
        partitions.push(halted("z", 1));
        let links = link(partitions);
        let text = live_table(&topic_rows(&links, &links, Duration::from_secs(1)));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "LINK  TOPIC  PARTITIONS  RECORDS/S  MB/S  LAG  STATE");
        assert_eq!(lines[1], "dr    z               2          0   0.0    1  1 of 2 diverged");
        assert_eq!(lines.len(), 22);
        assert_eq!(lines[21], "and 6 more topics");
    }

    #[test]
    fn a_change_as_json() {
        let change = &Seen::default().changes(&link(vec![halted("orders", 1)]))[0];
        let wanted = concat!(
            r#"{"schema":"twinlog.change/1","link":"dr","topic":"orders","partitions":[1],"standing":"halted","#,
            r#""state":"diverged","detail":"expected 5, found 7"}"#
        );
        assert_eq!(output::json(CHANGE_SCHEMA, change).expect("renders"), wanted);
    }
}
