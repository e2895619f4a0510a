use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::duplex;
use tokio_rustls::TlsAcceptor;
use twinlog_wire::error_code::Retry;

use super::*;
use crate::connection::{Connection, ConnectionConfig, RawRequest};
use crate::testing::{Script, peer};

/// A certificate authority whose certificate stands in a file.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) file: String,
}

impl Drop for Authority {
    fn drop(&mut self) {
        std::fs::remove_file(&self.file).unwrap();
    }
}

pub(crate) fn authority() -> Authority {
    named_authority("twinlog test authority")
}

fn named_authority(name: &str) -> Authority {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let name = format!("twinlog-client-{}-{}.pem", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let file = std::env::temp_dir().join(name).display().to_string();
    std::fs::write(&file, issuer.pem()).unwrap();
    Authority { issuer, file }
}

/// A listener with a certificate for `name`.
pub(crate) fn acceptor(authority: &Authority, name: &str) -> TlsAcceptor {
    listener(authority, name, None)
}

/// One that asks clients for a certificate of `clients`, if that is given.
fn listener(authority: &Authority, name: &str, clients: Option<&Authority>) -> TlsAcceptor {
    let (certificate, key) = certificate(authority, name);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap()))
}

fn certificate(authority: &Authority, name: &str) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.signed_by(&key, &authority.issuer).unwrap(), key)
}

/// A certificate of ours and its key in files beside those of its authority.
struct Own {
    files: ClientCertificate,
}

impl Own {
    fn of(authority: &Authority) -> Self {
        let (certificate, key) = certificate(authority, "twinlog.test");
        let at = |kind: &str| format!("{}.{kind}", authority.file);
        let files = ClientCertificate { cert_file: at("cert.pem"), key_file: at("key.pem") };
        std::fs::write(&files.cert_file, certificate.pem()).unwrap();
        std::fs::write(&files.key_file, key.serialize_pem()).unwrap();
        Self { files }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        std::fs::remove_file(&self.files.cert_file).unwrap();
        std::fs::remove_file(&self.files.key_file).unwrap();
    }
}

/// The first request of a client to a listener that asks for certificates of `clients`.
async fn greeted(clients: &Authority, own: Option<&Own>) -> Result<Connection> {
    let brokers = authority();
    let client = own.map(|own| own.files.clone());
    let client = Tls::new(&TlsConfig { ca_file: Some(brokers.file.clone()), server_name: None, client }).unwrap();
    let acceptor = listener(&brokers, "broker.test", Some(clients));
    let (near, far) = duplex(1 << 14);
    let peer = peer();
    let broker = async {
        if let Ok(stream) = acceptor.accept(far).await {
            Script { stream }.greet().await;
        }
    };
    let client = async {
        Connection::start(client.connect(near, "broker.test", &peer).await?, peer.clone(), ConnectionConfig::default())
            .await
    };
    let (connection, ()) = tokio::join!(client, broker);
    connection
}

#[tokio::test]
async fn brokers_that_ask_who_we_are_are_shown_our_certificate() {
    let clients = authority();
    let own = Own::of(&clients);
    greeted(&clients, Some(&own)).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_does_not_take_our_certificate_says_so() {
    let (clients, others) = (authority(), named_authority("others"));
    let own = Own::of(&others);
    for own in [None, Some(&own)] {
        let error = greeted(&clients, own).await.unwrap_err();
        let words = error.to_string();
        assert!(
            words.starts_with("target broker 1 (broker.test:9092): TLS: the broker wants a client certificate"),
            "{words}"
        );
        assert!(words.contains("are cert_file and key_file set"), "{words}");
        assert_eq!(error.retry(), Retry::Never);
    }
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_named() {
    let authority = authority();
    let (own, other) = (Own::of(&authority), named_authority("other"));
    let stranger = Own::of(&other);
    let words = |cert_file: &str, key_file: &str| {
        let client = Some(ClientCertificate { cert_file: cert_file.to_owned(), key_file: key_file.to_owned() });
        let config = TlsConfig { ca_file: Some(authority.file.clone()), server_name: None, client };
        Tls::new(&config).unwrap_err().to_string()
    };
    let (cert, key) = (&own.files.cert_file, &own.files.key_file);
    let missing = format!("{}.missing", authority.file);
    for (cert_file, key_file, named) in
        [(&missing, key, &missing), (cert, &missing, &missing), (key, key, key), (cert, cert, cert)]
    {
        let words = words(cert_file, key_file);
        assert!(words.contains(named.as_str()), "{words}");
    }
    let mixed = words(cert, &stranger.files.key_file);
    for file in [cert, &stranger.files.key_file] {
        assert!(mixed.contains(file.as_str()), "{mixed}");
    }
}

fn client(ca_file: &str, server_name: Option<&str>) -> Tls {
    let server_name = server_name.map(str::to_owned);
    Tls::new(&TlsConfig { ca_file: Some(ca_file.to_owned()), server_name, client: None }).unwrap()
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
    let empty = format!("{}.empty", authority.file);
    std::fs::write(&empty, "no certificate here").unwrap();
    let missing = format!("{}.missing", authority.file);
    for file in [&empty, &missing] {
        let error = Tls::new(&TlsConfig { ca_file: Some(file.clone()), ..TlsConfig::default() }).unwrap_err();
        assert!(error.to_string().contains(file.as_str()), "{error}");
    }
    std::fs::remove_file(&empty).unwrap();
}

#[test]
fn without_a_ca_file_there_are_authorities() {
    let config = TlsConfig::default();
    assert!(!roots(&config, &Files::read(&config)).unwrap().is_empty());
}

/// Given a client whose files of certificates are written anew, then the next handshake is by what they hold now; where
/// that is of no use, by what they held before.
#[tokio::test]
async fn changed_files_are_used_without_a_restart() {
    let (former, next) = (authority(), named_authority("the next one"));
    let client = client(&former.file, None);
    let accepts = async |by: &Authority| {
        let (near, far) = duplex(1 << 14);
        let (acceptor, peer) = (acceptor(by, "broker.test"), peer());
        let (ours, _theirs) = tokio::join!(client.connect(near, "broker.test", &peer), acceptor.accept(far));
        ours.is_ok()
    };
    assert!(accepts(&former).await);
    assert!(!accepts(&next).await);
    std::fs::write(&former.file, "no certificate here").unwrap();
    assert!(accepts(&former).await);
    std::fs::write(&former.file, next.issuer.pem()).unwrap();
    assert!(accepts(&next).await);
    assert!(!accepts(&former).await);
}
