use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::duplex;
use tokio_rustls::TlsAcceptor;
use twinlog_wire::error_code::Retry;

use super::*;
use crate::connection::{Connection, ConnectionConfig, RawRequest};
use crate::testing::{Script, peer};

/// A certificate authority whose certificate stands in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        std::fs::remove_file(&self.file).unwrap();
    }
}

fn authority() -> Authority {
    named_authority("twinlog test authority")
}

fn named_authority(name: &str) -> Authority {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let name = format!("twinlog-client-{}-{}.pem", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, issuer.pem()).unwrap();
    Authority { issuer, file }
}

/// A listener with a certificate for `name`.
fn acceptor(authority: &Authority, name: &str) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn client(ca_file: &Path, server_name: Option<&str>) -> Tls {
    let server_name = server_name.map(str::to_owned);
    Tls::new(&TlsConfig { ca_file: Some(ca_file.to_owned()), server_name }).unwrap()
}

/// The client's word on a handshake with `broker.test` as the broker's host name.
async fn refused(client: Tls, acceptor: TlsAcceptor) -> Error {
    let (near, far) = duplex(1 << 16);
    let peer = peer();
    let (client, server) = tokio::join!(client.connect(near, "broker.test", &peer), acceptor.accept(far));
    assert!(server.is_err());
    client.unwrap_err()
}

#[tokio::test]
async fn requests_go_through_tls_both_ways() {
    let authority = authority();
    let (near, far) = duplex(1 << 12);
    let (client, acceptor) = (client(&authority.file, None), acceptor(&authority, "broker.test"));
    let peer = peer();
    let (near, far) = tokio::join!(client.connect(near, "broker.test", &peer), acceptor.accept(far));
    let mut script = Script { stream: far.unwrap() };
    let start = Connection::start(near.unwrap(), peer.clone(), ConnectionConfig::default());
    let (connection, ()) = tokio::join!(start, script.greet());
    let connection = connection.unwrap();
    let body = Bytes::from(vec![9; 100_000]);
    let head = Bytes::from([100_008_u32.to_be(), 0, 5_u32.to_be()].map(u32::to_ne_bytes).concat());
    let slices = vec![head, body.clone()];
    let answer = connection.send_raw(RawRequest { api_key: 0, correlation_id: 5, timeout: None, permit: None, slices });
    let frame = script.frame().await.unwrap();
    assert_eq!(frame[8..], body);
    script.write(&frame[4..]).await;
    assert_eq!(answer.await.unwrap(), frame[4..]);
}

#[tokio::test]
async fn the_server_name_can_differ_from_the_host() {
    let authority = authority();
    let (near, far) = duplex(1 << 12);
    let client = client(&authority.file, Some("inside.test"));
    let acceptor = acceptor(&authority, "inside.test");
    let peer = peer();
    let (near, far) = tokio::join!(client.connect(near, "10.0.0.1", &peer), acceptor.accept(far));
    near.unwrap();
    far.unwrap();
}

#[tokio::test]
async fn an_unknown_authority_is_refused() {
    // Also one of the same name: it was made anew, and the file is an old one.
    for other in [named_authority("other"), authority()] {
        let trusted = authority();
        let error = refused(client(&trusted.file, None), acceptor(&other, "broker.test")).await;
        assert_eq!(
            error.to_string(),
            "target broker 1 (broker.test:9092): TLS: the broker's certificate is from an authority that is not \
             trusted; is the CA file the right one? (TLS)"
        );
        assert_eq!((error.outcome(), error.retry()), (Outcome::NotSent, Retry::Never));
    }
}

#[tokio::test]
async fn a_wrong_name_is_refused() {
    let authority = authority();
    let error = refused(client(&authority.file, None), acceptor(&authority, "other.test")).await;
    let words = error.to_string();
    assert!(words.starts_with("target broker 1 (broker.test:9092): TLS: "), "{words}");
    for part in ["broker.test", "other.test", "set the server name"] {
        assert!(words.contains(part), "{words}");
    }
    assert_eq!(error.retry(), Retry::Never);
}

#[tokio::test]
async fn a_listener_without_tls_is_named() {
    let authority = authority();
    // A broker that takes the handshake for a request of absurd length hangs up.
    let (near, far) = duplex(1 << 12);
    drop(far);
    let error = client(&authority.file, None).connect(near, "broker.test", &peer()).await.unwrap_err();
    assert!(error.to_string().contains("does this port speak TLS?"), "{error}");
}

#[test]
fn ca_files_that_cannot_be_used_are_named() {
    let authority = authority();
    let empty = authority.file.with_extension("empty.pem");
    std::fs::write(&empty, "no certificate here").unwrap();
    let missing = authority.file.with_extension("missing.pem");
    for file in [&empty, &missing] {
        let error = Tls::new(&TlsConfig { ca_file: Some(file.clone()), server_name: None }).unwrap_err();
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }
    std::fs::remove_file(&empty).unwrap();
}

#[test]
fn without_a_ca_file_there_are_authorities() {
    assert!(!roots(&TlsConfig::default()).unwrap().is_empty());
}
