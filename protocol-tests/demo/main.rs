//! `twinlog demo` as a stranger runs it: from an empty folder, with nothing in the environment.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::time::Duration;

use serde_json::Value;
use twinlog_testcontainers::{Folder, Program};

/// A minute is what it promises on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(180);

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

fn demo(args: &[&str]) -> Ended {
    let folder = Folder::new("demo").expect("a folder");
    let all: Vec<&str> = ["demo"].iter().chain(args).copied().collect();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_twinlog"));
    let mut program = Program::start("demo", program, &all, &[], &folder).expect("twinlog starts");
    let code = program.wait(PATIENCE).expect("it is waited for").expect("the demo ends by itself");
    Ended { code, stdout: program.stdout(), stderr: program.stderr() }
}

/// Given a machine with nothing on it, when the demo runs, then the link was killed and came back, nothing is lost,
/// doubled or different, and an offset goes to the target and back.
#[test]
fn nothing_is_lost_though_the_link_is_killed() {
    let ended = demo(&["--records", "60000", "-o", "json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let number = |field: &str| report[field].as_u64().unwrap_or_else(|| panic!("{field} in {report}"));
    assert_eq!((number("lost"), number("doubled"), number("misplaced")), (0, 0, 0), "{report}");
    assert!(number("records") + number("aborted") >= 60_000, "{report}");
    assert!(number("aborted") > 0 && number("batches_equal") > 0, "{report}");
    assert_eq!(report["differences"], Value::Array(Vec::new()));
    let samples = report["samples"].as_array().expect("samples");
    let down = samples.iter().filter(|sample| sample["running"] == false);
    let (mut lagging, mut all) = (0, 0);
    for sample in down {
        all += 1;
        lagging += usize::from(sample["source"].as_u64() > sample["target"].as_u64());
    }
    assert!(all > 0 && lagging > 0, "the source went on without a link: {samples:?}");
    let [there, back] = report["translations"].as_array().expect("translations").as_slice() else {
        panic!("one translation each way: {report}");
    };
    assert_eq!((&there["answer"], &there["offset"]), (&"exact".into(), &back["asked_offset"]), "{report}");
    assert_eq!((&back["answer"], &back["offset"]), (&"exact".into(), &there["asked_offset"]), "{report}");
    assert_ne!(there["asked_offset"], there["offset"], "transactions make the offsets differ: {report}");
}

#[test]
fn words_go_to_stderr_and_the_picture_to_stdout() {
    let ended = demo(&["--records", "6000"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("  lost        0\n  doubled     0\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains('×') && ended.stdout.contains('█'), "{}", ended.stdout);
    assert!(ended.stderr.contains("the link is killed in the middle of its work"), "{}", ended.stderr);
    assert!(!ended.stdout.contains("the link is killed"), "{}", ended.stdout);
}

#[test]
fn no_records_are_a_wrong_usage() {
    assert_eq!(demo(&["--records", "0"]).code, 2);
}
