//! Nothing of a test is left when its process is killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use twinlog_testcontainers::{Cluster, ClusterSpec, Oracle, eventually};

use crate::LONG;

const CHILD: &str = "TWINLOG_TEST_GONE_CHILD";

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static ORACLE: OnceLock<Oracle> = OnceLock::new();

#[test]
fn a_killed_test_leaves_no_broker_no_oracle_and_no_folder() {
    if std::env::var_os(CHILD).is_some() {
        be_killed();
    }
    let name = "gone::a_killed_test_leaves_no_broker_no_oracle_and_no_folder";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let words = lines.map_while(Result::ok).find_map(|line| {
        let words = line.split_once("STARTED ")?.1.to_owned();
        Some(words.split(' ').map(str::to_owned).collect::<Vec<_>>())
    });
    let words = words.unwrap();
    let [broker, oracle, folder] = &words[..] else { panic!("{words:?}") };
    assert!(lives(broker) && lives(oracle) && Path::new(folder).is_dir());

    child.kill().unwrap();
    child.wait().unwrap();

    eventually("the broker is gone", LONG, || (!lives(broker)).then_some(()));
    eventually("the oracle is gone", LONG, || (!lives(oracle)).then_some(()));
    eventually("the folder is gone", LONG, || (!Path::new(folder).exists()).then_some(()));
}

#[test]
fn a_panic_leaves_no_broker_and_no_folder() {
    let test = std::thread::spawn(|| {
        let cluster = ClusterSpec::new().start().unwrap();
        let folder = cluster.folder().to_owned();
        let pid = cluster.broker(0).pid().unwrap().to_string();
        assert!(lives(&pid) && folder.is_dir());
        std::panic::panic_any((pid, folder));
    });
    let panic = test.join().unwrap_err();
    let (pid, folder) = panic.downcast_ref::<(String, std::path::PathBuf)>().unwrap();
    assert!(!lives(pid));
    assert!(!folder.exists());
}

/// Holds everything in statics, which are never dropped, and a broker that takes no signal but the last.
fn be_killed() -> ! {
    let cluster = CLUSTER.get_or_init(|| ClusterSpec::new().start().unwrap());
    let oracle = ORACLE.get_or_init(|| Oracle::start().unwrap());
    oracle.at(cluster.bootstrap_text()).create_topic("t", 1, &[]).unwrap();
    let broker = cluster.broker(0);
    broker.pause().unwrap();
    let folder = cluster.folder().display();
    println!("STARTED {} {} {folder}", broker.pid().unwrap(), oracle.pid());
    loop {
        std::thread::park();
    }
}

fn lives(pid: &str) -> bool {
    std::fs::exists(format!("/proc/{pid}")).unwrap()
}
