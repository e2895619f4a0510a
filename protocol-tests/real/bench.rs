//! `twinlog bench` between two clusters, which it leaves as it found them.

use serde_json::Value;
use twinlog_testcontainers::KafkaTool;

use crate::pair::{Link, SHARED};

/// Given two clusters that others use, too, when settings are tried between them, then each run has copied something,
/// and afterwards no topic of it is on either side, and its groups could be deleted.
#[test]
fn a_bench_leaves_no_topics_and_no_groups() {
    let link = Link::new(&SHARED, "benched", "{ include: [benched] }", &["lanes: 1"]);
    // A rehearsal and three trials.
    let limits = ["--max-bytes", "1MB", "--partitions", "3"];
    let ended = link.finish("bench", &[&["bench", "--yes", "-o", "json"][..], &limits].concat());
    assert_eq!(ended.code, 0, "{ended:#?}");
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    let settings = report["settings"].as_array().unwrap_or_else(|| panic!("{report}"));
    assert_eq!(settings.first().map(|first| &first["words"]), Some(&"as configured".into()), "{ended:#?}");
    assert!(settings.iter().all(|one| one["bytes_per_s_median"].as_f64() > Some(0.0)), "{report}");

    assert!(!ended.stderr.contains("cannot be deleted"), "{ended:#?}");
    for cluster in [&SHARED.source, &SHARED.target] {
        let topics = KafkaTool::new(cluster).expect("a tool").topics(&["--list"]).expect("topics");
        assert!(!topics.contains("twinlog-bench"), "{topics}");
    }
}
