//! TLS by rustls with the ring provider.

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::{Cause, Error, Outcome, Peer, Result, Step};

/// How the brokers' certificates are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// A PEM file of the certificate authorities to trust. None: those of the system, or
    /// Mozilla's where the system has none (an empty container).
    pub ca_file: Option<PathBuf>,
    /// The name that the certificates must have, where it is not the brokers' host name.
    pub server_name: Option<String>,
}

/// A [`TlsConfig`] with its files read.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    server_name: Option<String>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Tls {
    pub(crate) fn new(config: &TlsConfig) -> Result<Self, Cause> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config_built = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Cause::Config(e.to_string()))?
            .with_root_certificates(roots(config)?)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config_built));
        Ok(Self { connector, server_name: config.server_name.clone() })
    }

    /// The handshake, as a client of `host`.
    pub(crate) async fn connect<S>(&self, stream: S, host: &str, peer: &Peer) -> Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let refused = |words: String| Error::new(peer.clone(), Step::Tls, Outcome::NotSent, Cause::Tls(words));
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| refused(format!("{name} is no host name that a certificate can have")))?;
        self.connector.connect(name, stream).await.map_err(|e| {
            match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(tls) => refused(words(tls)),
                None => Error::new(peer.clone(), Step::Tls, Outcome::NotSent, handshake_lost(e)),
            }
        })
    }
}

fn roots(config: &TlsConfig) -> Result<RootCertStore, Cause> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &config.ca_file {
        let failed = |e: &dyn fmt::Display| Cause::Config(format!("cannot use the CA file {}: {e}", file.display()));
        let pem = CertificateDer::pem_file_iter(file).map_err(|e| failed(&e))?;
        for certificate in pem {
            roots.add(certificate.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
        }
        if roots.is_empty() {
            return Err(failed(&"it holds no certificate"));
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

fn words(error: &rustls::Error) -> String {
    use rustls::CertificateError::{BadSignature, NotValidForName, NotValidForNameContext, UnknownIssuer};
    use rustls::Error::{InvalidCertificate, InvalidMessage};
    match error {
        // A bad signature: an authority was made anew under its old name.
        InvalidCertificate(UnknownIssuer | BadSignature) => {
            "the broker's certificate is from an authority that is not trusted; \
             is the CA file the right one?"
                .into()
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
