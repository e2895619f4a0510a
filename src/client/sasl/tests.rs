use kafka_protocol::messages::{
    ApiKey, DescribeClusterRequest, DescribeClusterResponse, SaslAuthenticateResponse, SaslHandshakeResponse,
};
use kafka_protocol::protocol::Decodable;
use tokio::io::DuplexStream;
use twinlog_core::config::security::Secret;
use twinlog_wire::error_code::Retry;

use super::*;
use crate::connection::ConnectionConfig;
use crate::testing::{Script, Seen, connect};
use crate::transport::Stream;

pub(super) const SESSION_MS: i64 = 60_000;
pub(super) const HOST: &str = "b-1.twin.kafka.eu-central-1.amazonaws.com";

fn login() -> Login {
    Login { username: "twin".into(), password: Secret::new("s3cret".into()) }
}

fn plain() -> SaslConfig {
    SaslConfig::Password(PasswordMechanism::Plain, login())
}

#[cfg(not(feature = "msk-iam"))]
#[test]
fn a_mechanism_that_this_build_does_not_have_is_named() {
    let key = twinlog_core::config::security::MskIamConfig {
        region: "eu-central-1".into(),
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: Secret::new("s3cret".into()),
        session_token: None,
    };
    let error = Sasl::new(&SaslConfig::MskIam(key)).unwrap_err();
    assert_eq!(error.to_string(), "this build has no AWS_MSK_IAM: build it with `--features msk-iam`");
}

async fn begin(connection: &Connection, config: &SaslConfig) -> Result<()> {
    Arc::new(Sasl::new(config).unwrap()).begin(connection, HOST).await
}

pub(super) async fn greeted() -> (Connection, Script<DuplexStream>) {
    connect(1 << 14, ConnectionConfig::default()).await
}

/// Takes a handshake for this mechanism and answers it with this code.
pub(super) async fn shake(script: &mut Script<impl Stream>, mechanism: &str, code: ErrorCode) {
    let mut seen = script.request().await.unwrap();
    assert_eq!((seen.api, seen.version), (ApiKey::SaslHandshake, HANDSHAKE));
    let request = SaslHandshakeRequest::decode(&mut seen.body, seen.version).unwrap();
    assert_eq!(&*request.mechanism, mechanism);
    let known = ["SCRAM-SHA-256", "PLAIN"].map(StrBytes::from_static_str).to_vec();
    script.answer(&seen, &SaslHandshakeResponse::default().with_error_code(code.0).with_mechanisms(known)).await;
}

/// The next message of the mechanism, with its request.
pub(super) async fn message(script: &mut Script<impl Stream>) -> (Seen, Bytes) {
    let mut seen = script.request().await.unwrap();
    assert_eq!(seen.api, ApiKey::SaslAuthenticate);
    let bytes = SaslAuthenticateRequest::decode(&mut seen.body, seen.version).unwrap().auth_bytes;
    (seen, bytes)
}

fn session(lifetime_ms: i64) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default().with_session_lifetime_ms(lifetime_ms)
}

pub(super) fn refusal() -> SaslAuthenticateResponse {
    let words = StrBytes::from_static_str("Authentication failed: Invalid username or password");
    let code = ErrorCode::SASL_AUTHENTICATION_FAILED.0;
    SaslAuthenticateResponse::default().with_error_code(code).with_error_message(Some(words))
}

/// Lets somebody in by PLAIN for this long.
async fn let_in(script: &mut Script<DuplexStream>, lifetime_ms: i64) {
    shake(script, "PLAIN", ErrorCode::NONE).await;
    let (seen, bytes) = message(script).await;
    assert_eq!(&bytes[..], b"\0twin\0s3cret");
    script.answer(&seen, &session(lifetime_ms)).await;
}

/// A connection in a session with an end.
async fn logged_in() -> (Connection, Script<DuplexStream>) {
    let (connection, mut script) = greeted().await;
    let config = plain();
    let (outcome, ()) = tokio::join!(begin(&connection, &config), let_in(&mut script, SESSION_MS));
    outcome.unwrap();
    (connection, script)
}

#[tokio::test]
async fn a_mechanism_that_the_broker_does_not_have_is_refused_with_those_that_it_has() {
    let (connection, mut script) = greeted().await;
    let config = SaslConfig::Password(PasswordMechanism::ScramSha512, login());
    let (outcome, ()) = tokio::join!(
        begin(&connection, &config),
        shake(&mut script, "SCRAM-SHA-512", ErrorCode::UNSUPPORTED_SASL_MECHANISM)
    );
    let error = outcome.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("SCRAM-SHA-512: 33 UNSUPPORTED_SASL_MECHANISM"), "{words}");
    assert!(words.contains("the broker takes SCRAM-SHA-256, PLAIN"), "{words}");
    assert_eq!(error.retry(), Retry::Never);
}

#[tokio::test]
async fn a_wrong_password_is_named_by_the_brokers_words_and_is_not_shown() {
    let (connection, mut script) = greeted().await;
    let broker = async {
        shake(&mut script, "PLAIN", ErrorCode::NONE).await;
        let (seen, _) = message(&mut script).await;
        script.answer(&seen, &refusal()).await;
    };
    let config = plain();
    let (outcome, ()) = tokio::join!(begin(&connection, &config), broker);
    let words = outcome.unwrap_err().to_string();
    assert!(words.contains("PLAIN: 58 SASL_AUTHENTICATION_FAILED"), "{words}");
    assert!(words.contains("Invalid username or password"), "{words}");
    assert!(words.contains("are the user, the password and the mechanism right?"), "{words}");
    for printed in [words, format!("{config:?}")] {
        assert!(!printed.contains("s3cret"), "{printed}");
    }
}

/// Given a session with an end, when most of it has passed, then it is renewed on the same connection; requests that
/// come meanwhile wait and go on in their order; and so it is with the next session.
#[tokio::test(start_paused = true)]
async fn a_session_is_renewed_and_requests_wait_meanwhile() {
    let (connection, mut script) = logged_in().await;
    for _ in 0..2 {
        shake(&mut script, "PLAIN", ErrorCode::NONE).await;
        let (authenticates, _) = message(&mut script).await;
        let calls = async {
            let call = || connection.call(DescribeClusterRequest::default());
            tokio::join!(call(), call())
        };
        let broker = async {
            let early = tokio::time::timeout(Duration::from_secs(1), script.request()).await;
            assert!(early.is_err(), "{early:?}");
            script.answer(&authenticates, &session(SESSION_MS)).await;
            for _ in 0..2 {
                let seen = script.request().await.unwrap();
                assert_eq!(seen.api, ApiKey::DescribeCluster);
                script.answer(&seen, &DescribeClusterResponse::default()).await;
            }
        };
        let (answers, ()) = tokio::join!(calls, broker);
        answers.0.unwrap();
        answers.1.unwrap();
    }
}

/// Given a session, when the broker does not renew it, then the connection ends, and who waits is told why.
#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_refused_ends_the_connection() {
    let (connection, mut script) = logged_in().await;
    shake(&mut script, "PLAIN", ErrorCode::NONE).await;
    let (seen, _) = message(&mut script).await;
    let (held, ()) = tokio::join!(connection.call(DescribeClusterRequest::default()), async {
        tokio::task::yield_now().await;
        script.answer(&seen, &refusal()).await;
    });
    let error = held.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (Some(ErrorCode::SASL_AUTHENTICATION_FAILED), Outcome::NotSent));
    assert_eq!(connection.closed().await.code(), Some(ErrorCode::SASL_AUTHENTICATION_FAILED));
    assert!(script.request().await.is_none());
}

/// Given a session that is to be renewed, when nobody holds the connection any more, then it is closed all the same.
#[tokio::test(start_paused = true)]
async fn a_session_does_not_keep_a_connection_open() {
    let (connection, mut script) = logged_in().await;
    drop(connection);
    assert!(script.request().await.is_none());
}

/// The example of RFC 7677, section 3, without the client's nonce, which is random here: what a broker says that does
/// not know the password is found out, and how much work it may ask for has limits.
#[tokio::test]
async fn scram_has_limits_and_wants_to_see_that_the_broker_knows_the_password() {
    for (rounds, refused) in [(4095, "rounds of hashing"), (1_000_001, "rounds of hashing"), (4096, "mutual")] {
        let (connection, mut script) = greeted().await;
        let broker = async {
            shake(&mut script, "SCRAM-SHA-256", ErrorCode::NONE).await;
            let (seen, first) = message(&mut script).await;
            let first = String::from_utf8(first.to_vec()).unwrap();
            let nonce = first.strip_prefix("n,,n=twin,r=").unwrap_or_else(|| panic!("{first}"));
            let words = format!("r={nonce}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i={rounds}");
            script.answer(&seen, &SaslAuthenticateResponse::default().with_auth_bytes(words.into())).await;
            if rounds == 4096 {
                let (seen, last) = message(&mut script).await;
                assert!(last.starts_with(b"c=biws,r="), "{last:?}");
                let words = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".into();
                script.answer(&seen, &SaslAuthenticateResponse::default().with_auth_bytes(words)).await;
            }
        };
        let config = SaslConfig::Password(PasswordMechanism::ScramSha256, login());
        let (outcome, ()) = tokio::join!(begin(&connection, &config), broker);
        let words = outcome.unwrap_err().to_string();
        assert!(words.contains(refused), "{words}");
    }
}
