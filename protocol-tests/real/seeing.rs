//! What a running link shows over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use twinlog_testcontainers::{ClusterSpec, Produce, Program, eventually};

use crate::pair::{LONG, Link, Pair, SHARED, assert_runs, drain};

/// Status and body of what the program answers at a path.
pub(crate) fn get(run: &Program, path: &str) -> Option<(u16, String)> {
    let said = run.stderr();
    let line = said.lines().find(|line| line.contains("Metrics and status are shown."))?;
    let address = line.split("address=").nth(1)?.split_whitespace().next()?;
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The value of a metric of the link.
fn metric(run: &Program, name: &str) -> Option<f64> {
    let (status, text) = get(run, "/metrics")?;
    assert_eq!(status, 200, "{text}");
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{link=\"seen\"")))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Given a link that shows itself, then it is ready once its lanes are shared out, its metrics follow what is copied,
/// an idle partition stays current, and its status is the one that `status` tells.
#[test]
fn a_link_shows_metrics_health_and_status() {
    let link = Link::new(&SHARED, "seen", "{ include: ['seen-.*'] }", &[]);
    link.configure("http: { listen: '127.0.0.1:0' }\n");
    link.source().create_topic("seen-1", 2, &[]).expect("the topic is created");
    link.source().produce(&Produce::new("seen-1", 200)).expect("produced");
    let mut run = link.start("seen", &["run"], &[("TWINLOG_LOG", "info")]);
    eventually("it is ready", LONG, || get(&run, "/readyz").filter(|(status, _)| *status == 200));
    assert_eq!(get(&run, "/healthz").map(|(status, _)| status), Some(200));
    eventually("all is copied", LONG, || metric(&run, "twinlog_records_total").filter(|records| *records == 200.0));
    eventually("no lag", LONG, || metric(&run, "twinlog_lag_records").filter(|lag| *lag == 0.0));
    let is_current = || metric(&run, "twinlog_lag_seconds").filter(|seconds| *seconds < 5.0);
    eventually("both partitions are current", LONG, is_current);
    // Also when nothing was written for longer than that.
    let before = metric(&run, "twinlog_records_total");
    let begun = std::time::Instant::now();
    eventually("ten quiet seconds", LONG, || {
        let seconds = metric(&run, "twinlog_lag_seconds").expect("a lag");
        assert!(seconds < 5.0, "an idle partition was current {seconds} s ago");
        (begun.elapsed().as_secs() >= 10).then_some(())
    });
    assert_eq!(metric(&run, "twinlog_records_total"), before);

    let (status, text) = get(&run, "/api/v1/status").expect("an answer");
    let shown: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((status, &shown["schema"]), (200, &Value::from("twinlog.status/1")));
    let ended = link.finish("status", &["status", "-o", "json"]);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    for key in ["topic", "partition", "lane", "state", "synced", "high_watermark"] {
        let of = |document: &Value| -> Vec<Value> {
            let rows = document["links"][0]["partitions"].as_array().expect("partitions");
            rows.iter().map(|row| row[key].clone()).collect()
        };
        assert_eq!(of(&shown), of(&told), "{key}");
    }
    assert_eq!(get(&run, "/nowhere").map(|(status, _)| status), Some(404));
    assert_runs(&mut run);
    drain(run);
}

/// Given objectives for two kinds of topics, when the source answers nobody, then the one that is breached is told
/// once, counted, and told again when it is met.
#[test]
fn an_objective_that_is_breached_is_told_once_and_counted() {
    let pair = Pair::start(ClusterSpec::new(), ClusterSpec::new());
    let more = ["objectives: [{ topics: ['seen-fast'], rpo: 3s }, { rpo: 1h }]"];
    let link = Link::new(&pair, "seen", "{ include: ['seen-.*'] }", &more);
    link.configure("http: { listen: '127.0.0.1:0', partition_metrics: true }\n");
    for topic in ["seen-fast", "seen-slow"] {
        link.source().create_topic(topic, 2, &[]).expect("the topic is created");
        link.source().produce(&Produce::new(topic, 200)).expect("produced");
    }
    let mut run = link.start("seen", &["run"], &[("TWINLOG_LOG", "info")]);
    let breached = |wanted: f64| metric(&run, "twinlog_breached_partitions").filter(|count| *count == wanted);
    link.await_twins("seen-slow", "seen-slow");
    link.await_twins("seen-fast", "seen-fast");
    eventually("nothing is breached", LONG, || breached(0.0));
    pair.source.broker(0).pause().expect("paused");
    eventually("both partitions are breached", LONG, || breached(2.0));
    let words = "The objective is breached: partitions are further behind than they may.";
    let told = || run.stderr().lines().filter(|line| line.contains(words)).map(str::to_owned).collect::<Vec<_>>();
    let lines = told();
    assert!(lines.iter().all(|line| line.contains("topics=\"seen-fast\" rpo=3s")), "{lines:#?}");
    pair.source.broker(0).resume().expect("resumed");
    eventually("nothing is breached", LONG, || breached(0.0));
    let again = run.stderr().lines().filter(|line| line.contains("The objective is met again.")).count();
    assert_eq!(again, told().len(), "{}", run.stderr());
    assert_runs(&mut run);
    drain(run);
}

/// Given a port that is taken, then the program ends before it writes anything, and names it.
#[test]
fn a_port_that_is_taken_ends_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let link = Link::new(&SHARED, "taken-port", "{ include: ['taken-port'] }", &[]);
    link.configure(&format!("http: {{ listen: '{address}' }}\n"));
    let ended = link.finish("taken", &["run"]);
    assert_eq!(ended.code, 2, "{ended:#?}");
    assert!(ended.stderr.contains(&format!("http.listen: {address} cannot be listened on")), "{ended:#?}");
}
