use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use kafka_protocol::messages::SaslAuthenticateResponse;
use tokio::net::TcpListener;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};
use twinlog_core::config::security::{SaslConfig, Secret};
use twinlog_wire::error_code::ErrorCode;

use super::*;
use crate::dial::{Address, DialConfig, Dialer};
use crate::sasl::tests::{HOST, SESSION_MS, greeted, message, refusal, shake};
use crate::sasl::{Identity, Sasl};
use crate::testing::{Script, peer};

/// 2010-01-01T00:00:00Z, in seconds since 1970.
const IN_2010: u64 = 1_262_304_000;
/// 2015-08-30T12:36:00Z.
const IN_2015: u64 = 1_440_938_160;
/// 2021-10-14T13:05:00Z.
const IN_2021: u64 = 1_634_216_700;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn key(access_key_id: &str, secret_access_key: &str, session_token: Option<&str>) -> MskIamConfig {
    MskIamConfig {
        region: "us-east-1".into(),
        access_key_id: access_key_id.into(),
        secret_access_key: Secret::new(secret_access_key.into()),
        session_token: session_token.map(|token| Secret::new(token.into())),
    }
}

/// The key of AWS's test suite.
fn example(session_token: Option<&str>) -> MskIamConfig {
    key("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", session_token)
}

fn signature(request: &Request<'_>, key: &MskIamConfig, now: u64) -> String {
    let signed = presigned(request, key, at(now)).unwrap();
    let (_, value) = signed.into_iter().find(|(name, _)| *name == "X-Amz-Signature").unwrap();
    value.into_owned()
}

fn read(message: &[u8]) -> BTreeMap<String, String> {
    serde_json::from_slice(message).unwrap()
}

/// Those of AWS's own test suite that have no body and no header but `host`, by `query-signature.txt` of each:
/// awslabs/aws-c-auth, tests/aws-signing-test-suite/v4.
#[test]
fn signatures_are_those_that_aws_published() {
    const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
    for (name, path_and_query, token, wanted) in [
        ("get-vanilla", "/", None, "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"),
        (
            "get-vanilla-query-order-key-case",
            "/?Param2=value2&Param1=value1",
            None,
            "86012e2c9ad4d77369f5d81c11f75158aae4f895a085212cc6d3f923d300bed5",
        ),
        (
            "get-vanilla-query-order-encoded",
            "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
            None,
            "c5f1848ceec943ac2ca68ee720460c23aaae30a2300586597ada94c4a65e4787",
        ),
        (
            "get-vanilla-with-session-token",
            "/",
            Some(TOKEN),
            "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c",
        ),
    ] {
        let expires_in = Duration::from_secs(3600);
        let request = Request { service: "service", host: "example.amazonaws.com", path_and_query, expires_in };
        assert_eq!(signature(&request, &example(token), IN_2015), wanted, "{name}");
    }
}

/// By AWS's signer for Go, in segmentio/kafka-go, sasl/aws_msk_iam/msk_iam_test.go; it has five minutes.
#[test]
fn the_request_is_signed_as_by_another_client() {
    let expires_in = Duration::from_secs(300);
    let request = Request { service: SERVICE, host: "localhost", path_and_query: PATH_AND_QUERY, expires_in };
    let wanted = "6b8d25f9b45b9c7db9da855a49112d80379224153a27fd279c305a5b7940d1a7";
    assert_eq!(signature(&request, &key("ACCESS_KEY", "SECRET_KEY", None), IN_2021), wanted);
}

/// The whole message of another client that keeps to the same fifteen minutes, but for its user agent, which nobody
/// signs: bjd/librdkafka, src/rdkafka_aws.c.
#[test]
fn the_message_is_that_of_aws_msk_iam_auth() {
    let signed = payload(&key("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", None), "hostname", at(IN_2010)).unwrap();
    let wanted = [
        ("action", "kafka-cluster:Connect"),
        ("host", "hostname"),
        ("user-agent", concat!("twinlog/", env!("CARGO_PKG_VERSION"))),
        ("version", "2020_10_22"),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", "AWS_ACCESS_KEY_ID/20100101/us-east-1/kafka-cluster/aws4_request"),
        ("x-amz-date", "20100101T000000Z"),
        ("x-amz-expires", "900"),
        ("x-amz-signature", "d3eeeddfb2c2b76162d583d7499c2364eb9a92b248218e31866659b18997ef44"),
        ("x-amz-signedheaders", "host"),
    ];
    assert_eq!(read(&signed), wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let of_session = read(&payload(&example(Some("t/k+n=")), "hostname", at(IN_2010)).unwrap());
    assert_eq!(of_session["x-amz-security-token"], "t/k+n=");
    assert_eq!(of_session.len(), wanted.len() + 1);
}

/// How a broker lets somebody in.
const ANSWER: &str = r#"{"version":"2020_10_22","request-id":"5d6e"}"#;

fn taken() -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default().with_auth_bytes(ANSWER.into())
}

/// The clock of [`each_login_is_signed_anew`]: a minute passes whenever it is looked at.
static MINUTES: AtomicU64 = AtomicU64::new(0);

fn clock() -> SystemTime {
    at(IN_2015 + 60 * MINUTES.fetch_add(1, Ordering::Relaxed))
}

/// Given a broker that lets us in for a minute, when most of it has passed, then it gets a new signature of then.
#[tokio::test(start_paused = true)]
async fn each_login_is_signed_anew() {
    let (connection, mut script) = greeted().await;
    let signer = Signer { key: example(Some("t0ken")), clock };
    let sasl = Arc::new(Sasl { mechanism: SaslConfig::AWS_MSK_IAM, identity: Identity::AccessKey(signer) });
    let broker = async {
        let mut dates = Vec::new();
        for (minute, wanted) in [(0, "20150830T123600Z"), (1, "20150830T123700Z"), (2, "20150830T123800Z")] {
            shake(&mut script, "AWS_MSK_IAM", ErrorCode::NONE).await;
            let (seen, bytes) = message(&mut script).await;
            assert_eq!(bytes, payload(&example(Some("t0ken")), HOST, at(IN_2015 + 60 * minute)).unwrap());
            assert_eq!((read(&bytes)["host"].as_str(), read(&bytes)["x-amz-date"].as_str()), (HOST, wanted));
            dates.push(tokio::time::Instant::now());
            let words = r#"{"version":"2020_10_22","request-id":"5d6e"}"#.into();
            let answer =
                SaslAuthenticateResponse::default().with_session_lifetime_ms(SESSION_MS).with_auth_bytes(words);
            script.answer(&seen, &answer).await;
        }
        assert!(dates.is_sorted_by(|a, b| (45..60).contains(&(*b - *a).as_secs())), "{dates:?}");
    };
    let (outcome, ()) = tokio::join!(sasl.begin(&connection, HOST), broker);
    outcome.unwrap();
}

#[tokio::test]
async fn the_host_is_the_one_that_is_dialled() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address { host: "localhost".into(), port: listener.local_addr().unwrap().port() };
    let sasl = Some(SaslConfig::MskIam(example(None)));
    let dialer = Dialer::new(DialConfig { sasl, ..DialConfig::default() }).unwrap();
    let broker = async {
        let mut script = Script { stream: listener.accept().await.unwrap().0 };
        script.greet().await;
        shake(&mut script, "AWS_MSK_IAM", ErrorCode::NONE).await;
        let (seen, bytes) = message(&mut script).await;
        assert_eq!(read(&bytes)["host"], "localhost");
        script.answer(&seen, &taken()).await;
    };
    let (connection, ()) = tokio::join!(dialer.dial(&address, peer()), broker);
    connection.unwrap();
}

#[tokio::test]
async fn a_refusal_names_what_can_be_wrong_and_shows_no_secret() {
    let (connection, mut script) = greeted().await;
    let config = SaslConfig::MskIam(example(Some("t0ken")));
    let broker = async {
        shake(&mut script, "AWS_MSK_IAM", ErrorCode::NONE).await;
        let (seen, _) = message(&mut script).await;
        script.answer(&seen, &refusal()).await;
    };
    let sasl = Arc::new(Sasl::new(&config).unwrap());
    let (outcome, ()) = tokio::join!(sasl.begin(&connection, HOST), broker);
    let words = outcome.unwrap_err().to_string();
    assert!(words.contains("AWS_MSK_IAM: 58 SASL_AUTHENTICATION_FAILED"), "{words}");
    assert!(words.contains("are the access key, its rights, the region and this machine's clock right?"), "{words}");
    for printed in [words, format!("{config:?} {sasl:?}")] {
        assert!(!printed.contains("wJalr") && !printed.contains("t0ken"), "{printed}");
    }
}

#[test]
fn an_answer_that_is_none_is_not_taken_for_one() {
    let signer = Signer::new(&example(None)).unwrap();
    for (answer, wanted) in [
        ("", "EOF while parsing"),
        ("{}", "missing field `version`"),
        (r#"{"version":"2031_01_01","request-id":"x"}"#, "its version is `2031_01_01`, not 2020_10_22"),
    ] {
        let mut dialogue = signer.dialogue(HOST).unwrap();
        assert!(dialogue.next(None).unwrap().is_some());
        let words = dialogue.next(Some(answer.as_bytes())).unwrap_err().to_string();
        assert!(words.contains(wanted), "{answer}: {words}");
    }
}

#[test]
fn a_host_that_no_request_can_name_is_an_error() {
    let words = payload(&example(None), "a\nb", at(IN_2015)).unwrap_err().to_string();
    assert!(words.contains("cannot sign for a\nb"), "{words}");
}

/// Writes down whatever is logged at whatever level.
struct Listener(Arc<Mutex<String>>);

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Fields(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        writeln!(self.0, "{field}={value:?}").unwrap();
    }
}

#[test]
fn no_secret_is_logged_at_any_level() {
    let heard = Arc::default();
    with_default(Listener(Arc::clone(&heard)), || {
        let mut dialogue = Signer::new(&example(Some("t0ken"))).unwrap().dialogue(HOST).unwrap();
        dialogue.next(None).unwrap();
        dialogue.next(Some(ANSWER.as_bytes())).unwrap();
    });
    let heard = heard.lock().unwrap();
    assert!(heard.contains("5d6e"), "{heard}");
    assert!(!heard.contains("wJalr") && !heard.contains("t0ken"), "{heard}");
}
