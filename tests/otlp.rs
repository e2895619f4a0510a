//! What is logged goes to a collector, too, where the environment names one.

#![cfg(feature = "otlp")]
#![allow(clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use twinlog_testcontainers::{Folder, Program};

const PATIENCE: Duration = Duration::from_secs(60);

/// Head and body of the one request that comes.
fn request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut part).expect("a request");
        assert!(count > 0, "the request ends early");
        bytes.extend_from_slice(&part[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        let body = &bytes[end + 4..];
        if length.is_none_or(|length: usize| body.len() >= length) {
            return (head, body.to_vec());
        }
    }
}

/// Given a collector, when a run warns of something, then the collector has it as a log record of this service.
#[test]
fn a_collector_has_what_is_logged() {
    let collector = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", collector.local_addr().expect("an address"));
    let collected = std::thread::spawn(move || {
        let (mut stream, _) = collector.accept().expect("somebody comes");
        let found = request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").expect("answered");
        found
    });
    let folder = Folder::new("otlp").expect("a folder");
    let config = "clusters: {a: {bootstrap: ['127.0.0.1:9']}, b: {bootstrap: ['127.0.0.1:19']}}\n\
                  links: {dr: {source: a, target: b, topics: {include: ['orders']}}}\n\
                  http: {listen: '127.0.0.1:0'}\n";
    std::fs::write(folder.path().join("twinlog.yaml"), config).expect("written");
    let env = [("TWINLOG_LOG", "info"), ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let program = env!("CARGO_BIN_EXE_twinlog").as_ref();
    let mut run = Program::start("run", program, &["-c", "twinlog.yaml", "run"], &env, &folder).expect("it starts");
    assert_eq!(run.wait(PATIENCE).expect("it can be waited for"), Some(3), "{}", run.stderr());
    let (head, body) = collected.join().expect("no panic");
    assert!(head.starts_with("POST /v1/logs HTTP/1.1"), "{head}");
    let body = String::from_utf8_lossy(&body);
    for words in ["service.name", "twinlog", "Metrics and status are shown."] {
        assert!(body.contains(words), "{words} is not in {body}");
    }
}
