//! Runs all cases on a kind of peers and reports each.

use std::cell::Cell;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::task::LocalSet;

use crate::acts::{Kind, Round, Running};
use crate::cases::{CASES, Case};
use crate::peer::{Checks, Failed, Peer};
use crate::place::Place;

/// One release at a time: more brokers at once starve each other on a small machine.
static TURN: Mutex<()> = Mutex::new(());

/// Turns the check of this number round in every case: each case that has it must fail. Shows that the test can fail.
const FLIP: &str = "TWINLOG_FLIP";

/// Runs only cases whose name has this in it.
const ONLY: &str = "TWINLOG_CASE";

/// No case is that slow; a broker that hangs must not hang the test.
const CASE_WITHIN: Duration = Duration::from_secs(240);

struct Ended {
    case: &'static Case,
    /// What failed.
    end: Result<(), String>,
    /// How many checks were made.
    checks: usize,
    took: Duration,
}

/// Runs every case that can run on this kind, and panics with all that failed.
pub(crate) fn run(kind: &dyn Kind) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let flipped = std::env::var(FLIP).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{FLIP} is a number")));
    let (cases, not_run) = choose(kind);
    let started = Instant::now();
    let grounds = [Place::Calm, Place::Quick, Place::Three];
    let results: Vec<Ended> = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for ground in grounds {
            let cases: Vec<_> = cases.iter().copied().filter(|case| case.place.ground() == ground).collect();
            if !cases.is_empty() {
                threads.push(scope.spawn(move || on_ground(kind, ground, &cases, flipped)));
            }
        }
        let ended = threads.into_iter().map(|thread| thread.join());
        ended.flat_map(|ended| ended.unwrap_or_else(|error| std::panic::resume_unwind(error))).collect()
    });
    report(kind, &results, &not_run, started.elapsed(), flipped);
}

/// The cases that can run, and those that cannot with the reason.
fn choose(kind: &dyn Kind) -> (Vec<&'static Case>, Vec<String>) {
    let only = std::env::var(ONLY).ok();
    let mut cases = Vec::new();
    let mut not_run = Vec::new();
    for case in CASES {
        let mut needs = case.place.needs().iter().chain(case.needs);
        let reason = if only.as_ref().is_some_and(|only| !case.name.contains(only.as_str())) {
            Some(format!("{ONLY} is set"))
        } else if !case.on.contains(&kind.version()) {
            Some(format!("the row says nothing about {}", kind.version()))
        } else {
            needs.find_map(|need| kind.cannot(*need)).map(str::to_owned)
        };
        match reason {
            None => cases.push(case),
            Some(reason) => not_run.push(format!("{} ({}): {reason}", case.name, case.row)),
        }
    }
    (cases, not_run)
}

/// Runs the cases of all places that share a peer.
fn on_ground(kind: &dyn Kind, ground: Place, cases: &[&'static Case], flipped: Option<usize>) -> Vec<Ended> {
    let start = || match kind.start(ground) {
        Ok(running) => running,
        Err(error) => panic!("{} does not start for {ground:?}: {error}", kind.name()),
    };
    let mut running = start();
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    let mut results = Vec::new();
    for place in [Place::Calm, Place::Quick, Place::Restarted, Place::Killed, Place::Last, Place::Three] {
        let here: Vec<_> = cases.iter().copied().filter(|case| case.place == place).collect();
        if here.is_empty() {
            continue;
        }
        let tasks = LocalSet::new();
        if place != Place::Three {
            results.extend(tasks.block_on(&runtime, at_place(kind, place, &running, &here, flipped)));
            continue;
        }
        let mut is_whole = true;
        for case in here {
            if !is_whole {
                running = start();
            }
            let ended = tasks.block_on(&runtime, at_place(kind, place, &running, &[case], flipped));
            // A case that failed may have left brokers that are dead or held.
            is_whole = ended.iter().all(|ended| ended.end.is_ok());
            results.extend(ended);
        }
    }
    results
}

/// Runs these cases at the same time.
async fn at_place(
    kind: &dyn Kind,
    place: Place,
    running: &Running,
    cases: &[&'static Case],
    flipped: Option<usize>,
) -> Vec<Ended> {
    let nodes = Rc::new(running.nodes.clone());
    let round = Rc::new(Round::new(cases.len()));
    let mut tasks = Vec::new();
    for case in cases.iter().copied() {
        let checks = Rc::new(Checks { made: Cell::new(0), flipped });
        let shared = [Place::Restarted, Place::Killed].contains(&place).then(|| Rc::clone(&round));
        let peer = Peer::new(kind.version(), &nodes, &running.acts, shared, &checks);
        let round = Rc::clone(&round);
        tasks.push(tokio::task::spawn_local(async move {
            let started = Instant::now();
            // A task of its own, so that a panic is a failure of this case alone.
            let work = tokio::task::spawn_local(tokio::time::timeout(CASE_WITHIN, (case.run)(peer)));
            let end = match work.await {
                Ok(Ok(verdict)) => verdict.map_err(|Failed(text)| text),
                Ok(Err(_elapsed)) => Err(format!("it did not end within {CASE_WITHIN:?}")),
                Err(panic) => Err(format!("it panicked: {panic}")),
            };
            round.leave();
            let checks = checks.made.get();
            let end = match end {
                Ok(()) if checks == 0 => Err("it checked nothing".to_owned()),
                end => end,
            };
            Ended { case, end, checks, took: started.elapsed() }
        }));
    }
    round.lead(&running.acts, nodes.keys().next().copied().unwrap_or_default()).await;
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap_or_else(|error| panic!("a case's task: {error}")));
    }
    results
}

fn report(kind: &dyn Kind, results: &[Ended], not_run: &[String], took: Duration, flipped: Option<usize>) {
    let mut failed = String::new();
    let mut text = String::new();
    let mut count = 0;
    for Ended { case, end, checks, took } in results {
        let mark = match end {
            Ok(()) => format!("{checks} checks"),
            Err(_) => "FAILED".to_owned(),
        };
        text.push_str(&format!("  {:<4} {} ({:.1} s): {mark}\n", case.row, case.name, took.as_secs_f64()));
        // With a check turned round, a case that has that check must fail there, and at no other.
        let right = match flipped {
            None => end.is_ok(),
            Some(flipped) if *checks < flipped => end.is_ok(),
            Some(flipped) => *checks == flipped && end.as_ref().is_err_and(|why| why.contains("expected not")),
        };
        if !right {
            count += 1;
            let why = end.as_ref().err().map_or("a check turned round was not reported", String::as_str);
            failed.push_str(&format!("  {} ({}): {why}\n", case.name, case.row));
        }
    }
    for line in not_run {
        text.push_str(&format!("  not run: {line}\n"));
    }
    let head = format!(
        "conformance of {}: {} cases in {:.1} s, {count} failed, {} not run",
        kind.name(),
        results.len(),
        took.as_secs_f64(),
        not_run.len()
    );
    // To the terminal itself: cargo hides what a test that passes prints, and what was not run must be seen.
    drop(std::io::stderr().write_all(format!("{head}\n{text}").as_bytes()));
    assert!(count == 0, "{head}\n{failed}");
    assert!(!results.is_empty(), "{head}");
}
