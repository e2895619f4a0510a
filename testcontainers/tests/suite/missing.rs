//! Without Java the error says so; the test fails and is not skipped.

use std::process::Command;

use twinlog_testcontainers::ClusterSpec;

const CHILD: &str = "TWINLOG_TEST_MISSING_CHILD";

#[test]
fn without_java_the_start_fails_and_names_the_package() {
    if std::env::var_os(CHILD).is_some() {
        println!("ERROR {}", ClusterSpec::new().start().unwrap_err());
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["missing::without_java_the_start_fails_and_names_the_package", "--exact"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env("PATH", "")
        .env_remove("JAVA_HOME")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("ERROR Java 17 or newer is needed"), "{text}");
    assert!(text.contains("apt-get install openjdk-17-jdk-headless maven"), "{text}");
}

#[test]
fn an_unknown_backend_fails() {
    if std::env::var_os(CHILD).is_some() {
        println!("ERROR {}", ClusterSpec::new().start().unwrap_err());
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["missing::an_unknown_backend_fails", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env("TWINLOG_TEST_CLUSTER", "podman")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("ERROR TWINLOG_TEST_CLUSTER=podman: there is no such"), "{text}");
}
