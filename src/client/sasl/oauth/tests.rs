use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use twinlog_core::config::security::TokenEndpoint;
use twinlog_wire::error_code::Retry;

use super::*;
use crate::error::{Error, Outcome, Step};
use crate::testing::peer;
use crate::tls::tests::{acceptor, authority};
use crate::transport::Stream;

const SECRET: &str = "pl4nted~s3cret %";

fn endpoint(at: &TcpListener) -> TokenEndpoint {
    TokenEndpoint {
        url: format!("http://{}/oauth2/token?v=1", at.local_addr().unwrap()),
        client_id: "twin log".into(),
        client_secret: Secret::new(SECRET.into()),
        scope: Some("kafka:write".into()),
        ca_file: None,
    }
}

/// Takes a request, answers it, and gives its head and body.
async fn serve(listener: &TcpListener, status: &str, body: &str) -> String {
    serve_on(listener.accept().await.unwrap().0, status, body).await
}

async fn serve_on(mut stream: impl Stream, status: &str, body: &str) -> String {
    let mut seen = String::new();
    let length = loop {
        seen.push(stream.read_u8().await.unwrap().into());
        let Some((head, body)) = seen.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            break body.len();
        }
    };
    assert!(length > 0);
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    seen
}

async fn asked(status: &str, body: &str) -> (Result<Secret, Cause>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tokens = Tokens::new(&TokenSource::Endpoint(endpoint(&listener))).unwrap();
    let peer = peer();
    tokio::join!(tokens.get(&peer), serve(&listener, status, body))
}

#[tokio::test]
async fn an_endpoint_is_asked_by_client_credentials() {
    let (token, seen) =
        asked("200 OK", r#"{"access_token":"abc.DEF-_~+/=","token_type":"Bearer","expires_in":60}"#).await;
    assert_eq!(token.unwrap().reveal(), "abc.DEF-_~+/=");
    assert!(seen.starts_with("POST /oauth2/token?v=1 HTTP/1.1\r\n"), "{seen}");
    // twin%20log:pl4nted~s3cret%20%25
    assert!(seen.contains("\r\nauthorization: Basic dHdpbiUyMGxvZzpwbDRudGVkfnMzY3JldCUyMCUyNQ==\r\n"), "{seen}");
    assert!(seen.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\ngrant_type=client_credentials&scope=kafka%3Awrite"), "{seen}");
}

#[tokio::test]
async fn what_an_endpoint_has_against_us_is_told_without_the_secret() {
    for (status, body, words) in [
        (
            "401 Unauthorized",
            r#"{"error":"invalid_client","error_description":"no such client"}"#,
            "it answers 401 Unauthorized: invalid_client (no such client)",
        ),
        ("400 Bad Request", r#"{"error":"invalid_scope"}"#, "it answers 400 Bad Request: invalid_scope"),
        ("502 Bad Gateway", "<html>", "it answers 502 Bad Gateway"),
        ("302 Found", "", "it answers 302 Found"),
        ("200 OK", "<html>", "its answer is not what a token endpoint says"),
        ("200 OK", "{}", "there is no token in its answer"),
        ("200 OK", "{\"access_token\":\"a\\u0001b\"}", "there is no token in its answer"),
    ] {
        let (token, _) = asked(status, body).await;
        let error = Error::new(peer(), Step::Connect, Outcome::NotSent, token.unwrap_err());
        let printed = error.to_string();
        assert!(printed.contains("OAUTHBEARER: the token endpoint http://127.0.0.1:"), "{printed}");
        assert!(printed.contains(words), "{printed}");
        assert!(!printed.contains("s3cret"), "{printed}");
        assert_eq!(error.retry(), Retry::Backoff);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tokens = Tokens::new(&TokenSource::Endpoint(endpoint(&listener))).unwrap();
    assert!(!format!("{tokens:?}").contains("s3cret"));
    drop(listener);
    let printed = tokens.get(&peer()).await.unwrap_err().to_string();
    assert!(printed.contains("Connection refused"), "{printed}");
}

#[tokio::test]
async fn an_endpoint_may_have_a_certificate_of_an_authority_of_its_own() {
    let (authority, stranger) = (authority(), authority());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
    let tokens = |trusted: &str| {
        let config = TokenEndpoint { url: url.clone(), ca_file: Some(trusted.to_owned()), ..endpoint(&listener) };
        Tokens::new(&TokenSource::Endpoint(config)).unwrap()
    };
    let (trusting, distrusting, peer) = (tokens(&authority.file), tokens(&stranger.file), peer());
    let (token, ()) = tokio::join!(trusting.get(&peer), async {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor(&authority, "localhost").accept(stream).await.unwrap();
        serve_on(stream, "200 OK", r#"{"access_token":"abc"}"#).await;
    });
    assert_eq!(token.unwrap().reveal(), "abc");
    let (token, refused) = tokio::join!(distrusting.get(&peer), async {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor(&authority, "localhost").accept(stream).await.is_err()
    });
    assert!(refused);
    let words = token.unwrap_err().to_string();
    assert!(words.contains("an authority that is not trusted"), "{words}");
}

/// Given a token that is good for a while, then it is used for most of that time, another one is asked for before its
/// end, and it is used to its end where there is no other.
#[tokio::test]
async fn a_token_is_kept_as_long_as_it_is_good() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tokens = Tokens::new(&TokenSource::Endpoint(endpoint(&listener))).unwrap();
    let peer = peer();
    let answer = |text: &str, seconds: u32| format!(r#"{{"access_token":"{text}","expires_in":{seconds}}}"#);
    let first = answer("first", 1000);
    let (one, another, _) = tokio::join!(tokens.get(&peer), tokens.get(&peer), serve(&listener, "200 OK", &first));
    assert_eq!((one.unwrap().reveal(), another.unwrap().reveal()), ("first", "first"));

    let age = async |seconds: u64| {
        let Tokens::Endpoint(_, last) = &tokens else { panic!("{tokens:?}") };
        last.lock().await.as_mut().unwrap().0 = Instant::now() - Duration::from_secs(seconds);
    };
    age(790).await;
    assert_eq!(tokens.get(&peer).await.unwrap().reveal(), "first");
    age(810).await;
    let (token, _) = tokio::join!(tokens.get(&peer), serve(&listener, "503 Service Unavailable", "-"));
    assert_eq!(token.unwrap().reveal(), "first");
    let second = answer("second", 1000);
    let (token, _) = tokio::join!(tokens.get(&peer), serve(&listener, "200 OK", &second));
    assert_eq!(token.unwrap().reveal(), "second");
    age(1001).await;
    let (token, _) = tokio::join!(tokens.get(&peer), serve(&listener, "503 Service Unavailable", "-"));
    token.unwrap_err();
}

#[tokio::test]
async fn a_token_file_is_read_for_each_login() {
    let path = std::env::temp_dir().join(format!("twinlog-token-{}", std::process::id()));
    let tokens = Tokens::new(&TokenSource::File(path.display().to_string())).unwrap();
    for text in ["first", "second"] {
        std::fs::write(&path, format!("{text}\n")).unwrap();
        assert_eq!(tokens.get(&peer()).await.unwrap().reveal(), text);
    }
    std::fs::write(&path, "two words\n").unwrap();
    let words = tokens.get(&peer()).await.unwrap_err().to_string();
    assert!(words.contains(&format!("the token file {}: it does not hold a token", path.display())), "{words}");
    std::fs::remove_file(&path).unwrap();
    let words = tokens.get(&peer()).await.unwrap_err().to_string();
    assert!(words.contains("No such file"), "{words}");
}

#[test]
fn the_message_holds_the_token_and_what_is_said_beside_it() {
    let config = OAuthConfig {
        token: TokenSource::File("token".into()),
        extensions: BTreeMap::from([("logicalCluster".into(), "lkc-1".into())]),
    };
    let mut dialogue = dialogue(&Secret::new("abc".into()), &config);
    let first = dialogue.next(None).unwrap().unwrap();
    assert_eq!(first, b"n,,\x01auth=Bearer abc\x01logicalCluster=lkc-1\x01\x01");
    assert_eq!(dialogue.next(Some(b"{\"status\":\"invalid_token\"}")).unwrap(), Some(vec![1]));
    assert_eq!(dialogue.next(Some(b"")).unwrap(), None);
}
