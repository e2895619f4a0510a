//! How `twinlog run` begins where much is in its way, and how it ends where nobody answers any more.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests are tests to a reader, if not to the lint")]

#[path = "kit/cluster.rs"]
mod kit;

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use twinlog_client::Side;
use twinlog_client::admin::NewTopic;
use twinlog_sandbox::Fault;
use twinlog_testcontainers::{Folder, Program, eventually};

use kit::cluster;

const PATIENCE: Duration = Duration::from_secs(60);

fn start(folder: &Folder, config: &str) -> Program {
    std::fs::write(folder.path().join("twinlog.yaml"), config).expect("written");
    let program = env!("CARGO_BIN_EXE_twinlog").as_ref();
    Program::start("run", program, &["-c", "twinlog.yaml", "run"], &[], folder).expect("it starts")
}

/// Exit code and what it said.
fn ended(mut run: Program) -> (Option<i32>, String) {
    let code = run.wait(PATIENCE).expect("it can be waited for");
    (code, run.stderr())
}

/// Given certificates that cannot be used and a port that is taken, then both are told at once, and no cluster was
/// asked.
#[test]
fn what_is_in_the_way_on_this_machine_is_told_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let folder = Folder::new("begin").expect("a folder");
    let of_no_use = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(folder.path().join("ca.pem"), of_no_use).expect("written");
    let config = format!(
        "clusters:
  a: {{ bootstrap: ['127.0.0.1:9'], tls: {{ ca_file: ca.pem }} }}
  b: {{ bootstrap: ['127.0.0.1:19'] }}
links:
  dr: {{ source: a, target: b, topics: {{ include: [x] }} }}
http: {{ listen: '{address}' }}
"
    );
    let (code, said) = ended(start(&folder, &config));
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("ca.pem") && said.contains(&format!("http.listen: {address} cannot be listened on")),
        "{said}"
    );
    assert_eq!(said.matches("error: ").count(), 2, "{said}");
}

/// Given two links between clusters of which none answers, then each cluster is told once, with its side.
#[test]
fn clusters_that_do_not_answer_are_told_together() {
    let folder = Folder::new("begin").expect("a folder");
    let link = "source: a, target: b, topics: {include: [x]";
    let config = format!(
        "clusters: {{a: {{bootstrap: ['127.0.0.1:9']}}, b: {{bootstrap: ['127.0.0.1:19']}}}}\n\
         links: {{dr: {{{link}}}}}, two: {{{link}, rename: '{{topic}}.two'}}}}}}\n"
    );
    let (code, said) = ended(start(&folder, &config));
    assert_eq!(code, Some(3), "{said}");
    for words in ["error: source 127.0.0.1:9: connection refused", "error: target 127.0.0.1:19: connection refused"] {
        assert_eq!(said.matches(words).count(), 1, "{said}");
    }
}

/// Given a target that answers nothing any more, when the program is told to end, then it waits for what is in flight;
/// told once more, it ends at once, and not as after an end in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let (_source, source_at, source) = cluster(Side::Source, 1).await;
    let (target_sandbox, target_at, _target) = cluster(Side::Target, 1).await;
    let topic = NewTopic { name: "orders".into(), partitions: 1, replication_factor: 1, configs: BTreeMap::default() };
    source.create_topics(&[topic], false).await.expect("asked")["orders"].as_ref().expect("created");
    let folder = Folder::new("end").expect("a folder");
    let config = format!(
        "clusters: {{a: {{bootstrap: ['{source_at}']}}, b: {{bootstrap: ['{target_at}']}}}}\n\
         links: {{dr: {{source: a, target: b, topics: {{include: [orders]}}}}}}\n"
    );
    let run = start(&folder, &config);
    let waited = tokio::task::spawn_blocking(move || {
        let said = |words: &str| {
            eventually(&format!("it says {words}"), PATIENCE, || run.stderr().contains(words).then_some(()));
        };
        said("orders:0 caught-up");
        // Its goodbye to the group, and the last of its map.
        target_sandbox.fault(Fault::lose_answer().on(ApiKey::LeaveGroup));
        target_sandbox.fault(Fault::lose_answer().on(ApiKey::Produce));
        run.terminate().expect("a signal is sent");
        said("stopping: what is in flight is waited for; a second signal ends at once");
        run.terminate().expect("a signal is sent");
        ended(run)
    });
    let (code, said) = waited.await.expect("no panic");
    assert_eq!(code, Some(128 + 15), "{said}");
}
