//! Clusters of real brokers.
use std::time::Instant;
use twinlog_testcontainers::ClusterSpec;
#[test]
fn starts() {
    let t = Instant::now();
    let cluster = ClusterSpec::new().start().unwrap();
    println!("{:?} {}", t.elapsed(), cluster.bootstrap_text());
    let t = Instant::now();
    cluster.broker(0).restart().unwrap();
    println!("restart {:?}", t.elapsed());
    let t = Instant::now();
    let cluster3 = ClusterSpec::new().brokers(3).start().unwrap();
    println!("three {:?}", t.elapsed());
    let t = Instant::now();
    drop(cluster3);
    println!("drop {:?}", t.elapsed());
}
