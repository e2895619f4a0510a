//! OAUTHBEARER: tokens of a file and of an endpoint.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use twinlog_testcontainers::{Produce, eventually};

use super::sasl::asking;
use super::{Authority, cluster};
use crate::pair::{LONG, Link, Pair, assert_runs, drain};

const SECRET: &str = "pl4nted-s3cret";
const TOKEN_SECONDS: u64 = 10;

/// A token without a signature, which brokers take that are not told to look at one.
fn token(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
    let payload = format!(r#"{{"sub":"twin","iat":{now},"exp":{}}}"#, now + seconds);
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(payload))
}

/// A token endpoint on this machine.
struct TokenService {
    address: SocketAddr,
    refuses: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TokenService {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (refuses, is_over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (refuse, end) = (Arc::clone(&refuses), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                // Who hangs up is not answered.
                drop(stream.and_then(|stream| answer(stream, refuse.load(Ordering::SeqCst))));
            }
        });
        Self { address, refuses, is_over, thread: Some(thread) }
    }
}

impl Drop for TokenService {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(mut stream: TcpStream, refuses: bool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let login = format!("authorization: Basic {}", STANDARD.encode(format!("twinlog:{SECRET}")));
    let (mut length, mut is_known) = (0, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        is_known |= line.trim() == login;
        if let Some(number) = line.strip_prefix("content-length: ") {
            length = number.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, body) = if refuses || !is_known || body != b"grant_type=client_credentials&scope=kafka" {
        ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned())
    } else {
        let token = token(TOKEN_SECONDS);
        ("200 OK", format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{TOKEN_SECONDS}}}"#))
    };
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Given a source that takes tokens of an endpoint and a target that takes those of a file, then a link copies and
/// renews its sessions; when the endpoint refuses, then the link says so in one line, and goes on when it gives tokens
/// again.
#[test]
fn tokens_are_from_an_endpoint_or_a_file_and_are_renewed() {
    let authority = Authority::named("brokers");
    let service = TokenService::start();
    let pair = Pair::start(asking(&authority), asking(&authority));
    let endpoint = format!(
        "{{ url: 'http://{}/token', client_id: twinlog, client_secret: '${{file:secret}}', scope: kafka }}",
        service.address
    );
    let sasl = |token: &str| format!("tls: {{ ca_file: ca.pem }}, sasl: {{ mechanism: OAUTHBEARER, {token} }}");
    let clusters = [
        cluster(&pair.source.secured_bootstrap(), &sasl(&format!("token_endpoint: {endpoint}"))),
        cluster(&pair.target.secured_bootstrap(), &sasl("token_file: token")),
    ];
    let link = Link::by(&pair, &clusters, "tokens", "{ include: [tokens] }", &[]);
    for (file, text) in [("ca.pem", authority.0.pem()), ("secret", SECRET.into()), ("token", token(3_600))] {
        link.write(file, &text);
    }
    link.source().create_topic("tokens", 2, &[]).expect("the topic is created");
    let mut run = link.start("tokens", &["run"], &[("TWINLOG_LOG", "info,twinlog_client=debug")]);
    link.source().produce_start("tokens", &Produce::endless("tokens").rate(500)).expect("a load");
    for side in ["source", "target"] {
        let renewed = format!("The session was renewed. peer={side} broker 1");
        eventually(&format!("renewals on the {side}"), LONG, || {
            (run.stderr().matches(&renewed).count() >= 3).then_some(())
        });
    }

    service.refuses.store(true, Ordering::SeqCst);
    link.await_said("tokens", "There is no new token; the last one is still good. side=source", LONG);
    link.await_said("tokens", "A broker cannot be reached; trying again. side=source", LONG);
    link.await_said("tokens", "it answers 401 Unauthorized: invalid_client", LONG);
    service.refuses.store(false, Ordering::SeqCst);
    link.await_said("tokens", "The broker can be reached again. side=source", LONG);
    link.source().produce_stop("tokens").expect("the load ends");
    link.await_twins("tokens", "tokens");
    assert_runs(&mut run);
    let said = drain(run);
    for secret in [SECRET, "eyJ"] {
        assert!(!said.stderr.contains(secret), "{said:#?}");
    }
    link.assert_twins("tokens", "tokens");

    link.write("token", &token(0));
    let ended = link.finish("check", &["check"]);
    let line = ended.stdout.lines().find(|line| line.contains("target") && line.contains("OAUTHBEARER: 58"));
    assert!(line.is_some_and(|line| line.contains("correct `sasl` of this cluster")), "{ended:#?}");
}
