//! How long partitions stand still when an instance goes: killed with -9, and told to end.
//!
//! `cargo bench --bench takeover` starts two clusters of one broker and two instances of one link that share its lanes
//! under a steady load, ends one of them, and watches the ends of all mirrors. The figure is the longest time for which
//! an end did not move, for partitions that the ended instance had and for those that it had not.
//!
//! - `TWINLOG_BENCH_ROUNDS`: how often each way, 5 unless told.
#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark that cannot be run says why and stops")]

mod ends;
mod instances;

use std::fmt::Write as _;
use std::time::Duration;

use ends::Stalls;
use instances::{Instances, Link};

/// The members' session time-out.
const SESSION: Duration = Duration::from_secs(6);
/// A crash should cost no more than this on top.
const MARGIN: Duration = Duration::from_secs(2);
const PARTITIONS: i32 = 16;

/// How an instance ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    Told,
}

fn main() {
    let rounds = match std::env::var("TWINLOG_BENCH_ROUNDS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("TWINLOG_BENCH_ROUNDS={text}: not a number")),
        Err(_) => 5,
    };
    let link = Link::start();
    let mut instances = Instances::start(&link);
    let mut rows = Vec::new();
    for end in [End::Killed, End::Told] {
        let mut stalls = Vec::new();
        for round in 1..=rounds {
            let stall = instances.lose_one(&link, end);
            eprintln!("{end:?} {round}/{rounds}: {stall}");
            stalls.push(stall);
        }
        rows.push((end, stalls));
    }
    print!("{}", report(&rows));
}

/// The table, as Markdown.
fn report(rows: &[(End, Vec<Stalls>)]) -> String {
    let mut text = format!(
        "session time-out {} s; a crash should cost at most {} s\n\n\
         | an instance is | rounds | its partitions stood still, s: min, median, max | \
         the others, s: min, median, max |\n\
         |---|---|---|---|\n",
        SESSION.as_secs(),
        (SESSION + MARGIN).as_secs(),
    );
    for (end, stalls) in rows {
        let what = match end {
            End::Killed => "killed with -9",
            End::Told => "told to end",
        };
        let (moved, stayed) = (stalls.iter().map(|stall| stall.moved), stalls.iter().map(|stall| stall.stayed));
        let (moved, stayed) = (spread(moved.collect()), spread(stayed.collect()));
        writeln!(text, "| {what} | {} | {moved} | {stayed} |", stalls.len()).expect("a string takes what is written");
    }
    text
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |index: usize| times.get(index).map_or(f64::NAN, Duration::as_secs_f64);
    format!("{:.2}, {:.2}, {:.2}", at(0), at(times.len() / 2), at(times.len().saturating_sub(1)))
}
