//! TLS by rustls with the ring provider.

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use twinlog_core::config::security::{ClientCertificate, TlsConfig};

use crate::error::{Cause, Error, Outcome, Peer, Result, Step};

/// A [`TlsConfig`] with its files read. They are looked at again before each handshake, so that certificates can be
/// exchanged without a restart; connections that are open stay as they are.
#[derive(Clone)]
pub(crate) struct Tls {
    config: TlsConfig,
    loaded: Arc<Mutex<Loaded>>,
}

struct Loaded {
    /// What the files held that were last looked at, whether it could be used or not.
    files: Files,
    connector: TlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Tls {
    pub(crate) fn new(config: &TlsConfig) -> Result<Self, Cause> {
        let files = Files::read(config);
        let connector = connector(config, &files)?;
        Ok(Self { config: config.clone(), loaded: Arc::new(Mutex::new(Loaded { files, connector })) })
    }

    /// The handshake; the certificate must be for the configured name or for `host`.
    pub(crate) async fn connect<S>(&self, stream: S, host: &str, peer: &Peer) -> Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let refused = |words: String| Error::new(peer.clone(), Step::Tls, Outcome::NotSent, Cause::Tls(words));
        let name = self.config.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| refused(format!("{name} is no host name that a certificate can have")))?;
        self.connector(peer).connect(name, stream).await.map_err(|e| {
            let cause = refusal(&e).unwrap_or_else(|| handshake_lost(e));
            Error::new(peer.clone(), Step::Tls, Outcome::NotSent, cause)
        })
    }

    /// By the files as they are now. Where these cannot be used, as while they are being written, the former ones
    /// count, and it is said once.
    fn connector(&self, peer: &Peer) -> TlsConnector {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::read(&self.config);
        if files != loaded.files {
            match connector(&self.config, &files) {
                Ok(connector) => {
                    loaded.connector = connector;
                    tracing::info!(side = %peer.side, "Certificates have changed: new connections use them.");
                }
                Err(error) => {
                    tracing::warn!(side = %peer.side, %error, "New connections use the former certificates.");
                }
            }
            loaded.files = files;
        }
        loaded.connector.clone()
    }
}

/// The bytes of the files that a [`TlsConfig`] names, or why they cannot be read.
#[derive(PartialEq)]
struct Files {
    authorities: Option<Content>,
    /// The certificate and its key.
    own: Option<(Content, Content)>,
}

type Content = Result<Vec<u8>, String>;

impl Files {
    fn read(config: &TlsConfig) -> Self {
        let read = |file: &String| std::fs::read(file).map_err(|error| error.to_string());
        let own = config.client.as_ref().map(|client| (read(&client.cert_file), read(&client.key_file)));
        Self { authorities: config.ca_file.as_ref().map(read), own }
    }
}

const CA: &str = "CA file";
const CERTIFICATE: &str = "certificate";
const KEY: &str = "private key";

fn unusable(what: &str, file: &str, why: &dyn fmt::Display) -> Cause {
    Cause::Config(format!("cannot use the {what} {file}: {why}"))
}

fn connector(config: &TlsConfig, files: &Files) -> Result<TlsConnector, Cause> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Cause::Config(e.to_string()))?
        .with_root_certificates(roots(config, files)?);
    let built = match (&config.client, &files.own) {
        (Some(client), Some(own)) => {
            let (chain, key) = own_certificate(client, own)?;
            let unfit = |e| {
                let ClientCertificate { cert_file, key_file } = client;
                Cause::Config(format!("cannot use the certificate {cert_file} with the key {key_file}: {e}"))
            };
            builder.with_client_auth_cert(chain, key).map_err(unfit)?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(built)))
}

fn roots(config: &TlsConfig, files: &Files) -> Result<RootCertStore, Cause> {
    let mut roots = RootCertStore::empty();
    if let (Some(file), Some(pem)) = (&config.ca_file, &files.authorities) {
        for certificate in certificates(pem).map_err(|words| unusable(CA, file, &words))? {
            roots.add(certificate).map_err(|e| unusable(CA, file, &e))?;
        }
        return Ok(roots);
    }
    let (added, ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    tracing::debug!(added, ignored, "Read the system's certificate authorities.");
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(roots)
}

/// All certificates of a PEM text, at least one.
fn certificates(pem: &Content) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = pem.as_ref().map_err(String::clone)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|e| e.to_string())?;
    if certificates.is_empty() { Err("it holds no certificate".into()) } else { Ok(certificates) }
}

type OwnCertificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn own_certificate(client: &ClientCertificate, (chain, key): &(Content, Content)) -> Result<OwnCertificate, Cause> {
    let chain = certificates(chain).map_err(|words| unusable(CERTIFICATE, &client.cert_file, &words))?;
    let key = key.as_ref().map_err(String::clone).and_then(|pem| {
        PrivateKeyDer::from_pem_slice(pem).map_err(|e| match e {
            pem::Error::NoItemsFound => "it holds no private key without a passphrase".into(),
            other => other.to_string(),
        })
    });
    Ok((chain, key.map_err(|words| unusable(KEY, &client.key_file, &words))?))
}

/// What TLS has against a connection, if it is that: with TLS 1.3 a broker looks at our certificate when the handshake
/// is over for us, and says what it thinks of it where its first answer would be.
pub(crate) fn refusal(error: &std::io::Error) -> Option<Cause> {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())?;
    Some(Cause::Tls(words(tls)))
}

fn words(error: &rustls::Error) -> String {
    use rustls::AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown,
        UnknownCA, UnsupportedCertificate,
    };
    use rustls::CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext, UnknownIssuer,
    };
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    match error {
        AlertReceived(
            alert @ (AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | UnknownCA
            | UnsupportedCertificate),
        ) => format!(
            "the broker wants a client certificate that it can accept ({alert:?}); are cert_file and key_file set, \
             and from an authority that the broker trusts?"
        ),
        // A bad signature: an authority was made anew under its old name.
        InvalidCertificate(UnknownIssuer | BadSignature) => {
            "the broker's certificate is from an authority that is not trusted; \
             is the CA file the right one?"
                .into()
        }
        InvalidCertificate(Expired | ExpiredContext { .. }) => {
            "the broker's certificate has expired; renew it, or is the clock of this machine right?".into()
        }
        InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            format!("{error}; set the server name if the broker is reached under another one")
        }
        InvalidMessage(_) => format!("{error}; does this port speak TLS?"),
        _ => error.to_string(),
    }
}

/// A plain-text listener usually hangs up on a handshake.
fn handshake_lost(error: std::io::Error) -> Cause {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => {
            Cause::Tls("the broker hung up in the handshake; does this port speak TLS?".into())
        }
        _ => Cause::Io(error),
    }
}
