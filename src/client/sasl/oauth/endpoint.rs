//! A token endpoint, asked by client credentials over HTTP/1.1 (RFC 6749, section 4.4).

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::http::uri::Scheme;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use twinlog_core::config::security::{TlsConfig, TokenEndpoint};

use super::Token;
use crate::error::{Cause, Peer};
use crate::tls::Tls;
use crate::transport::Stream;

/// How long it may take to get a token.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// All but what RFC 3986 calls unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Debug)]
pub(in super::super) struct Endpoint {
    config: TokenEndpoint,
    host: String,
    port: u16,
    /// The path with the query.
    path: String,
    tls: Option<Tls>,
}

/// What both an answer and a refusal are (RFC 6749, sections 5.1 and 5.2).
#[derive(Deserialize)]
struct Words {
    access_token: Option<String>,
    expires_in: Option<f64>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Endpoint {
    pub(super) fn new(config: &TokenEndpoint) -> Result<Self, Cause> {
        let unusable =
            |why: &dyn Display| Cause::Config(format!("cannot use the token endpoint {}: {why}", config.url));
        let uri: Uri = config.url.parse().map_err(|error| unusable(&error))?;
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let tls = TlsConfig { ca_file: config.ca_file.clone(), ..TlsConfig::default() };
        Ok(Self {
            host: uri.host().ok_or_else(|| unusable(&"it has no host"))?.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            tls: is_https.then(|| Tls::new(&tls)).transpose()?,
            config: config.clone(),
        })
    }

    /// Asks for a token. `peer` is the broker that it is for.
    pub(super) async fn ask(&self, peer: &Peer) -> Result<Token, Cause> {
        let answer = timeout(PATIENCE, self.exchange(peer)).await;
        let (status, body) =
            answer.unwrap_or_else(|_elapsed| Err(self.failed(&format!("no answer in {PATIENCE:?}"))))?;
        let words: Option<Words> = serde_json::from_slice(&body).ok();
        if status != StatusCode::OK {
            let said = words.and_then(|words| match (words.error?, words.error_description) {
                (error, Some(more)) => Some(format!(": {error} ({more})")),
                (error, None) => Some(format!(": {error}")),
            });
            return Err(self.failed(&format!("it answers {status}{}", said.unwrap_or_default())));
        }
        let words = words.ok_or_else(|| self.failed(&"its answer is not what a token endpoint says"))?;
        let text = words.access_token.as_deref().and_then(super::token);
        let text = text.ok_or_else(|| self.failed(&"there is no token in its answer"))?;
        let lifetime = words.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(Token { text, lifetime })
    }

    async fn exchange(&self, peer: &Peer) -> Result<(StatusCode, Bytes), Cause> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| self.failed(&error))?;
        match &self.tls {
            None => self.post(stream).await,
            Some(tls) => {
                let peer = Peer { side: peer.side, node: None, address: Arc::from(self.config.url.as_str()) };
                let stream = tls.connect(stream, &self.host, &peer).await;
                self.post(stream.map_err(|error| self.failed(error.cause()))?).await
            }
        }
    }

    async fn post<S: Stream + 'static>(&self, stream: S) -> Result<(StatusCode, Bytes), Cause> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.failed(&error))?;
        let exchange = async {
            let answer = sender.send_request(self.request()?).await.map_err(|error| self.failed(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| self.failed(&error))?.to_bytes()))
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // The connection ends by itself when the answer is there in full.
            ended = connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(self.failed(&error)),
            },
        }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, Cause> {
        let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let TokenEndpoint { client_id, client_secret, scope, .. } = &self.config;
        let login = STANDARD.encode(format!("{}:{}", escaped(client_id), escaped(client_secret.reveal())));
        let scope = scope.as_ref().map(|scope| format!("&scope={}", escaped(scope)));
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        Request::post(&self.path)
            .header(HOST, format!("{host}:{}", self.port))
            .header(AUTHORIZATION, format!("Basic {login}"))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Full::from(format!("grant_type=client_credentials{}", scope.unwrap_or_default())))
            .map_err(|error| self.failed(&error))
    }

    fn failed(&self, why: &dyn Display) -> Cause {
        Cause::Token(format!("the token endpoint {}: {why}", self.config.url))
    }
}
